"""Random changes of training images, a whole batch at once."""

import math

import torch
from torch import Generator, Tensor


def augment(images: Tensor, rng: Generator, *, flip: float = 0.0, crop: dict[str, list[float]] | None = None) -> Tensor:
    """RandomHorizontalFlip and RandomResizedCrop of torchvision, for a whole batch [B, 1, S, S] at once.

    Every image has a draw of its own. Both transforms are linear in the image, so a batch is two matrix products:
    rows · image · columnsᵀ. PIL's rounding to whole grey levels between the two is left out.
    """
    count, side = len(images), images.shape[-1]
    boxes = crop_boxes(count, side, rng, **crop) if crop else torch.tensor([[0, 0, side, side]]).expand(count, 4)
    top, left, height, width = boxes.to(images.device).float().unbind(1)
    rows, columns = _resampling(top, height, side), _resampling(left, width, side)  # [B, S, S]
    mirrored = torch.rand(count, 1, 1, generator=rng, device=rng.device).to(images.device) < flip
    columns = torch.where(mirrored, columns.flip(2), columns)
    return (rows @ images[:, 0] @ columns.transpose(1, 2)).unsqueeze(1)


def crop_boxes(count: int, side: int, rng: Generator, *, scale: list[float], ratio: list[float]) -> Tensor:
    """`count` boxes (top, left, height, width), int64 [count, 4], as torchvision's RandomResizedCrop draws them.

    Ten tries each for an area in `scale` and an aspect ratio, log-uniform in `ratio`, that fit; else the whole image.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=rng, device=rng.device) * (high - low) + low

    area = side * side * uniform(*scale, 10)
    aspect = uniform(math.log(ratio[0]), math.log(ratio[1]), 10).exp()
    width, height = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()  # [count, 10]
    fits = (width > 0) & (width <= side) & (height > 0) & (height <= side)
    first = fits.int().argmax(dim=1, keepdim=True)
    width, height = (torch.where(fits.any(dim=1), size.gather(1, first)[:, 0], side).long() for size in (width, height))
    top, left = ((uniform(0, 1) * (side - size + 1)).long() for size in (height, width))
    return torch.stack([top, left, height, width], dim=1)


def _resampling(start: Tensor, length: Tensor, side: int) -> Tensor:
    """Bilinear weights [B, side, side] that stretch `length` pixels from `start` on over `side` pixels."""
    target = torch.arange(side, device=start.device)
    position = (target + 0.5) * (length / side).unsqueeze(1) - 0.5  # [B, side], within the crop
    position = position.clamp(min=0).minimum(length.unsqueeze(1) - 1) + start.unsqueeze(1)
    return (1 - (position.unsqueeze(2) - target).abs()).clamp(min=0)
