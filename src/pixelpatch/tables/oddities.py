"""What each oddity of a system costs: a row per oddity, with the accuracy of the system as documented and with that one
thing mended, the effect in points (mended minus as documented: above zero the oddity costs accuracy), its interval,
its p-value after Holm's correction over all oddities, the finding, and why it may be so. The test is Student's
paired one, over the seeds that both have, where the same trained weights are merely tested otherwise; else Welch's,
over all runs of each. n is the number of runs as documented, and mended. Without any spread between runs a p-value
is kept at what a permutation test of so few could give. The grid reader's accuracy is that of single digits.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from pixelpatch.analysis.oddities import price_oddities
from pixelpatch.formatting import display, fixed, interval, level, number, p_value, text
from pixelpatch.tables import read_table

CAPTION = "What each oddity costs: mended minus as documented."
EMPTY = "No oddity was mended."


def make(study: dict[str, Any], tables: Path) -> pd.DataFrame:
    """Price the oddities of the selected experiments."""
    return price_oddities(study, read_table(tables, "runs", study))


def view(frame: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """One row per oddity, the mended run minus the run as documented."""
    alpha = study["analysis"]["alpha"]
    return display(
        frame,
        {
            "System": lambda row: text(row["system"]),
            "Oddity": lambda row: text(row["oddity"]),
            "Instead": lambda row: text(row["instead"]),
            "Mended by": lambda row: text(row["experiment"]),
            "Test": lambda row: row["test"].capitalize(),
            "n": lambda row: f"{number(row['n_documented'])}, {number(row['n_mended'])}",
            "As documented (%)": lambda row: fixed(row["mean_documented"], 2),
            "Mended (%)": lambda row: fixed(row["mean_mended"], 2),
            "Effect (points)": lambda row: fixed(row["effect_points"], 2),
            level(alpha): lambda row: interval(row["interval_low"], row["interval_high"], at_least=2),
            "p (Holm)": lambda row: p_value(row["p_holm"]),
            "Finding": lambda row: text(row["finding"]),
            "Why it may be so": lambda row: text(row["means"]),
        },
    )
