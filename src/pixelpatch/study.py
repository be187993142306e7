"""The configuration, read: which runs a study has, and every sentence about what is wrong with it.

`resolve` is all that anything else needs: configuration in, study out, or one UserError that lists all problems.
"""

import copy
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pixelpatch import variants
from pixelpatch.admissible import admissible_problems
from pixelpatch.basis import basis_problems, open_settings
from pixelpatch.checks import complete, differing, instead, spec_problems, split_sizes
from pixelpatch.errors import UserError
from pixelpatch.files import read_json
from pixelpatch.metrics import BATCH_LOSS, EXACT, curve_length, curves_of, facts_of, metrics_of
from pixelpatch.questions import at, has, identification_problems, patch_problems
from pixelpatch.record import PROGRESS, progress_file
from pixelpatch.schema import of_specs, schema_problems, unfit_values
from pixelpatch.variants import extend, merge, of_family, shown, vary

Json = dict[str, Any]
STUDY_FORMAT = 2  # of study.json; to be increased when readers need other keys
RECORDED = "recorded"  # seeds: those that have a record already
OF_CURVES = ("curve", "falls_every_epoch", "dips_at")
KINDS = ("documented", *OF_CURVES, "better_than", "worse_than", "first_labels", "reading")  # of claims
_RUN_FILE = re.compile(rf"seed(0|[1-9]\d*)(\.json|{re.escape(PROGRESS)})")
NO_SYSTEMS = ("author_run", "equivalent_to", "mends", "vary")  # keys of experiments that are there for a system's sake


def resolve(config: Json, schema: Json) -> Json:
    """The study that `config` describes, valid under the JSON schema `schema`.

    Returns the `format`; the preset's name; `analysis`; `identify`; `admissible`; `patches`; `experiments` (title,
    source, write_up, resources, claims, `basis` and, by it, the settings that are `unstated`; `may_diverge`;
    `equivalent_to`, `mends`, `author_run` and `vary` or None; the `spec` as it will run, whether that is `narrowed`,
    how, and the `documented` values of what is; whether it is `selected`; and the seeds `wanted` by the preset); and
    `runs`, one per selected experiment × seed, each with the path of its record below the preset's results folder. With
    `seeds: recorded`, a run in progress has the path of its progress file instead.
    Raises UserError with one sentence per problem.
    """
    problems = list(unfit_values(config))
    if not problems:
        config = copy.deepcopy(config)
        problems = [*expand_paths(config), *extend(config), *schema_problems(config, schema)]
    if not problems:
        problems = vary(config) or list(schema_problems(config, of_specs(schema))) or list(_inconsistencies(config))
        problems = [of_family(problem, config) for problem in problems]
    if problems:
        lines = (f"  {problem}" for problem in dict.fromkeys(problems))  # several rules can find the same thing
        raise UserError("\n".join(["The configuration has problems:", *lines]))
    preset, selected = config["presets"][config["preset"]], selected_experiments(config)
    experiments = {}
    for name, block in config["experiments"].items():
        spec = narrowed(block["spec"], preset, name)
        experiments[name] = {
            "title": block["title"],
            "source": block["source"],
            "write_up": block.get("write_up", name),
            "resources": block["resources"],
            "spec": spec,
            "narrowed": spec != block["spec"],
            "narrowing": "; ".join(_narrowing(block["spec"], spec)),
            "documented": {
                path: at(block["spec"], path)
                for path in sorted(differing(spec, block["spec"]))
                if has(block["spec"], path)
            },
            "claims": block.get("claims", {}),
            "basis": block.get("basis", {}),
            "unstated": open_settings(block["spec"], block["basis"]) if "basis" in block else [],
            "selected": name in selected,
            "wanted": [] if preset["seeds"] == RECORDED else preset_seeds(config, name),
            "may_diverge": block.get("may_diverge", False),
            "equivalent_to": block.get("equivalent_to"),
            "mends": {"system": block["extends"]} | block["mends"] if "mends" in block else None,
            "author_run": {"system": block["extends"], "text": block["author_run"]} if "author_run" in block else None,
            "vary": block.get("vary"),
        }
    return {
        "format": STUDY_FORMAT,
        "preset": config["preset"],
        "analysis": config["analysis"],
        "identify": config["identify"],
        "admissible": config.get("admissible", {}),
        "patches": config["patches"],
        "experiments": experiments,
        "runs": [
            {"experiment": name, "seed": seed, "record": f"runs/{name}/{_file(config, name, seed)}"}
            for name in selected
            for seed in selected_seeds(config, name)
        ],
    }


