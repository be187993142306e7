"""Pixels or patches: a row per size of the training set and patch size, and one for a CNN of as many parameters, with
the accuracy on test images over n seeds, on validation images, and the cost of a run's training in operations and in
measured seconds (the median run; on a CPU the transformers' attention is our own kernel, the CNN PyTorch's). The patch
size that validation images choose is marked.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from pixelpatch.analysis.patches import sweep
from pixelpatch.formatting import display, fixed, mean_sd, number, patch_size, text
from pixelpatch.tables import read_table

CAPTION = "One backbone, recipe and budget at every patch size, and a CNN of the same size."
EMPTY = "No patch sizes were compared."


def make(study: dict[str, Any], tables: Path) -> pd.DataFrame:
    """What every patch size reaches, and what that costs."""
    return sweep(study, read_table(tables, "runs", study))


def view(frame: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """One row per size of the training set and patch size; `study` is not used."""
    return display(
        frame,
        {
            "Experiment": lambda row: text(row["experiment"]),
            "Training images": lambda row: number(row["train_images"]),
            "Patch": lambda row: patch_size(row["patch"]),
            "Tokens": lambda row: number(row["tokens"]),
            "n": lambda row: number(row["n_seeds"]),
            "Test accuracy (%)": lambda row: mean_sd(row["test_mean"], row["test_std"]),
            "Validation (%)": lambda row: fixed(row["validation_mean"], 2),
            "Parameters": lambda row: number(row["parameters"], digits=6),
            "Operations (10¹²)": lambda row: number(row["tera_flops"], digits=3),
            "Seconds": lambda row: number(row["seconds"], digits=3),
            "": lambda row: "best by validation" if row["best"] else "",
        },
    )
