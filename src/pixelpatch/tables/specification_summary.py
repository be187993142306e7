"""At how many of its admissible points does a write-up reproduce? A row per specification curve: of its m points, how
many are reached (every number reproduced), refuted (some number differs), undecided (more seeds would tell), not
excluded (no number of seeds would tell, for runs scatter too widely or lie at the border) and not run. For each number:
how often it differs, among the points where it was tested. The author's own point is not among the m. "Reached by none"
needs no correction for the number of points: it is false only if some point is right, and that point was wrongly
refuted. Some write-ups also have numbers that were measured on other runs than the first block of numbers. The column
"Out of sample" shows how these stand at the points that are reached, undecided or not excluded by the first block.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pixelpatch.analysis.specifications import NOT_EXCLUDED, REACHED, REFUTED, UNDECIDED, specify
from pixelpatch.formatting import display, number, text
from pixelpatch.tables import read_table

CAPTION = "At how many admissible points the documented numbers are reached."
EMPTY = "No setting is declared to be open."


def make(study: dict[str, Any], tables: Path) -> pd.DataFrame:
    """Count how the points of every curve stand."""
    return specify(study, *(read_table(tables, name, study) for name in ("runs", "curves", "provenance")))[1]


def view(frame: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """One row per curve; `study` is not used."""
    return display(
        frame,
        {
            "Curve": lambda row: text(row["curve"]),
            "m": lambda row: number(row["points"]),
            "Reached": lambda row: number(row["reached"]),
            "Not excluded": lambda row: number(row["not_excluded"]),
            "Undecided": lambda row: number(row["undecided"]),
            "Refuted": lambda row: number(row["refuted"]),
            "Too few seeds": lambda row: number(row["too_few"]),
            "Not run": lambda row: number(row["not_run"]),
            "n": seeds,
            "Result": lambda row: text(row["result"]),
            "Refuted by": lambda row: text(row["refuted_by"]),
            "The author's own": lambda row: text(row["author"]),
            "Out of sample": out_of_sample,
        },
    )


def seeds(row: Mapping[str, Any]) -> str:
    """How many seeds the points of a curve have: "5", "3 to 5"."""
    least, most = row["least_seeds"], row["most_seeds"]
    return number(most) if least == most else f"{least} to {most}"


def out_of_sample(row: Mapping[str, Any]) -> str:
    """How numbers of other runs stand at the points that the first numbers leave; empty where there are none."""
    if pd.isna(row["left"]):
        return ""
    words = {f"then_{word}".replace(" ", "_"): word for word in (REACHED, NOT_EXCLUDED, UNDECIDED, REFUTED)}
    words |= {"then_untested": "not tested"}
    then = [f"{row[key]:g} {word}" for key, word in words.items() if row[key]]
    return f"of {row['left']:g} points left, {', '.join(then)}" if then else "no point is left"
