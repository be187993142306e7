"""Configurations that are refused: every key misspelt or of another kind, and every sentence about settings."""

import math
from typing import Any

import pytest
from configurations import (
    BLOCKS,
    CONFIG,
    DELETE,
    KEY_PATHS,
    PATHS,
    SCHEMA,
    VALUES,
    Path_,
    at,
    changed,
    complaint,
    dotted,
    is_open,
    outcome,
    renamed,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelpatch.errors import UserError
from pixelpatch.study import expand_paths, resolve

# Each key once, of whichever experiment has it first.
KEYS = {path[:1] + path[2:] if len(path) > 2 else path: path for path in reversed(KEY_PATHS) if not is_open(path)}


@pytest.mark.parametrize("path", KEYS.values(), ids=dotted)
def test_every_misspelt_key_is_named(path: Path_) -> None:
    said = complaint(renamed(path, f"{path[-1]}y"))
    place = dotted((*path[:-1], path[-1].rpartition(", ")[2]))  # of settings that vary together, the last is misspelt
    if path[-1] in ("name", "kind"):  # without these, nothing says which other keys there may be
        assert f"{place} is missing" in said
    else:
        assert f"{place}y is no" in said
        meant = path[-1] if {"basis", "reasons"} & {*path} else path[-1].rpartition(".")[2]
        assert f"did you mean {meant}?" in said


@pytest.mark.parametrize("path", [path for path in KEY_PATHS if is_open(path)], ids=".".join)
def test_made_up_names_may_change_where_nothing_refers_to_them(path: Path_) -> None:
    config = renamed(path, f"{path[-1]}0")
    match path:
        case ("experiments", experiment, "claims", claim):
            questions = [held for q in CONFIG["identify"].values() for held in (q["by"], *q["predicts"])]
            questions += [use for entry in CONFIG["admissible"].values() for use in entry["numbers"]]
            referred = any(held["experiment"] == experiment and claim in held["claims"] for held in questions)
        case ("identify", _) | ("admissible", _):
            referred = False
        case _:
            referred = path[-1] in {at(CONFIG, other) for other in PATHS if isinstance(at(CONFIG, other), str)}
    if referred:
        assert repr(path[-1]) in complaint(config) or f"narrow.{path[-1]} is no experiment" in complaint(config)
    else:
        resolve(config, SCHEMA)


@settings(max_examples=150)
@given(st.sampled_from([b for b in BLOCKS if not is_open((*b, "x"))]), st.text(min_size=1))
def test_a_key_too_many_is_named(block: Path_, key: str) -> None:
    if key not in at(CONFIG, block) and block[-1:] != ("narrow",):
        with pytest.raises(UserError) as caught:
            resolve(changed(((*block, key), 1)), SCHEMA)
        # an optional key that the block happens not to have is there, with a value that is wrong or of no effect
        assert key in str(caught.value)


KINDS = st.one_of(
    st.just(DELETE),
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.integers(-2, 70),
    st.floats(),
    st.sampled_from(
        [1e300, -0.0, math.nan, "1e-3", "", "0,3", "pixel_transformer", "vit", "test/accuracy", 3.0, 10**6, 2**32]
    ),
    st.text(max_size=5),
    st.recursive(
        st.integers(0, 3) | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
        ),
        max_leaves=5,
    ),
)


@settings(max_examples=500)
@given(st.sampled_from(PATHS), KINDS)
def test_any_other_value_or_none_is_fine_or_its_key_is_named(path: Path_, value: Any) -> None:
    said = outcome(changed((path, value)))
    key = [key for key in path if isinstance(key, str)][-1]
    # a mended experiment or a check may no longer differ as it should from its system
    told = {key: f"experiments.{path[1]}.spec "} if path[:1] == ("experiments",) and len(path) > 3 else {}
    # of resize, it is said what it does: the image's size; of another or no parent, what is then missing or differs;
    # of what no longer varies, that it is no family; where nothing is left to vary, that it is empty
    told |= {"resize": "-pixel image"} | dict.fromkeys(["extends", "vary"], path[1] if len(path) > 1 else "")
    told |= {key: "vary is"} if path[-2:-1] == ("vary",) else {}
    # of a system that is now as mended, that nothing is left to mend
    otherwise = path[:1] == ("experiments",) and len(path) > 1 and f".spec is that of {path[1]};" in said
    # of a family whose members have other names now, that one of them is gone whose weights are published
    otherwise |= len(path) > 1 and f"weights names the experiment '{path[1]}-" in said
    names = [setting.rpartition(".")[2] for setting in key.split(", ")]  # of those that vary together, one is at fault
    assert not said or any(name in said for name in names) or (key in told and told[key] in said) or otherwise