def expand_paths(config: Json) -> list[str]:
    """Expand `~` and `$VARIABLE` in the paths of `config`; returns a sentence for each path where that fails."""
    if not isinstance(config, dict):  # as the schema says next
        return []
    data = config.get("data")
    data = data if isinstance(data, dict) else {}
    sources = data.get("sources")
    places = [(config, "results", "results"), (data, "folder", "data.folder")]
    for number, source in enumerate(sources if isinstance(sources, list) else ()):
        places.append((source if isinstance(source, dict) else {}, "path", f"data.sources[{number}].path"))
    problems = []
    for block, key, name in places:
        if isinstance(path := block.get(key), str):
            unknown = [
                variable
                for found in re.finditer(r"\$(\w+)|\$\{([^}]*)\}", path, re.ASCII)
                if not os.environ.get(variable := found[1] or found[2])
            ]
            expanded = os.path.expanduser(os.path.expandvars(path))
            if unknown:
                problems.append(
                    f"{name} is {path!r}, and the variable {unknown[0]} is not set; set it, or write a path."
                )
            elif expanded.startswith("~"):
                problems.append(f"{name} is {path!r}, and there is no such user; a folder of that name is './{path}'.")
            else:
                block[key] = expanded
    return problems


def _file(config: Json, name: str, seed: int) -> str:
    """The file of a run: its record or, where recorded runs are asked for and it has none, its progress file."""
    record = _runs_folder(config, name) / f"seed{seed}.json"
    in_progress = wanted_seeds(config) == RECORDED and not record.exists()
    return (progress_file(record) if in_progress else record).name


def _runs_folder(config: Json, name: str) -> Path:
    return Path(config["results"], config["preset"], "runs", name)


def read_study(path: Path) -> Json:
    """The study in a study.json. Raises UserError where the file is missing or holds none."""
    study = read_json(path)
    if not isinstance(study, dict) or not {"preset", "analysis", "experiments", "runs"} <= study.keys():
        raise UserError(f"{path} is not a study; `python -m pixelpatch study` writes one from a configuration.")
    if study.get("format") != STUDY_FORMAT:
        raise UserError(
            f"{path} has format {shown(study.get('format'))}, from another version of pixelpatch; this version reads "
            f"format {STUDY_FORMAT}: move it away and run again, or write it with `python -m pixelpatch study`."
        )
    for place, run in enumerate(study["runs"]):
        if not isinstance(run, dict) or not {"experiment", "seed", "record"} <= run.keys():
            raise UserError(f"{path} has as runs[{place}] {shown(run)}; a run has an experiment, a seed and a record.")
    return study


def systems(study: Mapping[str, Any]) -> dict[str, Any]:
    """The experiments of `study` that are systems: what claims, comparisons, accuracies and figures are about.

    The others train a system once more, only to be held against it: with other numerics (`equivalent_to`), with one
    oddity less (`mends`), or with other settings (`vary`).
    """
    return {name: block for name, block in study["experiments"].items() if not any(map(block.get, NO_SYSTEMS))}


def members(study: Mapping[str, Any], family: str) -> list[str]:
    """The experiments of `study` that a block with `vary` stands for, in the configuration's order."""
    return variants.members(study["experiments"], family)


