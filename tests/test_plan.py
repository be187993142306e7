"""The table of what has run and what has not: costs add up, and what is cheapest to finish comes first."""

from typing import Any

import pandas as pd
import pytest
from configurations import study

from pixelpatch.analysis.plan import COLUMNS, plan
from pixelpatch.tables.plan import view


def runs_of(seconds: dict[str, list[float]]) -> pd.DataFrame:
    rows = [
        (name, seed, False, metric, value)
        for name, values in seconds.items()
        for seed, value in enumerate(values)
        for metric, value in (("timing/seconds", value), ("test/accuracy", 9.0))
    ]
    return pd.DataFrame(rows, columns=["experiment", "seed", "narrowed", "metric", "value"])


def test_costs_add_up_and_the_cheapest_comes_first() -> None:
    made: Any = study(("preset", "full"))
    budget = {f"blog_budget-{rate}-0.9": [60.0, 120.0] for rate in (0.001, 0.01)}
    table = plan(made, runs_of({"vit16_tiny": [30.0] * 10} | budget)).set_index("experiment")
    assert [table.index.name, *table] == COLUMNS
    assert table["core_hours_to_do"].is_monotonic_increasing
    assert table.index[0] == "vit16_tiny"
    assert table.loc["vit16_tiny", ["recorded", "to_do", "core_hours_to_do"]].tolist() == [10, 0, 0]
    assert table.loc["vit16_tiny", "core_hours_done"] == pytest.approx(300 / 3600)
    family = table.loc["blog_budget"]
    assert (family["recorded"], family["to_do"], family["minutes_per_run"]) == (4, 50 - 4, 1.5)
    assert family["core_hours_to_do"] == pytest.approx(46 * 1.5 / 60)
    longest = table.loc["pixel_transformer"]
    assert (longest["to_do"], longest["measured"], longest["core_hours_to_do"]) == (10, False, 240)
    twice = plan(made, runs_of({"vit16_tiny_two_threads": [60.0] * 4})).set_index("experiment")
    assert twice.loc["vit16_tiny_two_threads", "core_hours_done"] == pytest.approx(8 / 60)
    others = runs_of({"blog_cnn": [60.0]}).assign(seed=10)  # none of those that the preset wants
    assert plan(made, others).set_index("experiment").loc["blog_cnn", "to_do"] == 10
    shown = view(table.reset_index(), made).set_index("Experiment")
    assert shown.loc["pixel_transformer", "Minutes per run"] == "at most 1,440"
    assert shown.loc["blog_budget", "Minutes per run"] == "1.5"
    assert shown.loc["all", "Runs recorded"] == "14"


def test_a_preset_s_plan_is_of_what_it_selects() -> None:
    made = study(("preset", "laptop"), ("seeds", 1))
    table = plan(made, runs_of({"pixel_transformer": [3.0]})).set_index("experiment")
    assert set(table.index) == {run["experiment"] for run in made["runs"]}
    assert (table["recorded"] + table["to_do"]).to_dict() == {
        name: len(made["experiments"][name]["wanted"]) for name in table.index
    }
    assert table.loc[["pixel_transformer", "seq2seq_2x2"], "to_do"].tolist() == [2, 1]
