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
    spec = {"data": {"validation": {"images": 5000}}, "training": {"softmax_before_loss": False, "epochs": 5}}
    analysis = {"alpha": 0.05, "minimum_seeds": 3, "tolerance": {"accuracy": 1, "loss": 10, "epoch": 2}}
    return {"analysis": analysis, "experiments": {"cnn": {"claims": named, "narrowed": narrowed, "spec": spec}}}


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
    for row, places_of, easiest in (
        (accuracy, lambda x: np.log((x + 0.005) / (100.005 - x)), 97.445),  # an image of 10,000 is 0.01 %
        (loss, lambda x: -np.log(x), 2.555),
    ):
        ours = places_of(np.array(VALUES) if row is accuracy else 100 - np.array(VALUES))
        t = (places_of(easiest) - ours.mean()) / (ours.std(ddof=1) * np.sqrt(1.2))
        assert row["chance"] == pytest.approx(stats.t.sf(t, 4), rel=1e-5)
    assert accuracy["best_of"] == loss["best_of"] == 2


def test_what_every_run_reaches_needs_one() -> None:
    row = places(study_of(a={"metric": "test/accuracy", "documented": "90"}), runs_of(test_accuracy=VALUES)).iloc[0]
    assert (row["rank"], row["best_of"]) == (6, 1)
    assert row["chance"] > 0.999
    equal = places(study_of(a={"metric": "test/accuracy", "documented": "90"}), runs_of(test_accuracy=[80.0] * 3))
    assert equal.iloc[0]["chance"] < 1e-3
    assert np.isinf(equal.iloc[0]["best_of"])


def test_the_map_has_every_number_of_seeds_and_softens_with_tolerance() -> None:
    study = study_of(a={"metric": "test/accuracy", "documented": "97.4"})
    table = verdict_map(study, runs_of(test_accuracy=VALUES))
    assert list(table) == MAP
    assert len(table) == 3 * len(TOLERANCES)
    assert table.groupby("n_seeds")["p_value"].nunique().tolist() == [1, 1, 1]
    verdicts = table.set_index(["n_seeds", "tolerance"])["verdict"]
    assert (verdicts[3, 1.0], verdicts[5, 1.0], verdicts[5, 0.25]) == ("undecided", "reproduced", "compatible")
    for _, rows in table.groupby("n_seeds"):
        assert rows["verdict"].eq("reproduced").is_monotonic_increasing
    far = study_of(a={"metric": "test/accuracy", "documented": "95.0"})
    assert set(verdict_map(far, runs_of(test_accuracy=VALUES))["verdict"]) == {"higher"}


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
