"""Runs in Weights & Biases: real processes, offline files read back, a stand-in server, and whatever can go wrong."""

import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wandb_offline import OfflineRun, read_run
from wandb_server import WandbServer

from pixelpatch import tracking
from pixelpatch.errors import UserError
from pixelpatch.tracking import KEPT_OFFLINE, NOT_MIRRORED, log_analysis, mode, run_id

TRAIN = """
import json, sys, time
from pixelpatch.tracking import Tracker
tracker = Tracker.start(**json.loads(sys.argv[1]))
for line in sys.stdin:
    method, *arguments = json.loads(line)
    began = time.monotonic()
    getattr(tracker, method)(*arguments)
    print(time.monotonic() - began, flush=True)
assert "wandb" not in sys.modules
"""
RUN = {
    "id": "0123456789abcdef",
    "name": "cnn-seed0",
    "group": "cnn",
    "job_type": "train",
    "tags": ["smoke", "cpu"],
    "config": {"seed": 0, "spec": {"training": {"learning_rate": 0.01}}, "provenance": {"device": "cpu", "threads": 1}},
}
KEY = "k" * 40
LIMIT = 15  # seconds; the real one is 30, and the tests would only take longer with it
AT_ONCE = 1.5  # seconds, on a busy machine, where it waits a second for a mirror that is gone; else 0.0001


class Training:
    """A process that trains nothing, but logs: its stderr goes to `stderr.txt` beside W&B's folder."""

    def __init__(self, place: Path, mode: str, **run: Any) -> None:
        arguments = json.dumps(RUN | {"mode": mode, "limit": LIMIT} | run)
        self.stderr = place / "stderr.txt"
        with self.stderr.open("a") as stderr:
            command = [sys.executable, "-c", TRAIN, arguments]
            self.process = subprocess.Popen(
                command, cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
            )

    def log(self, *epochs: int) -> None:
        for epoch in epochs:
            assert self._call("log", epoch, {"train/loss": 1 / epoch}) < AT_ONCE

    def finish(self, summary: dict[str, float] | None) -> float:
        """Seconds that it took."""
        seconds = self._call("finish", summary)
        self.process.communicate()
        assert self.process.returncode == 0
        return seconds

    def mirror(self) -> int:
        """The process that mirrors the run."""
        return children(self.process.pid)[0]

    def helper(self) -> int:
        """The process that wandb itself starts."""
        return wait_for(lambda: children(self.mirror()))[0]

    def _call(self, method: str, *arguments: Any) -> float:
        self.process.stdin.write(json.dumps([method, *arguments]) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def children(process: int) -> list[int]:
    return [int(pid) for file in Path(f"/proc/{process}/task").glob("*/children") for pid in file.read_text().split()]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(found: Callable[[], Any], seconds: float = 20) -> Any:
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return result


def folders(place: Path, pattern: str = "*run-*") -> list[Path]:
    return sorted(path for path in (place / "wandb").glob(pattern) if path.is_dir() and not path.is_symlink())


def written(place: Path, pattern: str = "*run-*") -> OfflineRun:
    (folder,) = folders(place, pattern)
    return read_run(folder)


def epochs(place: Path, pattern: str = "*run-*") -> list[int]:
    """The epochs that are in the file already, if there is one."""
    return [
        epoch
        for folder in folders(place, pattern)
        if list(folder.glob("*.wandb"))
        for epoch in read_run(folder).epochs()
    ]


def sync(place: Path, server: WandbServer, *arguments: str) -> None:
    """`wandb sync`, as on a machine that has a network and a key."""
    environment = os.environ | {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
    command = [Path(sys.executable).with_name("wandb"), "sync", *arguments]
    subprocess.run(command, cwd=place, env=environment, check=True, capture_output=True, timeout=180)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory, in a git repository; a home; and none of the user's own settings of W&B."""
    for variable in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(variable)
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")  # nothing to W&B's own Sentry
    monkeypatch.setenv("WANDB__FILE_STREAM_TRANSMIT_INTERVAL", "1")  # seconds between uploads, else 15
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    place = tmp_path / "a place"
    place.mkdir()
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(place)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", "first"], check=True)
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with WandbServer() as server:
        online(server, monkeypatch)
        yield server


def online(server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)


# Offline


def test_an_offline_run_has_it_all_and_is_in_its_folder_alone(place: Path, tmp_path: Path) -> None:
    training = Training(place, "offline")
    training.log(1, 2, 3)
    assert training.finish({"test/accuracy": 97.5}) < LIMIT

    read = written(place, "offline-run-*-0123456789abcdef")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=place, capture_output=True, text=True).stdout.strip()
    assert RUN["config"].items() <= read.config.items()
    assert (read.run.run_id, read.run.display_name, read.run.run_group) == (RUN["id"], "cnn-seed0", "cnn")
    assert (read.run.project, read.run.job_type, list(read.run.tags)) == ("pixelpatch", "train", ["smoke", "cpu"])
    assert read.environment.git.commit == commit
    assert [(row["epoch"], row["_step"], row["train/loss"]) for row in read.history] == [
        (k, k, 1 / k) for k in (1, 2, 3)
    ]
    assert read.metrics == {"epoch": "", "*": "epoch"}
    assert read.summary["test/accuracy"] == 97.5
    assert read.exit_code == 0
    assert training.stderr.read_text() == ""
    assert list((tmp_path / "home").rglob("*")) == []


def test_disabled_starts_and_writes_nothing(place: Path) -> None:
    training = Training(place, "disabled")
    training.log(1)
    assert children(training.process.pid) == []
    assert training.finish({}) < AT_ONCE
    assert not (place / "wandb").exists()


def test_a_stopped_run_is_a_failed_one_and_signals_are_not_for_its_mirror(place: Path) -> None:
    training = Training(place, "offline")
    training.log(1)
    wait_for(lambda: epochs(place))
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1):
        os.kill(training.mirror(), number)
    os.kill(training.helper(), signal.SIGUSR1)  # as Slurm warns of a time limit
    time.sleep(0.5)
    training.log(2)
    training.finish(None)
    assert written(place).epochs() == [1, 2]
    assert written(place).exit_code == 1
    assert training.stderr.read_text() == ""


