"""What went without something is said: of a run in its record, of a study on the screen."""

from pathlib import Path

import numpy
import pandas as pd
import pytest
import torch

from pixelpatch import shortfalls
from pixelpatch.shortfalls import MOST, notes, unlocked


@pytest.mark.parametrize(
    ("lock", "expected"),
    [
        (f"numpy=={numpy.__version__}\n", []),
        ("numpy==0.1\nnot-installed==1\n", [f"numpy {numpy.__version__} instead of 0.1"]),
        (f"numpy==0.1 ; python_version < '3.11'\nnumpy=={numpy.__version__} ; python_version >= '3.11'\n", []),
        (f"torch=={torch.__version__.partition('+')[0]}\npandas==0.1\n", []),  # not asked for
        (None, []),
    ],
)
def test_versions_other_than_the_locked_ones_are_named(tmp_path: Path, lock: str | None, expected: list[str]) -> None:
    if lock is not None:
        (tmp_path / "requirements.lock").write_text(lock)
    assert unlocked(("numpy", "torch", "not-installed"), tmp_path / "requirements.lock") == expected


def test_the_versions_of_this_environment_are_the_locked_ones() -> None:
    assert shortfalls.LOCK.exists()
    assert unlocked() == []


def test_what_runs_went_without_is_counted_and_said_in_few_lines() -> None:
    lost = ["compiled operations (cc: not found)"] * 2 + [None] * 3
    assert notes(pd.DataFrame({"lost": lost})) == ["2 of 5 runs went without compiled operations (cc: not found)."]
    many = notes(pd.DataFrame({"lost": [f"thing {number}" for number in range(MOST + 3)]}))
    assert len(many) == MOST + 1
    assert many[-1].startswith("3 more runs ")
