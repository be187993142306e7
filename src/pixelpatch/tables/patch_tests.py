"""Whether finer patches are better, for each size of the training set: Kendall's τ between fineness and accuracy over
all runs (from −1, ever worse, to 1, ever better; a trend, which single steps may go against), and Welch's test, in
points of accuracy, of every pair of neighbouring patch sizes (the finer minus the coarser), and of the CNN minus the
patch size that validation images choose. Whether that depends on the size of the training set: Welch's test of the
slopes over the patches that two sizes share, in points per halving. Holm's correction is over the whole table.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pixelpatch.analysis.patches import trials
from pixelpatch.formatting import display, fixed, interval, level, number, p_value
from pixelpatch.tables import read_table

CAPTION = "Tests of the patch comparison."
EMPTY = "No patch sizes were compared."


def make(study: dict[str, Any], tables: Path) -> pd.DataFrame:
    """Every test of the comparison."""
    return trials(study, read_table(tables, "runs", study))


def view(frame: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """One row per test."""
    return display(
        frame,
        {
            "Training images": lambda row: number(row["train_images"]),
            "Test": _test,
            "n": lambda row: f"{number(row['n_first'])}, {number(row['n_second'])}",
            "Difference": lambda row: ("τ = " if row["test"] == "trend" else "") + fixed(row["difference"], 2),
            level(study["analysis"]["alpha"]): lambda row: interval(
                row["interval_low"], row["interval_high"], at_least=2
            ),
            "p": lambda row: p_value(row["p_value"]),
            "p (Holm)": lambda row: p_value(row["p_holm"]),
        },
    )


def _test(row: Mapping[str, Any]) -> str:
    if row["test"] == "trend":
        return f"trend from {row['first']} to {row['second']}"
    if row["test"] == "dependence":
        return f"slope at {row['second']} minus slope at {row['first']}"
    return f"{row['second']} minus {row['first']}"
