"""Do documented numbers reproduce at settings that their author may well have used? A row per admissible point (a
combination of settings and a number of epochs) and documented number, with our mean and standard deviation over n
seeds, of a curve at its last epoch; the interval that would hold one more run; the p-value after Holm's correction over
the point's numbers, and the verdict by the rule of verdicts. A point is refuted if any number differs, reached if all
are reproduced, undecided if more seeds would tell, and otherwise not excluded. Seeds that diverged are left out, and
their number is shown beside n. The author's own point is not counted among the others.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pixelpatch.analysis.specifications import NOT_EXCLUDED, NOT_RUN, REACHED, REFUTED, TOO_FEW, UNDECIDED, specify
from pixelpatch.formatting import display, interval, level, mean_sd, number, p_value, side, text
from pixelpatch.tables import read_table
from pixelpatch.tables.identification import cell

CAPTION = "Every documented number at every admissible point."
EMPTY = "No setting is declared to be open."
ORDER = (REACHED, NOT_EXCLUDED, UNDECIDED, REFUTED, TOO_FEW, NOT_RUN)


def make(study: dict[str, Any], tables: Path) -> pd.DataFrame:
    """Judge every number at every point."""
    return specify(study, *(read_table(tables, name, study) for name in ("runs", "curves", "provenance")))[0]


def view(frame: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """One row per point and number: a curve's points as they stand, the author's own first."""
    places = {
        "curve": frame["curve"].map({name: place for place, name in enumerate(frame["curve"].unique())}),
        "author": ~frame["author"].astype(bool),
        "standing": frame["standing"].map(ORDER.index),
    }
    ranked = frame.loc[pd.DataFrame(places).sort_values([*places], kind="stable").index]
    return display(
        ranked,
        {
            "Curve": lambda row: text(row["curve"]),
            "Settings": lambda row: ("the author's own: " if row["author"] else "") + cell(row),
            "Point": lambda row: text(row["standing"]),
            "Experiment": lambda row: text(row["runs_of"]),
            "Number": lambda row: f"{row['system']} {row['claim']}",
            "Documented": _documented,
            "n": _seeds,
            "Ours (mean ± sd)": lambda row: mean_sd(row["mean"], row["std"]),
            level(study["analysis"]["alpha"]): lambda row: interval(row["interval_low"], row["interval_high"]),
            "p (Holm)": lambda row: p_value(row["p_holm"]),
            "Verdict": lambda row: side(row["verdict"]),
        },
    )


def _documented(row: Mapping[str, Any]) -> str:
    printed = text(row["documented"]).split()
    return f"{len(printed)} epochs" if len(printed) > 1 else printed[0]


def _seeds(row: Mapping[str, Any]) -> str:
    return number(row["n_seeds"]) + (f" ({row['n_diverged']} diverged)" if row["n_diverged"] else "")
