"""What a study does when something goes wrong around it, by the real command: nothing lost, and words on the screen."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from checkouts import Checkout

from pixelpatch.record import read_record

TABLE = "results/smoke/tables/claims.csv"  # asks for records, tidy tables and verdicts
RECORD = "results/smoke/runs/vit16_tiny/seed0.json"
CONFIG = ("preset=smoke", "only=vit16_tiny", "tracking=disabled", "seeds=1")


class Trouble(Checkout):
    """A checkout with the first seed of one experiment."""

    def study(self, *arguments: str, config: str = "") -> tuple[int, str]:
        """The exit status of snakemake, and what it says."""
        return self.said("snakemake", "--cores", "2", *arguments, "--config", *CONFIG, *config.split())

    def tables(self) -> dict[Path, bytes]:
        """The bytes of all tables."""
        return {path: path.read_bytes() for path in (self.folder / TABLE).parent.iterdir()}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, mnist: Path) -> Trouble:
    """Made on a machine with less memory than any job declares: each runs alone."""
    made = Trouble(tmp_path_factory.mktemp("trouble"), mnist)
    status, said = made.study(TABLE, "--resources", "mem_mb=500")
    assert status == 0, said
    assert "Kept " not in said
    return made


def test_a_rule_that_fails_leaves_the_tables_that_it_found_and_runs_again(checkout: Trouble) -> None:
    record, before = checkout.folder / RECORD, checkout.tables()
    right = record.read_bytes()
    record.write_bytes(re.sub(rb'"test/accuracy":[0-9.]+', b'"test/accuracy":99.9', right))
    status, said = checkout.study(TABLE)
    assert status == 1
    assert "seed0.json was changed after it was written" in said
    assert "Killed" not in said
    assert checkout.tables() == before
    for bytes_ in (record.read_bytes(), right):  # whether or not anything changes
        record.write_bytes(bytes_)
        assert re.search(r"^collect +1$", checkout.study(TABLE, "--dry-run")[1], re.MULTILINE)


def test_a_record_that_is_right_is_kept_whatever_is_forced_and_the_screen_says_so(checkout: Trouble) -> None:
    before = (checkout.folder / RECORD).read_bytes()
    status, said = checkout.study(RECORD, "--forceall")
    assert status == 0
    assert "Kept 1 of 1 records" in said
    assert f"    mv {RECORD} {RECORD}.before\n" in said
    assert (checkout.folder / RECORD).read_bytes() == before
    available = re.search(r"Provided resources: .*\bmem_mb\D+(\d+)", said)
    assert 0 < int(available[1]) <= psutil.virtual_memory().total // 10**6  # or what a container has of it


def test_what_was_no_valid_record_is_put_aside_and_the_screen_says_so(checkout: Trouble) -> None:
    """Whatever is forced: it may be the only trace of a run."""
    record = checkout.folder / RECORD
    right = record.read_bytes()
    for number, damaged in enumerate((right[:-9], b""), start=1):
        record.write_bytes(damaged)
        status, said = checkout.study(RECORD, "--forcerun", "train")
        assert status == 0
        aside = f"{RECORD}.replaced-{number}"
        assert f"What stood there is now: {aside}\n" in said
        assert (checkout.folder / aside).read_bytes() == damaged
        assert read_record(record)["metrics"] == json.loads(right)["metrics"]


def test_a_training_that_is_killed_says_what_probably_killed_it(checkout: Trouble) -> None:
    """As the kernel kills where memory ends."""
    lock = checkout.folder / "results/laptop/runs/vit16_tiny/seed0.lock"
    target = str(lock.with_suffix(".json").relative_to(checkout.folder))
    config = ("--config", *CONFIG, "preset=laptop")
    snakemake = checkout.start("snakemake", "--cores", "1", target, *config)
    while not (lock.exists() and (found := re.match(r"process (\d+) on ", lock.read_text()))):
        assert snakemake.poll() is None, snakemake.communicate()[0]
        time.sleep(0.01)
    os.kill(int(found[1]), signal.SIGKILL)
    said = snakemake.communicate()[0]
    assert snakemake.returncode == 1
    assert "Killed, probably out of memory: vit16_tiny seed0. The same command resumes" in said
    assert re.search(r"use fewer --cores or --resources mem_mb=[1-9]\d+\.$", said, re.MULTILINE)
    assert not (checkout.folder / target).exists()


def test_a_dry_run_beside_a_running_study_lists_what_is_left(checkout: Trouble) -> None:
    locks = checkout.folder / ".snakemake/locks"
    locks.mkdir(exist_ok=True)
    lock = locks / "0.output.lock"
    lock.write_text(f"{TABLE}\n")  # as a running snakemake has it
    try:
        status, said = checkout.study(TABLE, "--dry-run", "--forcerun", "tables")
    finally:
        lock.unlink()
    assert status == 0
    assert "Another Snakemake is at work in this folder" in said
    assert "cannot be locked" not in said
    assert re.search(r"^tables +1$", said, re.MULTILINE)


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_trainings_ask_for_the_gpu_that_they_will_take(checkout: Trouble, tmp_path: Path) -> None:
    cases = [(), ("--jobs", "2")]  # here, and as where a cluster's nodes have the GPUs
    source = "int cuInit(unsigned f) {return 0;} int cuDeviceGetCount(int *n) {*n = 2; return 0;}"
    build = ["cc", "-shared", "-fPIC", "-x", "c", "-o", str(tmp_path / "libcuda.so.1"), "-"]
    subprocess.run(build, input=source, text=True, check=True)
    environment, checkout.environment = checkout.environment, checkout.environment | {"LD_LIBRARY_PATH": str(tmp_path)}
    new = ("--dry-run", RECORD.replace("seed0", "seed9"))
    try:
        outputs = [checkout.study(*new, *rest, config="seeds=10")[1] for rest in cases]
    finally:
        checkout.environment = environment
    asked = [re.search(r"gpu=(\d+).* mem_mb=(\d+)", said) for said in outputs]
    assert [int(found[1]) for found in asked] == [1, 0]
    assert int(asked[0][2]) - int(asked[1][2]) == 4000
