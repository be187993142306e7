"""What the tables answer to a question of the configuration's `identify`, ready to be put into words."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pixelpatch.study import members

Row = dict[str, Any]


class OutOfReach(NamedTuple):
    """An identifying number beyond all runs of all cells: on which side, and the run that comes closest."""

    claim: str
    documented: str
    side: str
    closest: float


class Answer(NamedTuple):
    """The identified cell of one question, and what it and the others say; `best` is empty before one is identified."""

    cells: int
    compatible: int
    best: list[Row]  # the identified cell's rows, one per identifying number
    second: Row | None  # a row of the compatible cell that explains the numbers best after it
    times_worse: float  # how much worse that one explains them: the ratio of likelihoods
    out_of_reach: list[OutOfReach]
    predictions: list[list[Row]]  # of the identified cell, one list per claim: of the cell itself, and of its variants
    silent: list[str]  # families, but for the grids themselves, without a run at the identified cell
    elsewhere: dict[str, list[Row]]  # predictions of all compatible cells, by claim
    truth: list[Row]  # what the author ran, a row per identifying number
    truth_predicts: list[Row]  # and its runs against the predicted numbers
    found: bool  # whether the identified cell is the truth, by all of the grid's settings


def answer(study: Mapping[str, Any], question: str, identification: list[Row], predictions: list[Row]) -> Answer:
    """The answer to the question of that name, from the rows of identification.csv and predictions.csv."""
    truth, numbers = _parted(row for row in identification if row["question"] == question)
    truth_predicts, predicted = _parted(row for row in predictions if row["question"] == question)
    cells = {_cell(row): row for row in numbers}
    compatible = {key for key, row in cells.items() if row["compatible"]}
    best = [row for row in numbers if row["identified"]]
    others = [row for row in cells.values() if row["compatible"] and not row["identified"]]
    second = max(others, key=lambda row: row["log_likelihood"], default=None)
    ratio = best[0]["log_likelihood"] - second["log_likelihood"] if best and second else math.nan
    held: dict[tuple[str, bool], list[Row]] = {}
    for row in predicted:
        if row["identified"]:
            held.setdefault((row["claim"], bool(row["variant"])), []).append(row)
    elsewhere: dict[str, list[Row]] = {}
    for row in predicted:
        if _cell(row) in compatible and not row["variant"]:
            elsewhere.setdefault(row["claim"], []).append(row)
    return Answer(
        cells=len(cells),
        compatible=len(compatible),
        best=best,
        second=second if best else None,
        times_worse=math.exp(min(ratio, 100)),
        out_of_reach=list(_out_of_reach(numbers)),
        predictions=list(held.values()),
        silent=_silent(study, question, {row["predicted_by"] for row in predicted if row["identified"]}),
        elsewhere=elsewhere,
        truth=truth,
        truth_predicts=truth_predicts,
        found=bool(truth and best and all(truth[0][key] == best[0][key] for key in ("settings", "epochs"))),
    )


def _parted(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """The rows of the truth, and the others."""
    rows = list(rows)
    return [row for row in rows if row["truth"]], [row for row in rows if not row["truth"]]


def _cell(row: Row) -> tuple[str, int]:
    return row["experiment"], row["epochs"]


def _out_of_reach(numbers: list[Row]) -> Iterable[OutOfReach]:
    for claim in dict.fromkeys(row["claim"] for row in numbers):
        own = [row for row in numbers if row["claim"] == claim]
        least, most, documented = min(r["least"] for r in own), max(r["most"] for r in own), own[0]["documented"]
        if float(documented) < least:
            yield OutOfReach(claim, documented, "low", least)
        elif float(documented) > most:
            yield OutOfReach(claim, documented, "high", most)


def _silent(study: Mapping[str, Any], question: str, speak: set[str]) -> list[str]:
    asked = study["identify"][question]
    families = dict.fromkeys(use["family"] for use in asked["predicts"] if use["family"] not in asked["grid"])
    return [family for family in families if not speak.intersection(members(study, family))]
