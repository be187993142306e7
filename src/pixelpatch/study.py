"""The configuration, read: which runs a study has, and every sentence about what is wrong with it.

`resolve` is all that anything else needs: configuration in, study out, or one UserError that lists all problems.
"""

import copy
import difflib
import math
from collections.abc import Iterator
from typing import Any

from pixelpatch.checks import model_problems
from pixelpatch.errors import UserError

Json = dict[str, Any]
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def resolve(config: Json, schema: Json) -> Json:
    """The study that `config` describes, valid under the JSON schema `schema`.

    Returns the preset's name; `analysis`; `experiments` (title, source, claims, the `spec` as it will run, whether that
    is `narrowed`, and how); and `runs`, one per experiment × seed, each with the path of its record below the results
    folder of the preset. Raises UserError with one sentence per problem.
    """
    config = copy.deepcopy(config)
    problems = list(_unfit_values(config)) or _extend(config) or list(_schema_problems(config, schema))
    problems = problems or list(_inconsistencies(config))
    if problems:
        lines = (f"  {problem}" for problem in dict.fromkeys(problems))  # several rules can find the same thing
        raise UserError("\n".join(["The configuration has problems:", *lines]))
    preset = config["presets"][config["preset"]]
    narrow = preset.get("narrow", {})
    experiments = {}
    for name, block in config["experiments"].items():
        spec = merge(block["spec"], merge(narrow.get("all", {}), narrow.get(name, {})))
        if "limit" in spec["data"]:  # a limit on a split that the experiment does not have is none
            kept = {k: v for k, v in spec["data"]["limit"].items() if k != "validation" or "validation" in spec["data"]}
            spec["data"]["limit"] = kept
        experiments[name] = {
            "title": block["title"],
            "source": block["source"],
            "spec": spec,
            "narrowed": spec != block["spec"],
            "narrowing": "; ".join(_differences(block["spec"], spec)),
            "claims": block.get("claims", {}),
        }
    return {
        "preset": config["preset"],
        "analysis": config["analysis"],
        "experiments": experiments,
        "runs": [
            {"experiment": name, "seed": seed, "record": f"runs/{name}/seed{seed}.json"}
            for name in selected_experiments(config)
            for seed in selected_seeds(config)
        ],
    }


def merge(base: Json, change: Json) -> Json:
    """`base` with `change` laid over it, dictionaries key by key; None removes a key."""
    merged = dict(base)
    for key, value in change.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key, {}), dict):
            merged[key] = merge(merged.get(key, {}), value)
        else:
            merged[key] = value
    return merged


def selected_experiments(config: Json) -> list[str]:
    """The names under `only`, or all of them."""
    only = config.get("only", list(config["experiments"]))
    return only.split(",") if isinstance(only, str) else only


def selected_seeds(config: Json) -> list[int]:
    """The seeds that run: a number counts them from 0, a list (or "0,4,7") names them."""
    seeds = config.get("seeds", config["presets"][config["preset"]]["seeds"])
    if isinstance(seeds, int):
        return list(range(seeds))
    return [int(seed) for seed in (seeds.split(",") if isinstance(seeds, str) else seeds)]


def _extend(config: Json) -> list[str]:
    """Merge every experiment that `extends` another into it, in place; returns the problems."""
    experiments = config.get("experiments")
    if not isinstance(experiments, dict):
        return []

    def resolved(name: str, path: tuple[str, ...]) -> Json:
        block = experiments[name]
        parent = block.get("extends") if isinstance(block, dict) else None
        if parent is None:
            return block
        if parent in path or not isinstance(experiments.get(parent), dict):
            choices = [other for other in experiments if other not in path]
            raise UserError(f"experiments.{path[-1]}.extends is {parent!r}{_instead(str(parent), choices)}")
        base = resolved(parent, (*path, parent))
        return merge({key: value for key, value in base.items() if key not in ("claims", "extends")}, block)

    problems, merged = [], {}
    for name in experiments:
        try:
            merged[name] = resolved(name, (name,))
        except UserError as error:
            problems.append(str(error))
    config["experiments"] = merged
    return problems


