"""The names of what a run measures."""

from collections.abc import Iterator
from typing import Any

VALIDATION, ACCURACY = "validation/accuracy", "test/accuracy"
TRAIN_SECONDS = "timing/train_seconds"
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
    """Those of `metrics_of` that a run of `spec` has at every epoch too."""
    every_epoch = ("train/loss", "validation/") + (("test/",) if spec["evaluation"].get("test_every_epoch") else ())
    yield from (m for m in metrics_of(spec) if m.startswith(every_epoch) and m != "validation/best_epoch")
