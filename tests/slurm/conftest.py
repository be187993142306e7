"""One cluster for all tests of this folder; they are skipped, with the reason, where there can be none."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from debian import Unavailable, skip


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running Slurm with the nodes gpu1 and gpu2 (two GPUs each) and cpu1."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # pytest's own folders are too deep for a socket
    try:
        running = Cluster(folder / "run")
    except Unavailable as reason:
        skip(reason)
    yield running
    running.stop()
    shutil.rmtree(folder)
