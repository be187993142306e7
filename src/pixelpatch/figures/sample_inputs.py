"""What the models see, from MNIST itself. Above: one digit cut into square patches, from a single token to a token per
pixel. Middle: the digit resized to 32×32 and cut into four patches, and a 2×2 grid of digits with the sequence that is
to be read from it. Below: the digit as one write-up augments its training images, cropped and, half the time, mirrored:
a mirrored digit is no digit. n = 1 digit, and four for the grid.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from pixelpatch import data as mnist
from pixelpatch.augmentation import augment
from pixelpatch.figures import style
from pixelpatch.formatting import counted
from pixelpatch.grids import tile

PATCHES = (28, 14, 7, 4, 2, 1)
DIGIT = 0  # the training image that is cut, resized and augmented
GRID = slice(0, 4)  # the test images of the grid
DRAWS = 3  # augmented views of each kind
AUGMENTATION = {"flip": 0.5, "crop": {"scale": [0.8, 1.0], "ratio": [0.9, 1.1]}}  # where no experiment has one


@style.styled
def draw(study: Mapping[str, Any], tables: Path, data: Path) -> Figure:
    """Three rows of images from the MNIST files in `data`; `tables` is not used. Raises UserError as `load_mnist`."""
    images = mnist.load_mnist(data)
    digit, label = images["train_images"][DIGIT][None, None].float() / 255, int(images["train_labels"][DIGIT])
    figure = Figure(figsize=(style.PAGE, 4.3), layout="constrained")
    cut, inputs, augmented = figure.subfigures(3, 1, height_ratios=(1, 1.15, 1.02))
    for axis, patch in zip(cut.subplots(1, len(PATCHES)), PATCHES, strict=True):
        _show(axis, digit, patch)
        tokens = (mnist.SIDE // patch) ** 2
        axis.set_title(f"patch {patch}\n{counted(tokens, 'token')}")
    _models_inputs(inputs, digit, images["test_images"][GRID], images["test_labels"][GRID])
    views = [(f"training image,\na {label}", digit), *_augmented(digit, _augmentation(study))]
    for axis, (title, view) in zip(augmented.subplots(1, len(views)), views, strict=True):
        _show(axis, view, mnist.SIDE)
        axis.set_title(title)
    figure.supxlabel(f"n = 1 training digit, and {GRID.stop} test digits in the grid", fontsize="small")
    return figure


def _models_inputs(figure: Figure, digit: Tensor, digits: Tensor, labels: Tensor) -> None:
    """The resized digit and the grid, side by side, each beside what is to be read from it."""
    small, grid, words = figure.subplots(1, 3, width_ratios=(1, 1, 1.3))
    spec = {"resize": 32, "standardise": False}
    _show(small, mnist.prepare((255 * digit).byte(), spec), 16)
    small.set_title("resized to 32×32, patch 16\n4 tokens")
    _show(grid, tile(digits[None, :, None].float() / 255), 14)
    grid.set_title("2×2 grid, 56×56, patch 14\n16 tokens")
    words.set_axis_off()
    target = "  ".join(str(int(label)) for label in labels)
    words.text(0, 0.62, "to be read from the grid:", va="center", transform=words.transAxes)
    words.text(
        0, 0.42, f"<start>  {target}  <finish>", va="center", family="DejaVu Sans Mono", transform=words.transAxes
    )


def _augmentation(study: Mapping[str, Any]) -> dict[str, Any]:
    """The augmentation of the first experiment that has one."""
    blocks = (experiment.get("spec", {}).get("data", {}) for experiment in study["experiments"].values())
    return next((block["augmentation"] for block in blocks if "augmentation" in block), AUGMENTATION)


def _augmented(digit: Tensor, augmentation: Mapping[str, Any]) -> list[tuple[str, Tensor]]:
    """Titles and augmented views: first DRAWS that were not mirrored, then, where that happens, DRAWS that were."""
    rng = torch.Generator().manual_seed(0)
    views = []
    for title, flip in (("cropped", 0.0), ("cropped,\nmirrored", 1.0)):
        if flip and not augmentation.get("flip"):
            continue
        batch = digit.expand(DRAWS, -1, -1, -1)
        views += [(title, view[None]) for view in augment(batch, rng, flip=flip, crop=augmentation.get("crop"))]
    return views


def _show(axis: Axes, image: Tensor, patch: int) -> None:
    """A single image [1, 1, S, S], values 0 to 1, dark on light as in print, with lines between its patches."""
    pixels = image[0, 0].numpy()
    side = len(pixels)
    axis.imshow(pixels, cmap="Greys", vmin=0, vmax=1, interpolation="none")
    edges = np.arange(0, side + 1, patch) - 0.5
    lines = [[(edge, -0.5), (edge, side - 0.5)] for edge in edges]
    lines += [[(y, x) for x, y in line] for line in lines]
    axis.add_collection(
        LineCollection(lines, colors=style.COLOURS[1], linewidths=min(0.8, 0.15 + 0.05 * patch), clip_on=False)
    )
    style.bare(axis)
