"""How weights start: as the classes that the authors call start theirs, and for the grid reader to the very bit."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from configurations import CONFIG
from torch import Tensor, nn

from pixelpatch.checks import image_side
from pixelpatch.models import build_model
from pixelpatch.models.transformer import TransformerBlock

COPIED = ("pixel_transformer", "blog_vit")
OURS = {"self_attn.": "attention.", "linear1.": "mlp.0.", "linear2.": "mlp.2.", "norm1.": "attention_norm.",
        "norm2.": "mlp_norm."}  # fmt: skip


def built(system: str, seed: int = 0, **options: Any) -> nn.Module:
    spec = CONFIG["experiments"][system]["spec"]
    torch.manual_seed(seed)
    return build_model(spec["model"] | options, image=image_side(spec["data"]))


def layers(modules: nn.Module) -> list[dict[str, Tensor]]:
    """The parameters of each layer, by their names in ours."""
    found = []
    for layer in modules.children():
        state = {}
        for name, value in layer.state_dict().items():
            theirs = next((prefix for prefix in OURS if name.startswith(prefix)), "")
            state[OURS.get(theirs, "") + name.removeprefix(theirs)] = value
        found.append(state)
    return found


def equality(states: list[dict[str, Tensor]]) -> dict[str, set[bool]]:
    """By parameter, whether the layers' are those of the first."""
    first, *rest = states
    return {name: {torch.equal(first[name], other[name]) for other in rest} for name in first}


@pytest.mark.parametrize("system", COPIED)
def test_copied_layers_are_as_equal_as_those_of_pytorch_s_encoder(system: str) -> None:
    spec = CONFIG["experiments"][system]["spec"]["model"]
    assert spec["layer_init"] == "copied"
    layer = nn.TransformerEncoderLayer(spec["width"], spec["heads"], spec["hidden"], 0.1, "gelu", batch_first=True)
    stock = layers(nn.TransformerEncoder(layer, spec["depth"], enable_nested_tensor=False).layers)
    model = built(system)
    ours = layers(model.encoder)
    assert len(ours) == len(stock)
    assert equality(ours) == equality(stock) == {name: {True} for name in stock[0]}
    drawn = built(system, layer_init="independent")
    constant = {name for name, value in stock[0].items() if value.unique().numel() == 1}
    assert equality(layers(drawn.encoder)) == {name: {name in constant} for name in stock[0]}


@pytest.mark.parametrize("system", COPIED)
def test_copies_start_equal_and_are_trained_apart(system: str) -> None:
    model = built(system, patch=7)
    pointers = [value.data_ptr() for state in layers(model.encoder) for value in state.values()]
    assert len(set(pointers)) == len(pointers)
    model(torch.rand(4, 1, 28, 28)).square().sum().backward()
    first, *rest = (block.mlp[0].weight.grad for block in model.encoder)
    assert not any(torch.equal(first, other) for other in rest)


def assert_uniform(value: Tensor, bound: float) -> None:
    """Uniform in ± `bound`: as far as it goes and no further, and as spread."""
    count = value.numel()
    assert float(value.abs().max()) <= bound
    assert float(value.abs().max()) > bound * (1 - 10 / count)  # missed by 1 in 20,000
    assert float(value.double().square().mean().sqrt()) == pytest.approx(bound / math.sqrt(3), rel=3 / math.sqrt(count))


@pytest.mark.parametrize("system", COPIED)
def test_attention_starts_as_multihead_attention(system: str) -> None:
    """Xavier-uniform input, zero biases, nn.Linear's default for the output's weight: nn.MultiheadAttention's."""
    attention = built(system).encoder[0].attention
    width = attention.width
    theirs = nn.MultiheadAttention(width, attention.heads).state_dict()
    ours = attention.state_dict()
    bounds = {
        "in_proj_weight": math.sqrt(6 / (width + 3 * width)),
        "in_proj_bias": 0.0,
        "out_proj.weight": 1 / math.sqrt(width),
        "out_proj.bias": 0.0,
    }
    assert ours.keys() == theirs.keys() == bounds.keys()
    for name, bound in bounds.items():
        for drawn in (ours[name], theirs[name]):
            if bound:
                assert_uniform(drawn, bound)
            else:
                assert not drawn.any()


