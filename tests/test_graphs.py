"""Recorded steps: what a CUDA graph replays is what would have run, shown with a stand-in on the CPU."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from test_training import EXPERIMENTS, measured, small
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from pixelpatch import graphs, training
from pixelpatch.graphs import CHECKED, WARM_UP, GraphedStep, Step, checked
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


class Small:
    """A model with a dropout, an optimiser that remembers a step, a batch, and how a step of them is built."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=0.01, fused=True)
        self.batch = (torch.randn(7, 6),), torch.randint(3, (7,))
        self.twins: list[nn.Module] = []  # of which a step was built
        self.needs: Callable[[], None] = lambda: None  # called by every step
        self.build(self.model, self.optimiser)(*self.batch)
        self.before = self.state()

    def build(self, model: nn.Module, optimiser: Optimizer) -> Step:
        self.twins.append(model)

        def step(inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
            self.needs()
            optimiser.zero_grad()
            loss = F.cross_entropy(F.dropout(model(*inputs), 0.2), targets)
            loss.backward()
            optimiser.step()
            return loss.detach()

        return step

    def checked(self, graphed: Callable[[Step], Step]) -> tuple[Step, list[str]]:
        return checked(self.build, self.model, self.optimiser, self.batch, graphed=graphed)

    def state(self) -> list[Tensor]:
        """All that a check may not change."""
        remembered = self.optimiser.state_dict()["state"]
        memory = [value for _, values in sorted(remembered.items()) for _, value in sorted(values.items())]
        gradients = [parameter.grad for parameter in self.model.parameters()]
        found = [*self.model.state_dict().values(), *memory, *gradients, torch.get_rng_state()]
        return [tensor.clone() for tensor in found] + [torch.tensor(self.model.training)]

    def unchanged(self) -> bool:
        return all(map(torch.equal, self.state(), self.before))

    def steps_of_its_own(self, step: Step) -> bool:
        """Whether `step` trains this very model, as a step that was never checked would."""
        twin = Small()
        expected = [twin.build(twin.model, twin.optimiser)(*twin.batch) for _ in range(CHECKED + 2)]
        torch.set_rng_state(self.before[-2])
        got = [step(*self.batch) for _ in range(CHECKED + 2)]
        return all(map(torch.equal, [*got, *self.state()], [*expected, *twin.state()]))


@pytest.fixture
def made() -> Iterator[Small]:
    StandIn.counts = dict.fromkeys(("aside", "recorded", "replayed"), 0)
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    yield Small()
    torch.set_deterministic_debug_mode(mode)


def test_a_recording_that_does_the_same_is_taken(made: Small) -> None:
    step, lost = made.checked(StandIn)
    assert made.unchanged()
    assert lost == []
    assert isinstance(step, StandIn)
    assert step.warm_up == WARM_UP  # a recording of its own, of the run's own weights
    assert StandIn.counts == {"aside": WARM_UP, "recorded": 1, "replayed": CHECKED - WARM_UP}
    assert made.steps_of_its_own(step)


def refuse(step: Step) -> Step:
    class Refused(StandIn):
        def record(self, call: Callable[[], Tensor]) -> Callable[[], Tensor]:
            raise RuntimeError("operation not permitted when stream is capturing\nand much more")

    return Refused(step)


def another_loss(step: Step) -> Step:
    """At the very last of the steps that are compared, by one bit."""
    calls = iter(range(1, 100))

    def wrong(inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        loss = step(inputs, targets)
        return torch.nextafter(loss, torch.tensor(9.0)) if next(calls) == CHECKED else loss

    return wrong


DIFFERS = "CUDA graph (it computes another loss or other weights than the same steps without it)"


@pytest.mark.parametrize(
    ("graphed", "said"),
    [(refuse, "CUDA graph (operation not permitted when stream is capturing)"), (another_loss, DIFFERS)],
)
def test_without_a_recording_that_does_the_same_training_is_eager(
    made: Small, graphed: Callable[[Step], Step], said: str
) -> None:
    step, lost = made.checked(graphed)
    assert made.unchanged()
    assert lost == [said]
    assert made.steps_of_its_own(step)


def test_so_it_is_where_only_a_weight_differs(made: Small) -> None:
    def another_weight(step: Step) -> Step:
        calls, twin = iter(range(1, 100)), made.twins[-1]

        def wrong(inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
            loss = step(inputs, targets)
            if next(calls) == CHECKED:  # every loss was right
                with torch.no_grad():
                    twin[2].bias[1] = torch.nextafter(twin[2].bias[1], torch.tensor(9.0))
            return loss

        return wrong

    step, lost = made.checked(another_weight)
    assert made.unchanged()
    assert lost == [DIFFERS]
    assert made.steps_of_its_own(step)


@pytest.mark.parametrize("graphed", [StandIn, refuse])
def test_an_operation_without_a_deterministic_form_is_done_all_the_same(
    made: Small, graphed: Callable[[Step], Step]
) -> None:
    def needs() -> None:
        if torch.are_deterministic_algorithms_enabled():
            raise RuntimeError("cumsum_cuda_kernel does not have a deterministic implementation\nYou can turn off")

    made.needs = needs
    step, (first, *rest) = made.checked(graphed)
    assert made.unchanged()
    assert first == "deterministic operations (cumsum_cuda_kernel does not have a deterministic implementation)"
    assert len(rest) == (graphed is refuse)
    assert not torch.are_deterministic_algorithms_enabled()
    assert made.steps_of_its_own(step)


def test_a_step_that_fails_by_itself_is_no_matter_of_recording(made: Small) -> None:
    def needs() -> None:
        raise RuntimeError("out of memory")

    made.needs = needs
    with pytest.raises(RuntimeError, match="out of memory"):
        made.checked(StandIn)
    assert made.unchanged()
    assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_gpu_s_graph_trains_to_the_same_bits(
    digits: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch, experiment: str
) -> None:
    spec = small(experiment, epochs=2, batch=34)
    recorded = measured(train(spec, 0, digits, device="cuda"))
    assert "graph" not in str(recorded["provenance"].get("lost"))
    monkeypatch.setattr(graphs, "checked", partial(checked, graphed=lambda step: step))
    assert measured(train(spec, 0, digits, device="cuda")) == recorded
