"""Dropout, and the activation that comes before it in every transformer's MLP."""

from torch import Tensor, nn
from torch.nn import functional as F

from pixelpatch.models import kernels


def dropout(x: Tensor, p: float) -> Tensor:
    """Inverted dropout (Srivastava et al. 2014) of `x`, any shape, as in training mode."""
    if p == 0.0:
        return x
    return kernels.dropout(x, p) if kernels.usable(x) else F.dropout(x, p)


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


class ActivatedDropout(Dropout):
    """An activation, `relu` or `gelu` (the exact one, Hendrycks & Gimpel 2016), then dropout."""

    def __init__(self, activation: str, p: float) -> None:
        super().__init__(p)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """`x` of any shape → the same shape."""
        if kernels.usable(x):
            return kernels.activated_dropout(x, self.activation, self.p if self.training else 0.0)
        return super().forward({"relu": F.relu, "gelu": F.gelu}[self.activation](x))