@pytest.mark.parametrize("cross", [False, True])
def test_linear_attention_starts_as_plain_linear_layers(cross: bool) -> None:
    torch.manual_seed(0)
    width = 128
    block = TransformerBlock(width=width, heads=4, hidden=64, attention_init="linear", cross_attention=cross)
    bound = 1 / math.sqrt(width)  # of every one: the features that come in are as many
    made = [block.attention, *([block.cross_attention] if cross else [])]
    for attention in made:
        for part in range(3):  # queries, keys, values
            rows = slice(part * width, (part + 1) * width)
            assert_uniform(attention.in_proj_weight.detach()[rows], bound)
            assert_uniform(attention.in_proj_bias.detach()[rows], bound)
        assert_uniform(attention.out_proj.weight.detach(), bound)
        assert_uniform(attention.out_proj.bias.detach(), bound)


@pytest.mark.parametrize("system", ["seq2seq_2x2", "vit16_tiny"])
def test_hand_written_attention_has_biases_from_the_start(system: str) -> None:
    model = built(system)
    blocks = [module for module in model.modules() if isinstance(module, TransformerBlock)]
    attentions = [a for block in blocks for a in (block.attention, block.cross_attention) if a is not None]
    assert len(attentions) == {"seq2seq_2x2": 4 + 2 * 2, "vit16_tiny": 3}[system]
    for attention in attentions:
        bound = 1 / math.sqrt(attention.width)
        for bias in (attention.in_proj_bias.detach(), attention.out_proj.bias.detach()):
            assert 0 < float(bias.abs().min()) <= float(bias.abs().max()) <= bound


def author_s_reader() -> Iterator[tuple[str, Tensor]]:
    """The weights of the grid reader of Nicocro/w3-vit-mnist, in the order in which its modules are made."""
    d, hidden = 64, 128

    def linear(name: str, fan_in: int, fan_out: int) -> Iterator[tuple[str, Tensor]]:
        layer = nn.Linear(fan_in, fan_out)
        yield from ((f"{name} weight", layer.weight.detach()), (f"{name} bias", layer.bias.detach()))

    def mlp(block: str) -> Iterator[tuple[str, Tensor]]:
        yield from linear(f"{block} mlp in", d, hidden)
        yield from linear(f"{block} mlp out", hidden, d)

    yield from linear("patch", 14 * 14, d)
    yield "patch positions", torch.randn(16, d)
    for number in range(4):
        block = f"encoder {number}"
        yield from linear(f"{block} qkv", d, 3 * d)
        yield from linear(f"{block} out", d, d)
        yield from mlp(block)
    yield "tokens", nn.Embedding(13, d).weight.detach()
    yield "token positions", torch.randn(5, d)
    for number in range(2):
        block = f"decoder {number}"
        yield from linear(f"{block} qkv", d, 3 * d)
        yield from linear(f"{block} cross q", d, d)
        yield from linear(f"{block} cross kv", d, 2 * d)
        yield from linear(f"{block} out", d, d)
        yield from linear(f"{block} cross out", d, d)
        yield from mlp(block)
    yield from linear("head", d, 13)


def our_reader(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Our weights under the same names."""
    state = {name: value.detach() for name, value in model.named_parameters()}
    d = model.head.in_features
    for ours, theirs in (("embed", "patch"), ("head", "head")):
        for part in ("weight", "bias"):
            yield f"{theirs} {part}", state.pop(f"{ours}.{part}")
    yield "patch positions", state.pop("patch_positions")[0]
    yield "tokens", state.pop("tokens.weight")
    yield "token positions", state.pop("token_positions")[0]
    for name, value in state.items():
        side, number, rest = name.split(".", 2)
        block, part = f"{side} {number}", rest.rpartition(".")[2].rpartition("_")[2]
        if "norm" in rest:
            assert torch.equal(value, torch.ones(d) if part == "weight" else torch.zeros(d))
        elif rest.startswith("cross_attention.in_proj"):
            yield f"{block} cross q {part}", value[:d]
            yield f"{block} cross kv {part}", value[d:]
        elif rest.startswith("cross_attention.out_proj"):
            yield f"{block} cross out {part}", value
        elif rest.startswith("attention.in_proj"):
            yield f"{block} qkv {part}", value
        elif rest.startswith("attention.out_proj"):
            yield f"{block} out {part}", value
        else:
            yield f"{block} mlp {'in' if rest.startswith('mlp.0') else 'out'} {part}", value


@pytest.mark.parametrize("seed", [0, 42])
def test_the_grid_reader_draws_the_author_s_weights_bit_for_bit(seed: int) -> None:
    ours = dict(our_reader(built("seq2seq_2x2", seed)))
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    theirs = dict(author_s_reader())
    assert ours.keys() == theirs.keys()
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    assert torch.equal(torch.get_rng_state(), state)  # no number more, no number fewer