@settings(max_examples=30)
@given(st.lists(st.sampled_from(VALUES), min_size=2, max_size=5, unique=True))
def test_all_problems_are_said_at_once(chosen: list[Path_]) -> None:
    said = complaint(changed(*((path, {"of another": "kind"}) for path in chosen)))
    assert all(f"  {dotted(path)} is {{'of another': 'kind'}}" in said for path in chosen)


@pytest.mark.parametrize(
    "config", [None, [], 5, "preset: smoke", {}, {"experiments": []}, {"experiments": {"a": None}}]
)
def test_no_configuration_at_all(config: Any) -> None:
    assert "the configuration" in complaint(config)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("preset", "lapto", "preset is 'lapto'; did you mean laptop? Known: smoke, laptop, full."),
        ("only", "pixel_transformer,blog_vot", "only names the experiment 'blog_vot'; did you mean blog_vit?"),
        ("only", ["pixel_transformer", "pixel_transformer"], "only has 'pixel_transformer' twice"),
        ("only", [], "only is []; it must be a list of the experiments that run"),
        ("only", "pixel_transformer,", "only names the experiment ''"),
        ("seeds", "1,2,01", "seeds has 1 twice"),
        (
            "presets.laptop.narrow.pixel_transformr",
            {},
            "presets.laptop.narrow.pixel_transformr is no experiment; did you mean pixel_transformer?",
        ),
        (
            "presets.laptop.narrow.pixel_transformer.data.limit.train",
            0,
            "presets.laptop.narrow.pixel_transformer.data.limit.train is 0; it must be at",
        ),
        ("experiments.Pit", {}, "experiments.Pit is not a name of small letters"),
        (
            "experiments.pixel_transformer.claims.a_b",
            {},
            "experiments.pixel_transformer.claims.a_b is not a name of small letters, digits and hyphens",
        ),
        (
            "experiments.pixel_transformer.spec.model.patch",
            5,
            "model.patch is 5, which does not divide the 28-pixel image; choose from 1",
        ),
        ("experiments.vit16_tiny.spec.model.patch", 7, "model.patch is 7, which does not divide the 32-pixel image"),
        ("experiments.seq2seq_2x2.spec.model.patch", 5, "patch is 5, which does not divide the 56-pixel image"),
        (
            "experiments.pixel_transformer.spec.model.heads",
            3,
            "model.heads is 3, which does not divide the width 128; choose from 1, 2",
        ),
        ("experiments.pixel_transformer.spec.model.name", "vitt", "model.name is 'vitt'; did you mean vit?"),
        ("experiments.pixel_transformer.spec.model.depth", 6.0, "model.depth is 6.0; it must be a whole number."),
        ("experiments.pixel_transformer.spec.model.position_slots", 784, "784 patches and a class token need 785"),
        ("experiments.vit16_tiny.spec.model.width", 1, "width is 1; sine/cosine positions need at least 2"),
        ("experiments.pixel_transformer.spec.training.learning_rate", "1e-3", "write 1e-3 as 0.001 or 1.0e-3."),
        (
            "experiments.pixel_transformer.spec.training.momentum",
            0.9,
            "training.momentum is for sgd; leave it out with adamw.",
        ),
        (
            "experiments.pixel_transformer.spec.training.softmax_before_loss",
            "no",
            "softmax_before_loss is 'no'; it must be true or false.",
        ),
        ("experiments.blog_vit.spec.training.microbatch", 8, "microbatch would change what attend_over batch computes"),
        (
            "experiments.pixel_transformer.spec.data.limit",
            {"train": 5},
            "experiments.pixel_transformer.spec.data.limit is not a known key",
        ),
        (
            "experiments.pixel_transformer.spec.data.validation.images",
            19999,
            "images is 19999; it must leave some of the 19999 to train",
        ),
        ("experiments.vit4_assignment.spec.data.augmentation.crop.scale", [1.0, 0.8], "write the smaller number first"),
        ("experiments.vit4_assignment.spec.data.augmentation.crop.scale", [0.8], "it must have at least 2 entries"),
        (
            "experiments.vit4_assignment.spec.training.batch",
            55001,
            "training.batch is 55001, more than the 55000 there are",
        ),
        ("experiments.blog_cnn.spec.data.resize", 32, "data.resize is 32; the model cnn takes 28-pixel images"),
        ("experiments.blog_cnn.spec.evaluation.checkpoint", "best_validation", "data.validation is missing; add it"),
        (
            "experiments.vit16_tiny.spec.data.grids",
            {"train": 9, "test": 9, "fresh": True, "seed": 0},
            "data.grids and model.name vit do not fit",
        ),
        (
            "experiments.seq2seq_2x2.spec.data.augmentation",
            {"flip": 0.5},
            "data.augmentation is not supported with data.g",
        ),
        (
            "presets.smoke.narrow.all.data.limit.train",
            100,
            "presets.smoke.narrow leaves experiments.vit4_assignment.spec so",
        ),
        ("analysis.alpha", 0.5, "analysis.alpha is 0.5; it must be below 0.5."),
        ("analysis.alpha", math.nan, "analysis.alpha is nan; it must be a finite number."),
        ("analysis.compare", ["test/acuracy"], "compare has the metric 'test/acuracy'; did you mean test/accuracy?"),
        (
            "analysis.compare",
            ["accuracy"],
            "analysis.compare[0] is 'accuracy'; it must be a metric such as test/accuracy.",
        ),
        ("data.sources", [], "data.sources is []; it must not be empty."),
        ("results", "", "results is ''; it must not be empty."),
        ("title", 5, "title is not a known key"),
        (
            "experiments.pixel_transformer.title",
            5,
            "experiments.pixel_transformer.title is 5; it must be text; put it in quotes.",
        ),
    ],
)
def test_what_is_said(path: str, value: Any, said: str) -> None:
    assert said in complaint(changed((path, value)))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "metric",
            "test/acuracy",
            ".metric is 'test/acuracy', no metric of pixel_transformer; did you mean test/accuracy?",
        ),
        ("metric", DELETE, " has nothing to test; give it a metric and one of documented, curve"),
        ("documented", DELETE, " has nothing to test; give it a metric and one of documented, curve"),
        ("documented", 95.01, ".documented is 95.01; it must be text; put it in quotes."),
        ("documented", "95,01", ".documented is '95,01'; it must be a number as it is printed, in quotes, such as"),
        ("epoch", 3, ".metric is 'test/accuracy', no curve of pixel_transformer; "),
        ("better_than", "blog_vot", ".better_than is 'blog_vot'; did you mean blog_vit?"),
        ("better_than", "pixel_transformer", ".better_than is 'pixel_transformer'; "),
        ("settles", "training.speed", ".settles is 'training.speed', no setting of its spec."),
        ("better_than", "seq2seq_2x2", ".better_than is 'seq2seq_2x2', which has no test/accuracy."),
        ("falls_every_epoch", False, ".falls_every_epoch is False; it can only be True."),
        ("falls_every_epoch", True, " has documented and falls_every_epoch; make a claim of each."),
    ],
)
def test_what_is_said_of_a_claim(key: str, value: Any, said: str) -> None:
    claim = "experiments.pixel_transformer.claims.test-accuracy"
    assert claim + said in complaint(changed((f"{claim}.{key}", value)))


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        (
            {"metric": "train/loss", "curve": "1.0 0.5"},
            ".curve has 2 numbers; by its spec's epochs, train/loss has 25: it needs 25.",
        ),
        ({"metric": "train/loss", "curve": "1.0, 0.5"}, "numbers as they are printed, separated by single spaces."),
        (
            {"metric": "test/loss", "falls_every_epoch": True},
            ".metric is 'test/loss', no curve of pixel_transformer; did you mean t",
        ),
        ({"metric": "train/loss", "dips_at": [[3, 5]]}, ".dips_at has [3, 5]; write pairs of consecutive"),
        (
            {"metric": "train/loss", "dips_at": [[25, 26]]},
            ".dips_at has [25, 26]; write pairs of consecutive",
        ),
        ({"metric": "train/loss", "documented": "1", "epoch": 26}, ".epoch is 26; the experiment has 25."),
    ],
)
def test_what_is_said_of_a_claim_about_a_curve(claim: dict[str, Any], said: str) -> None:
    assert said in complaint(changed(("experiments.pixel_transformer.claims.new", {"text": "…"} | claim)))


