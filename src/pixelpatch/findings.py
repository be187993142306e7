"""The findings page: what the study found, on one page, all of it from the tables. Its text is in templates/."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from pixelpatch import formatting
from pixelpatch.analysis.claims import EXACT
from pixelpatch.analysis.patches import patch_name
from pixelpatch.study import members, systems
from pixelpatch.tables import read_table
from pixelpatch.tables.identification import cell

USED = (
    *("claims", "identification", "predictions", "oddities", "patch_recipe", "patch_sweep", "patch_tests"),
    *("variance", "places"),
    *("equivalence", "plan", "provenance"),
)  # of the tables


def findings(study: Mapping[str, Any], tables: Path) -> str:
    """The page as Markdown, from the tables in the folder `tables`. Raises UserError where one cannot be read."""
    environment = Environment(
        loader=PackageLoader("pixelpatch"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        autoescape=False,
    )  # fmt: skip
    environment.filters |= {
        name: getattr(formatting, name)
        for name in ("fixed", "number", "p_value", "documented", "replicated", "verdict", "side")
    }
    environment.filters |= {"cell": _cell, "counted": _counted, "tally": _tally, "trend": _trend}
    environment.globals |= {"interval": formatting.interval, "mean_sd": formatting.mean_sd}
    frames = {name: read_table(tables, name) for name in USED}
    rows = {name: frame.to_dict("records") for name, frame in frames.items()}
    for row in rows["identification"]:
        row["cell"] = cell(row)
    for row in rows["predictions"]:
        row["variant"] = formatting.text(row["variant"])
    for row in rows["patch_sweep"]:
        row |= {"name": patch_name(row["patch"]), "budget": row["train_images"] * row["epochs"]}
    counts = [row for row in rows["claims"] if formatting.text(row["metric"]).startswith(EXACT)]
    results = [row for row in rows["claims"] if row not in counts]
    least = study["analysis"]["minimum_seeds"]
    tested = [
        row
        for row in results
        if row["verdict"] != "not tested" and row["kind"] != "self-check" and row["n_seeds"] >= least
    ]
    titles = {name: block["title"] for name, block in study["experiments"].items()}
    coarse_first = sorted(rows["patch_sweep"], key=lambda row: (math.isnan(row["patch"]), -row["patch"]))
    context = {
        "study": study,
        "titles": titles,
        "results": results,
        "tested": tested,
        "untested": Counter(titles[row["system"]] for row in results if row["verdict"] == "not tested"),
        "exact": [row for row in counts if row["verdict"] != "not tested"],
        "priced": [row for row in rows["oddities"] if math.isfinite(row["p_holm"])],
        "patches": list(dict.fromkeys(row["name"] for row in coarse_first)),
        "unstated": {name: own for name, block in systems(study).items() if (own := block["unstated"])},
        "settled": {
            (name, claim): said["settles"]
            for name, block in systems(study).items()
            for claim, said in block["claims"].items()
            if "settles" in said
        },
        "next_best": {name: _next_best(rows["identification"], name) for name in study["identify"]},
        "out_of_reach": {name: _out_of_reach(rows["identification"], name) for name in study["identify"]},
        "compatible": {name: _compatible(rows, name) for name in study["identify"]},
        "held": {name: _held(rows["predictions"], name) for name in study["identify"]},
        "silent": {name: _silent(study, rows["predictions"], name) for name in study["identify"]},
        "not_run": [
            f"{row['experiment']} ({formatting.number(row['core_hours_to_do'], digits=2)})"
            for row in rows["plan"]
            if not row["recorded"]
        ],
        "fewer": [
            f"{row['experiment']} ({row['recorded']} of {row['recorded'] + row['to_do']})"
            for row in rows["plan"]
            if row["recorded"] and row["to_do"]
        ],
        "misfit": ", ".join(row["settings"] for row in rows["patch_recipe"] if row["chosen"] and not row["frozen"]),
        "diverged": _diverged(frames["provenance"]),
        "gaps": _gaps(frames["provenance"]),
        "origins": _origins(frames["provenance"]),
    }
    return environment.get_template("findings.md").render(rows | context)


def _tally(verdicts: Iterable[str]) -> str:
    """'3 reproduced, 2 not reproduced, 1 undecided'."""
    words = ("not reproduced" if verdict in ("higher", "lower") else verdict for verdict in verdicts)
    return ", ".join(f"{count} {verdict}" for verdict, count in Counter(words).most_common())


def _next_best(identification: list[dict[str, Any]], question: str) -> tuple[str, float] | None:
    """The cell that explains a question's numbers best after the identified one, and by how many times worse."""
    cells = {row["cell"]: row for row in identification if row["question"] == question and not row["identified"]}
    best = next((row for row in identification if row["question"] == question and row["identified"]), None)
    others = [row for row in cells.values() if math.isfinite(row["log_likelihood"])]
    if best is None or not others:
        return None
    second = max(others, key=lambda row: (row["compatible"], row["log_likelihood"]))
    return second["cell"], math.exp(min(best["log_likelihood"] - second["log_likelihood"], 100))


