"""Where does a documented number sit among our seeds, and how does its verdict move with tolerance and seeds?

A write-up shows one run; whether that was the only one, nobody says. Of a documented final score (an accuracy or number
right, where more is better; a loss, where less is), `rank` counts how many of our n seeds are better, plus one;
`chance` is the probability that one more run shows it or better, by Student's predictive distribution for one run;
`best_of` is the smallest k such that the best of k further runs is expected to reach it: 1 where our mean does,
infinite where more than 10⁶ would be needed, missing where fewer than three seeds leave nothing to expect. Those k runs
share one unknown mean and deviation, so what is expected of them is x̄ + s c(n) m(k): m(k) is the expected largest of k
standard normal numbers, and c(n) = √((n − 1) / 2) Γ((n − 2) / 2) / Γ((n − 1) / 2) what s is too small by (the mean of σ
given s, of Student's own prior).

The *map* gives every verdict as a function of two things that are our choice. The first n seeds are taken as if there
were no others, and the documented number counts as met by anything within `tolerance` (a share of it) besides its last
digit. Verdicts of the map are those of single tests at alpha, without Holm's correction over all claims.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import integrate, optimize, special, stats

from pixelpatch.analysis.documented import documented_number, kind_of
from pixelpatch.analysis.statistics import mean_and_spread, verdict_of
from pixelpatch.study import systems

NUMBER = ["system", "claim", "metric", "documented", "n_seeds"]
PLACES = [*NUMBER, "mean", "std", "rank", "chance", "best_of"]
MAP = [*NUMBER, "tolerance", "p_value", "verdict"]
LESS_IS_BETTER = "loss"
SCORES = ("accuracy", "correct", LESS_IS_BETTER)  # how the metrics end whose documented values are scores
TOLERANCES = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
MOST_RUNS = 1_000_000


def places(study: dict, runs: pd.DataFrame) -> pd.DataFrame:
    """One row per documented final score of systems that have runs at their documented budget: places.csv."""
    rows = [_place(*score) for score in _scores(study, runs)]
    return pd.DataFrame(rows, columns=PLACES)


def verdict_map(study: dict, runs: pd.DataFrame) -> pd.DataFrame:
    """One row per such score, number of seeds from `analysis.minimum_seeds` on, and tolerance: verdict_map.csv."""
    least, alpha = (study["analysis"][key] for key in ("minimum_seeds", "alpha"))
    rows = [
        columns
        | {"n_seeds": n, "tolerance": tolerance}
        | verdict_of(values[:n], target, half_unit + tolerance * abs(target), alpha)._asdict()
        for columns, values, target, half_unit in _scores(study, runs)
        for n in range(max(least, 2), len(values) + 1)
        for tolerance in TOLERANCES
    ]
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


def _scores(study: dict, runs: pd.DataFrame) -> Iterator[tuple[dict, np.ndarray, float, float]]:
    """Of every documented final score: its columns, our values in the order of seeds, and the number's half unit."""
    ordered = runs.sort_values("seed")
    ours = {key: group.to_numpy(float) for key, group in ordered.groupby(["experiment", "metric"])["value"]}
    for system, experiment in systems(study).items():
        for name, claim in experiment["claims"].items():
            where = f"experiments.{system}.claims.{name}"
            final = kind_of(claim, where) == "number" and not {"epoch", "not_tested"} & claim.keys()
            values = ours.get((system, claim.get("metric")), np.array([]))
            if final and claim["metric"].endswith(SCORES) and len(values) and not experiment["narrowed"]:
                printed = documented_number(claim, where)
                columns = {
                    "system": system,
                    "claim": name,
                    "metric": claim["metric"],
                    "documented": f"{printed.value:f}",
                }
                yield columns | {"n_seeds": len(values)}, values, float(printed.value), float(printed.half_unit)


def _place(columns: dict, values: np.ndarray, target: float, half_unit: float) -> dict:
    sign = -1 if columns["metric"].endswith(LESS_IS_BETTER) else 1
    mean, std = (float(part) for part in mean_and_spread(values))
    easiest = sign * target - half_unit  # the least that would still be printed so
    row = columns | {"mean": mean, "std": std, "rank": 1 + int((sign * values > sign * target + half_unit).sum())}
    if len(values) < 2:
        return row
    surplus = easiest - sign * mean
    if std == 0:
        return row | {"chance": float(surplus <= 0), "best_of": 1 if surplus <= 0 else np.inf}
    n = len(values)
    best = best_of(surplus / std, n) if n > 2 else np.nan  # of two seeds, σ has no mean
    return row | {"chance": float(stats.t.sf(surplus / (std * np.sqrt(1 + 1 / n)), n - 1)), "best_of": best}
