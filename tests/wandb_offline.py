"""What W&B wrote into a run's folder, read without wandb's own reader: a LevelDB log of protobuf records."""

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import EnvironmentRecord, Record

HEADER, BLOCK = 7, 32768  # bytes: of the file and of each chunk; chunks do not cross blocks
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class OfflineRun:
    """A run as its `.wandb` file has it."""

    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, str] = field(default_factory=dict)  # name or glob → the metric on its x axis
    run: Any = None  # of the last run record: run_id, project, run_group, job_type, display_name, tags, git
    environment: Any = field(default_factory=EnvironmentRecord)
    exit_code: int | None = None  # None where the file ends before

    def epochs(self) -> list[int]:
        """The epochs of the history, in its order."""
        return [row["epoch"] for row in self.history]


def read_run(folder: Path) -> OfflineRun:
    """The run in `wandb/offline-run-…-<id>` or `wandb/run-…-<id>`, as far as it was written."""
    (path,) = folder.glob("*.wandb")
    read = OfflineRun()
    for data in _records(path.read_bytes()):
        record = Record.FromString(data)
        match record.WhichOneof("record_type"):
            case "run":
                read.run = record.run
                read.config |= _values(record.run.config.update)
            case "config":
                read.config |= _values(record.config.update)
            case "history":
                read.history.append(_values(record.history.item))
            case "summary":
                read.summary |= _values(record.summary.update)
            case "metric":
                read.metrics[record.metric.name or record.metric.glob_name] = record.metric.step_metric
            case "environment":
                read.environment.MergeFrom(record.environment)
            case "exit":
                read.exit_code = record.exit.exit_code
    return read


def _values(items: Iterable[Any]) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(data: bytes) -> Iterator[bytes]:
    if len(data) < HEADER:
        return  # its writer has only just opened it
    assert data[:4] == b":W&B", data[:HEADER]
    position, parts = HEADER, b""
    while position + HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        chunk = data[position + HEADER : position + HEADER + length]
        if len(chunk) < length or kind not in (FULL, FIRST, MIDDLE, LAST):
            return  # torn, or zeros up to the end: its writer was killed
        position += HEADER + length
        parts = chunk if kind in (FULL, FIRST) else parts + chunk
        if kind in (FULL, LAST):
            yield parts
