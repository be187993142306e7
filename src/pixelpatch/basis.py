"""Where each setting of a documented system comes from: the write-up, its author's code, a template, or us.

The block `basis` of a system names settings by dotted path for each of BASES. `data.validation` stands for all settings
below it; of two names that fit, the longer one counts. `no_effect` has those of ours that cannot change a result.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pixelpatch.checks import instead, join

Json = dict[str, Any]
BASES = {
    "stated": "the write-up says so, or the code that it prints",
    "author": "the author's own published code says so",
    "template": "the public tutorial that the write-up follows says so",
    "ours": "nobody says so: a declared choice",
}
PLACES = {  # of a setting in a basis block, as a sentence begins with it
    "stated": ".stated has '{}',",
    "author": ".author.settings has '{}',",
    "template": ".template.settings has '{}',",
    "ours": ".ours.{} is",
    "no_effect": ".no_effect.{} is",
}
WORDS = {"stated": "stated", "author": "author's code", "template": "template", "ours": "ours"}


class Setting(NamedTuple):
    """A setting of a system, its value, and what it rests on."""

    path: str
    value: Any
    basis: str  # one of BASES
    source: str  # of the author's code or the template, where it is; of ours, the reason


def settings(spec: Json, basis: Mapping[str, Any]) -> Iterator[Setting]:
    """Every setting of `spec`, but for the model's name, with its basis. Raises KeyError for one that has none."""
    named = {path: ("ours" if part == "no_effect" else part, source) for part, path, source in _named(basis)}
    for path, value in leaves(spec):
        if path == "model.name" or path.startswith("data.limit."):  # the latter is a preset's
            continue
        parts = path.split(".")
        prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
        found = next((prefix for prefix in prefixes if prefix in named), None)
        if found is None:
            raise KeyError(path)
        yield Setting(path, value, *named[found])


def leaves(spec: Json, path: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted path and value of everything in `spec` that is no block."""
    for key, value in spec.items():
        if isinstance(value, dict):
            yield from leaves(value, join(path, key))
        else:
            yield join(path, key), value


def open_settings(spec: Json, basis: Mapping[str, Any]) -> list[str]:
    """The settings that neither the write-up nor its author's code says, and that can change a result."""
    without_effect = basis.get("no_effect", {})
    return [
        setting.path
        for setting in settings(spec, basis)
        if setting.basis in ("template", "ours") and setting.path not in without_effect
    ]


def basis_problems(spec: Json, basis: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the `basis` of a system: settings without one, with two, or that it does not have.

    Each is what follows the block's own place in a sentence.
    """
    known, seen = [path for path, _ in leaves(spec)], set()
    for name, path, _ in _named(basis):
        place = PLACES[name].format(path)
        if not any(leaf == path or leaf.startswith(f"{path}.") for leaf in known):
            yield f"{place} no setting of its spec{instead(path, known)}"
        elif path in seen:
            yield f"{place} there twice; a setting has one basis."
        seen.add(path)
    try:
        list(settings(spec, basis))
    except KeyError as error:
        yield f" says nothing of {error.args[0]}; name it under stated, author.settings, template.settings or ours."


def _named(basis: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The part of a `basis` block, the path and the source of everything that it names."""
    for path in basis.get("stated", []):
        yield "stated", path, ""
    for part in ("author", "template"):
        for path in basis.get(part, {}).get("settings", []):
            yield part, path, basis[part]["source"]
    for part in ("ours", "no_effect"):
        for path, reason in basis.get(part, {}).items():
            yield part, path, reason
