"""Which documented claims reproduce? A row per claim; the rule for numbers and curves is that of `analysis.verdicts`.

**Numbers and curves.** All that one write-up documents of its systems' runs are one family of tests. `family` is their
number, fixed by the configuration before anything runs, and `p_holm` the p-value after Holm's correction over them.
`replicated_mean` and `replicated_std` are in the metric's unit. The interval is the prediction interval for one more
run. Of a curve, all these are those of its last epoch. `off` is how far our mean lies from the documented value: in
points (of a count, percent of all), in percent of what lies above a loss's floor, or in epochs. `rank` is the
documented value's place among our n seeds: 1 + how many of them are better, that is higher or, of a loss, lower.

**Exact facts.** A metric under model/ or data/ follows from the spec alone, and needs no run: it is `reproduced` where
it would be printed as documented, else `higher` or `lower` (first labels: `other`). It has no p-value.

**Runs in progress.** No protocol here has a schedule that depends on the number of epochs, so the first k epochs of an
unfinished run are the same as those of a finished one. Unfinished runs are therefore used for claims about epochs (a
curve, one of its epochs, a property of it). They are not used for final numbers, nor for logs of single batches. While
any run is unfinished, a claim about epochs is judged on the first `analysis.minimum_seeds` seeds (on all, if there are
fewer), up to the last epoch that all of them have finished. The note then says "epochs 1 to 8 of 25". The set is fixed
because each change of it would be one more look. When all runs have finished, all are judged: a second look.

**Words.** What a write-up says without a number is outside its family.

* *Better* or *worse*: one system has the higher metric (a loss: the lower) than another, or than an ablation of it.
  A one-sided Welch test of their means. `reproduced`: p < α. `lower`: the opposite test gives p < α. Else `undecided`.
  `replicated_mean` is the difference of the means in favour of the one said to be better, `replicated_std` the standard
  deviation √(s₁² + s₂²) of the difference between one run of each, `n_seeds` the smaller n, the interval Welch's
  two-sided one, the effect size Hedges' g.
* *Properties* of a curve ("falls at every epoch") are shown by a run or not. Of k in n runs, `replicated_mean` is k / n
  against a documented 1, with the interval of Clopper and Pearson. `reproduced`: k ≥ 1, because one run that shows the
  property makes the documented run unsurprising. If k = 0, `p_value` is compared with α. It is the chance that one more
  run shows the property, (k + ½) / (n + 1) by Jeffreys' prior, and no p-value of a null hypothesis. Below α the verdict
  is `lower`, otherwise `undecided`. With fewer than `analysis.minimum_seeds` runs the verdict is always `undecided`.

**Not tested.** A claim is not tested if the config excludes it (`not_tested`), if its experiment was not selected, has
no finished run or ran at a reduced budget, or if too few epochs have run. Where there are runs, mean, spread and n are
still printed, without interval or p-value.

**Open settings.** If a system's settings are open, its row is about our settings alone, and the note says so. Its
verdict over all admissible settings is in `analysis.specifications`. **Stuck runs** (`analysis.modes`) are counted in
the note too, for an interval over two kinds of runs describes neither.

**Readings.** Words that no run can test are held against the write-up's own code and text, by reading: `consistent` or
`contradicted`, as the configuration says, with the reason.

**Self-checks.** Where a write-up prints a whole curve, what it says in words about that curve is held against it, with
the same code that reads our own curves: a row `<claim>-in-its-own-table`, `consistent` or `contradicted`, for which
no run is needed.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from itertools import count
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from pixelpatch.admissible import declared_for
from pixelpatch.analysis.documented import (
    Printed,
    documented_curve,
    documented_number,
    documented_text,
    kind_of,
    self_check,
    shows,
)
from pixelpatch.analysis.modes import recognition
from pixelpatch.analysis.scales import off, scale_of, tolerance_of
from pixelpatch.analysis.statistics import hedges_g, holm, mean_and_spread, welch
from pixelpatch.analysis.verdicts import MOST_SEEDS, Distance
from pixelpatch.errors import UserError
from pixelpatch.metrics import BATCH_LOSS, EXACT
from pixelpatch.study import systems

COLUMNS = [
    "write_up",
    "system",
    "claim",
    "text",
    "kind",
    "metric",
    "documented",
    "replicated_mean",
    "replicated_std",
    "n_seeds",
    "off",
    "off_unit",
    "rank",
    "interval_low",
    "interval_high",
    "p_value",
    "family",
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
    asides: dict[str, str]  # by experiment: how many runs diverged, and how many are stuck


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
    def write_up(self) -> str:
        """Who documents it."""
        return self.study["experiments"][self.system]["write_up"]

    @property
    def spec(self) -> dict:
        """What the system's runs compute."""
        return self.study["experiments"][self.system]["spec"]

    @property
    def epochs(self) -> int:
        """How many epochs the system trains."""
        return self.spec["training"]["epochs"]

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


