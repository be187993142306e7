"""The transformer block against PyTorch's own layers: same weights, same outputs, same gradients."""

import pytest
import torch
from torch import nn

from pixelpatch.models.transformer import Attention, Encoder, TransformerBlock

WIDTH, HEADS, HIDDEN, TOKENS, BATCH = 24, 4, 40, 7, 3
RENAMED = {
    "self_attn.": "attention.",
    "multihead_attn.": "cross_attention.",
    "linear1.": "mlp.0.",
    "linear2.": "mlp.2.",
}


def ours_from(theirs: nn.Module) -> dict[str, torch.Tensor]:
    """PyTorch's state dict of an encoder or decoder layer in our names."""
    norms = ["attention_norm.", *(["cross_norm."] if hasattr(theirs, "norm3") else []), "mlp_norm."]
    names = RENAMED | {f"norm{i}.": name for i, name in enumerate(norms, 1)}
    state = {}
    for key, value in theirs.state_dict().items():
        prefix = next(prefix for prefix in names if key.startswith(prefix))
        state[names[prefix] + key.removeprefix(prefix)] = value
    return state


def randomise(module: nn.Module) -> None:
    """Weights that no symmetry hides behind: zeros and ones of fresh biases and norms become random."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)


def assert_same(
    ours: nn.Module, theirs: nn.Module, named: dict[str, torch.Tensor], a: torch.Tensor, b: torch.Tensor
) -> None:
    """Same output and, after a backward pass from a random direction, the same gradient of every parameter."""
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    direction = torch.randn_like(a)
    (a * direction).sum().backward()
    (b * direction).sum().backward()
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    parameters = dict(theirs.named_parameters())
    assert gradients.keys() == named.keys()
    for name, gradient in gradients.items():
        theirs_name = next(k for k, v in theirs.state_dict().items() if v.data_ptr() == named[name].data_ptr())
        torch.testing.assert_close(gradient, parameters[theirs_name].grad, rtol=1e-9, atol=1e-10, msg=name)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def double(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_block_is_pytorch_s_encoder_layer(norm: str, activation: str) -> None:
    theirs = nn.TransformerEncoderLayer(
        WIDTH, HEADS, HIDDEN, dropout=0.0, activation=activation, batch_first=True, norm_first=norm == "pre"
    ).double()
    randomise(theirs)
    ours = TransformerBlock(width=WIDTH, heads=HEADS, hidden=HIDDEN, norm=norm, activation=activation).double()
    ours.load_state_dict(named := ours_from(theirs))
    x = double(BATCH, TOKENS, WIDTH)
    assert_same(ours, theirs, named, ours(x), theirs(x))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_cross_attention_block_is_pytorch_s_decoder_layer(norm: str) -> None:
    theirs = nn.TransformerDecoderLayer(
        WIDTH, HEADS, HIDDEN, dropout=0.0, batch_first=True, norm_first=norm == "pre"
    ).double()
    randomise(theirs)
    ours = TransformerBlock(
        width=WIDTH, heads=HEADS, hidden=HIDDEN, norm=norm, activation="relu", cross_attention=True
    ).double()
    ours.load_state_dict(named := ours_from(theirs))
    x, memory = double(BATCH, TOKENS, WIDTH), double(BATCH, 11, WIDTH)
    mask = nn.Transformer.generate_square_subsequent_mask(TOKENS, dtype=torch.float64)
    expected = theirs(x, memory, tgt_mask=mask, tgt_is_causal=True)
    assert_same(ours, theirs, named, ours(x, memory, causal=True), expected)


@pytest.mark.parametrize("cross", [False, True])
def test_attention_is_pytorch_s(cross: bool) -> None:
    theirs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).double()
    randomise(theirs)
    ours = Attention(width=WIDTH, heads=HEADS).double()
    ours.load_state_dict(theirs.state_dict())
    x = double(BATCH, TOKENS, WIDTH)
    context = double(BATCH, 5, WIDTH) if cross else x
    expected = theirs(x, context, context, need_weights=False)[0]
    assert_same(ours, theirs, theirs.state_dict(), ours(x, context if cross else None), expected)


def test_fresh_parameters_have_pytorch_s_distribution() -> None:
    theirs = nn.TransformerEncoderLayer(64, 4, 256, batch_first=True)
    ours = TransformerBlock(width=64, heads=4, hidden=256)
    for name, expected in ours_from(theirs).items():
        value = ours.state_dict()[name]
        assert value.shape == expected.shape
        assert value.std() == pytest.approx(float(expected.std()), rel=0.15, abs=1e-9), name
        assert value.abs().max() == pytest.approx(float(expected.abs().max()), rel=0.15, abs=1e-9), name


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("shared", [False, True])
def test_first_rows_alone_are_the_first_rows_of_all(norm: str, shared: bool) -> None:
    encoder = Encoder(depth=3, width=WIDTH, heads=HEADS, hidden=HIDDEN, norm=norm, shared_norm=shared).double()
    x = double(BATCH, TOKENS, WIDTH)
    torch.testing.assert_close(encoder(x, rows=1), encoder(x)[:, :1], rtol=1e-12, atol=1e-12)


def test_a_shared_norm_is_one_norm() -> None:
    counts = [
        sum(p.numel() for p in TransformerBlock(width=8, heads=2, hidden=8, shared_norm=shared).parameters())
        for shared in (False, True)
    ]
    assert counts[0] - counts[1] == 2 * 8


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="heads is 5, which does not divide the width 24"):
        Attention(width=24, heads=5)
