"""Two of everything at once in one folder, by the real commands: each ends right, or says who is in the way."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkouts import ROOT, Checkout
from test_runs import CONFIG, comparable

TABLE = "results/smoke/tables/claims.csv"  # asks for records, tidy tables and verdicts
LOCKED = "Directory cannot be locked."


class Folder(Checkout):
    """A checkout in which several commands run at once."""

    def begin(self, target: str = TABLE, preset: str = "smoke", seeds: str = "1") -> subprocess.Popen[str]:
        config = (f"preset={preset}", "only=vit16_tiny", f"seeds={seeds}")
        return self.start("snakemake", "--cores", "1", target, "--config", *config)

    def pixelpatch(self, *arguments: str) -> subprocess.Popen[str]:
        return self.start(sys.executable, "-m", "pixelpatch", *arguments)

    def train(self, study: str) -> subprocess.Popen[str]:
        return self.pixelpatch("train", study, "--data", "data/mnist")

    def locked(self) -> bool:
        return any((self.folder / ".snakemake/locks").glob("*.lock"))

    def records(self, preset: str = "smoke") -> dict[str, dict[str, Any]]:
        """What was measured, by the record's name; each record is whole."""
        found = sorted((self.folder / f"results/{preset}/runs/vit16_tiny").iterdir())
        return {path.name: comparable(path) for path in found}

    def study(self, folder: str, seeds: int) -> str:
        """A smoke study.json of vit16_tiny for list mode in a folder of its own."""
        path = self.folder / folder / "study.json"
        config = json.dumps(CONFIG | {"preset": "smoke", "only": "vit16_tiny", "seeds": seeds})
        schema = ("--schema", "workflow/schemas/config.schema.yaml")
        end(self.pixelpatch("study", "--config", config, *schema, "--output", str(path)))
        return str(path)


def end(process: subprocess.Popen[str], status: int = 0) -> str:
    """Wait for a command to end so; returns what it printed. No traceback, whatever happens."""
    output, _ = process.communicate(timeout=300)
    assert "Traceback" not in output, output
    assert process.returncode == status, output
    return output


def wait_for(condition: Any, process: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < ends
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, mnist: Path) -> Folder:
    return Folder(tmp_path_factory.mktemp("a checkout"), mnist)


@pytest.fixture(scope="module")
def expected(checkout: Folder) -> dict[str, dict[str, Any]]:
    """What three seeds give in one undisturbed process."""
    end(checkout.train(checkout.study("alone", 3)))
    folder = checkout.folder / "alone/runs/vit16_tiny"
    return {path.name: comparable(path) for path in sorted(folder.iterdir())}


@pytest.fixture
def fresh(checkout: Folder) -> Folder:
    """The checkout without results."""
    for folder in ("results", "shared", "logs", ".snakemake"):
        shutil.rmtree(checkout.folder / folder, ignore_errors=True)
    return checkout


def only(records: dict[str, Any], seeds: int) -> dict[str, Any]:
    return {name: record for name, record in records.items() if int(name[4]) < seeds}


def test_the_second_study_of_two_is_told_of_the_first_which_ends_right(
    fresh: Folder, expected: dict[str, dict[str, Any]]
) -> None:
    first = fresh.begin()
    wait_for(fresh.locked, first)
    said = end(fresh.begin(), 1)
    assert LOCKED in said
    assert "--unlock" in said
    end(first)
    assert fresh.records() == only(expected, 1)
    assert not fresh.locked()
    assert (fresh.folder / TABLE).exists()


def test_after_a_kill_the_lock_is_removed_as_the_readme_says_and_the_study_goes_on(
    fresh: Folder, expected: dict[str, dict[str, Any]], thorough: bool
) -> None:
    assert "snakemake --unlock" in (ROOT / "README.md").read_text(encoding="utf-8")
    if not thorough:
        pytest.skip("with --thorough")
    killed = fresh.begin(seeds="2")
    wait_for(lambda: any((fresh.folder / "results").rglob("seed*.lock")), killed)  # a run has begun
    killed.kill()
    killed.wait()
    killed.stdout.close()
    assert LOCKED in end(fresh.begin(seeds="2"), 1)
    end(fresh.start("snakemake", "--unlock"))
    end(fresh.begin(seeds="2"))
    assert fresh.records() == only(expected, 2)


def test_two_processes_share_a_study(fresh: Folder, expected: dict[str, dict[str, Any]]) -> None:
    study = fresh.study("shared", 3)
    outputs = [end(process) for process in [fresh.train(study), fresh.train(study)]]
    folder = fresh.folder / "shared/runs/vit16_tiny"
    made = {path.name: comparable(path) for path in sorted(folder.glob("*"))}
    assert made == expected
    for seed in range(3):  # each was trained once
        assert sum(output.count(f"→ {folder}/seed{seed}.json") for output in outputs) == 1, outputs


def test_a_process_and_snakemake_share_a_study(
    fresh: Folder, expected: dict[str, dict[str, Any]], thorough: bool
) -> None:
    if not thorough:
        pytest.skip("with --thorough")
    study = fresh.study("results/smoke", 3)
    processes = [fresh.train(study), fresh.begin(seeds="3")]
    for process in processes:
        end(process)
    assert fresh.records() == expected


def test_two_presets_at_once(fresh: Folder, expected: dict[str, dict[str, Any]], thorough: bool) -> None:
    if not thorough:
        pytest.skip("with --thorough")
    config = yaml.safe_load((fresh.folder / "config.yaml").read_text(encoding="utf-8"))
    config["presets"]["another"] = config["presets"]["smoke"]
    (fresh.folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    try:
        first = fresh.begin()
        wait_for(fresh.locked, first)
        second = fresh.begin(TABLE.replace("smoke", "another"), "another")
        end(first)
        end(second)
    finally:
        shutil.copy(ROOT / "config.yaml", fresh.folder)
    assert fresh.records() == fresh.records("another") == only(expected, 1)


def test_two_downloads_into_one_folder(checkout: Folder) -> None:
    source = json.dumps([{"kind": "folder", "path": "data/mnist"}])
    arguments = ("fetch", "--folder", "twice", "--sources", source)
    for process in [checkout.pixelpatch(*arguments) for _ in range(2)]:
        end(process)
    folder = checkout.folder / "twice"
    assert sorted(os.listdir(folder)) == sorted(os.listdir(checkout.folder / "data/mnist"))
    for path in folder.iterdir():
        assert path.read_bytes() == (checkout.folder / "data/mnist" / path.name).read_bytes()


@pytest.mark.usefixtures("expected")
def test_two_analyses_at_once_write_what_one_writes(checkout: Folder, thorough: bool) -> None:
    if not thorough:
        pytest.skip("two minutes: --thorough")
    arguments = ["--study", "alone/study.json", "--tables"]
    steps = [
        ["collect", "--data", "data/mnist"],
        *(["tables", table] for table in ("accuracy", "equivalence", "comparisons", "claims")),
    ]
    for folder, count in (("once", 1), ("twice", 2)):
        for step in steps:
            for process in [checkout.pixelpatch(*step, *arguments, f"tables_{folder}") for _ in range(count)]:
                end(process)
        drawn = ("--data", "data/mnist", "--output", f"tables_{folder}/drawn.png")
        command = ("figure", "accuracy_by_system", *arguments, f"tables_{folder}", *drawn)
        for process in [checkout.pixelpatch(*command) for _ in range(count)]:
            end(process)
    once, twice = (
        {path.name: path.read_bytes() for path in (checkout.folder / f"tables_{folder}").iterdir()}
        for folder in ("once", "twice")
    )
    assert once == twice
    assert len(once) == 23