def judge(
    study: dict, runs: pd.DataFrame, curves: pd.DataFrame, facts: pd.DataFrame, confusion: pd.DataFrame
) -> pd.DataFrame:
    """The verdict on every claim of `study`, self-checks included, in the config's order: the columns of claims.csv.

    `runs`, `curves` and `confusion` are the long tables of `collect`, `facts` that of `analysis.facts`. `documented` is
    text as printed, of a curve all its figures. Raises UserError for a claim that cannot be judged as configured: a
    number that is not printed text, an unknown experiment or metric, or epochs that the replicated curve does not have.
    See the module for the rule.
    """
    ours = Replications(
        seeds=_finished(runs).to_dict(),
        values={key: group.to_numpy(dtype=float) for key, group in runs.groupby(["experiment", "metric"])["value"]},
        curves={
            key: group.pivot(index="seed", columns="epoch", values="value").to_numpy(dtype=float)
            for key, group in curves.groupby(["experiment", "metric"])
        },
        facts={(row.experiment, row.metric): row.value for row in facts.itertuples()},
        asides=_asides(runs, confusion),
    )
    cases = [Case(study, ours, system, name) for system, block in systems(study).items() for name in block["claims"]]
    findings = [finding for case in cases for finding in _findings(case)]
    rows = []
    for write_up, family in _families(cases).items():
        own = [finding for finding in findings if finding.columns["write_up"] == write_up]
        corrected = holm([finding.columns["p_value"] if finding.decide else np.nan for finding in own], family)
        for finding, p_holm, multiplier in zip(own, corrected.adjusted, corrected.multiplier, strict=True):
            row = dict(finding.columns)
            if finding.decide:
                verdict, note = finding.decide(p_holm, multiplier)
                row |= {"family": family, "p_holm": p_holm, "verdict": verdict, "note": _joined(row["note"], note)}
            rows.append(row)
    order = {system: place for place, system in enumerate(systems(study))}
    return pd.DataFrame(sorted(rows, key=lambda row: order[row["system"]]), columns=COLUMNS)


def _finished(runs: pd.DataFrame) -> pd.Series:
    """How many runs of each experiment have a result. Those that diverged have only their timings."""
    return runs[~runs["metric"].str.startswith("timing/")].groupby("experiment")["seed"].nunique()


def _asides(runs: pd.DataFrame, confusion: pd.DataFrame) -> dict[str, str]:
    """By experiment, how many of its runs diverged and how many are stuck, in words; nothing where none is."""
    of = runs.groupby("experiment")["seed"].nunique()
    diverged = of - _finished(runs).reindex(of.index, fill_value=0)
    notes = {name: [f"{lost} of {of[name]} runs diverged"] for name, lost in diverged.items() if lost}
    for name, missed in (recognition(confusion)["missed"] != "").groupby("experiment"):
        if missed.any():
            notes.setdefault(name, []).append(f"{int(missed.sum())} of {len(missed)} runs are stuck")
    return {name: _joined(*own) for name, own in notes.items()}


def _families(cases: Iterable[Case]) -> dict[str, int]:
    """How many numbers and curves each write-up documents of its systems' runs: the tests that were planned."""
    tests = dict.fromkeys((case.write_up for case in cases), 0)
    for case in cases:
        planned = kind_of(case.claim, case.where) in ("number", "curve") and "not_tested" not in case.claim
        tests[case.write_up] += planned and not _is_fact(case.claim)
    return tests


