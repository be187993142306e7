"""Which documented claims reproduce? The rule, as a paper's methods section would give it.

**What is held against what.** A write-up documents one run, as precisely as it prints it: "95.01" is anything in
95.005..95.015. We hold it against the distribution of our own runs, one per seed. Let x̄ and s be mean and standard
deviation of n seeds, d the distance from x̄ to the nearest value that would be printed as documented, and α the level
of the study. If the write-up's run were one more of ours, t = d / (s √(1 + 1/n)) would follow Student's distribution
with n − 1 degrees of freedom; its two-sided p-value is the claim's `p_value`, and `interval_low..interval_high` is the
prediction interval at 1 − α, widened by half a printed unit on both sides. A *curve* is held against the simultaneous
prediction band of whole curves (Bonferroni over its epochs; the table prints the band at the last epoch, where
`replicated_mean` and `replicated_std` are taken too). A claim to be *better* is a one-sided Welch test of two systems:
`replicated_mean` is the difference of the means, `replicated_std` the standard deviation √(s₁² + s₂²) of the difference
between one run of each, `n_seeds` the smaller n, the interval Welch's two-sided one, the effect size Hedges' g.

**Several tests.** The p-values of all number, curve and better claims of the study form one family, corrected by Holm:
the chance of any false alarm among them stays below α. `p_holm` is corrected; a claim's multiplier is the factor by
which Holm multiplies its p-value.

**Verdicts of numbers and curves.** `higher` or `lower`, p_holm < α: the documented value is not one of our runs, and
*ours* is the higher or lower (of a curve: at its most extreme epoch). `reproduced`: not so, and ever more seeds would
not change it, for as n → ∞ at the present mean and spread the p-value times its multiplier stays at or above α.
`undecided`: the documented value is not refuted only because the seeds are few (the note says how many more
would decide at the present mean and spread), or fewer than `analysis.minimum_seeds` (two at the least) ran, in which
case nothing is tested. So an absence of evidence is never sold as a reproduction.

**Exact facts.** A metric under model/ or data/ follows from the spec alone, and needs no run: it is `reproduced` where
it would be printed as documented, else `higher` or `lower` (first labels: `other`). It has no p-value and is outside
the family.

**Runs in progress.** As no setting changes with time, the first k epochs of a run are those of the whole protocol. So
a run that is not finished speaks for claims about epochs (a curve, one epoch of it, a property of it), and not for
final numbers. k is the largest number of epochs that `analysis.minimum_seeds` runs have finished (that all have, where
fewer run), and the note says "epochs 1 to k of 25".

**Better.** `reproduced`: p_holm < α. `lower`: the one-sided test of the opposite gives p < α (uncorrected: it stands
beside a claim that already failed). Else `undecided`.

**Properties** of a curve ("falls at every epoch") are shown by a run or not. Of k in n runs, `replicated_mean` is k / n
against a documented 1, with the interval of Clopper and Pearson. `reproduced`: k ≥ 1, for one run that shows it makes
the documented run unsurprising. Else `lower` where `p_value`, the chance (k + ½) / (n + 1) by Jeffreys' prior that one
more run shows it, is below α, and `undecided` otherwise. That chance is no p-value of a null hypothesis (it is not
uniform under one), hence it is outside Holm's family.

**Not tested.** A claim that the config excludes (`not_tested`), or of an experiment that was not selected or ran at a
reduced budget. Replicated numbers of the latter are printed for information, without interval or p-value.

**Self-checks.** Where a write-up prints a whole curve, what it says in words about that curve is held against it, with
the same code that reads our own curves: a row `<claim>-in-its-own-table`, `consistent` or `contradicted`, for which
no run is needed.
"""

import math
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from itertools import count
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from pixelpatch.analysis.documented import (
    documented_curve,
    documented_number,
    documented_text,
    kind_of,
    self_check,
    shows,
)
from pixelpatch.analysis.statistics import (
    hedges_g,
    holm,
    limiting_p_value,
    mean_and_spread,
    prediction_interval,
    prediction_p_value,
    seeds_needed,
    simultaneous_band,
    simultaneous_test,
    welch,
)
from pixelpatch.errors import UserError
from pixelpatch.metrics import BATCH_LOSS, EXACT
from pixelpatch.study import systems

