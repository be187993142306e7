"""Every selected system against every other: how much better, how surely, and how much that matters.

A row per metric of `analysis.compare` and pair of systems that both have it, in the config's order; `difference` is
mean(a) − mean(b). The p-values of Welch's test are corrected by Holm over the *whole* table, all metrics and pairs
together: the reader scans one table for whatever stands out, so one family bounds the chance that anything in it does
so by accident. The permutation p-value beside it rests on no normality and is not corrected. `seeds_to_tell` is how
many seeds of each would tell the pair apart with power 0.8, by one test at alpha, at the effect size we see. A pair
at a reduced budget is compared as it ran, and `narrowed` says which of the two that is.
"""

from itertools import combinations

import numpy as np
import pandas as pd
from numpy.random import Generator

from pixelpatch.analysis.statistics import (
    hedges_g,
    holm,
    mean_and_spread,
    permutation_p_value,
    seeds_to_tell,
    superiority,
    welch,
)
from pixelpatch.study import systems

COLUMNS = [
    "metric",
    "system_a",
    "system_b",
    "n_a",
    "n_b",
    "mean_a",
    "mean_b",
    "difference",
    "interval_low",
    "interval_high",
    "t",
    "p_welch",
    "p_permutation",
    "p_holm",
    "effect_size",
    "superiority",
    "seeds_to_tell",
    "narrowed",
]


def compare(study: dict, runs: pd.DataFrame, rng: Generator) -> pd.DataFrame:
    """All pairs of systems on every metric of `study["analysis"]["compare"]`: the columns of comparisons.csv.

    `runs` is the long table of `collect`; `rng` draws the permutations that are too many to count out. A system with
    fewer than two seeds still shows its mean, with NaN for every statistic. Intervals are at confidence 1 − alpha.
    """
    samples = {key: group.to_numpy(dtype=float) for key, group in runs.groupby(["experiment", "metric"])["value"]}
    rows = [
        _pair(study, metric, (a, samples[a, metric]), (b, samples[b, metric]), rng)
        for metric in study["analysis"]["compare"]
        for a, b in combinations([name for name in systems(study) if (name, metric) in samples], 2)
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    # What ran at a reduced budget is shown and not tested: it would only dilute the family.
    table["p_holm"] = holm(table["p_welch"].where(table["narrowed"] == "")).adjusted
    return table


def _pair(
    study: dict, metric: str, first: tuple[str, np.ndarray], second: tuple[str, np.ndarray], rng: Generator
) -> dict:
    """One row of the table, all but its p_holm."""
    (name_a, a), (name_b, b) = first, second
    result = welch(a, b, 1 - study["analysis"]["alpha"])
    return {
        "metric": metric,
        "system_a": name_a,
        "system_b": name_b,
        "n_a": len(a),
        "n_b": len(b),
        "mean_a": float(mean_and_spread(a)[0]),
        "mean_b": float(mean_and_spread(b)[0]),
        "difference": result.difference,
        "interval_low": result.low,
        "interval_high": result.high,
        "t": result.t,
        "p_welch": result.p_value,
        "p_permutation": permutation_p_value(a, b, permutations=study["analysis"]["permutations"], rng=rng),
        "effect_size": hedges_g(a, b),
        "superiority": superiority(a, b),
        "seeds_to_tell": seeds_to_tell(hedges_g(a, b), study["analysis"]["alpha"]),
        "narrowed": ", ".join(name for name in (name_a, name_b) if study["experiments"][name]["narrowed"]),
    }
