"""Cross-entropy of logits."""

from torch import Tensor
from torch.nn import functional as F


def loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of `logits` [..., C] against `targets` [...], in nats."""
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten())
