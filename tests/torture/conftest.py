"""What the torture tests share: the real MNIST, and a disk of a few megabytes that can be full or read-only."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from disk import Disk

from pixelpatch.fetch import fetch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """An empty disk of one megabyte. Only root can have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        made = Disk(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here (that takes root): {error}")
    yield made
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the real MNIST: a copy of the checkout's, or fetched as the configuration says."""
    data = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["data"]
    folder = tmp_path_factory.mktemp("mnist")
    fetch(folder, [{"kind": "folder", "path": str(ROOT / data["folder"])}, *data["sources"]])
    return folder
