"""What a record says, held against what else it says: numbers that do not follow from one another are no result.

The checksum tells that a record is as it was written; this tells that what was written can be.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from pixelpatch.metrics import BATCH_LOSS, curve_length, curves_of, metrics_of, sizes
from pixelpatch.record import unfinished

Json = dict[str, Any]


def contradictions(record: Json, spec: Json) -> Iterator[str]:
    """Everything in `record` that does not follow from the rest of it or from `spec`, each the end of a sentence.

    Only of one whose names and lengths are right it is said which numbers are not. All must be finite.
    """
    if misshapen := list(_misshapen(record, spec)):
        yield from misshapen
        return
    for metric, value, origin in _implied(record, spec) if not unfinished(record) else ():
        if not math.isclose(record["metrics"][metric], value, rel_tol=1e-9):
            yield f"has {record['metrics'][metric]} as {metric}; its {origin} make it {value}"
    for metric, value in _all_numbers(record):
        if value < 0 or ("accuracy" in metric and value > 100):
            yield f"has {value} as {metric}, which cannot be"


def constants(record: Json) -> Json:
    """What is the same in all runs of one experiment, whatever the seed: the model's size, the data's, the labels."""
    facts = {key: value for key, value in record["metrics"].items() if key.startswith(("model/", "data/"))}
    return {"labels": record["labels"], **facts}


def codes(text: str) -> np.ndarray:
    """The characters of `text` as numbers (uint32 [N]), digits as themselves and whatever else as 10 or more."""
    # One code point is one number; whatever lies below "0" wraps round to a large one.
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32) - ord("0")


def _misshapen(record: Json, spec: Json) -> Iterator[str]:
    """What is missing in `record`, is too much, or has another length than `spec` says."""
    known, labels, predictions = set(metrics_of(spec)), record["labels"], record["predictions"]
    epochs, all_epochs = record["epochs"], spec["training"]["epochs"]
    if not 1 <= epochs <= all_epochs:
        yield f"has {epochs} epochs; its spec trains {all_epochs}"
    yield from _other_names("metric", set(record["metrics"]), set() if unfinished(record) else known)
    yield from _other_names("curve", set(record["curve"]), set(curves_of(spec)) - {BATCH_LOSS})
    for metric, values in record["curve"].items():
        if len(values) != epochs:
            yield f"has {len(values)} epochs of {metric}; it is of {epochs}"
    if "log_every" in spec["training"]:
        logged, wanted = len(record["batch_losses"]), curve_length(spec, BATCH_LOSS) * epochs // all_epochs
        if logged != wanted:
            yield f"has the losses of {logged} batches; its spec logs {wanted}"
    elif record["batch_losses"]:
        yield f"has the losses of {len(record['batch_losses'])} batches; its spec logs none"
    if unfinished(record):
        if labels or predictions:
            yield "has predictions, though its training is not finished"
        return
    if len(labels) != len(predictions):
        yield f"has {len(predictions)} predictions for {len(labels)} labels"
    elif len(labels) != (expected := sizes(spec["data"])["test"] * (4 if "grids" in spec["data"] else 1)):
        yield f"has {len(labels)} labels; its spec tests {expected}"
    if not set(labels) <= set("0123456789"):
        yield "has labels other than the digits 0 to 9"


def _other_names(kind: str, names: set[str], known: set[str]) -> Iterator[str]:
    if missing := sorted(known - names):
        yield f"has no {kind} {', '.join(missing)}"
    if unknown := sorted(names - known):
        yield f"has the {kind} {', '.join(unknown)}, which its spec does not give"


def _implied(record: Json, spec: Json) -> Iterator[tuple[str, float, str]]:
    """The metrics that follow from the rest of a record or from its spec, and from what."""
    right = codes(record["labels"]) == codes(record["predictions"])
    if "grids" in spec["data"]:
        tested = {"digit_accuracy": 100 * right.mean(), "sequence_accuracy": 100 * right.reshape(-1, 4).all(1).mean()}
    else:
        tested = {"correct": int(right.sum()), "accuracy": 100 * right.mean()}
    yield from ((f"test/{name}", value, "predictions and labels") for name, value in tested.items())
    yield from ((f"data/{split}_images", size, "data settings") for split, size in sizes(spec["data"]).items())
    curve, last = record["curve"], spec["training"]["epochs"] - 1
    kept = last
    if spec["evaluation"]["checkpoint"] == "best_validation":
        kept = int(np.argmax(curve["validation/accuracy"]))
        yield "validation/best_epoch", kept + 1, "curves"
    yield from ((m, values[last if m == "train/loss" else kept], "curves") for m, values in curve.items())


def _all_numbers(record: Json) -> Iterator[tuple[str, float]]:
    yield from record["metrics"].items()
    yield from ((f"timing/{key}", value) for key, value in record["timing"].items() if not isinstance(value, list))
    for metric, values in [*record["curve"].items(), (BATCH_LOSS, record["batch_losses"])]:
        yield from ((metric, value) for value in values)
