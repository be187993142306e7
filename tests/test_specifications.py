"""Specification curves: how points stand, by hand and by scipy; who speaks for them; what is refused."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from configurations import CONFIG, DELETE, changed, complaint, study
from hypothesis import given
from hypothesis import strategies as st
from made_tables import write_tables
from scipy import stats

from pixelpatch.admissible import declared_for, points
from pixelpatch.analysis.scales import Scale
from pixelpatch.analysis.specifications import COLUMNS, SUMMARY, Number, judge, printed_ends, result, specify
from pixelpatch.analysis.verdicts import Distance
from pixelpatch.study import systems
from pixelpatch.tables import read_table, specification_summary, specifications

ALPHA = 0.05
LOSS = Scale(0, math.inf, 1e-7)
WORDS = ("reached", "not_excluded", "undecided", "refuted")
NEAR = [0.0, -0.5, 0.5, -1.0, 1.0]  # in the unit of a test's spread


def study_of(**entry: Any) -> dict[str, Any]:
    """A CNN whose rate is open (six values), and a ViT that another family repeats at the same rates."""
    claims = {
        "cnn": {"loss": {"metric": "test/loss", "documented": "0.200"},
                "accuracy": {"metric": "test/accuracy", "documented": "93.00"}},
        "vit": {"loss": {"metric": "test/loss", "documented": "0.500"}},
    }  # fmt: skip

    def block(rate: float, **more: Any) -> dict[str, Any]:
        training = {"learning_rate": rate, "epochs": 2, "softmax_before_loss": False}
        return {"spec": {"data": {}, "model": {}, "training": training, "evaluation": {}}, "narrowed": False} | more

    experiments = {name: block(0.05, claims=said, unstated=[]) for name, said in claims.items()}
    for family in ("cnns", "vits"):
        for rate in range(1, 7):
            vary = {"family": family, "settings": {"training.learning_rate": rate}}
            experiments[f"{family}-{rate}"] = block(rate, vary=vary)
    numbers = [{"families": ["cnns"], "experiment": "cnn", "claims": ["loss", "accuracy"]}]
    return {
        "analysis": {"alpha": ALPHA, "minimum_seeds": 3, "tolerance": {"accuracy": 1, "loss": 10, "epoch": 2}},
        "experiments": experiments,
        "admissible": {"open": {"numbers": numbers} | entry},
    }


def tables_of(ran: dict[str, dict[str, list[float]]], **diverged: int) -> tuple[pd.DataFrame, ...]:
    """Runs, curves and provenance of experiments whose final metrics these are, by seed; the last seeds diverged."""
    runs = [
        (name, seed, False, f"test/{metric}", value)
        for name, metrics in ran.items()
        for metric, values in metrics.items()
        for seed, value in enumerate(values)
    ]
    lost = [
        (name, 100 + i, "The loss became nan at epoch 2, step 3")
        for name, count in diverged.items()
        for i in range(count)
    ]
    return (
        pd.DataFrame(runs, columns=["experiment", "seed", "narrowed", "metric", "value"]),
        pd.DataFrame([], columns=["experiment", "seed", "narrowed", "metric", "epoch", "value"]),
        pd.DataFrame(lost, columns=["experiment", "seed", "diverged"]),
    )


def around(loss: float, accuracy: float, spread: float = 0.01, seeds: int = 5) -> dict[str, list[float]]:
    """Losses and accuracies of so many seeds, scattered by about that share of a loss and points of accuracy."""
    off = np.array(NEAR[:seeds]) * spread
    return {"loss": list(loss * (1 + off)), "accuracy": list(accuracy + off)}


RAN = {
    "cnns-1": around(0.2, 93),
    "cnns-2": around(0.3, 93),  # of its two numbers, the loss refutes
    "cnns-3": around(0.2, 93, spread=0.8),  # anything could be one of these
    "cnns-4": around(0.2, 93, seeds=2),
}


def test_points_stand_as_their_numbers_do_and_those_without_runs_are_said() -> None:
    table, summary = specify(study_of(), *tables_of(RAN, **{"cnns-1": 1, "cnns-5": 10, "cnns-6": 9}))
    assert (list(table), list(summary)) == (COLUMNS, SUMMARY)
    standings = table.groupby("experiment")["standing"].agg(set)
    assert standings.to_dict() == {
        "cnns-1": {"reached"}, "cnns-2": {"refuted"}, "cnns-3": {"not excluded"}, "cnns-4": {"too few seeds"},
        "cnns-5": {"refuted"}, "cnns-6": {"too few seeds"},
    }  # fmt: skip
    of = table.set_index(["experiment", "claim"])
    assert of.loc["cnns-2", "verdict"].to_dict() == {"loss": "higher", "accuracy": "reproduced"}
    assert set(of.loc["cnns-5", "verdict"]) == {"all diverged"}
    assert of.loc[("cnns-1", "loss"), ["n_seeds", "n_diverged"]].tolist() == [5, 1]
    (row,) = summary.to_dict("records")
    assert row["result"] == "reached at 1 of 6; not excluded at 1; search incomplete: 2 with too few seeds"
    assert row["refuted_by"] == "cnn loss 2 of 4; cnn accuracy 1 of 4"
    assert (row["points"], row["refuted"], row["least_seeds"], row["most_seeds"]) == (6, 2, 2, 5)
    shown = specification_summary.view(summary, {}).iloc[0]
    assert (shown["n"], shown["Out of sample"], shown["The author's own"]) == ("2 to 5", "", "")
    assert specifications.view(table, study_of())["Point"].tolist()[:4] == [
        "reached",
        "reached",
        "not excluded",
        "not excluded",
    ]


@pytest.mark.parametrize(
    ("standings", "said"),
    [
        ({"not run": 16}, "not run yet (0 of 16 points)"),
        ({"refuted": 16}, "reached by none of 16"),
        ({"reached": 2, "refuted": 14}, "reached at 2 of 16"),
        ({"refuted": 15, "undecided": 1}, "reached at 0 of 16; search incomplete: 1 undecided"),
        ({"refuted": 14, "not excluded": 2}, "reached at 0 of 16; not excluded at 2"),
        ({"reached": 1, "not run": 3}, "reached at 1 of 4; search incomplete: 3 not run"),
    ],
)
def test_a_curve_comes_to_words_that_never_claim_more_than_was_searched(standings: dict[str, int], said: str) -> None:
    assert result(standings) == said


sample = st.lists(st.floats(0.05, 2.0), min_size=3, max_size=6).filter(lambda values: np.ptp(values) > 1e-3)


@given(st.lists(st.tuples(sample, st.floats(0.1, 1.0), st.floats(1, 100)), min_size=2, max_size=5))
def test_a_point_stands_as_scipy_says_and_no_further_number_brings_it_nearer(drawn: list[tuple]) -> None:
    numbers, p_values, narrow = [], [], []
    for values, documented, percent in drawn:
        low, high = documented - 0.005, documented + 0.005
        tolerance = documented * percent / 100
        distance = Distance(values, low, high, scale=LOSS, tolerance=tolerance, alpha=ALPHA)
        numbers.append(Number({}, distance, ""))
        logs, n = np.log(values), len(values)
        scale = max(logs.std(ddof=1), 1e-6) * math.sqrt(1 + 1 / n)
        away = max(math.log(low) - logs.mean(), logs.mean() - math.log(high), 0)
        p_values.append(2 * stats.t.sf(away / scale, n - 1))
        ends = np.exp(stats.t.interval(1 - ALPHA, n - 1, logs.mean(), scale))
        mean = math.exp(logs.mean())
        narrow.append(max(ends[1] - mean, mean - ends[0]) <= tolerance and tolerance >= 0.005)

    def standing(count: int) -> str:
        if min(p_values[:count]) * count < ALPHA:  # Holm's first step is Bonferroni's
            return "refuted"
        return "reached" if min(p_values[:count]) >= ALPHA and all(narrow[:count]) else "between"

    found = [judge(numbers[:count], ALPHA).standing for count in range(1, len(numbers) + 1)]
    found = ["between" if each in ("undecided", "not excluded") else each for each in found]
    assert found == [standing(count) for count in range(1, len(numbers) + 1)]
    assert all(after != "reached" or before == "reached" for before, after in pairwise(found))


@given(st.lists(st.sampled_from([*RAN, "none", "diverged"]), min_size=6, max_size=6))
def test_every_point_is_counted_once(chosen: list[str]) -> None:
    ran = {f"cnns-{rate}": RAN[name] for rate, name in enumerate(chosen, start=1) if name in RAN}
    lost = {f"cnns-{rate}": 10 for rate, name in enumerate(chosen, start=1) if name == "diverged"}
    table, summary = specify(study_of(), *tables_of(ran, **lost))
    (row,) = summary.to_dict("records")
    assert row["points"] == 6 == sum(row[word] for word in (*WORDS, "too_few", "not_run"))
    assert row["refuted"] == chosen.count("cnns-2") + chosen.count("diverged")
    assert len(table) == 6 * 2


def test_a_number_without_runs_counts_in_the_correction_and_does_not_save_a_point() -> None:
    numbers = [
        {"families": ["cnns"], "experiment": "cnn", "claims": ["loss"]},
        {"families": ["vits"], "experiment": "vit", "claims": ["loss"]},
    ]
    made = study_of(numbers=numbers)
    table, _ = specify(made, *tables_of({"cnns-1": around(0.2, 93), "cnns-2": around(0.3, 93)}))
    of = table[table["system"] == "cnn"].set_index("experiment")
    assert (of.loc["cnns-1", "standing"], of.loc["cnns-2", "standing"]) == ("not run", "refuted")
    assert of.loc["cnns-2", "p_holm"] == pytest.approx(2 * of.loc["cnns-2", "p_value"])


def test_numbers_of_other_runs_are_asked_at_the_points_that_the_first_ones_leave() -> None:
    numbers = [
        {"families": ["cnns"], "experiment": "cnn", "claims": ["loss", "accuracy"]},
        {"families": ["vits"], "experiment": "vit", "claims": ["loss"]},
    ]
    made = study_of(numbers=numbers)
    vits = {f"vits-{rate}": around(loss, 0) for rate, loss in enumerate([0.5, 0.5, 0.9, 0.9], start=1)}
    cnns = RAN | {"cnns-5": around(0.2, 93)}
    table, summary = specify(made, *tables_of(cnns | vits))
    (row,) = summary.to_dict("records")
    # Points 1, 3 and 5 are left: the ViT reaches the first, refutes the third, and has not run at the fifth.
    then = ("left", *(f"then_{word}" for word in WORDS), "then_untested")
    assert [row[key] for key in then] == [3, 1, 0, 0, 1, 1]
    shown = specification_summary.view(summary, made)["Out of sample"][0]
    assert shown == "of 3 points left, 1 reached, 1 refuted, 1 not tested"
    assert table.set_index(["experiment", "system"]).loc[("cnns-3", "vit"), ["runs_of", "verdict"]].tolist() == [
        "vits-3",
        "higher",
    ]
    # Two numbers of the same runs predict nothing of each other.
    same = study_of(numbers=[numbers[0] | {"claims": [claim]} for claim in ("loss", "accuracy")])
    assert specify(same, *tables_of(cnns))[1]["left"].isna().all()


def test_the_author_s_own_point_is_of_as_many_seeds_and_no_part_of_the_count() -> None:
    made = study_of(author=["cnn"])
    own = {"loss": [*around(0.2, 93)["loss"], 9.0], "accuracy": [*around(0.2, 93)["accuracy"], 9.0]}
    table, summary = specify(made, *tables_of(RAN | {"cnn": own}))
    author = table[table["author"]]
    assert author[["experiment", "settings", "n_seeds", "standing"]].drop_duplicates().values.tolist() == [
        ["cnn", "learning rate 0.05", 5, "reached"]
    ]
    assert summary.loc[0, ["points", "reached", "author"]].tolist() == [6, 1, "reached"]
    assert specifications.view(table, made)["Settings"][0] == "the author's own: learning rate 0.05, 2 epochs"
    assert not specify(made, *tables_of(RAN))[0]["author"].any()


def test_experiments_of_one_spec_are_one_point_and_the_one_with_more_seeds_speaks() -> None:
    made = study_of()
    again = made["experiments"]["cnns-1"] | {"vary": {"family": "again", "settings": {"training.learning_rate": 1}}}
    made["experiments"]["again-1"] = again
    made["admissible"]["open"]["numbers"][0]["families"].append("again")
    table, summary = specify(made, *tables_of({"cnns-1": around(0.2, 93, seeds=3), "again-1": around(0.3, 93)}))
    assert summary.loc[0, "points"] == 6
    assert set(table.loc[table["experiment"] == "cnns-1", "runs_of"]) == {"again-1"}


def test_a_point_of_fewer_epochs_is_judged_by_the_metrics_of_its_epoch() -> None:
    made = study_of()
    for block in made["experiments"].values():
        block["spec"]["evaluation"] = {"test_every_epoch": "vary" in block}
    runs, curves, provenance = tables_of({"cnns-1": around(0.2, 93)})
    first = runs.assign(epoch=1)
    first.loc[first["metric"] == "test/loss", "value"] *= 1.5
    unfinished = first[first["seed"] == 4].assign(seed=5)
    curves = pd.concat([first, unfinished, runs.assign(epoch=2)])
    table, summary = specify(made, runs, curves, provenance)
    assert summary.loc[0, "points"] == 12
    one = table[table["experiment"] == "cnns-1"].drop_duplicates("epochs").set_index("epochs")
    assert one["standing"].to_dict() == {1: "refuted", 2: "reached"}
    assert one["n_seeds"].tolist() == [5, 5]


def test_a_run_that_diverged_later_is_missing_and_refutes_nothing() -> None:
    made = study_of()
    for block in made["experiments"].values():
        block["spec"]["evaluation"] = {"test_every_epoch": True}
    table, _ = specify(made, *tables_of({}, **{"cnns-5": 10}))  # at epoch 2
    of = table[table["experiment"] == "cnns-5"].drop_duplicates("epochs").set_index("epochs")
    assert of["standing"].to_dict() == {1: "too few seeds", 2: "refuted"}
    assert of["n_diverged"].to_dict() == {1: 0, 2: 10}
    runs, curves, provenance = tables_of({}, **{"cnns-5": 10})
    provenance["diverged"] = "The loss on the test images is nan"  # without an epoch: the last
    pd.testing.assert_frame_equal(specify(made, runs, curves, provenance)[0], table)


def test_a_point_that_seeds_cannot_settle_is_not_called_undecided() -> None:
    scatters = Distance([0.1, 0.5, 0.2, 0.9, 0.3], 0.29, 0.31, scale=LOSS, tolerance=0.03, alpha=ALPHA)
    waits = Distance([0.19, 0.2, 0.21], 0.199, 0.201, scale=LOSS, tolerance=0.025, alpha=ALPHA)
    both = judge([Number({}, scatters, ""), Number({}, waits, "")], ALPHA)
    assert both.verdicts == ["compatible", "undecided"]
    assert both.standing == "not excluded"
    assert judge([Number({}, waits, "")], ALPHA).standing == "undecided"


def test_a_reduced_budget_is_no_run() -> None:
    made = study_of()
    made["experiments"]["cnns-1"]["narrowed"] = True
    assert specify(made, *tables_of({"cnns-1": around(0.2, 93)}))[1].loc[0, "result"] == "not run yet (0 of 6 points)"


def test_what_is_printed_has_two_ends() -> None:
    assert printed_ends({"documented": "93"}, "x") == ([92.5], [93.5])
    low, high = printed_ends({"curve": "1.5 2.00"}, "x")
    assert (low.tolist(), high.tolist()) == ([1.45, 1.995], [1.55, 2.005])


# The configuration's own entries


def test_the_configuration_s_points() -> None:
    made = study(("preset", "full"))
    found = {name: points(entry, made["experiments"]) for name, entry in made["admissible"].items()}
    assert {name: len(those) for name, those in found.items()} == {"tiny_vit": 16, "blog": 50, "grid_reader": 20}
    for those in found.values():
        for point in those:
            for first, *others in point.speakers:
                assert all(made["experiments"][other]["spec"] == made["experiments"][first]["spec"] for other in others)
    template = made["experiments"]["vit16_tiny"]["spec"]
    specs = [made["experiments"][point.speakers[0][0]]["spec"] for point in found["tiny_vit"]]
    assert specs.count(template) == 1
    declared = {system: declared_for(system, made["admissible"], made["experiments"]) for system in systems(made)}
    assert {system: name for system, name in declared.items() if name} == {"vit16_tiny": "tiny_vit"}


def test_sweeps_that_have_not_run_say_so_and_a_study_may_declare_nothing(tmp_path: Path) -> None:
    made = study(("preset", "full"))
    write_tables(tmp_path, made, {"vit16_tiny": range(3)})
    assert set(read_table(tmp_path, "specification_summary", made)["result"]) == {
        f"not run yet (0 of {m} points)" for m in (16, 50, 20)
    }
    bare = study(("preset", "full"), ("admissible", DELETE))
    write_tables(tmp_path, bare, {"vit16_tiny": range(3)})
    for name in ("specifications", "specification_summary"):
        assert read_table(tmp_path, name, bare).empty
        assert "No setting is declared to be open." in (tmp_path / f"{name}.md").read_text()


TINY, BLOG = "admissible.tiny_vit", "admissible.blog"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (f"{TINY}.numbers", [], f"{TINY}.numbers is []; it must not be empty."),
        (f"{TINY}.nmbers", [], f"{TINY}.nmbers is not a known key; did you mean numbers?"),
        ((*TINY.split("."), "numbers", 0, "families"), ["vit16_tiny"], "numbers[0].families[0] is 'vit16_tiny'; did"),
        ((*TINY.split("."), "numbers", 0, "experiment"), "vit16", "numbers[0].experiment is 'vit16'; did you"),
        ((*TINY.split("."), "numbers", 0, "claims"), ["x"], "numbers[0].claims has 'x', no number of vit16_tiny"),
        (f"{TINY}.reason", "so", f"{TINY}.reason and reasons are both there; leave one out: a reason of the whole"),
        (f"{TINY}.reasons", DELETE, f"{TINY}.reason and reasons are both missing; give one: "),
        (f"{TINY}.reasons", {}, f"{TINY}.reasons.training.optimiser says nothing of adam, adamw; say why each value"),
        ((*TINY.split("."), "reasons", "data.standardise"), {"false": "x"}, "reasons.data.standardise says nothing of"),
        ((*TINY.split("."), "reasons", "model.width"), {"9": "x"}, "reasons.model.width is no setting that"),
        (
            (*TINY.split("."), "reasons", "training.optimiser", "sgd"),
            "x",
            "reasons.training.optimiser.sgd is no value that its families have; Known: adam, adamw.",
        ),
        (f"{TINY}.author", ["blog_cnn"], f"{TINY}.author[0] is 'blog_cnn', which has none of the entry's numbers"),
        (
            (*BLOG.split("."), "numbers", 1, "families"),
            ["blog_budget"],
            "numbers[1].families[0] is 'blog_budget', which trains a cnn; numbers[1].experiment is a blog_vit.",
        ),
        (
            (*BLOG.split("."), "numbers", 1, "families"),
            ["blog_vit_shape"],
            "families have blog_vit_shape-32-2 and blog_vit_shape-32-4 at the same settings, though they differ in",
        ),
        (
            ("experiments", "blog_vit_budget", "spec", "training", "epochs"),
            4,
            "numbers[1].families (blog_vit_budget) do not speak for blog_budget-0.001-0.0 (training.learning_rate 0.0",
        ),
        (
            (*BLOG.split("."), "numbers", 0, "claims"),
            ["training-log"],
            "numbers[0].claims has 'training-log', which is of train/batch_loss; blog_budget has none.",
        ),
        (
            ("experiments", "vit16_tiny_settings", "spec"),
            {"training": {"epochs": 5}},
            "claims has 'train-loss-curve', which has 10 figures; by its epochs, vit16_tiny_settings has 5.",
        ),
        (
            ("experiments", "vit16_tiny_settings", "spec"),
            {"evaluation": {"test_every_epoch": True}},
            "claims has 'train-loss-curve', which is a whole curve; vit16_tiny_settings has test_every_epoch",
        ),
    ],
)  # fmt: skip
def test_an_entry_that_cannot_be_judged_is_refused(path: Any, value: Any, said: str) -> None:
    assert said in complaint(changed((path, value)))


def test_a_number_is_judged_once_at_a_point() -> None:
    twice = 2 * CONFIG["admissible"]["blog"]["numbers"]
    said = complaint(changed((f"{BLOG}.numbers", twice)))
    assert f"{BLOG}.numbers[2].claims has 'test-loss' of blog_cnn a second time; a point judges it once." in said
