"""Every number that a write-up documents, against our replications of it. The diamond at zero is the documented value;
the marker is our mean over n seeds, the bar the interval that would hold one more run at the study's confidence; both
as their difference from the documented value, in percentage points for accuracies and, for losses, in percent of what
lies above the smallest possible loss. Verdicts are corrected for the numbers of a write-up, so a bar that misses the
diamond can be borderline or undecided; *compatible* is a number inside, where runs scatter too widely to reproduce it.
Claims that are not tested are listed with the reason. Exact facts, such as numbers of parameters, are in the table
only.
"""

import textwrap
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, SymmetricalLogLocator

from pixelpatch.analysis.scales import off
from pixelpatch.figures import style
from pixelpatch.formatting import cut, mean_sd, number, text, verdict
from pixelpatch.metrics import EXACT
from pixelpatch.tables import read_table

# Where the columns of text stand, and the axes between them: inches from the left.
TITLE, CLAIM, AXIS, AXIS_END, PRINTED, OURS, SEEDS, VERDICT = 0.05, 1.4, 2.6, 4.6, 5.18, 6.12, 6.3, 6.4
ROW, HEAD, FOOT = 0.165, 0.23, 0.42  # inches: a line of text, a panel's heading, its axis
SIZE = 6.5
SPREAD = 30  # a panel with differences of scales further apart than this has a log axis


class Row(NamedTuple):
    """A line of the figure: a line of the system's title, and a claim; None where either has fewer lines."""

    title: str | None
    claim: dict[str, Any] | None


@style.styled
def draw(study: Mapping[str, Any], tables: Path, data: Path) -> Figure:
    """All number claims of `claims.csv` in `tables`, a panel per unit; `data` is not used."""
    claims = read_table(tables, "claims", study)
    numbers = claims[claims["kind"] == "number"].fillna({"metric": "", "note": "", "documented": ""})
    numbers = numbers[~numbers["metric"].str.startswith(EXACT)]  # in the table: they have no interval to draw
    untested = numbers[numbers["verdict"] == "not tested"]
    tested = numbers[numbers["verdict"] != "not tested"]
    of_row = tested.apply(_unit, axis="columns") if len(tested) else pd.Series(dtype=str)
    units = {unit: tested[of_row == unit] for unit in sorted(set(of_row), key=_place)}
    if tested.empty and untested.empty:
        return style.empty("No documented numbers")
    panels = [(unit, list(_rows(study, chosen))) for unit, chosen in units.items()]
    listed = list(_untested_lines(study, untested))
    height = 0.1 + sum(HEAD + ROW * len(rows) + FOOT for _, rows in panels) + (HEAD + ROW * len(listed)) * bool(listed)
    figure = Figure(figsize=(style.PAGE, height))
    top = height - 0.05
    for unit, rows in panels:
        _panel(figure, top, unit, rows, study)
        top -= HEAD + ROW * len(rows) + FOOT
    if listed:
        _list(figure, top, listed)
    return figure


def _unit(claim: Mapping[str, Any]) -> str:
    """What a claim is about, which decides its panel: accuracies, losses, or its metric's own name."""
    last = claim["metric"].rpartition("/")[2]
    if last.endswith("loss") and float(claim["documented"]) != 0:
        return "loss"
    return "accuracy" if last.endswith(("accuracy", "correct")) else last.replace("_", " ")


def _place(unit: str) -> tuple[bool, bool, str]:
    """The order of panels: accuracies, losses, then the others by name."""
    return unit != "accuracy", unit != "loss", unit


def _rows(study: Mapping[str, Any], claims: pd.DataFrame) -> Iterator[Row]:
    for system, own in claims.groupby("system", sort=False):
        title = style.name(study, system, width=24).split("\n")
        yield from (Row(*pair) for pair in zip_longest(title, own.to_dict("records"), fillvalue=None))


def _panel(figure: Figure, top: float, unit: str, rows: list[Row], study: Mapping[str, Any]) -> None:
    """A panel whose upper edge is `top` inches from the figure's bottom."""
    write = _writer(figure)
    heading = {"accuracy": "Accuracies (%)", "loss": "Losses"}.get(unit, unit.capitalize())
    for x, words, align in (
        (TITLE, heading, "left"), (PRINTED, "documented", "right"), (OURS, "ours, mean ± sd", "right"),
        (SEEDS, "n", "right"), (VERDICT, "verdict", "left"),
    ):  # fmt: skip
        write(x, top - 0.12, words, ha=align, weight="bold")
    bottom = top - HEAD - ROW * len(rows)
    axis = _axis(figure, bottom, ROW * len(rows))
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.axvline(0, color=style.DOCUMENTED, lw=0.6)
    looks = style.looks(study)
    for line, row in enumerate(rows):
        y = top - HEAD - ROW * (line + 0.5)
        write(TITLE, y, row.title or "")
        if row.claim is None:
            continue
        write(CLAIM, y, _label(row.claim))
        write(PRINTED, y, row.claim["documented"], ha="right")
        write(OURS, y, mean_sd(row.claim["replicated_mean"], row.claim["replicated_std"]), ha="right")
        write(SEEDS, y, number(row.claim["n_seeds"]), ha="right")
        refuted = row.claim["verdict"] in ("higher", "lower")
        write(VERDICT, y, verdict(row.claim).partition(",")[0], weight="bold" if refuted else "normal")
        _draw_claim(axis, line, _differences(row.claim, unit, study), looks[row.claim["system"]])
    _finish(axis, unit)


