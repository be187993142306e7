"""What a trained transformer looks at: the attention weights of a forward pass, computed beside it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pixelpatch.models.grid_reader import FINISH, PAD, START, GridReader
from pixelpatch.models.transformer import Attention

WORDS = {START: "start", FINISH: "finish", PAD: "padding"}


def spelled(token: int) -> str:
    """A token of a grid reader as people read it."""
    return WORDS.get(token, str(token))


class Reading(NamedTuple):
    """What a grid reader wrote, token by token."""

    tokens: list[int]
    probabilities: list[Tensor]  # of each token, [vocabulary]
    looks: list[Tensor]  # where the decoder looked as it wrote it: [N, N], N patches along a side, summing to one


@contextmanager
def watched(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Within it, each attention of `model` leaves its weights of the last forward here: [B, heads, Q, K] by its name.

    The models' own attention is fused, and never holds them.
    """
    seen: dict[str, Tensor] = {}

    def watch(name: str, attention: Attention) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], options: dict[str, Any]) -> None:
            seen[name] = attention_weights(attention, *inputs, **options)

        return attention.register_forward_pre_hook(hook, with_kwargs=True)

    handles = [watch(name, module) for name, module in model.named_modules() if isinstance(module, Attention)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def attention_weights(
    attention: Attention, x: Tensor, context: Tensor | None = None, *, causal: bool = False
) -> Tensor:
    """softmax(q·kᵀ/√d) by head (Vaswani et al. 2017, §3.2.1): `x` [B, Q, D], `context` [B, K, D] → [B, heads, Q, K]."""
    context = x if context is None else context
    (to_q, to_k, _), (q_bias, k_bias, _) = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    q, k = nn.functional.linear(x, to_q, q_bias), nn.functional.linear(context, to_k, k_bias)
    q, k = (t.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for t in (q, k))  # [B, heads, tokens, d]
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5  # [B, heads, Q, K]
    if causal:
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
    return scores.softmax(dim=-1)


@torch.no_grad()
def read(model: GridReader, grid: Tensor, *, most: int = 4) -> Reading:
    """Greedy decoding of one `grid` [1, H, W], as `GridReader.read`, with what it looked at.

    The look is the cross-attention of the last position, the mean over blocks and heads.
    """
    memory = model.encode(grid[None])
    reading, written = Reading([], [], []), [START]
    with watched(model) as seen:
        while len(written) <= most and written[-1] not in (FINISH, PAD):
            logits = model.decode(memory, torch.tensor([written]))[0, -1]  # [vocabulary]
            cross = [weights[0, :, -1] for name, weights in seen.items() if name.endswith("cross_attention")]
            look = torch.stack(cross).mean(dim=(0, 1))  # [N·N]
            written.append(int(logits.argmax()))
            reading.tokens.append(written[-1])
            reading.probabilities.append(logits.softmax(dim=0))
            reading.looks.append(look.unflatten(0, (round(len(look) ** 0.5), -1)))
    return reading