def test_a_job_whose_every_process_is_told_to_stop(place: Path) -> None:
    """As Slurm does. wandb's helper process obeys."""
    training = Training(place, "offline")
    training.log(1, 2)
    wait_for(lambda: epochs(place))
    helper = training.helper()
    for process in (helper, training.mirror()):
        os.kill(process, signal.SIGTERM)
    wait_for(lambda: not alive(helper))
    training.finish(None)
    assert written(place).epochs() == [1, 2]
    assert training.stderr.read_text() == ""


def test_the_epochs_of_a_killed_run_are_kept_and_nothing_goes_on_running(place: Path) -> None:
    training = Training(place, "offline")
    training.log(1, 2, 3)
    processes = training.mirror(), training.helper()
    training.process.kill()
    training.process.communicate()
    wait_for(lambda: not any(map(alive, processes)))
    assert written(place).epochs() == [1, 2, 3]
    assert written(place).exit_code == 1


def test_a_first_epoch_may_take_longer_than_weights_and_biases_may(place: Path) -> None:
    """The mirror's patience, six seconds here, is for wandb and not for the run."""
    training = Training(place, "offline", limit=1)
    wait_for(lambda: folders(place))
    time.sleep(7.5)
    training.log(1)
    training.finish({"test/accuracy": 97.5})
    assert training.stderr.read_text() == ""
    assert written(place).epochs() == [1]


def test_a_run_that_starts_anew_voids_what_was_kept_of_it(place: Path) -> None:
    """Else a sync of both would show its epochs twice."""
    for epochs_of_it in ((1, 2, 3), (1, 2)):
        training = Training(place, "offline")
        training.log(*epochs_of_it)
        training.finish(None)
        time.sleep(1)  # W&B names folders by the second
    assert written(place, "offline-run-*").epochs() == [1, 2]
    assert len(list(place.glob("wandb/replaced-offline-run-*"))) == 1


def test_all_killed_at_once_loses_a_second_at_most(place: Path) -> None:
    training = Training(place, "offline")
    training.log(1, 2, 3)
    wait_for(lambda: epochs(place) == [1, 2, 3])
    began = time.monotonic()
    training.log(4)
    wait_for(lambda: epochs(place) == [1, 2, 3, 4])
    assert time.monotonic() - began < 3
    for process in (training.helper(), training.mirror(), training.process.pid):
        os.kill(process, signal.SIGKILL)
    training.process.communicate()
    assert written(place).epochs() == [1, 2, 3, 4]


