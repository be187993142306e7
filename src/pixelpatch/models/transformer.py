"""Attention and the transformer block that every transformer of the study is built from.

Parameters have the names and shapes of PyTorch's `nn.MultiheadAttention`, so weights carry over.
"""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pixelpatch.checks import heads_divide_width, raise_first
from pixelpatch.models import kernels
from pixelpatch.models.dropout import ActivatedDropout, Dropout


class Attention(nn.Module):
    """Multi-head scaled dot-product attention (Vaswani et al. 2017, §3.2.2).

    Self-attention when `context` is left out, cross-attention with it. `dropout` is on the attention weights. The
    parameters start as those of `nn.MultiheadAttention`: the input projection Xavier-uniform, its bias and the output
    projection's zero. Raises ValueError where `heads` does not divide `width`.
    """

    def __init__(self, *, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        raise_first(heads_divide_width(heads=heads, width=width))
        self.width, self.heads, self.dropout = width, heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        # Not drawn yet; on the device of the other parameters.
        self.out_proj = nn.Linear(width, width, device="meta").to_empty(device=self.in_proj_weight.device)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew, as `nn.MultiheadAttention` does."""
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.in_proj_bias)
        self.out_proj.reset_parameters()
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, context: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """`x` [B, Q, D] attends to `context` [B, K, D] (itself by default); returns [B, Q, D]."""
        context = x if context is None else context
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        # Three products: a single one would be no faster, and its gradient has to be put together from three.
        q, k, v = (F.linear(t, w, b) for t, w, b in zip((x, context, context), weights, biases, strict=True))
        dropout_p = self.dropout if self.training else 0.0
        return self.out_proj(attend(q, k, v, heads=self.heads, dropout_p=dropout_p, causal=causal))


def attend(q: Tensor, k: Tensor, v: Tensor, *, heads: int, dropout_p: float, causal: bool) -> Tensor:
    """dropout(softmax(q·kᵀ/√d))·v by head: `q` [B, Q, heads·d], `k` and `v` [B, K, heads·d] → [B, Q, heads·d]."""
    if q.shape[-1] == heads * kernels.FEATURES and kernels.usable(q, k, v):
        return kernels.attention(q, k, v, heads=heads, dropout_p=dropout_p, causal=causal)
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))  # [B, heads, tokens, d]
    y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout_p, is_causal=causal)
    return y.transpose(1, 2).flatten(-2)


class PlainAttention(Attention):
    """`Attention` written with `nn.Linear` layers by hand, so that it starts as they do.

    Weights and biases are uniform in ±1/√fan_in. Self-attention has one layer for queries, keys and values;
    cross-attention (`cross`) one for the queries, and one for keys and values. `TransformerBlock` draws the parameters.
    """

    def __init__(self, *, width: int, heads: int, dropout: float = 0.0, cross: bool = False) -> None:
        super().__init__(width=width, heads=heads, dropout=dropout)
        self.cross = cross

    def reset_parameters(self) -> None:
        """Nothing: see `draw_input` and `draw_output`."""

    def draw_input(self) -> None:
        """Draw the layers of queries, keys and values."""
        for first, last in pairwise((0, 1, 3) if self.cross else (0, 3)):
            layer = nn.Linear(self.width, (last - first) * self.width)
            rows = slice(first * self.width, last * self.width)
            with torch.no_grad():
                self.in_proj_weight[rows], self.in_proj_bias[rows] = layer.weight, layer.bias

    def draw_output(self) -> None:
        """Draw the layer of the output."""
        self.out_proj.reset_parameters()


class TransformerBlock(nn.Module):
    """Attention, cross-attention where asked for, and an MLP, each with dropout, a residual and a LayerNorm.

    `norm="post"` normalises the sum of each residual (Vaswani et al. 2017; PyTorch's default), `norm="pre"` the input
    of each half (Xiong et al. 2020; every ViT). `shared_norm` uses one LayerNorm for both halves of a block.
    `attention_init="multihead"` starts attention as `nn.MultiheadAttention`, `"linear"` as plain `nn.Linear` layers.
    Dropout is at four sites: the attention weights (`attention_dropout`), the attention's output before the residual
    (`attention_output_dropout`; both are `dropout` unless given), and the MLP's hidden and output features (`dropout`).
    Equal to PyTorch's `TransformerEncoderLayer` or, with `cross_attention`, `TransformerDecoderLayer`.
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        hidden: int,
        dropout: float = 0.0,
        attention_dropout: float | None = None,
        attention_output_dropout: float | None = None,
        attention_init: str = "multihead",
        norm: str = "pre",
        activation: str = "gelu",
        shared_norm: bool = False,
        cross_attention: bool = False,
    ) -> None:
        super().__init__()
        self.pre_norm = norm == "pre"
        attention_dropout = dropout if attention_dropout is None else attention_dropout
        attention_output_dropout = dropout if attention_output_dropout is None else attention_output_dropout
        attention = dict(width=width, heads=heads, dropout=attention_dropout)
        if attention_init == "linear":
            self.attention = PlainAttention(**attention)
            self.cross_attention = PlainAttention(**attention, cross=True) if cross_attention else None
            # The order of the grid reader's author, whose very run can so be repeated.
            made = [self.attention, *([self.cross_attention] if cross_attention else [])]
            for each in made:
                each.draw_input()
            for each in made:
                each.draw_output()
        else:
            self.attention = Attention(**attention)
            self.cross_attention = Attention(**attention) if cross_attention else None
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            ActivatedDropout(activation, dropout),
            nn.Linear(hidden, width),
        )
        self.attention_output_dropout = Dropout(attention_output_dropout)
        self.dropout = Dropout(dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.cross_norm = nn.LayerNorm(width) if cross_attention else None
        self.mlp_norm = self.attention_norm if shared_norm else nn.LayerNorm(width)

    def forward(
        self, x: Tensor, context: Tensor | None = None, *, causal: bool = False, rows: int | None = None
    ) -> Tensor:
        """`x` [B, T, D] → [B, T, D]; with `rows`, only the first `rows` tokens are computed: [B, rows, D]."""
        if self.pre_norm:
            y = self.attention_norm(x)
            x = x[:, :rows] + self.attention_output_dropout(self._attend(y, rows, causal))
            if self.cross_attention is not None:
                x = x + self.attention_output_dropout(self.cross_attention(self.cross_norm(x), context))
            return x + self.dropout(self.mlp(self.mlp_norm(x)))
        x = self.attention_norm(x[:, :rows] + self.attention_output_dropout(self._attend(x, rows, causal)))
        if self.cross_attention is not None:
            x = self.cross_norm(x + self.attention_output_dropout(self.cross_attention(x, context)))
        return self.mlp_norm(x + self.dropout(self.mlp(x)))

    def _attend(self, x: Tensor, rows: int | None, causal: bool) -> Tensor:
        return self.attention(x, causal=causal) if rows is None else self.attention(x[:, :rows], x)


class Encoder(nn.Sequential):
    """`depth` transformer blocks, one after the other; `options` are those of `TransformerBlock`.

    `layer_init="independent"` draws each block; `"copied"` draws one and starts all as copies of it, as
    `nn.TransformerEncoder` does with the layer that it is given.
    """

    def __init__(self, *, depth: int, layer_init: str = "independent", **options: object) -> None:
        if layer_init == "copied":
            block = TransformerBlock(**options)
            super().__init__(*(copy.deepcopy(block) for _ in range(depth)))
        else:
            super().__init__(*(TransformerBlock(**options) for _ in range(depth)))

    def forward(self, x: Tensor, *, rows: int | None = None) -> Tensor:
        """`x` [B, T, D] → [B, T, D]; `rows=1` computes the class token alone in the last block: [B, 1, D].

        Nothing downstream of a class token reads the other rows, so leaving them out changes no result.
        """
        *first, last = self
        for block in first:
            x = block(x)
        return last(x, rows=rows)
