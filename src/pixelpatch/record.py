"""The run record: one JSON file per experiment × seed, the only thing that anything downstream reads.

A record holds the full spec, the seed, how many epochs are finished, the curve per epoch, the losses of single batches
where the spec logs them, the final metrics, every test prediction, what it cost and where it came from. Metrics are
named `split/metric`; accuracies are in percent, losses in nats, times in seconds.
A run in progress has a record too, its progress file `seed0.progress.json`: the same keys, the epochs that are
finished, and no metrics and predictions, for nothing has been tested. It becomes a record when the run ends.
The times of a run that was stopped and went on are sums over its parts, without what was lost in between;
`provenance.interruptions` has, for each restart, how many epochs were finished by then.
A record is one line of canonical JSON with a checksum over the rest: one that was edited or damaged, by a space even,
is recognised.
"""

import math
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from pixelpatch.environment import ours
from pixelpatch.errors import RESTORE, UserError
from pixelpatch.files import canonical_json, digest, parse_json, read_text, write_atomically
from pixelpatch.source import source_digest

FORMAT = 2
KEYS = {
    "format": int,
    "experiment": str,
    "seed": int,
    "spec": dict,
    "epochs": int,
    "metrics": dict,
    "curve": dict,
    "batch_losses": list,
    "predictions": str,
    "labels": str,
    "timing": dict,
    "provenance": dict,
    "checksum": str,
}


NEW_IN_2 = {"epochs", "batch_losses"}
PROGRESS = ".progress.json"


def progress_file(record: Path) -> Path:
    """`seed0.progress.json` beside the record `seed0.json`."""
    return record.with_suffix(PROGRESS)


def unfinished(record: dict[str, Any]) -> bool:
    """Whether `record` is of a run in progress: not all epochs are finished, or they are and nothing is tested yet."""
    started = record["epochs"] < record["spec"]["training"]["epochs"] or not record["metrics"]
    return started and not record["provenance"].get("diverged")


def seal_record(record: dict[str, Any]) -> dict[str, Any]:
    """`record` with the checksum of everything else in it. Raises UserError where a number is NaN or infinite."""
    for name, value in _numbers(record):
        if not math.isfinite(value):
            run = f"{record.get('experiment')}, seed {record.get('seed')}"
            raise UserError(f"{name} of {run}, is {value}: not a result.")
    return record | {"checksum": _checksum(record)}


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Seal `record` and write it to `path`, whole or not at all. Raises UserError as `seal_record` does."""
    write_atomically(path, canonical_json(seal_record(record)) + "\n")


def read_record(path: Path) -> dict[str, Any]:
    """The record in `path`. Raises UserError where it is missing, torn, of another format or has any changed byte.

    One of format 1, which is of finished runs alone and has no losses of batches, is given as one of this format.
    """
    text = read_text(path)
    record = parse_json(text, path)
    keys = {1: KEYS.keys() - NEW_IN_2, FORMAT: KEYS.keys()}
    if not isinstance(record, dict) or record.keys() != keys.get(record.get("format")):
        raise UserError(f"{path} is not a run record of format {FORMAT}; {RESTORE}.")
    try:
        intact = _checksum(record) == record["checksum"] and canonical_json(record) + "\n" == text
    except ValueError:  # NaN and infinities, which Python's json reads though JSON has none
        intact = False
    if not intact:
        raise UserError(f"{path} was changed after it was written (its checksum does not match); {RESTORE}.")
    if record["format"] == 1:
        with suppress(KeyError, TypeError):  # whose absence is told of next
            record |= {"epochs": record["spec"]["training"]["epochs"], "batch_losses": []}
    if wrong := [key for key, kind in KEYS.items() if type(record.get(key)) is not kind]:
        raise UserError(f"{path} has values of the wrong type for {', '.join(wrong)}; {RESTORE}.")
    return record


def provenance(spec: dict[str, Any], *, device: str, threads: int) -> dict[str, Any]:
    """Where a run of `spec` is made: device, thread count, versions, git state, and the digest of the code it executes.

    `device` is its name for a record: "cpu (…)", or a GPU's.
    """
    import numpy
    import torch

    from pixelpatch.models import kernels

    library = kernels.library()
    return {
        "device": device,
        "threads": threads,
        "compiled": library is not None,  # else PyTorch's operations alone: other bits, the same distribution
        "build": Path(library._name).stem[:16] if library else None,  # of compiler, flags, processor and source
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": numpy.__version__},
        "git": _git_state(),
        "source": source_digest(spec, gpu=on_gpu(device)),
    }


def on_gpu(device: str) -> bool:
    """Whether a record's device is a GPU."""
    return not device.startswith("cpu")


def _checksum(record: dict[str, Any]) -> str:
    return digest({key: value for key, value in record.items() if key != "checksum"})


@cache
def _git_state() -> dict[str, Any]:
    """Commit and dirty flag of the checkout that the code runs from; If git cannot say them, both are None and
    `why` gives the reason. Only a repository that has this package at src/pixelpatch counts: one further up, or around
    a virtual environment, does not track this code.
    """
    package = Path(__file__).resolve().parent
    root = package.parents[1]
    environment = ours(os.environ) | {"LC_ALL": "C"}

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", *arguments]
        done = subprocess.run(command, cwd=package, env=environment, capture_output=True, text=True, timeout=10)
        if done.returncode != 0:
            raise ValueError(done.stderr.strip().partition("\n")[0] or f"status {done.returncode}")
        return done.stdout.rstrip("\n")

    unversioned = {"commit": None, "dirty": None, "why": "the code is not under version control"}
    if not (root / ".git").exists():
        return unversioned
    try:
        if not os.path.samefile(git("rev-parse", "--show-toplevel"), root):
            return unversioned
        listed = [entry.partition(" ") for entry in git("ls-files", "-v", "-z").split("\0") if entry]
        tracked = {name for _, _, name in listed}
        hidden = any(tag != "H" for tag, _, _ in listed)  # git was told to assume them unchanged
        files = {path.relative_to(package).as_posix() for kind in ("*.py", "*.c") for path in package.rglob(kind)}
        if not files & tracked:
            return unversioned
        changed = hidden or git("status", "--porcelain", "--untracked-files=no") or files - tracked
        return {"commit": git("rev-parse", "--verify", "HEAD"), "dirty": bool(changed)}
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        why = "it is not installed" if isinstance(error, FileNotFoundError) else error
        return {"commit": None, "dirty": None, "why": f"git cannot say: {why}"}


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number in a JSON value, with the path that leads to it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _numbers(item, f"{name}[{index}]")
    elif isinstance(value, float):
        yield name, value
