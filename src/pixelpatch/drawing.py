"""A drawn digit, made into what MNIST's digits are."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

SIDE, BOX = 28, 20  # pixels: of an image, and of the box that its digit fits (LeCun et al. 1998, §III.A)
INK = 16  # of 255: less is no ink


def centred(ink: np.ndarray) -> Tensor | None:
    """`ink` [H, W], uint8 and 255 where it is blackest, as MNIST has its digits: uint8 [28, 28]; None without ink.

    As in LeCun et al. (1998): the digit is scaled, its shape kept, to fit a box of 20×20 pixels, and its centre of mass
    put into the middle of the image.
    """
    rows, columns = (np.flatnonzero((ink >= INK).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    digit = torch.from_numpy(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32))
    scale = BOX / max(digit.shape)
    size = [max(1, round(scale * length)) for length in digit.shape]
    digit = F.interpolate(digit[None, None], size=size, mode="bilinear", antialias=True)[0, 0]
    middle = [int((digit.sum(dim=1 - axis) * torch.arange(size[axis])).sum() / digit.sum() + 0.5) for axis in (0, 1)]
    top, left = (min(max(SIDE // 2 - at, 0), SIDE - length) for at, length in zip(middle, size, strict=True))
    image = torch.zeros(SIDE, SIDE)
    image[top : top + size[0], left : left + size[1]] = digit
    return image.round().clamp(0, 255).byte()
