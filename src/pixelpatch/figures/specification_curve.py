"""Documented numbers at every setting that their author may well have used. A column is a point, sorted by our mean of
the first number. Above: that mean, the interval that would hold one more run, and the documented value (dashed); n
seeds each. In the middle: whether a point reproduces each number, and all of them together. Below: the point's
settings. A point is refuted if any number differs after Holm's correction within it, and reached if every number is
reproduced. In between it is undecided if more seeds would tell, else not excluded. Intervals may end outside the panel.
The author's own settings, where they are known, are one more column that is not counted.
"""

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from pixelpatch.admissible import open_keys
from pixelpatch.analysis.specifications import NOT_EXCLUDED, REACHED, REFUTED, UNDECIDED, UNTESTED, standing_of
from pixelpatch.figures import style
from pixelpatch.questions import at, has
from pixelpatch.tables import read_table
from pixelpatch.variants import setting, written

WIDTH = 5.5  # inches: the text of a one-column paper
PANEL, ROW, FOOT = 1.0, 0.13, 0.45  # inches: intervals, a row of the matrix, the legend
HEAD, LINE = 0.3, 0.12  # inches: between the parts of a curve, and a line of its title
SIZE = 7
NARROW = 30  # points that fit into half of the width
LOOKS = {  # edge, marker, face
    REACHED: ("#0072B2", "o", "#0072B2"),
    NOT_EXCLUDED: ("#0072B2", "o", "white"),
    UNDECIDED: ("#E69F00", "o", "white"),
    REFUTED: ("#8c8c8c", "x", "#8c8c8c"),
}
UNRUN = "#c8c8c8"
AUTHOR = "#009E73"
EPOCHS = "epochs"


class Row(NamedTuple):
    """A row of the matrix: its label, and what stands in each column (a standing; of settings, whether it holds)."""

    label: str
    marks: list[str | bool]


class Curve(NamedTuple):
    """One curve: its title, its points (a row of each per number), and the rows of its matrix."""

    title: str
    points: list[pd.DataFrame]
    numbers: list[Row]
    settings: list[Row]

    @property
    def wide(self) -> bool:
        """Whether it takes the whole width."""
        return len(self.points) > NARROW

    @property
    def rows(self) -> int:
        """How many rows its matrix has."""
        return len(self.numbers) + len(self.settings)


@style.styled
def draw(study: Mapping[str, Any], tables: Path, data: Path) -> Figure:
    """Every curve of `specifications.csv` in `tables`, two beside each other if they are short; `data` is not used."""
    table = read_table(tables, "specifications", study)
    results = read_table(tables, "specification_summary", study).set_index("curve")["result"]
    curves = [_curve(study, name, own, results[name]) for name, own in table.groupby("curve", sort=False)]
    if not curves:
        return style.empty("No setting is declared to be open")
    lines = _lines(curves)
    rows = [max(curve.rows for curve in line) for line in lines]
    titles = [max(1 + curve.title.count("\n") for curve in line) for line in lines]
    heights = [PANEL + ROW * most + HEAD + LINE * words for most, words in zip(rows, titles, strict=True)]
    figure = Figure(figsize=(WIDTH, sum(heights) + FOOT), layout="constrained")
    grid = figure.add_gridspec(len(lines), 2, height_ratios=heights)
    for y, line in enumerate(lines):
        for x, curve in enumerate(line):
            part = figure.add_subfigure(grid[y, :] if curve.wide else grid[y, x])
            _draw(part, study, curve, rows[y], titles[y])
    figure.legend(handles=_legend(), loc="outside lower center", ncols=4)
    return figure


def _lines(curves: list[Curve]) -> list[list[Curve]]:
    """What stands beside each other: short curves in pairs, then each of the others."""
    short = [curve for curve in curves if not curve.wide]
    return [short[i : i + 2] for i in range(0, len(short), 2)] + [[curve] for curve in curves if curve.wide]


