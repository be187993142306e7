"""Documented numbers among seeds: closed forms and simulation of the best of k, ranks, and how verdicts move."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pixelpatch.analysis.places import MAP, PLACES, TOLERANCES, best_of, expected_best, places, verdict_map

VALUES = [97.1, 97.5, 97.3, 97.2, 97.6]


def study_of(narrowed: bool = False, **claims: dict[str, Any]) -> dict[str, Any]:
    named = {name.replace("_", "-"): {"text": name} | claim for name, claim in claims.items()}
    experiments = {"cnn": {"claims": named, "narrowed": narrowed}}
    return {"analysis": {"alpha": 0.05, "minimum_seeds": 3}, "experiments": experiments}


def runs_of(**values: list[float]) -> pd.DataFrame:
    rows = [
        ("cnn", seed, False, metric.replace("_", "/"), value)
        for metric, of_metric in values.items()
        for seed, value in enumerate(of_metric)
    ]
    return pd.DataFrame(rows[::-1], columns=["experiment", "seed", "narrowed", "metric", "value"])


def test_the_expected_best_is_that_of_closed_forms_and_of_simulation() -> None:
    assert expected_best(1) == pytest.approx(0, abs=1e-6)
    assert expected_best(2) == pytest.approx(1 / np.sqrt(np.pi), rel=1e-5)
    assert expected_best(3) == pytest.approx(1.5 / np.sqrt(np.pi), rel=1e-5)
    drawn = np.random.default_rng(0).standard_normal((20_000, 50)).max(axis=1)
    assert expected_best(50) == pytest.approx(drawn.mean(), abs=4 * drawn.std() / np.sqrt(20_000))


def test_the_best_of_k_runs_share_a_mean_and_a_deviation_that_are_not_known() -> None:
    seeds, k, draws = 6, 20, 100_000
    rng = np.random.default_rng(0)
    sigma = np.sqrt((seeds - 1) / rng.chisquare(seeds - 1, draws))  # given that our deviation is 1
    mean = sigma * rng.standard_normal(draws) / np.sqrt(seeds)
    best = mean + sigma * rng.standard_normal((k, draws)).max(axis=0)
    error = 4 * best.std() / np.sqrt(draws)
    assert best_of(best.mean() - error, seeds) <= k <= best_of(best.mean() + error, seeds)


@settings(max_examples=30)
@given(st.floats(-2, 4.5))
def test_best_of_is_the_least_number_of_runs_that_reaches(surplus: float) -> None:
    k = best_of(surplus, 10**7)  # so many seeds know the deviation
    assert expected_best(k) >= surplus - 1e-4
    assert k == 1 or expected_best(k - 1) < surplus


def test_what_no_number_of_runs_reaches_is_infinite() -> None:
    assert np.isinf(best_of(70, 9))


def test_accuracies_are_better_above_and_losses_below() -> None:
    claims = {
        "accuracy": {"metric": "test/accuracy", "documented": "97.45"},
        "loss": {"metric": "test/loss", "documented": "2.55"},
        "size": {"metric": "model/parameters", "documented": "5"},
    }
    runs = runs_of(test_accuracy=VALUES, test_loss=[100 - value for value in VALUES], model_parameters=[5] * 5)
    table = places(study_of(**claims), runs)
    assert list(table) == PLACES
    assert table["claim"].tolist() == ["accuracy", "loss"]
    accuracy, loss = table.to_dict("records")
    assert accuracy["rank"] == loss["rank"] == 3  # two seeds are better
    assert accuracy["chance"] == pytest.approx(loss["chance"])
    mean, std = np.mean(VALUES), np.std(VALUES, ddof=1)
    assert accuracy["chance"] == pytest.approx(stats.t.sf((97.445 - mean) / (std * np.sqrt(1.2)), 4))
    assert accuracy["best_of"] == loss["best_of"] == 2


def test_what_every_run_reaches_needs_one() -> None:
    row = places(study_of(a={"metric": "test/accuracy", "documented": "90"}), runs_of(test_accuracy=VALUES)).iloc[0]
    assert (row["rank"], row["best_of"]) == (6, 1)
    assert row["chance"] > 0.999
    equal = places(study_of(a={"metric": "test/accuracy", "documented": "90"}), runs_of(test_accuracy=[80.0] * 3))
    assert equal.iloc[0]["chance"] == 0
    assert np.isinf(equal.iloc[0]["best_of"])


def test_the_map_has_every_number_of_seeds_and_tolerance_and_softens_with_tolerance() -> None:
    study = study_of(a={"metric": "test/accuracy", "documented": "95.0"})
    table = verdict_map(study, runs_of(test_accuracy=VALUES))
    assert list(table) == MAP
    assert len(table) == 3 * len(TOLERANCES)
    for _, rows in table.groupby("n_seeds"):
        assert rows["p_value"].is_monotonic_increasing
    last = table[table["n_seeds"] == 5].set_index("tolerance")["verdict"]
    assert last[0.0] == "higher"
    assert last[0.05] == "reproduced"
    assert set(table["verdict"]) <= {"higher", "undecided", "reproduced"}


@pytest.mark.parametrize(
    ("narrowed", "claim"),
    [
        (True, {"metric": "test/accuracy", "documented": "97"}),
        (False, {"metric": "test/accuracy", "documented": "97", "not_tested": "for a reason"}),
        (False, {"metric": "validation/accuracy", "documented": "97", "epoch": 3}),
        (False, {"metric": "test/other_accuracy", "documented": "97"}),
    ],
)
def test_what_has_no_place(narrowed: bool, claim: dict[str, Any]) -> None:
    study = study_of(narrowed, a=claim)
    assert places(study, runs_of(test_accuracy=VALUES, validation_accuracy=VALUES)).empty
    assert verdict_map(study, runs_of(test_accuracy=VALUES, validation_accuracy=VALUES)).empty
