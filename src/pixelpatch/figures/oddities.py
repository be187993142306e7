"""What each oddity costs: test accuracy without it minus as documented, in percentage points. Small points are single
seeds: the difference of the two runs of a seed where the same weights are tested otherwise (paired), else that of a
run without the oddity from the mean of the runs as documented. The marker is the mean with the interval of the test,
paired or Welch's; n is the number of runs as documented, and without the oddity. To the right of zero the oddity
costs accuracy, to the left the system is better for it; hollow markers show what is not significant after Holm's
correction. Oddities that were not tested are listed without a marker.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, SymmetricalLogLocator

from pixelpatch.analysis.oddities import effects
from pixelpatch.figures import style
from pixelpatch.formatting import text
from pixelpatch.tables import read_table

LINEAR = 1.0  # points: the axis is linear up to here, and logarithmic beyond


@style.styled
def draw(study: Mapping[str, Any], tables: Path, data: Path) -> Figure:
    """One row per row of `oddities.csv` in `tables`, its seeds from `runs.csv`; `data` is not used."""
    oddities, runs = read_table(tables, "oddities", study), read_table(tables, "runs", study)
    if oddities.empty:
        return style.empty("No oddity was mended")
    figure = Figure(figsize=(style.PAGE, 0.7 + 0.3 * len(oddities)), layout="constrained")
    axis = figure.subplots()
    axis.axvline(0, color=style.DOCUMENTED, lw=0.6)
    rows = oddities.to_dict("records")
    for place, row in enumerate(rows):
        _row(axis, place, row, runs, study)
    axis.set_yticks(range(len(rows)), [_label(study, row) for row in rows], fontsize=6.5)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0)
    _scale(axis)
    return figure


def _row(axis: Axes, place: int, row: Mapping[str, Any], runs: pd.DataFrame, study: Mapping[str, Any]) -> None:
    look = style.looks(study)[row["system"]]
    finding = text(row["finding"])
    if min(row["n_documented"], row["n_mended"]):
        seeds = effects(row, runs).to_numpy()
        jitter = 0.22 + 0.07 * (np.arange(len(seeds)) % 3)
        axis.plot(seeds, place + jitter, "o", ms=2.6, color=look.colour, mew=0, label="seeds")
        significant = row["p_holm"] < study["analysis"]["alpha"]
        if np.isfinite(row["interval_low"]):
            ends = [row["interval_low"], row["interval_high"]]
            axis.plot(ends, [place, place], "-|", color=look.colour, lw=1.2, ms=7, label="interval")
        face = look.colour if significant else "white"
        axis.plot([row["effect_points"]], [place], look.marker, color=look.colour, mfc=face, ms=5, label="mean")
        effect = f"{row['effect_points']:+.2f}".replace("-", "−")
        finding = finding if finding.startswith("not tested") else f"{effect}, {row['test'].capitalize()}"
        finding = f"n = {row['n_documented']}, {row['n_mended']}: {finding}"
    axis.text(1.01, place, finding, transform=axis.get_yaxis_transform(), va="center", size=6.5)


def _label(study: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    return f"{style.name(study, row['system'])}: {row['oddity']}\ninstead: {row['instead']}"


def _scale(axis: Axes) -> None:
    axis.set_xscale("symlog", linthresh=LINEAR)
    axis.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=LINEAR))
    axis.xaxis.set_minor_locator(SymmetricalLogLocator(base=10, linthresh=LINEAR, subs=range(2, 10)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+g}".replace("-", "−") if x else "0"))
    drawn = np.concatenate([np.asarray(line.get_xdata(), dtype=float) for line in axis.lines])
    reach = 1.3 * max(LINEAR, np.abs(drawn).max())
    axis.set_xlim(-reach, reach)
    axis.set_xlabel(f"points of accuracy without the oddity, log beyond ±{LINEAR:g}")
