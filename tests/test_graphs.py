"""Recorded steps: what a CUDA graph replays is what would have run, shown with a stand-in on the CPU."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_training import EXPERIMENTS, measured, small
from torch import Tensor

from pixelpatch import graphs, training
from pixelpatch.graphs import WARM_UP, GraphedStep
from pixelpatch.training import train


class StandIn(GraphedStep):
    """Without a GPU, the replay of a recording is the call itself, on the recording's buffers."""

    counts: dict[str, int]

    def aside(self, call: Callable[[], Tensor]) -> Tensor:
        self.counts["aside"] += 1
        return call()

    def record(self, call: Callable[[], Tensor]) -> Callable[[], Tensor]:
        self.counts["recorded"] += 1
        loss = torch.empty(())

        def replay() -> Tensor:
            self.counts["replayed"] += 1
            return loss.copy_(call())

        return replay


@pytest.fixture
def graphed(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """From now on training steps are recorded; how often which of its ways was gone."""
    counts = dict.fromkeys(("aside", "recorded", "replayed"), 0)
    monkeypatch.setattr(StandIn, "counts", counts, raising=False)
    make = training.training_step

    def on_gpu(*given: Any) -> tuple[StandIn, list[str]]:
        step, lost = make(*given)
        assert not isinstance(step, GraphedStep)  # on a CPU
        return StandIn(step), lost

    monkeypatch.setattr(training, "training_step", on_gpu)
    return counts


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_recorded_steps_train_to_the_same_bits(
    digits: dict[str, Tensor], request: pytest.FixtureRequest, experiment: str
) -> None:
    """Epochs of seven whole batches and, where it is not dropped, a smaller one."""
    spec = small(experiment, epochs=2, batch=34)
    plain = measured(train(spec, 0, digits))
    counts = request.getfixturevalue("graphed")
    assert measured(train(spec, 0, digits)) == plain
    assert counts == {"aside": WARM_UP, "recorded": 1, "replayed": 2 * 7 - WARM_UP}


def test_each_call_is_one_step_and_its_loss_its_own() -> None:
    seen: list[tuple[int, float]] = []

    def step(inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        seen.append((len(targets), float(inputs[0].sum())))
        return inputs[0].sum() + targets.sum()

    StandIn.counts = dict.fromkeys(("aside", "recorded", "replayed"), 0)
    graphed = StandIn(step)
    sizes = [4, 4, 2, 4, 4, 4, 2, 4, 4, 3]
    losses = []
    for index, size in enumerate(sizes):
        losses.append(graphed((torch.full((size, 1), float(index)),), torch.zeros(size, dtype=torch.int64)))
    assert seen == [(size, float(size * index)) for index, size in enumerate(sizes)]
    assert [float(loss) for loss in losses] == [float(size * index) for index, size in enumerate(sizes)]
    assert StandIn.counts == {"aside": WARM_UP, "recorded": 1, "replayed": 4}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_gpu_s_graph_trains_to_the_same_bits(
    digits: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch, experiment: str
) -> None:
    spec = small(experiment, epochs=2, batch=34)
    recorded = measured(train(spec, 0, digits, device="cuda"))
    assert "lost" not in recorded["provenance"]
    monkeypatch.setattr(graphs, "checked", lambda build, model, optimiser, batch: (build(model, optimiser), []))
    assert measured(train(spec, 0, digits, device="cuda")) == recorded
