"""Test accuracy of every system, on an axis that is logarithmic in the error rate, so that 98 % and 99 % are as far
apart as 80 % and 90 %. Small points are single seeds (n per system), the large marker their mean with its t-interval,
the diamond the value that the write-up documents. Hollow markers were trained at a reduced budget. A system that reads
grids is shown by its accuracy per digit.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter
from scipy import stats

from pixelpatch.figures import style
from pixelpatch.formatting import fixed, mean_sd
from pixelpatch.tables import read_table
from pixelpatch.tables.accuracy import ACCURACY_METRICS

TICKS = (0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9, 99.99)
FINER = (10, 5, 2, 1, 0.5, 0.2, 0.1)  # steps of the labels, where fewer than ENOUGH of the above are in sight
ENOUGH = 4
HIGHEST = 99.995  # where an accuracy of 100 % is put: the axis has no end


@style.styled
def draw(study: Mapping[str, Any], tables: Path, data: Path) -> Figure:
    """One row per system of `runs.csv` in `tables`; `data` is not used."""
    runs = read_table(tables, "runs", study)
    runs = runs[runs["metric"].isin(ACCURACY_METRICS)]
    systems = style.present(study, runs)
    if not systems:
        return style.empty("No test accuracies")
    figure = Figure(figsize=(style.PAGE, 0.75 + 0.34 * len(systems)), layout="constrained")
    axis = figure.subplots()
    labels = []
    for row, system in enumerate(systems):
        own = runs[runs["experiment"] == system]
        metric = next(metric for metric in ACCURACY_METRICS if metric in set(own["metric"]))
        seeds = own.loc[own["metric"] == metric].sort_values("seed")["value"].to_numpy()
        _row(axis, row, seeds, style.printed_accuracy(study, system, metric), study, system)
        labels.append(style.name(study, system, width=34) + (" (per digit)" if "digit" in metric else ""))
    axis.set_yticks(range(len(systems)), labels)
    axis.set_ylim(len(systems) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0)
    _scale(axis)
    figure.legend(handles=_key(study), loc="outside lower center", ncols=5, columnspacing=1.2, handletextpad=0.4)
    return figure


def _row(axis: Axes, row: int, seeds: np.ndarray, printed: float | None, study: Mapping[str, Any], system: str) -> None:
    """One system's accuracies, `seeds` in percent, at height `row`: seeds below, mean and interval on the line."""
    look, narrowed = style.looks(study)[system], study["experiments"][system]["narrowed"]
    face, edge = ("white", look.colour) if narrowed else (look.colour, "white")
    n, mean = len(seeds), seeds.mean()
    jitter = 0.24 + 0.07 * (np.arange(n) % 3)  # three alternating lines of points: the same in every drawing
    axis.plot(_kept(seeds), row + jitter, look.marker, ms=3.4, mfc=face, mec=edge, mew=0.4, label="seeds")
    if n > 1:
        low, high = _mean_interval(seeds, study["analysis"]["alpha"])
        axis.plot(_kept([low, high]), [row, row], "-|", color=look.colour, lw=1.2, ms=8, label="interval")
    axis.plot(_kept([mean]), [row], look.marker, color=look.colour, mfc=face, ms=5, label="mean")
    if printed is not None:
        axis.plot(_kept([printed]), [row], "D", color=style.DOCUMENTED, mfc="none", ms=5.5, mew=0.9, label="documented")
    said = f"n = {n}, {mean_sd(mean, seeds.std(ddof=1)) if n > 1 else fixed(mean, 2)}"
    axis.text(
        1.01, row, said + (", reduced" if narrowed else ""), transform=axis.get_yaxis_transform(), va="center", size=7
    )


def _mean_interval(seeds: np.ndarray, alpha: float) -> tuple[float, float]:
    """Student's interval of the mean at confidence 1 − alpha."""
    reach = stats.t.isf(alpha / 2, len(seeds) - 1) * stats.sem(seeds)
    return seeds.mean() - reach, seeds.mean() + reach


def _kept(accuracies: Sequence[float]) -> np.ndarray:
    return np.clip(accuracies, 0, HIGHEST)


def _scale(axis: Axes) -> None:
    axis.set_xscale("function", functions=(lambda x: -np.log10(100 - np.minimum(x, HIGHEST)), lambda y: 100 - 10.0**-y))
    drawn = np.concatenate([line.get_xdata() for line in axis.lines])
    ends = 100 - (100 - np.array([drawn.min(), drawn.max()])) * np.array([1.25, 0.8])
    axis.set_xlim(max(-20, ends[0]), ends[1])
    axis.xaxis.set_major_locator(FixedLocator(_ticks(*axis.get_xlim())))
    axis.xaxis.set_minor_locator(FixedLocator([*range(0, 90, 10), *range(90, 99), *np.arange(99, 100, 0.1)]))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_xlabel("test accuracy (%), log scale of the error rate")


def _ticks(low: float, high: float) -> list[float]:
    """The accuracies to label between two ends: the coarsest of the sets that has enough of them."""
    sets = (TICKS, *(np.arange(0, 100, step).round(1) for step in FINER))
    inside = [[float(tick) for tick in ticks if low <= tick <= high] for ticks in sets]
    return next((ticks for ticks in inside if len(ticks) >= ENOUGH), inside[-1])


def _key(study: Mapping[str, Any]) -> list[Line2D]:
    level = 100 * (1 - study["analysis"]["alpha"])
    grey = {"color": style.GREY, "ls": "none"}
    return [
        Line2D([], [], **grey, marker="o", ms=3, label="one seed"),
        Line2D([], [], color=style.GREY, marker="o", ms=5, label=f"mean, {level:g} % t-interval of the mean"),
        Line2D([], [], color=style.DOCUMENTED, ls="none", marker="D", mfc="none", ms=5, label="documented"),
        Line2D([], [], **grey, marker="o", mfc="white", ms=5, label="reduced budget"),
    ]
