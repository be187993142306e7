"""How often does the rule of verdicts err? Simulated write-ups, whose truth is known, judged by the rule as it is.

    make simulations
    python benchmarks/verdict_simulations.py --output results/benchmark

A write-up documents 1, 2 or 5 accuracies, to two decimals, each of one run; we have 3, 5 or 10 runs of each. All are
drawn independently of each other, and judged by `Distance` and `holm`, with the alpha and the tolerance of config.yaml.
The documented run of the first number is of a protocol that lies `off_sd` standard deviations above ours: at 0 it is
one more of our runs. Those of all other numbers always are.

Runs lie around 93 %, on the rule's logit scale. They scatter in one of these ways:

* normal: with a standard deviation of a fifth of the tolerance; besides, a tenth (narrow) and two fifths (wide).
* skewed: as much, as a lognormal turned over (sigma 1), whose long tail lies at low accuracies. (An error rate that is
  lognormal itself is nearly normal on this scale.)
* two modes: 15 % of the runs are stuck around 85 %, the others lie around 93 %, both normal as above. `off_sd` counts
  standard deviations of them all.

Writes verdicts.csv, a row per case and outcome, and verdicts.md for readers. `count` of the `repetitions` had the
outcome, `share` is their ratio, and `standard_error` its Monte Carlo error (binomial). The outcomes:

* each of the six verdicts: the first number got it;
* covered: the first number's prediction interval holds its documented value;
* refuted: a number of the write-up is `higher` or `lower`;
* refuted in the end: the same, after every undecided number has got as many more runs as its note says;
* N suggested: the note of the first number, where that is undecided, says how many more seeds;
* decided by N: with exactly so many more it is undecided no longer;
* curve refuted: a documented curve of 25 accuracies, one more of ours, is `higher` or `lower`. Deviations of
  neighbouring epochs correlate by 0.9;
* curve refuted on the way: the first three seeds are judged after each epoch, then all seeds at the end, and the curve
  is `higher` or `lower` at least once;
* changed by others: a verdict of the write-up changes where ten like it, but true, join, each a family of its own;
* changed by others, one family: the same, with one correction over all numbers, which is not the rule.
"""

import argparse
import gc
from collections.abc import Callable, Sequence
from itertools import chain, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from numpy.random import Generator

from pixelpatch.analysis.scales import Scale
from pixelpatch.analysis.statistics import holm
from pixelpatch.analysis.verdicts import Distance
from pixelpatch.files import write_atomically

ANALYSIS = yaml.safe_load((Path(__file__).parents[1] / "config.yaml").read_text(encoding="utf-8"))["analysis"]
ALPHA, TOLERANCE = ANALYSIS["alpha"], ANALYSIS["tolerance"]["accuracy"]
SEED = 0
VERDICTS = ("higher", "lower", "reproduced", "borderline", "compatible", "undecided")
UNRELATED = 10
EPOCHS, CORRELATION = 25, 0.9

SCALE, DECIMALS = Scale(0, 100, 0.01), 2  # percent of 10,000 images
MAIN = SCALE.of(93)
ONE_TOLERANCE = SCALE.of(93 + TOLERANCE) - MAIN
STUCK, GAP = 0.15, MAIN - SCALE.of(85)
SD = ONE_TOLERANCE / 5


class Spread(NamedTuple):
    """How runs scatter on the scale: their standard deviation, and so many draws, of which 0 is 93 %."""

    sd: float
    draw: Callable[[Generator, int], np.ndarray]


def normal(sd: float) -> Spread:
    return Spread(sd, lambda rng, size: rng.normal(0, sd, size))


def skewed(rng: Generator, size: int) -> np.ndarray:
    mean, sd = np.exp(0.5), np.sqrt(np.exp(2) - np.exp(1))  # of the lognormal
    return SD * (mean - rng.lognormal(0, 1, size)) / sd


def two_modes(rng: Generator, size: int) -> np.ndarray:
    return rng.normal(0, SD, size) - GAP * (rng.random(size) < STUCK)


SPREADS = {
    "normal": normal(SD),
    "skewed": Spread(SD, skewed),
    "two modes": Spread(np.sqrt(SD**2 + STUCK * (1 - STUCK) * GAP**2), two_modes),
    "normal, narrow": normal(ONE_TOLERANCE / 10),
    "normal, wide": normal(ONE_TOLERANCE / 2.5),
}
BY_TOLERANCE = {"normal, narrow": 10.0, "normal": 5.0, "normal, wide": 2.5}  # one tolerance in standard deviations
SHAPES, SEEDS, NUMBERS, OFF = ("normal", "skewed", "two modes"), (3, 5, 10), (1, 2, 5), (2, 4, 6)
MANY = 30  # seeds, at the edge of the tolerance


class Case(NamedTuple):
    """What is drawn again and again."""

    spread: str
    seeds: int
    numbers: int
    off_sd: float


