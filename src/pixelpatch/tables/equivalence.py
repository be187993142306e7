"""Does training in other numerics (bfloat16, two threads) come out the same as in float32 and one thread? A row per
check, with both means, their difference and its interval at 1 − 2α, and the p-value of two one-sided Welch tests (TOST)
against the margin that the configuration states. The verdict is equivalent where the whole interval lies within the
margin, not equivalent where it lies outside, else undecided. Besides, how many seeds came out the very same, and the
standard deviation between runs of one seed (over √2): as large as that between seeds, if rounding is as good as a seed.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from pixelpatch.analysis.equivalence import equivalences
from pixelpatch.formatting import display, fixed, interval, level, number, p_value, precision, text
from pixelpatch.tables import read_table

CAPTION = "Other numerics against float32, the spec the same."
EMPTY = "No other numerics ran."


def make(study: dict[str, Any], tables: Path) -> pd.DataFrame:
    """Hold every such experiment against its reference."""
    return equivalences(study, read_table(tables, "runs", study), read_table(tables, "provenance", study))


def view(frame: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """One row per experiment, minus its reference."""
    alpha = study["analysis"]["alpha"]
    return display(
        frame,
        {
            "Experiment": lambda row: text(row["experiment"]),
            "Reference": lambda row: text(row["reference"]),
            "Metric": lambda row: text(row["metric"]),
            "n": lambda row: f"{number(row['n'])}, {number(row['n_reference'])}",
            "Mean": lambda row: fixed(row["mean"], precision(row)),
            "Reference mean": lambda row: fixed(row["mean_reference"], precision(row)),
            "Lowest seed": lambda row: fixed(row["least"], precision(row)),
            "Lowest of reference": lambda row: fixed(row["least_reference"], precision(row)),
            "Difference": lambda row: fixed(row["difference"], precision(row)),
            "Margin": lambda row: f"±{number(row['margin'])}",
            level(2 * alpha): lambda row: interval(row["interval_low"], row["interval_high"], at_least=2),
            "p (TOST)": lambda row: p_value(row["p_tost"]),
            "Same": lambda row: number(row["n_same"]),
            "Sd of a seed": lambda row: fixed(row["same_seed_std"], 3),
            "Verdict": lambda row: text(row["verdict"]),
            "Why": lambda row: text(row["note"]),
        },
    )
