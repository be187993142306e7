"""Replays: what comes out the same becomes a line of the ledger, and what does not is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from configurations import study as configured
from torch import Tensor

from pixelpatch import ledger, replay
from pixelpatch.errors import UserError
from pixelpatch.ledger import Ledger
from pixelpatch.record import read_record, write_record
from pixelpatch.replay import Replayed, entries, outdated, refuse_unequal
from pixelpatch.runs import How, Run
from pixelpatch.source import source_digest
from pixelpatch.stopping import Stop
from pixelpatch.study import merge

HOW = How(device="cpu", stop=Stop())
SMALL = {"data": {"limit": {"train": 96, "test": 20}}, "training": {"epochs": 8, "batch": 32}}  # 24 steps, 3 an epoch
SPEC = merge(configured(("preset", "full"))["experiments"]["vit16_tiny"]["spec"], SMALL)
OLD = {"provenance": {"source": "older code"}}
Edit = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, digits: dict[str, Tensor]) -> dict[str, Any]:
    """The record of a small run."""
    run = Run("tiny", 3, SPEC, tmp_path_factory.mktemp("runs") / "seed3.json")
    run.complete(digits, HOW, wait=True)
    return read_record(run.record)


@pytest.fixture
def replayed(
    tmp_path: Path, made: dict[str, Any], digits: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[Replayed]]:
    """What becomes of that record once other code has made it, and it is changed so."""
    monkeypatch.setattr(ledger, "LEDGER", tmp_path / "replays.jsonl")
    study = {"runs": [{"experiment": "tiny", "seed": 3, "record": "seed3.json"}]}

    def again(change: dict[str, Any], *, minutes: float = 2.0) -> list[Replayed]:
        record = {key: value for key, value in merge(merge(made, OLD), change).items() if key != "checksum"}
        write_record(tmp_path / "seed3.json", record)
        return list(replay.replay(study, tmp_path, digits, HOW, minutes=minutes))

    return again


NO_DIGEST = {"provenance": {"early_digest": None}}


@pytest.mark.parametrize(
    ("change", "minutes", "what"),
    [({}, 2.0, "whole"), ({}, 1e-9, "20 steps"), (NO_DIGEST | {"timing": {"epoch_seconds": [0.0]}}, 1e-9, "epoch 1")],
)
def test_what_comes_out_the_same_is_a_line_that_leads_from_the_old_code_to_the_new(
    replayed: Callable[..., list[Replayed]], change: dict[str, Any], minutes: float, what: str
) -> None:
    (it,) = outcome = replayed(change, minutes=minutes)
    assert (it.same, it.run) == (True, {"experiment": "tiny", "seed": 3, "replayed": what})
    refuse_unequal(outcome)
    Ledger.read().add(entries(outcome, machine="cpu (it)", versions={}))
    assert Ledger.read().leads("older code", source_digest(SPEC), "tiny")
    assert replayed(change, minutes=minutes) == []  # nothing is left to be shown


@pytest.mark.parametrize(
    ("change", "minutes"),
    [
        ({"metrics": {"test/loss": 0.1}}, 2.0),
        ({"provenance": {"early_digest": "0" * 64}}, 1e-9),
        (NO_DIGEST | {"timing": {"epoch_seconds": [0.0]}, "curve": {"train/loss": [9.0] * 8}}, 1e-9),
    ],
)
def test_what_does_not_is_named_and_no_line(
    replayed: Callable[..., list[Replayed]], change: dict[str, Any], minutes: float
) -> None:
    outcome = replayed(change, minutes=minutes)
    assert [it.same for it in outcome] == [False]
    assert entries(outcome, machine="cpu (it)", versions={}) == []
    with pytest.raises(UserError, match="tiny seed 3 did not come out as recorded: today's code computes something"):
        refuse_unequal(outcome)


@pytest.mark.parametrize(
    ("change", "minutes", "said"),
    [
        ({"provenance": {"device": "cpu (another)"}}, 2.0, "not compared: it was made with another device"),
        ({"provenance": {"versions": {"torch": "1.0"}}}, 2.0, "not compared: it was made with another versions"),
        (NO_DIGEST, 1e-9, "not replayed: one epoch of it takes longer than --minutes"),
    ],
)
def test_what_cannot_be_compared_shows_nothing(
    replayed: Callable[..., list[Replayed]], change: dict[str, Any], minutes: float, said: str
) -> None:
    outcome = replayed(change, minutes=minutes)
    assert [(it.same, it.text) for it in outcome] == [(None, said)]
    assert entries(outcome, machine="cpu (it)", versions={}) == []
    refuse_unequal(outcome)


def test_one_run_that_differs_refutes_all_of_its_pair_of_digests() -> None:
    same, other = ({"experiment": name, "seed": 0, "replayed": "whole"} for name in ("a", "b"))
    outcome = [Replayed(same, "old", "new", True, ""), Replayed(other, "old", "new", False, "")]
    assert entries(outcome, machine="", versions={}) == []
    (line,) = entries([outcome[0], outcome[1]._replace(new="newer")], machine="", versions={})
    assert (line["old"], line["new"], line["runs"]) == ("old", "new", [same])


def test_only_the_first_outdated_record_of_an_experiment_is_replayed(
    tmp_path: Path, made: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "LEDGER", tmp_path / "replays.jsonl")
    runs = [{"experiment": "tiny", "seed": seed, "record": f"seed{seed}.json"} for seed in range(3)]
    for seed in range(3):
        record = merge(made, {"seed": seed} | (OLD if seed else {}))
        write_record(tmp_path / f"seed{seed}.json", {key: value for key, value in record.items() if key != "checksum"})
    assert [record["seed"] for _, record in outdated({"runs": runs}, tmp_path, Ledger.read())] == [1]
