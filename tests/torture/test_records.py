"""Records that are not what they should be, under the real commands: a sentence each, and no table is changed."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkouts import ROOT, Checkout
from configurations import CONFIG
from scale import synthetic_record

from pixelpatch.__main__ import main
from pixelpatch.files import canonical_json
from pixelpatch.record import seal_record
from pixelpatch.study import resolve

EXPERIMENT, SEEDS = "vit16_tiny", 3
Record = dict[str, Any]


class Study(Checkout):
    """A checkout with a study of three runs, whose records are made as if by the present code; its tables."""

    def __init__(self, folder: Path, mnist: Path) -> None:
        super().__init__(folder, mnist)
        schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))
        config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
        config |= {"preset": "full", "only": EXPERIMENT, "seeds": SEEDS}
        self.results = folder / "results/full"
        study = resolve(json.loads(json.dumps(config)), schema)
        spec = study["experiments"][EXPERIMENT]["spec"]
        for run in study["runs"]:
            self.write(run["seed"], synthetic_record(EXPERIMENT, run["seed"], spec))
        (self.results / "study.json").write_text(json.dumps(study), encoding="utf-8")

    def path(self, seed: int) -> Path:
        return self.results / f"runs/{EXPERIMENT}/seed{seed}.json"

    def write(self, seed: int, record: Record) -> None:
        """A record with a checksum that is right, whatever else is not."""
        self.path(seed).parent.mkdir(parents=True, exist_ok=True)
        self.path(seed).write_text(canonical_json(seal_record(record)) + "\n", encoding="utf-8")

    def collect(self) -> tuple[int, str]:
        return self.said(sys.executable, "-m", "pixelpatch", *self.arguments())

    def arguments(self, folder: str = "results/full") -> list[str]:
        data = str(self.folder / "data/mnist")
        return ["collect", "--study", f"{folder}/study.json", "--data", data, "--tables", f"{folder}/tables"]

    def tables(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.results / "tables").iterdir()}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, mnist: Path) -> Study:
    study = Study(tmp_path_factory.mktemp("a study"), mnist)
    status, said = study.collect()
    assert status == 0, said
    return study


@pytest.fixture
def study(good: Study, tmp_path: Path) -> Iterator[Study]:
    """The study, its records and tables put back afterwards."""
    kept = shutil.copytree(good.results, tmp_path / "kept")
    yield good
    shutil.rmtree(good.results)
    kept.rename(good.results)


def changed(*path: str, to: Any) -> Callable[[Study], None]:
    """Another value in the record of seed 1, and a checksum that fits."""

    def change(study: Study) -> None:
        record = json.loads(study.path(1).read_text(encoding="utf-8"))
        block = record
        for key in path[:-1]:
            block = block[key]
        block[path[-1]] = to(block[path[-1]]) if callable(to) else to
        study.write(1, record)

    return change


def without(*path: str) -> Callable[[Study], None]:
    """The block at `path` without its last key."""
    return changed(*path[:-1], to=lambda block: {key: value for key, value in block.items() if key != path[-1]})


def text(edit: Callable[[str], str]) -> Callable[[Study], None]:
    """The record of seed 1 with its text edited, and its checksum as it was."""
    return lambda study: study.path(1).write_text(edit(study.path(1).read_text(encoding="utf-8")), encoding="utf-8")


def with_literal(value: str) -> Callable[[Study], None]:
    """A number that JSON does not have, under a checksum over just those bytes."""

    def change(study: Study) -> None:

        record = json.loads(study.path(1).read_text(encoding="utf-8"))
        record.pop("checksum")
        record["metrics"]["test/loss"] = float(value)
        canonical = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        record["checksum"] = hashlib.sha256(canonical.encode()).hexdigest()
        canonical = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        study.path(1).write_text(canonical + "\n", encoding="utf-8")

    return change


def copied(study: Study) -> None:
    shutil.copy(study.path(0), study.path(1))


def exchanged(study: Study) -> None:
    first, second = study.path(0).read_bytes(), study.path(1).read_bytes()
    study.path(0).write_bytes(second)
    study.path(1).write_bytes(first)


def renamed(study: Study) -> None:
    study.path(1).rename(study.path(7))


def folder(study: Study) -> None:
    study.path(1).unlink()
    study.path(1).mkdir()


def circle(study: Study) -> None:
    study.path(1).unlink()
    study.path(1).symlink_to(study.path(1))


def of_another_system(study: Study) -> None:
    study.write(1, synthetic_record("vit4_assignment", 1, CONFIG["experiments"]["vit4_assignment"]["spec"]))


FILE = f"{EXPERIMENT}/seed1.json"
CASES: dict[str, tuple[Callable[[Study], None], str]] = {
    "another spec": (changed("spec", "training", "epochs", to=9), "by another spec than the study's (they differ in"),
    "another spec, a key more": (changed("spec", "training", "momentum", to=0), "they differ in training.momentum)"),
    "another code": (changed("provenance", "source", to="0123456789abcdef"), "other training code (0123456789abcdef"),
    "no code at all": (without("provenance", "source"), "made by other training code (unknown, now"),
    "another system": (of_another_system, "holds vit4_assignment seed 1, not vit16_tiny seed 1"),
    "copied": (copied, "holds vit16_tiny seed 0, not vit16_tiny seed 1: it was moved or copied"),
    "exchanged": (exchanged, "holds vit16_tiny seed 0, not vit16_tiny seed 1"),
    "missing": (lambda study: study.path(1).unlink(), "cannot be read: No such file"),
    "renamed": (renamed, "cannot be read: No such file"),
    "empty": (text(lambda whole: ""), "is not valid JSON"),
    "torn": (text(lambda whole: whole[: len(whole) // 2]), "is not valid JSON"),
    "no record": (text(lambda whole: "{}"), "is not a run record of format 2"),
    "a list": (text(lambda whole: f"[{whole}]"), "is not a run record of format 2"),
    "nested": (text(lambda whole: "[" * 100_000), "is not valid JSON"),
    "no text": (lambda study: study.path(1).write_bytes(b"\xff\xfe\x00"), "is not UTF-8 text"),
    "a folder": (folder, "cannot be read: Is a directory"),
    "a link to itself": (circle, "cannot be read: Too many levels of symbolic links"),
    "of the future": (changed("format", to=3), "is not a run record of format 2"),
    "NaN": (text(lambda whole: whole.replace('"test/loss":0.', '"test/loss":NaN,"x":0.')), "was changed after it"),
    "NaN with a checksum": (with_literal("nan"), "was changed after it was written"),
    "infinity with a checksum": (with_literal("inf"), "was changed after it was written"),
    "a number beyond floats": (changed("metrics", "test/loss", to=10**400), "has a value of test/loss that is not a"),
    "text as a number": (changed("metrics", "test/loss", to="1.5"), "has a value of test/loss that is not a"),
    "true as a number": (changed("metrics", "test/loss", to=True), "has a value of test/loss that is not a"),
    "text as a loss": (changed("curve", "train/loss", to="1.5"), "has a value of train/loss that is not a"),
    "a negative seed": (changed("seed", to=-1), "holds vit16_tiny seed -1, not vit16_tiny seed 1"),
    "text as a seed": (changed("seed", to="1"), "has values of the wrong type for seed"),
    "metrics in a list": (changed("metrics", to=[]), "has values of the wrong type for metrics"),
    "fewer predictions": (changed("predictions", to=lambda all_: all_[:-1]), "has 9999 predictions for 10000 labels"),
    "one prediction": (changed("predictions", to=lambda all_: f"{(int(all_[0]) + 1) % 10}{all_[1:]}"), "labels make"),
    "no predictions": (changed("predictions", to=""), "has 0 predictions for 10000 labels"),
    "a metric less": (without("metrics", "test/loss"), "has no metric test/loss"),
    "a metric more": (changed("metrics", "test/digit_accuracy", to=1.0) , "has the metric test/digit_accuracy, which"),
    "an epoch less": (changed("curve", "train/loss", to=lambda curve: curve[1:]), "has 9 epochs of train/loss; it is"),
    "more right": (changed("metrics", "test/correct", to=lambda right: right + 1), "as test/correct; its predictions"),
    "a better accuracy": (changed("metrics", "test/accuracy", to=99.5), "has 99.5 as test/accuracy; its predictions"),
    "a better loss": (changed("metrics", "train/loss", to=1.47), "has 1.47 as train/loss; its curves make it"),
    "more images": (changed("metrics", "data/test_images", to=20_000), "has 20000 as data/test_images; its data set"),
    "other parameters": (changed("metrics", "model/parameters", to=1), "differ in model/parameters, though their spec"),
}  # fmt: skip


def check(case: str, status: int, output: str) -> None:
    assert status == 1, output
    problems = output.removeprefix("error: ").splitlines()
    assert len(problems) == (2 if case in ("exchanged", "one prediction") else 1), output
    assert any(FILE in problem and CASES[case][1] in problem for problem in problems), output


@pytest.mark.parametrize("case", CASES)
def test_collect_says_what_is_wrong_with_a_record_and_changes_no_table(
    study: Study, case: str, thorough: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    before = study.tables()
    CASES[case][0](study)
    status = main(study.arguments(str(study.results)))
    check(case, status, capsys.readouterr().err)
    if thorough or case in ("copied", "nested", "no code at all"):
        check(case, *study.collect())
    assert study.tables() == before
    assert sorted(path.name for path in study.results.iterdir()) == ["runs", "study.json", "tables"]


def test_all_that_is_wrong_is_said_at_once(study: Study) -> None:
    before = study.tables()
    study.path(0).write_text("", encoding="utf-8")
    changed("metrics", "test/accuracy", to=99.5)(study)
    study.path(2).unlink()
    status, output = study.collect()
    assert status == 1
    assert [f"{EXPERIMENT}/seed{seed}.json" in line for seed, line in enumerate(output.splitlines())] == [True] * 3
    assert study.tables() == before


# The whole command, with seeds=recorded: a wrong record ends it with the sentence, and no table is made of it.

WHOLE = ["copied", "a folder", "renamed", "NaN with a checksum", "fewer predictions", "torn"]


def recorded(study: Study) -> tuple[int, str]:
    wanted = ["results/full/tables/claims.csv", "--config", "preset=full", f"only={EXPERIMENT}", "seeds=recorded"]
    return study.said("snakemake", "--cores", "1", *wanted)


@pytest.fixture(scope="module")
def done(good: Study) -> None:
    """The study is done by Snakemake itself, which then knows what its files were made of."""
    (good.results / "study.json").unlink()
    status, output = recorded(good)
    assert status == 0, output


@pytest.mark.usefixtures("done")
@pytest.mark.parametrize("case", WHOLE)
def test_the_study_of_recorded_seeds_makes_no_table_of_a_wrong_record(study: Study, case: str, thorough: bool) -> None:
    if not thorough and case != "renamed":
        pytest.skip("with --thorough")
    before = study.tables()
    CASES[case][0](study)
    status, output = recorded(study)
    assert status == 1, output
    assert f"{EXPERIMENT}/seed" in output
    after = study.tables() if (study.results / "tables").exists() else {}
    assert all(before.get(name) == content for name, content in after.items())  # Snakemake removes what it remakes
