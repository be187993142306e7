"""The admissible settings of a write-up, under `admissible`: the points at which its numbers are judged, and by whom.

The first block of an entry's `numbers` defines the points. Each member of its families is a point; a member that is
tested after every epoch gives one point per epoch. Members with the same settings are one point. Each further block of
numbers is judged, at a point, on the members of its own families that have the same settings.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pixelpatch.checks import complete, differing, instead
from pixelpatch.metrics import epochs_of
from pixelpatch.questions import at, grid_keys, has, number_problems
from pixelpatch.variants import members, written

Json = dict[str, Any]
Experiments = Mapping[str, Json]  # a configuration's or a study's, families as their members


class Point(NamedTuple):
    """A combination of admissible settings and a number of epochs, and who speaks for each of the entry's numbers."""

    settings: Json
    epochs: int
    speakers: list[list[str]]  # a list of experiments, all of one spec, for each block of the entry's `numbers`


def points(entry: Json, experiments: Experiments) -> list[Point]:
    """The points of an entry, in the order of its first families."""
    keys = open_keys(entry, experiments)
    speakers = [_at_settings(use, keys, experiments) for use in entry["numbers"]]
    return [
        Point(dict(zip(keys, values, strict=True)), epochs, [held.get(values, []) for held in speakers])
        for values, names in speakers[0].items()
        for epochs in epochs_of(experiments[names[0]]["spec"])
    ]


def open_keys(entry: Json, experiments: Experiments) -> list[str]:
    """The settings, by dotted path, that tell the points of an entry apart, besides the number of epochs."""
    return grid_keys(experiments[name] for name in _speakers(entry["numbers"][0], experiments))


def declared_for(system: str, entries: Mapping[str, Json], experiments: Experiments) -> str | None:
    """The entry that varies a setting which nobody says of `system`, None where there is none."""
    unstated = experiments[system]["unstated"]
    for name, entry in entries.items():
        of_system = any(use["experiment"] == system for use in entry["numbers"])
        if of_system and not set(unstated).isdisjoint(open_keys(entry, experiments)):
            return name
    return None


def admissible_problems(entry: Json, systems: Experiments, experiments: Experiments) -> Iterator[str]:
    """What is wrong with a block of `admissible`; `systems` are those of the `experiments`."""
    families = dict.fromkeys(block["vary"]["family"] for block in experiments.values() if "vary" in block)
    uses = entry["numbers"]
    unknown = False
    for i, use in enumerate(uses):
        for j, family in enumerate(use["families"]):
            if family not in families:
                unknown = True
                yield f"numbers[{i}].families[{j}] is {family!r}{instead(family, families)}"
    if unknown:  # what its points are, nobody knows then
        return
    keys = open_keys(entry, experiments)
    judged: set[tuple[str, str]] = set()
    for i, use in enumerate(uses):
        place = f"numbers[{i}]"
        for j, family in enumerate(use["families"]):
            spec = experiments[members(experiments, family)[0]]["spec"]
            said = use | {"family": family}
            yield from number_problems(place, f"{place}.families[{j}]", spec, said, systems, curves=True)
        for claim in use["claims"]:
            if (use["experiment"], claim) in judged:
                yield f"{place}.claims has {claim!r} of {use['experiment']} a second time; a point judges it once."
            judged.add((use["experiment"], claim))
        specs = [experiments[name]["spec"] for name in _speakers(use, experiments)]
        if lacking := [key for key in keys if not all(has(spec, key) for spec in specs)]:
            yield f"{place}.families have runs without {', '.join(lacking)}, which tells the points apart."
            return
    yield from _unmatched(entry, keys, experiments)
    known = list(dict.fromkeys(use["experiment"] for use in uses))
    for i, system in enumerate(entry.get("author", [])):
        if system not in known:
            yield f"author[{i}] is {system!r}, which has none of the entry's numbers{instead(system, known)}"
    yield from _reason_problems(entry, keys, experiments)


def _speakers(use: Json, experiments: Experiments) -> list[str]:
    """The members of the families of a block of `numbers`."""
    return [name for family in use["families"] for name in members(experiments, family)]


def _at_settings(use: Json, keys: list[str], experiments: Experiments) -> dict[tuple, list[str]]:
    """The members of a block's families, by their values of `keys`."""
    held: dict[tuple, list[str]] = {}
    for name in _speakers(use, experiments):
        held.setdefault(tuple(at(experiments[name]["spec"], key) for key in keys), []).append(name)
    return held


def _unmatched(entry: Json, keys: list[str], experiments: Experiments) -> Iterator[str]:
    """A sentence for every block of `numbers` that speaks twice, or not at all, at a point."""
    held = [_at_settings(use, keys, experiments) for use in entry["numbers"]]
    for i, (use, speakers) in enumerate(zip(entry["numbers"], held, strict=True)):
        for first, *others in speakers.values():
            for other in others:
                specs = (complete(experiments[name]["spec"]) for name in (first, other))
                if differences := [f"spec.{key}" for key in sorted(differing(*specs))]:
                    yield (
                        f"numbers[{i}].families have {first} and {other} at the same settings, though they differ in "
                        f"{', '.join(differences)}; vary that in the families of numbers[0], or leave one of them out."
                    )
        for values, (first, *_) in held[0].items():
            wanted = epochs_of(experiments[first]["spec"])
            there = [epochs_of(experiments[name]["spec"]) for name in speakers.get(values, [])]
            if not any(own.start <= wanted.start and wanted.stop <= own.stop for own in there):
                settings = ", ".join(f"{key} {written(value)}" for key, value in zip(keys, values, strict=True))
                yield (
                    f"numbers[{i}].families ({', '.join(use['families'])}) do not speak for {first} ({settings}); vary "
                    "the same settings there, with the same spec.training.epochs and evaluation.test_every_epoch."
                )


def _reason_problems(entry: Json, keys: list[str], experiments: Experiments) -> Iterator[str]:
    """What is wrong with the reasons of an entry: one for the sweep, or one for every value."""
    if ("reason" in entry) == ("reasons" in entry):
        which = "both there; leave one out" if "reason" in entry else "both missing; give one"
        yield f"reason and reasons are {which}: a reason of the whole sweep, or reasons of every value."
        return
    values: dict[str, dict[str, None]] = {key: {} for key in keys}
    for name in _speakers(entry["numbers"][0], experiments):
        for key in keys:
            values[key][written(at(experiments[name]["spec"], key))] = None
    reasons = entry.get("reasons", values)
    for key, said in reasons.items():
        if key not in values:
            yield f"reasons.{key} is no setting that its families vary{instead(key, values)}"
            continue
        for value in said:
            if value not in values[key]:
                yield f"reasons.{key}.{value} is no value that its families have{instead(value, values[key])}"
    for key, known in values.items():
        if missing := [value for value in known if value not in reasons.get(key, {})]:
            yield f"reasons.{key} says nothing of {', '.join(missing)}; say why each value is admissible."