def narrowed(spec: Json, preset: Json, name: str) -> Json:
    """`spec`, of the experiment `name`, as it runs under `preset`: never more than documented, often just that."""
    narrow = preset.get("narrow", {})
    change = merge(narrow.get("all", {}), narrow.get(name, {}))
    sizes, limit = split_sizes(spec["data"]), change.get("data", {}).get("limit", {})
    limit = {split: most for split, most in limit.items() if most < sizes.get(split, 0)}
    epochs = spec["training"]["epochs"]
    epochs = min(epochs, change.get("training", {}).get("epochs", epochs))
    return merge(spec, {"training": {"epochs": epochs}} | ({"data": {"limit": limit}} if limit else {}))


def selected_experiments(config: Json) -> list[str]:
    """The names under `only`, whatever their `presets`, or all that run in the preset."""
    preset, everywhere = config["preset"], config["presets"]
    here = [name for name, block in config["experiments"].items() if preset in block.get("presets", everywhere)]
    only = config.get("only", here)
    return only.split(",") if isinstance(only, str) else only


def wanted_seeds(config: Json) -> int | str | list[int | str]:
    """The configuration's `seeds`, or its preset's."""
    return config.get("seeds", config["presets"][config["preset"]]["seeds"])


def selected_seeds(config: Json, name: str) -> list[int]:
    """The seeds from which the experiment `name` runs.

    A number counts them from 0, a list (or "0,4,7") names them, and "recorded" is those that have a record, or are in
    progress. Otherwise an experiment's own `seeds` (a count, or a list) limits them, and `fewer_seeds` those of a
    preset.
    """
    seeds = wanted_seeds(config)
    if seeds == RECORDED:
        names = (file.name for file in _runs_folder(config, name).glob("seed*.json"))
        return sorted({int(found[1]) for name in names if (found := _RUN_FILE.fullmatch(name))})
    if "seeds" not in config:
        return preset_seeds(config, name)
    return counted_seeds(seeds, config["experiments"].get(name, {}).get("seeds"))


def preset_seeds(config: Json, name: str) -> list[int]:
    """The seeds of the experiment `name` by the preset alone."""
    preset, block = config["presets"][config["preset"]], config["experiments"].get(name, {})
    return counted_seeds(preset["seeds"], block.get("seeds"))[: preset.get("fewer_seeds", {}).get(name)]


def counted_seeds(seeds: int | str | list[int | str], own: int | list[int] | None) -> list[int]:
    """Seeds as the configuration names them (a number, a list, "0,4,7"), the first `own` of them, or that list."""
    if isinstance(own, list):
        return own
    most = own
    if isinstance(seeds, int):
        return list(range(seeds))[:most]
    return [int(seed) for seed in (seeds.split(",") if isinstance(seeds, str) else seeds)][:most]


