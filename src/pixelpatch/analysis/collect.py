"""Records to tidy tables: every run of the study, read whole and checked, or a list of all that is wrong."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pixelpatch.analysis.contradictions import codes, constants, contradictions
from pixelpatch.analysis.variance import packed
from pixelpatch.checks import complete, differing
from pixelpatch.errors import RESTORE, UserError
from pixelpatch.ledger import Ledger
from pixelpatch.metrics import BATCH_LOSS
from pixelpatch.record import on_gpu, read_record, unfinished
from pixelpatch.source import source_digest
from pixelpatch.study import systems

RUNS = ["experiment", "seed", "narrowed", "metric", "value"]
CURVES = ["experiment", "seed", "narrowed", "metric", "epoch", "value"]
CONFUSION = ["experiment", "seed", "label", "predicted", "count"]
CORRECTNESS = ["experiment", "seed", "items", "right"]
PROVENANCE = [
    *("experiment", "seed", "record", "device", "threads", "compiled", "commit", "dirty", "source"),
    *("python", "torch", "numpy", "interruptions", "machines", "lost", "epochs", "of_epochs", "diverged"),
]

OTHER = 10  # the column of a confusion matrix for whatever is not a digit
PREDICTED = np.array([*"0123456789", "other"], dtype=object)
MOST_PROBLEMS = 30


class Tidy(NamedTuple):
    """The study's results in long form: columns RUNS, CURVES, CONFUSION.

    `correctness` (columns CORRECTNESS) has, of systems alone, which test items each run has right: see `variance.bits`.
    `confusion` has all 100 digit cells of a run, and those of "other" (no digit) that occurred. `provenance` (columns
    PROVENANCE) says of every run where it was made, by which code, how often it was interrupted, how many machines
    trained it, what it did without, and how many of its epochs are finished. A run in progress has curves alone.
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    confusion: pd.DataFrame
    correctness: pd.DataFrame
    provenance: pd.DataFrame


def collect(study: dict, folder: Path, *, today: bool = True) -> Tidy:
    """Read the record of every run of `study` (as in study.json, which lies in `folder`) into tidy tables.

    Raises UserError, with everything that is wrong at once, for a record that is missing, torn or edited, that belongs
    to another experiment, seed or spec, that holds a number that is not finite, that contradicts itself or the other
    runs of its experiment; for one that was made by other code than `today`'s, unless the replay ledger leads from one
    to the other; and for a run that is listed twice. Holds one record's predictions at a time.
    """
    problems = _repeats(study["runs"])
    runs, curves, confusion, tested, correctness, provenance, first = [], [], [], [], [], [], {}
    of_systems, ledger = systems(study), Ledger.read()
    for run in study["runs"]:
        try:
            record = read_record(Path(folder) / run["record"])
        except UserError as error:
            problems.append(str(error))
            continue
        diverged = record["provenance"].get("diverged")
        problems += list(_problems(run, record, study["experiments"])) or (
            [] if diverged or unfinished(record) else _strays(run, record, first)
        )
        if today and not problems:
            problems += _of_other_code(run, record, ledger)
        if problems:
            continue  # only the other problems are still of interest
        narrowed = study["experiments"][run["experiment"]]["narrowed"]
        provenance.append(_provenance(run, record))
        if not diverged:
            curves += [
                (run["experiment"], run["seed"], narrowed, metric, epoch, value)
                for metric, values in [*record["curve"].items(), (BATCH_LOSS, record["batch_losses"])]
                for epoch, value in enumerate(values, start=1)
            ]
        if unfinished(record):
            continue
        runs += [(run["experiment"], run["seed"], narrowed, *pair) for pair in _numbers(record)]
        if diverged:
            continue
        tested.append(run)
        confusion.append(_confusion(record["labels"], record["predictions"]))
        if run["experiment"] in of_systems:
            right = codes(record["labels"]) == codes(record["predictions"])
            correctness.append((run["experiment"], run["seed"], len(right), packed(right)))
    if problems:
        raise UserError(_listed(problems))
    return Tidy(
        runs=pd.DataFrame(runs, columns=RUNS).astype({"narrowed": bool, "value": float}),
        curves=pd.DataFrame(curves, columns=CURVES).astype({"narrowed": bool, "value": float}),
        confusion=_confusion_table(tested, confusion),
        correctness=pd.DataFrame(correctness, columns=CORRECTNESS),
        provenance=pd.DataFrame(provenance, columns=PROVENANCE),
    )


def _repeats(runs: list[dict]) -> list[str]:
    """A sentence for every experiment and seed that the study lists more than once."""
    counts = Counter((run["experiment"], run["seed"]) for run in runs)
    return [
        f"The study lists {experiment} seed {seed} {count} times; list every seed once."
        for (experiment, seed), count in counts.items()
        if count > 1
    ]


