"""How a verdict moves with two things that are our choice: a row per documented score and number of seeds (the first n,
as if there were no others), a column per tolerance, as multiples of the configured one. The verdicts are those of
single tests, without a correction over the write-up's numbers.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from pixelpatch.analysis.places import verdict_map
from pixelpatch.formatting import number
from pixelpatch.tables import read_table

CAPTION = "Verdicts of single tests by number of seeds and tolerance."


def make(study: dict[str, Any], tables: Path) -> pd.DataFrame:
    """The verdict on every such score, for each number of seeds and tolerance."""
    return verdict_map(study, read_table(tables, "runs", study))


def view(frame: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """One row per score and number of seeds, a column per tolerance; `study` is not used."""
    shown = frame.assign(tolerance=[f"{tolerance:g} ×" for tolerance in frame["tolerance"]])
    index = ["system", "claim", "documented", "n_seeds"]
    wide = shown.pivot_table(index=index, columns="tolerance", values="verdict", aggfunc="first", sort=False)
    return wide.reset_index().map(number).rename(columns={"n_seeds": "n"})