class Number(NamedTuple):
    """Our runs of one number of a write-up, and its documented run."""

    runs: np.ndarray
    documented: float

    def distance(self) -> Distance:
        half_unit = 0.5 * 10**-DECIMALS
        low, high = self.documented - half_unit, self.documented + half_unit
        return Distance(self.runs, low, high, scale=SCALE, tolerance=TOLERANCE, alpha=ALPHA)


Outcomes = dict[str, bool]
WriteUp = list[Number]
Experiment = Callable[[Case, Generator], Outcomes]


def accuracies(spread: str, size: int, rng: Generator, off_sd: float = 0.0) -> np.ndarray:
    """So many runs, in percent, of a protocol that lies `off_sd` standard deviations above ours."""
    places = MAIN + SPREADS[spread].draw(rng, size) + off_sd * SPREADS[spread].sd
    return np.round(SCALE.back(places), DECIMALS)


def draw(case: Case, rng: Generator) -> WriteUp:
    offs = [case.off_sd, *[0.0] * (case.numbers - 1)]
    return [Number(accuracies(case.spread, case.seeds, rng), *accuracies(case.spread, 1, rng, off)) for off in offs]


def judge(family: WriteUp) -> tuple[list[str], list[int | None]]:
    """The verdict of every number of one family, and how many more seeds its note says (0 where it is decided)."""
    distances = [number.distance() for number in family]
    verdicts, more = [], []
    for distance, *corrected in zip(distances, *holm([each.p_value() for each in distances]), strict=True):
        verdicts.append(distance.verdict(*corrected))
        more.append(distance.more_seeds(corrected[1]) if verdicts[-1] == "undecided" else 0)
    return verdicts, more


def alone(case: Case, rng: Generator) -> Outcomes:
    """One write-up: its verdicts, and those after as many more seeds as the notes say."""
    write_up = draw(case, rng)
    verdicts, more = judge(write_up)
    later = [
        Number(np.append(number.runs, accuracies(case.spread, n or 0, rng)), number.documented)
        for number, n in zip(write_up, more, strict=True)
    ]
    last = judge(later)[0] if any(more) else verdicts
    (low,), (high,) = write_up[0].distance().interval()
    outcomes = {verdict: verdicts[0] == verdict for verdict in VERDICTS}
    outcomes["covered"] = bool(low <= write_up[0].documented <= high)
    outcomes |= {"refuted": _refuted(verdicts), "refuted in the end": _refuted(last)}
    if verdicts[0] == "undecided":
        outcomes["N suggested"] = more[0] is not None
    if more[0]:
        outcomes["decided by N"] = last[0] != "undecided"
    return outcomes


def among_others(case: Case, rng: Generator) -> Outcomes:
    """One write-up, alone and beside unrelated ones: does any of its verdicts change?"""
    write_ups = [draw(case, rng), *(draw(case._replace(off_sd=0.0), rng) for _ in range(UNRELATED))]
    before, _ = judge(write_ups[0])
    by_write_up = [judge(each)[0] for each in write_ups]
    one_family, _ = judge(list(chain(*write_ups)))
    return {
        "changed by others": by_write_up[0] != before,
        "changed by others, one family": one_family[: case.numbers] != before,
    }


def curve(case: Case, rng: Generator) -> Outcomes:
    """One curve, judged after every epoch."""
    noise = rng.normal(0, SD, (EPOCHS, case.seeds + 1))
    for epoch in range(1, EPOCHS):
        noise[epoch] = CORRELATION * noise[epoch - 1] + np.sqrt(1 - CORRELATION**2) * noise[epoch]
    *runs, documented = np.round(SCALE.back(MAIN + noise.T), DECIMALS)
    refuted = []
    for seeds, epochs in [*((SEEDS[0], epochs) for epochs in range(1, EPOCHS + 1)), (case.seeds, EPOCHS)]:
        printed, ours = documented[:epochs], np.array(runs)[:seeds, :epochs]
        ends = printed - 0.5 * 10**-DECIMALS, printed + 0.5 * 10**-DECIMALS
        distance = Distance(ours, *ends, scale=SCALE, tolerance=TOLERANCE, alpha=ALPHA, epochs=EPOCHS)
        refuted.append(_refuted([distance.verdict(distance.p_value(), 1)]))
    return {"curve refuted": refuted[-1], "curve refuted on the way": any(refuted)}


def plan() -> list[tuple[Experiment, Case, int]]:
    """All that is simulated, each case with its repetitions: most where the documented run is one more of ours."""
    true = [Case(*each, 0.0) for each in product(SHAPES, SEEDS, NUMBERS)]
    off = [Case(*each) for each in product(SHAPES, SEEDS, NUMBERS, OFF)]
    tolerance = [
        Case(spread, seeds, 1, off_sd)
        for (spread, one), seeds in product(BY_TOLERANCE.items(), (*SEEDS, MANY))
        for off_sd in (0.0, one)
    ]
    joined = [Case(*each, 4.0) for each in product(SHAPES, SEEDS[1:2], NUMBERS)]
    return [
        *((alone, case, 2000) for case in dict.fromkeys([*true, *tolerance])),
        *((alone, case, 400) for case in off),
        *((among_others, case, 200) for case in joined),
        *((curve, Case("normal", seeds, 1, 0.0), 1000) for seeds in SEEDS),
    ]