COLUMNS = [
    "system",
    "claim",
    "text",
    "kind",
    "metric",
    "documented",
    "replicated_mean",
    "replicated_std",
    "n_seeds",
    "interval_low",
    "interval_high",
    "p_value",
    "p_holm",
    "effect_size",
    "verdict",
    "note",
]


Verdict = tuple[str, str]  # with its note


class Replications(NamedTuple):
    """Our runs: finished seeds by experiment; values (seeds,) and curves (seeds, epochs) by experiment and metric.

    Curves are of runs in progress too, whose missing epochs are NaN. `facts` are by experiment and metric, as text.
    """

    seeds: dict[str, int]
    values: dict[tuple[str, str], np.ndarray]
    curves: dict[tuple[str, str], np.ndarray]
    facts: dict[tuple[str, str], str]


class Case(NamedTuple):
    """A claim, where it stands, and all it is judged by."""

    study: dict
    ours: Replications
    system: str
    name: str

    @property
    def claim(self) -> dict:
        """The claim's block in the config."""
        return self.study["experiments"][self.system]["claims"][self.name]

    @property
    def where(self) -> str:
        """The claim's place in the config, for messages."""
        return f"experiments.{self.system}.claims.{self.name}"

    @property
    def epochs(self) -> int:
        """How many epochs the system trains."""
        return self.study["experiments"][self.system]["spec"]["training"]["epochs"]

    @property
    def minimum_seeds(self) -> int:
        """How many seeds a verdict needs."""
        return max(self.study["analysis"]["minimum_seeds"], 2)

    @property
    def alpha(self) -> float:
        """The level of the study."""
        return self.study["analysis"]["alpha"]


class Finding(NamedTuple):
    """What is known of a claim before Holm: columns, and (p_holm, multiplier) → verdict where that waits for it."""

    columns: dict
    decide: Callable[[float, float], Verdict] | None = None


class Distance(NamedTuple):
    """How far a documented value lies from ours, and (level) → the seeds at which that would be significant."""

    p_value: float
    limiting_p_value: float
    sign: int
    seeds_needed: Callable[[float], int | None]
    place: str = ""


