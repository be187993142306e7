"""How well each cell of a grid of unstated settings explains the documented numbers that identify it: the logarithm of
its likelihood, less that of the best cell (0, outlined). Dots mark cells that are compatible with those numbers, and
the figure in a cell is our mean of the first of them; n seeds each. Cells more than 20 below the best are equally pale;
grey ones have no runs, too few for a likelihood, or a seed that diverged.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pixelpatch.figures import style
from pixelpatch.formatting import number
from pixelpatch.tables import read_table
from pixelpatch.variants import described, setting, written

LOWEST = -20.0
EPOCHS = "epochs"


class Panel(NamedTuple):
    """One grid: its title, the names of its axes, and its cells with a column for each of those."""

    title: str
    x: str
    y: str
    cells: pd.DataFrame


@style.styled
def draw(study: Mapping[str, Any], tables: Path, data: Path) -> Figure:
    """Every question of `identification.csv` in `tables`, a panel for each further setting; `data` is not used."""
    explained = read_table(tables, "identification", study)
    explained = explained[~explained["truth"].astype(bool)]
    panels = [panel for _, own in explained.groupby("question", sort=False) for panel in _panels(study, own)]
    if not panels:
        return style.empty("No grid of settings was run")
    figure, axes = style.panels(len(panels), columns=2, height=2.3)
    for axis, panel in zip(axes, panels, strict=True):
        image = _panel(axis, panel)
    bar = figure.colorbar(image, ax=axes, location="bottom", shrink=0.4, aspect=40, pad=0.02)
    bar.set_label("log-likelihood less the best cell's")
    return figure


def _panels(study: Mapping[str, Any], explained: pd.DataFrame) -> Iterator[Panel]:
    """The panels of one question, a row of `explained` per cell and identifying number."""
    numbers = f"{style.name(study, explained['system'].iloc[0])}: {', '.join(dict.fromkeys(explained['claim']))}"
    first = explained.drop_duplicates(["experiment", "epochs"]).reset_index(drop=True)
    first["relative"] = (first["log_likelihood"] - first["log_likelihood"].max()).clip(lower=LOWEST)
    families = [study["experiments"][name]["vary"]["family"] for name in first["experiment"]]
    for _, own in first.groupby(families, sort=False):
        yield from _of_family(study, numbers, own.reset_index(drop=True))


def _of_family(study: Mapping[str, Any], numbers: str, own: pd.DataFrame) -> Iterator[Panel]:
    """The panels of one family's cells, a row each in `own`."""
    settings = [study["experiments"][name]["vary"]["settings"] for name in own["experiment"]]
    cells = pd.concat([own, pd.DataFrame(settings)], axis="columns")
    keys = [*settings[0]]
    axes = (
        [EPOCHS, keys[0]] if cells[EPOCHS].nunique() > 1 else [keys[1], keys[0]] if len(keys) > 1 else [EPOCHS, keys[0]]
    )
    others = [key for key in keys if key not in axes]
    parts = cells.groupby(others, sort=False) if others else [((), cells)]
    n = style.seeds(int(cells["n_seeds"].max()), least=int(cells["n_seeds"].min()))
    for values, part in parts:
        yield Panel("\n".join([numbers, ", ".join([n, *_words(others, values)])]), *axes, part)


def _panel(axis: Axes, panel: Panel) -> Any:
    columns, rows = (list(dict.fromkeys(panel.cells[key])) for key in (panel.x, panel.y))
    grid = np.full((len(rows), len(columns)), np.nan)
    for cell in panel.cells.to_dict("records"):
        place = rows.index(cell[panel.y]), columns.index(cell[panel.x])
        grid[place] = cell["relative"]
        dark = cell["relative"] > LOWEST / 2
        axis.text(
            place[1], place[0], number(cell["mean"]) + ("\n•" if cell["compatible"] else ""),
            ha="center", va="center", size=6, color="white" if dark else "black", linespacing=0.9,
        )  # fmt: skip
        if cell["identified"]:
            axis.add_patch(Rectangle((place[1] - 0.48, place[0] - 0.48), 0.96, 0.96, fill=False, ec="#D55E00", lw=1.8))
    axis.set_facecolor("0.9")
    image = axis.imshow(grid, cmap="Blues", vmin=LOWEST, vmax=0, aspect="auto")
    axis.set_xticks(range(len(columns)), [written(value) for value in columns])
    axis.set_yticks(range(len(rows)), [written(value) for value in rows])
    axis.set_xlabel(setting(panel.x))
    axis.set_ylabel(setting(panel.y))
    axis.set_title(panel.title)
    axis.grid(visible=False)
    return image


def _words(keys: list[str], values: Iterable[Any]) -> list[str]:
    return [described(dict(zip(keys, values, strict=True)))] if keys else []
