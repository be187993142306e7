"""Runs: real processes, killed at random moments, two at a time on the same run, and records that nobody made twice."""

import copy
import io
import json
import math
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml
from torch import Tensor
from wandb_offline import read_run

from pixelpatch import ledger, runs
from pixelpatch.__main__ import main
from pixelpatch.errors import UserError
from pixelpatch.ledger import Ledger
from pixelpatch.lock import Lock
from pixelpatch.record import FORMAT, progress_file, read_record, unfinished, write_record
from pixelpatch.runs import How, Run
from pixelpatch.source import source_digest
from pixelpatch.stopping import SIGNALS, Stop
from pixelpatch.study import STUDY_FORMAT

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
MEASURED = ("experiment", "seed", "spec", "epochs", "metrics", "curve", "batch_losses", "predictions", "labels")


def small(experiment: str, *, train: int, test: int = 200, **training: Any) -> dict[str, Any]:
    spec = json.loads(json.dumps(CONFIG["experiments"][experiment]["spec"]))
    spec["data"]["limit"] = {"train": train, "validation": 200, "test": test}
    spec["training"] |= {"epochs": 8, **training}
    return spec


OLD = "0" * 16  # the digest of some code that is gone
SPECS = {  # augmentation, dropout and the best epoch; momentum and shuffled tests; fresh grids and decoding
    "vit": small("vit4_assignment", train=256, learning_rate=0.01),
    "cnn": small("blog_cnn", train=256, momentum=0.9),
    "grids": small("seq2seq_2x2", train=1024, test=100, batch=256),  # it starts slowly: training must take longer
}
SPECS["grids"]["data"]["grids"]["fresh"] = True


def single(name: str, record: Path, mnist: Path) -> list[str]:
    given = ["--experiment", name, "--spec", json.dumps(SPECS[name]), "--seed", "5", "--record", str(record)]
    return ["train", *given, "--data", str(mnist), "--device", "cpu"]