def _unfit_values(value: Any, path: str = "") -> Iterator[str]:
    """What YAML can say and JSON cannot: keys that are no text, NaN, dates."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                yield f"{_join(path, key)} is not a text key; put it in quotes."
            yield from _unfit_values(item, _join(path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unfit_values(item, f"{path}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{path} is {value}; it must be a finite number."
    elif value is not None and not isinstance(value, str | int | float):
        yield f"{path} is {value} (a {type(value).__name__}); put it in quotes if it is meant as text."


def _schema_problems(config: Json, schema: Json) -> Iterator[str]:
    from jsonschema import Draft202012Validator

    errors = Draft202012Validator(schema).iter_errors(config)
    for error in sorted(errors, key=lambda error: list(map(str, error.absolute_path))):
        path = ""
        for part in error.absolute_path:
            path = f"{path}[{part}]" if isinstance(part, int) else _join(path, part)
        yield from _sentences(error, path)


def _sentences(error: Any, path: str) -> Iterator[str]:
    """A JSON schema error in words."""
    value, rule = error.instance, error.validator_value
    described = error.schema.get("description", "of another form")
    match error.validator:
        case "additionalProperties":
            known = list(error.schema["properties"])
            for key in value:
                if key not in known:
                    yield f"{_join(path, key)} is not a known key{_instead(key, known)}"
        case "required":
            for key in rule:
                if key not in value:
                    yield f"{_join(path, key)} is missing; {path or 'the configuration'} needs {', '.join(rule)}."
        case "type":
            hint = " (YAML reads 1e-3 as text: write 0.001 or 1.0e-3)" if _looks_numeric(value) else ""
            yield f"{path} is {value!r}; it must be of type {rule}{hint}."
        case "enum":
            yield f"{path} is {value!r}{_instead(str(value), rule)}"
        case "const":
            yield f"{path} is {value!r}; it can only be {rule!r}."
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum" as bound:
            yield f"{path} is {value!r}; it must be {BOUNDS[bound]} {rule}."
        case "anyOf" if "text" in error.schema.get("properties", {}):
            yield (
                f"{path} has nothing to test; give it a metric and one of documented, curve, falls_every_epoch, "
                "dips_only_at or better_than, or a reason as not_tested."
            )
        case "anyOf":
            yield f"{path} is {value!r}; it must be {described}."
        case "pattern":
            kind = "name" if path == "" or value not in path else "value"
            yield f"{path or kind} is {value!r}; it must match {rule}."
        case _:
            yield f"{path or 'the configuration'}: {error.message}."


def _inconsistencies(config: Json) -> Iterator[str]:
    """What no schema sees: names that must exist, settings that must fit together."""
    experiments, presets = config["experiments"], config["presets"]
    if config["preset"] not in presets:
        yield f"preset is {config['preset']!r}{_instead(config['preset'], list(presets))}"
        return
    names = selected_experiments(config)
    for name in names:
        if name not in experiments:
            yield f"only names the experiment {name!r}{_instead(name, list(experiments))}"
    for thing, chosen in (("only", names), ("seeds", selected_seeds(config))):
        for twice in sorted({item for item in chosen if chosen.count(item) > 1}):
            yield f"{thing} has {twice!r} twice; name each once."
    for preset, block in presets.items():
        for name in block.get("narrow", {}):
            if name not in experiments and name != "all":
                yield f"presets.{preset}.narrow.{name} is no experiment{_instead(name, [*experiments, 'all'])}"
    for name, block in experiments.items():
        for problem in _spec_problems(block["spec"]):
            yield f"experiments.{name}.spec.{problem}"
        for claim, said in block.get("claims", {}).items():
            for problem in _claim_problems(said, block["spec"], experiments):
                yield f"experiments.{name}.claims.{claim}{problem}"


def _spec_problems(spec: Json) -> Iterator[str]:
    data, model, training = spec["data"], spec["model"], spec["training"]
    image = data.get("resize", 28) * (2 if "grids" in data else 1)
    for problem in model_problems(model, image):
        yield f"model.{problem}"
    if ("grids" in data) != (model["name"] == "grid_reader"):
        yield f"data.grids and model.name {model['name']} do not fit; the model grid_reader, and no other, reads grids."
    if "grids" in data:
        for key in ("validation", "augmentation"):
            if key in data:
                yield f"data.{key} is not supported with data.grids; leave it out."
    images = data.get("sample", {"images": 60000})["images"] - bool(data.get("lost_header_rows"))
    if (held_out := data.get("validation", {"images": 0})["images"]) >= images:
        yield f"data.validation.images is {held_out}; it must leave some of the {images} to train on."
    for key, (low, high) in data.get("augmentation", {}).get("crop", {}).items():
        if low > high:
            yield f"data.augmentation.crop.{key} is [{low}, {high}]; write the smaller number first."
    if spec["evaluation"]["checkpoint"] == "best_validation" and "validation" not in data:
        yield "evaluation.checkpoint is best_validation, but data.validation is missing; add it, or choose last."
    if "momentum" in training and training["optimiser"] != "sgd":
        yield f"training.momentum is for sgd; leave it out with {training['optimiser']}."
    if "microbatch" in training and model.get("attend_over") == "batch":
        yield "training.microbatch would change what attend_over batch computes; leave it out."
    trained = data["grids"]["train"] if "grids" in data else images - held_out
    if training["drop_last"] and training["batch"] > trained:
        yield f"training.batch is {training['batch']}, more than the {trained} there are; drop_last would leave none."


def _claim_problems(claim: Json, spec: Json, experiments: Json) -> Iterator[str]:
    epochs = spec["training"]["epochs"]
    if "better_than" in claim and claim["better_than"] not in experiments:
        yield f".better_than is {claim['better_than']!r}{_instead(claim['better_than'], list(experiments))}"
    if "metric" in claim and claim["metric"] not in (known := list(_metrics(spec))):
        yield f".metric is {claim['metric']!r}{_instead(claim['metric'], known)}"
    if "curve" in claim and (length := len(claim["curve"].split())) != epochs:
        yield f".curve has {length} numbers; spec.training.epochs is {epochs}, so it needs {epochs}."
    if claim.get("epoch", 1) > epochs:
        yield f".epoch is {claim['epoch']}; the experiment has {epochs}."


def _metrics(spec: Json) -> Iterator[str]:
    """The metrics that a run of `spec` has."""
    yield from ("train/loss", "data/train_images", "data/test_images", "model/parameters")
    if "grids" in spec["data"]:
        yield from ("test/sequence_accuracy", "test/digit_accuracy", "model/vocabulary")
    else:
        yield from ("test/loss", "test/accuracy", "test/correct")
    if "validation" in spec["data"]:
        yield from ("validation/loss", "validation/accuracy", "data/validation_images")
    if spec["evaluation"]["checkpoint"] == "best_validation":
        yield "validation/best_epoch"
    if "patch" in spec["model"]:
        yield "model/sequence_length"


def _differences(before: Json, after: Json, path: str = "") -> Iterator[str]:
    """What distinguishes two specs, key by key: "training.epochs 1 instead of 25"."""
    for key in after:
        name, old, new = _join(path, key), before.get(key), after[key]
        if isinstance(new, dict):
            yield from _differences(old or {}, new, name)
        elif new != old:
            yield f"{name} {new}" + ("" if old is None else f" instead of {old}")


def _instead(wrong: str, known: list[Any]) -> str:
    """What would be right: "; did you mean width? Known: …"."""
    close = difflib.get_close_matches(wrong, [str(item) for item in known], n=1)
    return (f"; did you mean {close[0]}?" if close else ";") + f" Known: {', '.join(map(str, known))}."


def _looks_numeric(value: Any) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)
