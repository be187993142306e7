"""Configurations mutated at random, and files damaged: each is a study that plans and trains, or one clear sentence."""

import copy
import json
import math
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from checkouts import Checkout
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixelpatch.checks import image_side, key_problems, spec_problems
from pixelpatch.errors import UserError
from pixelpatch.models import build_model
from pixelpatch.study import resolve
from pixelpatch.training import build_optimiser
from pixelpatch.yaml_files import read_configuration, read_yaml

ROOT = Path(__file__).parents[2]
SCHEMA = read_yaml(ROOT / "workflow/schemas/config.schema.yaml")
TEXT = (ROOT / "config.yaml").read_text(encoding="utf-8")
# Through JSON: YAML's anchors are copies then, and a mutation of one is a mutation of one.
CONFIG = json.loads(json.dumps(yaml.safe_load(TEXT)))
Place = tuple[str | int, ...]


def places(value: Any, above: Place = ()) -> Iterator[Place]:
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*above, key)
        yield from places(item, (*above, key))


def at(value: Any, place: Place) -> Any:
    for key in place:
        value = value[key]
    return value


PLACES = list(places(CONFIG))
BLOCKS = [place for place in PLACES if isinstance(at(CONFIG, place), dict)]
NAMES = list(CONFIG["experiments"])


def nested(depth: int, *, block: bool) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value} if block else [value]
    return value


def circular() -> Any:
    block: dict[str, Any] = {}
    block["a"] = [block]
    return block


WHOLES = st.sampled_from([0, -1, 1, 2, 3, 7, 1000, 2**31, 2**32, 2**63 - 1, 2**63, -(2**64), 10**30, 10**400, 16**5000])
FRACTIONS = st.floats() | st.sampled_from([0.5, 1.0, -0.0, 5e-324, 1e300, math.nan, math.inf, -math.inf])
WORDS = st.text(max_size=8) | st.sampled_from(
    [*NAMES, "", " ", "0", "1e-3", "0x10", "nan", "0,3", "a{b}c", "-x", "a\nb", "a\0b", "95.01\n", "test/accuracy\n",
     "all", "recorded", "../..", "~", "$(true)", "'\"`", "\ud800", "\u202e", "é😀", "x" * 5000, "adam", "sgd"]
)  # fmt: skip
NO_VALUES = [None, True, False, [], {}, [[]], [None], {"a": {"b": 1}}, {1: 2}, {None: 1}, {(1, 2): 3}, b"x", [1] * 1000]
# By name, as no failing example could be printed with them in it.
ENDLESS = {"<a circle>": circular} | {
    f"<{depth} {'blocks' if block else 'lists'}>": partial(nested, depth, block=block)
    for depth in (5, 100, 5000)
    for block in (True, False)
}
VALUES = WHOLES | FRACTIONS | WORDS | st.sampled_from(NO_VALUES) | st.sampled_from(list(ENDLESS))


# How, where, to what; and another place and two experiments, for those that need them.
KINDS = [
    "nudge",
    "nudge",
    "nudge",
    "nudge",
    "value",
    "value",
    "delete",
    "misspell",
    "swap",
    "swap models",
    "extend",
    "override",
]
PLACE, NAME = st.sampled_from(PLACES), st.sampled_from(NAMES)
MUTATION = st.tuples(st.sampled_from(KINDS), PLACE, VALUES, PLACE, NAME, NAME)
MUTATIONS = st.lists(MUTATION, min_size=1, max_size=3)


def mutate(config: Any, kind: str, place: Place, value: Any, other: Place, name: str, second: str) -> list[Place]:
    """Change a configuration in place; returns where. Raises LookupError where an earlier change left nothing there."""
    block, key, experiments = at(config, place[:-1]), place[-1], config["experiments"]
    match kind:
        case "value":
            endless = isinstance(value, str) and value in ENDLESS
            block[key] = ENDLESS[value]() if endless else copy.deepcopy(value)
        case "nudge":  # often still a study
            nudged = {bool: lambda old: not old, int: lambda old: old + 1, float: lambda old: old / 2}
            block[key] = nudged.get(type(block[key]), lambda old: old)(block[key])
        case "delete":
            del block[key]
        case "misspell":
            block[f"{key}x"] = block.pop(key)
        case "swap":
            block[key], at(config, other[:-1])[other[-1]] = at(config, other), block[key]
            return [place, other]
        case "swap models":
            first, last = (experiments[each]["spec"] for each in (name, second))
            first["model"], last["model"] = last["model"], first["model"]
            return [("experiments", each, "spec", "model") for each in (name, second)]
        case "extend":
            experiments[name]["extends"] = second
            return [("experiments", name, "extends"), ("experiments", second, "extends")]
        case "override":  # text, as --config may hand it on
            place = ("seeds",) if place[0] == "data" else place[:1]
            config[place[0]] = value if isinstance(value, str) else ascii(value)[:100]
    return [place]


