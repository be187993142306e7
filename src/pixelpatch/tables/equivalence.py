"""Does training in other numerics (bfloat16, two threads) come out the same as in float32 and one thread? A row per
check, with the number of stuck runs of either side (which recognise fewer than half of the test images of some digit)
and Fisher's p-value of it, both means of the runs that are not stuck, their difference and its interval at 1 − 2α, and
the p-value of two one-sided Welch tests (TOST) against the margin that the configuration states. The verdict is
equivalent where the whole interval lies within the margin and the rates of stuck runs are not shown to differ, not
equivalent where it lies outside or they are, else undecided. Besides, how many seeds came out the very same, and the
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
    return equivalences(study, *(read_table(tables, name, study) for name in ("runs", "provenance", "confusion")))


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
            "Stuck": lambda row: f"{number(row['n_stuck'])}, {number(row['n_stuck_reference'])}",
            "p (stuck)": lambda row: p_value(row["p_stuck"]),
            "Mean": lambda row: fixed(row["mean_escaped"], precision(row)),
            "Reference mean": lambda row: fixed(row["mean_escaped_reference"], precision(row)),
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
