"""Do documented numbers reproduce where settings are open? Judged at every admissible point: a specification curve.

**Points.** If a write-up leaves settings open, we do not know which system produced its numbers. An entry of
`admissible` lists the values that its author may plausibly have used, with a reason for each value or one for the whole
sweep. New sweeps are declared before they run. The entries `blog` and `grid_reader` reuse earlier sweeps. Every
combination of values is a point. (If every epoch is tested, every combination of values and number of epochs is one.)
The documented numbers are judged at each of the m points (Simonsohn, Simmons & Nelson, *Nature Human Behaviour* 4,
2020). Our default settings may be one of the points, and count no more than any other. If members of several families
have the same spec, they are one point, and it is judged on the runs of the member with the most seeds.

**A point.** All numbers of the entry are judged by the rule of verdicts (`analysis.verdicts`), as one family: their
p-values are corrected by Holm within the point, where a number without runs counts as p = 1. The scale and the
tolerance are those of the point's own spec. Then a point is, by the first that holds,

1. *refuted*: some number differs, p_holm < α;
2. *not run*, *too few seeds*: some number has no finished run at the full budget, or fewer than
   `analysis.minimum_seeds`;
3. *reached*: every number is reproduced. None is surprising (p ≥ α even without the correction), and every interval is
   as narrow as the tolerance asks;
4. *undecided*: more seeds would settle it, at the present mean and spread: some number would differ in the end, or all
   would be reproduced;
5. *not excluded*: in the end no number would differ, but some would be borderline, or compatible only because runs
   scatter. No number of seeds would settle that.

As *reached* asks for p-values that are not corrected, a point does not come nearer to it when its write-up documents
more numbers: Holm can turn *refuted* into *undecided* or *not excluded*, never into *reached*.

**Divergence.** The documented run did not diverge, so it is compared only with those of our runs that did not diverge
either. (A diverged run keeps no record of its earlier epochs. At these it counts as not run.) If all n runs have
diverged, the chance that one more run would not diverge is ½ / (n + 1), by Jeffreys' prior. If that chance is below α,
the point is refuted; otherwise it has too few seeds.

**The curve.** k of the m points are reached. If all are refuted, the numbers are *reached by none*. That needs no
correction for the number of points: it is false only if some point is right, and that one is refuted with a chance of α
at most if runs are normal (an intersection-union test; Berger, *Technometrics* 24, 1982). While a point is undecided,
has too few seeds or has not run, the search is *incomplete*. For each number we count the points where it was tested,
and the points among them that it refutes.

**Out of sample.** Numbers measured on the same runs are correlated, so one is no independent test of another. Some
entries also have numbers measured on other runs (of families that the first block of numbers does not use). For these
there is a second test. First, the points are judged by the first block alone, and those that are reached, undecided or
not excluded are kept. Then the other numbers are judged at the kept points. Each step has its own Holm correction.

**The author's own.** If an entry names systems whose settings are known to be the author's, their own runs are one more
point. It uses their first seeds only, as many as the points of the sweep have at most. It may also differ from the
other points in settings that the sweep does not vary. It is judged by the same rule and shown, but it is not counted
among the m points.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pixelpatch.admissible import Point, open_keys, points
from pixelpatch.analysis.documented import documented_curve, documented_number, documented_text
from pixelpatch.analysis.scales import scale_of, tolerance_of
from pixelpatch.analysis.statistics import holm, mean_and_spread
from pixelpatch.analysis.verdicts import BETWEEN, DIFFERS, WIDE, Distance
from pixelpatch.questions import at, has
from pixelpatch.variants import described

REFUTED, REACHED, UNDECIDED, NOT_EXCLUDED = "refuted", "reached", "undecided", "not excluded"
NOT_RUN, TOO_FEW = "not run", "too few seeds"
DIVERGED = "all diverged"
AGAINST = ("higher", "lower", DIVERGED)  # verdicts that refute a point
UNTESTED = (NOT_RUN, TOO_FEW)

COLUMNS = [
    *("curve", "experiment", "settings", "epochs", "author", "standing"),
    *("system", "claim", "metric", "documented", "runs_of", "n_seeds", "n_diverged"),
    *("mean", "std", "interval_low", "interval_high", "p_value", "p_holm", "verdict"),
]
OUT_OF_SAMPLE = ["left", "then_reached", "then_not_excluded", "then_undecided", "then_refuted", "then_untested"]
SUMMARY = [
    *("curve", "points", "reached", "not_excluded", "undecided", "refuted", "too_few", "not_run"),
    *("least_seeds", "most_seeds", "result", "refuted_by", "author", *OUT_OF_SAMPLE),
]


class Number(NamedTuple):
    """A documented number at a point: its columns, and our runs' distance to it or why there is none."""

    columns: dict[str, Any]
    distance: Distance | None
    without: str  # NOT_RUN, TOO_FEW or DIVERGED where there is no distance


