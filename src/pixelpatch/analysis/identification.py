"""Which unstated settings explain the documented numbers best, and what do those predict of numbers not yet used?

A block of `identify` names families, whose cells are the candidates (every member, and every epoch of it where every
epoch is tested); documented numbers of one system that identify the cell; and families whose runs at the same settings
are then held against documented numbers that had no part in the choice.

**Explaining.** The seeds of a cell make Student's predictive distribution of a documented metric for one more run:
n − 1 degrees of freedom around x̄, with scale s √(1 + 1/n). `log_density` is the logarithm of its density, averaged
over what would be printed as documented; a cell's `log_likelihood` is their sum over the identifying numbers, as if
those were independent (a loss and a number right of one run are not: the sum counts twice what they share). A cell is
`compatible` if the two-sided p-value of every identifying number, times how many of them there are, is at least alpha.
(It is Student's p-value, as in the claims' table, but in the metric's own unit: see *Scale*.) The compatible cell with
the largest likelihood is `identified`. If no cell is compatible, the cell with the largest likelihood of all is
`identified`, as the closest. Nothing is identified before all members of the grid have run at their full budget, with
at least `analysis.minimum_seeds` seeds each. A member of which any seed diverges counts as run, but it explains and
predicts nothing.

**Scatter.** A cell whose seeds scatter widely leaves room for numbers that none of its runs comes near. Where the
prediction interval of an identifying number reaches beyond what its metric can be (a loss below its floor, an accuracy
outside 0 to 100 %), the cell `scatters`: it may be compatible, and even identified, but it explains nothing. `least`
and `most` are the extremes of its runs.

**Scale.** This rule was written first, and is kept: it judges on the metric's own unit, while verdicts and
specification curves (`analysis.verdicts`, `analysis.specifications`) use a logit or logarithm. So a cell can be
compatible here, and refuted there.

**Truth.** Where a question names the system whose spec is what the author ran (`truth`), rows of that system follow,
from as many seeds as the search had. They say whether the truth is compatible by the same rule, and what it predicts.
They are no cells: nothing is identified among them.

**Predicting.** Every run of a prediction family that has the cell's values of all settings of the grids speaks for
that cell (`predicted_by`); what else the family varies (a width, a number of heads) stands in `variant`. Verdicts are
`not refuted`, `undecided` (more seeds would refute it), `higher` or `lower` (ours), with alpha shared out over the
claims predicted; `not tested` is what has too few seeds or a reduced budget. The rows of other cells show how the
verdict would move: they are no further tests.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pixelpatch.analysis.documented import documented_number
from pixelpatch.analysis.statistics import (
    mean_and_spread,
    prediction_interval,
    predictive_log_density,
    verdict_of,
)
from pixelpatch.metrics import limits
from pixelpatch.questions import at, grid_keys, has
from pixelpatch.study import members
from pixelpatch.variants import described

CELL = ["question", "experiment", "settings", "epochs"]
NUMBER = ["system", "claim", "metric", "documented", "n_seeds", "mean", "std"]
IDENTIFICATION = [
    *CELL,
    *NUMBER,
    "least",
    "most",
    "p_value",
    "log_density",
    "log_likelihood",
    "compatible",
    "scatters",
    "identified",
    "truth",
]
PREDICTIONS = [
    *CELL,
    "identified",
    "truth",
    "predicted_by",
    "variant",
    *NUMBER,
    "interval_low",
    "interval_high",
    "p_value",
    "verdict",
]


class Cell(NamedTuple):
    """A candidate: an experiment of the family and a number of epochs, by its settings."""

    question: str
    experiment: str
    settings: dict[str, Any]
    epochs: int

    def columns(self) -> dict[str, Any]:
        """As the tables have it."""
        return self._asdict() | {"settings": described(self.settings)}


def identify(
    study: dict, runs: pd.DataFrame, curves: pd.DataFrame, provenance: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every cell's account of the identifying numbers, and its predictions: identification.csv and predictions.csv.

    `runs`, `curves` and `provenance` are tables of `collect`. Cells without a run are left out.
    """
    ours = _Ours(study, runs, curves, provenance)
    explained = pd.DataFrame(
        [row for name, question in study["identify"].items() for row in _explanations(ours, name, question)],
        columns=IDENTIFICATION,
    )
    chosen = {tuple(row) for row in explained.loc[explained["identified"], CELL].itertuples(index=False)}
    predicted = pd.DataFrame(
        [row for name, question in study["identify"].items() for row in _predictions(ours, name, question, chosen)],
        columns=PREDICTIONS,
    )
    return explained, predicted


