"""A published run, made again: the same bits, the same spread, or neither, and what is left out."""

import copy
from pathlib import Path
from typing import Any

import pytest
from test_training import small
from torch import Tensor

from pixelpatch.record import read_record, write_record
from pixelpatch.runs import How, Run
from pixelpatch.stopping import Stop
from pixelpatch.verify import Outcome, compare, verify

HOW = How(device="cpu", stop=Stop())


def published(folder: Path, digits: dict[str, Tensor], seeds: int) -> dict[str, Any]:
    """A study of two systems, the first with records."""
    specs = {"vit16_tiny": small("vit16_tiny"), "blog_cnn": small("blog_cnn")}
    runs = [{"experiment": "vit16_tiny", "seed": seed, "record": f"seed{seed}.json"} for seed in range(seeds)]
    for run in runs:
        Run("vit16_tiny", run["seed"], specs["vit16_tiny"], folder / run["record"]).complete(digits, HOW, wait=True)
    return {
        "analysis": {"alpha": 0.05},
        "experiments": {name: {"spec": spec} for name, spec in specs.items()},
        "runs": runs,
    }


def test_what_was_published_comes_out_bit_for_bit(digits: dict[str, Tensor], tmp_path: Path) -> None:
    study = published(tmp_path, digits, 1)
    before = (tmp_path / "seed0.json").read_bytes()
    outcomes = [*verify(study, tmp_path, digits, HOW, minutes=5)]
    assert outcomes[0] == Outcome("vit16_tiny", True, "seed 0 is its published record, bit for bit")
    assert outcomes[1] == Outcome("blog_cnn", None, "no record")
    assert (tmp_path / "seed0.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["seed0.json"]
    (outcome, _) = verify(study, tmp_path, digits, HOW, minutes=0)
    assert outcome.agrees is None
    assert outcome.text.startswith("left out: 0.")


def test_a_record_that_the_code_does_not_make_is_noticed(digits: dict[str, Tensor], tmp_path: Path) -> None:
    study = published(tmp_path, digits, 1)
    record = read_record(tmp_path / "seed0.json")
    record["metrics"]["test/accuracy"] += 0.5
    del record["checksum"]
    write_record(tmp_path / "seed0.json", record)
    (outcome, _) = verify(study, tmp_path, digits, HOW, minutes=5)
    assert outcome.agrees is False
    assert "though made on the same kind of machine" in outcome.text


@pytest.mark.parametrize(("accuracy", "agrees"), [(97.2, True), (98.5, False)])
@pytest.mark.parametrize("other", [{"device": "cpu (there)"}, {"compiled": False}, {"threads": 2}])
def test_on_another_machine_it_is_one_more_run(accuracy: float, agrees: bool, other: dict[str, Any]) -> None:
    origin = {"device": "cpu (here)", "versions": {"torch": "2"}, "source": "0", "compiled": True, "threads": 1}
    record = {"seed": 3, "metrics": {"test/accuracy": 97.0}, "curve": {}, "predictions": "1", "labels": "1"}
    record["provenance"] = origin
    records = [copy.deepcopy(record) for _ in range(5)]
    for published, value in zip(records, (97.0, 97.1, 96.9, 97.2, 97.1), strict=True):
        published["metrics"]["test/accuracy"] = value
    again = copy.deepcopy(record) | {"metrics": {"test/accuracy": accuracy}}
    again["provenance"] = origin | other
    outcome = compare("cnn", records, again, alpha=0.05)
    assert outcome.agrees is agrees
    assert ("within" if agrees else "outside") in outcome.text
    assert "5 published seeds" in outcome.text
    alone = compare("cnn", records[:1], again, alpha=0.05)
    assert (alone.agrees, alone.text.endswith("one published seed predicts nothing")) == (None, True)