def test_a_long_value_is_cut_in_its_sentence() -> None:
    said = complaint(changed(("experiments", [CONFIG["experiments"]])))
    assert "experiments is [{'pixel_transformer'" in said
    assert max(map(len, said.splitlines())) < 150


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("seeds", 2**63, "seeds is a number of 64 bits; it must have at most 63."),
        (
            "experiments.pixel_transformer.title",
            "\ud800",
            "experiments.pixel_transformer.title is '\\ud800', with half a character",
        ),
        ("experiments.pixel_transformer.\ud800", 1, "experiments.pixel_transformer.'\\ud800' has half a character"),
        ("results", "a{b}", "results is 'a{b}'; it must be a path without braces"),
        ("results", "-x", "results is '-x'; it must be a path without braces"),
        ("data.folder", "a\n", "data.folder is 'a\\n'; it must be a path without braces"),
        (
            "experiments.pixel_transformer.spec.model.depth",
            1001,
            "spec.model.depth is 1001; it must be at most 1000.",
        ),
        (
            "experiments.pixel_transformer.claims.test-loss.documented",
            "0.1\n",
            "test-loss.documented is '0.1\\n'; it must be a num",
        ),
    ],
)
def test_what_could_not_be_written_or_run_is_refused(path: str, value: Any, said: str) -> None:
    assert said in complaint(changed((path, value)))