def _draw_claim(axis: Axes, line: int, differences: np.ndarray, look: style.Look) -> None:
    mean, low, high = differences
    axis.plot([0], [line], "D", color=style.DOCUMENTED, mfc="none", ms=5, mew=0.8, zorder=3, label="documented")
    if np.isfinite([low, high]).all():
        axis.plot([low, high], [line, line], "-|", color=look.colour, ms=5, lw=1.3, label="interval")
    axis.plot([mean], [line], look.marker, color=look.colour, ms=4, label="mean")


def _differences(claim: Mapping[str, Any], unit: str, study: Mapping[str, Any]) -> np.ndarray:
    """Mean, low and high less the documented value, in the panel's unit: points, percent of a loss, or the metric's."""
    metric, spec = claim["metric"], study["experiments"][claim["system"]]["spec"]
    ours = claim["replicated_mean"], claim["interval_low"], claim["interval_high"]
    return np.array([off(metric, spec, value, float(claim["documented"]))[0] for value in ours])


def _finish(axis: Axes, unit: str) -> None:
    """Scale and label an axis on which all is drawn: log beyond a threshold where the rows' scales lie far apart."""
    reach = np.abs(
        np.concatenate([line.get_xdata() for line in axis.lines if line.get_label() in ("mean", "interval")])
    )
    reach = reach[reach > 0]
    largest, log = reach.max(initial=0) or 1.0, ""
    if reach.size and largest / np.median(reach) > SPREAD:
        threshold = 10.0 ** np.round(np.log10(np.median(reach)))
        axis.set_xscale("symlog", linthresh=threshold)
        axis.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=threshold))
        log = f", log beyond ±{threshold:g}"
    else:
        axis.xaxis.set_major_locator(MaxNLocator(nbins=6, symmetric=True, steps=[1, 2, 5, 10]))
    axis.set_xlim(-1.15 * largest, 1.15 * largest)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+g}".replace("-", "−") if x else "0"))
    words = {"accuracy": " (points)", "loss": " (% above the floor)"}.get(unit, "")
    axis.set_xlabel(f"ours − documented{words}{log}", size=SIZE, labelpad=1)


def _axis(figure: Figure, bottom: float, height: float) -> Axes:
    """Axes `height` inches high with their lower edge `bottom` inches up, between the columns of text."""
    page = figure.get_figheight()
    axis = figure.add_axes((AXIS / style.PAGE, bottom / page, (AXIS_END - AXIS) / style.PAGE, height / page))
    axis.set_yticks([])
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="x", labelsize=SIZE)
    return axis


def _writer(figure: Figure) -> Any:
    """(x, y in inches, words, …) → text on the figure."""

    def write(x: float, y: float, words: str, **look: Any) -> None:
        figure.text(x / style.PAGE, y / figure.get_figheight(), words, **({"va": "center", "size": SIZE} | look))

    return write


def _label(claim: Mapping[str, Any]) -> str:
    return cut(claim["claim"].replace("-", " "), 27)


def _untested_lines(study: Mapping[str, Any], claims: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """The lines of the list, five columns: what the claims of a system share (its title, the reason) is said once."""
    for (system, note), own in claims.groupby(["system", "note"], sort=False):
        yield from zip_longest(
            style.name(study, system, width=24).split("\n"),
            [_label(claim) for claim in own.to_dict("records")],
            [text(value) for value in own["documented"]],
            [number(value) for value in own["n_seeds"]],
            textwrap.wrap(note, 66),
            fillvalue="",
        )


def _list(figure: Figure, top: float, lines: list[tuple[str, ...]]) -> None:
    write = _writer(figure)
    columns = ((TITLE, "left"), (CLAIM, "left"), (AXIS + 0.65, "right"), (AXIS + 0.83, "right"), (AXIS + 0.95, "left"))
    for (x, align), words in zip(columns, ("Not tested", "", "documented", "n", "because"), strict=True):
        write(x, top - 0.12, words, ha=align, weight="bold", color=style.GREY)
    for line, cells in enumerate(lines):
        for (x, align), words in zip(columns, cells, strict=True):
            write(x, top - HEAD - ROW * (line + 0.5), words, ha=align, color=style.GREY)
