"""Dropout with masks that a CPU draws quickly."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def dropout(x: Tensor, p: float) -> Tensor:
    """Inverted dropout (Srivastava et al. 2014) of `x`, any shape, as in training mode.

    PyTorch draws a CPU mask one number at a time, which costs the small transformers a quarter of their time and the
    pixel transformer most of it. Here one 64-bit draw decides four elements, 16 independent bits each: the rate is `p`
    to within 1/131072, and kept elements are scaled by the rate actually applied, so the mean is exact.
    """
    if p == 0.0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p)
    dropped = min(round(p * 2**16), 2**16 - 1)  # of all 16-bit numbers
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    bits = draws.view(torch.int16)[: x.numel()].view(x.shape)
    kept = torch.ge(bits, dropped - 2**15, out=torch.empty_like(x, requires_grad=False))  # 0.0 or 1.0, in one pass
    return x * kept.mul_(2**16 / (2**16 - dropped))


class Dropout(nn.Module):
    """`dropout` in training mode, the identity otherwise. Raises ValueError where `p` is not in [0, 1)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout is {p}; choose a rate from 0 up to, but not including, 1.")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """`x` of any shape → the same shape."""
        return dropout(x, self.p) if self.training else x
