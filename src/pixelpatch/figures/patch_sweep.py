"""Pixels or patches: test accuracy of one backbone at every patch size, and of a CNN with as many parameters, for each
size of the training set and one budget of images seen; against patch size, against the floating-point operations of
training, and against its measured seconds. Small points are single seeds (n in the legend), lines join their means, at
the median of their seconds; a ring marks the patch size that validation accuracy chooses, and squares are the CNN.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from pixelpatch.figures import style
from pixelpatch.formatting import patch_size
from pixelpatch.metrics import ACCURACY, TRAIN_SECONDS
from pixelpatch.tables import read_table


@style.styled
def draw(study: Mapping[str, Any], tables: Path, data: Path) -> Figure:
    """Every row of `patch_sweep.csv` in `tables`, its seeds from `runs.csv`; `data` is not used."""
    sweep, runs = read_table(tables, "patch_sweep", study), read_table(tables, "runs", study)
    if sweep.empty:
        return style.empty("No patch sizes were compared")
    coarse_first = sweep.sort_values("patch", ascending=False)  # and what has no patches last
    places = {name: place for place, name in enumerate(dict.fromkeys(_names(coarse_first)))}
    sweep = sweep.assign(place=[places[name] for name in _names(sweep)])
    figure = Figure(figsize=(style.PAGE, 2.9), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    for axis, x in zip(axes, ("place", "tera_flops", "seconds"), strict=True):
        for place, (images, rows) in enumerate(sweep.groupby("train_images")):
            n = style.seeds(int(rows["n_seeds"].max()), least=int(rows["n_seeds"].min()))
            _line(axis, x, rows, runs, style.COLOURS[place], f"{images:,} training images\n{n}")
    axes[0].set_xticks(range(len(places)), list(places))
    axes[0].set_xlabel("patch (pixels along a side)")
    axes[0].set_ylabel("test accuracy (%)")
    axes[1].set_xlabel("operations of training (10¹²)")
    axes[2].set_xlabel("seconds of training")
    _label(axes[1], sweep)  # so many operations whatever the training set
    for axis in axes[1:]:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _line(axis: Axes, x: str, rows: pd.DataFrame, runs: pd.DataFrame, colour: str, label: str) -> None:
    patched = rows.dropna(subset="patch")
    axis.plot(patched[x], patched["test_mean"], "-", color=colour, label=label)
    for row in rows.to_dict("records"):
        marker = "s" if np.isnan(row["patch"]) else "o"
        own = runs[runs["experiment"] == row["experiment"]].pivot(index="seed", columns="metric", values="value")
        own = own.reindex(columns=[ACCURACY, TRAIN_SECONDS])
        at = own[TRAIN_SECONDS] if x == "seconds" else [row[x]] * len(own)
        axis.plot(at, own[ACCURACY], marker, color=colour, ms=2.2, mew=0, alpha=0.6)
        axis.plot([row[x]], [row["test_mean"]], marker, color=colour, ms=4)
        if row["best"]:
            axis.plot([row[x]], [row["test_mean"]], "o", ms=8, mfc="none", color=colour)


def _label(axis: Axes, sweep: pd.DataFrame) -> None:
    """Every patch size, above its highest point."""
    for name, rows in sweep.groupby(_names(sweep)):
        at = rows["tera_flops"].max(), rows["test_max"].max()
        axis.annotate(name, at, (0, 5), textcoords="offset points", size=6, ha="center")


def _names(sweep: pd.DataFrame) -> list[str]:
    return [patch_size(size) for size in sweep["patch"]]