def _out_of_reach(identification: list[dict[str, Any]], question: str) -> list[dict[str, Any]]:
    """The identifying numbers of a question beyond all runs of all its cells, and the run that comes closest."""
    found = []
    for claim in dict.fromkeys(row["claim"] for row in identification if row["question"] == question):
        own = [row for row in identification if (row["question"], row["claim"]) == (question, claim)]
        least, most, documented = min(r["least"] for r in own), max(r["most"] for r in own), own[0]["documented"]
        if not least <= float(documented) <= most:
            side, closest = ("low", least) if float(documented) < least else ("high", most)
            found.append({"claim": claim, "documented": documented, "side": side, "closest": closest})
    return found


def _compatible(rows: Mapping[str, list[dict[str, Any]]], question: str) -> dict[str, list[str]]:
    """The verdicts on each predicted claim at all compatible cells of a question."""
    cells = {(row["experiment"], row["epochs"]) for row in rows["identification"] if row["compatible"]}
    verdicts: dict[str, list[str]] = {}
    for row in rows["predictions"]:
        if row["question"] == question and (row["experiment"], row["epochs"]) in cells and not row["variant"]:
            verdicts.setdefault(row["claim"], []).append(row["verdict"])
    return verdicts


def _held(predictions: list[dict[str, Any]], question: str) -> list[list[dict[str, Any]]]:
    """The predictions of a question's identified cell: a list per claim, of the cell itself and of its variants."""
    found: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for row in predictions:
        if row["question"] == question and row["identified"]:
            found.setdefault((row["claim"], bool(row["variant"])), []).append(row)
    return list(found.values())


def _silent(study: Mapping[str, Any], predictions: list[dict[str, Any]], question: str) -> list[str]:
    """The families, but for the grids themselves, that have no run at a question's identified cell."""
    speak = {row["predicted_by"] for row in predictions if row["question"] == question and row["identified"]}
    asked = study["identify"][question]
    families = dict.fromkeys(use["family"] for use in asked["predicts"] if use["family"] not in asked["grid"])
    return [family for family in families if not speak.intersection(members(study, family))]


def _gaps(provenance: pd.DataFrame) -> list[str]:
    """Seeds that were left out: missing ones below the highest recorded of their experiment."""
    return [
        f"{experiment} seed {seed}"
        for experiment, seeds in provenance.groupby("experiment", sort=False)["seed"]
        for seed in sorted(set(range(seeds.max())) - set(seeds))
    ]


def _diverged(provenance: pd.DataFrame) -> list[str]:
    """How many runs of which experiment diverged."""
    return [
        f"{experiment} ({own['diverged'].notna().sum()} of {_counted(len(own), 'run')})"
        for experiment, own in provenance.groupby("experiment", sort=False)
        if own["diverged"].notna().any()
    ]


def _origins(provenance: pd.DataFrame) -> list[str]:
    """How many runs each kind of machine, with its versions, and each version of the training code made."""
    keys = ["device", "python", "torch", "source"]
    return [
        f"{_counted(len(own), 'run')} on {device}, Python {python}, PyTorch {torch}, by training code {source}, at "
        f"{', '.join(own['commit'].str[:7].unique())}"
        for (device, python, torch, source), own in provenance.fillna("unknown").groupby(keys, sort=False)
    ]


def _cell(value: Any) -> str:
    """Text in a cell of a Markdown table."""
    return formatting.text(value).replace("|", r"\|").replace("\n", " ")


def _trend(row: Mapping[str, Any], alpha: float) -> str:
    """What a row of the trend says of ever finer patches."""
    if math.isnan(row["p_holm"]):
        return "was not tested for a trend"
    if row["p_holm"] >= alpha:
        return "shows no trend"
    return f"tends to {'rise' if row['difference'] > 0 else 'fall'}"


def _counted(count: int, thing: str, things: str = "") -> str:
    """'1 run', '2 runs'."""
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"