def _findings(case: Case) -> list[Finding]:
    """The finding on one claim and, where its write-up prints the curve, that on the claim in its own table."""
    claim, kind = case.claim, kind_of(case.claim, case.where)
    columns = {
        "write_up": case.write_up,
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
    kinds["reading"] = _reading
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
    if _is_fact(case.claim) or "reading" in case.claim:
        return ""
    for system in _systems(case):
        of = "" if system == case.system else f" of {system}"
        if not case.ours.seeds.get(system) and system in case.ours.asides:
            return case.ours.asides[system]
        if not case.ours.seeds.get(system) and not (_is_of_epochs(case.claim) and _begun(case)):
            return f"no run{of} is finished" if _begun(case) else f"no run selected{of}"
        if case.study["experiments"][system]["narrowed"]:
            return f"reduced budget{of}: {case.study['experiments'][system]['narrowing']}"
    if _is_of_epochs(case.claim) and _in_progress(case) and _last(case) > (reached := _reached(case)):
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
    verdict = "reproduced"
    if not documented.low <= Decimal(value) <= documented.high:
        verdict = "higher" if Decimal(value) > documented.value else "lower"
    return Finding({"replicated_mean": float(value), "verdict": verdict})


def _reading(case: Case) -> Finding:
    """What the write-up says in words, as its own code or text agrees with it or not."""
    reading = case.claim["reading"]
    return Finding({"verdict": reading["verdict"], "note": reading["because"]})


def _number(case: Case) -> Finding:
    """A documented number, held against the prediction interval."""
    documented = documented_number(case.claim, case.where)
    if "epoch" not in case.claim:
        return _tested(case, _values(case, case.system), [documented], "")
    epoch = case.claim["epoch"]
    curves, note = _curves(case, lambda epochs: epoch <= epochs, f"speaks of epoch {epoch}")
    return _tested(case, curves[:, epoch - 1], [documented], note)


def _curve(case: Case) -> Finding:
    """A documented curve, held against the simultaneous band of whole curves."""
    figures = documented_curve(case.claim, case.where)
    ours, note = _curves(case, lambda epochs: epochs == len(figures), f"documents {len(figures)} epochs")
    reached = ours.shape[1]
    return _tested(case, ours, figures[:reached], _joined(note, f"shown at {_place(case, reached)}"), len(figures))


def _property(case: Case) -> Finding:
    """A property of the curve: does it occur among our runs?"""
    ours, note = _curves(case, lambda epochs: _last(case) <= epochs, f"speaks of epoch {_last(case)}")
    n, shown = len(ours), sum(shows(case.claim, curve) for curve in ours)
    interval = stats.binomtest(shown, n).proportion_ci(1 - case.alpha, method="exact")
    columns = {
        "replicated_mean": shown / n,
        "n_seeds": n,
        "interval_low": float(interval.low),
        "interval_high": float(interval.high),
        "note": note,
    }
    if too_few := _too_few(case, columns):
        return too_few
    columns["p_value"] = (shown + 0.5) / (n + 1)
    if shown:
        return Finding(columns | {"verdict": "reproduced", "note": _joined(note, f"{shown} of {n} runs show it")})
    if columns["p_value"] < case.alpha:
        return Finding(columns | {"verdict": "lower", "note": _joined(note, "no run shows it")})
    enough = next(total for total in count(n + 1) if 0.5 / (total + 1) < case.alpha)
    note = _joined(note, f"no run shows it; {_more_seeds(enough - n)} without it would decide")
    return Finding(columns | {"verdict": "undecided", "note": note})


def _better(case: Case) -> Finding:
    """A claim that the one's metric is better or worse than the other's: higher or lower, of a loss lower or higher."""
    sign = -1 if _less_is_better(case) != ("worse_than" in case.claim) else 1
    a, b = (sign * _values(case, system) for system in _systems(case))
    result = welch(a, b, 1 - case.alpha)
    columns = {
        "replicated_mean": result.difference,
        "replicated_std": math.hypot(mean_and_spread(a)[1], mean_and_spread(b)[1]),
        "n_seeds": min(len(a), len(b)),
        "interval_low": result.low,
        "interval_high": result.high,
        "effect_size": hedges_g(a, b),
    }

    if too_few := _too_few(case, columns):
        return too_few
    columns |= {"p_value": result.p_greater, "verdict": "undecided"}
    if result.p_greater < case.alpha:
        return Finding(columns | {"verdict": "reproduced"})
    if 1 - result.p_greater < case.alpha:
        return Finding(columns | {"verdict": "lower"})
    return Finding(columns | {"note": "the difference is not significant at the present number of seeds"})


def _tested(
    case: Case, ours: np.ndarray, documented: Sequence[Printed], note: str, epochs: int | None = None
) -> Finding:
    """A number's values (seeds,) or a curve's (seeds, epochs), whose verdict waits for Holm if seeds are enough.

    `epochs` is how many the whole curve has.
    """
    metric, n = case.claim["metric"], len(ours)
    last, printed = ours.reshape(n, -1)[:, -1], documented[-1]
    mean, spread = (float(part) for part in mean_and_spread(last))
    columns = {"replicated_mean": mean, "replicated_std": spread, "n_seeds": n, "note": note}
    columns["off"], columns["off_unit"] = off(metric, case.spec, mean, float(printed.value))
    better = last < float(printed.low) if _less_is_better(case) else last > float(printed.high)
    columns["rank"] = np.nan if metric.endswith("epoch") else 1 + int(better.sum())
    if n < 2:
        return _too_few(case, columns)
    value, low, high = np.array(documented, dtype=float).T
    tolerances, own = case.study["analysis"]["tolerance"], case.claim.get("tolerance")
    tolerance = tolerance_of(metric, case.spec, tolerances, value, own)
    scale = scale_of(metric, case.spec)
    distance = Distance(ours, low, high, scale=scale, tolerance=tolerance, alpha=case.alpha, epochs=epochs)
    low, high = distance.interval()
    columns |= {"interval_low": float(low[-1]), "interval_high": float(high[-1])}
    if too_few := _too_few(case, columns):
        return too_few
    at = f"most extreme at {_place(case, distance.worst + 1)}" if len(documented) > 1 else ""

    def decide(p_holm: float, multiplier: float) -> Verdict:
        verdict = distance.verdict(p_holm, multiplier)
        return verdict, _joined(at if verdict in ("higher", "lower", "borderline") else "", _why(verdict, multiplier))

    def _why(verdict: str, multiplier: float) -> str:
        if verdict == "compatible":
            return _width(case, distance, value)
        if verdict != "undecided":
            return ""
        if distance.missing_epochs:
            return f"{distance.missing_epochs} more epochs have still to run"
        if (more := distance.more_seeds(multiplier)) is None:
            return f"more than {MOST_SEEDS:,} more seeds would be needed"
        return f"about {_more_seeds(more)} would decide"

    columns["note"] = _joined(note, case.ours.asides.get(case.system, ""), _open(case))
    return Finding(columns | {"p_value": distance.p_value()}, decide)


def _open(case: Case) -> str:
    """That our settings are not the write-up's, if that is so."""
    curve = declared_for(case.system, case.study.get("admissible", {}), case.study["experiments"])
    return f"settings are open and ours are one choice: for all, see {curve} in specifications" if curve else ""


def _width(case: Case, distance: Distance, documented: np.ndarray) -> str:
    """How wide plentiful seeds would leave the interval, where that is widest for its tolerance, in words."""
    if distance.coarse.any():
        return "printed too coarsely: the last digit leaves more room than the tolerance"
    reach = distance.reach(np.inf)
    widest = int(np.argmax(reach / distance.tolerance))
    metric, value = case.claim["metric"], documented[widest]
    (reached, unit), (allowed, _) = (
        off(metric, case.spec, value + each[widest], value) for each in (reach, distance.tolerance)
    )
    at = f" at {_place(case, widest + 1)}" if len(documented) > 1 else ""
    shown = f"{reached:,.0f}" if reached >= 10 else f"{reached:.2g}"
    return (
        f"even with any number of seeds, the interval would reach up to {shown} {unit} from our mean{at}; "
        f"the tolerance is {allowed:.3g} {unit.removesuffix('s') if allowed == 1 else unit}"
    )


def _less_is_better(case: Case) -> bool:
    return case.claim["metric"].endswith("loss")


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
    if _in_progress(case) and not _is_of_epochs(case.claim):
        curves = curves[~np.isnan(curves).any(axis=1)]
    elif _in_progress(case):
        length = _reached(case)
        curves = curves[: case.minimum_seeds, :length]
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
    """How many epochs the first seeds have all finished, as many seeds as a verdict needs."""
    curves = case.ours.curves[case.system, case.claim["metric"]]
    return int(np.isfinite(curves[: case.minimum_seeds]).sum(axis=1).min())


def _is_fact(claim: dict) -> bool:
    """Whether a claim follows from the spec alone."""
    return claim.get("metric", "").startswith(EXACT)


def _is_of_epochs(claim: dict) -> bool:
    """Whether a claim is about epochs, so that a run in progress may speak for it."""
    of_batches = claim.get("metric") == BATCH_LOSS
    return not of_batches and any(key in claim for key in ("curve", "epoch", "falls_every_epoch", "dips_at"))


def _last(case: Case) -> int:
    """The last epoch that a claim cannot do without: of what is said of every epoch, the last of all."""
    claim = case.claim
    least = 1
    if "falls_every_epoch" in claim:
        least = case.epochs if _in_progress(case) else 2
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
    for key in ("better_than", "worse_than"):
        if (other := case.claim.get(key)) is not None:
            if other not in case.study["experiments"]:
                raise UserError(f"{case.where}.{key} is {other!r}, which is no experiment of the study.")
            return [case.system, other]
    return [case.system]


def _more_seeds(number: int) -> str:
    return f"{number} more seed{'s' * (number != 1)}"


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))