class Judged(NamedTuple):
    """How a point stands, and of each of its numbers p_holm and the verdict."""

    standing: str
    p_holm: list[float]
    verdicts: list[str]


def specify(
    study: dict, runs: pd.DataFrame, curves: pd.DataFrame, provenance: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every number at every point of every curve, and a row for each curve: the columns COLUMNS and SUMMARY.

    `runs`, `curves` and `provenance` are tables of `collect`. Points that have not run have rows as well.
    """
    ours = _Ours(study, runs, curves, provenance)
    rows, summary = [], []
    for name, entry in study.get("admissible", {}).items():
        own, said = _curve(ours, name, entry)
        rows += own
        summary.append(said)
    whole = dict.fromkeys(OUT_OF_SAMPLE, "Int64")  # missing where nothing is out of sample
    return pd.DataFrame(rows, columns=COLUMNS), pd.DataFrame(summary, columns=SUMMARY).astype(whole)


def judge(numbers: Sequence[Number], alpha: float) -> Judged:
    """How a point with these numbers stands."""
    p_values = [number.distance.p_value() if number.distance else 1.0 for number in numbers]
    corrected = holm(p_values)
    verdicts = [
        number.distance.verdict(p_holm, multiplier) if number.distance else number.without
        for number, p_holm, multiplier in zip(numbers, corrected.adjusted, corrected.multiplier, strict=True)
    ]
    ends = [
        number.distance.in_the_end(multiplier) if number.distance else ""
        for number, multiplier in zip(numbers, corrected.multiplier, strict=True)
    ]
    return Judged(_standing(verdicts, ends), [float(p) for p in corrected.adjusted], verdicts)


def standing_of(verdict: str) -> str:
    """How a number stands by its verdict, in the words of points."""
    if verdict in UNTESTED or verdict == UNDECIDED:
        return verdict
    return REFUTED if verdict in AGAINST else REACHED if verdict == "reproduced" else NOT_EXCLUDED


def _standing(verdicts: Sequence[str], ends: Sequence[str]) -> str:
    """How a point stands whose numbers have these verdicts, and these classes in the end."""
    standings = {standing_of(verdict) for verdict in verdicts}
    if first := next((word for word in (REFUTED, *UNTESTED) if word in standings), None):
        return first
    if UNDECIDED not in standings or (DIFFERS not in ends and (WIDE in ends or BETWEEN in ends)):
        return REACHED if standings == {REACHED} else NOT_EXCLUDED
    return UNDECIDED


def summarise(rows: Sequence[Mapping[str, Any]], author: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """What the rows of a curve, a row per point and number, come to; and how the author's own point stands."""
    standings = Counter(row["standing"] for row in {_key(row): row for row in rows}.values())
    seeds = [row["n_seeds"] for row in rows if row["n_seeds"]]
    refuting = [f"{system} {claim} {n} of {of}" for (system, claim), (n, of) in shares(rows).items()]
    return {
        "points": standings.total(),
        "reached": standings[REACHED],
        "not_excluded": standings[NOT_EXCLUDED],
        "undecided": standings[UNDECIDED],
        "refuted": standings[REFUTED],
        "too_few": standings[TOO_FEW],
        "not_run": standings[NOT_RUN],
        "least_seeds": min(seeds, default=0),
        "most_seeds": max(seeds, default=0),
        "result": result(standings),
        "refuted_by": "; ".join(refuting),
        "author": author[0]["standing"] if author else "",
    }


def shares(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], tuple[int, int]]:
    """By system and claim: at how many points it differs, of how many it was tested at."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for row in rows:
        differs, tested = found.get((row["system"], row["claim"]), (0, 0))
        here = row["verdict"] not in UNTESTED
        found[row["system"], row["claim"]] = differs + (row["verdict"] in AGAINST), tested + here
    return found


def result(standings: Mapping[str, int]) -> str:
    """What a curve comes to, in words, of how many of its points stand how."""
    m, k = sum(standings.values()), standings.get(REACHED, 0)
    if standings.get(NOT_RUN, 0) == m:
        return f"not run yet (0 of {m} points)"
    if standings.get(REFUTED, 0) == m:
        return f"reached by none of {m}"
    wide = standings.get(NOT_EXCLUDED, 0)
    words = {UNDECIDED: "undecided", TOO_FEW: "with too few seeds", NOT_RUN: "not run"}
    left = [f"{count} {said}" for word, said in words.items() if (count := standings.get(word, 0))]
    incomplete = f"search incomplete: {', '.join(left)}" if left else ""
    return "; ".join(filter(None, [f"reached at {k} of {m}", f"not excluded at {wide}" if wide else "", incomplete]))


class _Ours:
    """Our values, seed by seed."""

    def __init__(self, study: dict, runs: pd.DataFrame, curves: pd.DataFrame, provenance: pd.DataFrame) -> None:
        self.study = study
        lost = provenance[provenance["diverged"].notna()]
        self._diverged = [
            (name, _epoch_of(reason, study["experiments"][name]["spec"]["training"]["epochs"]))
            for name, reason in zip(lost["experiment"], lost["diverged"], strict=True)
            if not study["experiments"][name]["narrowed"]
        ]
        scores = runs[~runs["metric"].str.startswith("timing/")].sort_values("seed")  # a diverged run has none
        self._finished = scores.groupby("experiment")["seed"].unique()
        self._final = {key: own.to_numpy(float) for key, own in scores.groupby(["experiment", "metric"])["value"]}
        self._curves = {
            key: own.pivot(index="seed", columns="epoch", values="value")
            for key, own in curves.groupby(["experiment", "metric"])
        }

    def diverged(self, experiment: str, epochs: int) -> tuple[int, int]:
        """How many runs had diverged after so many epochs, and how many did so later."""
        at = [epoch for name, epoch in self._diverged if name == experiment]
        return sum(epoch <= epochs for epoch in at), sum(epoch > epochs for epoch in at)

    def claim(self, system: str, claim: str) -> dict:
        """The block of a system's claim."""
        return self.study["experiments"][system]["claims"][claim]

    def values(self, experiment: str, claim: dict, epochs: int) -> np.ndarray:
        """What finished runs at the full budget show of a number after so many epochs, or of a curve: by seed first."""
        block, metric = self.study["experiments"][experiment], claim["metric"]
        if block["narrowed"] or experiment not in self._finished:
            return np.array([])
        if "curve" not in claim and epochs == block["spec"]["training"]["epochs"]:
            return self._final[experiment, metric]
        curve = self._curves[experiment, metric].loc[self._finished[experiment]]
        return (curve if "curve" in claim else curve[epochs]).to_numpy(float)


