"""The run record: one JSON file per experiment × seed, the only thing that anything downstream reads.

A record holds the full spec, the seed, the curve per epoch, the final metrics, every test prediction, what it cost and
where it came from. Metrics are named `split/metric`; accuracies are in percent, losses in nats, times in seconds.
The times of a run that was stopped and went on are sums over its parts, without what was lost in between;
`provenance.interruptions` has, for each restart, how many epochs were finished by then.
A record is one line of canonical JSON with a checksum over the rest: one that was edited or damaged, by a space even,
is recognised.
"""

import math
import platform
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pixelpatch.errors import UserError
from pixelpatch.files import canonical_json, digest, parse_json, read_text, write_atomically
from pixelpatch.source import source_digest

FORMAT = 1
KEYS = {
    "format": int,
    "experiment": str,
    "seed": int,
    "spec": dict,
    "metrics": dict,
    "curve": dict,
    "predictions": str,
    "labels": str,
    "timing": dict,
    "provenance": dict,
    "checksum": str,
}


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
    """The record in `path`. Raises UserError where it is missing, torn, of another format or has any changed byte."""
    text = read_text(path)
    record = parse_json(text, path)
    again = "delete it and run again to have it rebuilt"
    if not isinstance(record, dict) or record.keys() != KEYS.keys() or record["format"] != FORMAT:
        raise UserError(f"{path} is not a run record of format {FORMAT}; {again}.")
    try:
        intact = _checksum(record) == record["checksum"] and canonical_json(record) + "\n" == text
    except ValueError:  # NaN and infinities, which Python's json reads though JSON has none
        intact = False
    if not intact:
        raise UserError(f"{path} was changed after it was written (its checksum does not match); {again}.")
    if wrong := [key for key, kind in KEYS.items() if type(record[key]) is not kind]:
        raise UserError(f"{path} has another kind of value than a run's record as {', '.join(wrong)}; {again}.")
    return record


def provenance(*, device: str, threads: int) -> dict[str, Any]:
    """Where a run was made: device, thread count, versions, git state, and the digest of the training code."""
    import numpy
    import torch

    from pixelpatch.models import kernels

    return {
        "device": device,
        "threads": threads,
        "compiled": kernels.library() is not None,  # else PyTorch's operations alone: other bits, the same distribution
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__},
        "git": _git_state(),
        "source": source_digest(),
    }


def _checksum(record: dict[str, Any]) -> str:
    return digest({key: value for key, value in record.items() if key != "checksum"})


@cache
def _git_state() -> dict[str, Any]:
    """Commit and dirty flag of the checkout that the code runs from; None where there is none."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return result.stdout.strip() if result.returncode == 0 else None

    status = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "dirty": None if status is None else bool(status)}


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
