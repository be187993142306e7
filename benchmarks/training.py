"""How much faster this package trains each system than what a user would run instead (baselines.py).

    make benchmark
    python benchmarks/training.py --data data/mnist --output results/benchmark

Baseline and ours alternate on one machine, every measurement in processes of its own, warm-up left out, each side at
the setting that a trial at the start found best. NOTES.md says what is measured and how. Writes training.csv and .md,
rounds.csv (every single measurement) and the figure training.png and .pdf.
"""

import argparse
import copy
import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from scipy import stats
from torch.utils.flop_counter import FlopCounterMode

from pixelpatch.checks import image_side, split_sizes
from pixelpatch.figures import save, style
from pixelpatch.files import write_atomically
from pixelpatch.models import build_model
from pixelpatch.record import read_record
from pixelpatch.training import processor

HERE = Path(__file__).parent
SYSTEMS = ("pixel_transformer", "blog_cnn", "blog_vit", "seq2seq_2x2", "vit16_tiny", "vit4_assignment")
EPOCHS = 3  # of ours in one measurement; the first is the warm-up
TRIAL_SECONDS, SECONDS = 2.5, 6.0  # that one measurement lasts, start and warm-up aside
SPEED_UP = 4.0  # guessed, to choose how many images ours is tried on
MEAN = "geometric mean"

Spec = dict[str, Any]


@dataclass(frozen=True)
class Baseline:
    """How a user would start the one training process; `batch` images at a time."""

    workers: int
    threads: int
    batch: int

    def __str__(self) -> str:
        return f"{_count(self.workers, 'worker')}, {_count(self.threads, 'thread')}, batch {self.batch}"


@dataclass(frozen=True)
class Ours:
    """How many runs train side by side, as a study's do, each with so many threads."""

    runs: int
    threads: int

    def __str__(self) -> str:
        return f"{_count(self.runs, 'run')}, {_count(self.threads, 'thread')} each"


@dataclass(frozen=True)
class Place:
    """Where everything is measured."""

    data: Path
    device: str
    cores: int


def baseline_choices(spec: Spec, place: Place) -> dict[str, list[int]]:
    """The settings that the baseline's trial combines."""
    cores = sorted({1, place.cores})
    whole = spec["training"]["batch"]
    # On a CPU a whole batch of the pixel transformer would need some 70 GB: its baseline adds gradients up instead,
    # and waits for no data.
    if "microbatch" in spec["training"] and place.device == "cpu":
        return {"workers": [0], "threads": cores, "batch": [1, 2, 4]}
    return {"workers": sorted({0, *cores}), "threads": cores, "batch": [whole]}


def our_choices(place: Place) -> list[Ours]:
    """The settings of ours that are tried."""
    if place.device != "cpu" or place.cores == 1:
        return [Ours(runs=1, threads=1)]
    return [Ours(runs=place.cores, threads=1), Ours(runs=1, threads=place.cores)]


def measure_baseline(
    system: str, choices: dict[str, list[int]], place: Place, *, seconds: float
) -> dict[Baseline, float]:
    """Images per second of the baseline at every combination of `choices`, in one process of its own."""
    options = [str(part) for name, values in choices.items() for part in (f"--{name}", *values)]
    script = [sys.executable, str(HERE / "baselines.py"), system, "--data", str(place.data), "--device", place.device]
    lines = _output([*script, "--seconds", str(seconds), *options]).splitlines()
    found = (json.loads(line) for line in lines if line.startswith("{"))
    return {Baseline(line["workers"], line["threads"], line["batch"]): line["images_per_second"] for line in found}


def measure_ours(system: str, spec: Spec, setting: Ours, place: Place, *, images: int) -> float:
    """Images per second of ours: that of `setting.runs` runs started at once, on `images` training images each.

    The slowest run's time counts for all.
    """
    spec = reduced(spec, images)
    with tempfile.TemporaryDirectory() as folder:
        records = [Path(folder) / f"seed{seed}.json" for seed in range(setting.runs)]
        train = [sys.executable, "-m", "pixelpatch", "train", "--experiment", system, "--spec", json.dumps(spec)]
        where = ["--data", str(place.data), "--threads", str(setting.threads), "--device", place.device]
        commands = [
            [*train, *where, "--seed", str(seed), "--record", str(record)] for seed, record in enumerate(records)
        ]
        with ThreadPoolExecutor(setting.runs) as pool:
            list(pool.map(_output, commands))
        slowest = max(sum(read_record(record)["timing"]["epoch_seconds"][1:]) for record in records)
    return setting.runs * (EPOCHS - 1) * spec["data"]["limit"]["train"] / slowest


