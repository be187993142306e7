"""What training minimises, one file each."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the Snakefile, too, asks for a loss's name, and need not wait for PyTorch
    from torch import Tensor


def loss_name(training: dict[str, Any]) -> str:
    """The file, beside this one, of the loss that a spec's `training` block names."""
    return "softmax_cross_entropy" if training["softmax_before_loss"] else "cross_entropy"


def build_loss(training: dict[str, Any]) -> "Callable[[Tensor, Tensor], Tensor]":
    """The loss of a spec's `training` block: logits [..., C] and targets [...] in, their mean loss out."""
    return import_module(f"{__name__}.{loss_name(training)}").loss
