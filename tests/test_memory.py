"""Peak memory: what a run takes, and not what one before it took."""

import sys
from pathlib import Path

import pytest
import torch

from pixelpatch import memory
from pixelpatch.memory import peak_memory_mb, reset_peak


def use(megabytes: int) -> None:
    torch.ones(megabytes * 10**6, dtype=torch.uint8)


def test_the_peak_is_seen_after_it() -> None:
    reset_peak("cpu")
    before = peak_memory_mb("cpu")
    use(200)
    assert 190 < peak_memory_mb("cpu") - before < 300


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux forgets a peak")
def test_a_peak_is_forgotten() -> None:
    use(300)
    high = peak_memory_mb("cpu")
    reset_peak("cpu")
    assert peak_memory_mb("cpu") < high - 200


def test_without_linux_s_files_it_is_the_process_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reset_peak("cpu")
    use(100)
    exact = peak_memory_mb("cpu")
    monkeypatch.setattr(memory, "STATUS", tmp_path / "status")
    monkeypatch.setattr(memory, "CLEAR", tmp_path / "no folder" / "clear_refs")
    reset_peak("cpu")
    assert peak_memory_mb("cpu") >= 0.98 * exact
    memory.STATUS.write_text("Name:\tpython\n")
    assert peak_memory_mb("cpu") >= 0.98 * exact