def mutated(mutations: list[tuple[Any, ...]]) -> tuple[Any, list[Place]]:
    """The configuration with those of these mutations that can be made, and where it was changed."""
    config, changed = copy.deepcopy(CONFIG), []
    for number, mutation in enumerate(mutations):
        try:
            changed += mutate(config, *mutation)
        except (LookupError, TypeError, AttributeError, ValueError):  # and perhaps half-way: all again, without it
            return mutated([*mutations[:number], *mutations[number + 1 :]])
    return config, changed


def outcome(config: Any) -> str:
    """What is said of a configuration; nothing, where it is a study that JSON can hold. No warning, no other error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            json.dumps(resolve(config, SCHEMA), allow_nan=False).encode()
        except UserError as error:
            return str(error)
    return ""


def names_one(said: str, changed: list[Place]) -> bool:
    """Whether one of the changed keys is in the sentences, or the experiment, preset or claim that it belongs to.

    Of some settings only the consequence can be told: an image that no patch divides, a parent that lacks something.
    """
    owners = {str(part) for place in changed for part in (place[1:2] + place[3:4] if len(place) > 2 else ())}
    keys = {str(part) for place in changed for part in place[-2:] if isinstance(part, str)}
    return any(part in said for part in (keys | owners) - {"spec", "data", "model", "training", "evaluation", "claims"})


def check_trainable(spec: dict[str, Any]) -> None:
    """The model and the optimiser of a spec can be built (without memory for weights); its settings fit."""
    assert not list(key_problems(spec))
    assert not list(spec_problems(spec))
    assert min(spec["training"][key] for key in ("epochs", "batch", "learning_rate")) > 0
    sizes = {key: min(value, 3) if key == "depth" else value for key, value in spec["model"].items()}
    with torch.device("meta"):
        build_optimiser(build_model(sizes, image=image_side(spec["data"])), spec["training"])


HEALTH = [HealthCheck.too_slow, HealthCheck.data_too_large]


def examples(thorough: bool) -> int:
    return 1000 if thorough else 150


def test_a_mutated_configuration_is_a_study_or_refused_with_its_key_named(thorough: bool) -> None:
    counts = {"studies": 0, "refused": 0}
    check_trainable(CONFIG["experiments"]["pixel_transformer"]["spec"])  # the first takes seconds

    @settings(
        max_examples=examples(thorough),
        deadline=20_000,  # milliseconds, on a busy machine
        derandomize=not thorough,
        database=None,
        suppress_health_check=HEALTH,
    )
    @given(MUTATIONS)
    def check(mutations: list[tuple[Any, ...]]) -> None:
        config, changed = mutated(mutations)
        said = outcome(config)
        counts["refused" if said else "studies"] += 1
        if said:
            first, *problems = said.splitlines()
            assert first == "The configuration has problems:"
            assert all(problem.startswith("  ") and problem.endswith(".") for problem in problems), said
            assert names_one(said, changed), (changed, said)
            said.encode()
        else:
            study = resolve(config, SCHEMA)
            for name in {run["experiment"] for run in study["runs"]}:
                check_trainable(study["experiments"][name]["spec"])

    check()
    assert min(counts.values()) > examples(thorough) / 20, counts


# The real command


def plan(checkout: Checkout, content: str | bytes, *config: str) -> tuple[int, str]:
    """`snakemake -n` with that as config.yaml: its exit status, and what it printed."""
    data = content if isinstance(content, bytes) else content.encode()
    (checkout.folder / "config.yaml").write_bytes(data)
    status, said = checkout.said("snakemake", "--cores", "1", "--dry-run", *(["--config", *config] if config else []))
    assert "Warning" not in said, said
    return status, said


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("a checkout"))


def test_what_is_a_study_plans_and_what_is_none_is_a_sentence_of_the_command(
    checkout: Checkout, thorough: bool
) -> None:
    """A sample of the mutated configurations, dumped as YAML, as far as YAML can hold them."""
    sample: dict[bool, list[str]] = {True: [], False: []}
    wanted = {True: 30, False: 15} if thorough else {True: 2, False: 1}

    @settings(
        max_examples=400,  # more than enough for the sample
        derandomize=not thorough,
        database=None,
        suppress_health_check=HEALTH,
    )
    @given(MUTATIONS)
    def collect(mutations: list[tuple[Any, ...]]) -> None:
        if all(len(texts) == wanted[fits] for fits, texts in sample.items()):
            return
        config, changed = mutated(mutations)
        try:
            text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
            again = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError, ValueError):
            return
        fits = not outcome(again)
        if changed and again != CONFIG and len(sample[fits]) < wanted[fits] and text not in sample[fits]:
            sample[fits].append(text)

    collect()
    assert {fits: len(texts) for fits, texts in sample.items()} == wanted
    for fits, texts in sample.items():
        for text in texts:
            status, said = plan(checkout, text)
            assert (status == 0) == fits, said
            assert fits or "The configuration has problems:" in said or "config.yaml" in said, said


def bomb() -> str:
    """Ten billion words in ten lines."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    return "\n".join(lines + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)])