def _inconsistencies(config: Json) -> Iterator[str]:
    """What no schema sees: names that must exist, settings that must fit together."""
    experiments, presets = config["experiments"], config["presets"]
    if config["preset"] not in presets:
        yield f"preset is {config['preset']!r}{instead(config['preset'], presets)}"
        return
    names = selected_experiments(config)
    for name in names:
        if name not in experiments:
            yield f"only names the experiment {name!r}{instead(name, experiments)}"
    if not names:
        yield f"preset is {config['preset']}, which no experiment has among its presets; name some with only."
    chosen = {name: selected_seeds(config, name) for name in names}
    for thing, items in (("only", names), *(("seeds", seeds) for seeds in chosen.values())):
        for item, count in Counter(items).items():
            if count > 1:
                yield f"{thing} has {item!r} twice; name each once."
    if names and not any(chosen.values()):
        yield f"seeds is recorded, but {config['results']}/{config['preset']}/runs has no record of what was chosen."
    for preset, block in presets.items():
        for name in block.get("narrow", {}):
            if name not in experiments and name != "all":
                yield f"presets.{preset}.narrow.{name} is no experiment{instead(name, [*experiments, 'all'])}"
        for name in block.get("fewer_seeds", {}):
            if name not in experiments:
                yield f"presets.{preset}.fewer_seeds.{name} is no experiment{instead(name, experiments)}"
    metrics = {name: list(metrics_of(block["spec"])) for name, block in experiments.items()}
    known_systems = systems(config)
    families: dict[str, list[Json]] = {}
    for block in experiments.values():
        if "vary" in block:
            families.setdefault(block["vary"]["family"], []).append(block)
    for name, question in config["identify"].items():
        yield from (f"identify.{name}.{said}" for said in identification_problems(question, known_systems, families))
    for name, entry in config.get("admissible", {}).items():
        problems = admissible_problems(entry, known_systems, experiments)
        yield from (f"admissible.{name}.{said}" for said in problems)
    yield from (f"patches.{said}" for said in patch_problems(config["patches"], families))
    for name in config["weights"]:
        if name not in experiments:
            yield f"weights names the experiment {name!r}{instead(name, experiments)}"
    for metric in config["analysis"]["compare"]:
        if metric not in (known := dict.fromkeys(metric for some in metrics.values() for metric in some)):
            yield f"analysis.compare has the metric {metric!r}{instead(metric, known)}"
    for name, block in experiments.items():
        problems = list(spec_problems(block["spec"]))
        yield from (f"experiments.{name}.spec.{problem}" for problem in problems)
        for preset in presets if not problems else ():
            for problem in spec_problems(narrowed(block["spec"], presets[preset], name)):
                yield f"presets.{preset}.narrow leaves experiments.{name}.spec so that {problem}"
        for preset in block.get("presets", ()):
            if preset not in presets:
                yield f"experiments.{name}.presets names the preset {preset!r}{instead(preset, presets)}"
        kinds = [kind for kind in NO_SYSTEMS if kind in block]
        if len(kinds) > 1:
            yield f"experiments.{name} has {' and '.join(kinds)}; make an experiment of each."
        if kinds:
            for key in ("claims", "basis"):
                if block.get(key):
                    yield (
                        f"experiments.{name}.{key} is about what a write-up documents, which {kinds[0]} is not about; "
                        "leave one of them out."
                    )
            check = {
                "author_run": _author_run_problems,
                "equivalent_to": _equivalence_problems,
                "mends": _mending_problems,
            }.get(kinds[0])
            for problem in check(block, known_systems, metrics) if check else ():
                yield f"experiments.{name}.{problem}"
            continue
        if "basis" in block:
            yield from (f"experiments.{name}.basis{said}" for said in basis_problems(block["spec"], block["basis"]))
        known = [other for other in experiments if other in known_systems or "mends" in experiments[other]]
        for claim, said in block.get("claims", {}).items():
            for problem in _claim_problems(said, name, block["spec"], {other: metrics[other] for other in known}):
                yield f"experiments.{name}.claims.{claim}{problem}"


def _claim_problems(claim: Json, name: str, spec: Json, metrics: dict[str, list[str]]) -> Iterator[str]:
    kinds = [
        key
        for key in KINDS
        if key in claim and not (key == "documented" and {"better_than", "worse_than"} & claim.keys())
    ]
    if len(kinds) > 1:
        yield f" has {' and '.join(kinds)}; make a claim of each."
    kind, known, epochs = "metric", metrics[name], spec["training"]["epochs"]
    if "epoch" in claim or any(key in kinds for key in OF_CURVES):
        kind, known = "curve", list(curves_of(spec))
    if claim.get("metric", "").startswith(EXACT):
        kind, known = "fact", list(facts_of(spec))
    if "metric" in claim and claim["metric"] not in known:
        yield f".metric is {claim['metric']!r}, no {kind} of {name}{instead(claim['metric'], known)}"
    for key in ("better_than", "worse_than"):
        if (other := claim.get(key)) is None:
            continue
        if other not in metrics or other == name:
            yield f".{key} is {other!r}{instead(other, [known for known in metrics if known != name])}"
        elif "metric" in claim and claim["metric"] not in metrics[other]:
            yield f".{key} is {other!r}, which has no {claim['metric']}."
    if "curve" in claim and claim.get("metric") in known:
        length, needed = len(claim["curve"].split()), curve_length(spec, claim["metric"])
        if length != needed:
            said = "epochs, batch and log_every" if claim["metric"] == BATCH_LOSS else "epochs"
            wanted = f"by its spec's {said}, {claim['metric']} has {needed}: it needs {needed}."
            yield f".curve has {length} numbers; {wanted}"
    for first, second in claim.get("dips_at", []):
        if second != first + 1 or second > epochs:
            yield f".dips_at has [{first}, {second}]; write pairs of consecutive epochs up to {epochs}."
    if (setting := claim.get("settles")) is not None and not has(spec, setting):
        yield f".settles is {setting!r}, no setting of its spec."
    if claim.get("epoch", 1) > epochs:
        yield f".epoch is {claim['epoch']}; the experiment has {epochs}."


