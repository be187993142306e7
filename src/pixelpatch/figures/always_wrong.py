"""The test images that every seed of a system gets wrong, the first of them, each above its label; below a system's
title stand n, its seeds, and how many such images there are. Only systems that classify single digits are shown.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pixelpatch import data as mnist
from pixelpatch.analysis.variance import bits
from pixelpatch.figures import style
from pixelpatch.formatting import counted
from pixelpatch.tables import read_table

SHOWN = 14


@style.styled
def draw(study: Mapping[str, Any], tables: Path, data: Path) -> Figure:
    """A row per system of `correctness.csv` in `tables`, its images from the MNIST files in `data`."""
    correctness = read_table(tables, "correctness", study)
    systems = [
        system
        for system in style.present(study, correctness)
        if "grids" not in study["experiments"][system]["spec"]["data"]
    ]
    if not systems:
        return style.empty("No system has run")
    files = mnist.load_mnist(data)
    figure = Figure(figsize=(style.PAGE, 0.95 * len(systems)), layout="constrained")
    for part, system in zip(figure.subfigures(len(systems), 1, squeeze=False)[:, 0], systems, strict=True):
        own = correctness[correctness["experiment"] == system]
        right = np.stack([bits(run["right"], run["items"]) for run in own.to_dict("records")])  # [seeds, images]
        wrong = np.flatnonzero(~right.any(axis=0))
        test = mnist.make_splits(study["experiments"][system]["spec"]["data"], files)["test"]
        said = f"{style.seeds(len(own))}, {counted(len(wrong), 'image')}"
        part.suptitle(style.heading(study, system, said), x=0.01, ha="left", size=7)
        axes = part.subplots(1, SHOWN)
        for axis in axes:
            style.bare(axis)
        for axis, image in zip(axes, wrong, strict=False):
            axis.imshow(test.images[image, 0].numpy(), cmap="Greys", vmin=0, vmax=255)
            axis.set_xlabel(str(int(test.labels[image])), labelpad=1)
    return figure
