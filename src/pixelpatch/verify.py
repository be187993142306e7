"""Does a published run come out again here? One seed of every system that is cheap enough is trained anew and compared.

On the same kind of machine, with the same versions and code, it must be bit for bit its record. Elsewhere rounding
differs, and a run is one more run: its accuracy must lie where the published seeds predict one. (At 1 − alpha for all
systems together: each has its share of alpha.)
"""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from pixelpatch.analysis.statistics import prediction_interval
from pixelpatch.record import read_record
from pixelpatch.runs import How, Run
from pixelpatch.study import systems
from pixelpatch.tables.accuracy import ACCURACY_METRICS

COMPARED = ("metrics", "curve", "predictions", "labels")


class Outcome(NamedTuple):
    """What became of a system: whether it was trained and came out, and a sentence."""

    system: str
    agrees: bool | None  # None where nothing can be said
    text: str


def verify(
    study: dict[str, Any], folder: Path, mnist: dict[str, Tensor], how: How, *, minutes: float
) -> Iterator[Outcome]:
    """Train the first recorded seed of each system whose records took at most `minutes` on average, and compare.

    `study` has the recorded runs, `folder` is where their records lie. Raises as `Run.complete` does.
    """
    alpha = study["analysis"]["alpha"] / len(systems(study))
    for system in systems(study):
        runs = [run for run in study["runs"] if run["experiment"] == system]
        if not runs:
            yield Outcome(system, None, "no record")
            continue
        records = [read_record(folder / run["record"]) for run in runs]
        took = sum(record["timing"]["seconds"] for record in records) / len(records) / 60
        if took > minutes:
            yield Outcome(system, None, f"left out: {took:.1f} minutes")
            continue
        with tempfile.TemporaryDirectory() as place:
            again = Run(
                system,
                records[0]["seed"],
                records[0]["spec"],
                Path(place) / "seed.json",
                records[0]["provenance"]["threads"],
            )
            again.complete(mnist, how, wait=True)
            yield compare(system, records, read_record(again.record), alpha=alpha)


def compare(system: str, records: list[dict[str, Any]], again: dict[str, Any], *, alpha: float) -> Outcome:
    """`again`, a new run of the first of the published `records`, against it and against them all."""
    seed = records[0]["seed"]
    if all(again[key] == records[0][key] for key in COMPARED):
        return Outcome(system, True, f"seed {seed} is its published record, bit for bit")
    metric = next(metric for metric in ACCURACY_METRICS if metric in again["metrics"])
    ours = again["metrics"][metric]
    alike = ("device", "versions", "source", "compiled", "threads")
    if all(again["provenance"].get(key) == records[0]["provenance"].get(key) for key in alike):
        text = f"seed {seed} is not its published record ({metric} {ours:.2f}), though made on the same kind of machine"
        return Outcome(system, False, text)
    low, high = prediction_interval([record["metrics"][metric] for record in records], 1 - alpha)
    if math.isnan(low):
        return Outcome(
            system, None, f"seed {seed} has {metric} {ours:.2f}, of which one published seed predicts nothing"
        )
    within = low <= ours <= high
    where = (
        f"{'within' if within else 'outside'} {low:.2f} to {high:.2f}, where {len(records)} published seeds predict one"
    )
    return Outcome(system, within, f"seed {seed} has {metric} {ours:.2f}, {where}")