def reduced(spec: Spec, images: int) -> Spec:
    """`spec` for EPOCHS epochs of about `images` training images, whole batches where one is not more than that."""
    batch = spec["training"]["batch"]
    images = min(images, split_sizes(spec["data"])["train"])
    if images >= batch or spec["training"]["drop_last"]:
        images = max(1, images // batch) * batch
    spec = copy.deepcopy(spec)
    spec["data"]["limit"] = {"train": max(1, images), "validation": 4, "test": 4}
    spec["training"]["epochs"] = EPOCHS
    return spec


def epoch_images(rate: float, setting: Ours, *, seconds: float) -> int:
    """How many images a run must have so that its timed epochs take `seconds`, at `rate` images/s of all runs."""
    return math.ceil(rate / setting.runs * seconds / (EPOCHS - 1))


def ratio(baseline: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """Geometric mean of ours / baseline over rounds, with the 95 % Student interval of the mean logarithm."""
    logs = [math.log(b / a) for a, b in zip(baseline, ours, strict=True)]
    return log_interval(logs)


def log_interval(logs: Sequence[float]) -> dict[str, float]:
    """Exp of the mean of `logs` as `ratio`, and of its 95 % Student interval; that is NaN for a single number."""
    middle = statistics.fmean(logs)
    reach = math.nan
    if len(logs) > 1:
        reach = stats.t.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return {"ratio": math.exp(middle), "ratio_low": math.exp(middle - reach), "ratio_high": math.exp(middle + reach)}


def flops_per_image(spec: Spec) -> float:
    """Floating-point operations of one training step of our model, per image: its matrix products and convolutions.

    Counted on PyTorch's meta device, where nothing is computed and every operation is PyTorch's own.
    """
    count = 2
    with torch.device("meta"):
        side = image_side(spec["data"])
        model = build_model(spec["model"], image=side).train()
        images = torch.empty(count, 1, side, side)
        inputs = (images, torch.zeros(count, 5, dtype=torch.long)) if "grids" in spec["data"] else (images,)
        with FlopCounterMode(display=False) as counter:
            model(*inputs).sum().backward()
    return counter.get_total_flops() / count


def matrix_peak(device: str, seconds: float = 3.0) -> float:
    """Floating-point operations per second of a large float32 matrix product, the best of several; one thread."""
    torch.set_num_threads(1)
    size = 2048 if device == "cpu" else 8192
    a, b = torch.randn(2, size, size, device=device)
    best, until = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        torch.mm(a, b)
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def machine_peak(place: Place) -> float:
    """`matrix_peak` of all cores, in processes side by side, or of the GPU."""
    processes = place.cores if place.device == "cpu" else 1
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return sum(pool.map(matrix_peak, [place.device] * processes, chunksize=1))


def peak_memory(spec: Spec, place: Place) -> float:
    """Peak memory (10⁶ bytes) of our training at the documented batch size, in a process that has used none yet."""
    script = [sys.executable, str(HERE / "memory.py"), "--spec", json.dumps(spec)]
    return float(_output([*script, "--data", str(place.data), "--device", place.device]))


def read_specs() -> dict[str, Spec]:
    """The spec of every system in config.yaml, of the full budget."""
    config = yaml.safe_load((HERE.parent / "config.yaml").read_text(encoding="utf-8"))
    return {system: config["experiments"][system]["spec"] for system in SYSTEMS}


def benchmark(system: str, spec: Spec, place: Place, *, rounds: int, peak: float) -> tuple[dict[str, Any], list[Any]]:
    """The system's row of training.csv, and its rows of rounds.csv."""
    trial = measure_baseline(system, baseline_choices(spec, place), place, seconds=TRIAL_SECONDS)
    theirs = max(trial, key=trial.__getitem__)
    tried = {}
    for setting in our_choices(place):
        images = epoch_images(SPEED_UP * trial[theirs], setting, seconds=TRIAL_SECONDS)
        tried[setting] = measure_ours(system, spec, setting, place, images=images)
    ours = max(tried, key=tried.__getitem__)
    for setting, rate in [*trial.items(), *tried.items()]:
        print(f"{system}: trial {rate:,.4g} images/s with {setting}", file=sys.stderr)

    best = {name: [getattr(theirs, name)] for name in ("workers", "threads", "batch")}
    images = epoch_images(tried[ours], ours, seconds=SECONDS)
    measured = []
    for number in range(1, rounds + 1):
        rates = {}
        for side in ("baseline", "ours")[:: 1 if number % 2 else -1]:  # neither always comes first
            if side == "baseline":
                rates[side] = measure_baseline(system, best, place, seconds=SECONDS)[theirs]
            else:
                rates[side] = measure_ours(system, spec, ours, place, images=images)
        measured.append({"system": system, "round": number, **rates})
        print(f"{system}: round {number}, {rates['ours'] / rates['baseline']:.2f} times the baseline", file=sys.stderr)
    baseline_rates, our_rates = ([row[side] for row in measured] for side in ("baseline", "ours"))
    speed = statistics.geometric_mean(our_rates)
    row = {
        "system": system,
        "baseline_images_per_second": statistics.geometric_mean(baseline_rates),
        "images_per_second": speed,
        **ratio(baseline_rates, our_rates),
        "peak_memory_mb": peak_memory(spec, place),
        "share_of_peak": speed * flops_per_image(spec) / peak,
        "rounds": rounds,
        "baseline_setting": str(theirs),
        "setting": str(ours),
        "machine": machine(place),
        "torch": torch.__version__,
    }
    return row, measured


def overall(rows: Sequence[dict[str, Any]], measured: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The last row of training.csv: the geometric mean over systems, its interval from the rounds' own means."""
    logs = pd.DataFrame(measured).assign(log=lambda t: (t["ours"] / t["baseline"]).map(math.log))
    rounds = logs.groupby("round")["log"].mean()
    common = {key: rows[0][key] for key in ("rounds", "machine", "torch")}
    return {"system": MEAN, **log_interval(list(rounds)), **common}


def machine(place: Place) -> str:
    """The processor's or GPU's model and how much of it there is; no machine's own name."""
    if place.device != "cpu":
        return torch.cuda.get_device_name(place.device)
    return f"{processor()}, {_count(place.cores, 'core')}"


@style.styled
def draw(table: pd.DataFrame) -> Figure:
    """The ratio of every row of training.csv with its interval, on a logarithmic axis; both speeds beside it."""
    figure = Figure(figsize=(style.PAGE, 0.9 + 0.3 * len(table)), layout="constrained")
    axis = figure.subplots()
    for place, row in enumerate(table.itertuples()):
        mean = row.system == MEAN
        colour = style.DOCUMENTED if mean else style.COLOURS[0]
        axis.plot([row.ratio_low, row.ratio_high], [place, place], "-|", color=colour, ms=8)
        axis.plot([row.ratio], [place], "D" if mean else "o", color=colour, ms=5)
        beside = {"transform": axis.get_yaxis_transform(), "va": "center", "size": 7}
        axis.text(1.07, place, f"{row.ratio:.1f}×", ha="right", **beside)
        if not mean:
            speeds = f"{_rate(row.baseline_images_per_second)} → {_rate(row.images_per_second)} images/s"
            axis.text(1.09, place, speeds, **beside)
    axis.axvline(1, color=style.GREY, lw=0.8, ls="--")
    axis.set_yticks(range(len(table)), table["system"])
    axis.set_ylim(len(table) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0)
    axis.set_xscale("log")
    low, high = min(1, table["ratio_low"].min()), max(table["ratio"].max(), table["ratio_high"].max())
    axis.set_xlim(low * 0.9, high * 1.15)
    axis.set_xticks([tick for tick in (0.5, 1, 2, 3, 5, 10, 20, 50, 100, 200) if low * 0.9 <= tick <= high * 1.15])
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}×"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("training images per second, as a multiple of the baseline's")
    first = table.iloc[0]
    axis.set_title(f"{first['machine']}, torch {first['torch']}, {_count(first['rounds'], 'round')}, 95 % t-interval")
    return figure


def markdown(table: pd.DataFrame) -> str:
    """What a reader of README.md wants of training.csv."""
    shares = [f"{share:.0%}" if share == share else "" for share in table["share_of_peak"]]
    columns = {
        "System": table["system"],
        "Baseline, images/s": table["baseline_images_per_second"].map(_rate),
        "Ours, images/s": table["images_per_second"].map(_rate),
        "Ratio (95 % interval)": [
            f"{row.ratio:.1f} ({row.ratio_low:.1f} to {row.ratio_high:.1f})" for row in table.itertuples()
        ],
        "Peak memory, MB": ["" if math.isnan(mb) else f"{mb:,.0f}" for mb in table["peak_memory_mb"]],
        "Share of the fp32 peak": shares,
    }
    return pd.DataFrame(columns).to_markdown(index=False, disable_numparse=True) + "\n"


def main() -> None:
    """Measure, and write the table and the figure."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the raw MNIST files")
    parser.add_argument("--output", type=Path, required=True, help="folder of what is written")
    parser.add_argument("--only", help="these systems, separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args()
    place = Place(options.data.absolute(), options.device, os.cpu_count() or 1)
    specs = read_specs()
    peak = machine_peak(place)
    rows, measured = [], []
    for system in options.only.split(",") if options.only else SYSTEMS:
        row, its_rounds = benchmark(system, specs[system], place, rounds=options.rounds, peak=peak)
        rows.append(row)
        measured += its_rounds
    table = pd.DataFrame([*rows, overall(rows, measured)])
    write_atomically(options.output / "training.csv", table.to_csv(index=False, float_format="%.5g"))
    write_atomically(options.output / "rounds.csv", pd.DataFrame(measured).to_csv(index=False, float_format="%.6g"))
    write_atomically(options.output / "training.md", markdown(table))
    save(draw(table), options.output / "training")
    shown = table[["system", "baseline_images_per_second", "images_per_second", "ratio", "ratio_low", "ratio_high"]]
    print(shown.to_string(index=False, float_format="{:,.4g}".format, na_rep=""))


def _output(command: list[str]) -> str:
    """What `command` prints; its complaints are shown only where it fails."""
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{ended.stderr}")
    return ended.stdout


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _rate(images_per_second: float) -> str:
    if math.isnan(images_per_second):
        return ""
    return f"{images_per_second:,.0f}" if images_per_second >= 100 else f"{images_per_second:.3g}"


if __name__ == "__main__":
    main()
