"""Files written whole or not at all, and JSON that is one text for one value."""

import ast
import errno
import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkouts import ROOT
from hypothesis import given
from hypothesis import strategies as st

from pixelpatch.errors import UserError
from pixelpatch.files import (
    canonical_json,
    digest,
    read_json,
    read_text,
    readable_json,
    remove_temporaries,
    write_atomically,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def backwards(value: Any) -> Any:
    """The same value with the keys of every dictionary the other way round."""
    if isinstance(value, dict):
        return {key: backwards(item) for key, item in reversed(value.items())}
    return [backwards(item) for item in value] if isinstance(value, list) else value


@given(VALUES)
def test_json_is_the_same_text_in_any_key_order(value: Any) -> None:
    text = canonical_json(value)
    assert canonical_json(backwards(value)) == text
    assert json.loads(text) == value
    assert digest(value) == digest(backwards(value)) == hashlib.sha256(text.encode()).hexdigest()


@given(st.dictionaries(st.text(), VALUES))
def test_readable_json_keeps_the_order(value: dict[str, Any]) -> None:
    read = json.loads(readable_json(value))
    assert (read, list(read)) == (value, list(value))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("write", [canonical_json, readable_json, digest])
def test_what_is_no_number_is_refused(write: Callable[[Any], str], number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write({"deep": [{"down": number}]})


@pytest.mark.parametrize("content", ["Grüße, 2×2\n", b"\x00\xff", "", b""])
def test_content_is_written_with_all_folders(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_atomically(path, content)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode("utf-8"))
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_file_is_as_public_as_the_umask_says(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "ours", "")
        (tmp_path / "theirs").touch()
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "theirs").stat().st_mode)


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize("call", ["fsync", "replace", "chmod", "fdopen"])
def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "record.json"
    path.write_text("old")
    monkeypatch.setattr(os, call, failing(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    with pytest.raises(UserError) as caught:
        write_atomically(path, "new")
    assert str(caught.value) == f"{path} cannot be written: No space left on device; nothing was changed."
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["record.json"]


def test_an_interrupt_changes_nothing_and_stays_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "record.json", "new")
    assert os.listdir(tmp_path) == []


def test_a_disk_that_fills_up_halfway(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(UserError, match=r"/dev/full/record\.json cannot be written"):
        write_atomically(Path("/dev/full/record.json"), "x")


@pytest.mark.parametrize("kind", ["a folder in its place", "a file in the place of its folder", "too long a name"])
def test_what_cannot_be_written_is_said(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "taken"
    if kind == "a folder in its place":
        path.mkdir()
    elif kind == "a file in the place of its folder":
        path.touch()
        path = path / "record.json"
    else:
        path = tmp_path / ("x" * 300)
    before = os.listdir(tmp_path)
    with pytest.raises(UserError, match=r"cannot be written: .*; nothing was changed\.$"):
        write_atomically(path, "new")
    assert os.listdir(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written: Permission denied"):
        write_atomically(tmp_path / "record.json", "new")


def test_a_new_version_is_never_seen_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = tmp_path / "record.json", []
    path.write_text("old")
    replace = os.replace

    def look(source: str, target: Path) -> None:
        seen.extend([path.read_text(), Path(source).read_text(), Path(source).parent])
        replace(source, target)

    monkeypatch.setattr(os, "replace", look)
    write_atomically(path, "new")
    assert seen == ["old", "new", tmp_path]  # complete before it takes the place, and on the same file system
    assert path.read_text() == "new"


def test_what_killed_processes_left_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, others = tmp_path / "seed1.json", [tmp_path / "seed10.json", tmp_path / "seed1.checkpoint"]
    kept = {".seed1.json.bak", ".seed1.json", "seed1.json", ".seed1_json.abcdefgh", ".seed1.json.abcdefgh.txt"}
    for name in kept:
        (tmp_path / name).touch()
    with monkeypatch.context() as killed:
        killed.setattr(os, "unlink", lambda _: None)  # as if the process was gone before
        killed.setattr(os, "replace", failing(KeyboardInterrupt()))
        for one in (path, path, *others):
            with pytest.raises(KeyboardInterrupt):
                write_atomically(one, "half")
    assert len(os.listdir(tmp_path)) == len(kept) + 4
    remove_temporaries(path)
    assert len(os.listdir(tmp_path)) == len(kept) + 2
    for one in others:
        remove_temporaries(one)
    assert set(os.listdir(tmp_path)) == kept
    remove_temporaries(tmp_path / "no folder" / "x")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b'{"a": 1', "is not valid JSON"), (b"", "is not valid JSON"), (b"\xff", "is not UTF-8 text"), (b"[" * 10**5, "")],
)
def test_what_is_no_json_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"x\.json {said}"):
        read_json(tmp_path / "x.json")


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    for read in (read_json, read_text):
        with pytest.raises(UserError, match=r"missing\.json cannot be read: No such file or directory\.$"):
            read(tmp_path / "missing.json")
        with pytest.raises(UserError, match=r"cannot be read: Is a directory\.$"):
            read(tmp_path)


def test_no_message_advises_to_delete_what_may_be_published_evidence() -> None:
    """But for MNIST's files, which are fetched again."""
    advice = re.compile(r"(?i)\b(delete|remove|rm) (it|them|both|all|the \w+)\b")
    texts = {path: spoken(path) for path in (ROOT / "src/pixelpatch").rglob("*.py")}
    texts |= {path: read_text(path) for path in [ROOT / "README.md", *(ROOT / "workflow").rglob("*.smk")]}
    assert [path.name for path, text in texts.items() if advice.search(text)] == ["fetch.py"]


def spoken(module: Path) -> str:
    """The strings of a module, but for its docstrings."""
    nodes = [*ast.walk(ast.parse(read_text(module)))]
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    strings = [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return "\n".join(node.value for node in strings if id(node) not in docstrings)