FILES: dict[str, tuple[str | bytes, str]] = {
    "a key twice": (f"{TEXT}\npreset: full\n", "gives the key preset again, after line 4."),
    "a key twice in JSON": ('{"preset": "full", "preset": "smoke"}', "config.yaml gives the key preset again."),
    "JSON": (json.dumps(CONFIG | {"preset": "fall"}), "preset is 'fall'; did you mean full?"),
    "an experiment twice": (
        f"{TEXT}\n  pixel_transformer: {{}}\n",
        "gives the key pixel_transformer again, after line ",
    ),
    "a bomb": (bomb(), "line 5, has more than 100000 values, anchors resolved."),
    "tabs": ("preset: smoke\n\tresults: x\n", "config.yaml, line 2, is no YAML: found character '\\t'"),
    "torn": (TEXT[: TEXT.index("lost_header_rows")], "experiments.pixel_transformer.spec."),
    "torn in a word": (TEXT[: TEXT.index("[test/acc") + 4], "is no YAML: expected ',' or ']'"),
    "binary": (bytes(range(256)), "config.yaml is no"),
    "UTF-16": (TEXT.encode("utf-16"), "config.yaml is not UTF-8 text"),
    "Latin-1": ("preset: caf\xe9".encode("latin-1"), "config.yaml is not UTF-8 text"),
    "empty": ("", "Config file must be given as JSON or YAML with keys at top level."),
    "a list": ("- preset\n", "Config file must be given as JSON or YAML with keys at top level."),
    "a word": ("preset", "Config file must be given as JSON or YAML with keys at top level."),
    "a circle": ("a: &a {b: *a}", "config.yaml is nested too deep, or has an anchor (&) within itself."),
    "deep": (f"a: {'[' * 3000}{']' * 3000}", "config.yaml is nested too deep"),
    "rather deep": (f"{TEXT}\na: {'[' * 60}{']' * 60}", "is nested too deep, or contains itself."),
    "a long number": (f"{TEXT}\na: {'9' * 5000}", "config.yaml is no YAML: Exceeds the limit (4300 digits)"),
    "a long hexadecimal number": (
        f"{TEXT}\na: 0x{'f' * 5000}",
        "a is a number of 20000 bits; it must have at most 63.",
    ),
    "half a character": (TEXT.replace("Blog CNN", '"\\ud800"'), "blog_cnn.title is '\\ud800', with half a character"),
    "a control character": (f"{TEXT}\na: \x01", "config.yaml is no YAML: unacceptable character #x0001"),
    "no date": (f"{TEXT}\na: 2020-13-45", "config.yaml is no YAML: month must be in 1..12."),
    "a date": (f"{TEXT}\na: 2020-12-24", "a is 2020-12-24 (a date); put it in quotes if it is meant as text."),
    "code": (f"{TEXT}\na: !!python/object/apply:os.getcwd []", "could not determine a constructor for the tag"),
    "code for Snakemake": (f"{TEXT}\n__use_yte__: true\n", "config.yaml has the key __use_yte__"),
    "no anchor": (f"{TEXT}\na: *b", "is no YAML: found undefined alias 'b'."),
    "a key that is a list": (f"{TEXT}\n? [a, b]\n: 5\n", "has a key that is no text."),
    "merged with nothing": (f"{TEXT}\n<<: 5\n", "expected a mapping or list of mappings for merging"),
    "two documents": (f"{TEXT}\n---\npreset: full\n", "is no YAML: but found another document."),
}
QUICK = ("code for Snakemake",)


