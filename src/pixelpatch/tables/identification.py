"""Which settings that a write-up leaves unstated explain its numbers best? A row per cell of the grid that was tried
(settings and number of epochs) and number that identifies, with our mean and standard deviation over n seeds, how
surprising the documented number would be as one more run, and the log-likelihood of the cell over all of its numbers.
The best cell is identified; those that no number refutes are compatible, which is easier for few or scattered seeds.
A cell scatters where one more run of it could be almost anything: that explains nothing. The rows of the truth are what
the author ran, known only since.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pixelpatch.analysis.identification import identify
from pixelpatch.formatting import counted, display, fixed, mean_sd, number, p_value, text
from pixelpatch.tables import read_table

CAPTION = "How well each cell of a grid explains the documented numbers that identify."


def make(study: dict[str, Any], tables: Path) -> pd.DataFrame:
    """Every cell's account of the identifying numbers."""
    return identify(study, *(read_table(tables, name, study) for name in ("runs", "curves", "provenance")))[0]


def view(frame: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """One row per cell and identifying number, the best cells first; `study` is not used."""
    ranked = frame.sort_values(["question", "log_likelihood"], ascending=[True, False], kind="stable")
    return display(
        ranked,
        {
            "Question": lambda row: text(row["question"]),
            "Settings": cell,
            "Experiment": lambda row: text(row["experiment"]),
            "Number": lambda row: f"{row['system']} {row['claim']}",
            "Documented": lambda row: text(row["documented"]),
            "n": lambda row: number(row["n_seeds"]),
            "Ours (mean ± sd)": lambda row: mean_sd(row["mean"], row["std"]),
            "p": lambda row: p_value(row["p_value"]),
            "Log-likelihood": lambda row: fixed(row["log_likelihood"], 1),
            "": _standing,
        },
    )


def _standing(row: Mapping[str, Any]) -> str:
    if pd.isna(row["log_likelihood"]):
        return "no likelihood: too few seeds, or one that diverged"
    words = ["identified" if row["identified"] else "compatible" if row["compatible"] else ""]
    words = [*(["the truth"] if row["truth"] else []), *words, *(["but scatters"] if row["scatters"] else [])]
    return ", ".join(filter(None, words)) if row["compatible"] or row["identified"] or row["truth"] else ""


def cell(row: Mapping[str, Any]) -> str:
    """The settings of a cell, in a row of its own or of its predictions."""
    return f"{row['settings']}, {counted(row['epochs'], 'epoch')}"
