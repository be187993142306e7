"""Unstated settings identified: scipy's densities, simulated studies whose answer is known, and what is refused."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from configurations import changed, complaint, study
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pixelpatch.analysis.identification import IDENTIFICATION, PREDICTIONS, identify
from pixelpatch.analysis.statistics import predictive_log_density
from pixelpatch.answers import answer
from pixelpatch.tables import identification, predictions

RATES, WIDTHS, EPOCHS = (0.01, 0.1), (8, 16), 3
ALPHA = 0.05


def study_of(documented: dict[str, str]) -> dict[str, Any]:
    """A grid of two rates and three epochs that identifies by accuracy and loss, and predicts another system's."""
    experiments: dict[str, Any] = {
        name: {"claims": {c: {"metric": f"test/{c}", "documented": documented[f"{name}/{c}"]} for c in claims}}
        for name, claims in {"cnn": ("accuracy", "loss"), "vit": ("accuracy",)}.items()
    }
    for rate in RATES:
        training = {"learning_rate": rate, "epochs": EPOCHS, "softmax_before_loss": False}
        every = {"test_every_epoch": True}
        spec = {"training": training, "model": {}, "evaluation": every}
        settings = {"training.learning_rate": rate}
        experiments[f"grid-{rate}"] = {
            "spec": spec,
            "narrowed": False,
            "vary": {"family": "grid", "settings": settings},
        }
        for width in WIDTHS:
            experiments[f"wide-{rate}-{width}"] = {
                "spec": spec | {"model": {"width": width}},
                "narrowed": False,
                "vary": {"family": "wide", "settings": settings | {"model.width": width}},
            }
    predicts = [{"family": "wide", "experiment": "vit", "claims": ["accuracy"]}]
    question = {"grid": ["grid"], "by": {"experiment": "cnn", "claims": ["accuracy", "loss"]}, "predicts": predicts}
    return {
        "analysis": {"alpha": ALPHA, "minimum_seeds": 3},
        "experiments": experiments,
        "identify": {"budget": question},
    }


def accuracy(rate: float, epoch: int) -> float:
    return 90 + 20 * rate + epoch


