"""Odd surroundings: no home, no temporary folder, no terminal, ASCII alone, a read-only disk, a clock that is wrong."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkouts import Checkout
from debian import Unavailable, install, skip
from disk import Disk
from test_runs import MEASURED, comparable, small

from pixelpatch.record import read_record

WANTED = ["results/smoke/tables/claims.md", "results/smoke/figures/accuracy_by_system.png"]
RECORD = "results/smoke/runs/vit16_tiny/seed0.json"
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
NO_HOME = {"HOME": "/dev/null/home"}
NO_TEMPORARY = {"TMPDIR": "/dev/null/tmp"}


def run(
    made: Checkout, *command: str, unset: tuple[str, ...] = (), stdin: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A command in a checkout, in another environment; without `stdin`, not even a closed one is there."""
    full = {name: value for name, value in made.environment.items() if name not in unset} | environment
    close = None if stdin else lambda: os.close(0)
    return subprocess.run(
        command,
        cwd=made.folder,
        env=full,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        stdin=subprocess.DEVNULL if stdin else None,
        preexec_fn=close,
        timeout=600,
        check=False,
    )


def study(made: Checkout, *options: str, **surroundings: object) -> subprocess.CompletedProcess[str]:
    """A part of the smoke study: one run, its verdicts, one figure."""
    config = ["--config", "preset=smoke", "only=vit16_tiny", "seeds=1"]
    return run(made, "snakemake", "--cores", "all", *options, *config, "--", *WANTED, **surroundings)


def made_by(result: subprocess.CompletedProcess[str], made: Checkout) -> dict[str, bytes]:
    """The tables that a study ended with, timings aside."""
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    assert "Traceback" not in said
    return {"claims": (made.folder / WANTED[0]).read_bytes()}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, mnist: Path) -> Checkout:
    """A study that ran with all of it at once: no home, no temporary folder, no stdin, ASCII, an odd path."""
    made = Checkout(tmp_path_factory.mktemp("base") / """it's "a" $HOME %s; [study]""", mnist)
    result = study(made, stdin=False, **NO_HOME, **NO_TEMPORARY, **ASCII)
    made_by(result, made)
    return made


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, mnist: Path, odd: Checkout) -> dict[str, object]:
    """What the run measures in usual surroundings, by hand."""
    made = Checkout(tmp_path_factory.mktemp("plain") / "checkout", mnist)
    assert (
        run(made, "snakemake", "--cores", "all", "results/smoke/study.json", "--config", "preset=smoke").returncode == 0
    )
    arguments = ["results/smoke/study.json", "--only", "vit16_tiny", "--seeds", "0", "--data", "data/mnist"]
    result = run(made, sys.executable, "-m", "pixelpatch", "train", *arguments)
    assert result.returncode == 0, result.stderr
    return comparable(made.folder / RECORD)


def test_a_study_in_odd_surroundings_ends_in_the_same_numbers(odd: Checkout, plain: dict[str, object]) -> None:
    assert comparable(odd.folder / RECORD) == plain


def test_braces_in_the_path_are_one_sentence(tmp_path: Path) -> None:
    result = Checkout(tmp_path / "a {x}").snakemake("--dry-run")
    said = result.stdout + result.stderr
    assert result.returncode == 1
    assert f"Snakemake takes the braces in {tmp_path / 'a {x}'} for wildcards: rename that folder." in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "surroundings",
    [
        {"unset": ("HOME", "XDG_CACHE_HOME")},
        NO_HOME,
        NO_TEMPORARY,
        ASCII,
        {"stdin": False},
        {"LC_ALL": "xx_XX.ISO-8859-1", "LANG": "xx_XX.ISO-8859-1"},
    ],
    ids=["home unset", "no home", "no temporary folder", "ASCII", "no stdin", "unknown locale"],
)
def test_each_of_them_alone(
    tmp_path: Path, mnist: Path, thorough: bool, plain: dict[str, object], surroundings: dict
) -> None:
    if not thorough:
        pytest.skip("all at once, without --thorough")
    made = Checkout(tmp_path / "checkout", mnist)
    made_by(study(made, **surroundings), made)
    assert comparable(made.folder / RECORD) == plain


