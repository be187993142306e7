"""Pixels or patches: costs by hand, the trend by a textbook, choices on validation data alone, and the rules kept."""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from configurations import changed, complaint, study
from scipy import stats

from pixelpatch.analysis.patches import RECIPE, SWEEP, TRIALS, recipe, sweep, training_flops, trials
from pixelpatch.files import canonical_json
from pixelpatch.models import build_model
from pixelpatch.study import members

STUDY = study(("preset", "full"))
PATCHES = [28, 14, 7, 4, 2, 1]


def runs_of(made: dict[str, Any], families: list[str], test: Any, validation: Any, seeds: int = 4) -> pd.DataFrame:
    """Runs of every member of `families`: accuracies by patch (0 for the CNN), and some noise by seed."""
    rng = np.random.default_rng(0)
    rows = []
    for name in (name for family in families for name in members(made, family)):
        spec = made["experiments"][name]["spec"]
        patch = spec["model"].get("patch", 0)
        for seed in range(seeds):
            metrics = {
                "test/accuracy": test(patch) + rng.normal(0, 0.1),
                "validation/accuracy": validation(patch, spec),
                "data/train_images": spec["data"]["sample"]["images"] - spec["data"]["validation"]["images"],
                "model/parameters": 7,
                "timing/train_seconds": 10 + seed**2,
            } | ({"model/sequence_length": (28 // patch) ** 2} if patch else {})
            rows += [(name, seed, False, metric, value) for metric, value in metrics.items()]
    return pd.DataFrame(rows, columns=["experiment", "seed", "narrowed", "metric", "value"])


# The repository's own comparison


def test_the_sweep_is_at_one_budget_and_differs_in_patches_alone() -> None:
    specs = [
        STUDY["experiments"][name]["spec"] for family in STUDY["patches"]["sweep"] for name in members(STUDY, family)
    ]
    assert len(specs) == 3 * (len(PATCHES) + 1)
    for spec in specs:
        images = spec["data"]["sample"]["images"] - spec["data"]["validation"]["images"]
        assert images * spec["training"]["epochs"] == 64_000
        assert spec["evaluation"]["checkpoint"] == "best_validation"
    for part, varied in (("data", "sample"), ("training", "epochs"), ("evaluation", None)):
        assert len({canonical_json({k: v for k, v in spec[part].items() if k != varied}) for spec in specs}) == 1
    models = [dict(spec["model"]) for spec in specs if "patch" in spec["model"]]
    assert sorted({model.pop("patch") for model in models}, reverse=True) == PATCHES
    assert len({canonical_json(model) for model in models}) == 1


def test_the_cnn_has_as_many_parameters_as_the_transformer_at_patch_4() -> None:
    blocks = [STUDY["experiments"][members(STUDY, family)[0]]["spec"] for family in ("patch_recipe", "patch_sweep_cnn")]
    frozen = STUDY["experiments"]["patch_sweep-2000-64-4"]["spec"]
    vit, cnn = (
        sum(p.numel() for p in build_model(spec["model"], image=28).parameters()) for spec in (frozen, blocks[1])
    )
    assert cnn == pytest.approx(vit, rel=0.02)
    assert blocks[1]["model"]["dropout_hidden"] == blocks[1]["model"]["dropout_features"] == frozen["model"]["dropout"]


# Costs


def by_hand(*, patch: int, width: int, depth: int, hidden: int) -> int:
    """Products of a ViT's forward pass and backward pass, the last block being computed for the class token alone."""
    tokens = (28 // patch) ** 2 + 1
    total = 2 * (tokens - 1) * patch * patch * width * 2  # the embedding: no gradient of the image
    for block in range(depth):
        rows = 1 if block == depth - 1 else tokens
        dense = (
            rows * width * width * 2 + tokens * width * width * 2 + rows * 2 * width * hidden
        )  # q and out, k and v, MLP
        total += 3 * 2 * (dense + 2 * rows * tokens * width)
    return total + 3 * 2 * width * 10


@pytest.mark.parametrize("patch", [28, 7, 4])
def test_operations_are_those_counted_by_hand(patch: int) -> None:
    model = STUDY["experiments"]["patch_sweep-2000-64-4"]["spec"]["model"] | {"patch": patch}
    shape = {key: model[key] for key in ("patch", "width", "depth", "hidden")}
    assert training_flops(canonical_json(model)) == by_hand(**shape)


def test_finer_patches_cost_more() -> None:
    model = STUDY["experiments"]["patch_sweep-2000-64-4"]["spec"]["model"]
    costs = [training_flops(canonical_json(model | {"patch": patch})) for patch in PATCHES]
    assert costs == sorted(costs)


# The trend


def test_the_trend_is_that_of_jonckheere_and_terpstra() -> None:
    runs = runs_of(STUDY, ["patch_sweep"], lambda p: 90 + p / 10, lambda p, _: p, seeds=5)
    row = trials(STUDY, runs).query("test == 'trend'").iloc[0]
    of_size = runs[(runs["metric"] == "test/accuracy") & runs["experiment"].str.startswith("patch_sweep-2000-64-")]
    groups = [of_size.loc[of_size["experiment"].str.endswith(f"-64-{p}"), "value"].to_numpy() for p in PATCHES[:5]]
    pairs = [(a[:, None] < b).sum() for a, b in combinations(groups, 2)]
    # normal approximation without ties, as textbooks have it
    n, sizes = sum(map(len, groups)), np.array([len(group) for group in groups])
    mean = (n**2 - (sizes**2).sum()) / 4
    variance = (n**2 * (2 * n + 3) - (sizes**2 * (2 * sizes + 3)).sum()) / 72
    assert row["p_value"] == pytest.approx(2 * stats.norm.sf(abs(sum(pairs) - mean) / np.sqrt(variance)))


def test_how_the_answer_depends_on_the_training_set_is_the_difference_of_slopes() -> None:
    flat = runs_of(STUDY, ["patch_sweep"], lambda p: 90, lambda p, _: p, seeds=4)
    steep = runs_of(STUDY, ["patch_sweep"], lambda p: 90 + 3 * np.log2(p), lambda p, _: p, seeds=4)
    small = lambda runs: runs["experiment"].str.startswith("patch_sweep-2000-")  # noqa: E731
    table = trials(STUDY, pd.concat([flat[small(flat)], steep[~small(steep)]])).query("test == 'dependence'")
    assert list(table["second"]) == ["4,000 images", "16,000 images"]
    first, second = table.to_dict("records")
    assert first["difference"] == pytest.approx(-3, abs=0.3)
    assert first["p_holm"] < 0.001
    assert second["difference"] == pytest.approx(0, abs=0.3)


def test_a_patch_size_that_one_size_of_training_set_lacks_has_no_part_in_the_slopes() -> None:
    runs = runs_of(STUDY, ["patch_sweep"], lambda p: 90 + 3 * np.log2(p), lambda p, _: p, seeds=4)
    pixels = runs_of(STUDY, ["patch_sweep_pixels"], lambda p: 10, lambda p, _: p, seeds=4)
    largest = pixels[pixels["experiment"].str.startswith("patch_sweep_pixels-17000-")]
    without, with_pixels = (trials(STUDY, pd.concat(some)) for some in ([runs], [runs, largest]))
    shared = ["first", "second", "n_first", "n_second", "difference", "interval_low", "interval_high", "p_value"]
    slopes = [
        table.loc[table["test"] == "dependence", shared].reset_index(drop=True) for table in (without, with_pixels)
    ]
    pd.testing.assert_frame_equal(*slopes)
    assert len(slopes[0]) == 2
    assert "patch 1" in set(with_pixels["second"])


# The tables


def test_a_peak_is_found_on_validation_data_and_neighbours_are_told_apart() -> None:
    # tested, patch 2 is best by far; validation says 4
    runs = runs_of(STUDY, STUDY["patches"]["sweep"], lambda p: 99 if p == 2 else 90 - p, lambda p, _: 50 - abs(p - 4))
    table = sweep(STUDY, runs)
    assert list(table) == SWEEP
    assert list(table.loc[table["best"], "patch"]) == [4, 4, 4]
    assert list(table["train_images"].unique()) == [1000, 4000, 16000]
    assert list(table["patch"][:6]) == PATCHES
    assert np.isnan(table["patch"][6])
    assert (table["n_seeds"] == 4).all()
    assert (table["seconds"] == 12.5).all()  # the median: a run that was disturbed counts little
    assert table["tera_flops"].nunique() == 7  # one budget: of training images it does not depend
    tests = trials(STUDY, runs)
    assert list(tests) == TRIALS
    assert list(tests["test"]) == 3 * (["trend"] + ["neighbours"] * 5 + ["CNN"]) + 2 * ["dependence"]
    finest = tests[(tests["first"] == "patch 4") & (tests["second"] == "patch 2")]
    assert finest["difference"].to_numpy() == pytest.approx(13, abs=0.5)
    assert (finest["p_holm"] < 0.001).all()
    cnn = tests[tests["test"] == "CNN"]
    assert (cnn["first"] == "patch 4").all()
    assert cnn["difference"].to_numpy() == pytest.approx(4, abs=0.5)
    assert tests["p_value"].notna().all()


def test_a_trend_is_found_whichever_way_it_goes() -> None:
    for sign in (1, -1):
        runs = runs_of(STUDY, ["patch_sweep"], lambda p, sign=sign: 90 + sign * p, lambda p, _: p)
        trend = trials(STUDY, runs).query("test == 'trend'")
        untied = 1 - 5 * 4 * 3 / (20 * 19)  # of the pairs of runs, 4 at each of 5 sizes: those of two sizes
        assert list(trend["difference"]) == pytest.approx([-sign * np.sqrt(untied)] * 3)
        assert (trend["p_value"] < 0.001).all()


def test_all_seeds_of_unlike_numbers_are_used() -> None:
    many = runs_of(STUDY, ["patch_sweep"], lambda p: 90 - p, lambda p, _: p, seeds=5)
    few = runs_of(STUDY, ["patch_sweep_pixels"], lambda p: 95, lambda p, _: p, seeds=3)
    table = trials(STUDY, pd.concat([many, few]))
    assert tuple(table.iloc[0][["test", "n_first", "n_second"]]) == ("trend", 5, 3)
    assert tuple(table.iloc[5][["first", "second", "n_first", "n_second"]]) == ("patch 2", "patch 1", 5, 3)


@pytest.mark.parametrize("least", [0, 2])
def test_what_is_coarser_must_have_run_before_a_size_is_compared(least: int) -> None:
    runs = runs_of(STUDY, STUDY["patches"]["sweep"], lambda p: 90 - p, lambda p, _: -p, seeds=4)
    lacking = runs["experiment"].str.fullmatch(r"patch_sweep-\d+-\d+-7") & (runs["seed"] >= least)
    table = trials(STUDY, runs[~lacking])
    named = list(zip(table["test"], table["first"], table["second"], strict=True))
    assert named == 3 * [("neighbours", "patch 28", "patch 14")]
    shown = sweep(STUDY, runs[~lacking])
    assert len(shown) == 3 * (6 if least == 0 else 7)
    assert not shown["best"].any()  # one of those that have begun might be better


def test_a_reduced_budget_compares_nothing() -> None:
    made = study(("preset", "smoke"), ("only", ",".join(STUDY["patches"]["sweep"])))
    runs = runs_of(made, STUDY["patches"]["sweep"], lambda p: 90 - p, lambda p, _: p)
    assert sweep(made, runs).empty
    assert trials(made, runs).empty


def test_the_recipe_is_chosen_on_validation_data_once_all_have_run() -> None:
    def validation(_: int, spec: dict[str, Any]) -> float:
        return 100 * spec["training"]["learning_rate"] + spec["model"]["depth"]

    runs = runs_of(STUDY, ["patch_recipe"], lambda p: 0, validation)
    table = recipe(STUDY, runs)
    assert list(table) == RECIPE
    best = table[table["chosen"]]
    assert len(best) == 1
    assert best["validation_mean"].iloc[0] == table["validation_mean"].max()
    assert table["frozen"].sum() == 1
    last = table["experiment"].iloc[-1]
    assert not recipe(STUDY, runs[runs["experiment"] != last])["chosen"].any()
    assert not recipe(STUDY, runs[(runs["experiment"] != last) | (runs["seed"] > 0)])["chosen"].any()
    assert not recipe(STUDY, runs[runs["seed"] < STUDY["analysis"]["minimum_seeds"] - 1])["chosen"].any()


@pytest.mark.parametrize("family", ["patch_sweep_cnn", "patch_sweep_pixels"])
def test_a_part_of_the_comparison_is_shown_and_not_tested(family: str) -> None:
    runs = runs_of(STUDY, [family], lambda p: 90, lambda p, _: p)
    assert not sweep(STUDY, runs)["best"].any()
    assert list(trials(STUDY, runs)) == TRIALS
    assert trials(STUDY, runs).empty


def test_without_runs_the_tables_are_empty() -> None:
    nothing = pd.DataFrame(columns=["experiment", "seed", "narrowed", "metric", "value"])
    for table, columns in ((recipe, RECIPE), (sweep, SWEEP), (trials, TRIALS)):
        made = table(STUDY, nothing)
        assert list(made) == columns
        assert made.empty


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("recipe", "patch_recipes", "patches.recipe names the family 'patch_recipes'; did you mean patch_recipe?"),
        ("sweep", ["pit"], "patches.sweep names the family 'pit'"),
        ("sweep", [], "patches.sweep is []; it must not be empty."),
        ("recipe", "blog_budget", "which has no validation/accuracy to choose by."),
        (
            "recipe",
            "patch_sweep_cnn",
            "patches.recipe names the family 'patch_sweep_cnn', whose models have no patches.",
        ),
        ("sweep", ["patch_sweep", "patch_recipe"], "which has a second model of patch 4 at 4,000 training images."),
        ("sweep", ["blog_budget"], "which may diverge; a comparison needs the score of every run."),
    ],
)
def test_a_comparison_that_is_none(path: str, value: Any, said: str) -> None:
    assert said in complaint(changed((f"patches.{path}", value)))