def _epoch_of(reason: str, last: int) -> int:
    """The epoch at which a run diverged. Of one that did so while it was tested, the record does not say: the last."""
    found = re.search(r"at epoch (\d+)", reason)
    return int(found[1]) if found else last


def printed_ends(claim: dict, where: str) -> tuple[np.ndarray, np.ndarray]:
    """The least and the most that would be printed as documented: of shape (1,), of a curve (epochs,)."""
    figures = documented_curve(claim, where) if "curve" in claim else [documented_number(claim, where)]
    return tuple(np.array([float(getattr(printed, end)) for printed in figures]) for end in ("low", "high"))


def _curve(ours: _Ours, name: str, entry: dict) -> tuple[list[dict], dict]:
    """The rows of one curve, the author's own point last, and its summary."""
    alpha = ours.study["analysis"]["alpha"]
    found = points(entry, ours.study["experiments"])
    by_point = [_numbers(ours, entry, point) for point in found]
    rows = [
        row
        for point, numbers in zip(found, by_point, strict=True)
        for row in _rows(name, point, point.speakers[0][0], numbers, alpha)
    ]
    author = list(_author(ours, name, entry, by_point, alpha))
    said = {"curve": name} | summarise(rows, author) | _out_of_sample(entry, by_point, alpha)
    return rows + author, said


def _numbers(ours: _Ours, entry: dict, point: Point) -> list[list[Number]]:
    """The numbers of a point, a list for each block of the entry's."""
    return [
        [_number(ours, speakers, use["experiment"], claim, point.epochs) for claim in use["claims"]]
        for use, speakers in zip(entry["numbers"], point.speakers, strict=True)
    ]