def _curve(study: Mapping[str, Any], name: str, own: pd.DataFrame, result: str) -> Curve:
    points = _points(own)
    systems = dict.fromkeys(style.name(study, system) for system in own["system"])
    words = [" and ".join(systems), f"{_seeds(own)}: {result}"]
    if len(points) > NARROW:
        title = "\n".join(words)
    else:
        title = "\n".join(line for said in words for part in said.split("; ") for line in textwrap.wrap(part, 44))
    return Curve(title, points, list(_number_rows(study, points)), list(_setting_rows(study, name, points)))


def _draw(part: SubFigure, study: Mapping[str, Any], curve: Curve, rows: int, titles: int) -> None:
    """One curve, in the room of one with so many `rows` in the matrix and lines in the title."""
    panel, matrix = part.subplots(2, 1, height_ratios=[PANEL, ROW * rows])
    _intervals(panel, study, curve.points)
    _matrix(matrix, curve)
    matrix.set_ylim(rows - 0.5, -0.5)
    part.suptitle(curve.title + "\n" * (titles - 1 - curve.title.count("\n")), x=0.01, ha="left", size=8)


def _points(own: pd.DataFrame) -> list[pd.DataFrame]:
    """The points of a curve, a row of each per number, by our mean of the first number; without one, last."""
    points = [point for _, point in own.groupby(["author", "experiment", "epochs"], sort=False)]
    return sorted(points, key=lambda point: np.nan_to_num(point["mean"].iloc[0], nan=np.inf))


def _seeds(own: pd.DataFrame) -> str:
    counts = own.loc[own["n_seeds"] > 0, "n_seeds"] if own["n_seeds"].any() else own["n_seeds"]
    return style.seeds(int(counts.max()), least=int(counts.min()))


def _intervals(axis: Axes, study: Mapping[str, Any], points: list[pd.DataFrame]) -> None:
    """The first number's means and intervals, and what is documented of it."""
    first = pd.DataFrame([point.iloc[0] for point in points])
    documented = float(first["documented"].iloc[0].split()[-1])  # of a curve, its last epoch
    seen = np.array([documented, *first["mean"].dropna()])
    if first["metric"].iloc[0].endswith("loss") and (seen > 0).all():
        axis.set_yscale("log")
        axis.set_ylim(seen.min() / 1.6, seen.max() * 1.6)
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("")
    else:
        reach = 0.25 * np.ptp(seen) or 0.1 * abs(documented) or 1
        most = 100 if first["metric"].iloc[0].endswith("accuracy") else np.inf
        axis.set_ylim(seen.min() - reach, min(seen.max() + reach, most))
    axis.axhline(documented, ls="--", lw=1, color=style.DOCUMENTED, zorder=1)
    for x, row in enumerate(first.to_dict("records")):
        colour, marker, face = LOOKS.get(row["standing"], (UNRUN, "o", "white"))
        if np.isfinite(row["interval_low"]):
            axis.vlines(x, row["interval_low"], row["interval_high"], color=colour, lw=1.6, zorder=2)
        if np.isfinite(row["mean"]):
            _mark(axis, x, row["mean"], marker, colour, face, author=row["author"])
    unrun = int(first["mean"].isna().sum())
    if unrun > len(points) / 6:
        words = "not run yet" if unrun == len(points) else "not run"
        axis.text(
            len(points) - (unrun + 1) / 2, 0.9, words, transform=axis.get_xaxis_transform(),
            ha="center", va="top", size=SIZE, color=style.GREY, bbox={"fc": "white", "ec": "none", "pad": 1},
        )  # fmt: skip
    system, claim = first[["system", "claim"]].iloc[0]
    axis.set_ylabel(_label(study, points, system, claim).replace(": ", ":\n"), size=SIZE)
    _columns(axis, points)


def _number_rows(study: Mapping[str, Any], points: list[pd.DataFrame]) -> Iterator[Row]:
    """How every number stands at each point, and where there are several, how the point does."""
    of = points[0][["system", "claim"]].drop_duplicates().itertuples(index=False)
    for system, claim in of:
        yield Row(_label(study, points, system, claim), [_standing(point, system, claim) for point in points])
    if len(points[0]) > 1:
        yield Row("together", [point["standing"].iloc[0] for point in points])


def _standing(point: pd.DataFrame, system: str, claim: str) -> str:
    """How one number stands at a point, in the words of points."""
    found = point.loc[(point["system"] == system) & (point["claim"] == claim), "verdict"]
    return standing_of(found.iloc[0]) if len(found) else UNTESTED[0]


