"""What the study has cost, and what it has yet to cost: a row per experiment or family, cheapest to finish first, with
the runs that are recorded and those to do, the minutes of a run (measured, or at most what the configuration asks for
where nothing has run), and the core-hours of either; the last row is their sum.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pixelpatch.analysis.plan import plan
from pixelpatch.formatting import display, fixed, number, text
from pixelpatch.tables import read_table

CAPTION = "What has run, and what has not yet, cheapest first."


def make(study: dict[str, Any], tables: Path) -> pd.DataFrame:
    """Add up what has run and what has not."""
    return plan(study, read_table(tables, "runs", study))


def view(frame: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """One row per experiment or family, and what all of them add up to; `study` is not used."""
    total = frame[["recorded", "to_do", "core_hours_done", "core_hours_to_do"]].sum()
    rows = pd.concat([frame, pd.DataFrame([{"experiment": "all", **total}])]) if len(frame) else frame
    return display(
        rows,
        {
            "Experiment": lambda row: text(row["experiment"]),
            "Runs recorded": lambda row: number(row["recorded"]),
            "To do": lambda row: number(row["to_do"]),
            "Minutes per run": _minutes,
            "Core-hours done": lambda row: fixed(row["core_hours_done"], 2),
            "Core-hours to do": lambda row: fixed(row["core_hours_to_do"], 2),
        },
    )


def _minutes(row: Mapping[str, Any]) -> str:
    if not math.isfinite(row["minutes_per_run"]):
        return ""
    return fixed(row["minutes_per_run"], 1) if row["measured"] else f"at most {number(row['minutes_per_run'])}"