SHOW = [sys.executable, "-m", "pixelpatch", "show", str(Path(__file__).parents[2] / "results/full")]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_is_printed_is_printed_in_any_encoding(encoding: str) -> None:
    """The verdicts have ± and …; a terminal that lacks them shows others."""
    environment = os.environ | ASCII | {"PYTHONIOENCODING": encoding}
    result = subprocess.run(SHOW, env=environment, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
    assert ("±" if encoding != "ascii" else "?") in result.stdout.decode(encoding)


def test_a_terminal_that_takes_no_more() -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(SHOW, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == "error: standard output cannot be written: No space left on device.\n"


@pytest.mark.parametrize("seconds", [-400_000_000, 400_000_000], ids=["past", "future"])
def test_a_wrong_clock_trains_nothing_anew(odd: Checkout, seconds: int) -> None:
    """Files from the past and the future, in any order: the same tables, from the same records."""
    files = [path for name in ("results", "data/mnist") for path in (odd.folder / name).rglob("*") if path.is_file()]
    record = odd.folder / RECORD
    before, tables = record.read_bytes(), (odd.folder / WANTED[0]).read_bytes()
    random.Random(seconds).shuffle(files)
    for age, path in enumerate(files):
        os.utime(path, (time.time() + seconds + age,) * 2)
    result = study(odd)
    assert made_by(result, odd) == {"claims": tables}
    assert record.read_bytes() == before
    assert "rule train" not in result.stdout + result.stderr
    assert "rule fetch" not in result.stdout + result.stderr


@pytest.fixture(scope="module")
def faketime() -> Path:
    """The library that tells a process another time."""
    try:
        install({"faketime": "faketime"})
    except Unavailable as reason:
        skip(reason)
    return next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


def test_a_clock_that_jumps_back_in_a_training(tmp_path: Path, mnist: Path, faketime: Path) -> None:
    """A day back after the first epoch: times are measured by a clock that cannot."""
    clock, record, spec = tmp_path / "clock", tmp_path / "seed0.json", small("blog_vit", train=512, epochs=6)
    clock.write_text("+0")
    command = [sys.executable, "-m", "pixelpatch", "train", "--experiment", "small", "--spec", json.dumps(spec)]
    command += ["--seed", "0", "--record", str(record), "--data", str(mnist), "--device", "cpu"]
    faked = {"LD_PRELOAD": str(faketime), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1"}
    environment = os.environ | faked | {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    began = time.perf_counter()
    said = []
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            said.append(line)
            if "epoch 1/6" in line:
                clock.write_text("-1d")
    assert process.returncode == 0, said
    timing = read_record(record)["timing"]
    assert 0 < timing["train_seconds"] < timing["seconds"] < time.perf_counter() - began
    assert all(0 < seconds < timing["seconds"] for seconds in timing["epoch_seconds"])
    told = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"], env=environment, capture_output=True, check=True
    )
    assert float(told.stdout) < time.time() - 80_000  # the clock did jump


def test_read_only_results(odd: Checkout, disk: Disk, thorough: bool) -> None:
    """What is done can be looked at; what would be written is one sentence."""
    if not thorough:
        pytest.skip("a minute: --thorough")
    disk.resize(2**26)
    shutil.copytree(odd.folder / "results/smoke", disk.folder / "smoke")
    disk.read_only()
    show = [sys.executable, "-m", "pixelpatch", "show", str(disk.folder / "smoke")]
    assert run(odd, *show).returncode == 0
    before = disk.files()
    place = ["--study", str(disk.folder / "smoke/study.json"), "--tables", str(disk.folder / "smoke/tables")]
    place += ["--data", "data/mnist"]
    result = run(odd, sys.executable, "-m", "pixelpatch", "collect", *place)
    assert result.returncode == 1
    assert result.stderr.endswith("runs.csv cannot be written: Read-only file system; nothing was changed.\n")
    missing = f"{disk.folder}/smoke/runs/vit16_tiny/seed1.json"
    config = ["--config", f"results={disk.folder}", "preset=smoke", "only=vit16_tiny", "seeds=2"]
    result = run(odd, "snakemake", "--cores", "all", *config, "--", missing)
    said = result.stdout + result.stderr
    assert result.returncode == 1
    assert f"error: {missing.replace('.json', '.lock')} cannot be written: Read-only file system." in said
    assert "Traceback" not in said
    assert disk.files() == before
    disk.read_only(False)
    assert run(odd, sys.executable, "-m", "pixelpatch", "collect", *place).returncode == 0
    assert set(MEASURED) <= set(read_record(disk.folder / "smoke/runs/vit16_tiny/seed0.json"))
