# What all rules share: the checked configuration, the list of runs, and names. No rules here.
#
# Trainings alone go to a cluster. All other rules are local ones: they take seconds of one core, would wait in a queue
# behind the trainings, and the download needs a network that compute nodes often lack.
# Outputs are flagged `update`: if a rule fails, Snakemake restores the old files.
import atexit
import hashlib
import json
import re
import signal

from snakemake.logging import logger

from pixelpatch import __file__ as package
from pixelpatch.files import canonical_json, digest
from pixelpatch.ledger import LEDGER
from pixelpatch.lock import abandoned
from pixelpatch.machine import gpus, memory_mb as machine_memory_mb
from pixelpatch.source import files_digest, source_digest
from pixelpatch.study import RECORDED, expand_paths, resolve, wanted_seeds
from pixelpatch.tables import NAMES as TABLES, TIDY
from pixelpatch.tracking import mode
from pixelpatch.yaml_files import read_yaml

# Slurm's warning before a job's time is up (train.smk) reaches every process of the job; it is for the training alone.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
if set("{}") & set(str(CHECKOUT)):
    raise WorkflowError(f"Snakemake takes the braces in {CHECKOUT} for wildcards: rename that folder.")


def located(path):
    """Where Snakemake puts this file: a larger workflow may add a `prefix:` to the path."""
    return workflow.modifier.path_modifier.replace_prefix(path)


def ours(path):
    """The path of a file of this checkout, which no prefix changes."""
    return str(CHECKOUT / path) if IS_MODULE else os.path.relpath(CHECKOUT / path)


SCHEMA = ours("workflow/schemas/config.schema.yaml")
try:
    if workflow.modifier.skip_configfile:  # what a larger workflow's `config:` leaves out is as in this checkout
        config = read_configuration(CONFIGFILE) | config
    expand_paths(config)  # `resolve` reports the paths that could not be expanded
    PLACED = config | ({"results": located(config["results"])} if isinstance(config.get("results"), str) else {})
    STUDY = resolve(PLACED, read_yaml(Path(SCHEMA)))
    TRACKING = mode(config["tracking"])
except UserError as error:
    raise WorkflowError(str(error)) from None

RESULTS = str(Path(config["results"], STUDY["preset"]))  # without the "./" or "//" that Snakemake dislikes
PUBLISHED = ours("results/full")  # what is committed, and shown beside other results
RECORDS = [f"{RESULTS}/{run['record']}" for run in STUDY["runs"]]
EXPERIMENTS = STUDY["experiments"]
DATA = str(Path(config["data"]["folder"]))
MNIST = [
    f"{DATA}/{part}-ubyte"
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
]
# The rules take these two as resources, not params: Snakemake reruns a job whose params change, and another source or
# device is no reason to download or train again.
SOURCES = canonical_json(config["data"]["sources"])
HOW = f"--tracking {TRACKING} --preset {STUDY['preset']}"
if config["device"] != "auto":
    HOW += f" --device {config['device']}"
# True if this process runs the jobs itself. (`workflow.nodes`, from --jobs, is set on a cluster alone.)
LOCAL = workflow.is_main_process and workflow.nodes is None
ON_GPU = config["device"] == "cuda" or (config["device"] == "auto" and LOCAL and gpus() > 0)
if LOCAL:
    # Default limits on what runs at once; --resources overrides them. A job above a limit runs alone.
    workflow.global_resources.setdefault("mem_mb", machine_memory_mb())
    if ON_GPU and not IS_MODULE:  # a larger workflow's rules may want several
        workflow.global_resources.setdefault("gpu", 1)
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
        "admissible.py",
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
    record = located(f"{RESULTS}/runs/{wildcards.experiment}/seed{wildcards.seed}.json")
    if os.path.exists(record) and not all(os.path.exists(located(file)) for file in MNIST):
        return []
    # Their bytes are checked, and a fresh clone or a second download changes nothing but their times.
    return [ancient(file) for file in MNIST]


def minutes(experiment):
    """The run time to ask for."""
    return EXPERIMENTS[experiment]["resources"]["gpu_minutes" if ON_GPU else "minutes"]


def memory_mb(experiment):
    """The host memory to ask for."""
    return EXPERIMENTS[experiment]["resources"]["memory_mb"] + BESIDE_MB + (CUDA_MEMORY_MB if ON_GPU else 0)


def run_again():
    """Mark failed jobs as incomplete: Snakemake restores their `update` outputs, and would then think they had run."""
    for job in workflow.scheduler.failed if workflow.scheduler else ():
        workflow.persistence.started(job)


def in_our_words(record):
    """Log filter: rewrite one of Snakemake's messages, and drop another."""
    text = record.getMessage()
    if text.endswith("Another Snakemake instance is running."):  # logged as an error, though a dry run goes on
        record.msg, record.args = "Another Snakemake is at work in this folder; its unfinished jobs are listed too.", ()
    return not (text.startswith("Cannot restore ") and text.endswith(": no backup found."))


if workflow.is_main_process:
    atexit.register(run_again)  # no hook: a larger workflow has its own
    logger.addFilter(in_our_words)


wildcard_constraints:
    experiment="|".join(map(re.escape, EXPERIMENTS)),
    seed="[0-9]+",
    figure="|".join(FIGURES),
