# What all rules share: the checked configuration, the list of runs, and names. No rules here.
import json
import os
import shlex
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

from pixelpatch import __file__ as package
from pixelpatch.errors import UserError
from pixelpatch.files import canonical_json
from pixelpatch.source import source_digest
from pixelpatch.study import resolve

SCHEMA = os.path.relpath(Path(workflow.basedir) / "workflow/schemas/config.schema.yaml")
try:
    STUDY = resolve(config, yaml.safe_load(Path(SCHEMA).read_text(encoding="utf-8")))
except UserError as error:
    raise WorkflowError(str(error)) from None

RESULTS = f"{config['results']}/{STUDY['preset']}"
RECORDS = [f"{RESULTS}/{run['record']}" for run in STUDY["runs"]]
EXPERIMENTS = STUDY["experiments"]
DATA = config["data"]["folder"]
MNIST = [
    f"{DATA}/{part}-ubyte"
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
]
# Not a parameter of the rule: other sources are no reason to fetch anew what is there and right.
SOURCES = shlex.quote(canonical_json(config["data"]["sources"]))
shell.prefix(f"MNIST_SOURCES={SOURCES}; ".replace("{", "{{").replace("}", "}}"))
TIDY = ["runs", "curves", "confusion"]
TABLES = ["claims", "comparisons", "accuracy", "equivalence"]
# A figure is a file of pixelpatch/figures with a draw function.
FIGURES = sorted(
    path.stem for path in Path(package).parent.glob("figures/*.py") if "\ndef draw(" in path.read_text(encoding="utf-8")
)


def training_data(wildcards):
    """MNIST, but for a run whose record is there: a download would have Snakemake train it again."""
    record = Path(f"{RESULTS}/runs/{wildcards.experiment}/seed{wildcards.seed}.json")
    if record.exists() and not all(map(os.path.exists, MNIST)):
        return []
    # Their bytes are checked, and a fresh clone or a second download changes nothing but their times.
    return [ancient(file) for file in MNIST]


wildcard_constraints:
    experiment="|".join(EXPERIMENTS),
    seed="[0-9]+",
    table="|".join(TABLES),
    figure="|".join(FIGURES),


localrules:
    all,
    study,
