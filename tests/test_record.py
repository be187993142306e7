"""The run record: what is written is what is read, and nothing that was changed in between."""

import json
import math
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pixelpatch import record as module
from pixelpatch.environment import ours
from pixelpatch.errors import RESTORE, UserError
from pixelpatch.files import canonical_json
from pixelpatch.models import kernels
from pixelpatch.record import KEYS, progress_file, provenance, read_record, seal_record, unfinished, write_record
from pixelpatch.source import source_digest

ROOT = Path(__file__).parents[1]
SPEC = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["experiments"]["blog_cnn"]["spec"]

RECORD = {
    "format": 2,
    "experiment": "pixel_transformer",
    "seed": 3,
    "spec": {"data": {"standardise": False}, "training": {"learning_rate": 1e-4, "epochs": 2}},
    "epochs": 2,
    "metrics": {"test/accuracy": 95.01, "test/loss": 0.1 + 0.2, "test/correct": 9500, "model/parameters": 1292042},
    "curve": {"train/loss": [2.2063, 1.9907], "validation/accuracy": [22.75, 100 / 3]},
    "batch_losses": [2.3, 2.1, 2.0],
    "predictions": "7210414959_<>",
    "labels": "7210414959069",
    "timing": {"seconds": 12.5, "images_per_second": 1e-07},
    "provenance": {"device": "cpu (größer)", "git": {"commit": None, "dirty": None}},
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records") / "runs" / "pixel_transformer" / "seed3.json"


def test_what_is_written_is_read(path: Path) -> None:
    write_record(path, RECORD)
    read = read_record(path)
    assert set(read) == set(KEYS)
    assert {key: value for key, value in read.items() if key != "checksum"} == RECORD
    assert read == seal_record(RECORD) == seal_record(seal_record(RECORD))


def test_the_same_record_is_the_same_bytes_in_any_order(path: Path) -> None:
    write_record(path, RECORD)
    once = path.read_bytes()
    write_record(path, dict(reversed(RECORD.items())))
    assert path.read_bytes() == once


@settings(max_examples=400)
@given(st.data())
def test_any_edit_is_noticed(path: Path, data: st.DataObject) -> None:
    """One character replaced, put in or taken out, also where the values stay as they were, as with a space."""
    text = canonical_json(seal_record(RECORD)) + "\n"
    position = data.draw(st.integers(0, len(text) - 1))
    new = data.draw(st.sampled_from(["", *'0123456789.-+eE"{}[],: \n\r\\abcßx×\x00']))
    length = data.draw(st.integers(0, 1))
    edited = text[:position] + new + text[position + length :]
    assume(edited != text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(edited.encode())
    with pytest.raises(UserError) as caught:
        read_record(path)
    assert str(caught.value).startswith(str(path))
    assert RESTORE in str(caught.value)


@pytest.mark.parametrize("key", [key for key in RECORD if key != "format"])
def test_every_part_is_under_the_checksum(path: Path, key: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(seal_record(RECORD) | {key: "other"}))
    with pytest.raises(UserError, match="was changed after it was written"):
        read_record(path)


@settings(max_examples=50)
@given(st.integers(0, len(canonical_json(seal_record(RECORD))) - 1))
def test_a_torn_record_is_noticed(path: Path, length: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(canonical_json(seal_record(RECORD))[:length], encoding="utf-8")
    with pytest.raises(UserError, match="restore it"):
        read_record(path)


@pytest.mark.parametrize(
    "content",
    [
        *([], 5, None, "record", {}, RECORD),
        seal_record(RECORD | {"format": 3}),
        seal_record(RECORD | {"extra": 1}),
        seal_record(RECORD | {"format": 1}),  # which has no losses of batches
        seal_record({key: value for key, value in RECORD.items() if key != "batch_losses"}),
    ],
)
def test_other_formats_are_told_from_records(tmp_path: Path, content: Any) -> None:
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"x\.json is not a run record of format 2; restore it"):
        read_record(tmp_path / "x.json")


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"seed0\.json cannot be read: No such file"):
        read_record(tmp_path / "seed0.json")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_is_a_failure_and_never_a_number(tmp_path: Path, value: float) -> None:
    for bad, name in (
        (RECORD | {"metrics": {"test/loss": value}}, "metrics.test/loss"),
        (RECORD | {"curve": {"train/loss": [1.0, value]}}, r"curve.train/loss\[1\]"),
        (RECORD | {"timing": {"seconds": value}}, "timing.seconds"),
        (RECORD | {"batch_losses": [value]}, r"batch_losses\[0\]"),
    ):
        with pytest.raises(UserError, match=rf"^{name} of pixel_transformer, seed 3, is {value}: not a result\.$"):
            write_record(tmp_path / "x.json", bad)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_became_nan_in_the_file_is_noticed(path: Path, word: str) -> None:
    write_record(path, RECORD)
    text = path.read_text()
    assert text.count("95.01") == 1
    path.write_text(text.replace("95.01", word))
    with pytest.raises(UserError, match=r"seed3\.json was changed after it was written"):
        read_record(path)


# Format 1, and runs in progress

OLD = {key: value for key, value in RECORD.items() if key not in ("epochs", "batch_losses")} | {"format": 1}
RECORDED = sorted((ROOT / "results/full/runs").glob("*/seed0.json"))


def test_a_record_of_format_1_is_read_as_one_of_format_2_in_which_all_epochs_are_finished(path: Path) -> None:
    write_record(path, OLD)
    text = path.read_bytes()
    read = read_record(path)
    assert read == seal_record(OLD) | {"epochs": 2, "batch_losses": []}
    assert set(read) == set(KEYS)
    assert not unfinished(read)
    assert path.read_bytes() == text
    path.write_bytes(text.replace(b"95.01", b"95.02"))
    with pytest.raises(UserError, match="was changed after it was written"):
        read_record(path)


@pytest.mark.parametrize("record", RECORDED[::20] or [None], ids=lambda record: record and record.parent.name)
def test_the_recorded_runs_are_read_in_their_format(record: Path | None) -> None:
    if record is None:
        pytest.skip("no run is recorded in this checkout")
    written, read = json.loads(record.read_text(encoding="utf-8")), read_record(record)
    assert {key: read[key] for key in written} == written
    assert read["epochs"] == read["spec"]["training"]["epochs"]
    assert set(read) == set(KEYS)


@pytest.mark.parametrize("spec", [{}, {"training": {}}, {"training": 5}, {"training": {"epochs": "2"}}])
def test_a_record_of_format_1_without_epochs_is_refused_with_a_sentence(path: Path, spec: dict[str, Any]) -> None:
    write_record(path, OLD | {"spec": spec})
    with pytest.raises(UserError, match="has values of the wrong type for epochs"):
        read_record(path)


def test_the_progress_of_a_run_lies_beside_its_record() -> None:
    assert progress_file(Path("runs/a.b/seed10.json")) == Path("runs/a.b/seed10.progress.json")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, False),
        ({"epochs": 1, "metrics": {}}, True),
        ({"epochs": 2, "metrics": {}}, True),  # its last epoch is done, and nothing is tested yet
        ({"epochs": 1}, True),
        ({"metrics": {}, "provenance": {"diverged": "The loss became nan"}}, False),
    ],
)
def test_a_run_is_in_progress_until_it_is_tested(change: dict[str, Any], expected: bool) -> None:
    assert unfinished(RECORD | change) is expected


