"""What the settings that explain a write-up's numbers say of its other numbers, which had no part in the choice: a row
per cell, variant and predicted number, with our mean and standard deviation over n seeds, the interval that would hold
one more run, and whether the documented number is consistent with it. That interval is of one number alone, where the
verdict also allows for the printed digits and for the other numbers of the entry (Bonferroni), and can be milder. The
identified cells come first, then the truth, which the author ran and which is known only since; the rows of others show
how the verdict would move. Where it says "same runs", they are the identifying ones themselves: nothing is predicted,
but shown what else those runs have.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pixelpatch.analysis.identification import identify
from pixelpatch.formatting import display, interval, level, mean_sd, number, p_value, side, text
from pixelpatch.tables import read_table
from pixelpatch.tables.identification import cell

CAPTION = "What runs at each cell's settings show of numbers that had no part in the choice."


def make(study: dict[str, Any], tables: Path) -> pd.DataFrame:
    """Every cell's predictions."""
    return identify(study, *(read_table(tables, name, study) for name in ("runs", "curves", "provenance")))[1]


def view(frame: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """One row per cell and predicted number, the identified first."""
    alpha = study["analysis"]["alpha"]
    ranked = frame.sort_values(["question", "identified", "truth"], ascending=[True, False, False], kind="stable")
    return display(
        ranked,
        {
            "Question": lambda row: text(row["question"]),
            "Settings": lambda row: ", ".join(filter(None, [cell(row), text(row["variant"])])),
            "": _standing,
            "Experiment": lambda row: text(row["predicted_by"]),
            "Number": lambda row: f"{row['system']} {row['claim']}",
            "Documented": lambda row: text(row["documented"]),
            "n": lambda row: number(row["n_seeds"]),
            "Ours (mean ± sd)": lambda row: mean_sd(row["mean"], row["std"]),
            level(alpha): lambda row: interval(row["interval_low"], row["interval_high"]),
            "p": lambda row: p_value(row["p_value"]),
            "Verdict": lambda row: side(row["verdict"]),
        },
    )


def _standing(row: Mapping[str, Any]) -> str:
    words = "identified" if row["identified"] else "the truth" if row["truth"] else ""
    return ", ".join(filter(None, [words, "same runs" if row["predicted_by"] == row["experiment"] else ""]))
