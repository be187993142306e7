"""Checks of numerics, the presets in which an experiment runs, and what is said where they are wrong."""

import copy
from typing import Any

import pytest
from configurations import (
    CHECKS,
    CONFIG,
    DELETE,
    changed,
    complaint,
    study,
)

from pixelpatch.basis import leaves, settings
from pixelpatch.study import systems

# Checks of numerics, and the presets in which an experiment runs


def test_a_check_is_the_same_spec_in_other_numerics_and_no_system() -> None:
    made = study(("preset", "full"))
    assert [name for name, experiment in made["experiments"].items() if experiment["equivalent_to"]] == list(CHECKS)
    assert list(systems(made)) == list(systems(CONFIG))
    for name, of in CHECKS.items():
        spec = copy.deepcopy(CONFIG["experiments"][of]["spec"])
        if name.endswith("bfloat16"):
            spec["training"]["precision"] = "bfloat16"
        assert made["experiments"][name]["spec"] == spec
        assert made["experiments"][name]["resources"].get("threads") == (2 if name.endswith("two_threads") else None)
        assert made["experiments"][name]["equivalent_to"] == CONFIG["experiments"][name]["equivalent_to"]
        assert made["experiments"][name]["equivalent_to"]["experiment"] == of
        assert made["experiments"][name]["claims"] == {}


def test_what_extends_a_check_is_none() -> None:
    child = {"extends": "vit16_tiny_bfloat16", "title": "Wider", "spec": {"model": {"hidden": 72}}}
    made = study(("experiments.child", child), ("preset", "full"))
    assert "child" in systems(made)
    assert made["experiments"]["child"]["spec"]["training"]["precision"] == "bfloat16"


@pytest.mark.parametrize("preset", CONFIG["presets"])
def test_an_experiment_runs_in_its_presets_and_wherever_it_is_named(preset: str) -> None:
    changes = (("experiments.blog_cnn.presets", ["smoke", "full"]), ("preset", preset), ("seeds", 1))
    ran = [run["experiment"] for run in study(*changes)["runs"]]
    assert ("blog_cnn" in ran) == (preset != "laptop")
    ran = [run["experiment"] for run in study(*changes, ("only", "blog_cnn,pixel_transformer"))["runs"]]
    assert ran == ["blog_cnn", "pixel_transformer"]


TINY = "experiments.vit16_tiny.basis"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (
            "stated",
            ["training", "model.hats"],
            ".stated has 'model.hats', no setting of its spec; did you mean model.heads?",
        ),
        (
            "template.settings",
            ["model.hat"],
            ".template.settings has 'model.hat', no setting of its spec; did you mean",
        ),
        ("ours", {"model.hats": "why"}, ".ours.model.hats is no setting of its spec; did you mean model.heads?"),
        ("ours", {"model.heads": "why"}, ".ours.model.heads is there twice; a setting has one basis."),
        ("stated", ["training"], " says nothing of data.resize; name it under stated"),
    ],
)
def test_a_basis_is_of_every_setting_and_of_no_other(path: str, value: Any, said: str) -> None:
    assert f"\n  {TINY}{said}" in complaint(changed((f"{TINY}.{path}", value)))


def test_what_is_open_follows_from_the_basis() -> None:
    made = study(("preset", "full"))["experiments"]
    tiny = made["vit16_tiny"]
    assert "model.heads" in tiny["unstated"]
    assert not {"model.width", "evaluation.batch"} & {*tiny["unstated"]}
    told = {setting.path: setting for setting in settings(tiny["spec"], tiny["basis"])}
    assert (told["model.heads"].basis, told["model.width"].basis) == ("template", "stated")
    assert told["model.heads"].source.startswith("Building a Vision Transformer")
    assert set(told) | {"model.name"} == {path for path, _ in leaves(tiny["spec"])}
    assert made["blog_vit"]["unstated"] == made["seq2seq_2x2"]["unstated"] == []
    of_blog = {setting.path: setting.basis for setting in settings(made["blog_vit"]["spec"], made["blog_vit"]["basis"])}
    assert (of_blog["training.learning_rate"], of_blog["training.batch"]) == ("author", "stated")


def test_a_preset_in_which_nothing_runs_is_refused() -> None:
    nowhere = [(f"experiments.{name}.presets", ["full"]) for name in CONFIG["experiments"]]
    assert "preset is laptop, which no experiment has among its presets; name" in complaint(changed(*nowhere))
    assert len(study(*nowhere, ("only", ["pixel_transformer"]), ("seeds", 1))["runs"]) == 1


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("presets", ["fulll"], ".presets names the preset 'fulll'; did you mean full?"),
        ("presets", [], ".presets is []; it must not be empty."),
        ("presets", "full", ".presets is 'full'; it must be a list."),
        ("equivalent_to.experiment", "vit16_tin", ".equivalent_to.experiment is 'vit16_tin'; did you mean vit16_tiny?"),
        ("equivalent_to.experiment", "seq2seq_2x2_bfloat16", ".equivalent_to.experiment is 'seq2seq_2x2_bfloat16'; "),
        ("equivalent_to.experiment", "vit16_tiny_bfloat16", ".equivalent_to.experiment is 'vit16_tiny_bfloat16'; did"),
        (
            "equivalent_to.experiment",
            "blog_cnn",
            ".equivalent_to names blog_cnn, from which it differs in spec.data.resize, spec.data.standardise, ",
        ),
        ("equivalent_to.metric", "test/acuracy", ".equivalent_to.metric is 'test/acuracy', no metric of vit16_tiny"),
        ("equivalent_to.metric", "validation/accuracy", ".equivalent_to.metric is 'validation/accuracy', no metric"),
        ("equivalent_to.metric", "accuracy", ".equivalent_to.metric is 'accuracy'; it must be a metric such as"),
        ("equivalent_to.margin", 0, ".equivalent_to.margin is 0; it must be above 0."),
        ("equivalent_to.margin", "1", ".equivalent_to.margin is '1'; it must be a number; YAML reads this as text"),
        ("equivalent_to.margin", DELETE, ".equivalent_to.margin is missing; "),
        ("equivalent_to.margins", 1, ".equivalent_to.margins is not a known key; did you mean margin?"),
        (
            "spec",
            {},
            ".equivalent_to names vit16_tiny, from which it differs in nothing; it must differ in spec.training.prec",
        ),
        ("spec.training.precision", "float32", "vit16_tiny, from which it differs in nothing; it must differ in"),
        ("resources", {"threads": 2}, "differs in spec.training.precision, resources.threads; it must differ in spec."),
        (
            "spec.training.epochs",
            9,
            "differs in spec.training.epochs, spec.training.precision; it must differ in spec.tra",
        ),
        (
            "claims",
            {"it": {"text": "…", "metric": "test/accuracy", "documented": "93"}},
            ".claims is about what a write-up documents, which equivalent_to is not about; leave one of them out.",
        ),
    ],
)
def test_what_is_said_of_a_check(key: str, value: Any, said: str) -> None:
    name = "experiments.vit16_tiny_bfloat16"
    assert (name if said.startswith(".") else "") + said in complaint(changed((f"{name}.{key}", value)))


def test_no_claim_is_to_be_better_than_a_check() -> None:
    said = complaint(changed(("experiments.blog_cnn.claims.cnn-better.better_than", "vit16_tiny_bfloat16")))
    assert (
        "cnn-better.better_than is 'vit16_tiny_bfloat16'; did you mean vit16_tiny? Known: pixel_transformer, blog_vit, "
        in said
    )