def live(arguments: list[str], log: str) -> None:
    """A process's whole life: the program, its stderr added to a file."""
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", buffering=0, closefd=False), write_through=True)
    sys.exit(main(arguments))


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.ForkServerContext:
    """Makes processes of their own that have imported PyTorch already: each saves the seconds that this takes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pixelpatch.runs", "torch._dynamo"])
    first = context.Process(target=os.getpid)
    first.start()
    first.join()
    return context


def work(process: BaseProcess, *, until: float = math.inf) -> float:
    """Wait until a process has worked for so many seconds of a processor, or is done: those that it has.

    They pass more slowly where others work too, and a share of them is the same moment of a run on any machine.
    """
    seconds = 0.0
    while process.is_alive() and seconds < until:
        with suppress(psutil.NoSuchProcess):  # done by now
            seconds = sum(psutil.Process(process.pid).cpu_times()[:2])
        process.join(0.01)
    return seconds


def comparable(path: Path) -> dict[str, Any]:
    record = read_record(path)
    return {key: record[key] for key in MEASURED} | {"early_digest": record["provenance"].get("early_digest")}


def check_progress(path: Path, whole: dict[str, Any]) -> int:
    """Hold the record of a run in progress against that of the run, once it is done; how many epochs it has."""
    record = read_record(path)
    assert unfinished(record)
    assert {key: record[key] for key in ("experiment", "seed", "spec")} == {
        key: whole[key] for key in ("experiment", "seed", "spec")
    }
    assert record["curve"] == {metric: values[: record["epochs"]] for metric, values in whole["curve"].items()}
    assert record["batch_losses"] == whole["batch_losses"][: len(record["batch_losses"])]
    assert len(record["batch_losses"]) * whole["epochs"] == len(whole["batch_losses"]) * record["epochs"]
    assert (record["metrics"], record["predictions"], record["labels"]) == ({}, "", "")
    return record["epochs"]


# Killed


@pytest.mark.parametrize(("name", "kills"), [("vit", 7), ("cnn", 7), ("grids", 6)])
def test_runs_killed_at_random_moments_end_as_one_that_was_not(
    processes: multiprocessing.context.ForkServerContext,
    mnist: Path,
    tmp_path: Path,
    name: str,
    kills: int,
) -> None:
    """Twenty kills over three systems, each at any moment: while it starts, trains, tests, writes, or is done."""
    log, record = tmp_path / "log", tmp_path / "runs" / "seed5.json"

    def start(record: Path) -> BaseProcess:
        process = processes.Process(target=live, args=(single(name, record, mnist), str(log)))
        process.start()
        return process

    unbroken = start(tmp_path / "unbroken.json")
    seconds = work(unbroken)
    unbroken.join()
    assert unbroken.exitcode == 0, log.read_text()
    expected = comparable(tmp_path / "unbroken.json")
    assert read_record(tmp_path / "unbroken.json")["provenance"]["interruptions"] == []

    rng, interruptions = random.Random(name), []
    while True:
        log.write_text("")
        process = start(record)
        work(process, until=rng.uniform(0.1, 0.9) * seconds if kills > 0 else math.inf)
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:  # or it was done a moment before
            if progress_file(record).exists():
                assert check_progress(progress_file(record), expected) > 0
            kills -= 1
            continue
        assert process.exitcode == 0, log.read_text()
        assert comparable(record) == expected
        assert [path.name for path in record.parent.iterdir()] == ["seed5.json"]
        interruptions.append(read_record(record)["provenance"]["interruptions"])
        record.unlink()  # and once more, until all kills are done
        if kills <= 0:
            break
    assert all(list(made) == sorted(made) for made in interruptions)
    assert any(interruptions)


def die(arguments: list[str], log: str, function: str, ending: str, count: int) -> None:
    """A life that ends in the midst of the `count`-th call of a function for a file with that ending."""
    owner: Any = {"replace": os, "unlink": Path}[function]
    original, calls = getattr(owner, function), []

    def deadly(*paths: Any, **options: Any) -> Any:
        calls.extend([1] if Path(paths[-1]).name == f"seed5{ending}" else [])
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*paths, **options)

    setattr(owner, function, deadly)
    live(arguments, log)


BEGUN = ["seed5.checkpoint", "seed5.lock", "seed5.progress.json"]


@pytest.mark.parametrize(
    ("function", "ending", "count", "left", "interruptions"),
    [
        ("replace", ".checkpoint", 3, [".seed5.checkpoint.*", *BEGUN], [2]),
        ("replace", ".progress.json", 1, [".seed5.progress.json.*", "seed5.checkpoint", "seed5.lock"], [1]),
        ("replace", ".progress.json", 3, [".seed5.progress.json.*", *BEGUN], [3]),  # its state is a step further
        ("replace", ".progress.json", 8, [".seed5.progress.json.*", *BEGUN], [8]),
        ("replace", ".json", 1, [".seed5.json.*", *BEGUN], [8]),
        ("unlink", ".checkpoint", 1, [*BEGUN, "seed5.json"], []),
        ("unlink", ".progress.json", 1, ["seed5.json", "seed5.lock", "seed5.progress.json"], []),
        ("unlink", ".lock", 1, ["seed5.json", "seed5.lock"], []),
    ],
)
def test_a_kill_at_the_worst_moment(
    processes: multiprocessing.context.ForkServerContext,
    mnist: Path,
    tmp_path: Path,
    function: str,
    ending: str,
    count: int,
    left: list[str],
    interruptions: list[int],
) -> None:
    """Written but not in place, in place but not cleared up after."""
    log, record = tmp_path / "log", tmp_path / "runs" / "seed5.json"

    def end(target: Any, *arguments: Any) -> int | None:
        process = processes.Process(target=target, args=arguments)
        process.start()
        process.join()
        return process.exitcode

    assert end(die, single("cnn", record, mnist), str(log), function, ending, count) == -signal.SIGKILL
    there = sorted(path.name for path in record.parent.iterdir())
    assert [re.sub(r"^(\.seed5\.[\w.]+)\.\w{8}$", r"\1.*", name) for name in there] == sorted(left)
    study = write_study(tmp_path, [(5, record)])
    assert end(live, ["train", str(study), "--data", str(mnist), "--device", "cpu"], str(log)) == 0, log.read_text()
    assert [path.name for path in record.parent.iterdir()] == ["seed5.json"]
    assert read_record(record)["provenance"]["interruptions"] == interruptions
    made = comparable(record)
    record.unlink()
    assert end(live, single("cnn", record, mnist), str(log)) == 0, log.read_text()  # without an interruption
    assert read_record(record)["provenance"]["interruptions"] == []
    assert comparable(record) == made
    assert [path.name for path in record.parent.iterdir()] == ["seed5.json"]


def write_study(folder: Path, records: list[tuple[int, Path]]) -> Path:
    path = folder / "study.json"
    runs = [{"experiment": "cnn", "seed": seed, "record": str(record)} for seed, record in records]
    content = {
        "format": STUDY_FORMAT,
        "preset": "x",
        "analysis": {},
        "experiments": {"cnn": {"spec": SPECS["cnn"], "resources": {}}},
        "runs": runs,
    }
    path.write_text(json.dumps(content))
    return path


def test_the_program_itself_goes_on(mnist: Path, tmp_path: Path) -> None:
    """As a shell has it, nothing prepared: killed once an epoch is done, and started again."""
    record = tmp_path / "seed5.json"
    command = [sys.executable, "-m", "pixelpatch", *single("cnn", record, mnist)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "epoch 3/8" in line:
                process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not record.exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (finished,) = read_record(record)["provenance"]["interruptions"]
    assert finished >= 3
    assert f"seed5.checkpoint: going on after epoch {finished}\n" in done.stderr
    assert f"epoch {finished}/8" not in done.stderr
    assert len(read_record(record)["timing"]["epoch_seconds"]) == 8


@pytest.mark.parametrize("number", SIGNALS)
def test_a_run_that_is_asked_to_stop_saves_and_goes_on_from_the_very_step(
    processes: multiprocessing.context.ForkServerContext, mnist: Path, tmp_path: Path, number: signal.Signals
) -> None:
    log, record = tmp_path / "log", tmp_path / "seed5.json"
    arguments = single("grids", record, mnist)
    process = processes.Process(target=live, args=(arguments, str(log)))
    process.start()
    wait_for("epoch 2/8", log, process)
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == 128 + number
    said = log.read_text().splitlines()[-1]
    place = re.fullmatch(
        rf"grids seed 5: stopped by {number.name} (at epoch (\d), step (\d) of 4|after epoch (\d) of 8); "
        "the same command goes on from there.",
        said,
    )
    assert place, said
    again = processes.Process(target=live, args=(arguments, str(log)))
    again.start()
    again.join()
    assert again.exitcode == 0, log.read_text()
    epoch, step = (int(place[2]) - 1, f", step {place[3]} of the next") if place[2] else (int(place[4]), "")
    assert f"going on after epoch {epoch}{step}\n" in log.read_text()
    assert read_record(record)["provenance"]["interruptions"] == [epoch]


def test_a_signal_to_every_process_of_a_job_ends_no_compiler(mnist: Path, tmp_path: Path) -> None:
    """It would leave the run, and its checkpoint, without the compiled operations that the next attempt has."""
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\nkill -USR1 0\nexec cc "$@"\n')
    compiler.chmod(0o755)
    record = tmp_path / "seed5.json"
    command = [sys.executable, "-m", "pixelpatch", *single("grids", record, mnist)]
    environment = os.environ | {"CC": str(compiler)}
    told = subprocess.run(command, env=environment, start_new_session=True, capture_output=True, text=True, check=False)
    assert told.returncode == 128 + signal.SIGUSR1, told.stderr
    assert "stopped by SIGUSR1 at epoch 1, step 1 of 4" in told.stderr
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "compiled operations" not in told.stderr + done.stderr
    assert "going on after epoch 0, step 1 of the next" in done.stderr
    assert read_record(record)["provenance"]["compiled"]


def test_a_stopped_run_goes_on_under_the_same_id_in_weights_and_biases(
    processes: multiprocessing.context.ForkServerContext,
    mnist: Path,
    tmp_path: Path,
) -> None:
    """Each epoch is mirrored once, over both attempts, and a record is the same with and without a mirror."""
    log, record = tmp_path / "log", tmp_path / "seed5.json"
    arguments = [*single("grids", record, mnist), "--tracking", "offline", "--preset", "full"]
    for attempt in range(2):
        process = processes.Process(target=in_folder, args=(str(tmp_path), arguments, str(log)))
        process.start()
        if attempt == 0:
            wait_for("epoch 2/8", log, process)
            process.terminate()
        process.join()
        assert process.exitcode == (0 if attempt else 128 + signal.SIGTERM), log.read_text()
    mirrored = map(read_run, (tmp_path / "wandb").glob("offline-run-*"))
    first, second = sorted(mirrored, key=lambda run: -run.exit_code)
    assert (first.exit_code, second.exit_code) == (1, 0)
    assert first.run.run_id == second.run.run_id
    assert first.epochs() + second.epochs() == list(range(1, 9))
    losses = [row["train/loss"] for row in first.history + second.history]
    assert losses == read_record(record)["curve"]["train/loss"]
    assert second.summary["test/digit_accuracy"] == read_record(record)["metrics"]["test/digit_accuracy"]
    assert main(single("grids", tmp_path / "alone.json", mnist)) == 0
    assert comparable(tmp_path / "alone.json") == comparable(record)


def in_folder(folder: str, arguments: list[str], log: str) -> None:
    os.chdir(folder)
    live(arguments, log)


# Two at a time


@pytest.fixture
def held(processes: multiprocessing.context.ForkServerContext, mnist: Path, tmp_path: Path) -> Iterator[Any]:
    """Call with a record's path: a process has the lock beside it until it is let go, and then makes the record or not.

    Returns that process, and what lets it go.
    """
    begun = []

    def hold(record: Path, *, makes: bool) -> tuple[BaseProcess, Callable[[], None]]:
        taken, let_go = processes.Event(), processes.Event()
        arguments = single("cnn", record, mnist) if makes else None
        process = processes.Process(target=keep, args=(str(record), arguments, taken, let_go))
        process.start()
        begun.append(process)
        assert taken.wait(60)
        return process, let_go.set

    yield hold
    for process in begun:
        process.kill()
        process.join()


def wait_for(text: str, log: Path, process: BaseProcess) -> None:
    """Until a process has said it."""
    began = time.monotonic()
    while text not in (log.read_text() if log.exists() else ""):
        assert process.is_alive()
        assert time.monotonic() - began < 120
        time.sleep(0.05)


def keep(record: str, arguments: list[str] | None, taken: Any, let_go: Any) -> None:
    lock = Lock(Path(record).with_suffix(".lock"))
    assert lock.take()
    taken.set()
    let_go.wait()
    if arguments:  # as the holder of the lock
        Lock.take = lambda self: True
        Lock.release = lambda self: None
        main(arguments)
    os.kill(os.getpid(), signal.SIGKILL)


def test_one_that_waits_can_be_stopped(
    processes: multiprocessing.context.ForkServerContext, held: Any, mnist: Path, tmp_path: Path
) -> None:
    log, record = tmp_path / "log", tmp_path / "seed5.json"
    held(record, makes=False)
    process = processes.Process(target=live, args=(single("cnn", record, mnist), str(log)))
    process.start()
    wait_for("waiting for", log, process)
    process.terminate()
    process.join(20)
    assert process.exitcode == 128 + signal.SIGTERM
    assert "cnn seed 5: stopped by SIGTERM while it waited for process" in log.read_text()


@pytest.mark.parametrize("makes", [True, False])
def test_the_second_process_on_a_run_waits_for_the_first(
    processes: multiprocessing.context.ForkServerContext, held: Any, mnist: Path, tmp_path: Path, makes: bool
) -> None:
    """And leaves the record as the first has made it, or makes it."""
    log, record = tmp_path / "log", tmp_path / "seed5.json"
    first, let_go = held(record, makes=makes)
    second = processes.Process(target=live, args=(single("cnn", record, mnist), str(log)))
    second.start()
    said = f"cnn seed 5: waiting for process {first.pid} on {os.uname().nodename}, which works on it\n"
    wait_for(said, log, second)
    assert log.read_text() == said
    assert not record.exists()
    let_go()
    second.join()
    assert second.exitcode == 0
    rest = log.read_text().removeprefix(said)
    if makes:
        assert rest == f"cnn seed 5: {record} is there already; move it away to have it made anew\n"
    else:
        assert "epoch 8/8" in rest
        assert rest.endswith(f"→ {record}\n")
    assert read_record(record)["provenance"]["interruptions"] == []
    assert not {path.name for path in tmp_path.iterdir()} - {"log", "seed5.json"}


def test_of_a_study_what_others_work_on_comes_last(
    processes: multiprocessing.context.ForkServerContext, held: Any, mnist: Path, tmp_path: Path
) -> None:
    log, records = tmp_path / "log", [tmp_path / f"seed{seed}.json" for seed in (5, 6)]
    study = write_study(tmp_path, [*zip((5, 6), records, strict=True)])
    first, let_go = held(records[0], makes=True)
    second = processes.Process(
        target=live, args=(["train", str(study), "--data", str(mnist), "--device", "cpu"], str(log))
    )
    second.start()
    waiting = f"process {first.pid} on {os.uname().nodename}"
    wait_for(f"waiting for {waiting}", log, second)
    assert read_record(records[1])["seed"] == 6
    let_go()
    second.join()
    assert second.exitcode == 0
    said = [line for line in log.read_text().splitlines() if line.startswith("cnn seed") and "epoch" not in line]
    assert said[0] == f"cnn seed 5: {waiting} works on it; it is left for the end"
    assert said[1].startswith("cnn seed 6: test/loss")
    assert said[2] == f"cnn seed 5: waiting for {waiting}, which works on it"
    assert said[3] == f"cnn seed 5: {records[0]} is there already; move it away to have it made anew"
    assert len(said) == 4


def write_empty_record(run: Run, **changes: Any) -> None:
    """A record of a run by this very code, but for the changes; of results it has none."""
    content = {key: getattr(run, key) for key in ("experiment", "seed", "spec")}
    content |= {"metrics": {}, "curve": {}, "timing": {}, "predictions": "", "labels": ""}
    content |= {"format": FORMAT, "epochs": 8, "batch_losses": []}
    write_record(run.record, content | {"provenance": made_by(source_digest(run.spec))} | changes)


def made_by(source: str, device: str = "cpu (x86_64)") -> dict[str, Any]:
    """The provenance of a record that code of this digest made."""
    return {"source": source, "device": device}


@pytest.mark.parametrize("same", [True, False])
def test_a_checkpoint_beside_a_record_of_older_code_is_left(tmp_path: Path, same: bool) -> None:
    """It may be of the run that is to replace that record; beside one of this code it is left over."""
    run = Run(experiment="cnn", seed=5, spec=SPECS["cnn"], record=tmp_path / "seed5.json")
    write_empty_record(run, **({} if same else {"provenance": made_by(OLD)}))
    run.checkpoint.write_text("hours of work")
    assert run.recorded()
    assert run.checkpoint.exists() != same


@pytest.mark.parametrize("change", [{"seed": 6}, {"spec": SPECS["vit"]}, {"provenance": made_by(OLD)}, None])
def test_a_record_of_anything_else_is_not_taken_for_the_run_s(
    held: Any, mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any] | None
) -> None:
    """Made meanwhile, but of another seed, spec or code, or damaged: the run is trained."""
    record = tmp_path / "seed5.json"
    run = Run(experiment="cnn", seed=5, spec=SPECS["cnn"], record=record)
    if change is None:
        record.write_text("{")
    else:
        write_empty_record(run, **change)
    trained = []
    monkeypatch.setattr(Run, "_train", lambda self, *_, **__: trained.append(self))
    _, let_go = held(record, makes=False)
    threading.Timer(0.3, let_go).start()
    assert run.complete({}, How(device="cpu", stop=Stop()), wait=True)
    assert trained == [run]


def test_a_spec_that_leaves_out_a_default_is_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the specs of older records do; with another value of it, the run is another."""
    run = Run(experiment="cnn", seed=5, spec=SPECS["cnn"], record=tmp_path / "seed5.json")
    trained = []
    monkeypatch.setattr(Run, "_train", lambda self, *_, **__: trained.append(self))
    for precision, count in (("float32", 0), ("bfloat16", 1)):
        spec = SPECS["cnn"] | {"training": SPECS["cnn"]["training"] | {"precision": precision}}
        write_empty_record(run, spec=spec)
        assert run.complete({}, How(device="cpu", stop=Stop()), wait=True)
        assert len(trained) == count


