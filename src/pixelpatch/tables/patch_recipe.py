"""How the backbone and the recipe of the patch comparison were chosen: a row per candidate, with its accuracy on
validation images over n seeds; the best is chosen, and must be the one that the comparison is frozen at. No test image
has any part in it.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from pixelpatch.analysis.patches import recipe
from pixelpatch.formatting import display, mean_sd, number, text
from pixelpatch.tables import read_table

CAPTION = "Backbones and recipes of the patch comparison, on validation images at one patch size."
EMPTY = "No recipe was looked for."


def make(study: dict[str, Any], tables: Path) -> pd.DataFrame:
    """The candidates, and which of them is best."""
    return recipe(study, read_table(tables, "runs", study))


def view(frame: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """One row per candidate; `study` is not used."""
    return display(
        frame,
        {
            "Experiment": lambda row: text(row["experiment"]),
            "Settings": lambda row: text(row["settings"]),
            "n": lambda row: number(row["n_seeds"]),
            "Validation accuracy (%)": lambda row: mean_sd(row["validation_mean"], row["validation_std"]),
            "": lambda row: " and ".join(word for word in ("chosen", "frozen") if row[word]),
        },
    )
