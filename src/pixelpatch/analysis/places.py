"""Where does a documented number sit among our seeds, and how does its verdict move with tolerance and seeds?

A write-up shows one run; whether that was the only one, nobody says. Of a documented final score (an accuracy or number
right, where more is better; a loss, where less is), `rank` counts how many of our n seeds are better, plus one.
`chance` is the probability that one more run shows it or better, by Student's predictive distribution for one run on
the metric's scale (see `analysis.verdicts`). `best_of` is the smallest k for which the expected best of k further runs
reaches the documented value. It is 1 if our mean already reaches it, infinite if k would exceed 10⁶, and missing below
three seeds, where the expectation does not exist. Those k runs share one unknown mean and deviation, so what is
expected of them is m + s c(n) e(k): e(k) is the expected largest of k standard normal numbers, and c(n) = √((n − 1) /
2) Γ((n − 2) / 2) / Γ((n − 1) / 2) what s is too small by (the mean of σ given s, of Student's own prior).

The *map* gives every verdict as a function of two things that are our choice: the first n seeds are taken as if there
were no others, and the tolerance is so many times the configured one. Verdicts of the map are those of single tests at
alpha, without Holm's correction over the write-up's numbers.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import integrate, optimize, special, stats

from pixelpatch.analysis.documented import Printed, documented_number, kind_of
from pixelpatch.analysis.scales import Scale, scale_of, tolerance_of
from pixelpatch.analysis.statistics import mean_and_spread
from pixelpatch.analysis.verdicts import Distance
from pixelpatch.study import systems

NUMBER = ["system", "claim", "metric", "documented", "n_seeds"]
PLACES = [*NUMBER, "mean", "std", "rank", "chance", "best_of"]
MAP = [*NUMBER, "tolerance", "p_value", "verdict"]
LESS_IS_BETTER = "loss"
SCORES = ("accuracy", "correct", LESS_IS_BETTER)  # how the metrics end whose documented values are scores
TOLERANCES = (0.25, 0.5, 1.0, 2.0, 4.0)  # times the configured one
MOST_RUNS = 1_000_000


class Score(NamedTuple):
    """A documented final score: its columns, our values in the order of seeds, and what it is judged by."""

    columns: dict
    values: np.ndarray
    documented: Printed
    scale: Scale
    tolerance: float


def places(study: dict, runs: pd.DataFrame) -> pd.DataFrame:
    """One row per documented final score of systems that have runs at their documented budget: places.csv."""
    return pd.DataFrame([_place(score) for score in _scores(study, runs)], columns=PLACES)


def verdict_map(study: dict, runs: pd.DataFrame) -> pd.DataFrame:
    """One row per such score, number of seeds from `analysis.minimum_seeds` on, and tolerance: verdict_map.csv."""
    least, alpha = (study["analysis"][key] for key in ("minimum_seeds", "alpha"))
    rows = []
    for score in _scores(study, runs):
        low, high = float(score.documented.low), float(score.documented.high)
        for n in range(max(least, 2), len(score.values) + 1):
            for times in TOLERANCES:
                tolerance = times * score.tolerance
                ours = Distance(score.values[:n], low, high, scale=score.scale, tolerance=tolerance, alpha=alpha)
                p_value = ours.p_value()
                row = {"n_seeds": n, "tolerance": times, "p_value": p_value, "verdict": ours.verdict(p_value, 1)}
                rows.append(score.columns | row)
    return pd.DataFrame(rows, columns=MAP)


def expected_best(k: float) -> float:
    """The expected largest of `k` standard normal numbers: ∫ Q(v^(1/k)) dv, Q being their quantiles."""

    def quantile(v: float) -> float:
        return stats.norm.isf(-np.expm1(np.log(v) / k))

    # In two parts, for the upper one goes to infinity at its end.
    return float(sum(integrate.quad(quantile, *ends, limit=200)[0] for ends in ((0, 0.5), (0.5, 1))))


def best_of(surplus: float, seeds: int) -> float:
    """The smallest k whose expected best lies `surplus` of our deviations above our mean; infinite beyond MOST_RUNS."""
    if surplus < 1e-9:
        return 1
    half = (seeds - 1) / 2
    surplus /= np.sqrt(half) * np.exp(special.gammaln(half - 0.5) - special.gammaln(half))
    if expected_best(MOST_RUNS) < surplus:
        return np.inf
    least = optimize.brentq(lambda k: expected_best(k) - surplus, 1, MOST_RUNS)
    return float(np.ceil(round(least, 6)))


def _scores(study: dict, runs: pd.DataFrame) -> Iterator[Score]:
    """Every documented final score of a system that has runs at its documented budget."""
    ordered = runs.sort_values("seed")
    ours = {key: group.to_numpy(float) for key, group in ordered.groupby(["experiment", "metric"])["value"]}
    for system, experiment in systems(study).items():
        for name, claim in experiment["claims"].items():
            where = f"experiments.{system}.claims.{name}"
            final = kind_of(claim, where) == "number" and not {"epoch", "not_tested"} & claim.keys()
            metric = claim.get("metric", "")
            values = ours.get((system, metric), np.array([]))
            if final and metric.endswith(SCORES) and len(values) and not experiment["narrowed"]:
                printed, spec = documented_number(claim, where), experiment["spec"]
                tolerances, own = study["analysis"]["tolerance"], claim.get("tolerance")
                tolerance = tolerance_of(metric, spec, tolerances, float(printed.value), own)
                columns = {"system": system, "claim": name, "metric": metric, "documented": f"{printed.value:f}"}
                columns["n_seeds"] = len(values)
                yield Score(columns, values, printed, scale_of(metric, spec), float(tolerance))


def _place(score: Score) -> dict:
    values, n = score.values, len(score.values)
    less = score.columns["metric"].endswith(LESS_IS_BETTER)
    low, high = float(score.documented.low), float(score.documented.high)
    mean, std = (float(part) for part in mean_and_spread(values))
    better = values < low if less else values > high
    row = score.columns | {"mean": mean, "std": std, "rank": 1 + int(better.sum())}
    if n < 2:
        return row
    sign = -1 if less else 1
    centre, spread = mean_and_spread(score.scale.of(values))
    spread = max(float(spread), float(score.scale.step_at(centre)) / 2)
    surplus = sign * float(score.scale.of(high if less else low) - centre) / spread  # to the easiest printed so
    best = best_of(surplus, n) if n > 2 else np.nan  # of two seeds, σ has no mean
    return row | {"chance": float(stats.t.sf(surplus / np.sqrt(1 + 1 / n), n - 1)), "best_of": best}
