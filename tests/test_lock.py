"""Locks between real processes: one holder at a time, none after its end, however that came, and no file left."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pixelpatch.errors import UserError
from pixelpatch.lock import Lock, abandoned

HOLD = """
import sys, time
from pathlib import Path
from pixelpatch.lock import Lock
lock = Lock(Path(sys.argv[1]))
while not lock.take():
    time.sleep(0.01)
print("taken", flush=True)
sys.stdin.readline()
lock.release()
"""
COUNT = """
import random, sys, time
from pathlib import Path
from pixelpatch.lock import Lock
counter = Path(sys.argv[2])
for _ in range(200):
    lock = Lock(Path(sys.argv[1]))
    while not lock.take():
        time.sleep(random.uniform(0, 0.0005))
    value = int(counter.read_text())
    if random.random() < 0.1:
        time.sleep(0.0005)
    counter.write_text(str(value + 1))
    lock.release()
"""


def start(code: str, *arguments: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "seed0.lock"


def test_one_holder_at_a_time_who_is_named(path: Path) -> None:
    with start(HOLD, path) as holder:
        assert holder.stdout.readline() == "taken\n"
        lock = Lock(path)
        assert not lock.take()
        assert lock.owner() == f"process {holder.pid} on {os.uname().nodename}"
        holder.communicate("\n")
    assert not path.exists()
    assert lock.take()
    assert not Lock(path).take()
    assert lock.owner() == f"process {os.getpid()} on {os.uname().nodename}"
    lock.release()
    lock.release()  # once more does nothing
    assert not path.exists()


def test_a_killed_holder_has_it_no_longer(path: Path) -> None:
    with start(HOLD, path) as holder:
        assert holder.stdout.readline() == "taken\n"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert path.exists()
    lock = Lock(path)
    assert lock.take()
    assert lock.owner().startswith(f"process {os.getpid()} on ")
    lock.release()
    assert not path.exists()


def test_a_lock_that_a_killed_holder_left_is_told_from_one_that_is_held_or_given_back(path: Path) -> None:
    began = time.time()
    with start(HOLD, path) as holder:
        assert holder.stdout.readline() == "taken\n"
        assert abandoned([path], since=began - 1) == []  # file systems' clocks are coarse
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    left = path.read_bytes()
    assert abandoned([path], since=began - 1) == [path]
    assert abandoned([path], since=time.time() + 1) == []  # an older one, of which something was said then
    assert path.read_bytes() == left
    with start(HOLD, path) as holder:
        holder.communicate("\n")
    assert abandoned([path], since=began - 1) == []


def test_waiting_ends_when_the_holder_does(path: Path) -> None:
    with start(HOLD, path) as holder:
        assert holder.stdout.readline() == "taken\n"
        with start(HOLD, path) as waiting:
            time.sleep(0.5)
            assert waiting.poll() is None
            holder.communicate("\n")
            assert waiting.stdout.readline() == "taken\n"
            assert Lock(path).owner().startswith(f"process {waiting.pid} on ")
            waiting.communicate("\n")
    assert not path.exists()


def test_many_processes_never_hold_it_together(path: Path, tmp_path: Path) -> None:
    """Each removes the file as it releases: whoever opened the removed one must not believe to have the lock."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    processes = [start(COUNT, path, counter) for _ in range(4)]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert counter.read_text() == "800"
    assert not path.exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said_so(path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(UserError, match=r"seed0\.lock cannot be locked: its file system has no locks \(.*\); without"):
        Lock(path).take()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"seed0\.lock cannot be written: Not a directory\.|File exists\."):
        Lock(tmp_path / "file" / "seed0.lock").take()


def test_a_lock_whose_folder_is_gone_is_released_all_the_same(path: Path) -> None:
    lock = Lock(path)
    assert lock.take()
    path.unlink()
    path.parent.rmdir()
    lock.release()
    assert lock.owner() == "another process"
