"""An image as a sequence of patches."""

from torch import Tensor


def patches(images: Tensor, patch: int) -> Tensor:
    """Cut `images` [B, 1, H, W] into patches, row by row, each flattened: [B, (H/P)·(W/P), P·P]."""
    x = images[:, 0].unflatten(2, (-1, patch)).unflatten(1, (-1, patch))  # [B, H/P, P, W/P, P]
    return x.transpose(2, 3).flatten(3).flatten(1, 2)
