"""Where a documented score sits among our seeds: a row per final accuracy, number right or loss that a write-up prints,
with its rank among our n runs (1 is better than all of them), the chance that one more run shows it or better, and of
how many runs the best is expected to reach it (1 where our mean does; empty below three seeds).
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pixelpatch.analysis.places import places
from pixelpatch.formatting import display, mean_sd, number, p_value, text
from pixelpatch.tables import read_table

CAPTION = "Where documented scores sit among our seeds."


def make(study: dict[str, Any], tables: Path) -> pd.DataFrame:
    """Place every documented score of systems that ran at their documented budget."""
    return places(study, read_table(tables, "runs", study))


def view(frame: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """One row per documented score; `study` is not used."""
    return display(
        frame,
        {
            "System": lambda row: text(row["system"]),
            "Claim": lambda row: text(row["claim"]),
            "Documented": lambda row: text(row["documented"]),
            "n": lambda row: number(row["n_seeds"]),
            "Ours (mean ± sd)": lambda row: mean_sd(row["mean"], row["std"]),
            "Rank": lambda row: f"{number(row['rank'])} of {row['n_seeds'] + 1}",
            "Chance that one run is as good": lambda row: p_value(row["chance"]),
            "Runs whose best reaches it": lambda row: (
                "> 1,000,000" if np.isinf(row["best_of"]) else number(row["best_of"])
            ),
        },
    )
