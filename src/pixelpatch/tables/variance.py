"""Where the spread of an accuracy comes from: a row per system, with the standard deviation from seed to seed, the
binomial one that error bars of a single run show, that of our mean over other test sets (the images resampled, all
seeds kept), and that of one run on one test set (images and seeds resampled together). All in percentage points.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pixelpatch.analysis.variance import spread
from pixelpatch.formatting import display, fixed, number, text
from pixelpatch.tables import read_table

CAPTION = "Where the spread of accuracies comes from, in points."


def make(study: dict[str, Any], tables: Path) -> pd.DataFrame:
    """Take the spread of every system apart; what is resampled is drawn from the study's seed."""
    rng = np.random.default_rng(study["analysis"]["rng_seed"])
    return spread(study, read_table(tables, "correctness", study), rng)


def view(frame: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """One row per system; `study` is not used."""
    return display(
        frame,
        {
            "System": lambda row: text(row["system"]) + (" (per digit)" if "digit" in row["metric"] else ""),
            "n": lambda row: number(row["n_seeds"]),
            "Test items": lambda row: number(row["items"]),
            "Mean (%)": lambda row: fixed(row["mean"], 2),
            "Seed to seed": lambda row: fixed(row["seed_std"], 3),
            "Binomial": lambda row: fixed(row["binomial_std"], 3),
            "Images (bootstrap, mean of seeds)": lambda row: fixed(row["image_std"], 3),
            "Images × seeds (bootstrap, one run)": lambda row: fixed(row["both_std"], 3),
        },
    )
