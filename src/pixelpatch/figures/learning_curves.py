"""Learning curves of every system: train loss and, where they were measured, validation loss and accuracy; and the
losses of single batches, in training mode, where a training log is documented. Thin lines are single seeds, the thick
line with markers is their mean, the band spans the lowest to the highest seed, and the black dashed line is the curve
that the write-up prints; n is the number of seeds. Systems that were trained at a reduced budget are marked and test no
documented curve.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from pixelpatch.figures import style
from pixelpatch.metrics import BATCH_LOSS
from pixelpatch.tables import read_table

METRICS = {
    "train/loss": "train loss",
    "validation/loss": "validation loss",
    "validation/accuracy": "validation acc. (%)",
}
DRAWN = METRICS | {BATCH_LOSS: "loss of one batch"}
LOG_FROM = 20  # a loss that falls by more than this factor is drawn on a log axis
SHADE = 20  # of very many seeds, each line is so faint that their density shows and the mean stays in sight
MARKED = 10  # markers per line, about: more hide the line


@style.styled
def draw(study: Mapping[str, Any], tables: Path, data: Path) -> Figure:
    """One panel per metric and system of `curves.csv` in `tables`; `data` is not used."""
    curves = read_table(tables, "curves", study)
    curves = curves[curves["metric"].isin(DRAWN)]
    kinds = [
        (metric, system) for metric in DRAWN for system in style.present(study, curves[curves["metric"] == metric])
    ]
    if not kinds:
        return style.empty("No learning curves")
    figure, axes = style.panels(len(kinds), columns=3, height=1.6)
    for axis, (metric, system) in zip(axes, kinds, strict=True):
        chosen = curves[(curves["metric"] == metric) & (curves["experiment"] == system)]
        _panel(axis, study, system, metric, chosen.pivot(index="epoch", columns="seed", values="value"))
    figure.legend(handles=_key(), loc="outside lower center", ncols=4)
    return figure


def _panel(axis: Axes, study: Mapping[str, Any], system: str, metric: str, seeds: pd.DataFrame) -> None:
    """`seeds` has a row per epoch (its index, from 1) and a column per seed."""
    look, mean = style.looks(study)[system], seeds.mean(axis="columns")
    printed = style.printed_curve(study, system, metric)
    axis.fill_between(
        seeds.index, seeds.min(axis="columns"), seeds.max(axis="columns"), color=look.colour, alpha=0.2, lw=0
    )
    alpha = min(0.6, SHADE / seeds.shape[1])
    axis.plot(seeds, color=look.colour, lw=0.5, alpha=alpha, label="_seed")
    axis.plot(mean, color=look.colour, marker=look.marker, markevery=1 + len(seeds) // MARKED, label="mean")
    if printed:
        epochs = range(1, len(printed) + 1)
        axis.plot(epochs, printed, **_PRINTED, markevery=1 + len(printed) // MARKED, label="documented")
    drawn = [*seeds.to_numpy().ravel(), *printed]
    if metric.endswith("/loss") and min(drawn) > 0 and max(drawn) / min(drawn) > LOG_FROM:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
    last = max(len(seeds), len(printed))
    axis.set_xlim(1 - 0.03 * last - 0.3 * (last == 1), last + 0.03 * last + 0.3 * (last == 1))
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axis.set_xlabel("logged batch" if metric == BATCH_LOSS else "epoch")
    axis.set_ylabel(DRAWN[metric] + (" (log)" if axis.get_yscale() == "log" else ""))
    axis.set_title(style.heading(study, system, style.seeds(seeds.shape[1])))


_PRINTED = {
    "color": style.DOCUMENTED, "ls": (0, (3, 1.5)), "lw": 1.0, "marker": "D", "ms": 3, "mfc": "white", "mew": 0.7,
}  # fmt: skip


def _key() -> list[Line2D | Patch]:
    return [
        Line2D([], [], color=style.GREY, lw=0.5, label="one seed"),
        Line2D([], [], color=style.GREY, marker="o", label="mean over seeds"),
        Patch(color=style.GREY, alpha=0.2, lw=0, label="lowest to highest seed"),
        Line2D([], [], **_PRINTED, label="documented"),
    ]
