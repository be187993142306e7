"""The findings page: what the study found, on one page, all of it from the tables. Its text is in templates/."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from pixelpatch import formatting
from pixelpatch.admissible import declared_for
from pixelpatch.analysis.patches import patch_name
from pixelpatch.analysis.specifications import shares
from pixelpatch.answers import answer
from pixelpatch.metrics import EXACT
from pixelpatch.study import systems
from pixelpatch.tables import read_table
from pixelpatch.tables.identification import cell
from pixelpatch.tables.specification_summary import out_of_sample, seeds

USED = (
    *("claims", "identification", "predictions", "oddities", "patch_recipe", "patch_sweep", "patch_tests"),
    *("variance", "places", "modes", "specifications", "specification_summary"),
    *("equivalence", "plan", "provenance", "runs"),
)  # of the tables


def findings(study: Mapping[str, Any], tables: Path) -> str:
    """The page as Markdown, from the tables in the folder `tables`. Raises UserError where one cannot be read."""
    environment = Environment(
        loader=PackageLoader("pixelpatch"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        autoescape=False,
    )  # fmt: skip
    words = "counted fixed number p_value documented replicated verdict side off rank"
    environment.filters |= {name: getattr(formatting, name) for name in words.split()}
    environment.filters |= {"plain": _plain, "tally": _tally, "trend": _trend}
    environment.globals |= {"interval": formatting.interval, "mean_sd": formatting.mean_sd}
    frames = {name: read_table(tables, name, study) for name in USED}
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
        if row["verdict"] != "not tested" and row["kind"] not in ("self-check", "reading") and row["n_seeds"] >= least
    ]
    declared = _declared(study, rows["specification_summary"])
    open_claims = {(row["system"], row["claim"]) for row in rows["specifications"]}

    def is_open(row: Mapping[str, Any]) -> bool:
        """Whether a claim is judged at every admissible setting, because its system's are open."""
        return row["system"] in declared and (row["system"], row["claim"]) in open_claims

    environment.tests["open"] = is_open
    titles = {name: formatting.markdown(block["title"]) for name, block in study["experiments"].items()}
    coarse_first = sorted(rows["patch_sweep"], key=lambda row: (math.isnan(row["patch"]), -row["patch"]))
    context = {
        "study": study,
        "titles": titles,
        "results": results,
        "tested": tested,
        "stated": [row for row in tested if not is_open(row)],
        "declared": declared,
        "curves": [_curve(study, titles, row, rows["specifications"]) for row in rows["specification_summary"]],
        "untested": Counter(titles[row["system"]] for row in results if row["verdict"] == "not tested"),
        "uncounted": Counter(titles[row["system"]] for row in counts if row["verdict"] == "not tested"),
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
        "answers": {
            name: answer(study, name, rows["identification"], rows["predictions"]) for name in study["identify"]
        },
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
        "author_runs": _author_runs(study, frames["runs"]),
        "in_progress": _in_progress(frames["provenance"]),
        "gaps": _gaps(frames["provenance"]),
        "origins": _origins(frames["provenance"]),
    }
    return environment.get_template("findings.md").render(rows | context)


def _declared(study: Mapping[str, Any], summary: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What the curve of each system comes to that has one because its settings are open."""
    results = {row["curve"]: row["result"] for row in summary}
    curves = {name: declared_for(name, study["admissible"], study["experiments"]) for name in systems(study)}
    return {name: results[curve] for name, curve in curves.items() if curve is not None}


def _curve(
    study: Mapping[str, Any], titles: Mapping[str, str], row: Mapping[str, Any], points: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    """A specification curve: its summary, its systems, and at how many points each number differs."""
    own = [point for point in points if point["curve"] == row["curve"] and not point["author"]]
    of = dict.fromkeys(titles[point["system"]] for point in own)
    differ = [
        (f"{titles[system]}'s {claim}" if len(of) > 1 else claim, *counts)
        for (system, claim), counts in shares(own).items()
    ]
    words = {"name": " and ".join(of), "seeds": seeds(row), "author": formatting.text(row["author"])}
    words |= {"out_of_sample": out_of_sample(row), "reason": study["admissible"][row["curve"]].get("reason", "")}
    return {**row, **words, "shares": differ}


def _tally(verdicts: Iterable[str]) -> str:
    """'3 reproduced, 2 not reproduced, 1 undecided'."""
    words = ("not reproduced" if verdict in ("higher", "lower") else verdict for verdict in verdicts)
    return ", ".join(f"{count} {verdict}" for verdict, count in Counter(words).most_common())


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
        f"{experiment} ({own['diverged'].notna().sum()} of {formatting.counted(len(own), 'run')})"
        for experiment, own in provenance.groupby("experiment", sort=False)
        if own["diverged"].notna().any()
    ]


def _author_runs(study: Mapping[str, Any], runs: pd.DataFrame) -> list[dict[str, Any]]:
    """Every repetition of an author's very run, and what it shows of each number that its system documents."""
    rows = []
    for name, experiment in study["experiments"].items():
        if experiment.get("author_run"):
            claims = study["experiments"][experiment["author_run"]["system"]]["claims"].values()
            for seed, own in runs[runs["experiment"] == name].groupby("seed"):
                values = own.set_index("metric")["value"]
                numbers = [
                    {"text": claim["text"], "value": values[claim["metric"]]}
                    for claim in claims
                    if "documented" in claim and claim["metric"] in values and not claim["metric"].startswith(EXACT)
                ]
                row = {"experiment": name, "seed": seed, "numbers": numbers, "text": experiment["author_run"]["text"]}
                rows.append(row | {"title": formatting.markdown(experiment["title"])})
    return rows


def _in_progress(provenance: pd.DataFrame) -> list[str]:
    """How far each run has come that is not finished."""
    left = provenance[provenance["diverged"].isna() & (provenance["epochs"] < provenance["of_epochs"])]
    return [f"{row.experiment} seed {row.seed} ({row.epochs} of {row.of_epochs} epochs)" for row in left.itertuples()]


def _origins(provenance: pd.DataFrame) -> list[str]:
    """How many runs each kind of machine made, with its versions, and at which commits."""
    keys = ["device", "python", "torch"]
    return [
        f"{formatting.counted(len(own), 'run')} on {device}, Python {python}, PyTorch {torch}, "
        f"at {', '.join(own['commit'].str[:7].unique())}"
        for (device, python, torch), own in provenance.fillna("unknown").groupby(keys, sort=False)
    ]


def _plain(value: Any) -> str:
    """Text as it is, whatever stands in it."""
    return formatting.markdown(formatting.text(value))


def _trend(row: Mapping[str, Any], alpha: float) -> str:
    """What a row of the trend says of ever finer patches."""
    if math.isnan(row["p_holm"]):
        return "was not tested for a trend"
    if row["p_holm"] >= alpha:
        return "shows no trend"
    return f"tends to {'rise' if row['difference'] > 0 else 'fall'}"