class _Ours:
    """Our values, seed by seed."""

    def __init__(self, study: dict, runs: pd.DataFrame, curves: pd.DataFrame, provenance: pd.DataFrame) -> None:
        self.study = study
        self.diverged = set(provenance.loc[provenance["diverged"].notna(), "experiment"])
        by_seed = runs.sort_values("seed")
        self._final = {key: group.to_numpy(float) for key, group in by_seed.groupby(["experiment", "metric"])["value"]}
        every = curves.sort_values("seed").groupby(["experiment", "metric", "epoch"])["value"]
        self._curves = {key: group.to_numpy(float) for key, group in every}

    def ran(self, experiment: str) -> bool:
        """Whether it has a finished run."""
        return any(name == experiment for name, _ in self._final)

    def seeds(self, experiment: str) -> int:
        """How many finished runs it has."""
        return max((len(values) for (name, _), values in self._final.items() if name == experiment), default=0)

    def limit(self, experiment: str, seeds: int) -> None:
        """Know the first `seeds` runs of an experiment alone."""
        for (name, metric), values in self._final.items():
            if name == experiment:
                self._final[name, metric] = values[:seeds]
        for (name, metric, epoch), values in self._curves.items():
            if name == experiment:
                self._curves[name, metric, epoch] = values[:seeds]

    def members(self, family: str) -> list[str]:
        """The experiments of a family that have runs."""
        ran = {name for name, _ in self._final}
        return [name for name in members(self.study, family) if name in ran]

    def enough(self, experiment: str) -> bool:
        """Whether it has run at its full budget from as many seeds as a verdict needs, and none diverged."""
        narrowed = self.study["experiments"][experiment]["narrowed"]
        return (
            not narrowed
            and experiment not in self.diverged
            and self.seeds(experiment) >= max(self.study["analysis"]["minimum_seeds"], 2)
        )

    def epochs(self, experiment: str) -> list[int]:
        """The numbers of epochs that its runs speak for."""
        spec = self.study["experiments"][experiment]["spec"]
        last = spec["training"]["epochs"]
        return list(range(1, last + 1)) if spec["evaluation"].get("test_every_epoch") else [last]

    def values(self, experiment: str, metric: str, epochs: int) -> np.ndarray:
        """A metric after so many epochs."""
        return self._curves.get((experiment, metric, epochs), self._final.get((experiment, metric), np.array([])))


def _explanations(ours: _Ours, name: str, question: dict) -> Iterator[dict]:
    """The rows of one question in identification.csv."""
    alpha = ours.study["analysis"]["alpha"]
    claims = question["by"]["claims"]
    family = _members(ours.study, question)
    complete = all(ours.enough(member) or member in ours.diverged for member in family)
    cells = {}
    for cell in _cells(ours, name, question):
        rows = [_number(ours, cell, cell.experiment, question["by"]["experiment"], claim) for claim in claims]
        cells[cell.experiment, cell.epochs] = rows
    for rows in cells.values():
        total = sum(row["log_density"] for row in rows)
        enough = ours.enough(rows[0]["experiment"])
        fits = enough and min(row["p_value"] for row in rows) * len(rows) >= alpha
        scatters = any(_beyond(ours.study, row) for row in rows)
        for row in rows:
            row |= {"log_likelihood": total if enough else np.nan, "compatible": fits, "scatters": scatters}
            row |= {"identified": False, "truth": False}
    trained = [rows for rows in cells.values() if ours.enough(rows[0]["experiment"])]
    best = max(trained, key=lambda rows: (rows[0]["compatible"], rows[0]["log_likelihood"]), default=[])
    if complete and best and best[0]["log_likelihood"] > -np.inf:  # else no cell explains them, and none is the best
        for row in best:
            row["identified"] = True
    for rows in cells.values():
        yield from rows
    if (cell := _truth(ours, name, question)) is not None:
        rows = [_number(ours, cell, cell.experiment, question["by"]["experiment"], claim) for claim in claims]
        known = ours.enough(cell.experiment)
        fits = known and min(row["p_value"] for row in rows) * len(rows) >= alpha
        for row in rows:
            row |= {"log_likelihood": sum(row["log_density"] for row in rows) if known else np.nan, "compatible": fits}
            yield row | {"scatters": any(_beyond(ours.study, row) for row in rows), "identified": False, "truth": True}


