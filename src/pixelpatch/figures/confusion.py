"""Which digits are taken for which: a row per true class, its predictions in percent of its images, over all seeds
together (n, times the test digits of each). Errors are shaded on one log scale for all systems and
printed from 1 % on; the diagonal, the share that is right, is printed and not shaded. "?" is what is no digit.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from pixelpatch.figures import style
from pixelpatch.tables import read_table

DIGITS = [*"0123456789"]
SHADES = LogNorm(0.1, 100, clip=True)
PRINTED_FROM = 1.0


@style.styled
def draw(study: Mapping[str, Any], tables: Path, data: Path) -> Figure:
    """One matrix per system of `confusion.csv` in `tables`; `data` is not used."""
    confusion = read_table(tables, "confusion", study).astype({"label": "str"})
    systems = style.present(study, confusion)
    if not systems:
        return style.empty("No predictions")
    figure, axes = style.panels(len(systems), columns=3, height=2.55)
    for axis, system in zip(axes, systems, strict=True):
        own = confusion[confusion["experiment"] == system]
        _matrix(axis, shares(own))
        n = own["seed"].nunique()
        sample = f"n = {n} × {own['count'].sum() / n:,.0f} digits"
        axis.set_title(style.heading(study, system, sample), size=7.5)
    bar = figure.colorbar(
        ScalarMappable(SHADES, colormaps["Greys"]), ax=axes, location="bottom", shrink=0.5, aspect=45, pad=0.02
    )
    bar.set_label("errors: share of the true class (%)", size=7)
    bar.set_ticks([0.1, 1, 10, 100], labels=["≤ 0.1", "1", "10", "100"])
    bar.ax.minorticks_off()
    return figure


def shares(confusion: pd.DataFrame) -> pd.DataFrame:
    """Counts of one system (label, predicted, count) as percent of each true class: rows digits, columns digits and
    "other" where it occurs. A class without images is NaN.
    """
    counts = confusion.pivot_table(index="label", columns="predicted", values="count", aggfunc="sum", fill_value=0)
    columns = DIGITS + ["other"] * ("other" in counts)
    counts = counts.reindex(index=DIGITS, columns=columns, fill_value=0).astype(float)
    totals = counts.sum(axis="columns")
    return 100 * counts.div(totals.where(totals > 0), axis="index")


def _matrix(axis: Axes, percent: pd.DataFrame) -> None:
    values = percent.to_numpy()
    errors = np.where(np.eye(*values.shape, dtype=bool) | ~(values > 0), np.nan, values)
    axis.imshow(errors, cmap="Greys", norm=SHADES)
    for (row, column), value in np.ndenumerate(values):
        if row == column or value >= PRINTED_FROM:
            dark = row != column and SHADES(value) > 0.55
            weight = "bold" if row == column else "normal"
            cell = f"{value:.0f}" if np.isfinite(value) else "–"
            size = 6 if len(cell) < 3 else 5
            axis.text(
                column,
                row,
                cell,
                ha="center",
                va="center",
                size=size,
                weight=weight,
                color="white" if dark else "black",
            )
    axis.set_xticks(range(values.shape[1]), [*DIGITS, "?"][: values.shape[1]])
    axis.set_yticks(range(10), DIGITS)
    axis.set_xticks(np.arange(-0.5, values.shape[1]), minor=True)
    axis.set_yticks(np.arange(-0.5, 10), minor=True)
    axis.grid(visible=False, which="major")
    axis.grid(which="minor", color="#d0d0d0", lw=0.3)
    axis.tick_params(which="both", length=0)
    axis.set_xlabel("predicted", labelpad=1)
    axis.set_ylabel("true", labelpad=1)
