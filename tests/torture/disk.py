"""A disk of a few megabytes that can be full, or read-only."""

import os
import subprocess
from pathlib import Path


class Disk:
    """A file system of its own, in memory: `resize` and `read_only` change it while it is in use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))

    def resize(self, size: int) -> None:
        """Room for `size` bytes (whole pages)."""
        _mount("-o", f"remount,rw,size={size}", str(self.folder))

    def read_only(self, yes: bool = True) -> None:
        """Nobody may write, root included."""
        _mount("-o", f"remount,{'ro' if yes else 'rw'}", str(self.folder))

    def used(self) -> int:
        """The bytes that are taken."""
        state = os.statvfs(self.folder)
        return (state.f_blocks - state.f_bfree) * state.f_frsize

    def fill(self) -> None:
        """Leave no byte free; `resize` makes room again."""
        self.resize(max(self.used(), 1))

    def files(self) -> dict[str, bytes]:
        """Every file, hidden ones too."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
