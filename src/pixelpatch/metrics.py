"""The names of what a run measures."""

import math
from collections.abc import Iterator
from typing import Any

from pixelpatch.checks import split_sizes

VALIDATION, ACCURACY = "validation/accuracy", "test/accuracy"
TRAIN_SECONDS = "timing/train_seconds"
BATCH_LOSS = "train/batch_loss"  # of single batches, in training mode
FIRST_LABELS = 4  # of a split, so many are a fact
EXACT = ("model/", "data/")  # facts, not samples


def metrics_of(spec: dict[str, Any]) -> Iterator[str]:
    """The metrics that a run of `spec` has."""
    yield from ("train/loss", "data/train_images", "data/test_images", "model/parameters")
    if "grids" in spec["data"]:
        yield from ("test/sequence_accuracy", "test/digit_accuracy", "model/vocabulary")
    else:
        yield from ("test/loss", "test/accuracy", "test/correct")
    if "validation" in spec["data"]:
        yield from ("validation/loss", VALIDATION, "data/validation_images")
    if spec["evaluation"]["checkpoint"] == "best_validation":
        yield "validation/best_epoch"
    if "patch" in spec["model"]:
        yield "model/sequence_length"


def curves_of(spec: dict[str, Any]) -> Iterator[str]:
    """Those of `metrics_of` that a run of `spec` has at every epoch too; and BATCH_LOSS, where it logs that."""
    if "log_every" in spec["training"]:
        yield BATCH_LOSS
    every_epoch = ("train/loss", "validation/") + (("test/",) if spec["evaluation"].get("test_every_epoch") else ())
    yield from (m for m in metrics_of(spec) if m.startswith(every_epoch) and m != "validation/best_epoch")


def curve_length(spec: dict[str, Any], metric: str) -> int:
    """How many values the curve of a metric has: one an epoch, of BATCH_LOSS one for every batch that is logged."""
    training, epochs = spec["training"], spec["training"]["epochs"]
    if metric != BATCH_LOSS:
        return epochs
    images = sizes(spec["data"])["train"]
    batches = (math.floor if training["drop_last"] else math.ceil)(images / training["batch"])
    return epochs * math.ceil(batches / training["log_every"])


def epochs_of(spec: dict[str, Any]) -> range:
    """The numbers of epochs of which a run of `spec` has test metrics."""
    last = spec["training"]["epochs"]
    return range(1 if spec["evaluation"].get("test_every_epoch") else last, last + 1)


def facts_of(spec: dict[str, Any]) -> Iterator[str]:
    """What is known of an experiment without a run: those of `metrics_of` that are exact, and first labels."""
    yield from (metric for metric in metrics_of(spec) if metric.startswith(EXACT))
    if "grids" not in spec["data"]:
        yield from (f"data/{split}_first_labels" for split in split_sizes(spec["data"]))


def limits(metric: str, spec: dict[str, Any]) -> tuple[float, float]:
    """The least and the most that a metric can be."""
    if metric.endswith("accuracy"):
        return 0.0, 100.0
    if metric.endswith("correct"):
        return 0.0, float(sizes(spec["data"])["test"])
    if metric.endswith("epoch"):
        return 1.0, float(spec["training"]["epochs"])
    # A softmax before the cross-entropy leaves ten classes a loss of at least −log(e / (e + 9)).
    floor = math.log(1 + 9 / math.e) if spec["training"]["softmax_before_loss"] else 0.0
    return (floor if metric.endswith("loss") else 0.0), math.inf


def sizes(data: dict[str, Any]) -> dict[str, int]:
    """How many images or grids each split has by the `data` block of a spec, its `limit` included."""
    limit = data.get("limit", {})
    return {split: min(size, limit.get(split, size)) for split, size in split_sizes(data).items()}
