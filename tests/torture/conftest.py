"""What the torture tests share: a disk of a few megabytes that can be full or read-only."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from debian import skip
from disk import Disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """An empty disk of one megabyte. Only root can have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        made = Disk(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        skip(f"no file system can be mounted here (that takes root): {error}")
    yield made
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
