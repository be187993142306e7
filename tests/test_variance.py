"""Where spread comes from: closed forms of the bootstrap, simulated studies of known components, and the table."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelpatch.analysis.variance import COLUMNS, bits, bootstrap, packed, spread


def study_of(**data: dict[str, Any]) -> dict[str, Any]:
    experiments = {name: {"spec": {"data": spec}} for name, spec in data.items()}
    return {"experiments": experiments}


def table_of(**right: np.ndarray) -> pd.DataFrame:
    rows = [(name, seed, len(run), packed(run)) for name, runs in right.items() for seed, run in enumerate(runs)]
    return pd.DataFrame(rows, columns=["experiment", "seed", "items", "right"])


@given(st.lists(st.integers(0, 1), min_size=1, max_size=50))
def test_bits_are_packed_and_come_back(right: list[int]) -> None:
    assert bits(packed(np.array(right)), len(right)).tolist() == right


def test_the_bootstrap_of_items_is_its_closed_form() -> None:
    rng = np.random.default_rng(0)
    shares = (rng.random((6, 500)) < rng.random(500)).astype(float)
    every, one = bootstrap(shares, resamples=20_000, rng=rng)
    assert every == pytest.approx(shares.mean(axis=0).std() / np.sqrt(500), rel=0.02)
    within = np.mean([run.std() ** 2 for run in shares]) / 500
    between = shares.mean(axis=1).var()
    assert one == pytest.approx(np.sqrt(within + between), rel=0.02)


def test_the_components_of_a_simulated_study_are_found() -> None:
    """Seeds of a known spread on items that are all alike: the binomial is right, and both together add up."""
    rng = np.random.default_rng(1)
    chances = np.clip(rng.normal(0.9, 0.01, 40), 0, 1)
    right = (rng.random((40, 2000)) < chances[:, None]).astype(int)
    row = spread(study_of(plain={}), table_of(plain=right), rng).iloc[0]
    assert row["binomial_std"] == pytest.approx(100 * np.sqrt(0.9 * 0.1 / 2000), rel=0.05)
    assert row["seed_std"] == pytest.approx(np.hypot(1.0, row["binomial_std"]), rel=0.3)
    assert row["image_std"] < row["binomial_std"] / 4  # items that are alike are averaged away by 40 seeds
    assert row["both_std"] == pytest.approx(np.hypot(row["seed_std"], row["binomial_std"]), rel=0.1)


def test_three_seeds_show_the_spread_of_a_run_without_bias() -> None:
    """Many studies of three seeds: on average their variance is that of seeds plus that of images."""
    rng = np.random.default_rng(4)
    variances = []
    for _ in range(60):
        hard = rng.random(2000) < 0.1  # in this study's test set, for every seed
        chances = np.clip(rng.normal(0.9, 0.02, 3), 0, 1)[:, None]
        right = (~hard & (rng.random((3, 2000)) < chances)).astype(int)
        variances.append(spread(study_of(plain={}), table_of(plain=right), rng).iloc[0]["both_std"] ** 2)
    seeds, flips, images = (90 * 0.02) ** 2, 100**2 * 0.9 * 0.09 / 2000, 90**2 * 0.09 / 2000
    assert np.mean(variances) == pytest.approx(seeds + 2 * flips + images, rel=0.2)


def test_items_that_are_hard_for_every_seed_stay_in_the_mean() -> None:
    right = np.tile((np.arange(1000) >= 100).astype(int), (5, 1))
    row = spread(study_of(same={}), table_of(same=right), np.random.default_rng(2)).iloc[0]
    assert (row["mean"], row["seed_std"], row["n_seeds"], row["items"]) == (90, 0, 5, 1000)
    for key in ("image_std", "both_std"):
        assert row[key] == pytest.approx(row["binomial_std"], rel=0.05)


def test_the_digits_of_a_grid_are_drawn_together() -> None:
    grids = np.repeat((np.arange(500) >= 50).astype(int), 4)[None]  # all four right, or none
    row = spread(study_of(grids={"grids": {}}), table_of(grids=grids), np.random.default_rng(3)).iloc[0]
    assert row["metric"] == "test/digit_accuracy"
    assert row["items"] == 2000
    assert row["image_std"] == pytest.approx(2 * row["binomial_std"], rel=0.05)
    assert np.isnan(row["seed_std"])
    assert np.isnan(row["both_std"])


def test_a_study_without_runs_has_an_empty_table() -> None:
    assert list(spread(study_of(plain={}), table_of(), np.random.default_rng(0))) == COLUMNS