def test_a_block_without_end_is_refused() -> None:
    circle: dict[str, Any] = {}
    circle["a"] = [circle]
    assert "only.a[0].a[0]" in complaint(changed(("only", circle)))
    assert "is nested too deep, or contains itself." in complaint(changed(("only", circle)))


PATH_KEYS = [("results",), ("data", "folder"), ("data", "sources", 0, "path")]


def with_path(key: Path_, path: str) -> Any:
    return changed(("data.sources", [{"kind": "folder", "path": "here"}]), (key, path))


@pytest.mark.parametrize("key", PATH_KEYS, ids=dotted)
@pytest.mark.parametrize(
    ("path", "expanded"),
    [
        ("~", "/home/me"),
        ("~/x", "/home/me/x"),
        ("$PLACE/x", "/there/x"),
        ("a/${PLACE}x", "a//therex"),
        ("./~/x", "./~/x"),
        ("a~b/5$/$-", "a~b/5$/$-"),
    ],
)
def test_a_path_s_home_and_variables_are_put_in(
    monkeypatch: pytest.MonkeyPatch, key: Path_, path: str, expanded: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("PLACE", "/there")
    config = with_path(key, path)
    assert expand_paths(config) == []
    assert at(config, key) == expanded


@pytest.mark.parametrize("key", PATH_KEYS, ids=dotted)
@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("$NO_SUCH/x", "and the variable NO_SUCH is not set"),
        ("x/${NO_SUCH}", "and the variable NO_SUCH is not set"),
        ("$EMPTY", "and the variable EMPTY is not set"),
        ("~no_such_user/x", "and there is no such user"),
    ],
)
def test_a_path_that_stands_for_nothing_is_refused_by_its_key(
    monkeypatch: pytest.MonkeyPatch, key: Path_, path: str, sentence: str
) -> None:
    monkeypatch.setenv("EMPTY", "")
    assert f"  {dotted(key)} is {path!r}, {sentence}" in complaint(with_path(key, path))
