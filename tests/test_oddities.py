"""What oddities cost: which test, scipy's of either and simulation, findings, and what is no part of the family."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from configurations import study as configured
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pixelpatch.__main__ import main
from pixelpatch.analysis.oddities import COLUMNS, effects, price_oddities, same_weights
from pixelpatch.analysis.statistics import holm, paired
from pixelpatch.study import STUDY_FORMAT, merge
from pixelpatch.tables import read_table

PLAIN = [92.0, 92.5, 91.8, 92.2, 92.1]
SPEC = {"data": {}, "model": {"width": 8}, "training": {"epochs": 1}, "evaluation": {"batch": 32, "checkpoint": "last"}}
Samples = dict[str, dict[int, float]]


def study_of(*mended: str, narrowed: str = "", selected: bool = True) -> dict[str, Any]:
    """A system and experiments that mend an oddity of it: of its training, or of its test where the name says so."""
    experiments: dict[str, Any] = {
        name: {"title": name, "claims": {}, "narrowed": name == narrowed, "narrowing": "", "selected": selected}
        for name in ("plain", *mended)
    }
    experiments["plain"]["spec"] = SPEC
    for name in mended:
        change = {"evaluation": {"batch": 1}} if name.startswith("tested") else {"training": {"epochs": 2}}
        experiments[name]["spec"] = merge(SPEC, change)
        mends = {"system": "plain", "oddity": f"no {name}", "instead": name, "metric": "test/accuracy", "means": "why"}
        experiments[name]["mends"] = mends
    analysis = {"alpha": 0.05, "minimum_seeds": 3, "permutations": 99, "rng_seed": 0, "compare": ["test/accuracy"]}
    return {"format": STUDY_FORMAT, "preset": "full", "analysis": analysis, "experiments": experiments, "runs": []}


def runs_of(samples: Samples) -> pd.DataFrame:
    rows = [
        (name, seed, False, metric, value + offset)
        for name, values in samples.items()
        for seed, value in values.items()
        for metric, offset in (("test/accuracy", 0), ("train/loss", -90))
    ]
    return pd.DataFrame(rows[::-1], columns=["experiment", "seed", "narrowed", "metric", "value"])


def seeds(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


values = st.lists(st.tuples(*[st.integers(0, 1000).map(lambda tenths: tenths / 10)] * 2), min_size=3, max_size=12)


@given(values)
def test_the_paired_test_is_scipy_s(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    result = paired(a, b, 0.9)
    if len(set(np.round(a - b, 9))) == 1:
        return  # in test_statistics.py
    expected = stats.ttest_rel(a, b)
    interval = expected.confidence_interval(0.9)
    assert result.p_value == pytest.approx(expected.pvalue)
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high))


def test_its_false_alarms_are_as_many_as_it_says() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(92, 3, (2000, 5))  # a seed's luck, which both runs have
    first, second = (shared + rng.normal(0, 0.3, shared.shape) for _ in range(2))
    alarms = sum(paired(a, b, 0.95).p_value < 0.05 for a, b in zip(first, second, strict=True))
    assert stats.binomtest(alarms, 2000, 0.05).pvalue > 0.001


def test_those_that_are_paired_have_the_same_weights_in_the_study() -> None:
    table = price_oddities(configured(("preset", "full")), runs_of({}))
    assert set(table.query("test == 'paired'")["experiment"]) == {
        "blog_vit_tested_alone",
        "blog_vit_tested_by_1000",
        "blog_vit_tested_by_class",
    }


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"evaluation": {"batch": 1, "order": "shuffled"}}, True),
        ({"evaluation": {"batch": 1}, "training": {"precision": "float32"}}, True),  # what it is by default
        ({"evaluation": {"batch": 1}, "training": {"precision": "bfloat16"}}, False),
        ({"model": {"width": 16}}, False),
        ({"data": {"standardise": True}}, False),
    ],
)
def test_weights_are_the_same_where_the_test_alone_differs(change: dict[str, Any], same: bool) -> None:
    other = merge(SPEC, change)
    assert same_weights(SPEC, other) is same_weights(other, SPEC) is same
    validated = {"data": {"validation": {"images": 50}}}  # which can choose another epoch, and draws random numbers
    assert not same_weights(merge(SPEC, validated), merge(other, validated))


BETTER = seeds([value + gain for value, gain in zip(PLAIN, (2.1, 1.9, 2.0, 2.2, 1.8), strict=True)]) | {7: 93.0}
SAME = seeds([value + gain for value, gain in zip(PLAIN, (0.1, -0.1, 0.0, 0.2, -0.2), strict=True)])
WORSE = {seed: PLAIN[seed] - 1 - seed / 100 for seed in (0, 1, 3)} | {9: 0.0}


def test_pairs_are_of_common_seeds() -> None:
    runs = runs_of({"plain": seeds(PLAIN), "tested_better": BETTER, "tested_same": SAME, "tested_worse": WORSE})
    table = price_oddities(study_of("tested_better", "tested_same", "tested_worse"), runs)
    better, same, worse = table.to_dict("records")
    assert table["test"].tolist() == ["paired"] * 3
    assert table["n_documented"].tolist() == table["n_mended"].tolist() == [5, 5, 3]
    assert (same["n_more"], same["n_less"]) == (2, 2)
    assert better["effect_points"] == pytest.approx(2)
    assert worse["mean_documented"] == pytest.approx(np.mean([PLAIN[seed] for seed in (0, 1, 3)]))
    expected = stats.ttest_rel([WORSE[seed] for seed in (0, 1, 3)], [PLAIN[seed] for seed in (0, 1, 3)])
    assert worse["p_value"] == pytest.approx(expected.pvalue)
    assert effects(worse, runs).to_dict() == pytest.approx({0: -1, 1: -1.01, 3: -1.03})
    assert better["finding"] == "Without it 94.12 % instead of 92.12 %, more from 5 of 5 seeds."
    assert worse["finding"] == "Without it 91.22 % instead of 92.23 %, less from 3 of 3 seeds."
    assert same["finding"].startswith("What it does is not seen in 5 seeds: without it, −0.20 to 0.20 points.")


def test_where_training_differs_all_seeds_of_both_sides_are_compared() -> None:
    runs = runs_of({"plain": seeds(PLAIN), "better": BETTER, "same": SAME})
    table = price_oddities(study_of("better", "same"), runs)
    better, same = table.to_dict("records")
    assert table["test"].tolist() == ["welch"] * 2
    assert (better["n_documented"], better["n_mended"]) == (5, 6)
    assert table[["n_more", "n_less"]].isna().all(axis=None)
    expected = stats.ttest_ind([*BETTER.values()], PLAIN, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert better["p_value"] == pytest.approx(expected.pvalue)
    assert (better["interval_low"], better["interval_high"]) == pytest.approx((interval.low, interval.high))
    assert effects(better, runs).to_dict() == pytest.approx({k: v - np.mean(PLAIN) for k, v in BETTER.items()})
    assert effects(better, runs).mean() == pytest.approx(better["effect_points"])
    assert table["p_holm"].tolist() == holm(table["p_value"]).adjusted.tolist()
    assert better["finding"] == "Without it 93.93 % instead of 92.12 %, means of 6 and 5 runs."
    assert same["finding"].startswith("What it does is not seen in 5 runs against 5: without it, −0.")


def test_runs_without_spread_are_not_known_to_have_none() -> None:
    """As of a network that answers one class: five runs of it against five."""
    blind = dict.fromkeys(range(5), 11.35)
    (row,) = price_oddities(study_of("blind"), runs_of({"plain": seeds(PLAIN), "blind": blind})).to_dict("records")
    assert row["p_value"] == row["p_holm"] == 2 / 252
    (row,) = price_oddities(study_of("tested_same"), runs_of({"plain": blind, "tested_same": blind})).to_dict("records")
    assert (row["p_value"], row["finding"]) == (1, "What it does is not seen in 5 seeds.")


@pytest.mark.parametrize(
    ("mended", "narrowed", "n", "finding"),
    [
        ({}, "", (5, 0), "not run"),
        (seeds(PLAIN[:2]), "", (5, 2), "not tested: fewer than 3 seeds"),
        (seeds(PLAIN), "plain", (5, 5), "not tested: reduced budget of plain"),
    ],
)
def test_what_has_no_p_value_of_its_own(
    mended: dict[int, float], narrowed: str, n: tuple[int, int], finding: str
) -> None:
    """It counts in the family, as was planned; only what runs at a reduced budget does not."""
    study = study_of("mended", "other", narrowed=narrowed)
    runs = runs_of({"plain": seeds(PLAIN), "mended": mended, "other": BETTER})
    table = price_oddities(study, runs).set_index("experiment")
    row = table.loc["mended"]
    assert (row["n_documented"], row["n_mended"], row["finding"]) == (*n, finding)
    assert np.isnan(row["p_holm"])
    if not narrowed:
        assert table.loc["other", "p_holm"] == pytest.approx(2 * table.loc["other", "p_value"])


def test_without_a_common_seed_there_are_no_pairs() -> None:
    runs = runs_of({"plain": seeds(PLAIN), "tested": {7: 95.0}})
    (row,) = price_oddities(study_of("tested"), runs).to_dict("records")
    assert (row["n_documented"], row["n_mended"], row["finding"]) == (0, 0, "not run")


def test_what_is_not_selected_has_no_row_and_the_table_says_so(tmp_path: Path) -> None:
    study = study_of("mended", selected=False)
    runs_of({"plain": seeds(PLAIN)}).to_csv(tmp_path / "runs.csv", index=False)
    (tmp_path / "study.json").write_text(json.dumps(study), encoding="utf-8")
    assert main(["tables", "oddities", "--study", str(tmp_path / "study.json"), "--tables", str(tmp_path)]) == 0
    assert list(read_table(tmp_path, "oddities")) == COLUMNS
    assert (tmp_path / "oddities.md").read_text(encoding="utf-8").startswith("No oddity was mended. Preset full.")
