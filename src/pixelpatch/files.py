"""Files written whole or not at all, and JSON that is the same text for the same value."""

import hashlib
import json
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from pixelpatch.errors import RESTORE, UserError


def canonical_json(value: Any) -> str:
    """The one JSON text of `value`: sorted keys, no spaces. Raises ValueError on NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def readable_json(value: Any) -> str:
    """JSON text in the value's own key order, for files that people read. Raises ValueError on NaN and infinities."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON value, independent of key order."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write `content` so that `path` either holds all of it or is left as it was.

    Raises UserError where the file cannot be written (disk full, read-only folder); no temporary file stays behind.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes private files; results are to be shared
            os.replace(temporary, path)
        except BaseException:  # Ctrl-C too
            os.unlink(temporary)
            raise
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}; nothing was changed.") from None


def remove_temporaries(path: Path) -> None:
    """Remove what a `write_atomically` of `path` left behind when its process was killed; nobody may be at it now."""
    path = Path(path)
    ours = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}")  # as mkstemp names them
    with suppress(OSError):
        for name in os.listdir(path.parent):
            if ours.fullmatch(name):
                os.unlink(path.parent / name)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, its line ends as they are. Raises UserError where it is missing or not UTF-8."""
    try:
        return Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}).") from None


def read_json(path: Path) -> Any:
    """The JSON value in a file. Raises UserError where the file is missing, unreadable or not JSON."""
    return parse_json(read_text(path), path)


def parse_json(text: str, path: Path) -> Any:
    """The JSON value of `text`, which is what the file `path` holds. Raises UserError where it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); if a run wrote it, {RESTORE}.") from None