@pytest.mark.parametrize("case", FILES)
def test_a_damaged_file_is_one_sentence(checkout: Checkout, case: str, thorough: bool, tmp_path: Path) -> None:
    content, sentence = FILES[case]
    path = tmp_path / "config.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:  # as the workflow does it, without Snakemake's seconds
        said = outcome(read_configuration(path))
    except UserError as error:
        said = str(error)
    assert said or case == "code for Snakemake"
    assert sentence in said or sentence.startswith(("Config file", "config.yaml has the key")), said
    if thorough or case in QUICK:
        status, said = plan(checkout, content)
        assert status == 1
        assert sentence in said, said


def test_merge_keys_are_no_key_twice(checkout: Checkout, thorough: bool) -> None:
    if not thorough:
        pytest.skip("with --thorough")
    status, said = plan(checkout, f"{TEXT}\n<<: {{only: [vit16_tiny], preset: full}}\n", "seeds=1")
    assert status == 0, said
    assert len([line for line in said.splitlines() if line.startswith("rule train:")]) == 1
    assert "results/laptop/runs/vit16_tiny/seed0.json" in said  # what stands there itself is stronger


PAIRS = {
    "seeds=-1": "seeds is -1; it must be a number of seeds",
    "seeds=1e3": "seeds is 1000.0; it must be a number of seeds",
    "seeds=nan": "seeds is nan; it must be a finite number.",
    "seeds=0x10": "seeds is '0x10'; it must be",
    "seeds=": "seeds is None; it must be",
    "only=": "only is None; it must be a list of the experiments",
    "only=pixel_transformer,,blog_cnn": "only names the experiment ''",
    "only=[pixel_transformer,pixel_transformer]": "only has 'pixel_transformer' twice",
    "preset=[smoke]": "preset is ['smoke']; it must be text.",
    "results=a{b}c": "results is 'a{b}c'; it must be a path without braces",
    "results=-x": "results is '-x'; it must be a path",
    "results=a\nb": "results is 'a\\nb'; it must be a path",
    'data={folder: "{x}"}': "data.folder is '{x}'; it must be a path",
    "experiments=5": "experiments is 5; it must be a block of keys.",
    'experiments={"blog_vit": {"spec": {"model": {"heads": 3}}}}': "experiments.blog_vit.spec.model.heads is '3'; it",
}


@pytest.mark.parametrize("pair", PAIRS)
def test_what_the_command_line_overrides_is_checked(checkout: Checkout, pair: str, thorough: bool) -> None:
    if not thorough and pair != "results=a{b}c":
        pytest.skip("with --thorough")
    status, said = plan(checkout, TEXT, pair)
    assert status == 1
    assert PAIRS[pair] in said, said


@pytest.mark.parametrize("folder", ["./mine", "mine//", "a*b?[c]", "$(touch pwned); é ☃ 'x' \"y\""])
def test_odd_folders_plan(checkout: Checkout, folder: str, thorough: bool) -> None:
    if not thorough and folder != "./mine":
        pytest.skip("with --thorough")
    status, said = plan(checkout, TEXT, f"results={folder}", "only=vit16_tiny", "seeds=1")
    assert status == 0, said
    assert "redundant" not in said
    assert not (checkout.folder / "pwned").exists()
