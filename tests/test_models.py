"""The models against PyTorch's own modules, the write-ups' code as SYSTEMS describes it, and documented counts."""

from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional as F

from pixelpatch.models import build_model
from pixelpatch.models.blog_vit import BlogVit
from pixelpatch.models.cnn import Cnn
from pixelpatch.models.grid_reader import FINISH, PAD, START, GridReader
from pixelpatch.models.vit import VisionTransformer, patches, sincos_positions
from pixelpatch.study import systems

CONFIG = yaml.safe_load((Path(__file__).parents[1] / "config.yaml").read_text(encoding="utf-8"))
IMAGE = {"vit16_tiny": 32, "seq2seq_2x2": 56}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def documented_model(experiment: str) -> nn.Module:
    """The model as config.yaml has it, in evaluation mode."""
    model = CONFIG["experiments"][experiment]["spec"]["model"]
    return build_model(model, image=IMAGE.get(experiment, 28)).eval()


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(("experiment", "count"), [("pixel_transformer", 1_292_042), ("vit4_assignment", 106_122)])
def test_documented_parameter_counts(experiment: str, count: int) -> None:
    assert parameters(documented_model(experiment)) == count


@pytest.mark.parametrize(
    ("experiment", "count"),
    [
        # By hand: 3×3 kernels and biases, then 9216 → 128 → 10.
        ("blog_cnn", (9 + 1) * 32 + (9 * 32 + 1) * 64 + (9216 + 1) * 128 + (128 + 1) * 10),
        # Conv(1 → 9, 16), class token, 3 × (attention, MLP 9-36-9, two norms), linear; positions are fixed.
        ("vit16_tiny", 257 * 9 + 9 + 3 * (4 * 9 * 10 + 36 * 10 + 9 * 37 + 36) + 100),
    ],
)
def test_parameter_counts_by_hand(experiment: str, count: int) -> None:
    assert parameters(documented_model(experiment)) == count


@pytest.mark.parametrize("experiment", [name for name in systems(CONFIG) if name != "seq2seq_2x2"])
def test_every_model_gives_ten_logits_and_a_gradient_to_every_parameter(experiment: str) -> None:
    model = documented_model(experiment)
    side = IMAGE.get(experiment, 28)
    logits = model(torch.rand(2, 1, side, side))
    assert logits.shape == (2, 10)
    F.cross_entropy(logits, torch.tensor([3, 7])).backward()
    silent = {name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())}
    # Over the batch, the encoder sees token 0 alone: patches reach it through the normalisation only, which they do.
    assert silent == set()


@pytest.mark.parametrize("patch", [1, 2, 4, 7, 14, 28])
def test_patches_are_those_of_unfold(patch: int) -> None:
    images = torch.rand(3, 1, 28, 28)
    assert torch.equal(patches(images, patch), F.unfold(images, patch, stride=patch).transpose(1, 2))


def test_patch_embedding_is_the_strided_convolution() -> None:
    images, linear = torch.rand(2, 1, 32, 32), nn.Linear(256, 9)
    convolution = nn.Conv2d(1, 9, 16, stride=16)
    convolution.load_state_dict({"weight": linear.weight.view(9, 1, 16, 16), "bias": linear.bias})
    torch.testing.assert_close(linear(patches(images, 16)), convolution(images).flatten(2).transpose(1, 2))
    drawn = [nn.Conv2d(1, 512, 16, stride=16).weight, nn.Linear(256, 512).weight]
    low, high = (float(weight.detach().max()) for weight in drawn)
    assert low == pytest.approx(high, rel=0.01)  # the same uniform start


