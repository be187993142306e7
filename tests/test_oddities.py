"""What oddities cost: scipy's paired test and simulation, every finding, and what is no part of the family."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pixelpatch.__main__ import main
from pixelpatch.analysis.oddities import COLUMNS, price_oddities
from pixelpatch.analysis.statistics import holm, paired
from pixelpatch.study import STUDY_FORMAT
from pixelpatch.tables import read_table

PLAIN = [92.0, 92.5, 91.8, 92.2, 92.1]
Samples = dict[str, dict[int, float]]


def study_of(*mended: str, narrowed: str = "", selected: bool = True) -> dict[str, Any]:
    """A system and experiments that mend an oddity of it."""
    experiments: dict[str, Any] = {
        name: {"title": name, "claims": {}, "narrowed": name == narrowed, "narrowing": "", "selected": selected}
        for name in ("plain", *mended)
    }
    for name in mended:
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
    if len(set(a - b)) == 1:
        assert (result.low, result.high) == (result.difference, result.difference)
        assert result.p_value == float(result.difference == 0)
        return
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


def test_effects_are_of_common_seeds_and_corrected_together() -> None:
    better = seeds([value + gain for value, gain in zip(PLAIN, (2.1, 1.9, 2.0, 2.2, 1.8), strict=True)])
    same = seeds([value + gain for value, gain in zip(PLAIN, (0.1, -0.1, 0.0, 0.2, -0.2), strict=True)])
    worse = {seed: PLAIN[seed] - 1 - seed / 100 for seed in (0, 1, 3)} | {9: 0.0}
    runs = runs_of({"plain": seeds(PLAIN), "better": better, "same": same, "worse": worse})
    table = price_oddities(study_of("better", "same", "worse"), runs).set_index("experiment")
    assert table["n_seeds"].tolist() == [5, 5, 3]
    assert table.loc["better", "effect_points"] == pytest.approx(2)
    assert table.loc["worse", "mean_documented"] == pytest.approx(np.mean([PLAIN[seed] for seed in (0, 1, 3)]))
    assert table["p_holm"].tolist() == holm(table["p_value"]).adjusted.tolist()
    assert table.loc["better", "finding"] == "Without it 94.12 % instead of 92.12 %, more from 5 of 5 seeds."
    assert table.loc["worse", "finding"] == "Without it 91.22 % instead of 92.23 %, less from 3 of 3 seeds."
    assert table.loc["same", "finding"].startswith(
        "What it does is not seen in 5 seeds: without it, −0.20 to 0.20 points."
    )


@pytest.mark.parametrize(
    ("samples", "narrowed", "n_seeds", "finding"),
    [
        ({"plain": seeds(PLAIN)}, "", 0, "not run"),
        ({"plain": seeds(PLAIN), "mended": {7: 95.0}}, "", 0, "not run"),
        ({"plain": seeds(PLAIN), "mended": seeds(PLAIN[:2])}, "", 2, "not tested: fewer than 3 seeds"),
        ({"plain": seeds(PLAIN), "mended": seeds(PLAIN)}, "plain", 5, "not tested: reduced budget of plain"),
    ],
)
def test_what_is_no_part_of_the_family(samples: Samples, narrowed: str, n_seeds: int, finding: str) -> None:
    """It leaves the p-value of the others as it is."""
    other = {"other": seeds([value + 1 + value % 1 for value in PLAIN])}
    study = study_of("mended", "other", narrowed=narrowed)
    table = price_oddities(study, runs_of(samples | other)).set_index("experiment")
    assert (table.loc["mended", "n_seeds"], table.loc["mended", "finding"]) == (n_seeds, finding)
    assert np.isnan(table.loc["mended", "p_holm"])
    if not narrowed:
        assert table.loc["other", "p_holm"] == table.loc["other", "p_value"] < 0.05


def test_what_is_not_selected_has_no_row_and_the_table_says_so(tmp_path: Path) -> None:
    study = study_of("mended", selected=False)
    runs_of({"plain": seeds(PLAIN)}).to_csv(tmp_path / "runs.csv", index=False)
    (tmp_path / "study.json").write_text(json.dumps(study), encoding="utf-8")
    assert main(["tables", "oddities", "--study", str(tmp_path / "study.json"), "--tables", str(tmp_path)]) == 0
    assert list(read_table(tmp_path, "oddities")) == COLUMNS
    assert (tmp_path / "oddities.md").read_text(encoding="utf-8").startswith("No oddity was mended. Preset full.")
