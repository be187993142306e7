"""What a machine has: the memory of every kind of cgroup, and GPUs as a driver and PyTorch's build say."""

import ctypes
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from pixelpatch import machine
from pixelpatch.machine import gpus, memory_mb

UNLIMITED = "9223372036854771712"  # of version 1
MACHINE_MB = psutil.virtual_memory().total // 10**6


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/\n", {}, MACHINE_MB),
        ("0::/\n", {"memory.max": "max\n"}, MACHINE_MB),
        ("0::/\n", {"memory.max": "8000000\n"}, 8),
        ("0::/job/step\n", {"job/step/memory.max": "max\n", "job/memory.max": "8000000\n"}, 8),
        ("0::/job/step\n", {"job/step/memory.max": "7000000\n", "job/memory.max": "8000000\n"}, 7),
        ("0::/docker/of/the/host\n", {"memory.max": "8000000\n"}, 8),
        ("3:cpu:/a\n2:memory:/a\n", {"memory/a/memory.limit_in_bytes": "8000000\n"}, 8),
        ("2:cpu,memory:/a\n0::/\n", {"memory/memory.limit_in_bytes": "8000000\n"}, 8),
        ("2:memory:/a\n", {"memory/a/memory.limit_in_bytes": UNLIMITED}, MACHINE_MB),
        ("2:cpu:/a\n", {"memory/a/memory.limit_in_bytes": "8000000\n"}, MACHINE_MB),
        (None, {}, MACHINE_MB),  # no Linux
    ],
)
def test_the_smallest_limit_around_this_process_counts(
    tmp_path: Path, cgroup: str | None, files: dict[str, str], expected: int
) -> None:
    files = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in (files | ({"proc/self/cgroup": cgroup} if cgroup else {})).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert memory_mb(tmp_path) == expected


class Driver:
    """Stands in for libcuda."""

    def __init__(self, count: int, error: int = 0) -> None:
        self.count, self.error = count, error

    def cuInit(self, flags: int) -> int:
        return self.error

    def cuDeviceGetCount(self, count: object) -> int:
        ctypes.cast(count, ctypes.POINTER(ctypes.c_int))[0] = self.count
        return 0


@pytest.mark.parametrize(
    ("driver", "cuda", "expected"),
    [
        (Driver(2), "13.0", 2),
        (Driver(0), "13.0", 0),
        (Driver(2, error=100), "13.0", 0),  # CUDA_ERROR_NO_DEVICE
        (None, "13.0", 0),
        (object(), "13.0", 0),
        (Driver(2), None, 0),  # a PyTorch for CPUs
    ],
)
def test_gpus_are_those_that_pytorch_would_find(
    monkeypatch: pytest.MonkeyPatch, driver: object, cuda: str | None, expected: int
) -> None:
    def load(name: str) -> object:
        if driver is None:
            raise OSError(name)
        return driver

    monkeypatch.setattr(machine.ctypes, "CDLL", load)
    monkeypatch.setattr(machine, "runpy", SimpleNamespace(run_path=lambda path: {"cuda": cuda}))
    assert gpus() == expected


def test_of_this_machine_they_are_what_pytorch_finds() -> None:
    assert gpus() == (torch.cuda.device_count() if torch.cuda.is_available() else 0)
