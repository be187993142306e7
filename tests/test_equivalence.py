"""Numerics held against float32: statsmodels' test, simulation, stuck runs, verdicts, and where a check stays out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_ind

from pixelpatch.__main__ import main
from pixelpatch.analysis.claims import judge
from pixelpatch.analysis.comparisons import compare
from pixelpatch.analysis.equivalence import COLUMNS, equivalences
from pixelpatch.analysis.statistics import equivalence_p_value, welch
from pixelpatch.figures import style
from pixelpatch.study import STUDY_FORMAT
from pixelpatch.tables import equivalence, read_table
from pixelpatch.tables.accuracy import summary

ALPHA = 0.05
CLOSE = [92.9, 93.1, 93.4, 92.7, 93.0]
Samples = dict[str, list[float]]


def study_of(narrowed: str = "", *, margin: float = 1.0, minimum_seeds: int = 3) -> dict[str, Any]:
    """A system, another one, and a check of the first."""
    experiments = {
        name: {"title": name, "claims": {}, "narrowed": name == narrowed, "narrowing": "1 of 10 epochs"}
        | {"resources": {}}
        for name in ("fast", "plain", "other")
    }
    experiments["fast"]["equivalent_to"] = {"experiment": "plain", "metric": "test/accuracy", "margin": margin}
    analysis = {"alpha": ALPHA, "minimum_seeds": minimum_seeds, "permutations": 99, "rng_seed": 0}
    analysis["compare"] = ["test/accuracy"]
    return {"format": STUDY_FORMAT, "preset": "full", "analysis": analysis, "experiments": experiments, "runs": []}


def runs_of(samples: Samples) -> pd.DataFrame:
    rows = [
        (name, seed, False, metric, value + offset)
        for name, values in samples.items()
        for seed, value in enumerate(values)
        for metric, offset in (("test/accuracy", 0), ("train/loss", -90))
    ]
    return pd.DataFrame(rows[::-1], columns=["experiment", "seed", "narrowed", "metric", "value"])


def made_in(samples: Samples, threads: dict[str, int] | None = None, device: str = "cpu (it)") -> pd.DataFrame:
    """Where the runs were made: in one thread, or in as many as `threads` says."""
    rows = [
        (name, seed, f"runs/{name}/seed{seed}.json", device, (threads or {}).get(name, 1))
        for name, values in samples.items()
        for seed in range(len(values))
    ]
    columns = [
        "experiment",
        "seed",
        "record",
        "device",
        "threads",
        "commit",
        "source",
        "python",
        "torch",
        "numpy",
        "diverged",
    ]
    return pd.DataFrame(rows, columns=columns[:5]).reindex(columns=columns)


def confusion_of(samples: Samples, stuck: dict[str, int] | None = None) -> pd.DataFrame:
    """Every digit is recognised by all runs, but for the first `stuck` ones of an experiment, which know no nine."""
    rows = [
        (name, seed, label, 4 if label == 9 and seed < (stuck or {}).get(name, 0) else label, 100)
        for name, values in samples.items()
        for seed in range(len(values))
        for label in range(10)
    ]
    columns = ["experiment", "seed", "label", "predicted", "count"]
    return pd.DataFrame(rows, columns=columns).astype({"predicted": "str"})


def the_row(samples: Samples, narrowed: str = "", stuck: dict[str, int] | None = None, **settings: float) -> pd.Series:
    confusion = confusion_of(samples, stuck)
    table = equivalences(study_of(narrowed, **settings), runs_of(samples), made_in(samples), confusion)
    assert list(table) == COLUMNS
    assert len(table) == 1
    return table.iloc[0]


# The test


numbers = st.integers(-500, 500).map(lambda tenths: tenths / 10)
samples = st.lists(numbers, min_size=2, max_size=12).filter(lambda values: len(set(values)) > 1)
margins = st.integers(1, 300).map(lambda tenths: tenths / 10)


@given(samples, samples, margins)
def test_it_is_two_one_sided_welch_tests(a: list[float], b: list[float], margin: float) -> None:
    expected, *_ = ttost_ind(np.array(a), np.array(b), -margin, margin, usevar="unequal")
    assert equivalence_p_value(a, b, margin) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(samples, samples, margins, st.floats(0.001, 0.3))
def test_it_rejects_exactly_where_the_interval_lies_within_the_margin(
    a: list[float], b: list[float], margin: float, alpha: float
) -> None:
    result, p_value = welch(a, b, 1 - 2 * alpha), equivalence_p_value(a, b, margin)
    if abs(p_value - alpha) > 1e-9:
        assert (p_value < alpha) == (-margin < result.low and result.high < margin)


@given(samples, samples, margins, numbers)
def test_neither_order_nor_origin_matters_and_a_wider_margin_is_easier(
    a: list[float], b: list[float], margin: float, shift: float
) -> None:
    p_value = equivalence_p_value(a, b, margin)
    assert equivalence_p_value(b, a, margin) == pytest.approx(p_value, abs=1e-9)
    assert equivalence_p_value([x + shift for x in a], [x + shift for x in b], margin) == pytest.approx(
        p_value, abs=1e-7
    )
    assert equivalence_p_value(a, b, 2 * margin) <= p_value + 1e-9


@pytest.mark.parametrize(("spread", "sizes"), [((1.0, 1.0), (10, 10)), ((1.0, 3.0), (10, 10)), ((0.5, 2.0), (4, 12))])
def test_at_the_margin_s_edge_it_errs_no_more_often_than_alpha(
    spread: tuple[float, float], sizes: tuple[int, int]
) -> None:
    rng, draws, margin = np.random.default_rng(0), 1200, 2.0
    wrong = 0
    for draw in range(draws):
        edge = margin if draw % 2 else -margin
        ours, theirs = (rng.normal(*of) for of in zip((edge, 0), spread, sizes, strict=True))
        wrong += equivalence_p_value(ours, theirs, margin) < ALPHA
    assert wrong / draws < ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / draws)


def test_equal_systems_pass_when_the_margin_is_wide_against_their_spread() -> None:
    rng = np.random.default_rng(0)
    passed = [equivalence_p_value(rng.normal(0, 0.4, 10), rng.normal(0, 0.4, 10), 1.0) < ALPHA for _ in range(300)]
    assert np.mean(passed) > 0.98


def test_samples_without_spread_and_single_values() -> None:
    least = 1 / 20  # of the deals of six runs into three and three
    assert equivalence_p_value([93.0] * 3, [93.5] * 3, 1.0) == least
    assert equivalence_p_value([93.0] * 3, [94.0] * 3, 1.0) == 0.5
    assert equivalence_p_value([93.0] * 3, [95.0] * 3, 1.0) == 1 - least
    assert equivalence_p_value([93.0] * 3, [93.1, 93.2, 93.0], 1.0) == least
    assert np.isnan(equivalence_p_value([93.0], [93.0, 93.1], 1.0))
    assert np.isnan(equivalence_p_value([], [93.0, 93.1], 1.0))


# The verdict


def test_identical_outcomes_are_equivalent() -> None:
    row = the_row({"fast": CLOSE, "plain": CLOSE})
    assert (row.experiment, row.reference, row.metric, row.margin) == ("fast", "plain", "test/accuracy", 1)
    assert (row.verdict, row.note, row.difference, row.n, row.n_reference) == ("equivalent", "", 0, 5, 5)
    assert row.p_tost < ALPHA
    assert (row.n_same, row.same_seed_std) == (5, 0)


def test_what_runs_of_one_seed_share_is_told_from_what_seeds_do() -> None:
    rounding = [0.1, 0.0, -0.1, 0.3, 0.0]
    row = the_row({"fast": [a + b for a, b in zip(CLOSE, rounding, strict=True)], "plain": CLOSE})
    assert row.n_same == 2
    assert row.same_seed_std == pytest.approx(np.std(rounding, ddof=1) / np.sqrt(2))
    rng = np.random.default_rng(0)
    a, b = (list(rng.normal(93, 0.5, 4000)) for _ in range(2))  # other rounding as good as another seed
    assert the_row({"fast": a, "plain": b}).same_seed_std == pytest.approx(0.5, rel=0.05)
    assert the_row({"fast": CLOSE, "plain": CLOSE[:1]}).n_same == 1


@pytest.mark.parametrize("sign", [-1, 1])
def test_outcomes_further_apart_than_the_margin_are_not_equivalent(sign: int) -> None:
    row = the_row({"fast": [value + 3 * sign for value in CLOSE], "plain": CLOSE})
    assert (row.verdict, row.note) == ("not equivalent", "")
    assert row.difference == pytest.approx(3 * sign)
    assert row.p_tost > 0.95


@pytest.mark.parametrize(("margin", "verdict"), [(2.0, "equivalent"), (1.05, "undecided"), (0.5, "not equivalent")])
def test_the_margin_decides_and_numbers_are_statsmodels(margin: float, verdict: str) -> None:
    ours, theirs = [value + 1 for value in CLOSE], [93.2, 92.8, 93.0, 93.1]
    row = the_row({"fast": ours, "plain": theirs, "other": [10.0]}, margin=margin)
    expected, *_ = ttost_ind(np.array(ours), np.array(theirs), -margin, margin, usevar="unequal")
    interval = welch(ours, theirs, 0.9)
    assert row.verdict == verdict
    assert row.p_tost == pytest.approx(expected)
    assert [row.interval_low, row.interval_high] == pytest.approx([interval.low, interval.high])
    assert [row["mean"], row.mean_reference] == pytest.approx([np.mean(ours), np.mean(theirs)])
    assert [row.least, row.least_reference] == [min(ours), min(theirs)]
    assert (row.n, row.n_reference) == (5, 4)
    assert bool(row.note) == (verdict == "undecided")


@pytest.mark.parametrize(
    ("samples", "settings", "note"),
    [
        ({"fast": CLOSE, "plain": CLOSE[:2]}, {}, "fewer than 3 seeds of plain"),
        ({"fast": CLOSE, "plain": CLOSE}, {"minimum_seeds": 6}, "fewer than 6 seeds of fast and plain"),
        ({"fast": CLOSE, "plain": CLOSE}, {"narrowed": "fast"}, "reduced budget of fast: 1 of 10 epochs"),
        ({"fast": CLOSE, "plain": CLOSE}, {"narrowed": "plain"}, "reduced budget of plain: 1 of 10 epochs"),
        ({"fast": CLOSE}, {}, "no run selected of plain"),
    ],
)
def test_what_is_not_tested_shows_means_and_why(samples: Samples, settings: dict[str, Any], note: str) -> None:
    row = the_row(samples, **settings)
    assert (row.verdict, row.note) == ("not tested", note)
    assert row[["interval_low", "interval_high", "p_tost"]].isna().all()
    assert row["mean"] == pytest.approx(np.mean(CLOSE))


@pytest.mark.parametrize(
    ("threads", "device", "tested"),
    [({"fast": 2}, "cpu (it)", True), ({}, "cpu (it)", False), ({"fast": 2}, "NVIDIA H200", False)],
)
def test_a_check_of_threads_needs_other_threads(threads: dict[str, int], device: str, tested: bool) -> None:
    made, samples = study_of(), {"fast": CLOSE, "plain": CLOSE}
    made["experiments"]["fast"]["resources"] = {"threads": 2}
    row = equivalences(made, runs_of(samples), made_in(samples, threads, device), confusion_of(samples)).iloc[0]
    assert (row.verdict == "equivalent") == tested
    assert (row.note == "its runs and those of the reference computed in as many threads") != tested


def test_a_check_that_did_not_run_has_no_row() -> None:
    samples = {"plain": CLOSE, "other": CLOSE}
    table = equivalences(study_of(), runs_of(samples), made_in(samples), confusion_of(samples))
    assert (list(table), len(table)) == (COLUMNS, 0)


# Stuck runs


LOW = [85.0, 84.2, 85.3, 84.9, 85.1]  # of runs that know no nine


@pytest.mark.parametrize(
    ("stuck", "verdict"),
    [
        ({"fast": 1}, "equivalent"),
        ({"plain": 2}, "equivalent"),
        ({"fast": 1, "plain": 2}, "equivalent"),
        ({"fast": 5}, "not equivalent"),
        ({"fast": 3, "plain": 1}, "undecided"),
    ],
)
def test_rates_of_stuck_runs_and_means_of_the_others_are_compared(stuck: dict[str, int], verdict: str) -> None:
    samples = {name: LOW[: stuck.get(name, 0)] + CLOSE[stuck.get(name, 0) :] for name in ("fast", "plain")}
    row = the_row(samples, stuck=stuck)
    n_fast, n_plain = stuck.get("fast", 0), stuck.get("plain", 0)
    assert (row.n, row.n_reference, row.n_stuck, row.n_stuck_reference) == (5, 5, n_fast, n_plain)
    # Fisher's: of all ways in which so many stuck runs fall on ten, those that are no more probable than this one.
    ways = stats.hypergeom(10, n_fast + n_plain, 5).pmf(range(6))
    assert row.p_stuck == pytest.approx(ways[ways <= ways[n_fast] * (1 + 1e-9)].sum())
    assert row.verdict == verdict
    escaped, others = CLOSE[n_fast:], CLOSE[n_plain:]
    assert [row["mean"], row.mean_reference] == pytest.approx([np.mean(samples["fast"]), np.mean(samples["plain"])])
    assert row.mean_escaped_reference == pytest.approx(np.mean(others))
    assert row.note.startswith(
        f"stuck are {n_fast} of 5 runs, of the reference's {n_plain} of 5; means are of the others"
    )
    if n_fast < 3:
        expected, *_ = ttost_ind(np.array(escaped), np.array(others), -1, 1, usevar="unequal")
        assert row.p_tost == pytest.approx(expected)
        assert row.difference == pytest.approx(np.mean(escaped) - np.mean(others))
    else:
        assert np.isnan(row.p_tost)


def test_equal_rates_do_not_excuse_other_means() -> None:
    samples = {"fast": LOW[:1] + [value + 3 for value in CLOSE[1:]], "plain": LOW[:1] + CLOSE[1:]}
    row = the_row(samples, stuck={"fast": 1, "plain": 1})
    assert (row.verdict, row.p_stuck) == ("not equivalent", 1)


# The table, and the others


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[Samples], Path]:
    """A folder with a study.json and the runs.csv of some samples."""

    def make(samples: Samples) -> Path:
        (tmp_path / "study.json").write_text(json.dumps(study_of()), encoding="utf-8")
        runs_of(samples).to_csv(tmp_path / "runs.csv", index=False)
        made_in(samples).assign(lost="", epochs=1, of_epochs=1).to_csv(tmp_path / "provenance.csv", index=False)
        confusion_of(samples).to_csv(tmp_path / "confusion.csv", index=False)
        return tmp_path

    return make


def written(folder: Path) -> str:
    """The Markdown of the table, as the command line writes it."""
    assert main(["tables", "equivalence", "--study", str(folder / "study.json"), "--tables", str(folder)]) == 0
    assert r"\bottomrule" in (folder / "equivalence.tex").read_text(encoding="utf-8")
    return (folder / "equivalence.md").read_text(encoding="utf-8")


def test_the_table_a_reader_sees(folder: Callable[[Samples], Path]) -> None:
    where = folder({"fast": CLOSE, "plain": CLOSE})
    caption, _, header, _, row, *_ = written(where).splitlines()
    assert caption == "Other numerics against float32, the spec the same. Preset full."
    named = dict(zip(*([cell.strip() for cell in line.split("|")[1:-1]] for line in (header, row)), strict=True))
    interval = welch(CLOSE, CLOSE, 0.9)
    assert named == {
        "Experiment": "fast", "Reference": "plain", "Metric": "test/accuracy", "n": "5, 5", "Stuck": "0, 0",
        "p (stuck)": "1.000", "Mean": "93.02", "Reference mean": "93.02",
        "Lowest seed": "92.70", "Lowest of reference": "92.70", "Difference": "0.00", "Margin": "±1",
        "90 % interval": f"[−{interval.high:.2f}, {interval.high:.2f}]", "p (TOST)": "<0.001",
        "Same": "5", "Sd of a seed": "0.000",
        "Verdict": "equivalent", "Why": "",
    }  # fmt: skip
    pd.testing.assert_frame_equal(
        read_table(where, "equivalence").fillna({"note": ""}),
        equivalences(study_of(), *(read_table(where, name) for name in ("runs", "provenance", "confusion"))),
        check_exact=True,
        check_dtype=False,
    )


def test_a_study_without_such_checks_has_a_table_that_says_so(folder: Callable[[Samples], Path]) -> None:
    where = folder({"plain": CLOSE})
    text = written(where)
    assert text.startswith("No other numerics ran. Preset full.\n")
    assert "| Experiment" in text
    assert list(read_table(where, "equivalence")) == COLUMNS
    assert read_table(where, "equivalence").empty


def test_what_is_not_tested_reads_without_holes_or_nan() -> None:
    study = study_of("fast")
    samples = {"fast": CLOSE[:1], "plain": CLOSE}
    table = equivalences(study, runs_of(samples), made_in(samples), confusion_of(samples))
    shown = equivalence.view(table, study).iloc[0].to_dict()
    assert (shown["n"], shown["Mean"], shown["Difference"], shown["Verdict"]) == (
        "1, 5",
        "92.90",
        "−0.12",
        "not tested",
    )
    assert shown["90 % interval"] == shown["p (TOST)"] == ""


def test_such_a_check_is_no_system_in_claims_comparisons_accuracies_and_figures() -> None:
    study, runs = study_of(), runs_of({"fast": CLOSE, "plain": CLOSE, "other": [value - 1 for value in CLOSE]})
    compared = compare(study, runs, np.random.default_rng(0))
    assert [*compared[["system_a", "system_b"]].itertuples(index=False, name=None)] == [("plain", "other")]
    assert compared["p_holm"].tolist() == compared["p_welch"].tolist()  # a family of one
    assert summary(runs, study)["system"].tolist() == ["plain", "other"]
    assert style.present(study, runs) == list(style.looks(study)) == ["plain", "other"]
    study["experiments"]["fast"]["claims"] = {"it": {"text": "…", "metric": "test/accuracy", "documented": "93"}}
    curves = pd.DataFrame(columns=["experiment", "seed", "narrowed", "metric", "epoch", "value"])
    facts = pd.DataFrame(columns=["experiment", "metric", "value"])
    assert judge(study, runs, curves, facts, confusion_of({})).empty