def tables_of(study: dict[str, Any], seeds: int, spread: float = 0.1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs in which accuracy grows with rate and epoch, loss falls, and a width adds a tenth of itself."""
    rng = np.random.default_rng(3)
    rows = []
    for name, block in study["experiments"].items():
        for seed in range(seeds if "spec" in block else 0):
            for epoch in range(1, EPOCHS + 1):
                value = accuracy(block["spec"]["training"]["learning_rate"], epoch)
                value += block["spec"]["model"].get("width", 0) / 10
                rows.append((name, seed, False, "test/accuracy", epoch, value + rng.normal(0, spread)))
                rows.append((name, seed, False, "test/loss", epoch, (100 - value) / 20 + rng.normal(0, spread / 20)))
    curves = pd.DataFrame(rows, columns=["experiment", "seed", "narrowed", "metric", "epoch", "value"])
    return curves[curves["epoch"] == EPOCHS].drop(columns="epoch"), curves


def made_whole(*diverged: str) -> pd.DataFrame:
    """The provenance of runs of which these experiments diverged, from one seed."""
    rows = [(name, 0, "The loss became nan") for name in diverged]
    return pd.DataFrame(rows, columns=["experiment", "seed", "diverged"])


def documented_at(rate: float, epoch: int, vit: float) -> dict[str, str]:
    value = accuracy(rate, epoch)
    return {"cnn/accuracy": f"{value:.2f}", "cnn/loss": f"{(100 - value) / 20:.4f}", "vit/accuracy": f"{vit:.2f}"}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("epoch", range(1, EPOCHS + 1))
def test_the_cell_that_made_the_documents_is_identified(rate: float, epoch: int) -> None:
    """And the other system's number is predicted by it: right with one of the widths, wrong with the other."""
    made = study_of(documented_at(rate, epoch, accuracy(rate, epoch) + 1.6))
    explained, predicted = identify(made, *tables_of(made, seeds=8), made_whole())
    assert (list(explained), list(predicted)) == (IDENTIFICATION, PREDICTIONS)
    assert len(explained) == len(RATES) * EPOCHS * 2
    chosen = explained[explained["identified"]]
    assert set(chosen["experiment"]) == {f"grid-{rate}"}
    assert set(chosen["epochs"]) == {epoch}
    assert chosen["compatible"].all()
    tested = predicted[predicted["identified"]].set_index("variant")
    assert tested.loc["width 16", "verdict"] == "not refuted"
    assert tested.loc["width 8", "verdict"] == "lower"
    assert len(predicted) == len(RATES) * EPOCHS * len(WIDTHS)


def test_what_is_computed_is_student_s() -> None:
    made = study_of(documented_at(0.01, 2, 93))
    runs, curves = tables_of(made, seeds=5)
    row = identify(made, runs, curves, made_whole())[0].iloc[2]
    here = curves[(curves.experiment == "grid-0.01") & (curves.epoch == 2) & (curves.metric == "test/accuracy")]
    values = here["value"].to_numpy()
    predictive = stats.t(4, values.mean(), values.std(ddof=1) * math.sqrt(1 + 1 / 5))
    assert (row["claim"], row["epochs"], row["n_seeds"]) == ("accuracy", 2, 5)
    assert row["log_density"] == pytest.approx(math.log((predictive.cdf(92.205) - predictive.cdf(92.195)) / 0.01))
    assert row["log_density"] == pytest.approx(predictive.logpdf(92.2), abs=0.01)
    nearest = min(max(values.mean(), 92.195), 92.205)  # of what prints as documented
    assert row["p_value"] == pytest.approx(2 * predictive.sf(values.mean() + abs(nearest - values.mean())))

    assert (row["least"], row["most"]) == (values.min(), values.max())


def test_cells_of_several_grids_predict_by_their_own_runs_alone() -> None:
    """A second grid varies what the first leaves alone: no run of either speaks for a cell of the other."""
    made = study_of(documented_at(0.01, 2, 93))
    for block in made["experiments"].values():
        if "spec" in block:
            block["spec"]["data"] = {"images": 100}
    settings = {"data.images": 400}
    spec = made["experiments"]["grid-0.01"]["spec"] | {"data": {"images": 400}}
    made["experiments"]["more-400"] = {
        "spec": spec,
        "narrowed": False,
        "vary": {"family": "more", "settings": settings},
    }
    question = made["identify"]["budget"]
    question["grid"].append("more")
    question["predicts"].append({"family": "more", "experiment": "vit", "claims": ["accuracy"]})
    explained, predicted = identify(made, *tables_of(made, seeds=4), made_whole())
    assert set(explained["experiment"]) == {"grid-0.01", "grid-0.1", "more-400"}
    of_more = predicted[predicted["experiment"] == "more-400"]
    assert set(of_more["predicted_by"]) == {"more-400"}
    assert set(of_more["variant"]) == {""}
    assert "more-400" not in set(predicted.loc[predicted["experiment"] != "more-400", "predicted_by"])


def test_the_density_of_seeds_without_spread_and_of_one_seed() -> None:
    assert predictive_log_density([1.0, 1.0], 1.0, 0.05) == pytest.approx(math.log(10))
    assert predictive_log_density([1.0, 1.0], 1.04, 0.05) == pytest.approx(math.log(10))
    assert predictive_log_density([1.0, 1.0], 1.1, 0.05) == -math.inf
    assert math.isnan(predictive_log_density([1.0], 1.0, 0.05))
    assert math.isnan(predictive_log_density([], 1.0, 0.05))


@given(st.lists(st.integers(0, 50), min_size=2, max_size=6).filter(lambda v: len({*v}) > 1), st.integers(-20, 70))
def test_the_density_is_symmetric_and_finite_however_far_away(values: list[int], documented: int) -> None:
    density = predictive_log_density(values, documented, 0.5)
    assert math.isfinite(density)
    mean = sum(values) / len(values)
    assert density == pytest.approx(predictive_log_density(values, 2 * mean - documented, 0.5))


def test_too_few_seeds_identify_nothing_and_no_runs_have_no_row() -> None:
    made = study_of(documented_at(0.01, 2, 93))
    explained, predicted = identify(made, *tables_of(made, seeds=2), made_whole())
    assert not explained["identified"].any()
    assert not explained["compatible"].any()
    assert set(predicted["verdict"]) == {"not tested"}
    explained, predicted = identify(made, *tables_of(made, seeds=0), made_whole())
    assert (list(explained), list(predicted)) == (IDENTIFICATION, PREDICTIONS)
    assert explained.empty
    assert identification.view(explained, made).empty
    assert predictions.view(predicted, made).empty


@pytest.mark.parametrize("lacking", ["runs", "seeds", "budget"])
def test_a_grid_that_has_not_run_whole_identifies_nothing(lacking: str) -> None:
    made = study_of(documented_at(0.01, 2, 93))
    runs, curves = tables_of(made, seeds=5)
    last = f"grid-{RATES[-1]}"
    if lacking == "budget":
        made["experiments"][last]["narrowed"] = made["experiments"][f"wide-{RATES[0]}-8"]["narrowed"] = True
    else:
        least = 0 if lacking == "runs" else 2
        runs, curves = (table[(table.experiment != last) | (table.seed < least)] for table in (runs, curves))
    explained, predicted = identify(made, runs, curves, made_whole())
    assert not explained["identified"].any()
    assert explained["compatible"].any()
    assert not explained.loc[explained["experiment"] == last, "compatible"].any()
    untested = set(predicted.loc[predicted["verdict"] == "not tested", "experiment"])
    assert bool(untested) == (lacking == "budget")


def test_settings_at_which_a_seed_diverges_have_run_and_explain_nothing() -> None:
    made = study_of(documented_at(RATES[-1], 2, 93))
    runs, curves = tables_of(made, seeds=5)
    best = f"grid-{RATES[-1]}"
    assert set(identify(made, runs, curves, made_whole())[0].query("identified")["experiment"]) == {best}
    for lost in (1, 5):  # of five seeds; what diverged has the seconds that it took, and no score
        some = [table[(table.experiment != best) | (table.seed >= lost)] for table in (runs, curves)]
        explained, predicted = identify(made, *some, made_whole(best))
        assert explained["identified"].sum() == 2
        assert not explained.loc[explained["experiment"] == best, ["identified", "compatible"]].any(axis=None)
        assert not predicted.loc[predicted["experiment"] == best, "identified"].any()


def test_of_many_cells_a_compatible_one_is_identified_and_the_closest_where_none_is() -> None:
    made = study_of(documented_at(0.01, 2, 93))
    runs, curves = tables_of(made, seeds=5)
    compatible = identify(made, runs, curves, made_whole())[0]
    assert compatible.loc[compatible["identified"], "compatible"].all()
    for name in ("accuracy", "loss"):
        made["experiments"]["cnn"]["claims"][name]["documented"] = "50.00"
    far = identify(made, runs, curves, made_whole())[0]
    assert not far["compatible"].any()
    chosen = far[far["identified"]]
    assert len(chosen) == 2
    assert (chosen["log_likelihood"] == far["log_likelihood"].max()).all()


def test_cells_without_spread_and_without_the_documented_number_explain_nothing() -> None:
    made = study_of(documented_at(0.01, 2, 93))
    for name in ("accuracy", "loss"):
        made["experiments"]["cnn"]["claims"][name]["documented"] = "50.00"
    explained = identify(made, *tables_of(made, seeds=5, spread=0), made_whole())[0]
    assert (explained["log_likelihood"] == -np.inf).all()
    assert not explained["identified"].any()


def test_the_next_best_is_compatible_too() -> None:
    made = study_of(documented_at(0.01, 2, 93))
    rows = identify(made, *tables_of(made, seeds=5), made_whole())[0].to_dict("records")
    for row in rows:
        row["compatible"] = row["identified"]
    assert answer(made, "budget", rows, []).second is None
    other = next(row for row in rows if not row["identified"])
    for row in rows:
        if (row["experiment"], row["epochs"]) == (other["experiment"], other["epochs"]):
            row["compatible"] = True
    second = answer(made, "budget", rows, []).second
    assert (second["experiment"], second["epochs"]) == (other["experiment"], other["epochs"])


def test_readers_see_the_best_cell_first() -> None:
    made = study_of(documented_at(0.1, 3, 95))
    explained, predicted = identify(made, *tables_of(made, seeds=6), made_whole())
    shown = identification.view(explained, made).iloc[0]
    assert shown["Settings"] == "learning rate 0.1, 3 epochs"
    assert shown[""] == "identified"
    assert predictions.view(predicted, made)["Settings"][0] == "learning rate 0.1, 3 epochs, width 8"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("grid", ["blog_budgat"], "identify.blog_training.grid[0] is 'blog_budgat'; did you mean blog_budget?"),
        ("grid", ["blog_cnn"], "identify.blog_training.grid[0] is 'blog_cnn'"),
        ("by.experiment", "cnn", "identify.blog_training.by.experiment is 'cnn'"),
        ("by.claims", ["cnn-better"], "by.claims has 'cnn-better', no number of blog_cnn"),
        ("by.claims", [], "identify.blog_training.by.claims is []; it must not be empty."),
        (
            "predicts",
            [{"family": "reader_budget", "experiment": "blog_vit", "claims": ["test-loss"]}],
            "momentum to match",
        ),
        ("by.claims", ["test-images"], "by.claims has 'test-images', no number of blog_cnn"),
        ("by", {"experiment": "blog_vit", "claims": ["test-loss"]}, "which trains a cnn; by.experiment is a blog_vit."),
        (
            "predicts",
            [{"family": "blog_budget", "experiment": "blog_cnn", "claims": ["test-loss"]}],
            "predicts[0].claims has 'test-loss', which identifies the cell",
        ),
        (
            "predicts",
            2 * [{"family": "blog_vit_budget", "experiment": "blog_vit", "claims": ["test-loss"]}],
            "predicts[1] is there twice.",
        ),
        ("predicts", [{"family": "x", "experiment": "blog_vit", "claims": ["test-loss"]}], "predicts[0].family is 'x'"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(path: str, value: Any, said: str) -> None:
    assert said in complaint(changed((f"identify.blog_training.{path}", value)))


def test_the_configuration_s_questions_are_of_numbers_that_their_families_have() -> None:
    made = study(("preset", "full"))
    for question in made["identify"].values():
        families = {*question["grid"], *(use["family"] for use in question["predicts"])}
        assert families <= {(block["vary"] or {}).get("family") for block in made["experiments"].values()}
