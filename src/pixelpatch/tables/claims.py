"""What every write-up documents, and what our runs show of it: a row per claim, with the documented value as printed,
our mean and standard deviation over n seeds, how far our mean is off, the documented value's rank among our seeds (1 is
better than all of them), an interval, the p-value after Holm's correction over all numbers of the write-up, a verdict,
and why if that is not plain. For a loss, "off" is in percent of the documented loss minus the smallest possible loss. A
claim is a number, a curve (shown at its last epoch), a property of a curve, or that one system is better than another.
For numbers and curves, the interval is a prediction interval for one more run of ours, at the study's confidence. For a
property, it is the confidence interval of the share of runs that show it. For "better", it is that of the difference of
the means. If a write-up prints a whole curve, a row
of its own says whether its words agree with that.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pixelpatch.formatting import (
    cut,
    display,
    documented,
    interval,
    level,
    number,
    off,
    p_value,
    rank,
    replicated,
    text,
    verdict,
)
from pixelpatch.tables import read_table

CAPTION = "What the write-ups document, and what our runs show."


def make(study: dict[str, Any], tables: Path) -> pd.DataFrame:
    """Judge all claims of the study."""
    from pixelpatch.analysis.claims import judge  # not above: `show`, which needs the words alone, would wait for scipy

    return judge(
        study,
        read_table(tables, "runs", study),
        read_table(tables, "curves", study),
        read_table(tables, "facts", study),
        read_table(tables, "confusion", study),
    )


def view(frame: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """One row per claim, in the same order."""
    alpha = study["analysis"]["alpha"]
    return display(
        frame,
        {
            "System": lambda row: text(row["system"]),
            "Claim": lambda row: text(row["text"]),
            "Documented": documented,
            "Replicated (mean ± sd)": replicated,
            "n": _seeds,
            "Off": off,
            "Rank": rank,
            level(alpha): lambda row: interval(row["interval_low"], row["interval_high"]),
            "p (Holm)": lambda row: p_value(row["p_holm"]),
            "Verdict": verdict,
            "Why": lambda row: text(row["note"]),
        },
    )


def terminal_claims(claims: pd.DataFrame, *, width: int = 110) -> str:
    """The verdicts for a terminal `width` characters wide: a row per claim, then how many claims got which verdict."""
    view = display(
        claims,
        {
            "system": lambda row: text(row["system"]),
            "claim": lambda row: text(row["claim"]),
            "documented": documented,
            "replicated": replicated,
            "n": _seeds,
            "verdict": verdict,
        },
    )
    if view.empty:
        return "No claims."
    widths = {column: max(len(column), *view[column].str.len()) for column in view}
    spare = width - sum(widths.values()) - 2 * (len(widths) - 1)
    if spare < 0:  # a claim's name is the one cell that stays clear when cut
        widths["claim"] = max(12, widths["claim"] + spare)
        view["claim"] = [cut(cell, widths["claim"]) for cell in view["claim"]]
    lines = [list(widths), ["-" * size for size in widths.values()], *view.to_numpy().tolist()]
    counts = ", ".join(f"{count} {words}" for words, count in view["verdict"].value_counts(sort=False).items())
    table = ("  ".join(map(str.ljust, line, widths.values())).rstrip() for line in lines)
    return "\n".join([*table, "", f"{len(view)} claims: {counts}"])


def _seeds(row: Mapping[str, Any]) -> str:
    return "" if row["kind"] in ("self-check", "reading") else number(row["n_seeds"])
