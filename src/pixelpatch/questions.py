"""What a configuration asks of its families, under `identify` and `patches`, held against those families."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pixelpatch.checks import instead, split_sizes
from pixelpatch.files import canonical_json
from pixelpatch.metrics import EXACT, VALIDATION, curve_length, curves_of, epochs_of, metrics_of

Json = dict[str, Any]
Families = Mapping[str, list[Json]]  # the members of each


def identification_problems(question: Json, systems: Mapping[str, Json], families: Families) -> Iterator[str]:
    """What is wrong with a block of `identify`."""
    keys = grid_keys(member for family in question["grid"] for member in families.get(family, []))
    uses = [("by", f"grid[{i}]", family, question["by"]) for i, family in enumerate(question["grid"])]
    for i, use in enumerate(question["predicts"]):
        uses.append((f"predicts[{i}]", f"predicts[{i}].family", use["family"], use))
        if use in question["predicts"][:i]:
            yield f"predicts[{i}] is there twice."
        if use["experiment"] == question["by"]["experiment"]:
            for claim in set(use["claims"]) & set(question["by"]["claims"]):
                yield f"predicts[{i}].claims has {claim!r}, which identifies the cell: it cannot test it too."
    if "truth" in question and question["truth"] not in systems:
        yield f"truth is {question['truth']!r}{instead(question['truth'], systems)}"
    for place, named, family, use in uses:
        if family not in families:
            yield f"{named} is {family!r}{instead(family, families)}"
            continue
        spec = families[family][0]["spec"]
        if lacking := [key for key in keys if not has(spec, key)]:
            yield f"{named} is {family!r}, which has no {', '.join(lacking)} to match the grid's cells by."
        yield from number_problems(place, named, spec, use | {"family": family}, systems)


def number_problems(
    place: str, named: str, spec: Json, use: Json, systems: Mapping[str, Json], *, curves: bool = False
) -> Iterator[str]:
    """Why runs of `spec`, of a family, cannot speak for documented numbers (and `curves`).

    `use` has the `family`, `named` there, and at `place` the system (`experiment`) whose `claims` they are.
    """
    family, system = use["family"], use["experiment"]
    if system not in systems:
        yield f"{place}.experiment is {system!r}{instead(system, systems)}"
        return
    if (trains := spec["model"]["name"]) != (documents := systems[system]["spec"]["model"]["name"]):
        yield f"{named} is {family!r}, which trains a {trains}; {place}.experiment is a {documents}."
        return
    numbers = {
        name: claim
        for name, claim in systems[system].get("claims", {}).items()
        if ("documented" in claim or (curves and "curve" in claim))
        and not {"epoch", "better_than", "worse_than", "not_tested"} & claim.keys()
        and not claim.get("metric", "").startswith(EXACT)
    }
    for claim in use["claims"]:
        if claim not in numbers:
            yield f"{place}.claims has {claim!r}, no number of {system}{instead(claim, numbers)}"
        elif why := _unfit(numbers[claim], family, spec):
            yield f"{place}.claims has {claim!r}, which {why}."


def _unfit(claim: Json, family: str, spec: Json) -> str | None:
    """Why runs of `spec` have no such number or curve, None where they have."""
    metric = claim["metric"]
    if metric not in (curves_of(spec) if "curve" in claim else metrics_of(spec)):
        return f"is of {metric}; {family} has none"
    if "curve" not in claim:
        return None
    if (figures := len(claim["curve"].split())) != (needed := curve_length(spec, metric)):
        return f"has {figures} figures; by its epochs, {family} has {needed}"
    if len(epochs_of(spec)) > 1:
        return f"is a whole curve; {family} has test_every_epoch, and no such curve after fewer epochs"
    return None


def patch_problems(patches: Json, families: Families) -> Iterator[str]:
    """What is wrong with `patches`: what is compared must have a score, differ as it should, and in nothing else."""
    families_at = {}  # by size of the training set and patch
    recipes = {}
    for place, family in (("recipe", patches["recipe"]), *(("sweep", name) for name in patches["sweep"])):
        named = f"{place} names the family {family!r}"
        if family not in families:
            yield f"{named}{instead(family, families)}"
            continue
        for member in families[family]:
            spec = member["spec"]
            patch = spec["model"].get("patch")
            if VALIDATION not in metrics_of(spec):
                yield f"{named}, which has no {VALIDATION} to choose by."
            if member.get("may_diverge"):
                yield f"{named}, which may diverge; a comparison needs the score of every run."
            if place == "recipe" and patch is None:
                yield f"{named}, whose models have no patches."
            if place == "sweep":
                images = split_sizes(spec["data"])["train"]
                if (images, patch) in families_at:
                    shown = "no patches" if patch is None else f"patch {patch}"
                    yield f"{named}, which has a second model of {shown} at {images:,} training images."
                families_at[images, patch] = family
                if patch is not None:
                    recipes.setdefault(without_patch(spec), family)
    if len(recipes) > 1:
        yield f"sweep has models of unlike recipes, in {' and '.join(dict.fromkeys(recipes.values()))}; choose one."


def grid_keys(members: Iterable[Json]) -> list[str]:
    """The settings that tell the cells of a question apart, in all its grids' `members`."""
    return list(dict.fromkeys(key for member in members for key in member["vary"]["settings"]))


def without_patch(spec: Json) -> str:
    """What of a spec is alike in a comparison of patch sizes: model and training, but for patch and epochs."""
    model, training = dict(spec["model"]), dict(spec["training"])
    model.pop("patch", None)
    training.pop("epochs")
    return canonical_json([model, training])


def has(spec: Json, key: str) -> bool:
    """Whether a spec has the setting of a dotted path."""
    try:
        at(spec, key)
    except (KeyError, TypeError):  # no such key, or nothing that has keys
        return False
    return True


def at(spec: Json, key: str) -> Any:
    """The setting of a dotted path. Raises KeyError or TypeError where the spec has none."""
    for part in key.split("."):
        spec = spec[part]
    return spec
