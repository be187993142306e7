"""Where vision transformers look: the attention of the class token in the last block, the mean over its heads, over the
same test digits, from a token per pixel to a few patches. Darker is more, scaled by image; where a model is wrong, what
it reads stands below. n = 1 seed each; of the published runs, unless these results have weights of their own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from pixelpatch import data as mnist
from pixelpatch.attention import watched
from pixelpatch.data import prepare
from pixelpatch.figures import style
from pixelpatch.models.vit import VisionTransformer
from pixelpatch.weights import Trained, published


@style.styled
def draw(study: Mapping[str, Any], tables: Path, data: Path) -> Figure:
    """A row per model that `published` finds from `tables`, on the first test image of each class in `data`."""
    models = [trained for trained in published(study, tables) if _attends(trained)]
    if not models:
        return style.empty("No weights of a vision transformer are here")
    models.sort(key=lambda trained: trained.spec["model"]["patch"])
    files = mnist.load_mnist(data)
    first = torch.tensor([int((files["test_labels"] == digit).nonzero()[0]) for digit in range(10)])
    digits = files["test_images"][first][:, None]  # [10, 1, 28, 28]
    figure = Figure(figsize=(style.PAGE, 0.78 * (len(models) + 1)), layout="constrained")
    axes = figure.subplots(len(models) + 1, 10)
    for axis, digit in zip(axes[0], digits, strict=True):
        _show(axis, digit[0] / 255.0)
    style.row_label(axes[0, 0], "the digit")
    for row, trained in zip(axes[1:], models, strict=True):
        maps, answers = class_attention(trained, digits)
        for axis, map_, answer, digit in zip(row, maps, answers.tolist(), range(10), strict=True):
            _show(axis, map_)
            if answer != digit:
                axis.set_xlabel(f"reads {answer}", size=6, labelpad=1)
        style.row_label(row[0], style.model(study, trained.experiment, trained.spec["model"]["patch"]))
    return figure


def class_attention(trained: Trained, digits: Tensor) -> tuple[Tensor, Tensor]:
    """What the class token of the last block attends to, in `digits` (uint8 [B, 1, 28, 28]), and what they are read as.

    Returns [B, N, N], N patches along a side, each image's map summing to the share that the patches have; and [B].
    """
    with watched(trained.model) as seen, torch.no_grad():
        answers = trained.model(prepare(digits, trained.spec["data"])).argmax(dim=1)
    last = [weights for name, weights in seen.items() if name.startswith("encoder.")][-1]  # [B, heads, 1, 1 + N·N]
    patches = last.mean(dim=1)[:, 0, 1:]
    return patches.unflatten(1, (round(patches.shape[1] ** 0.5), -1)), answers


def _attends(trained: Trained) -> bool:
    return isinstance(trained.model, VisionTransformer)


def _show(axis: Axes, image: Tensor) -> None:
    axis.imshow(image.numpy(), cmap="Greys", vmin=0, interpolation="none")
    style.bare(axis)
