"""The published simulations of the rule of verdicts: they are the script's, they come again, and theory agrees."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import verdict_simulations as simulations
from scipy import stats
from verdict_simulations import (
    ALPHA,
    BY_TOLERANCE,
    NUMBERS,
    OFF,
    SEEDS,
    SHAPES,
    VERDICTS,
    Case,
    alone,
    among_others,
    curve,
    plan,
    simulate,
)

from pixelpatch.analysis import verdicts

FOLDER = Path(__file__).parents[1] / "results/benchmark"
KEY = [*Case._fields, "outcome"]
TABLE = pd.read_csv(FOLDER / "verdicts.csv")
ROWS = TABLE.set_index(KEY)
OUTCOMES = {
    alone: [*VERDICTS, "covered", "refuted", "refuted in the end"],
    among_others: ["changed by others", "changed by others, one family"],
    curve: ["curve refuted", "curve refuted on the way"],
}
SOMETIMES = ["N suggested", "decided by N"]  # only of what is undecided
AGAIN = [
    *((alone, Case(spread, 5, 1, off_sd), 300) for spread in SHAPES for off_sd in (0.0, 4.0)),
    (alone, Case("normal", 3, 5, 0.0), 300),
    (alone, Case("normal, wide", 5, 1, 2.5), 300),
    (among_others, Case("normal", 5, 1, 4.0), 50),
    (curve, Case("normal", 5, 1, 0.0), 100),
]


def test_the_published_tables_are_those_that_the_script_writes() -> None:
    assert list(TABLE) == list(simulate([(alone, Case("normal", 3, 1, 0.0), 2)], seed=0))
    planned = {(*case, outcome): times for experiment, case, times in plan() for outcome in OUTCOMES[experiment]}
    always = ROWS[~ROWS.index.get_level_values("outcome").isin(SOMETIMES)]
    assert always["repetitions"].to_dict() == planned
    by_case = ROWS[["count", "repetitions"]].unstack("outcome")
    for asked, among in (("N suggested", "undecided"), ("decided by N", "N suggested")):
        assert (by_case["repetitions", asked].fillna(0) == by_case["count", among].fillna(0)).all()
    share = TABLE["count"] / TABLE["repetitions"]
    np.testing.assert_allclose(TABLE["share"], share, atol=1e-5)
    np.testing.assert_allclose(TABLE["standard_error"], np.sqrt(share * (1 - share) / TABLE["repetitions"]), atol=1e-5)
    assert (FOLDER / "verdicts.md").read_text(encoding="utf-8") == simulations.markdown(TABLE)


def test_a_rerun_agrees_within_monte_carlo_error() -> None:
    rerun = simulate(AGAIN, seed=1).set_index(KEY)
    both = rerun.join(ROWS.add_prefix("published_"), how="inner")
    for key, row in both.iterrows():
        count, published = row["count"], row["published_count"]
        others = row["repetitions"] - count, row["published_repetitions"] - published
        assert stats.fisher_exact([(count, published), others]).pvalue > 0.01 / len(both), key


def test_one_seed_makes_one_table() -> None:
    planned = [(alone, Case("two modes", 3, 2, 2.0), 5), (among_others, Case("skewed", 5, 1, 4.0), 2)]
    pd.testing.assert_frame_equal(simulate(planned, seed=7), simulate(planned, seed=7))


@pytest.mark.parametrize("seeds", SEEDS)
def test_where_runs_are_normal_theory_agrees(seeds: int) -> None:
    """The t of a run that is k standard deviations off has a noncentral Student's distribution."""
    critical, reach = stats.t.isf(ALPHA / 2, seeds - 1), np.sqrt(1 + 1 / seeds)
    expected = {("lower", off): stats.nct.sf(critical, seeds - 1, off / reach) for off in OFF}
    expected |= {("lower", 0): ALPHA / 2, ("higher", 0): ALPHA / 2, ("covered", 0): 1 - ALPHA}
    for (outcome, off), share in expected.items():
        row = ROWS.loc[("normal", seeds, 1, off, outcome)]
        test = stats.binomtest(int(row["count"]), int(row["repetitions"]), share)
        assert test.pvalue > 0.01 / (len(SEEDS) * len(expected)), (outcome, off)
    for numbers in NUMBERS:
        row = ROWS.loc[("normal", seeds, numbers, 0, "refuted")]
        test = stats.binomtest(int(row["count"]), int(row["repetitions"]), ALPHA, alternative="greater")
        assert test.pvalue > 0.01 / (len(SEEDS) * len(NUMBERS)), numbers


def test_no_other_write_up_changes_a_verdict() -> None:
    counts = TABLE.groupby("outcome")["count"].sum()
    assert counts["changed by others"] == 0
    assert counts["changed by others, one family"] > 0


def test_the_methods_say_what_the_table_says() -> None:
    methods = " ".join(verdicts.__doc__.split("**How often the rule errs.**")[1].split())

    def shares(spread: str, outcome: str, **where: float) -> list[float]:
        rows = TABLE[TABLE["spread"].str.startswith(spread) & (TABLE["outcome"] == outcome)]
        return [100 * share for share in rows.loc[(rows[list(where)] == pd.Series(where)).all(axis=1), "share"]]

    false, in_the_end = shares("normal", "refuted", off_sd=0), shares("normal", "refuted in the end", off_sd=0)
    assert f"{min(false):.0f} to {max(false):.0f} % of the write-ups get a false" in methods
    assert f"it is {min(in_the_end):.0f} to {max(in_the_end):.0f} % of the write-ups" in methods
    for outcome, words in (("curve refuted", "of the curves. It"), ("curve refuted on the way", "of the curves if")):
        of_curves = [100 * share for share in TABLE.loc[TABLE["outcome"] == outcome, "share"]]
        assert f"{min(of_curves):.0f} to {max(of_curves):.0f} % {words}" in methods
    for spread, words in (("skewed", "runs are skewed"), ("two modes", "some runs fail to train")):
        now, last = (max(shares(spread, outcome, off_sd=0)) for outcome in ("refuted", "refuted in the end"))
        assert f"up to {now:.0f} % if {words} ({last:.0f} % after " in methods
    for numbers in (1, 5):
        found = shares("normal", "lower", off_sd=4, numbers=numbers)
        assert "{:.0f}, {:.0f} and {:.0f} %".format(*found) in methods
    off = [shares(spread, "reproduced", off_sd=one) for spread, one in BY_TOLERANCE.items()]
    assert f"`reproduced` in at most {max(map(max, off)):.0f} % of the cases" in methods
