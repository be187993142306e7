"""The replay ledger: its lines lead from one version of the code to another; none is believed that is not whole."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pixelpatch import ledger as module
from pixelpatch.errors import UserError
from pixelpatch.files import canonical_json, digest
from pixelpatch.ledger import KEYS, Ledger


def line(old: str, new: str, *experiments: str) -> dict[str, Any]:
    runs = [{"experiment": experiment, "seed": 0, "replayed": "whole"} for experiment in experiments]
    made = {"old": old, "new": new, "runs": runs, "machine": "cpu (größer)", "versions": {"torch": "2.7"}}
    return made | {"date": "2026-11-28"}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ledger of the code, which does not exist yet."""
    monkeypatch.setattr(module, "LEDGER", tmp_path / "replays.jsonl")
    return tmp_path / "replays.jsonl"


@pytest.mark.parametrize(
    ("old", "new", "experiment", "expected"),
    [
        ("a", "a", "cnn", True),  # by no line
        ("z", "z", "never replayed", True),
        ("a", "b", "cnn", True),
        ("a", "c", "cnn", True),  # by two
        ("a", "d", "cnn", True),  # by three, past a circle
        ("b", "a", "cnn", True),  # it leads back
        ("c", "a", "cnn", False),  # and not from there
        ("a", "b", "vit", True),
        ("a", "c", "vit", False),  # the second line has not replayed it
        ("b", "c", "vit", False),
        ("a", "b", "grids", False),
        ("c", "d", "grids", True),
        ("a", "c", "cn", False),
        ("a", "z", "cnn", False),
        ("z", "d", "cnn", False),
    ],
)
def test_lines_lead_on_for_the_experiments_that_each_has_replayed(
    path: Path, old: str, new: str, experiment: str, expected: bool
) -> None:
    # In no order: a line may be older than the one that leads to it.
    lines = [line("c", "d", "cnn", "grids"), line("b", "c", "cnn"), line("b", "a", "cnn"), line("a", "b", "cnn", "vit")]
    Ledger.read().add(lines)
    assert Ledger.read().leads(old, new, experiment) is expected


def test_without_a_file_nothing_leads_anywhere_but_to_itself(path: Path) -> None:
    assert Ledger.read().lines == []
    assert not Ledger.read().leads("a", "b", "cnn")
    assert Ledger.read().leads("a", "a", "cnn")


def test_a_ledger_that_grows_is_read_anew_and_keeps_its_lines(path: Path) -> None:
    Ledger.read().add([line("a", "b", "cnn")])
    first = path.read_bytes()
    assert not Ledger.read().leads("a", "c", "cnn")
    Ledger.read().add([line("b", "c", "cnn"), line("c", "d", "vit")])
    assert path.read_bytes().startswith(first)
    assert path.read_bytes().count(b"\n") == 3
    assert Ledger.read().leads("a", "c", "cnn")
    Ledger.read().add([])
    assert path.read_bytes().count(b"\n") == 3
    assert [set(read) for read in Ledger.read().lines] == [set(KEYS)] * 3


def sealed(content: dict[str, Any]) -> str:
    return canonical_json(content | {"checksum": digest(content)})


def without(key: str) -> Callable[[str], str]:
    return lambda text: sealed({name: value for name, value in line("b", "c", "cnn").items() if name != key})


NO_ENTRY, CHANGED = "is no entry of a replay ledger; git has the file as it was.", "was changed after it was written"
DAMAGES: dict[str, tuple[Callable[[str], str], str]] = {
    "no JSON": (lambda text: "{", NO_ENTRY),
    "torn": (lambda text: text[:-20], NO_ENTRY),
    "empty": (lambda text: "", NO_ENTRY),
    "a list": (lambda text: f"[{text}]", NO_ENTRY),
    "a key less": (without("machine"), NO_ENTRY),
    "a key more": (lambda text: sealed(line("b", "c", "cnn") | {"extra": 1}), NO_ENTRY),
    "without checksum": (lambda text: canonical_json(line("b", "c", "cnn")), NO_ENTRY),
    "another checksum": (
        lambda text: text.replace(json.loads(text)["checksum"], "0" * 64),
        CHANGED,
    ),
    "another digest": (lambda text: text.replace('"old":"b"', '"old":"x"'), CHANGED),
    "another experiment": (lambda text: text.replace("cnn", "vit"), CHANGED),
    "another date": (lambda text: text.replace("11-28", "11-29"), CHANGED),
    "no run": (lambda text: sealed(line("b", "c")), "names no run that was replayed; it shows nothing."),
    "a number as a digest": (
        lambda text: sealed(line("b", "c", "cnn") | {"old": 5, "runs": {}}),
        "has another kind of value than a replay as old, runs.",
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_line_that_is_not_whole_is_refused_with_file_and_number(path: Path, case: str) -> None:
    damage, sentence = DAMAGES[case]
    Ledger.read().add([line("a", "b", "cnn"), line("b", "c", "cnn"), line("c", "d", "cnn")])
    first, second, third = path.read_text(encoding="utf-8").splitlines()
    assert damage(second) != second
    path.write_text("\n".join([first, damage(second), third, ""]), encoding="utf-8")
    before = path.read_bytes()
    for _ in range(2):  # it is not remembered as right either
        with pytest.raises(UserError) as caught:
            Ledger.read()
        assert str(caught.value).startswith(f"{path}, line 2, ")
        assert sentence in str(caught.value)
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_the_ledger_of_this_code_is_whole() -> None:
    assert all(set(each) == set(KEYS) for each in Ledger.read().lines)