def test_pixel_transformer_is_pytorch_s_encoder() -> None:
    """The notebook's model from stock modules, with our weights."""
    model = documented_model("pixel_transformer").double()
    layer = nn.TransformerEncoderLayer(128, 8, 512, 0.1, "gelu", batch_first=True)
    encoder = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False).double().eval()
    names = {
        "attention.": "self_attn.",
        "mlp.0.": "linear1.",
        "mlp.2.": "linear2.",
        "attention_norm.": "norm1.",
        "mlp_norm.": "norm2.",
    }
    state = {}
    for key, value in model.encoder.state_dict().items():
        number, rest = key.split(".", 1)
        ours = next(name for name in names if rest.startswith(name))
        state[f"layers.{number}.{names[ours]}{rest.removeprefix(ours)}"] = value
    encoder.load_state_dict(state)
    images = torch.rand(2, 1, 28, 28, dtype=torch.float64)
    x = model.embed(images.reshape(2, 784, 1))
    x = torch.cat([model.class_token.expand(2, 1, 128), x], dim=1) + model.positions
    torch.testing.assert_close(model(images), model.head(encoder(x)[:, 0]), rtol=1e-9, atol=1e-9)


def test_sincos_positions_are_the_formula() -> None:
    tokens, width = 5, 9
    expected = torch.tensor(
        [
            [
                (torch.sin if i % 2 == 0 else torch.cos)(torch.tensor(p / 10000 ** ((i - i % 2) / width))).item()
                for i in range(width)
            ]
            for p in range(tokens)
        ]
    )
    torch.testing.assert_close(sincos_positions(tokens, width)[0], expected)


def test_unused_position_slots_are_allocated_and_change_nothing() -> None:
    options = dict(CONFIG["experiments"]["vit4_assignment"]["spec"]["model"])
    with_slots = build_model(options, image=28)
    without = build_model({k: v for k, v in options.items() if k != "position_slots"}, image=28)
    assert parameters(with_slots) - parameters(without) == 15 * 64
    assert with_slots.positions.shape[1] == 65
    assert float(with_slots.positions.detach().std()) == pytest.approx(1, abs=0.1)


class StockBlogVit(nn.Module):
    """The blog post's forward pass with stock modules and all 17 tokens, from the weights of `ours`."""

    def __init__(self, ours: BlogVit, *, batch_first: bool) -> None:
        super().__init__()
        self.ours, depth = ours, len(ours.encoder)
        width, hidden = ours.head[0].in_features, ours.encoder[0].mlp[0].out_features
        heads = ours.encoder[0].attention.heads
        layer = nn.TransformerEncoderLayer(width, heads, hidden, activation="gelu", batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False).double().eval()
        for theirs, block in zip(self.encoder.layers, ours.encoder, strict=True):
            theirs.self_attn.load_state_dict(block.attention.state_dict())
            theirs.linear1.load_state_dict(block.mlp[0].state_dict())
            theirs.linear2.load_state_dict(block.mlp[2].state_dict())
            theirs.norm1.load_state_dict(block.attention_norm.state_dict())
            theirs.norm2.load_state_dict(block.mlp_norm.state_dict())

    def forward(self, images: Tensor) -> Tensor:
        patch = self.ours.patch
        x = F.unfold(images, patch, stride=patch).transpose(1, 2) @ self.ours.embed.weight.T + self.ours.embed.bias
        x = torch.cat([self.ours.class_token.repeat(len(x), 1, 1), x], dim=1)
        x = x + self.ours.positions(torch.arange(x.shape[1]))
        if self.ours.normalise_tokens:
            x = F.normalize(x)
        return self.ours.head(self.encoder(x)[:, 0])


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("over", ["batch", "patches"])
def test_blog_vit_on_token_0_alone_is_the_full_computation(over: str, normalise: bool) -> None:
    ours = BlogVit(
        image=28, patch=7, width=16, depth=4, heads=4, hidden=30, dropout=0.1,
        attend_over=over, trainable_class_token=False, normalise_tokens=normalise,
    ).double().eval()  # fmt: skip
    images = torch.rand(6, 1, 28, 28, dtype=torch.float64)
    stock = StockBlogVit(ours, batch_first=over == "patches")
    torch.testing.assert_close(ours(images), stock(images), rtol=1e-9, atol=1e-9)
    a = torch.autograd.grad(ours(images).square().sum(), ours.embed.weight, allow_unused=True)[0]
    b = torch.autograd.grad(stock(images).square().sum(), ours.embed.weight, allow_unused=True)[0]
    # Over the batch and without the normalisation, no pixel reaches the class token at all.
    if over == "batch" and not normalise:
        assert a is None or not a.any()
        a = torch.zeros_like(ours.embed.weight) if a is None else a
        b = torch.zeros_like(ours.embed.weight) if b is None else b
    torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_blog_vit_leaks_between_images_of_a_batch_and_the_mended_one_does_not() -> None:
    options = CONFIG["experiments"]["blog_vit"]["spec"]["model"]
    images = torch.rand(4, 1, 28, 28)
    as_documented = build_model(options, image=28).eval()
    assert not torch.allclose(as_documented(images)[:2], as_documented(images[:2]))
    mended = build_model(options | {"attend_over": "patches"}, image=28).eval()
    torch.testing.assert_close(mended(images)[:2], mended(images[:2]))


