# What all rules share: the checked configuration, the list of runs, and names. No rules here.
import hashlib
import json
import os
import re
import shlex
import signal
from pathlib import Path

from snakemake.exceptions import WorkflowError

from pixelpatch import __file__ as package
from pixelpatch.errors import UserError
from pixelpatch.files import canonical_json, digest
from pixelpatch.ledger import LEDGER
from pixelpatch.source import files_digest, source_digest
from pixelpatch.study import RECORDED, resolve, wanted_seeds
from pixelpatch.tables import NAMES as TABLES, TIDY
from pixelpatch.tracking import mode
from pixelpatch.yaml_files import read_yaml

# Slurm's warning before a job's time is up (train.smk) reaches every process of the job; it is for the training alone.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
if set("{}") & set(str(workflow.basedir)):
    raise WorkflowError(f"Snakemake takes the braces in {workflow.basedir} for wildcards: rename that folder.")
SCHEMA = os.path.relpath(Path(workflow.basedir) / "workflow/schemas/config.schema.yaml")
try:
    STUDY = resolve(config, read_yaml(Path(SCHEMA)))
    TRACKING = mode(config["tracking"])
except UserError as error:
    raise WorkflowError(str(error)) from None

PUBLISHED = "results/full"  # what is committed, and shown beside other results
RESULTS = str(Path(config["results"], STUDY["preset"]))  # without the "./" or "//" that Snakemake dislikes
RECORDS = [f"{RESULTS}/{run['record']}" for run in STUDY["runs"]]
EXPERIMENTS = STUDY["experiments"]
DATA = str(Path(config["data"]["folder"]))
MNIST = [
    f"{DATA}/{part}-ubyte"
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
]
# Variables of the shell and no parameters of the rules: other sources are no reason to fetch anew what is there and
# right, nor another way to train, what is trained.
SOURCES = canonical_json(config["data"]["sources"])
HOW = f"--tracking {TRACKING} --preset {STUDY['preset']}"
if config["device"] != "auto":
    HOW += f" --device {config['device']}"
PREFIX = f"MNIST_SOURCES={shlex.quote(SOURCES)}; HOW={shlex.quote(HOW)}; "
shell.prefix(PREFIX.replace("{", "{{").replace("}", "}}"))
ON_GPU = config["device"] == "cuda"
BESIDE_MB = 700  # in a job beside the training: two Snakemakes, Weights & Biases' two processes
CUDA_MEMORY_MB = 4000  # that CUDA's libraries take on the host, generously


# A figure is a file of pixelpatch/figures with a draw function.
FIGURES = sorted(
    path.stem for path in Path(package).parent.glob("figures/*.py") if "\ndef draw(" in path.read_text(encoding="utf-8")
)
# What reads the configuration and the records, and shows them: a minute's work, so all of it is done again if any changes.
ANALYSIS = files_digest(
    *("analysis", "figures", "report", "tables"),
    *(
        "answers.py",
        "attention.py",
        "basis.py",
        "checks.py",
        "findings.py",
        "formatting.py",
        "ledger.py",
        "metrics.py",
        "questions.py",
        "record.py",
        "schema.py",
        "source.py",
        "study.py",
        "variants.py",
        "weights.py",
    ),
)


def training_data(wildcards):
    """MNIST, but for a run whose record is there: a download would have Snakemake train it again."""
    record = Path(f"{RESULTS}/runs/{wildcards.experiment}/seed{wildcards.seed}.json")
    if record.exists() and not all(map(os.path.exists, MNIST)):
        return []
    # Their bytes are checked, and a fresh clone or a second download changes nothing but their times.
    return [ancient(file) for file in MNIST]


def minutes(experiment):
    """The run time to ask for."""
    return EXPERIMENTS[experiment]["resources"]["gpu_minutes" if ON_GPU else "minutes"]


def memory_mb(experiment):
    """The host memory to ask for."""
    return EXPERIMENTS[experiment]["resources"]["memory_mb"] + BESIDE_MB + (CUDA_MEMORY_MB if ON_GPU else 0)


wildcard_constraints:
    experiment="|".join(map(re.escape, EXPERIMENTS)),
    seed="[0-9]+",
    figure="|".join(FIGURES),


# Trainings alone go to a cluster. The rest is seconds of one core, which would wait in a queue behind them, and the
# download needs a network that compute nodes often lack.
localrules:
    all,
    study,
    fetch,
    collect,
    tables,
    findings,
    figure,
    report,
    track,
    weights,