def test_a_resumed_run_synced_from_elsewhere_has_each_epoch_once(place: Path, tmp_path: Path) -> None:
    first = Training(place, "offline")
    first.log(1, 2, 3)
    first.finish(None)
    time.sleep(1)  # W&B names folders by the second
    second = Training(place, "offline")
    second.log(4, 5, 6)
    second.finish({"test/accuracy": 97.5})
    assert len(folders(place)) == 2

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(place / "wandb", elsewhere / "wandb")
    with WandbServer() as server:
        sync(elsewhere, server, "--yes")
    (run,) = server.runs.values()
    assert run.epochs() == [1, 2, 3, 4, 5, 6]
    assert [row["train/loss"] for row in run.history] == [1 / k for k in range(1, 7)]
    assert RUN["config"].items() <= run.config.items()
    assert run.summary["test/accuracy"] == 97.5
    assert (run.about["groupName"], run.about["displayName"], run.about["jobType"]) == ("cnn", "cnn-seed0", "train")
    assert run.exit_code == 0


# Online


def test_an_online_run_and_its_resumption(place: Path, server: WandbServer) -> None:
    first = Training(place, "online")
    first.log(1, 2, 3)
    first.finish(None)
    assert server.runs[RUN["id"]].exit_code == 1
    second = Training(place, "online")
    second.log(3, 4, 5)  # an epoch again, which must not count twice
    second.finish({"test/accuracy": 97.5})

    (run,) = server.runs.values()
    assert run.epochs() == [1, 2, 3, 4, 5]
    assert RUN["config"].items() <= run.config.items()
    assert run.summary["test/accuracy"] == 97.5
    assert run.exit_code == 0
    given = {"project": "pixelpatch", "groupName": "cnn", "displayName": "cnn-seed0", "tags": ["smoke", "cpu"]}
    assert given.items() <= run.about.items()
    assert re.fullmatch("[0-9a-f]{40}", run.about["commit"])
    assert first.stderr.read_text() == ""