def _setting_rows(study: Mapping[str, Any], curve: str, points: list[pd.DataFrame]) -> Iterator[Row]:
    """Which points have which value of every setting, a row per value."""
    blocks = study["experiments"]
    specs = [blocks[point["experiment"].iloc[0]]["spec"] for point in points]
    held = {
        setting(key): [at(spec, key) if has(spec, key) else None for spec in specs]
        for key in open_keys(study["admissible"][curve], blocks)
    }
    held[EPOCHS] = [int(point["epochs"].iloc[0]) for point in points]
    for key, values in held.items():
        known = [value for value in dict.fromkeys(values) if value is not None]
        if len(known) < 2:
            continue
        known.sort(key=str if any(isinstance(value, str) for value in known) else None)
        for place, value in enumerate(known):
            shown = ("yes" if value else "no") if isinstance(value, bool) else _written(value)
            yield Row(shown if place else f"{key}: {shown}", [own == value for own in values])


def _matrix(axis: Axes, curve: Curve) -> None:
    """How each number stands at each point, and below, which settings are the point's."""
    rows = [*curve.numbers, *curve.settings]
    for y, row in enumerate(rows):
        if y > len(curve.numbers) and ":" in row.label:  # the first of a setting's values
            axis.axhline(y - 0.5, color="#dddddd", lw=0.5, zorder=0)
        for x, (mark, point) in enumerate(zip(row.marks, curve.points, strict=True)):
            unrun = point["standing"].iloc[0] in UNTESTED
            if mark is True:
                grey = UNRUN if unrun else style.GREY
                _mark(axis, x, y, "o", grey, grey, author=point["author"].iloc[0], size=2.6)
            elif mark is not False:
                colour, marker, face = LOOKS.get(mark, (UNRUN, "_", UNRUN))
                _mark(axis, x, y, marker, colour, face, size=2.6)
    axis.axhline(len(curve.numbers) - 0.5, color="#888888", lw=0.6, zorder=0)
    axis.set_yticks(range(len(rows)), [row.label for row in rows], size=SIZE)
    axis.tick_params(axis="y", length=0)
    axis.spines[:].set_visible(False)
    _columns(axis, curve.points)


def _mark(
    axis: Axes, x: float, y: float, marker: str, colour: str, face: str, *, author: bool = False, size: float = 3
) -> None:
    if author:
        marker, colour, face, size = "*", AUTHOR, AUTHOR, 2.2 * size
    axis.plot([x], [y], marker, color=colour, mfc=face, ms=size, mew=0.9, zorder=3, clip_on=False)


def _columns(axis: Axes, points: list[pd.DataFrame]) -> None:
    """An axis of one column per point, that of the author's own shaded."""
    axis.set_xlim(-0.8, len(points) - 0.2)
    axis.set_xticks([])
    axis.grid(axis="x", visible=False)
    for x, point in enumerate(points):
        if point["author"].iloc[0]:
            axis.axvspan(x - 0.45, x + 0.45, color=AUTHOR, alpha=0.15, lw=0, zorder=0)


def _label(study: Mapping[str, Any], points: list[pd.DataFrame], system: str, claim: str) -> str:
    """A number's name: its system's as well, where there are several."""
    title = f"{style.name(study, system)}: " if points[0]["system"].nunique() > 1 else ""
    return title + claim.replace("-", " ")


def _written(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else written(value)


def _legend() -> list[Line2D]:
    marks = [
        Line2D([], [], ls="-", color=colour, marker=marker, mfc=face, ms=4, lw=1.6, label=word)
        for word, (colour, marker, face) in LOOKS.items()
    ]
    return [
        *marks,
        Line2D([], [], ls="", color=UNRUN, marker="_", ms=4, label="not tested"),
        Line2D([], [], ls="--", color=style.DOCUMENTED, lw=1, label="documented"),
        Line2D([], [], ls="", marker="*", color=AUTHOR, ms=7, label="the author's own"),
        Line2D([], [], ls="", marker="o", color=style.GREY, ms=4, label="setting of the point"),
    ]
