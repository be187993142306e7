"""What it takes to plan and to analyse a study of very many runs, step by step.

    make benchmark-scale
    python benchmarks/scale.py --data data/mnist --output results/benchmark

Each step is the command that a user would type, run by itself in a copy of the workflow in a temporary folder, on
synthetic records that pass every check: n runs are all experiments of config.yaml and a few more like them, with ever
more seeds. Writes scale.csv (wall seconds, seconds of a core and peak memory of every step) and, for README.md,
scale.md. Nothing is trained. NOTES.md says what the numbers mean, and what breaks first.
"""

import argparse
import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.random import Generator
from tabulate import tabulate

from pixelpatch.checks import split_sizes
from pixelpatch.figures import NAMES as FIGURES
from pixelpatch.files import canonical_json, write_atomically
from pixelpatch.metrics import BATCH_LOSS, curve_length
from pixelpatch.record import FORMAT, seal_record
from pixelpatch.source import source_digest
from pixelpatch.tables import NAMES

ROOT = Path(__file__).parents[1]
WORKFLOW = ("Snakefile", "config.yaml", "profiles", "slurm", "workflow")
EXPERIMENTS = 10  # systems and checks of numerics: a thousand seeds of each are the most there can be
EXTENDED = "vit4_assignment"  # what the further ones are like
COLUMNS = ("step", "runs", "seconds", "core_seconds", "peak_memory_mb")

Row = dict[str, Any]
Spec = dict[str, Any]


def copy_workflow(folder: Path, data: Path) -> None:
    """The workflow as it is here, in `folder`, with the MNIST files of the folder `data` for its own."""
    for name in WORKFLOW:
        source = ROOT / name
        if source.is_dir() and not source.is_symlink():
            shutil.copytree(source, folder / name)
        else:
            shutil.copy(source, folder / name, follow_symlinks=False)
    (folder / "src").symlink_to(ROOT / "src")
    (folder / "data").mkdir()
    (folder / "data/mnist").symlink_to(data.absolute())


