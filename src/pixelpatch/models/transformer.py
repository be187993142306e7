"""Attention and the transformer block that every transformer of the study is built from.

Parameters have the shapes and the initialisation of PyTorch's `nn.MultiheadAttention`, so weights carry over.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pixelpatch.checks import heads_divide_width, raise_first
from pixelpatch.models import kernels
from pixelpatch.models.dropout import ActivatedDropout, Dropout


class Attention(nn.Module):
    """Multi-head scaled dot-product attention (Vaswani et al. 2017, §3.2.2).

    Self-attention when `context` is left out, cross-attention with it. Raises ValueError where `heads` does not divide
    `width`.
    """

    def __init__(self, *, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        raise_first(heads_divide_width(heads=heads, width=width))
        self.width, self.heads, self.dropout = width, heads, dropout
        self.in_proj_weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(3 * width, width)))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
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


class TransformerBlock(nn.Module):
    """Attention, cross-attention where asked for, and an MLP, each with dropout, a residual and a LayerNorm.

    `norm="post"` normalises the sum of each residual (Vaswani et al. 2017; PyTorch's default), `norm="pre"` the input
    of each half (Xiong et al. 2020; every ViT). `shared_norm` uses one LayerNorm for both halves of a block.
    `attention_dropout`, on the attention weights, is `dropout` unless it is given.
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
        norm: str = "pre",
        activation: str = "gelu",
        shared_norm: bool = False,
        cross_attention: bool = False,
    ) -> None:
        super().__init__()
        self.pre_norm = norm == "pre"
        attention_dropout = dropout if attention_dropout is None else attention_dropout
        self.attention = Attention(width=width, heads=heads, dropout=attention_dropout)
        self.cross_attention = (
            Attention(width=width, heads=heads, dropout=attention_dropout) if cross_attention else None
        )
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            ActivatedDropout(activation, dropout),
            nn.Linear(hidden, width),
        )
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
            x = x[:, :rows] + self.dropout(self._attend(y, rows, causal))
            if self.cross_attention is not None:
                x = x + self.dropout(self.cross_attention(self.cross_norm(x), context))
            return x + self.dropout(self.mlp(self.mlp_norm(x)))
        x = self.attention_norm(x[:, :rows] + self.dropout(self._attend(x, rows, causal)))
        if self.cross_attention is not None:
            x = self.cross_norm(x + self.dropout(self.cross_attention(x, context)))
        return self.mlp_norm(x + self.dropout(self.mlp(x)))

    def _attend(self, x: Tensor, rows: int | None, causal: bool) -> Tensor:
        return self.attention(x, causal=causal) if rows is None else self.attention(x[:, :rows], x)


class Encoder(nn.Sequential):
    """`depth` transformer blocks, one after the other; `options` are those of `TransformerBlock`."""

    def __init__(self, *, depth: int, **options: object) -> None:
        super().__init__(*(TransformerBlock(**options) for _ in range(depth)))

    def forward(self, x: Tensor, *, rows: int | None = None) -> Tensor:
        """`x` [B, T, D] → [B, T, D]; `rows=1` computes the class token alone in the last block: [B, 1, D].

        Nothing downstream of a class token reads the other rows, so leaving them out changes no result.
        """
        *first, last = self
        for block in first:
            x = block(x)
        return last(x, rows=rows)