def judge(study: dict, runs: pd.DataFrame, curves: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """The verdict on every claim of `study`, self-checks included, in the config's order: the columns of claims.csv.

    `runs` and `curves` are the long tables of `collect`, `facts` that of `analysis.facts`. `documented` is text as
    printed, of a curve all its figures.
    Raises UserError for a claim that cannot be judged as configured: a number that is not printed text, an unknown
    experiment or metric, or epochs that the replicated curve does not have. See the module for the rule.
    """
    ours = Replications(
        seeds=runs.groupby("experiment")["seed"].nunique().to_dict(),
        values={key: group.to_numpy(dtype=float) for key, group in runs.groupby(["experiment", "metric"])["value"]},
        curves={
            key: group.pivot(index="seed", columns="epoch", values="value").to_numpy(dtype=float)
            for key, group in curves.groupby(["experiment", "metric"])
        },
        facts={(row.experiment, row.metric): row.value for row in facts.itertuples()},
    )
    findings = []
    for system, experiment in systems(study).items():
        for name in experiment["claims"]:
            findings += _findings(Case(study, ours, system, name))
    corrected = holm([finding.columns["p_value"] if finding.decide else np.nan for finding in findings])
    rows = []
    for finding, p_holm, multiplier in zip(findings, corrected.adjusted, corrected.multiplier, strict=True):
        row = finding.columns | {"p_holm": p_holm}
        if finding.decide:
            row["verdict"], note = finding.decide(p_holm, multiplier)
            row["note"] = _joined(row["note"], note)
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def _findings(case: Case) -> list[Finding]:
    """The finding on one claim and, where its write-up prints the curve, that on the claim in its own table."""
    claim, kind = case.claim, kind_of(case.claim, case.where)
    columns = {
        "system": case.system,
        "claim": case.name,
        "text": claim["text"],
        "kind": kind,
        "metric": claim.get("metric", ""),
        "documented": documented_text(claim, case.where),
        "n_seeds": 0,
        "note": "",
    }
    kinds = {"number": _number, "labels": _fact, "curve": _curve, "property": _property, "better": _better}
    judge_kind = _fact if _is_fact(claim) else kinds[kind]
    if reason := _untested(case):
        finding = Finding(_information(case, judge_kind) | {"verdict": "not tested", "note": reason})
    else:
        finding = judge_kind(case)
    findings = [finding._replace(columns=columns | finding.columns)]
    claims = case.study["experiments"][case.system]["claims"]
    if checked := self_check(claims, case.name, f"experiments.{case.system}.claims"):
        name, (verdict, note) = f"{case.name}-in-its-own-table", checked
        findings.append(Finding(columns | {"claim": name, "kind": "self-check", "verdict": verdict, "note": note}))
    return findings


def _untested(case: Case) -> str:
    """Why a claim cannot be tested here, or nothing."""
    if "not_tested" in case.claim:
        return case.claim["not_tested"]
    if _is_fact(case.claim):
        return ""
    for system in _systems(case):
        of = "" if system == case.system else f" of {system}"
        if not case.ours.seeds.get(system) and not (_is_of_epochs(case.claim) and _begun(case)):
            return f"no run{of} is finished" if _begun(case) else f"no run selected{of}"
        if case.study["experiments"][system]["narrowed"]:
            return f"reduced budget{of}: {case.study['experiments'][system]['narrowing']}"
    if _is_of_epochs(case.claim) and _in_progress(case) and _last(case.claim) > (reached := _reached(case)):
        return f"only epochs 1 to {reached} of {case.epochs} have run"
    return ""


def _information(case: Case, judge_kind: Callable[[Case], Finding]) -> dict:
    """What our runs show of a claim that they do not test: mean, spread and seeds, so far as they show it."""
    if "metric" not in case.claim or not all(system in case.ours.seeds for system in _systems(case)):
        return {}
    try:
        columns = judge_kind(case).columns
    except UserError:  # a shortened curve need not reach the claim's epochs
        return {"n_seeds": case.ours.seeds[case.system]}
    return {key: columns[key] for key in ("replicated_mean", "replicated_std", "n_seeds") if key in columns}


def _fact(case: Case) -> Finding:
    """What follows from the spec alone: a number, or the labels of the first images."""
    if (value := case.ours.facts.get((case.system, case.claim["metric"]))) is None:
        raise UserError(f"{case.where}.metric is {case.claim['metric']!r}, which is no fact of {case.system}.")
    if "first_labels" in case.claim:
        agrees = value == documented_text(case.claim, case.where)
        return Finding({"verdict": "reproduced" if agrees else "other", "note": f"ours are {value}"})
    documented = documented_number(case.claim, case.where)
    difference = Decimal(value) - documented.value
    agrees = abs(difference) <= documented.half_unit
    verdict = "reproduced" if agrees else _side(1 if difference > 0 else -1)
    return Finding({"replicated_mean": float(value), "verdict": verdict})


def _number(case: Case) -> Finding:
    """A documented number, held against the prediction interval."""
    documented = documented_number(case.claim, case.where)
    target = (float(documented.value), float(documented.half_unit))
    note = ""
    if "epoch" in case.claim:
        epoch = case.claim["epoch"]
        curves, note = _curves(case, lambda epochs: epoch <= epochs, f"speaks of epoch {epoch}")
        sample = curves[:, epoch - 1]
    else:
        sample = _values(case, case.system)
    mean, spread = (float(part) for part in mean_and_spread(sample))
    columns = {"replicated_mean": mean, "replicated_std": spread, "n_seeds": len(sample), "note": note}
    sign = 1 if mean > target[0] else -1
    low, high = prediction_interval(sample, 1 - case.alpha)
    columns |= {"interval_low": low - target[1], "interval_high": high + target[1]}
    p_value, limit = prediction_p_value(sample, *target), limiting_p_value(sample, *target)
    return _tested(case, columns, Distance(p_value, limit, sign, partial(seeds_needed, sample, *target)))


def _curve(case: Case) -> Finding:
    """A documented curve, held against the simultaneous band of whole curves."""
    figures = documented_curve(case.claim, case.where)
    ours, note = _curves(case, lambda epochs: epochs == len(figures), f"documents {len(figures)} epochs")
    target, half_unit = np.array(figures[: ours.shape[1]], dtype=float).T
    mean, spread = (float(part) for part in mean_and_spread(ours[:, -1]))
    low, high = simultaneous_band(ours, 1 - case.alpha)
    columns = {
        "replicated_mean": mean,
        "replicated_std": spread,
        "n_seeds": len(ours),
        "interval_low": low[-1] - half_unit[-1],
        "interval_high": high[-1] + half_unit[-1],
        "note": _joined(note, f"band at {_place(case, ours.shape[1])}"),
    }
    test = simultaneous_test(ours, target, half_unit)
    worst = test.epoch - 1

    def needed(level: float) -> int | None:
        return seeds_needed(ours[:, worst], target[worst], half_unit[worst], level / ours.shape[1])

    place = f"most extreme at {_place(case, test.epoch)}"
    return _tested(case, columns, Distance(test.p_value, test.limiting_p_value, test.sign, needed, place))


def _property(case: Case) -> Finding:
    """A property of the curve: does it occur among our runs?"""
    ours, note = _curves(case, lambda epochs: _last(case.claim) <= epochs, f"speaks of epoch {_last(case.claim)}")
    n, shown = len(ours), sum(shows(case.claim, curve) for curve in ours)
    interval = stats.binomtest(shown, n).proportion_ci(1 - case.alpha, method="exact")
    columns = {
        "replicated_mean": shown / n,
        "n_seeds": n,
        "interval_low": float(interval.low),
        "interval_high": float(interval.high),
        "p_value": (shown + 0.5) / (n + 1),
    }
    if shown:
        return Finding(columns | {"verdict": "reproduced", "note": _joined(note, f"{shown} of {n} runs show it")})
    if columns["p_value"] < case.alpha:
        return Finding(columns | {"verdict": "lower", "note": _joined(note, "no run shows it")})
    enough = next(total for total in count(n + 1) if 0.5 / (total + 1) < case.alpha)
    note = _joined(note, f"no run shows it; {_more_seeds(enough - n)} without it would decide")
    return Finding(columns | {"verdict": "undecided", "note": note})


def _better(case: Case) -> Finding:
    """A claim that the one system's metric is higher than the other's."""
    a, b = (_values(case, system) for system in _systems(case))
    result = welch(a, b, 1 - case.alpha)
    columns = {
        "replicated_mean": result.difference,
        "replicated_std": math.hypot(mean_and_spread(a)[1], mean_and_spread(b)[1]),
        "n_seeds": min(len(a), len(b)),
        "interval_low": result.low,
        "interval_high": result.high,
        "effect_size": hedges_g(a, b),
    }

    def decide(p_holm: float, multiplier: float) -> Verdict:
        if p_holm < case.alpha:
            return "reproduced", ""
        if 1 - result.p_greater < case.alpha:
            return "lower", ""
        return "undecided", "the difference is not significant at the present number of seeds"

    return _too_few(case, columns) or Finding(columns | {"p_value": result.p_greater}, decide)


def _tested(case: Case, columns: dict, distance: Distance) -> Finding:
    """A number or curve whose verdict waits for Holm, or is out of reach of so few seeds."""

    def decide(p_holm: float, multiplier: float) -> Verdict:
        if p_holm < case.alpha:
            return _side(distance.sign), distance.place
        if multiplier * distance.limiting_p_value >= case.alpha:
            return "reproduced", ""
        if multiplier * distance.p_value < case.alpha:
            return "undecided", "a claim with a smaller p-value has to be decided first (Holm)"
        needed = distance.seeds_needed(case.alpha / multiplier)
        if needed is None:
            return "undecided", "no practical number of seeds would decide at the present mean and spread"
        more = _more_seeds(needed - columns["n_seeds"])
        return "undecided", f"{more} would decide at the present mean and spread"

    return _too_few(case, columns) or Finding(columns | {"p_value": distance.p_value}, decide)


def _too_few(case: Case, columns: dict) -> Finding | None:
    """The finding where too few seeds ran for any test, or None."""
    missing = case.minimum_seeds - columns["n_seeds"]
    if missing <= 0:
        return None
    note = _joined(columns.get("note", ""), f"at least {_more_seeds(missing)}")
    return Finding(columns | {"verdict": "undecided", "note": note})


def _values(case: Case, system: str) -> np.ndarray:
    """A system's values of the claim's metric, shape (seeds,). Raises UserError where not every run has one."""
    return _lookup(case, system, case.ours.values)


def _curves(case: Case, fits: Callable[[int], bool], says: str) -> tuple[np.ndarray, str]:
    """Our curves of the claim's metric, shape (seeds, epochs), and how far they go, in words, if not to the end.

    Raises UserError where they do not fit what the claim says.
    """
    curves = _lookup(case, case.system, case.ours.curves)
    if _in_progress(case):
        length = _reached(case)
        curves = curves[:, :length]
        curves = curves[~np.isnan(curves).any(axis=1)]
        if length < case.epochs:
            return curves, f"epochs 1 to {length} of {case.epochs}"
    if np.isnan(curves).any():
        raise UserError(f"The runs of {case.system} have {case.claim['metric']} over different numbers of epochs.")
    if not fits(curves.shape[1]):
        raise UserError(f"{case.where} {says}, but the runs of {case.system} have {curves.shape[1]} epochs.")
    return curves, ""


def _begun(case: Case) -> bool:
    """Whether any run of the system has finished an epoch."""
    return any(name == case.system for name, _ in case.ours.curves)


def _in_progress(case: Case) -> bool:
    """Whether some run of the system is not finished."""
    return len(case.ours.curves.get((case.system, case.claim["metric"]), ())) > case.ours.seeds.get(case.system, 0)


def _reached(case: Case) -> int:
    """How many epochs as many runs as a verdict needs have finished (all runs, where they are fewer)."""
    finished = np.isfinite(case.ours.curves[case.system, case.claim["metric"]]).sum(axis=1)
    return int(np.sort(finished)[-min(case.minimum_seeds, len(finished))])


def _is_fact(claim: dict) -> bool:
    """Whether a claim follows from the spec alone."""
    return claim.get("metric", "").startswith(EXACT)


def _is_of_epochs(claim: dict) -> bool:
    """Whether a claim is about epochs, so that a run in progress may speak for it."""
    of_batches = claim.get("metric") == BATCH_LOSS
    return not of_batches and any(key in claim for key in ("curve", "epoch", "falls_every_epoch", "dips_at"))


def _last(claim: dict) -> int:
    """The last epoch that a claim cannot do without."""
    least = 2 if "falls_every_epoch" in claim else 1
    return max([least, claim.get("epoch", 1), *(end for _, end in claim.get("dips_at", []))])


def _place(case: Case, position: int) -> str:
    """A place on a curve in words: "epoch 3" or, of logged batches, "batch 21"."""
    if case.claim["metric"] != BATCH_LOSS:
        return f"epoch {position}"
    every = case.study["experiments"][case.system]["spec"]["training"]["log_every"]
    return f"batch {every * (position - 1) + 1}"


def _lookup(case: Case, system: str, table: dict[tuple[str, str], np.ndarray]) -> np.ndarray:
    metric = case.claim["metric"]
    found = table.get((system, metric), ())
    if len(found) < case.ours.seeds.get(system, 1):
        known = ", ".join(sorted(name for owner, name in table if owner == system)) or "none"
        raise UserError(
            f"{case.where}.metric is {metric!r}, which {len(found)} of {case.ours.seeds.get(system, 0)} runs of "
            f"{system} have; choose from {known}."
        )
    return found


def _systems(case: Case) -> list[str]:
    """The experiments that a claim speaks of, its own first. Raises UserError where the other is unknown."""
    other = case.claim.get("better_than")
    if other is None:
        return [case.system]
    if other not in case.study["experiments"]:
        raise UserError(f"{case.where}.better_than is {other!r}, which is no experiment of the study.")
    return [case.system, other]


def _side(sign: int) -> str:
    return "higher" if sign > 0 else "lower"


def _more_seeds(number: int) -> str:
    return f"{number} more seed{'s' * (number != 1)}"


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))