def simulate(planned: Sequence[tuple[Experiment, Case, int]], seed: int) -> pd.DataFrame:
    """The rows of verdicts.csv, every case by a generator of its own."""
    rows = []
    gc.freeze()  # statsmodels collects garbage at every correction: 50 ms a time with all that is imported
    for (experiment, case, repetitions), rng in zip(
        planned, np.random.default_rng(seed).spawn(len(planned)), strict=True
    ):
        seen = pd.DataFrame([experiment(case, rng) for _ in range(repetitions)])
        for outcome, happened in seen.items():
            asked = happened.dropna()
            rows.append({**case._asdict(), "outcome": outcome, "count": sum(asked), "repetitions": len(asked)})
    gc.unfreeze()
    table = pd.DataFrame(rows)
    share = table["count"] / table["repetitions"]
    return table.assign(share=share, standard_error=np.sqrt(share * (1 - share) / table["repetitions"]))


RUNS = ["spread", "seeds"]
OFF_BY_ONE_TOLERANCE = " or ".join(
    f"(spread == '{spread}' and off_sd == {off})" for spread, off in BY_TOLERANCE.items()
)
QUESTIONS = {  # each with its rows of verdicts.csv, and with what makes a line and a column of its table
    "The documented runs are like ours. How often is any number of the write-up `higher` or `lower`?": (
        f"off_sd == 0 and spread in {SHAPES} and outcome in ('refuted', 'refuted in the end')",
        RUNS,
        ["outcome", "numbers"],
    ),
    "The same: which verdict does the first number get, and does its interval cover it?": (
        f"off_sd == 0 and outcome in {(*VERDICTS, 'covered')} and numbers != 2 and seeds in {SEEDS}",
        ["numbers", *RUNS],
        ["outcome"],
    ),
    "The first documented run is of a protocol 2, 4 or 6 standard deviations above ours. How often is ours `lower`?": (
        f"off_sd in {OFF} and spread in {SHAPES} and outcome == 'lower'",
        RUNS,
        ["numbers", "off_sd"],
    ),
    "The only documented run is of a protocol one tolerance above ours. Which verdict does it get?": (
        f"({OFF_BY_ONE_TOLERANCE}) and outcome in {VERDICTS}",
        [*RUNS, "off_sd"],
        ["outcome"],
    ),
    "The only number is `undecided`. Does its note say how many more seeds, and is it decided by exactly so many?": (
        f"off_sd in (0, 2) and numbers == 1 and seeds in {SEEDS} and "
        "outcome in ('undecided', 'N suggested', 'decided by N')",
        RUNS,
        ["off_sd", "outcome"],
    ),
    f"A documented curve of {EPOCHS} epochs is like ours. How often is it `higher` or `lower`?": (
        "outcome.str.startswith('curve')",
        RUNS,
        ["outcome"],
    ),
    "The first number is 4 standard deviations off. Does a verdict change where ten unrelated write-ups join?": (
        "outcome.str.startswith('changed')",
        [*RUNS, "numbers"],
        ["outcome"],
    ),
}


def csv_text(table: pd.DataFrame) -> str:
    """verdicts.csv: a row per case and outcome."""
    return table.to_csv(index=False, float_format="%.6g")


def markdown(table: pd.DataFrame) -> str:
    """verdicts.md: a table per question. A cell is empty where nothing was drawn, or nothing was left to ask."""
    words = {"numbers": "{} documented", "off_sd": "{:g} sd off", "outcome": "{}"}
    text = "Percent ± Monte Carlo standard error. 0 ± 0 is at most 3 / repetitions, at 95 % confidence.\n"
    for question, (chosen, index, columns) in QUESTIONS.items():
        rows = table.query(chosen).to_dict("records")
        counts = {row["repetitions"] for row in rows}
        for row in rows:
            row["cell"] = f"{100 * row['share']:.1f} ± {100 * row['standard_error']:.1f}"
            row["cell"] += f" of {row['repetitions']:,}" if len(counts) > 1 else ""
            row["head"] = ", ".join(words[key].format(row[key]) for key in columns)
        wide = pd.DataFrame(rows).pivot_table("cell", index, "head", aggfunc="first", sort=False, fill_value="")
        text += f"\n{question}{f' {max(counts):,} repetitions.' if len(counts) == 1 else ''}\n\n"
        text += wide.reset_index().to_markdown(index=False, disable_numparse=True) + "\n"
    return text


def main() -> None:
    """Simulate, and write the tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder of what is written")
    options = parser.parse_args()
    table = simulate(plan(), SEED)
    write_atomically(options.output / "verdicts.csv", csv_text(table))
    write_atomically(options.output / "verdicts.md", markdown(table))


def _refuted(verdicts: Sequence[str]) -> bool:
    return "higher" in verdicts or "lower" in verdicts


if __name__ == "__main__":
    main()
