"""One process at a time on a run: a lock that the kernel releases when its holder ends, however that ends."""

import errno
import fcntl
import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pixelpatch.errors import UserError

UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


class Lock:
    """The right to work on what `path` stands for. The file says who has it; who ends in peace removes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def take(self) -> bool:
        """Take the lock; False where another process has it.

        Raises UserError where the file cannot be written or its file system has no locks.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if self._is(file):
                        os.truncate(file, 0)
                        os.write(file, f"process {os.getpid()} on {platform.node()}".encode())
                        self._file, file = file, None
                        return True
                except BlockingIOError:
                    return False
                finally:
                    if file is not None:
                        os.close(file)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                raise UserError(
                    f"{self.path} cannot be locked: its file system has no locks ({error.strerror}); "
                    "without them two processes could train the same run, so choose a folder on another one."
                ) from None
            raise UserError(f"{self.path} cannot be written: {error.strerror or error}.") from None

    def release(self) -> None:
        """Give the lock back, and remove its file."""
        if self._file is not None:
            with suppress(OSError):  # the folder may be gone
                self.path.unlink()  # before the lock is free: whoever takes it then finds another file, or none
            os.close(self._file)
            self._file = None

    def owner(self) -> str:
        """Who has the lock, in words."""
        with suppress(OSError, UnicodeDecodeError):
            return self.path.read_text(encoding="utf-8") or "another process"
        return "another process"

    def _is(self, file: int) -> bool:
        """Whether `file`, now locked, is still what the path names: its last holder removed it, if not."""
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.path))
        except FileNotFoundError:
            return False


def abandoned(paths: Iterable[Path], *, since: float) -> list[Path]:
    """The locks of `paths` that were taken after `since` and whose holder was killed: nobody holds them now.

    Changes no file.
    """
    return [path for path in paths if _is_abandoned(path, since)]


def _is_abandoned(path: Path, since: float) -> bool:
    with suppress(OSError), path.open("rb") as file:  # no such lock, or one that another process has
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(file.fileno()).st_mtime >= since
    return False