# Provenance


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in whose src/pixelpatch the package seems to lie, one module of it; git's state is asked for anew."""
    root = tmp_path / "around" / "checkout"
    code = root / "src/pixelpatch/record.py"
    monkeypatch.setattr(module, "__file__", str(code))
    code.parent.mkdir(parents=True)
    code.write_text("one\n")
    module._git_state.cache_clear()
    yield root
    module._git_state.cache_clear()


def git(folder: Path, *arguments: str) -> str:
    """What a command of git in `folder` prints; the repository and who commits are said."""
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    command, environment = ["git", *identity, *arguments], ours(os.environ)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def repository(folder: Path) -> str:
    """Make `folder` a repository of all that is in it; its commit."""
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "one")
    return git(folder, "rev-parse", "HEAD")


def git_state() -> dict[str, Any]:
    module._git_state.cache_clear()
    return provenance(SPEC, device="cpu", threads=1)["git"]


def test_provenance_says_where_a_run_was_made() -> None:
    made = provenance(SPEC, device="cpu (x86_64)", threads=2)
    assert {key: made[key] for key in ("device", "threads", "source")} == {
        "device": "cpu (x86_64)",
        "threads": 2,
        "source": source_digest(SPEC),
    }
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__}
    assert made["versions"] == versions
    assert made["compiled"] is (kernels.library() is not None)
    assert set(made) == {"device", "threads", "compiled", "build", "versions", "git", "source"}
    assert json.loads(canonical_json(made)) == made
    on_gpu = provenance(SPEC, device="NVIDIA H100", threads=2)
    assert on_gpu["source"] == source_digest(SPEC, gpu=True) != made["source"]


