"""The one look of all figures: sizes for a paper's page, embedded fonts, and a colour and a marker per system."""

import functools
import math
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib
import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pixelpatch.study import systems

P, R = ParamSpec("P"), TypeVar("R")
Draw = Callable[[Mapping[str, Any], Path, Path], Figure]

COLUMN = 3.5  # inches: one column of a two-column paper
PAGE = 7.1  # both columns

DOCUMENTED = "black"  # what a write-up printed; no system has this colour
GREY = "#6b6b6b"

# Okabe & Ito's colours, safe for colour-blind readers, without black; the yellow, pale on white, comes last.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#F0E442")
# Markers tell systems apart in grey; the diamond, and dashes, are kept for what is documented. Seven colours and nine
# markers have no common factor, so 63 systems pass before the same pair comes again.
MARKERS = ("o", "s", "^", "v", "P", "X", "<", ">", "p")

STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 8,
    "figure.constrained_layout.h_pad": 0.04,
    "figure.constrained_layout.w_pad": 0.04,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 8,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "pdf.fonttype": 42,  # TrueType, embedded: text in the PDF stays text
    "ps.fonttype": 42,
    "svg.hashsalt": "pixelpatch",  # the same identifiers in every drawing
    "text.parse_math": False,  # a dollar in a system's title is a dollar
    "xtick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.labelsize": 7,
    "ytick.major.width": 0.6,
}


@dataclass(frozen=True)
class Look:
    """How one system is drawn in every figure."""

    colour: str
    marker: str


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, run in this style from matplotlib's own defaults, whatever the user's; their settings come back."""

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.style.context(["default", STYLE]):
            return function(*args, **kwargs)

    return inner


def looks(study: Mapping[str, Any]) -> dict[str, Look]:
    """The look of every configured system, by its place in the study: the same in all figures and presets."""
    return {
        system: Look(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, system in enumerate(systems(study))
    }


def present(study: Mapping[str, Any], table: pd.DataFrame) -> list[str]:
    """The study's systems that have a row in a tidy table, in the study's order."""
    found = set(table["experiment"])
    return [system for system in systems(study) if system in found]


def name(study: Mapping[str, Any], system: str, *, width: int = 200) -> str:
    """A system's title, broken into lines of at most `width` characters."""
    return textwrap.fill(study["experiments"][system]["title"], width)


def model(study: Mapping[str, Any], experiment: str, patch: int) -> str:
    """A trained model's label: its title, without what varies in its family, and its patch size, on two lines."""
    title, size = study["experiments"][experiment]["title"].partition(":")[0], f"patch {patch}"
    return f"{title.removesuffix(f', {size}')}\n{size}"


def heading(study: Mapping[str, Any], system: str, sample: str, *, width: int = 34) -> str:
    """A panel's title: the system, and below it the size of its sample and whether its budget was reduced."""
    reduced = ", reduced budget" if study["experiments"][system]["narrowed"] else ""
    return f"{name(study, system, width=width)}\n{sample}{reduced}"


def seeds(n: int, *, least: int | None = None) -> str:
    """How many seeds: 'n = 3 seeds', or 'n = 3 to 5 seeds' where some have fewer."""
    return f"n = {n if least in (None, n) else f'{least} to {n}'} seed{'s' * (n != 1)}"


def printed_value(study: Mapping[str, Any], system: str, metric: str) -> float | None:
    """The number that a system's write-up documents for a final metric, in the metric's unit, or None."""
    for claim in study["experiments"][system]["claims"].values():
        final = "documented" in claim and not {"epoch", "better_than", "worse_than"} & claim.keys()
        if final and claim.get("metric") == metric:
            return float(claim["documented"]) * claim.get("times", 1)
    return None


def printed_accuracy(study: Mapping[str, Any], system: str, metric: str) -> float | None:
    """The final accuracy (%) that a write-up documents, as such or as so many right of its test images; or None."""
    correct, images = (printed_value(study, system, other) for other in ("test/correct", "data/test_images"))
    if metric == "test/accuracy" and correct is not None and images:
        return 100 * correct / images
    return printed_value(study, system, metric)


def printed_curve(study: Mapping[str, Any], system: str, metric: str) -> list[float]:
    """The curve that a system's write-up prints for a metric, one figure per epoch; empty where it prints none."""
    for claim in study["experiments"][system]["claims"].values():
        if claim.get("metric") == metric and "curve" in claim:
            return [float(value) for value in claim["curve"].split()]
    return []


def panels(count: int, *, columns: int, height: float) -> tuple[Figure, list[Any]]:
    """A page-wide figure of `count` panels in rows of `columns`, each row `height` inches; and its axes in order."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(PAGE * columns / max(columns, 2), rows * height + 0.35), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for spare in grid[count:]:
        spare.remove()
    return figure, list(grid[:count])


def bare(axis: Axes) -> None:
    """Leave nothing of an axis but what is drawn: for pictures."""
    axis.grid(visible=False)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def row_label(axis: Axes, words: str) -> None:
    """Say to the left of a row's first picture what the row is."""
    axis.set_ylabel(words, rotation=0, ha="right", va="center", size=6.5)


def empty(message: str) -> Figure:
    """A figure that says why there is nothing to draw: n = 0."""
    figure = Figure(figsize=(COLUMN, 0.6))
    figure.text(0.5, 0.5, f"{message} (n = 0)", ha="center", va="center", color=GREY)
    return figure