def _truth(ours: "_Ours", name: str, question: dict) -> Cell | None:
    """What the author ran, as a cell of the question, from its first seeds; None where either has no run."""
    system = question.get("truth")
    if system is None or not ours.ran(system):
        return None
    blocks = ours.study["experiments"]
    family = _members(ours.study, question)
    searched = max((ours.seeds(member) for member in family), default=0)
    if not searched:
        return None
    ours.limit(system, searched)
    keys = [key for key in grid_keys(blocks[member] for member in family) if has(blocks[system]["spec"], key)]
    settings = {key: at(blocks[system]["spec"], key) for key in keys}
    return Cell(name, system, settings, blocks[system]["spec"]["training"]["epochs"])


def _beyond(study: dict, row: dict) -> bool:
    """Whether a row's prediction interval reaches beyond what its metric can be."""
    spec = study["experiments"][row["experiment"]]["spec"]
    low, high = limits(row["metric"], spec)
    return bool(row["interval_low"] < low or row["interval_high"] > high)


def _predictions(ours: _Ours, name: str, question: dict, chosen: set[tuple]) -> Iterator[dict]:
    """The rows of one question in predictions.csv."""
    blocks = ours.study["experiments"]
    keys = grid_keys(blocks[member] for member in _members(ours.study, question))
    for cell in _cells(ours, name, question):
        identified = tuple(cell.columns().values()) in chosen
        for prediction in question["predicts"]:
            for member in ours.members(prediction["family"]):
                spec, varied = (blocks[member][key] for key in ("spec", "vary"))
                here = all(at(spec, key) == at(blocks[cell.experiment]["spec"], key) for key in keys)
                if not here or cell.epochs not in ours.epochs(member):
                    continue
                variant = {key: value for key, value in varied["settings"].items() if key not in keys}
                for claim in prediction["claims"]:
                    row = _number(ours, cell, member, prediction["experiment"], claim, len(prediction["claims"]))
                    row |= {"identified": identified, "truth": False}
                    row |= {"predicted_by": member, "variant": described(variant)}
                    yield row if ours.enough(member) else row | {"verdict": "not tested"}
    if (cell := _truth(ours, name, question)) is not None:
        for system, claims in {use["experiment"]: use["claims"] for use in question["predicts"]}.items():
            if not ours.ran(system):
                continue
            ours.limit(system, ours.seeds(cell.experiment))
            for claim in claims:
                row = _number(ours, cell, system, system, claim, len(claims))
                row |= {"identified": False, "truth": True, "predicted_by": system, "variant": ""}
                yield row if ours.enough(system) else row | {"verdict": "not tested"}


def _number(ours: _Ours, cell: Cell, experiment: str, system: str, claim: str, claims: int = 1) -> dict:
    """How the runs of an experiment, after the cell's epochs, stand to a documented number, one of so many `claims`."""
    block = ours.study["experiments"][system]["claims"][claim]
    printed = documented_number(block, f"experiments.{system}.claims.{claim}")
    values = ours.values(experiment, block["metric"], cell.epochs)
    target = float(printed.low + printed.high) / 2, float(printed.half_unit)
    mean, std = (float(part) for part in mean_and_spread(values))
    alpha = ours.study["analysis"]["alpha"]
    low, high = prediction_interval(values, 1 - alpha)
    return cell.columns() | {
        "system": system,
        "claim": claim,
        "metric": block["metric"],
        "documented": f"{printed.value:f}",
        "n_seeds": len(values),
        "mean": mean,
        "std": std,
        "least": values.min(initial=np.inf),
        "most": values.max(initial=-np.inf),
        "interval_low": low,
        "interval_high": high,
        "log_density": predictive_log_density(values, *target),
        **verdict_of(values, *target, alpha / claims)._asdict(),
    }


def _members(study: dict, question: dict) -> list[str]:
    return [member for family in question["grid"] for member in members(study, family)]


def _cells(ours: _Ours, name: str, question: dict) -> Iterator[Cell]:
    for member in (member for family in question["grid"] for member in ours.members(family)):
        settings = ours.study["experiments"][member]["vary"]["settings"]
        for epochs in ours.epochs(member):
            yield Cell(name, member, settings, epochs)
