"""Every system against every other, on the metrics that the configuration names: a row per pair and metric, with both
means, their difference A − B and Welch's interval of it, Welch's and a permutation test, the effect size (Hedges' g),
the chance that a run of A beats one of B, and how many seeds of each would tell the two apart. The p-values of Welch's
test are corrected over the whole table by Holm; pairs at a reduced budget are compared as they ran, and named.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pixelpatch.analysis.comparisons import compare
from pixelpatch.formatting import display, fixed, interval, level, number, p_value, precision, text
from pixelpatch.tables import read_table

CAPTION = "Every pair of systems on the metrics they share."


def make(study: dict[str, Any], tables: Path) -> pd.DataFrame:
    """Compare the systems; the permutations are drawn from the study's seed."""
    rng = np.random.default_rng(study["analysis"]["rng_seed"])
    return compare(study, read_table(tables, "runs", study), rng)


def view(frame: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """One row per pair of systems and metric, A minus B."""
    alpha = study["analysis"]["alpha"]
    return display(
        frame,
        {
            "Metric": lambda row: text(row["metric"]),
            "A": lambda row: text(row["system_a"]),
            "B": lambda row: text(row["system_b"]),
            "n": lambda row: f"{number(row['n_a'])}, {number(row['n_b'])}",
            "Mean A": lambda row: fixed(row["mean_a"], precision(row)),
            "Mean B": lambda row: fixed(row["mean_b"], precision(row)),
            "A − B": lambda row: fixed(row["difference"], precision(row)),
            level(alpha): lambda row: interval(row["interval_low"], row["interval_high"], at_least=2),
            "p (Welch)": lambda row: p_value(row["p_welch"]),
            "p (permutation)": lambda row: p_value(row["p_permutation"]),
            "p (Holm)": lambda row: p_value(row["p_holm"]),
            "Effect size": lambda row: fixed(row["effect_size"], 2),
            "P(A > B)": lambda row: fixed(row["superiority"], 2),
            "Seeds to tell": lambda row: number(row["seeds_to_tell"]),
            "Reduced budget": lambda row: text(row["narrowed"]),
        },
    )