def test_blog_vit_class_token_is_trained_only_when_asked() -> None:
    options = CONFIG["experiments"]["blog_vit"]["spec"]["model"]
    counts = [parameters(build_model(options | {"trainable_class_token": on}, image=28)) for on in (False, True)]
    assert counts[1] - counts[0] == options["width"]


@pytest.mark.parametrize("between", ["none", "tanh"])
def test_blog_vit_s_head_has_an_activation_where_asked(between: str) -> None:
    options = CONFIG["experiments"]["blog_vit"]["spec"]["model"]
    assert options["head_activation"] == "none"
    head = build_model(options | {"head_activation": between}, image=28).head
    first, second, third = (layer for layer in head if isinstance(layer, nn.Linear))
    x = torch.randn(3, 500)
    hidden = first(x).tanh() if between == "tanh" else first(x)
    torch.testing.assert_close(head(x), third(second(hidden).tanh()))
    assert [layer.out_features for layer in (first, second, third)] == [250, 100, 10]


def test_cnn_is_the_blog_s() -> None:
    """Convolutions, ReLU before max-pool, as the post writes them: same outputs and gradients."""
    ours = Cnn(dropout_features=0.25, dropout_hidden=0.5).double().eval()
    images, labels = torch.rand(4, 1, 28, 28, dtype=torch.float64), torch.tensor([1, 2, 3, 4])

    def post(x: Tensor) -> Tensor:
        conv1, conv2 = ours.features[0], ours.features[1].conv
        fc1, fc2 = ours.classifier[0], ours.classifier[3]
        x = F.max_pool2d(F.relu(conv2(F.relu(conv1(x)))), 2)
        return F.log_softmax(fc2(F.relu(fc1(torch.flatten(x, 1)))), dim=1)

    ours_loss, their_loss = F.cross_entropy(ours(images), labels), F.nll_loss(post(images), labels)
    torch.testing.assert_close(ours_loss, their_loss)
    weights = list(ours.parameters())
    for a, b in zip(torch.autograd.grad(ours_loss, weights), torch.autograd.grad(their_loss, weights), strict=True):
        torch.testing.assert_close(a, b)


