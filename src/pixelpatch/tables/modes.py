"""Which runs never learned some digit: a row per system and check of numerics, with its number of runs and of those
that are stuck. A run is stuck where fewer than half of the test images of at least one digit are recognised; a run
that is not has escaped. Besides, the rate of stuck runs in percent with the interval of Clopper and Pearson, which
digits are not recognised (and by how many runs), and the mean accuracy of all runs, of the stuck and of the escaped
ones. A grid reader's digits are pooled over the four places of a grid. Runs that diverged have no predictions and
are not counted.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from pixelpatch.analysis.modes import modes
from pixelpatch.formatting import display, fixed, interval, level, number, text
from pixelpatch.tables import read_table

CAPTION = "Runs that are stuck: they recognise fewer than half of the test images of some digit."
EMPTY = "No system was tested at its full budget."


def make(study: dict[str, Any], tables: Path) -> pd.DataFrame:
    """Tell the stuck runs of every system and check of numerics from the others."""
    return modes(study, read_table(tables, "confusion", study))


def view(frame: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """One row per system and check."""
    return display(
        frame,
        {
            "Experiment": lambda row: text(row["experiment"]) + (" (per digit)" if "digit" in row["metric"] else ""),
            "n": lambda row: number(row["n"]),
            "Stuck": lambda row: number(row["n_stuck"]),
            "Rate (%)": lambda row: fixed(row["rate"], 0),
            level(study["analysis"]["alpha"]): lambda row: interval(row["interval_low"], row["interval_high"]),
            "Digits (runs)": lambda row: text(row["digits"]),
            "Mean (%)": lambda row: fixed(row["mean"], 2),
            "Mean of stuck": lambda row: fixed(row["mean_stuck"], 2),
            "Mean of escaped": lambda row: fixed(row["mean_escaped"], 2),
        },
    )