# Records of other code


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call with pairs of digests, and experiments: the replay ledger, which is empty before, has these lines."""
    monkeypatch.setattr(ledger, "LEDGER", tmp_path / "replays.jsonl")

    def add(*pairs: tuple[str, str], of: tuple[str, ...] = ("cnn",)) -> None:
        replayed = [{"experiment": experiment, "seed": 0, "replayed": "whole"} for experiment in of]
        about = {"runs": replayed, "machine": "x86_64", "versions": {}, "date": "2026-11-28"}
        Ledger.read().add([{"old": old, "new": new} | about for old, new in pairs])

    return add


TODAY = source_digest(SPECS["cnn"])
ON_GPU = source_digest(SPECS["cnn"], gpu=True)


@pytest.mark.parametrize(
    ("provenance", "pairs", "of", "kept"),
    [
        (made_by(TODAY), [], ["cnn"], True),
        (made_by(OLD), [], ["cnn"], False),
        (made_by(OLD), [(OLD, TODAY)], ["cnn"], True),
        (made_by(OLD), [(OLD, "1" * 16), ("1" * 16, TODAY)], ["cnn"], True),
        (made_by(OLD), [(OLD, TODAY)], ["vit"], True),  # which executes the same code
        (made_by(OLD), [(OLD, "1" * 16)], ["cnn"], False),
        (made_by(OLD), [(TODAY, OLD)], ["cnn"], False),
        (made_by(ON_GPU, "NVIDIA H100"), [], ["cnn"], True),
        (made_by(TODAY, "NVIDIA H100"), [], ["cnn"], False),
        (made_by(OLD, "NVIDIA H100"), [(OLD, TODAY)], ["cnn"], False),
    ],
)
def test_a_record_of_older_code_is_kept_where_the_ledger_leads_to_today_s(
    lines: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    provenance: dict[str, Any],
    pairs: list[tuple[str, str]],
    of: list[str],
    kept: bool,
) -> None:
    lines(*pairs, of=tuple(of))
    run = Run(experiment="cnn", seed=5, spec=SPECS["cnn"], record=tmp_path / "seed5.json")
    write_empty_record(run, provenance=provenance)
    trained = []
    monkeypatch.setattr(Run, "_train", lambda self, *_, **__: trained.append(self))
    assert run.recorded()
    assert ("made by another version of the training code" in capsys.readouterr().err) is not kept
    assert run.complete({}, How(device="cpu", stop=Stop()), wait=True)
    assert trained == ([] if kept else [run])
    assert ("is there already" in capsys.readouterr().err) is kept


def test_a_damaged_ledger_is_said_and_no_run_is_trained(
    lines: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines((OLD, TODAY))
    ledger.LEDGER.write_text(ledger.LEDGER.read_text().replace("x86_64", "x86_65"))
    run = Run(experiment="cnn", seed=5, spec=SPECS["cnn"], record=tmp_path / "seed5.json")
    write_empty_record(run, provenance=made_by(OLD))
    before = run.record.read_bytes()
    for ask in (run.recorded, lambda: run.complete({}, How(device="cpu", stop=Stop()), wait=True)):
        with pytest.raises(UserError, match=r"replays\.jsonl, line 1, was changed after it was written"):
            ask()
    assert run.record.read_bytes() == before
    lock = run.new_lock()
    assert lock.take()
    lock.release()


# In progress, and paused


@pytest.mark.parametrize("name", SPECS)
def test_after_each_epoch_there_is_a_record_of_what_the_run_has_shown(
    digits: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    spec = copy.deepcopy(SPECS[name])
    spec["data"].get("validation", {}).update(images=200)
    spec["training"]["epochs"] = 3
    run = Run(experiment=name, seed=5, spec=spec, record=tmp_path / "runs" / "seed5.json")
    seen: list[str] = []

    class Watching:
        """In the place of a mirror, which hears of an epoch once everything of it is written."""

        lost = ("Weights & Biases",)

        def log(self, epoch: int, results: dict[str, float]) -> None:
            seen.append(run.progress.read_text())
            assert not run.record.exists()
            assert read_record(run.progress)["curve"].keys() == results.keys()

        def finish(self, summary: dict[str, float] | None) -> None:
            assert summary

    monkeypatch.setattr(runs.Tracker, "start", lambda *_, **__: Watching())
    assert run.complete(digits, How(device="cpu", stop=Stop()), wait=True)
    assert [path.name for path in run.record.parent.iterdir()] == ["seed5.json"]
    whole = read_record(run.record)
    assert whole["provenance"].pop("lost") == ["Weights & Biases"]
    assert not unfinished(whole)
    for epoch, text in enumerate(seen, start=1):
        (tmp_path / "progress.json").write_text(text)
        assert check_progress(tmp_path / "progress.json", whole) == epoch
        record = read_record(tmp_path / "progress.json")
        assert record["timing"]["epoch_seconds"] == whole["timing"]["epoch_seconds"][:epoch]
        assert record["timing"].keys() == whole["timing"].keys()
        assert record["provenance"].keys() == whole["provenance"].keys()
    assert len(seen) == whole["epochs"] == 3


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", SPECS)
def test_a_run_pauses_after_an_epoch_and_the_same_command_finishes_it(
    mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """With four or eight steps an epoch, the first pause comes before the early digest, and the second after it."""
    record, unbroken = tmp_path / "runs" / "seed5.json", tmp_path / "unbroken" / "seed5.json"
    assert main(single(name, unbroken, mnist)) == 0
    for until in ("1", "6", "6"):  # a run that is there already is not taken further
        capsys.readouterr()
        assert main([*single(name, record, mnist), "--until", until]) == 0
        assert capsys.readouterr().err.splitlines()[-1] == (
            f"{name} seed 5: paused after epoch {until} of 8; the same command without --until goes on from there."
        )
        assert files(record.parent) == ["seed5.checkpoint", "seed5.progress.json"]
        assert check_progress(progress_file(record), comparable(unbroken)) == int(until)
    assert main(single(name, record, mnist)) == 0
    assert files(record.parent) == ["seed5.json"]
    assert comparable(record) == comparable(unbroken)
    provenance = read_record(record)["provenance"]
    assert provenance["interruptions"] == [1, 6, 6]
    assert "machines" not in provenance
    assert re.fullmatch("[0-9a-f]{64}", provenance["early_digest"])


@pytest.mark.parametrize("until", ["8", "9"])
def test_a_run_that_ends_by_then_does_not_pause(mnist: Path, tmp_path: Path, until: str) -> None:
    record = tmp_path / "runs" / "seed5.json"
    assert main([*single("cnn", record, mnist), "--until", until]) == 0
    assert files(record.parent) == ["seed5.json"]


def test_of_a_study_every_run_pauses(mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_study(tmp_path, [(seed, tmp_path / f"runs/seed{seed}.json") for seed in (5, 6)])
    command = ["train", str(study), "--data", str(mnist), "--device", "cpu"]
    assert main([*command, "--until", "2"]) == 0
    assert capsys.readouterr().err.count("paused after epoch 2 of 8; ") == 2
    assert files(tmp_path / "runs") == [
        f"seed{seed}.{ending}" for seed in (5, 6) for ending in ("checkpoint", "progress.json")
    ]
    assert main(command) == 0
    assert files(tmp_path / "runs") == ["seed5.json", "seed6.json"]


@pytest.mark.parametrize("exact", [False, True])
def test_a_run_goes_on_in_other_threads_unless_it_is_to_be_exact(
    mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], exact: bool
) -> None:
    record = tmp_path / "runs" / "seed5.json"
    assert main([*single("cnn", record, mnist), "--until", "3"]) == 0
    capsys.readouterr()
    assert main([*single("cnn", record, mnist), "--threads", "2", *["--exact"] * exact]) == 0
    torch.set_num_threads(1)  # as all other tests have it
    said, made = capsys.readouterr().err, read_record(record)
    assert made["provenance"]["threads"] == 2
    if exact:
        assert "seed5.checkpoint is of another number of threads; it is now " in said
        assert files(record.parent) == ["seed5.checkpoint.refused", "seed5.json"]
        assert made["provenance"]["interruptions"] == []
        assert "machines" not in made["provenance"]
    else:
        assert "another number of threads trained it so far; the run does not repeat bit for bit" in said
        assert files(record.parent) == ["seed5.json"]
        parts = made["provenance"]["machines"]
        assert [(part["from_epoch"], part["number of threads"]) for part in parts] == [(1, 1), (4, 2)]
        assert made["provenance"]["interruptions"] == [3]