UNVERSIONED = {"commit": None, "dirty": None, "why": "the code is not under version control"}


def test_git_knows_commit_and_changes(checkout: Path) -> None:
    commit = repository(checkout)
    assert git_state() == {"commit": commit, "dirty": False}
    (checkout / "notes.txt").write_text("mine\n")  # which no run reads
    assert git_state() == {"commit": commit, "dirty": False}
    (checkout / "src/pixelpatch/loss.py").write_text("new\n")  # which one may
    assert git_state() == {"commit": commit, "dirty": True}
    (checkout / "src/pixelpatch/loss.py").unlink()
    (checkout / "src/pixelpatch/record.py").write_text("two\n")
    assert git_state() == {"commit": commit, "dirty": True}
    subprocess.run(
        ["git", "-C", checkout, "update-index", "--assume-unchanged", "src/pixelpatch/record.py"], check=True
    )
    assert git_state() == {"commit": commit, "dirty": True}


@pytest.mark.parametrize("what", ["nothing", "around", "around, tracked", "beside", "installed", "broken"])
def test_of_code_that_is_in_no_repository_of_its_own_no_commit_is_told(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    match what:
        case "around":  # an archive, unpacked in another project
            (checkout.parent / ".gitignore").write_text("checkout\n")
            repository(checkout.parent)
        case "around, tracked":  # a copy in another project
            repository(checkout.parent)
        case "beside":  # a repository at the right place, of something else
            (checkout / ".gitignore").write_text("src\n")
            repository(checkout)
        case "installed":  # in the environment of a repository
            site = checkout / ".venv/lib/python3.11/site-packages/pixelpatch/record.py"
            site.parent.mkdir(parents=True)
            site.write_text("one\n")
            repository(checkout)
            monkeypatch.setattr(module, "__file__", str(site))
        case "broken":  # git looks for another one, further up
            (checkout / ".git").mkdir()
            repository(checkout.parent)
    assert git_state() == UNVERSIONED


@pytest.mark.parametrize("case", ["no git", "no commit", "another's"])
def test_where_git_cannot_answer_it_is_said_why(checkout: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    git(checkout, "init", "--quiet")
    git(checkout, "add", ".")
    why = "fatal: Needed a single revision"
    if case != "no commit":
        repository(checkout)
    if case == "no git":
        monkeypatch.setenv("PATH", str(checkout))
        why = "it is not installed"
    if case == "another's":
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        why = f"fatal: detected dubious ownership in repository at '{checkout}'"
    assert git_state() == {"commit": None, "dirty": None, "why": f"git cannot say: {why}"}


@pytest.mark.parametrize("variable", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"])
def test_the_repository_of_a_hook_is_not_ours(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    repository(other)
    commit = repository(checkout)
    places = {"GIT_DIR": other / ".git", "GIT_WORK_TREE": other, "GIT_INDEX_FILE": other / ".git/index"}
    monkeypatch.setenv(variable, str(places[variable]))
    assert git_state() == {"commit": commit, "dirty": False}
