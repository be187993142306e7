"""The configuration, and what a study is made of: its runs, presets, experiments that extend others, its schema."""

import copy
import inspect
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from configurations import (
    CONFIG,
    SCHEMA,
    changed,
    complaint,
    study,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelpatch.checks import KEYS, split_sizes
from pixelpatch.data import make_splits
from pixelpatch.errors import UserError
from pixelpatch.study import STUDY_FORMAT, merge, read_study, resolve, systems
from pixelpatch.tables.settings import make
from pixelpatch.training import train

# The repository's own configuration


@pytest.mark.parametrize("preset", CONFIG["presets"])
def test_the_configuration_is_a_study_under_every_preset(preset: str) -> None:
    made = study(("preset", preset))
    assert made["preset"] == preset
    blocks = {
        name: CONFIG["experiments"][(e["vary"] or {}).get("family", name)] for name, e in made["experiments"].items()
    }
    assert list(dict.fromkeys(map(id, blocks.values()))) == list(map(id, CONFIG["experiments"].values()))
    seeds, fewer = range(CONFIG["presets"][preset]["seeds"]), CONFIG["presets"][preset].get("fewer_seeds", {})
    assert [(run["experiment"], run["seed"]) for run in made["runs"]] == [
        (name, seed)
        for name, block in blocks.items()
        if preset in block.get("presets", CONFIG["presets"])
        for own in [block.get("seeds")]
        for seed in (own if isinstance(own, list) else seeds[:own][: fewer.get(name)])
    ]
    assert set(systems(made)) <= {run["experiment"] for run in made["runs"]}
    assert all(run["record"] == f"runs/{run['experiment']}/seed{run['seed']}.json" for run in made["runs"])
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_resolving_changes_no_argument() -> None:
    config, schema = changed(("experiments.child", {"extends": "pixel_transformer"})), copy.deepcopy(SCHEMA)
    before = copy.deepcopy(config)
    resolve(config, schema)["experiments"]["child"]["spec"]["data"]["validation"]["images"] = -1
    assert (config, schema) == (before, SCHEMA)


# What runs


@pytest.mark.parametrize(
    ("seeds", "chosen"),
    [(1, [0]), (3, [0, 1, 2]), ([0, 4, 7], [0, 4, 7]), ("0,3", [0, 3]), (["5"], [5]), ("7", [7]), ([3, "1"], [3, 1])],
)
def test_seeds_are_counted_or_named(seeds: Any, chosen: list[int]) -> None:
    for made in (study(("seeds", seeds)), study(("presets.laptop.seeds", seeds))):
        assert [run["seed"] for run in made["runs"] if run["experiment"] == "pixel_transformer"] == chosen


def test_of_what_a_preset_narrows_the_settings_table_says_what_is_documented(tmp_path: Path) -> None:
    rows = make(study(("preset", "smoke")), tmp_path).set_index(["system", "setting"])
    assert rows.loc[("vit16_tiny", "training.epochs")].tolist() == ["1", "preset smoke", "stated: 10"]
    rows = make(study(("preset", "full")), tmp_path).set_index(["system", "setting"])
    assert rows.loc[("vit16_tiny", "training.epochs"), "value":"basis"].tolist() == ["10", "stated"]


def test_a_preset_can_have_fewer_seeds_of_an_experiment() -> None:
    fewer = ("presets.laptop.fewer_seeds", {"blog_cnn": 1})
    counts = Counter(run["experiment"] for run in study(fewer)["runs"])
    assert (counts["blog_cnn"], counts["blog_vit"]) == (1, 3)
    assert study(fewer)["experiments"]["blog_cnn"]["wanted"] == [0]
    asked = Counter(run["experiment"] for run in study(fewer, ("seeds", 2))["runs"])
    assert (asked["blog_cnn"], asked["blog_vit"]) == (2, 2)
    sentence = "presets.laptop.fewer_seeds.blog_cn is no experiment; did you mean blog_cnn?"
    assert sentence in complaint(changed(("presets.laptop.fewer_seeds", {"blog_cn": 1})))


def test_recorded_seeds_are_those_with_a_record(tmp_path: Path) -> None:
    for name, seed in (("blog_cnn", 0), ("blog_cnn", 12), ("pixel_transformer", 3)):
        record = tmp_path / "laptop/runs" / name / f"seed{seed}.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        record.touch()
        record.with_suffix(".checkpoint").touch()
    made = study(("seeds", "recorded"), ("results", str(tmp_path)))
    assert [(run["experiment"], run["seed"]) for run in made["runs"]] == [
        ("pixel_transformer", 3),
        ("blog_cnn", 0),
        ("blog_cnn", 12),
    ]
    assert "/laptop/runs has no record of what was chosen" in complaint(
        changed(("seeds", "recorded"), ("results", str(tmp_path)), ("only", "vit16_tiny"))
    )


@pytest.mark.parametrize(
    "seeds", [0, -1, [], "", "0,,3", "0, 3", [-1], True, 1.0, 10**9, [10**9], "9" * 5000, None, {}, [[1]], "a", [1.0]]
)
def test_other_seeds_are_refused(seeds: Any) -> None:
    assert "seeds is " in complaint(changed(("seeds", seeds)))


@pytest.mark.parametrize("only", ["blog_vit,pixel_transformer", ["blog_vit", "pixel_transformer"]])
def test_only_these_run_in_that_order_but_all_are_described(only: Any) -> None:
    made = study(("only", only), ("seeds", 1))
    assert [run["experiment"] for run in made["runs"]] == ["blog_vit", "pixel_transformer"]
    assert list(made["experiments"]) == list(study()["experiments"])


# Presets


def test_full_is_what_is_documented_and_smoke_is_less_of_everything() -> None:
    documented = study(("preset", "full"))["experiments"]
    for name, experiment in systems({"experiments": documented}).items():
        assert experiment["spec"] == CONFIG["experiments"][name]["spec"]
        assert (experiment["narrowed"], experiment["narrowing"]) == (False, "")
    assert all(experiment["narrowed"] for experiment in study(("preset", "smoke"))["experiments"].values())


def test_narrowing_says_what_is_less() -> None:
    experiments = study(("preset", "smoke"))["experiments"]
    assert experiments["vit4_assignment"]["narrowing"] == (
        "1 of 10 epochs; 512 of 55,000 training images; 256 of 5,000 validation images; 256 of 10,000 test images"
    )
    assert experiments["seq2seq_2x2"]["narrowing"] == (
        "1 of 10 epochs; 512 of 60,000 training grids; 256 of 10,000 test grids"
    )


COUNT = st.integers(1, 70_000)
BUDGET = st.fixed_dictionaries(
    {},
    optional={
        "data": st.fixed_dictionaries(
            {"limit": st.fixed_dictionaries({}, optional={"train": COUNT, "validation": COUNT, "test": COUNT})}
        ),
        "training": st.fixed_dictionaries({"epochs": st.integers(1, 30)}),
    },
)


@settings(max_examples=150)
@given(BUDGET, BUDGET, st.sampled_from(list(systems(CONFIG))))
def test_a_preset_only_narrows(for_all: dict[str, Any], for_one: dict[str, Any], name: str) -> None:
    # drop_last would refuse less than a batch, which is tested above
    config = changed(("experiments.vit4_assignment.spec.training.drop_last", False))
    config = changed(("presets.full.narrow", {"all": for_all, name: for_one}), ("preset", "full"), config=config)
    documented, made = config["experiments"][name]["spec"], resolve(config, SCHEMA)["experiments"][name]
    sizes, spec = split_sizes(documented["data"]), made["spec"]
    limit = {**for_all.get("data", {}).get("limit", {}), **for_one.get("data", {}).get("limit", {})}
    expected = {split: min(size, limit.get(split, size)) for split, size in sizes.items()}
    assert {split: spec["data"].get("limit", {}).get(split, size) for split, size in sizes.items()} == expected
    wanted = for_one.get("training", for_all.get("training", documented["training"]))["epochs"]
    assert spec["training"]["epochs"] == min(wanted, documented["training"]["epochs"])
    less = expected != sizes or wanted < documented["training"]["epochs"]
    assert made["narrowed"] == (spec != documented) == (made["narrowing"] != "") == less
    rest = {block: {k: v for k, v in spec[block].items() if k not in ("limit", "epochs")} for block in spec}
    assert rest == {block: {k: v for k, v in documented[block].items() if k != "epochs"} for block in documented}


@pytest.mark.parametrize("name", [name for name, e in systems(CONFIG).items() if "grids" not in e["spec"]["data"]])
def test_split_sizes_are_those_of_the_data(name: str) -> None:
    mnist = {
        f"{split}_{thing}": torch.zeros(count, dtype=torch.uint8)
        for split, count in (("train", 60000), ("test", 10000))
        for thing in ("images", "labels")
    }
    data = CONFIG["experiments"][name]["spec"]["data"]
    mnist |= {key: value[:, None, None] for key, value in mnist.items() if key.endswith("images")}
    assert split_sizes(data) == {split: len(images) for split, images in make_splits(data, mnist).items()}


# Experiments that extend others


def test_an_experiment_that_extends_another_differs_only_where_it_says_so() -> None:
    child = {
        "extends": "pixel_transformer",
        "title": "Pre-norm",
        "spec": {"model": {"norm": "pre", "shared_norm": None}},
    }
    grandchild = {"extends": "child", "source": "us", "spec": {"training": {"epochs": 2, "microbatch": None}}}
    made = study(
        ("experiments.grandchild", grandchild), ("experiments.child", child), ("preset", "full")
    )["experiments"]  # fmt: skip
    parent, child, grandchild = made["pixel_transformer"], made["child"], made["grandchild"]
    assert child["title"] == grandchild["title"] == "Pre-norm"
    assert (child["source"], grandchild["source"]) == (parent["source"], "us")
    assert child["claims"] == grandchild["claims"] == {}
    model = {key: value for key, value in parent["spec"]["model"].items() if key != "shared_norm"} | {"norm": "pre"}
    assert child["spec"] == parent["spec"] | {"model": model}
    training = {key: value for key, value in parent["spec"]["training"].items() if key != "microbatch"} | {"epochs": 2}
    assert grandchild["spec"] == parent["spec"] | {"model": model, "training": training}
    assert not child["narrowed"]  # it is an experiment of its own, run as it is described


def test_an_experiment_that_extends_another_is_checked_whole() -> None:
    child = {"extends": "pixel_transformer", "title": "Odd", "spec": {"model": {"heads": 5, "patch": None}}}
    assert "experiments.child.spec.model.patch is missing" in complaint(changed(("experiments.child", child)))
    child["spec"]["model"] = {"heads": 5}
    assert "experiments.child.spec.model.heads is 5" in complaint(changed(("experiments.child", child)))


def test_extending_what_is_not_there_or_oneself() -> None:
    for parent in ("pixel_transformr", 5, ["pixel_transformer"], {}, ""):
        assert "experiments.blog_cnn.extends is " in complaint(changed(("experiments.blog_cnn.extends", parent)))
    assert "did you mean pixel_transformer?" in complaint(changed(("experiments.blog_cnn.extends", "pixel_transformr")))
    circle = [
        (f"experiments.{a}.extends", b)
        for a, b in (("pixel_transformer", "blog_cnn"), ("blog_cnn", "blog_vit"), ("blog_vit", "pixel_transformer"))
    ]
    assert "experiments.blog_vit.extends is 'pixel_transformer', which extends blog_vit itself." in complaint(
        changed(*circle)
    )
    assert "which extends pixel_transformer itself" in complaint(
        changed(("experiments.pixel_transformer.extends", "pixel_transformer"))
    )


@pytest.mark.parametrize(
    ("base", "change", "merged"),
    [  # RFC 7396, appendix A, as far as it is about objects
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": "foo"}, {"a": {"b": None}}, {"a": {}}),
    ],
)
def test_merge_is_a_json_merge_patch(base: Any, change: Any, merged: Any) -> None:
    before = copy.deepcopy((base, change))
    assert merge(base, change) == merged
    assert (base, change) == before


# The metrics that claims may name, the schema, the file


@pytest.mark.parametrize("name", systems(CONFIG))
def test_the_known_metrics_are_those_of_a_run(name: str, digits: dict[str, torch.Tensor]) -> None:
    small = {"sample": {"images": 60, "seed": 0}, "validation": {"images": 6}, "grids": {"train": 6, "test": 3}}
    spec = copy.deepcopy(CONFIG["experiments"][name]["spec"])
    spec["data"] = merge(spec["data"], {k: v for k, v in small.items() if k in spec["data"]})
    spec["data"]["limit"] = {"train": 2, "validation": 1, "test": 1}
    spec["training"] |= {"epochs": 1, "batch": 2}
    spec["model"] |= {"depth": 1} if "depth" in spec["model"] else {}
    made = train(spec, 0, digits)
    claim = {"text": "…", "documented": "1"}
    said = complaint(changed((f"experiments.{name}.claims.new", claim | {"metric": "test/made_up"})))
    assert set(said.partition("Known: ")[2].rstrip(".").split(", ")) == set(made["metrics"])
    logs = {"train/batch_loss"} if made["batch_losses"] else set()
    said = complaint(changed((f"experiments.{name}.claims.new", claim | {"metric": "test/made_up", "epoch": 1})))
    assert set(said.partition("Known: ")[2].rstrip(".").split(", ")) == set(made["curve"]) | logs


def walk(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in a schema, with its place."""
    if isinstance(schema, dict):
        yield path, schema
        for key, value in schema.items():
            yield from walk(value, f"{path}/{key}")
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from walk(value, f"{path}/{index}")


def referred(schema: dict[str, Any]) -> dict[str, Any]:
    return SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] | schema if "$ref" in schema else schema


def test_every_key_of_the_schema_is_described_and_every_block_closed() -> None:
    described = closed = 0
    for path, schema in walk(SCHEMA):
        conditional = path.endswith("/if")
        for name, value in schema.get("properties", {}).items() if not conditional else ():
            text = referred(value).get("description", "")
            assert len(text) > 5, f"{path}/{name} has no description"
            described += 1
        if schema.get("type") == "object" and "properties" in schema and "allOf" not in schema:
            assert schema.get("additionalProperties") is False, f"{path} is open"
            closed += 1
        if {"pattern", "anyOf"} & schema.keys() and "description" not in schema:
            # of these the sentence is "it must be <description>"; within an anyOf, the outer one speaks
            assert "/anyOf/" in path or path.endswith("/claim"), f"{path} has no description"
    assert described > 80
    assert closed > 12


MODELS = SCHEMA["$defs"]["spec"]["properties"]["model"]["properties"]["name"]["enum"]


@pytest.mark.parametrize("name", MODELS)
def test_the_schema_knows_exactly_the_options_of_each_model(name: str) -> None:
    parameters = inspect.signature(import_module(f"pixelpatch.models.{name}").MODEL).parameters.values()
    options = {p.name: p for p in parameters if p.name not in ("image", "classes", "length")}
    form = SCHEMA["$defs"][name]
    assert set(form["properties"]) - {"name"} == set(options)
    assert set(form["required"]) == {key for key, p in options.items() if p.default is inspect.Parameter.empty}
    types = {"integer": int, "number": float, "boolean": bool, "string": str, "array": Sequence[int]}
    for key, parameter in options.items():
        kind = referred(form["properties"][key])
        kind = types[kind["type"]] if "type" in kind else type(kind["enum"][0])
        assert parameter.annotation in (kind, kind | None), key


def test_the_keys_of_a_spec_are_those_of_the_schema() -> None:
    for path, keys in KEYS.items():
        form = SCHEMA["$defs"]["spec"]
        for part in path.split(".") if path not in ("", "data.limit") else ():
            form = form["properties"][part]
        if path == "data.limit":  # only presets set it
            form = SCHEMA["$defs"]["limit"]
        names = {key.rstrip("?") for key in keys.split()} - ({"limit"} if path == "data" else set())
        assert names == set(form["properties"]), path
        assert {key for key in keys.split() if not key.endswith("?")} == set(form.get("required", [])), path


@pytest.mark.parametrize("content", ["[]", "5", "{}", '{"preset": "full", "runs": []}'])
def test_a_file_that_is_no_study(tmp_path: Path, content: str) -> None:
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(UserError, match=r"study\.json is not a study"):
        read_study(tmp_path / "study.json")


@pytest.mark.parametrize("other", [None, 0, 99, "1"])
def test_a_study_of_another_version(tmp_path: Path, other: int | str | None) -> None:
    made = {key: value for key, value in study().items() if key != "format"}
    (tmp_path / "study.json").write_text(json.dumps(made | ({"format": other} if other is not None else {})))
    said = rf"study\.json has format {other!r}, .*; this version reads format {STUDY_FORMAT}: move"
    with pytest.raises(UserError, match=said):
        read_study(tmp_path / "study.json")


def test_a_study_whose_run_is_none(tmp_path: Path) -> None:
    made = study(("preset", "smoke"))
    del made["runs"][1]["seed"]
    (tmp_path / "study.json").write_text(json.dumps(made))
    with pytest.raises(UserError, match=r"has as runs\[1\] .*; a run has an experiment, a seed and a record\."):
        read_study(tmp_path / "study.json")