def _problems(run: dict, record: dict, experiments: dict) -> Iterator[str]:
    """A sentence for everything that is wrong with the record of `run`."""
    name = run["record"]
    if run["experiment"] not in experiments:
        yield f"{name} is a run of {run['experiment']}, which is no experiment of the study."
        return
    if (record["experiment"], record["seed"]) != (run["experiment"], run["seed"]):
        yield (
            f"{name} holds {record['experiment']} seed {record['seed']}, not {run['experiment']} seed {run['seed']}: "
            f"it was moved or copied; {RESTORE}."
        )
        return
    ours, theirs = complete(experiments[run["experiment"]]["spec"]), complete(record["spec"])
    if differences := sorted(differing(theirs, ours)):
        keys = ", ".join(differences)
        yield f"{name} was made by another spec than the study's (they differ in {keys}); {RESTORE}."
        return
    wanted, provenance = experiments[run["experiment"]]["resources"].get("threads"), record["provenance"]
    ran_in = provenance.get("threads", wanted) if (provenance.get("device") or "").startswith("cpu") else wanted
    if wanted and ran_in != wanted:
        yield f"{name} ran with {ran_in} CPU threads, not {wanted}; {RESTORE}."
        return
    curves = {metric: curve if isinstance(curve, list) else [None] for metric, curve in record["curve"].items()}
    curves |= {BATCH_LOSS: record["batch_losses"]}
    values = [*_numbers(record), *((metric, value) for metric, curve in curves.items() for value in curve)]
    if failed := dict.fromkeys(metric for metric, value in values if not _finite(value)):
        for metric in failed:
            yield f"{name} has a value of {metric} that is not a finite number; {RESTORE}."
        return
    if record["provenance"].get("diverged"):
        if not experiments[run["experiment"]]["may_diverge"]:
            yield f"{name} diverged, and {run['experiment']} must not; move it away, change the spec and run again."
        elif any(record[key] for key in ("metrics", "curve", "predictions", "labels")):
            yield f"{name} diverged and yet has results; {RESTORE}."
        return
    for contradiction in contradictions(record, record["spec"]):
        yield f"{name} {contradiction}; {RESTORE}."


def _of_other_code(run: dict, record: dict, ledger: Ledger) -> Iterator[str]:
    """A sentence where a record is of other code than today's, from which the replay ledger does not lead to it."""
    made_by = record["provenance"].get("source", "unknown")
    now = source_digest(record["spec"], gpu=on_gpu(record["provenance"].get("device") or "cpu"))
    if not ledger.leads(made_by, now):
        yield (
            f"{run['record']} was made by other training code ({made_by}, now {now}), and no replay has shown that "
            "both give the same bits: `python -m pixelpatch replay` tries to."
        )


def _strays(run: dict, record: dict, first: dict[str, tuple[str, dict]]) -> Iterator[str]:
    """A sentence where a record differs in what all runs of its experiment share from the `first` one, noted there."""
    name, shared = first.setdefault(run["experiment"], (run["record"], constants(record)))
    if differences := sorted(differing(constants(record), shared)):
        yield (
            f"{run['record']} and {name} differ in {', '.join(differences)}, though their spec is the same: they were "
            "not made from the same data by the same code; restore them or move both away, and run again."
        )


def _numbers(record: dict) -> list[tuple[str, Any]]:
    """All single numbers of a record: its metrics, and its timing under "timing/", that of single epochs left out."""
    timing = [(f"timing/{key}", value) for key, value in record["timing"].items() if not isinstance(value, list)]
    return [*record["metrics"].items(), *timing]


def _provenance(run: dict, record: dict) -> dict:
    """A row of the table of provenance; what a record does not say is missing."""
    origin = record["provenance"]
    git, versions = origin.get("git", {}), origin.get("versions", {})
    known = {key: origin.get(key) for key in ("device", "threads", "compiled", "source")}
    known |= {key: git.get(key) for key in ("commit", "dirty")}
    known |= {key: versions.get(key) for key in ("python", "torch", "numpy")}
    counted = {"interruptions": len(origin.get("interruptions", [])), "machines": len(origin.get("machines", [None]))}
    counted |= {"lost": "; ".join(origin.get("lost", [])) or None, "diverged": origin.get("diverged")}
    counted |= {"epochs": record["epochs"], "of_epochs": record["spec"]["training"]["epochs"]}
    return run | known | counted


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _confusion(labels: str, predictions: str) -> np.ndarray:
    """Counts of shape (10 labels, 10 digits and OTHER)."""
    row, column = codes(labels), codes(predictions)
    cell = row * (OTHER + 1) + np.minimum(column, OTHER)
    return np.bincount(cell, minlength=10 * (OTHER + 1)).reshape(10, OTHER + 1)


def _confusion_table(runs: list[dict], matrices: list[np.ndarray]) -> pd.DataFrame:
    """The matrices in long form, one per run: the digits' cells all, those of OTHER where anything was counted."""
    counts = np.stack(matrices) if matrices else np.zeros((0, 10, OTHER + 1), dtype=int)
    shown = counts > 0
    shown[:, :, :OTHER] = True
    run, label, predicted = np.nonzero(shown)
    columns = (
        np.array([r["experiment"] for r in runs], dtype=object)[run],
        np.array([r["seed"] for r in runs], dtype=int)[run],
        label,
        PREDICTED[predicted],
        counts[shown],
    )
    return pd.DataFrame(dict(zip(CONFUSION, columns, strict=True)))


def _listed(problems: list[str]) -> str:
    """All problems, a line each; of very many, the first ones and how many more there are."""
    rest = len(problems) - MOST_PROBLEMS
    return "\n".join(problems[:MOST_PROBLEMS] + ([f"… and {rest} more problems like these."] if rest > 0 else []))