def configuration(runs: int, experiments: int = EXPERIMENTS) -> dict[str, Any]:
    """What `--configfile` lays over config.yaml: the preset full with so many runs, the seeds shared out evenly.

    Raises ValueError where `experiments`, of which config.yaml has some already (mended ones, families and authors'
    own runs are left out), do not divide `runs`.
    """
    blocks = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["experiments"]
    there = [name for name, block in blocks.items() if not {"mends", "vary", "author_run"} & block.keys()]
    if experiments < len(there) or runs % experiments:
        raise ValueError(f"{runs} runs of {experiments} experiments; take a multiple of at least {len(there)}.")
    more = {
        f"more_{number}": {
            "title": f"One more, {number}",
            "source": "made for the benchmark",
            "extends": EXTENDED,
            "spec": {"training": {"learning_rate": 0.001 + number / 1e5}},
        }
        for number in range(experiments - len(there))
    }
    return {"preset": "full", "seeds": runs // experiments, "only": [*there, *more], "experiments": more}


def write_records(study: Path) -> int:
    """A synthetic record for every run of the study.json `study`, beside it; returns their bytes."""
    written = 0
    content = json.loads(study.read_text(encoding="utf-8"))
    for run in content["runs"]:
        made = synthetic_record(run["experiment"], run["seed"], content["experiments"][run["experiment"]]["spec"])
        path = study.parent / run["record"]
        path.parent.mkdir(parents=True, exist_ok=True)
        written += path.write_text(canonical_json(made) + "\n", encoding="utf-8")
    return written


def synthetic_record(experiment: str, seed: int, spec: Spec) -> dict[str, Any]:
    """A whole record, sealed, of a run that never was: numbers as a run of `spec` might show them, by its seed."""
    rng = np.random.default_rng([seed, zlib.crc32(experiment.encode())])
    sizes, grids = split_sizes(spec["data"]), "grids" in spec["data"]
    labels = np.random.default_rng(0).integers(0, 10, sizes["test"] * (4 if grids else 1))  # the same in all runs
    wrong = rng.random(len(labels)) > rng.normal(0.93, 0.004)
    predictions = np.where(wrong, rng.integers(0, 10, len(labels)), labels)
    right = labels == predictions
    accuracy = 100 * float(right.mean())
    curve = _curves(spec["training"]["epochs"], validation="validation" in spec["data"], rng=rng)
    metrics = {f"data/{split}_images": size for split, size in sizes.items()}
    kept = spec["training"]["epochs"] - 1
    if spec["evaluation"]["checkpoint"] == "best_validation":
        kept = int(np.argmax(curve["validation/accuracy"]))
        metrics["validation/best_epoch"] = kept + 1
    metrics |= {"model/parameters": 106122, **{metric: values[kept] for metric, values in curve.items()}}
    metrics["train/loss"] = curve["train/loss"][-1]
    if grids:
        metrics |= {"test/digit_accuracy": accuracy, "model/vocabulary": 13}
        metrics["test/sequence_accuracy"] = 100 * float(right.reshape(-1, 4).all(axis=1).mean())
    else:
        metrics |= {
            "test/accuracy": accuracy,
            "test/correct": int(right.sum()),
            "test/loss": float(rng.normal(0.2, 0.01)),
        }
    if "patch" in spec["model"]:
        metrics["model/sequence_length"] = 49
    epochs = rng.normal(30, 1, spec["training"]["epochs"]).tolist()
    return seal_record(
        {
            "format": FORMAT,
            "experiment": experiment,
            "seed": seed,
            "spec": spec,
            "epochs": spec["training"]["epochs"],
            "metrics": metrics,
            "curve": curve,
            "batch_losses": _batch_losses(spec, rng),
            "predictions": _digits(predictions),
            "labels": _digits(labels),
            "timing": {"seconds": sum(epochs), "images_per_second": 1700.0, "epoch_seconds": epochs},
            "provenance": {"source": source_digest(spec), "device": "cpu (none: synthetic)"},
        }
    )


def _digits(numbers: np.ndarray) -> str:
    return (numbers + ord("0")).astype(np.uint8).tobytes().decode()


def _batch_losses(spec: Spec, rng: Generator) -> list[float]:
    """The losses of the batches that a run of `spec` logs, if it logs any."""
    if "log_every" not in spec["training"]:
        return []
    return rng.uniform(0.1, 2.3, curve_length(spec, BATCH_LOSS)).tolist()


def _curves(epochs: int, *, validation: bool, rng: Generator) -> dict[str, list[float]]:
    """Losses that fall and accuracies that rise, a value per epoch, each run's own way."""
    fall = 2.2 * np.exp(-np.linspace(0.5, 2.5, epochs))
    curves = {"train/loss": fall * rng.normal(1, 0.02, epochs)}
    if validation:
        curves["validation/loss"] = fall * rng.normal(1.1, 0.03, epochs)
        curves["validation/accuracy"] = 100 - 30 * fall * rng.normal(1, 0.02, epochs)
    return {metric: values.tolist() for metric, values in curves.items()}


def steps(folder: Path, overlay: Path, job: str) -> Iterator[tuple[str, list[str]]]:
    """The steps by name, each with its command, in the order of a study; the records are written before "plan, all
    recorded" is taken. `overlay` is the configuration's file in `folder`, `job` the record of one run.
    """
    results = folder / "results/full"
    plan = ["snakemake", "--dry-run", "--cores", "1", "--configfile", overlay.name]
    place = ["--study", str(results / "study.json"), "--tables", str(results / "tables")]
    yield "plan", plan
    yield "plan, on Slurm", [*plan, "--profile", "slurm"]
    yield "plan one job", [*plan, "--quiet", "--", job]
    yield "write study.json", _study(folder, overlay)
    yield "plan, all recorded", plan
    yield "collect", ["pixelpatch", "collect", "--data", str(folder / "data/mnist"), *place]
    for table in NAMES:
        yield f"table {table}", ["pixelpatch", "tables", table, *place]
    for figure in FIGURES:
        output = ["--data", str(folder / "data/mnist"), "--output", str(results / f"figures/{figure}.pdf")]
        yield f"figure {figure}", ["pixelpatch", "figure", figure, *place, *output]
    yield "show", ["pixelpatch", "show", str(results)]


def _study(folder: Path, overlay: Path) -> list[str]:
    """The verb that the rule `study` runs, on config.yaml with `overlay` laid over it, as Snakemake would."""
    config, top = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in (folder / "config.yaml", overlay))
    config |= {**top, "experiments": config["experiments"] | top["experiments"]}
    schema = str(folder / "workflow/schemas/config.schema.yaml")
    output = str(folder / "results/full/study.json")
    return ["pixelpatch", "study", "--config", json.dumps(config), "--schema", schema, "--output", output]