def test_what_cannot_go_online_is_kept_offline(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server, one that never answers, wrong keys, a server that is ill: at once, with the limit that users have."""
    with ExitStack() as stack:
        trainings = []
        for fault in ("refused", "hang", 401, 403, 500):
            server = stack.enter_context(WandbServer(fault))
            if fault == "refused":
                server.die()
            online(server, monkeypatch)
            (place / str(fault)).mkdir()
            trainings.append((place / str(fault), Training(place / str(fault), "online", limit=tracking.LIMIT)))
            trainings[-1][1].log(1, 2, 3)
        for folder, training in trainings:
            assert training.finish({"test/accuracy": 97.5}) < tracking.LIMIT
            read = written(folder, "offline-run-*")
            assert read.epochs() == [1, 2, 3]
            assert read.summary["test/accuracy"] == 97.5
            (line,) = training.stderr.read_text().splitlines()
            said = r"cnn-seed0: Weights & Biases: cannot go online \(.+\); the run is kept offline: wandb sync (.+)"
            assert list(folder.glob(re.fullmatch(said, line)[1])) == folders(folder, "offline-run-*")


def test_without_a_key_nothing_asks_for_one_even_on_a_terminal(place: Path) -> None:
    run = json.dumps(RUN | {"mode": "online", "limit": LIMIT})
    code = (
        f"from pixelpatch.tracking import Tracker; Tracker.start(**{run.replace('null', 'None')}).finish(dict(a=1.0))"
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        output = b""
        with open(ours, "rb", buffering=0) as reader, suppress(OSError):  # which is how a terminal ends
            while data := reader.read(1000):
                output += data
    assert process.returncode == 0
    (line,) = output.decode().splitlines()
    assert "cannot go online (No API key configured. Use `wandb login` to log in); the run is kept offline" in line
    assert written(place, "offline-run-*").summary["a"] == 1


def test_a_key_in_netrc_is_found(place: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    host = server.url.removeprefix("http://")
    netrc = Path(os.environ["HOME"], ".netrc")
    netrc.write_text(f"machine {host}\n  login user\n  password {KEY}\n")
    netrc.chmod(0o600)
    training = Training(place, "online")
    training.log(1)
    training.finish({})
    assert server.runs[RUN["id"]].epochs() == [1]
    assert training.stderr.read_text() == ""


def test_a_server_that_dies_costs_no_more_than_the_limit_and_no_data(place: Path, server: WandbServer) -> None:
    training = Training(place, "online")
    training.log(1, 2)
    wait_for(lambda: RUN["id"] in server.runs and server.runs[RUN["id"]].epochs() == [1, 2])
    server.die()
    training.log(3, 4)
    assert training.finish({"test/accuracy": 97.5}) < LIMIT
    assert written(place).epochs() == [1, 2, 3, 4]
    (line,) = training.stderr.read_text().splitlines()
    said = (
        r"cnn-seed0: Weights & Biases: not everything could be uploaded in time; all of it is in the file: (wandb .+)"
    )
    with WandbServer() as server:
        sync(place, server, *shlex.split(re.fullmatch(said, line)[1])[2:])
    (run,) = server.runs.values()
    assert run.epochs() == [1, 2, 3, 4]
    assert run.summary["test/accuracy"] == 97.5


def test_a_server_that_is_ill_for_a_while_gets_it_all(place: Path, server: WandbServer) -> None:
    training = Training(place, "online")
    training.log(1)
    wait_for(lambda: RUN["id"] in server.runs and server.runs[RUN["id"]].epochs() == [1])
    server.fault = 500
    training.log(2, 3)
    time.sleep(1)
    server.fault = None
    training.finish({"test/accuracy": 97.5})
    assert server.runs[RUN["id"]].epochs() == [1, 2, 3]
    assert server.runs[RUN["id"]].summary["test/accuracy"] == 97.5
    assert training.stderr.read_text() == ""


# Killed


def test_a_dead_helper_process_loses_nothing_offline(place: Path) -> None:
    training = Training(place, "offline")
    training.log(1, 2)
    wait_for(lambda: epochs(place))
    os.kill(training.helper(), signal.SIGKILL)
    training.log(3)
    time.sleep(0.5)
    training.log(4)
    assert training.finish({"test/accuracy": 97.5}) < LIMIT
    read = written(place, "offline-run-*")
    assert read.epochs() == [1, 2, 3, 4]
    assert read.summary["test/accuracy"] == 97.5
    (line,) = training.stderr.read_text().splitlines()
    assert re.fullmatch(r"cnn-seed0: Weights & Biases: ended \(.+\), and begins again", line)


def test_a_dead_helper_process_loses_nothing_online(place: Path, server: WandbServer) -> None:
    training = Training(place, "online")
    training.log(1, 2)
    wait_for(lambda: RUN["id"] in server.runs and server.runs[RUN["id"]].epochs() == [1, 2])
    os.kill(training.helper(), signal.SIGKILL)
    training.log(3, 4)
    assert training.finish({"test/accuracy": 97.5}) < LIMIT
    assert server.runs[RUN["id"]].epochs() == [1, 2, 3, 4]
    assert server.runs[RUN["id"]].summary["test/accuracy"] == 97.5
    assert len(training.stderr.read_text().splitlines()) == 1


def test_a_killed_mirror_stops_nothing(place: Path) -> None:
    training = Training(place, "offline")
    training.log(1, 2)
    wait_for(lambda: epochs(place) == [1, 2])
    helper = training.helper()
    os.kill(training.mirror(), signal.SIGKILL)
    training.log(3, 4)
    assert training.finish({"test/accuracy": 97.5}) < AT_ONCE
    wait_for(lambda: not alive(helper))
    assert written(place).epochs() == [1, 2]
    (line,) = training.stderr.read_text().splitlines()
    assert line == (
        "cnn-seed0: Weights & Biases: its process ended with status -9; the run goes on without it, "
        "and what it has written is in wandb"
    )


@pytest.mark.parametrize("which", ["mirror", "helper"])
def test_a_process_that_hangs_is_killed_at_the_limit(place: Path, which: str) -> None:
    limit = 6
    training = Training(place, "offline", limit=limit)
    training.log(1)
    wait_for(lambda: epochs(place))
    mirror, helper = training.mirror(), training.helper()
    os.kill(getattr(training, which)(), signal.SIGSTOP)
    training.log(*range(2, 2000))  # more than the pipe holds
    assert training.finish({}) < limit + 1.5
    wait_for(lambda: not alive(mirror) and not alive(helper))
    assert written(place).epochs()[0] == 1
    (line,) = training.stderr.read_text().splitlines()
    assert re.search(f"did not finish within {limit} s; the run goes on", line)


# The analysis


def test_the_analysis_is_a_run_with_tables_and_figures(place: Path, tmp_path: Path) -> None:
    from matplotlib.image import imsave

    tables, figures = place / "tables", place / "figures"
    tables.mkdir()
    figures.mkdir()
    (tables / "claims.csv").write_text(
        'system,text,verdict\nblog_cnn,"9755, of 10,000",reproduced\npixel_transformer,x,undecided\n'
    )
    (tables / "accuracy.csv").write_text("system,accuracy\nblog_cnn,97.5\n")
    imsave(figures / "learning_curves.png", np.zeros((4, 4)))
    drawn = (figures / "learning_curves.png").read_bytes()
    log_analysis("offline", preset="smoke", tables=tables, figures=figures, study={"preset": "smoke"})

    read = written(place, "offline-run-*")
    assert (read.run.job_type, read.run.run_group, list(read.run.tags)) == ("analysis", "analysis", ["smoke"])
    assert (read.summary["verdicts/reproduced"], read.summary["verdicts/undecided"]) == (1, 1)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(place / "wandb", elsewhere / "wandb")
    shutil.rmtree(tables)
    shutil.rmtree(figures)
    with WandbServer() as server:
        sync(elsewhere, server, "--yes")
    run = server.runs[read.run.run_id]
    (claims,) = [json.loads(data) for name, data in run.files.items() if name.startswith("media/table/claims")]
    assert claims["columns"] == ["system", "text", "verdict"]
    assert claims["data"] == [["blog_cnn", "9755, of 10,000", "reproduced"], ["pixel_transformer", "x", "undecided"]]
    (image,) = [data for name, data in run.files.items() if name.endswith(".png")]
    assert image == drawn
    assert run.exit_code == 0
    (row,) = run.history
    assert not any("artifact" in key for key in row["claims"])  # an artifact's files would be missing elsewhere


# Settings


@pytest.mark.parametrize(
    ("variable", "wanted", "expected"),
    [
        (None, None, "disabled"),
        (None, "offline", "offline"),
        (None, "online", "online"),
        ("online", "disabled", "online"),
        ("dryrun", "online", "offline"),
        ("disabled", "online", "disabled"),
        ("", "offline", "offline"),
    ],
)
def test_the_mode(monkeypatch: pytest.MonkeyPatch, variable: str | None, wanted: str | None, expected: str) -> None:
    if variable is not None:
        monkeypatch.setenv("WANDB_MODE", variable)
    assert mode(wanted) == expected


@pytest.mark.parametrize(("variable", "expected"), [("true", "disabled"), ("1", "disabled"), ("false", "online")])
def test_wandb_can_be_disabled_as_elsewhere(monkeypatch: pytest.MonkeyPatch, variable: str, expected: str) -> None:
    monkeypatch.setenv("WANDB_DISABLED", variable)
    assert mode("online") == expected


def test_a_mode_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"^tracking is 'on'; choose offline, online or disabled\.$"):
        mode("on")
    monkeypatch.setenv("WANDB_MODE", "shared")
    with pytest.raises(UserError, match=r"^WANDB_MODE is 'shared'; choose"):
        mode("offline")


def test_an_id_is_of_the_run_alone() -> None:
    key = {"experiment": "cnn", "seed": 0, "spec": {"a": 1, "b": 2}}
    same = {"spec": {"b": 2, "a": 1}, "seed": 0, "experiment": "cnn"}
    assert re.fullmatch("[a-z0-9]{16}", run_id(key, "smoke"))
    assert run_id(key, "smoke") == run_id(same, "smoke")
    assert len({run_id(key, "smoke"), run_id(key, "full"), run_id(key | {"seed": 1}, "smoke")}) == 3


def test_the_variables_of_wandb_stay_in_force(
    place: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_ENTITY", "group")
    monkeypatch.setenv("WANDB_TAGS", f"night, {'x' * 70},cpu")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "their cache"))
    Training(place, "online").finish({})
    about = server.runs[RUN["id"]].about
    assert (about["project"], about["tags"]) == ("theirs", ["smoke", "cpu", "night", "x" * 64])
    assert not (place / "wandb").exists()
    assert folders(tmp_path, "run-*")
    assert (tmp_path / "their cache").is_dir()


@pytest.mark.parametrize("home", [None, "/nonexistent"])
def test_no_home_is_needed(place: Path, monkeypatch: pytest.MonkeyPatch, home: str | None) -> None:
    monkeypatch.delenv("HOME") if home is None else monkeypatch.setenv("HOME", home)
    training = Training(place, "offline")
    training.log(1)
    training.finish({})
    assert written(place).epochs() == [1]
    assert training.stderr.read_text() == ""


@pytest.mark.parametrize(("mode", "lost"), [("offline", NOT_MIRRORED), ("online", KEPT_OFFLINE)])
def test_what_weights_and_biases_did_not_take_is_known(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, lost: str
) -> None:
    """Offline it is not there at all; online there is no server."""
    if mode == "offline":
        (tmp_path / "wandb.py").write_text("raise ImportError('no wandb')")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    tracker = tracking.Tracker.start(mode, **RUN)
    tracker.finish({})
    assert tracker.lost == [lost]


def test_without_wandb_a_run_goes_on(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb.py").write_text("raise ImportError('no wandb')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    training = Training(place, "offline")
    training.log(1)
    training.finish({})
    said = "cnn-seed0: Weights & Biases: wandb is not installed (pip install wandb); the run goes on without it\n"
    assert training.stderr.read_text() == said
    assert not (place / "wandb").exists()