def reader(norm: str = "post", *, decoder_depth: int | None = None, final_norm: bool = True) -> GridReader:
    return GridReader(
        image=56, patch=14, width=16, depth=2, heads=4, hidden=32, dropout=0.1, norm=norm, activation="relu",
        decoder_depth=decoder_depth, final_norm=final_norm,
    ).double()  # fmt: skip


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")  # PyTorch's own, about a fast path that it does not take
@pytest.mark.parametrize("final_norm", [True, False])
@pytest.mark.parametrize("decoder_depth", [None, 3])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_grid_reader_is_pytorch_s_transformer(norm: str, decoder_depth: int | None, final_norm: bool) -> None:
    ours = reader(norm, decoder_depth=decoder_depth, final_norm=final_norm).eval()
    theirs = nn.Transformer(16, 4, 2, decoder_depth or 2, 32, batch_first=True, norm_first=norm == "pre")
    theirs = theirs.double().eval()
    if not final_norm:
        theirs.encoder.norm = theirs.decoder.norm = None
    for theirs_layer, block in zip(theirs.encoder.layers, ours.encoder, strict=True):
        theirs_layer.self_attn.load_state_dict(block.attention.state_dict())
        theirs_layer.norm2.load_state_dict(block.mlp_norm.state_dict())
    for theirs_layer, block in zip(theirs.decoder.layers, ours.decoder, strict=True):
        theirs_layer.self_attn.load_state_dict(block.attention.state_dict())
        theirs_layer.multihead_attn.load_state_dict(block.cross_attention.state_dict())
        theirs_layer.norm2.load_state_dict(block.cross_norm.state_dict())
        theirs_layer.norm3.load_state_dict(block.mlp_norm.state_dict())
    for theirs_layer, block in zip(
        [*theirs.encoder.layers, *theirs.decoder.layers], [*ours.encoder, *ours.decoder], strict=True
    ):
        theirs_layer.norm1.load_state_dict(block.attention_norm.state_dict())
        theirs_layer.linear1.load_state_dict(block.mlp[0].state_dict())
        theirs_layer.linear2.load_state_dict(block.mlp[2].state_dict())
    images, tokens = torch.rand(3, 1, 56, 56, dtype=torch.float64), torch.randint(13, (3, 5))
    source = ours.embed(F.unfold(images, 14, stride=14).transpose(1, 2)) + ours.patch_positions
    target = ours.tokens(tokens) + ours.token_positions
    mask = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    expected = ours.head(theirs(source, target, tgt_mask=mask, tgt_is_causal=True))
    torch.testing.assert_close(ours(images, tokens), expected, rtol=1e-9, atol=1e-9)


def test_grid_reader_never_looks_ahead() -> None:
    ours = reader().eval()
    images, tokens = torch.rand(2, 1, 56, 56, dtype=torch.float64), torch.randint(10, (2, 5))
    changed = tokens.clone()
    changed[:, 3:] = (changed[:, 3:] + 1) % 10
    a, b = ours(images, tokens), ours(images, changed)
    torch.testing.assert_close(a[:, :3], b[:, :3])
    assert not torch.allclose(a[:, 3:], b[:, 3:])


def test_greedy_reading_is_the_step_by_step_argmax_and_stops_at_finish() -> None:
    ours = reader().eval()
    images = torch.rand(8, 1, 56, 56, dtype=torch.float64)
    with torch.no_grad():
        ours.head.bias[FINISH] += 1.5  # some sequences end early, some do not
    read = ours.read(images)
    for image, sequence in zip(images, read, strict=True):
        tokens = [START]
        while len(tokens) < 5 and tokens[-1] != FINISH:
            tokens.append(int(ours(image[None], torch.tensor([tokens]))[0, -1].argmax()))
        assert sequence.tolist() == (tokens[1:] + [PAD] * 4)[:4]


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (
            "pixel_transformer",
            {"patch": 3},
            "patch is 3, which does not divide the 28-pixel image; choose from 1, 2, 4, 7, 14, 28",
        ),
        ("pixel_transformer", {"heads": 7}, "heads is 7, which does not divide the width 128"),
        ("blog_vit", {"patch": 5}, "patch is 5, which does not divide"),
        ("seq2seq_2x2", {"heads": 5}, "heads is 5, which does not divide the width 64"),
    ],
)
def test_settings_that_do_not_fit_are_refused(name: str, change: dict, sentence: str) -> None:
    model = CONFIG["experiments"][name]["spec"]["model"] | change
    with pytest.raises(ValueError, match=sentence):
        build_model(model, image=IMAGE.get(name, 28))


def test_a_model_is_called_by_its_file_s_name() -> None:
    kinds = {name: type(documented_model(name)) for name in systems(CONFIG)}
    vit = dict.fromkeys(("pixel_transformer", "vit16_tiny", "vit4_assignment"), VisionTransformer)
    assert kinds == vit | {"blog_cnn": Cnn, "blog_vit": BlogVit, "seq2seq_2x2": GridReader}


@pytest.mark.parametrize("name", ["pit", "dropout", "transformer"])  # no file; files without a model
def test_a_name_that_is_no_model_s_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"model.name is '{name}', which is no model"):
        build_model({"name": name}, image=28)