def measured(command: Sequence[str], folder: Path) -> dict[str, float]:
    """Run a Python module in `folder`: its wall seconds, seconds of a core and peak memory (10⁶ bytes).

    The memory is that of its largest process, and never less than this one's, which hence imports little. Where the
    command fails, so does this, with what it said.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryFile("w+") as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=folder, env=environment, stdout=said, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            sys.exit(f"{' '.join(command)[:300]} failed:\n{said.read()[-3000:]}")
    return {
        "seconds": seconds,
        "core_seconds": usage.ru_utime + usage.ru_stime,
        "peak_memory_mb": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6,
    }


def benchmark(runs: int, data: Path, folder: Path) -> list[Row]:
    """The rows of scale.csv for a study of so many runs, in the empty folder `folder`."""
    copy_workflow(folder, data)
    overlay = folder / "scale.yaml"
    overlay.write_text(yaml.safe_dump(configuration(runs)), encoding="utf-8")
    rows = []
    for step, command in steps(folder, overlay, f"results/full/runs/{EXTENDED}/seed0.json"):
        if step == "plan, all recorded":
            with ProcessPoolExecutor(1, get_context("spawn")) as other:  # it loads PyTorch, and this is to stay small
                written = other.submit(write_records, folder / "results/full/study.json").result()
            print(f"{runs:,} runs: records of {written / 1e6:,.0f} MB")
        rows.append({"step": step, "runs": runs} | measured(command, folder))
        print(f"{runs:,} runs: {step}, {rows[-1]['seconds']:.1f} s, {rows[-1]['peak_memory_mb']:.0f} MB", flush=True)
    return rows


def csv_text(rows: Sequence[Row]) -> str:
    """scale.csv: a row per step and number of runs."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: f"{row[key]:.4g}" if isinstance(row[key], float) else row[key] for key in row} for row in rows
    )
    return text.getvalue()


def markdown(rows: Sequence[Row]) -> str:
    """What a reader of README.md wants of scale.csv: a line per step, seconds of a core and MB at every number of runs.

    Every step computes on one core: with nothing else on the machine, these are wall seconds.
    """
    sizes = list(dict.fromkeys(row["runs"] for row in rows))
    cells = {
        (row["step"], row["runs"]): f"{row['core_seconds']:.1f} s, {row['peak_memory_mb']:,.0f} MB" for row in rows
    }
    lines = [[step, *(cells[step, size] for size in sizes)] for step in dict.fromkeys(row["step"] for row in rows)]
    align = ["left", *["right"] * len(sizes)]
    head = ["Step", *(f"{size:,} runs" for size in sizes)]
    return tabulate(lines, head, tablefmt="pipe", colalign=align, disable_numparse=True) + "\n"


def main() -> None:
    """Measure every step at every number of runs, and write the tables."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the raw MNIST files")
    parser.add_argument("--output", type=Path, required=True, help="folder of what is written")
    parser.add_argument("--runs", default="1000,3000,10000", help="numbers of runs, separated by commas")
    options = parser.parse_args()
    rows = []
    for runs in map(int, options.runs.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            rows += benchmark(runs, options.data, Path(folder))
    write_atomically(options.output / "scale.csv", csv_text(rows))
    write_atomically(options.output / "scale.md", markdown(rows))


if __name__ == "__main__":
    main()