def _number(ours: _Ours, speakers: list[str], system: str, name: str, epochs: int, most: int | None = None) -> Number:
    """How a documented number stands to the one of `speakers` with the most seeds: to its first `most`, or all."""
    claim, where = ours.claim(system, name), f"experiments.{system}.claims.{name}"
    values, runs_of = max(
        ((ours.values(each, claim, epochs)[:most], each) for each in speakers),
        key=lambda pair: (len(pair[0]), ours.diverged(pair[1], epochs)),
    )
    (diverged, later), least = ours.diverged(runs_of, epochs), max(ours.study["analysis"]["minimum_seeds"], 2)
    last = values[:, -1] if values.ndim == 2 else values
    mean, std = (float(part) for part in mean_and_spread(last))
    columns = {
        "system": system,
        "claim": name,
        "metric": claim["metric"],
        "documented": documented_text(claim, where),
        "runs_of": runs_of,
        "n_seeds": len(values),
        "n_diverged": diverged,
        "mean": mean,
        "std": std,
    }
    if len(values) < least:
        alpha = ours.study["analysis"]["alpha"]
        all_diverge = not len(values) and not later and 0.5 / (diverged + 1) < alpha
        without = DIVERGED if all_diverge else TOO_FEW if len(values) or diverged or later else NOT_RUN
        return Number(columns, None, without)
    spec = ours.study["experiments"][runs_of]["spec"]
    low, high = printed_ends(claim, where)
    distance = Distance(
        values,
        low,
        high,
        scale=scale_of(claim["metric"], spec),
        tolerance=tolerance_of(
            claim["metric"], spec, ours.study["analysis"]["tolerance"], (low + high) / 2, claim.get("tolerance")
        ),
        alpha=ours.study["analysis"]["alpha"],
    )
    ends = (float(end[-1]) for end in distance.interval())
    columns |= dict(zip(("interval_low", "interval_high"), ends, strict=True)) | {"p_value": distance.p_value()}
    return Number(columns, distance, "")


def _rows(
    curve: str, point: Point, experiment: str, numbers: list[list[Number]], alpha: float, *, author: bool = False
) -> Iterator[dict]:
    """The rows of a point, which is that of `experiment`."""
    flat = _flat(numbers)
    judged = judge(flat, alpha)
    columns = {
        "curve": curve,
        "experiment": experiment,
        "settings": described(point.settings),
        "epochs": point.epochs,
        "author": author,
        "standing": judged.standing,
    }
    for number, p_holm, verdict in zip(flat, judged.p_holm, judged.verdicts, strict=True):
        yield columns | number.columns | {"p_holm": p_holm if number.distance else np.nan, "verdict": verdict}


def _author(ours: _Ours, curve: str, entry: dict, by_point: list[list[list[Number]]], alpha: float) -> Iterator[dict]:
    """The rows of the author's own point, from as many seeds of its systems as a point has at most."""
    blocks = ours.study["experiments"]
    numbers = []
    for i, use in enumerate(entry["numbers"]):
        system = use["experiment"]
        if system in entry.get("author", []):
            most = max(number.columns["n_seeds"] for point in by_point for number in point[i])
            epochs = blocks[system]["spec"]["training"]["epochs"]
            numbers.append([_number(ours, [system], system, claim, epochs, most) for claim in use["claims"]])
    if any(number.columns["n_seeds"] for number in _flat(numbers)):
        first = numbers[0][0].columns["system"]
        spec = blocks[first]["spec"]
        settings = {key: at(spec, key) for key in open_keys(entry, blocks) if has(spec, key)}
        point = Point(settings, spec["training"]["epochs"], [])
        yield from _rows(curve, point, first, numbers, alpha, author=True)


def _out_of_sample(entry: dict, by_point: list[list[list[Number]]], alpha: float) -> dict[str, int]:
    """Of the points that the first numbers leave, how those of other families' runs stand there; empty without any."""
    first, *rest = entry["numbers"]
    others = [i for i, use in enumerate(rest, start=1) if set(use["families"]).isdisjoint(first["families"])]
    if not others:
        return {}
    left = [numbers for numbers in by_point if judge(numbers[0], alpha).standing in (REACHED, NOT_EXCLUDED, UNDECIDED)]
    then = Counter(judge(_flat([numbers[i] for i in others]), alpha).standing for numbers in left)
    counts = {f"then_{word}".replace(" ", "_"): then[word] for word in (REACHED, NOT_EXCLUDED, UNDECIDED, REFUTED)}
    return {"left": len(left)} | counts | {"then_untested": then[NOT_RUN] + then[TOO_FEW]}


def _flat(numbers: Iterable[Iterable[Number]]) -> list[Number]:
    return [number for block in numbers for number in block]


def _key(row: Mapping[str, Any]) -> tuple[str, int]:
    """What tells the points of a curve apart."""
    return row["experiment"], row["epochs"]
