"""A checkpoint's file: it is right, or it is recognised as not, and put aside."""

import errno
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_checkpoint import KEY, away

from pixelpatch import checkpoint as module
from pixelpatch.checkpoint import FORMAT, Key, State
from pixelpatch.errors import UserError

# Files that are not right


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small checkpoint of the run of KEY, after two epochs."""
    state = tiny()
    state.epoch_seconds = [1.0, 2.0]
    state.machines = [{"from_epoch": 1} | KEY.machine]
    path = tmp_path_factory.mktemp("made") / "x.checkpoint"
    state.save(path, KEY)
    return path.read_bytes()


def tiny() -> State:
    model = torch.nn.Linear(2, 1)
    return State(model, torch.optim.SGD(model.parameters(), lr=0.1), torch.Generator())


def refused(
    path: Path, content: bytes, capsys: pytest.CaptureFixture[str], key: Key = KEY, *, exact: bool = False
) -> str:
    """What is said of a file with this content; the state that was to load it is as it was."""
    path.write_bytes(content)
    state = tiny()
    weight, generator = state.model.weight.clone(), torch.get_rng_state()
    state.begin(path, key, exact=exact)
    assert (state.epoch, state.interruptions) == (0, [])
    assert torch.equal(state.model.weight, weight)
    assert torch.equal(torch.get_rng_state(), generator)
    assert not path.exists()
    assert path.with_name(f"{path.name}.refused").read_bytes() == content
    said = capsys.readouterr().err
    assert said.startswith(f"{path} ")
    assert said.endswith(away(path))
    assert said.count("\n") == 1
    return said.removeprefix(f"{path} ").removesuffix(away(path))


def test_the_right_file_is_taken(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    path, state = tmp_path / "x.checkpoint", tiny()
    path.write_bytes(content)
    state.begin(path, KEY)
    assert (state.epoch, state.interruptions) == (2, [2])
    assert capsys.readouterr().err == f"{path}: going on after epoch 2\n"


def test_no_file_is_nothing_to_speak_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tiny()
    state.begin(tmp_path / "x.checkpoint", KEY)
    assert (state.epoch, capsys.readouterr().err) == (0, "")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_changed_byte_is_noticed(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    near = data.draw(st.booleans())  # every other time in the two lines of text
    position = data.draw(st.integers(0, 200 if near else len(content) - 1))
    changed = bytearray(content)
    changed[position] ^= data.draw(st.integers(1, 255))
    said = refused(tmp_path / "x.checkpoint", bytes(changed), capsys)
    assert said in ("is torn or damaged", f"is not of format {FORMAT}")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_torn_or_longer_file_is_noticed(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    length = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 300))
    other = data.draw(st.sampled_from([content[:length], content + content[:length] + b"\0"]))
    assert refused(tmp_path / "x.checkpoint", other, capsys) in ("is torn or damaged", f"is not of format {FORMAT}")


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, "is of another seed"),
        ({"seed": 0.0}, "is of another seed"),
        ({"spec": {"rate": 0.2}, "run": "other seed 0"}, "is of another run, spec"),
        ({"size": 1}, "is of another size"),
    ],
)
def test_a_foreign_file_is_named_with_what_differs(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str, exact: bool
) -> None:
    other = Key(KEY.run | change, KEY.machine | {"device": "abacus"})
    assert refused(tmp_path / "x.checkpoint", content, capsys, other, exact=exact) == said


@pytest.mark.parametrize("change", [{"device": "abacus"}, {"number of threads": 2, "PyTorch version": "3"}, {"new": 1}])
def test_a_file_of_another_machine_is_taken_unless_bits_are_to_repeat(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str], change: dict[str, Any]
) -> None:
    path, key, names = tmp_path / "x.checkpoint", Key(KEY.run, KEY.machine | change), sorted(change)
    said = refused(path, content, capsys, key, exact=True)
    assert sorted(said.removeprefix("is of another ").split(", ")) == names
    path.write_bytes(content)
    state = tiny()
    state.begin(path, key)
    assert (state.epoch, state.interruptions) == (2, [2])
    assert state.machines == [{"from_epoch": 1} | KEY.machine, {"from_epoch": 3} | key.machine]
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"{path}: going on after epoch 2"
    assert all(name in second for name in names)
    again = tiny()
    again.begin(path, key, exact=True)  # it is this machine's by now
    assert (again.interruptions, again.machines) == ([2, 2], state.machines)


def test_other_formats_and_other_files(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.checkpoint"
    assert refused(path, b"", capsys) == "is torn or damaged"
    assert refused(path, b"\x80\x02}q\x00.", capsys) == "is torn or damaged"
    monkeypatch.setattr(module, "FORMAT", FORMAT + 1)
    assert refused(path, content, capsys) == f"is not of format {FORMAT + 1}"


def test_what_cannot_be_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.checkpoint"
    path.mkdir()
    tiny().begin(path, KEY)
    assert capsys.readouterr().err == f"{path} is a folder{away(path)}"
    path.mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        tiny().save(path, KEY)


def test_what_the_file_system_cannot_give_now_is_not_put_aside(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.checkpoint"
    path.write_bytes(content)

    def stale(self: Path) -> bytes:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(Path, "read_bytes", stale)
    with pytest.raises(UserError, match=r"x\.checkpoint cannot be read: Stale file handle; nothing was changed\."):
        tiny().begin(path, KEY)
    monkeypatch.undo()
    assert path.read_bytes() == content


def test_nothing_in_a_file_is_ever_run(tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even of a file with a right checksum that was made to run code: PyTorch loads tensors and plain values."""

    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "harm",)

    state, path = io.BytesIO(), tmp_path / "x.checkpoint"
    torch.save({"curve": Harm()}, state)
    rest = content.split(b"\n", 2)[1] + b"\n" + state.getvalue()
    assert refused(path, module._first_line(rest) + rest, capsys) == "holds more than tensors and plain values"
    assert not (tmp_path / "harm").exists()
