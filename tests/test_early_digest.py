"""The first steps of a long run, made again: their digest is the recorded one, however short its epochs are."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_training import small
from torch import Tensor

from pixelpatch import replay
from pixelpatch.stopping import SIGNALS, Stop, Stopped
from pixelpatch.training import train

WHERE = {"device": "cpu", "threads": 1, "name": "x"}


def again(spec: dict[str, Any], digits: dict[str, Tensor], folder: Path, stop: Stop) -> replay._Again:
    record = {"spec": json.loads(json.dumps(spec)), "seed": 0}
    return replay._Again(record, digits, WHERE, folder / "checkpoint", stop)


@pytest.mark.parametrize("batch", [8, 12, 13, 32, 64])
def test_the_first_steps_again_have_the_recorded_digest(
    digits: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """Of 32, 22, 20, 8 and 4 steps an epoch: the twentieth step is in the first epoch, or ends it, or comes later.

    The shortest run ends before it.
    """
    spec = small("blog_cnn", epochs=4, batch=batch)
    recorded = train(spec, 0, digits)["provenance"]["early_digest"]
    steps = []
    monkeypatch.setattr("pixelpatch.progress.Progress.step", lambda self, *_: steps.append(1))
    assert again(spec, digits, tmp_path, Stop()).early_digest() == recorded
    assert len(steps) == min(20, 4 * -(-256 // batch))
    spec["training"]["learning_rate"] = 0.02
    (tmp_path / "checkpoint").unlink()
    assert again(spec, digits, tmp_path, Stop()).early_digest() != recorded


def test_a_replay_of_first_steps_can_be_stopped(digits: dict[str, Tensor], tmp_path: Path) -> None:
    stop = Stop()
    stop.number = SIGNALS[0]
    with pytest.raises(Stopped):
        again(small("blog_cnn"), digits, tmp_path, stop).early_digest()
