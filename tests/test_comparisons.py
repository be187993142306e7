"""Every pair of systems, against scipy on the same numbers."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pixelpatch.analysis.comparisons import COLUMNS, compare

ACCURACIES = {
    "pit": [95.0, 94.6, 95.3, 94.9],
    "cnn": [97.5, 97.6, 97.4, 97.5, 97.7],
    "vit": [95.1, 94.7, 94.9, 95.3],
    "single": [90.0],
    "reader": None,  # has no test accuracy
    "absent": [],
}


def study(compared: tuple[str, ...] = ("test/accuracy",), narrowed: tuple[str, ...] = ()) -> dict:
    return {
        "analysis": {"alpha": 0.05, "minimum_seeds": 3, "permutations": 999, "rng_seed": 0, "compare": list(compared)},
        "experiments": {name: {"narrowed": name in narrowed} for name in ACCURACIES},
    }


def runs() -> pd.DataFrame:
    rows = [
        (name, seed, False, metric, value)
        for name, values in ACCURACIES.items()
        for metric in ("test/accuracy", "validation/accuracy")
        for seed, value in enumerate(values or [])
    ] + [("reader", seed, False, "test/digit_accuracy", 98.0) for seed in range(3)]
    # Runs may come in any order; the config's order is what counts.
    return pd.DataFrame(rows[::-1], columns=["experiment", "seed", "narrowed", "metric", "value"])


def table(**changes: tuple[str, ...]) -> pd.DataFrame:
    return compare(study(**changes), runs(), np.random.default_rng(0))


def row(frame: pd.DataFrame, a: str, b: str) -> pd.Series:
    return frame[(frame.system_a == a) & (frame.system_b == b)].iloc[0]


def test_every_pair_that_has_the_metric_is_compared_in_the_configs_order() -> None:
    frame = table(compared=("validation/accuracy", "test/accuracy"))
    pairs = [("pit", "cnn"), ("pit", "vit"), ("pit", "single"), ("cnn", "vit"), ("cnn", "single"), ("vit", "single")]
    expected = [(metric, *pair) for metric in ("validation/accuracy", "test/accuracy") for pair in pairs]
    assert list(frame) == COLUMNS
    assert [*frame[["metric", "system_a", "system_b"]].itertuples(index=False, name=None)] == expected


def test_statistics_of_a_pair_are_scipys() -> None:
    a, b = ACCURACIES["pit"], ACCURACIES["cnn"]
    found = row(table(), "pit", "cnn")
    expected = stats.ttest_ind(a, b, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert (found.n_a, found.n_b) == (4, 5)
    assert found.difference == pytest.approx(np.mean(a) - np.mean(b)) == pytest.approx(found.mean_a - found.mean_b)
    assert [found.t, found.p_welch] == pytest.approx([expected.statistic, expected.pvalue])
    assert [found.interval_low, found.interval_high] == pytest.approx([interval.low, interval.high])
    assert found.p_permutation == pytest.approx(2 / 126)  # no other deal of 9 into 4 and 5 separates them so
    assert found.superiority == 0
    assert found.effect_size < -5


def test_all_p_values_of_the_table_are_one_holm_family() -> None:
    frame = table(compared=("validation/accuracy", "test/accuracy")).dropna(subset="p_welch")
    by_size = frame.sort_values("p_welch")
    assert len(by_size) == 6
    assert by_size.p_holm.iloc[0] == pytest.approx(6 * by_size.p_welch.iloc[0])
    assert all(before <= after for before, after in pairwise(by_size.p_holm))
    assert (by_size.p_holm >= by_size.p_welch).all()


def test_a_system_with_one_seed_shows_its_mean_and_no_statistic() -> None:
    found = row(table(), "pit", "single")
    assert (found.n_b, found.mean_b) == (1, 90.0)
    statistics = found[["interval_low", "interval_high", "t", "p_welch", "p_permutation", "p_holm", "effect_size"]]
    assert statistics.isna().all()
    assert np.isnan(found.superiority)


def test_narrowed_names_the_systems_at_a_reduced_budget() -> None:
    frame = table(narrowed=("pit", "vit"))
    assert row(frame, "pit", "cnn").narrowed == "pit"
    assert row(frame, "cnn", "vit").narrowed == "vit"
    assert row(frame, "pit", "vit").narrowed == "pit, vit"
    assert row(frame, "cnn", "single").narrowed == ""


def test_the_same_generator_gives_the_same_table() -> None:
    few = study() | {"analysis": study()["analysis"] | {"permutations": 50}}  # drawn, not counted out
    tables = [compare(few, runs(), np.random.default_rng(seed)) for seed in (1, 1, 2)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0].equals(tables[2])


def test_nothing_to_compare_is_an_empty_table() -> None:
    for frame in (
        table(compared=("test/digit_accuracy",)),
        compare(study(), runs().iloc[:0], np.random.default_rng(0)),
    ):
        assert list(frame) == COLUMNS
        assert len(frame) == 0
