"""Families of experiments, and those that mend an oddity: what they are made of, and what is refused."""

from typing import Any

import pytest
from configurations import DELETE, changed, complaint, study

from pixelpatch.study import systems

FAMILY = {
    "title": "Tiny ViT",
    "source": "us",
    "extends": "vit16_tiny",
    "vary": {"training.learning_rate": [0.001, 0.01], "model.heads": [1, 3, 9], "training.softmax_before_loss": [True]},
}


def member(name: str, **changes: Any) -> dict[str, Any]:
    return study(("experiments.rates", FAMILY | changes))["experiments"][name]


def test_a_family_has_an_experiment_for_every_combination() -> None:
    names = [name for name in study(("experiments.rates", FAMILY))["experiments"] if name.startswith("rates")]
    assert names == [f"rates-{rate}-{heads}-true" for rate in (0.001, 0.01) for heads in (1, 3, 9)]
    one = member("rates-0.01-9-true")
    parent = study()["experiments"]["vit16_tiny"]
    assert one["spec"] == parent["spec"] | {
        "training": parent["spec"]["training"] | {"learning_rate": 0.01},
        "model": parent["spec"]["model"] | {"heads": 9},
    }
    settings = {"training.learning_rate": 0.01, "model.heads": 9, "training.softmax_before_loss": True}
    assert one["vary"] == {"family": "rates", "settings": settings}
    assert one["title"] == "Tiny ViT: learning rate 0.01, heads 9, softmax before loss true"
    assert one["claims"] == {}


def test_settings_can_vary_together() -> None:
    together = {"training.batch, training.epochs": [[64, 5], [128, 10]], "model.heads": [1, 3]}
    blocks = study(("experiments.rates", FAMILY | {"vary": together}))["experiments"]
    assert [name for name in blocks if name.startswith("rates")] == [
        "rates-64-5-1", "rates-64-5-3", "rates-128-10-1", "rates-128-10-3"
    ]  # fmt: skip
    assert blocks["rates-64-5-3"]["spec"]["training"] == blocks["vit16_tiny"]["spec"]["training"] | {
        "batch": 64,
        "epochs": 5,
    }
    assert blocks["rates-64-5-3"]["title"] == "Tiny ViT: batch 64, epochs 5, heads 3"


def test_families_and_mended_experiments_are_no_systems() -> None:
    assert list(systems(study(("experiments.rates", FAMILY)))) == [
        "pixel_transformer", "blog_cnn", "blog_vit", "seq2seq_2x2", "vit16_tiny", "vit4_assignment"
    ]  # fmt: skip


@pytest.mark.parametrize("only", ["vit16_tiny,rates", ["vit16_tiny", "rates"]])
def test_only_can_name_a_family_or_one_of_it(only: str | list[str]) -> None:
    runs = study(("experiments.rates", FAMILY), ("only", only), ("seeds", 1))["runs"]
    assert len(runs) == 7
    assert runs[1]["record"] == "runs/rates-0.001-1-true/seed0.json"
    runs = study(("experiments.rates", FAMILY), ("only", "rates-0.01-9-true"), ("seeds", 1))["runs"]
    assert [run["experiment"] for run in runs] == ["rates-0.01-9-true"]


@pytest.mark.parametrize(("seeds", "expected"), [(10, [0, 1]), (1, [0]), ("4,7,9", [4, 7]), ([8], [8])])
def test_an_experiment_can_do_with_fewer_seeds(seeds: Any, expected: list[int]) -> None:
    runs = study(("experiments.pixel_transformer.seeds", 2), ("only", "pixel_transformer"), ("seeds", seeds))["runs"]
    assert [run["seed"] for run in runs] == expected


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vary": {}}, "experiments.rates.vary is {}; it must not be empty."),
        ({"vary": {"model.heads": []}}, "experiments.rates.vary.model.heads is []; it must not be empty."),
        ({"vary": {"model.heads": [3, 3]}}, "experiments.rates.vary.model.heads"),
        ({"vary": {"model.heads": [{}]}}, "it must be true, false, a number or a word of small letters, or a list"),
        (
            {"vary": {"model.heads": [[1, 3]]}},
            "vary.model.heads has [1, 3]; each of its choices must have 1 value(s).",
        ),
        (
            {"vary": {"model.heads, model.depth": [1]}},
            "model.depth has [1]; each of its choices must have 2 value(s).",
        ),
        ({"vary": {"model.heads,model.depth": [[1, 2]]}}, 'or several with ", " between.'),
        ({"vary": {"heads": [3]}}, "is not the dotted path of a setting, such as training.learning_rate, or"),
        (
            {"vary": {"model.headz": [3]}},
            "experiments.rates.vary.model.headz is not a known key; did you mean heads?",
        ),
        ({"vary": {"model.heads": [3, 2]}}, "experiments.rates.vary.model.heads is 2, which does not divide"),
        ({"vary": {"training.batch": list(range(1, 1102))}}, "makes 1101 experiments; it may make 1000."),
        ({"vary": {"data.resize": [True, "true"]}}, "makes two experiments rates-true; leave one of them out."),
        ({"claims": {"a": {"text": "b", "not_tested": "c"}}}, "which vary is not about; leave one of them out."),
        (
            {"mends": {"oddity": "a", "instead": "b", "metric": "test/loss", "means": "c"}},
            "rates-0.001-1-true has mends and vary;",
        ),
    ],
)
def test_a_family_that_is_none(change: dict[str, Any], said: str) -> None:
    assert said in complaint(changed(("experiments.rates", FAMILY | change)))


def test_a_mended_experiment_says_what_it_mends() -> None:
    name, mends = "vit16_tiny_plain_loss", study()["experiments"]["vit16_tiny_plain_loss"]["mends"]
    oddity = {"oddity": "a softmax before the loss", "instead": "none", "metric": "test/accuracy"}
    assert mends == {"system": "vit16_tiny", "means": mends["means"]} | oddity
    for path, value, said in (
        ("extends", DELETE, "is missing"),
        ("extends", "vit16_tiny_bfloat16", "mends is of the system that the experiment extends, and extends is"),
        (
            "mends.metric",
            "test/loss",
            "mends.metric is 'test/loss'; an oddity's price is in points of an accuracy: test/ac",
        ),
        ("mends.metric", "test/digit_accuracy", "mends.metric is 'test/digit_accuracy', no metric of vit16_tiny"),
        ("spec", {}, "spec is that of vit16_tiny; it must differ in the oddity that it mends."),
        ("mends.oddity", DELETE, "mends.oddity is missing"),
        ("claims", {"a": {"text": "b", "not_tested": "c"}}, "which mends is not about; leave one of them out."),
    ):
        assert said in complaint(changed((f"experiments.{name}.{path}", value))), path
