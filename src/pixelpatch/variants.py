"""Experiments that are made of others: those that extend one, and families, which vary settings of one."""

import math
from collections.abc import Iterator, Mapping
from itertools import chain, product
from typing import Any

from pixelpatch.checks import instead, join
from pixelpatch.errors import UserError

Json = dict[str, Any]
MOST_MEMBERS = 1000  # of a family
OWN = (
    "author_run",
    "claims",
    "equivalent_to",
    "extends",
    "may_diverge",
    "mends",
    "basis",
    "vary",
    "write_up",
)  # keys that are not inherited


def merge(base: Json, change: Json) -> Json:
    """`base` with `change` laid over it, dictionaries key by key; None removes a key (JSON Merge Patch, RFC 7396)."""
    merged = dict(base)
    for key, value in change.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = merge(merged[key] if isinstance(merged.get(key), dict) else {}, value)
        else:
            merged[key] = value
    return merged


def extend(config: Json) -> list[str]:
    """Merge every experiment that `extends` another into it, in place; returns the problems."""
    experiments = config.get("experiments") if isinstance(config, dict) else None
    if not isinstance(experiments, dict):
        return []

    problems, merged = [], {}

    def resolved(name: str, path: tuple[str, ...]) -> Json:
        block = experiments[name]
        parent = block.get("extends") if isinstance(block, dict) else None
        if parent is None:
            return block
        if parent in path:
            raise UserError(f"experiments.{path[-1]}.extends is {parent!r}, which extends {path[-1]} itself.")
        if not isinstance(parent, str) or not isinstance(experiments.get(parent), dict):
            raise UserError(
                f"experiments.{path[-1]}.extends is {shown(parent)}"
                f"{instead(parent, [other for other in experiments if other not in path])}"
            )
        base = resolved(parent, (*path, parent))
        problems.extend(
            f"experiments.{name}.{join(place, key)} is no key of {parent} to remove{instead(key, known)}"
            for place, key, known in _vain_removals(base, block)
        )
        return merge({key: value for key, value in base.items() if key not in OWN}, block)

    for name in experiments:
        try:
            merged[name] = resolved(name, (name,))
        except UserError as error:
            problems.append(str(error))
    config["experiments"] = merged
    return problems


def _vain_removals(base: Json, change: Json, path: str = "") -> Iterator[tuple[str, str, list[str]]]:
    """Where `change` has a key that is None and not in `base`: the dotted place, the key, and those that are there."""
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            yield from _vain_removals(base[key], value, join(path, key))
        elif value is None and path and key not in base:
            yield path, key, list(base)


def vary(config: Json) -> list[str]:
    """Put, in a valid configuration, one experiment per combination of values in the place of every one with `vary`.

    `blog_budget`, which varies training.learning_rate and training.momentum, becomes `blog_budget-0.001-0.0` and so on;
    each has in `vary` the `family` and its `settings`. Settings that vary together are one key, "training.batch,
    training.epochs", with a list of values for each choice. `only` may name a family. Returns the problems.
    """
    problems, experiments = [], {}
    families: dict[str, list[str]] = {}
    for name, block in config["experiments"].items():
        if "vary" not in block:
            experiments[name] = block
            continue
        if (members := math.prod(map(len, block["vary"].values()))) > MOST_MEMBERS:
            problems.append(f"experiments.{name}.vary makes {members} experiments; it may make {MOST_MEMBERS}.")
            continue
        common = {key: value for key, value in block.items() if key != "vary"}
        try:
            choices = [_choices(key, values) for key, values in block["vary"].items()]
        except UserError as error:
            problems.append(f"experiments.{name}.vary.{error}")
            continue
        for choice in product(*choices):
            settings = dict(chain.from_iterable(choice))
            member = "-".join([name, *map(written, settings.values())])
            if member in experiments:
                problems.append(f"experiments.{name}.vary makes two experiments {member}; leave one of them out.")
            families.setdefault(name, []).append(member)
            experiments[member] = merge(common, _nested(settings)) | {
                "title": f"{block['title']}: {described(settings)}",
                "vary": {"family": name, "settings": settings},
            }
    config["experiments"] = experiments
    if "only" in config:
        names = config["only"].split(",") if isinstance(config["only"], str) else config["only"]
        config["only"] = [member for name in names for member in families.get(name, [name])]
    return problems


def _choices(key: str, values: list[Any]) -> list[list[tuple[str, Any]]]:
    """The choices of a key of `vary`, as the settings that each makes. Raises UserError where one does not fit."""
    settings = key.split(", ")
    choices = [value if isinstance(value, list) else [value] for value in values]
    for choice in choices:
        if len(choice) != len(settings):
            raise UserError(f"{key} has {shown(choice)}; each of its choices must have {len(settings)} value(s).")
    return [list(zip(settings, choice, strict=True)) for choice in choices]


def of_family(problem: str, config: Json) -> str:
    """A sentence about one of a family, said of the family's `vary`: the rest of its spec has been found right."""
    for name, block in config["experiments"].items():
        if "vary" in block:
            problem = problem.replace(f"experiments.{name}.spec.", f"experiments.{block['vary']['family']}.vary.")
    return problem


def members(experiments: Mapping[str, Json], family: str) -> list[str]:
    """The experiments that a block with `vary` stands for, in the configuration's order."""
    return [name for name, block in experiments.items() if (block.get("vary") or {}).get("family") == family]


def described(settings: Json) -> str:
    """Settings in words: "learning rate 0.001, momentum 0.9"."""
    return ", ".join(f"{setting(key)} {written(value)}" for key, value in settings.items())


def setting(key: str) -> str:
    """A setting's dotted path in words: "learning rate", "grids fresh"."""
    return (key.partition(".")[2] or key).replace(".", " ").replace("_", " ")


def written(value: Any) -> str:
    """A setting's value as in YAML: true, 0.001, adam."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    return cut(repr(value))


def cut(text: str) -> str:
    """`text`, its end replaced by an ellipsis where it is long."""
    return text if len(text) <= 80 else f"{text[:79]}…"


def _nested(settings: Json) -> Json:
    """The change of a block that sets dotted keys of its spec."""
    change: Json = {}
    for key, value in settings.items():
        block = change
        for part in ["spec", *key.split(".")[:-1]]:
            block = block.setdefault(part, {})
        block[key.rpartition(".")[2]] = value
    return change
