"""A disk of a few megabytes that can be full, or read-only."""

import os
import subprocess
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


def whole_pages(size: int) -> int:
    """What a file of `size` bytes takes."""
    return -(-size // PAGE) * PAGE


class Disk:
    """A file system of its own, in memory: `resize`, `fill` and `read_only` change it while it is in use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
        (folder / ".first").write_bytes(bytes(PAGE))  # a size of 0 would mean no limit

    def resize(self, size: int) -> None:
        """Room for `size` bytes of files."""
        _mount("-o", f"remount,rw,size={size + PAGE}", str(self.folder))

    def read_only(self, yes: bool = True) -> None:
        """Nobody may write, root included."""
        _mount("-o", f"remount,{'ro' if yes else 'rw'}", str(self.folder))

    def used(self) -> int:
        """The bytes that files take."""
        state = os.statvfs(self.folder)
        return (state.f_blocks - state.f_bfree) * state.f_frsize - PAGE

    def fill(self) -> None:
        """Leave no byte free; `resize` makes room again."""
        self.resize(self.used())

    def files(self) -> dict[str, bytes]:
        """Every file, hidden ones too."""
        found = (path for path in self.folder.rglob("*") if path.is_file() and path.name != ".first")
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
