"""Does a transformer rediscover the grid? Cosine similarity of learned position embeddings. Above: of one position, the
dot, to all others, for five positions of each model. Below: the mean over all pairs against their distance on the
image, in pixels; embeddings that know nothing of the grid lie flat around zero, as they do before training. The largest
distances are those of opposite edges and corners, which hold no ink and can be alike for that. n = 1 seed each; of the
published runs, unless these results have weights of their own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from pixelpatch.figures import style
from pixelpatch.models.vit import VisionTransformer
from pixelpatch.weights import Trained, published

ANCHORS = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))  # of rows and columns
LEAST = 16  # positions: fewer make no picture


@style.styled
def draw(study: Mapping[str, Any], tables: Path, data: Path) -> Figure:
    """Of each vision transformer whose weights `published` finds from `tables`; `data` is not used."""
    models = [
        (trained, positions)
        for trained in published(study, tables)
        if (positions := learned_positions(trained)) is not None and len(positions) >= LEAST
    ]
    if not models:
        return style.empty("No weights with learned positions are here")
    models.sort(key=lambda pair: pair[0].spec["model"]["patch"])
    figure = Figure(figsize=(style.PAGE, 0.95 * len(models) + 2.25), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(0.95 * len(models), 2.25))
    axes = above.subplots(len(models), len(ANCHORS), squeeze=False)
    curve = below.subplots()
    for row, (place, (trained, positions)) in zip(axes, enumerate(models), strict=True):
        similarity = similarities(positions)
        side = round(len(positions) ** 0.5)
        for axis, (down, right) in zip(row, ANCHORS, strict=True):
            at = int(down * (side - 1) + 0.5), int(right * (side - 1) + 0.5)
            _map(axis, similarity[at[0] * side + at[1]].reshape(side, side), at)
        patch = trained.spec["model"]["patch"]
        label = style.model(study, trained.experiment, patch)
        style.row_label(row[0], label)
        colour, marker = style.COLOURS[place % len(style.COLOURS)], style.MARKERS[place % len(style.MARKERS)]
        apart, mean = by_distance(similarity, side)
        curve.plot(patch * apart, mean, f"{marker}-", color=colour, label=label, ms=3)
    curve.axhline(0, color=style.DOCUMENTED, lw=0.6)
    curve.set_xlabel("distance of two positions (pixels)")
    curve.set_ylabel("mean cosine similarity")
    curve.legend()
    return figure


def learned_positions(trained: Trained) -> Tensor | None:
    """The position embeddings of a model's patches [N, D]; None where it learns none."""
    model = trained.model
    if not isinstance(model, VisionTransformer) or trained.spec["model"]["positions"] != "learned":
        return None
    return model.positions.detach()[0, 1 : 1 + model.sequence_length]  # the class token's is the first


def similarities(positions: Tensor) -> np.ndarray:
    """Cosine similarity of all pairs of `positions` [N, D], less their mean, which all have in common: [N, N]."""
    positions = positions.double()
    centred = F.normalize(positions - positions.mean(dim=0), dim=1)
    return (centred @ centred.T).numpy().round(6)  # last bits differ from run to run, and so would the figure's bytes


def by_distance(similarity: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances on a `side` × `side` grid, in cells rounded to whole ones, and the mean similarity at each, from 1."""
    rows, columns = np.divmod(np.arange(side * side), side)
    apart = np.hypot(rows[:, None] - rows, columns[:, None] - columns).round().astype(int)
    found = np.bincount(apart.ravel(), similarity.ravel()) / np.bincount(apart.ravel())
    return np.arange(1, len(found)), found[1:]


def _map(axis: Axes, values: np.ndarray, at: tuple[int, int]) -> None:
    axis.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="none")
    axis.plot(at[1], at[0], "o", color=style.DOCUMENTED, ms=2.5)
    style.bare(axis)
