"""The accuracy of every system, and what it takes: a row per system, with the test accuracy in percent (mean and
standard deviation over n seeds, and the range), the validation accuracy, the number of parameters, the seconds and
images per second of a run, and what was reduced where the budget is not the documented one. A system that reads grids
of digits is shown by its accuracy per digit.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pixelpatch.formatting import display, fixed, mean_sd, number, text
from pixelpatch.study import systems
from pixelpatch.tables import read_table

CAPTION = "Accuracy, size and cost of every system."

COLUMNS = [
    *("system", "title", "n_seeds", "test_metric", "test_mean", "test_std", "test_min", "test_max"),
    *("validation_mean", "validation_std", "parameters", "seconds", "images_per_second", "narrowed", "budget"),
]

# The metric that stands for a system's accuracy: the first of these that its runs have.
ACCURACY_METRICS = ("test/accuracy", "test/digit_accuracy")


def make(study: dict[str, Any], tables: Path) -> pd.DataFrame:
    """Sum up the systems that have runs."""
    return summary(read_table(tables, "runs", study), study)


def view(frame: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """One row per system; `study` is not used."""
    return display(
        frame,
        {
            "System": lambda row: text(row["title"]) + (" (per digit)" if "digit" in text(row["test_metric"]) else ""),
            "n": lambda row: number(row["n_seeds"]),
            "Test accuracy (%)": lambda row: mean_sd(row["test_mean"], row["test_std"]),
            "Min–max": lambda row: _span(row["test_min"], row["test_max"]),
            "Validation (%)": lambda row: mean_sd(row["validation_mean"], row["validation_std"]),
            "Parameters": lambda row: number(row["parameters"]),
            "Seconds per run": lambda row: number(row["seconds"], digits=3),
            "Images/s": lambda row: number(row["images_per_second"], digits=3),
            "Budget": lambda row: text(row["budget"]),
        },
    )


def summary(runs: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """One row per system of runs.csv, in the study's order: its accuracies over seeds (%), size, speed and budget.

    `test_*` is the test accuracy; for a system that has none (the grid reader) the accuracy per digit, as
    `test_metric` says. Seconds and images per second are means over its runs. Missing is NaN.
    """
    present = set(runs["experiment"])
    return pd.DataFrame(
        [
            _summary_row(runs[runs["experiment"] == system], system, experiment)
            for system, experiment in systems(study).items()
            if system in present
        ],
        columns=COLUMNS,
    )


def _summary_row(runs: pd.DataFrame, system: str, experiment: Mapping[str, Any]) -> dict[str, Any]:
    values = {metric: group for metric, group in runs.groupby("metric")["value"]}
    nothing = pd.Series(dtype=float)
    test_metric = next((metric for metric in ACCURACY_METRICS if metric in values), "")
    test = values.get(test_metric, nothing)
    validation = values.get("validation/accuracy", nothing)
    return {
        "system": system,
        "title": experiment["title"],
        "n_seeds": runs["seed"].nunique(),
        "test_metric": test_metric,
        "test_mean": test.mean(),
        "test_std": test.std(),
        "test_min": test.min(),
        "test_max": test.max(),
        "validation_mean": validation.mean(),
        "validation_std": validation.std(),
        "parameters": values.get("model/parameters", nothing).mean(),
        "seconds": values.get("timing/seconds", nothing).mean(),
        "images_per_second": values.get("timing/images_per_second", nothing).mean(),
        "narrowed": bool(experiment["narrowed"]),
        "budget": experiment.get("narrowing", "") if experiment["narrowed"] else "",
    }


def _span(low: float, high: float) -> str:
    return f"{fixed(low, 2)}–{fixed(high, 2)}" if math.isfinite(low) else ""
