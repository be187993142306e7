"""What models look at, held against PyTorch's own attention and against what the models themselves answer."""

from typing import Any

import pytest
import torch
from torch import nn

from pixelpatch.attention import attention_weights, read, watched
from pixelpatch.models.grid_reader import GridReader
from pixelpatch.models.transformer import Attention
from pixelpatch.models.vit import VisionTransformer

VIT = dict(
    image=8, patch=2, width=16, depth=2, heads=4, hidden=32, norm="pre", dropout=0.1, attention_dropout=0.1,
    positions="learned", head_norm=True,
)  # fmt: skip
READER = dict(image=8, patch=2, width=16, depth=2, heads=2, hidden=32, dropout=0.1, norm="post", activation="relu")


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("cross", [False, True])
def test_the_weights_are_those_of_pytorch(causal: bool, cross: bool) -> None:
    torch.manual_seed(0)
    ours, theirs = Attention(width=24, heads=3), nn.MultiheadAttention(24, 3, batch_first=True)
    for bias in (ours.in_proj_bias, ours.out_proj.bias):
        nn.init.normal_(bias)  # zero by itself
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 5, 24)
    context = torch.randn(2, 5, 24) if cross else x
    mask = torch.ones(5, 5, dtype=torch.bool).triu(1) if causal else None
    expected = theirs(x, context, context, attn_mask=mask, average_attn_weights=False)[1]
    got = attention_weights(ours, x, context if cross else None, causal=causal)
    torch.testing.assert_close(got, expected)


def test_a_watched_forward_is_the_same_and_leaves_weights_that_sum_to_one() -> None:
    torch.manual_seed(0)
    model = VisionTransformer(**VIT).eval()
    images = torch.randn(3, 1, 8, 8)
    expected = model(images)
    with watched(model) as seen:
        assert torch.equal(model(images), expected)
    assert {name: tuple(weights.shape) for name, weights in seen.items()} == {
        "encoder.0.attention": (3, 4, 17, 17),
        "encoder.1.attention": (3, 4, 1, 17),  # of the class token alone
    }
    for weights in seen.values():
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))
    seen.clear()
    model(images)
    assert not seen  # watched no more


@pytest.mark.parametrize(
    "options", [{}, {"norm": "pre", "decoder_depth": 1, "attention_init": "linear", "final_norm": False}]
)
def test_reading_is_the_model_s_own_reading(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = GridReader(**READER | options).eval()
    grids = torch.randn(6, 1, 8, 8)
    expected = model.read(grids)
    for grid, tokens in zip(grids, expected.tolist(), strict=True):
        reading = read(model, grid)
        assert reading.tokens == tokens[: len(reading.tokens)]
        assert len(reading.tokens) == 4 or reading.tokens[-1] in (11, 12)
        for token, probabilities, look in zip(*reading, strict=True):
            assert int(probabilities.argmax()) == token
            assert look.shape == (4, 4)
            torch.testing.assert_close(probabilities.sum(), torch.tensor(1.0))
            torch.testing.assert_close(look.sum(), torch.tensor(1.0))