def _equivalence_problems(block: Json, known: Json, metrics: dict[str, list[str]]) -> Iterator[str]:
    """What is wrong with the `block` of an experiment with `equivalent_to`; `known` are the systems."""
    other, metric = block["equivalent_to"]["experiment"], block["equivalent_to"]["metric"]
    if other not in known:
        yield f"equivalent_to.experiment is {other!r}{instead(other, known)}"
        return
    if metric not in metrics[other]:
        yield f"equivalent_to.metric is {metric!r}, no metric of {other}{instead(metric, metrics[other])}"
    plain = {"spec": {"training": {"precision": "float32"}}, "resources": {"threads": 1}}
    ours, theirs = (merge(plain, each) for each in (block, known[other]))
    differences = sorted(differing({"spec": ours["spec"]}, {"spec": theirs["spec"]}))
    if ours["resources"]["threads"] != theirs["resources"]["threads"]:
        differences.append("resources.threads")
    if differences not in (["spec.training.precision"], ["resources.threads"]):
        yield (
            f"equivalent_to names {other}, from which it differs in {', '.join(differences) or 'nothing'}; it must "
            "differ in spec.training.precision or in resources.threads, and in nothing else."
        )


def _author_run_problems(block: Json, known: Json, metrics: dict[str, list[str]]) -> Iterator[str]:
    """What is wrong with the `block` of an experiment with `author_run`; `known` are the systems."""
    if (system := block.get("extends")) not in known:
        yield f"author_run needs a system that the experiment extends; extends is {system!r}{instead(system, known)}"


def _mending_problems(block: Json, known: Json, metrics: dict[str, list[str]]) -> Iterator[str]:
    """What is wrong with the `block` of an experiment with `mends`; `known` are the systems."""
    system, metric = block.get("extends"), block["mends"]["metric"]
    if system not in known:
        yield f"mends is of the system that the experiment extends, and extends is {system!r}{instead(system, known)}"
        return
    if metric not in metrics[system]:
        yield f"mends.metric is {metric!r}, no metric of {system}{instead(metric, metrics[system])}"
    elif not metric.endswith("accuracy"):
        known_ones = ", ".join(known for known in metrics[system] if known.endswith("accuracy"))
        yield f"mends.metric is {metric!r}; an oddity's price is in points of an accuracy: {known_ones}."
    if not list(differing(complete(block["spec"]), complete(known[system]["spec"]))):
        yield f"spec is that of {system}; it must differ in the oddity that it mends."


def _narrowing(documented: Json, spec: Json) -> Iterator[str]:
    """What is narrowed in `spec`: "1 of 25 epochs", "512 of 17,999 training images"."""
    epochs, least = documented["training"]["epochs"], spec["training"]["epochs"]
    if least < epochs:
        yield f"{least} of {epochs} epochs"
    sizes, things = split_sizes(documented["data"]), "grids" if "grids" in documented["data"] else "images"
    for split, count in spec["data"].get("limit", {}).items():
        yield f"{count:,} of {sizes[split]:,} {split.replace('train', 'training')} {things}"
