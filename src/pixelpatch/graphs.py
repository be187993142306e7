"""CUDA graphs: a training step launched as one piece, where Python would launch its hundreds of kernels one by one."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Inputs = tuple[Tensor, ...]
Step = Callable[[Inputs, Tensor], Tensor]  # inputs and targets in, the loss out
Build = Callable[[nn.Module, Optimizer], Step]
WARM_UP = 3  # steps before the recording, as PyTorch's notes on CUDA graphs have it: they set libraries up
CHECKED = WARM_UP + 3  # steps that a recorded and an eager run are compared over


class GraphedStep:
    """`step`, recorded once on the GPU and then replayed; every call is one training step, no more and no less.

    The first WARM_UP steps run as they are. The next one is recorded, reading its batch from buffers into which every
    later batch is copied. Batches of another shape than the first, such as an epoch's smaller last one, run as they
    are. `step` may not wait for the GPU; its random numbers go on from one replay to the next, as they do without.
    """

    def __init__(self, step: Step) -> None:
        self.step, self.warm_up = step, WARM_UP
        self.shapes: list[torch.Size] | None = None
        self.buffers: Inputs | None = None

    def __call__(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """One training step; returns its loss, which later steps leave alone."""
        batch = (*inputs, targets)
        shapes = [tensor.shape for tensor in batch]
        self.shapes = self.shapes or shapes
        if shapes != self.shapes:
            return self.step(inputs, targets)
        if self.warm_up > 0:
            self.warm_up -= 1
            return self.aside(lambda: self.step(inputs, targets))
        if self.buffers is None:
            self.buffers = tuple(torch.empty_like(tensor) for tensor in batch)
            *buffers, target = self.buffers
            self.replay = self.record(lambda: self.step(tuple(buffers), target))
        for buffer, tensor in zip(self.buffers, batch, strict=True):
            buffer.copy_(tensor)
        return self.replay().clone()

    def aside(self, call: Callable[[], Tensor]) -> Tensor:
        """What `call` returns, run on a stream of its own: what it sets up is then no part of the default stream."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            result = call()
        torch.cuda.current_stream().wait_stream(stream)
        return result

    def record(self, call: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """A function that replays the GPU's part of `call`, which is recorded here and not yet run."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = call()

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay


def checked(
    build: Build,
    model: nn.Module,
    optimiser: Optimizer,
    batch: tuple[Inputs, Tensor],
    *,
    graphed: Callable[[Step], Step] = GraphedStep,
) -> tuple[Step, list[str]]:
    """The fastest training step that does what the eager one does, and what it does without, in words.

    CHECKED steps on `batch` are taken twice by copies of model and optimiser, once eagerly and once `graphed`. Where an
    operation has no deterministic form, the run goes on without that promise; where the recording fails, or its loss or
    weights are not those of the eager steps, it goes on without a graph. Nothing of `model`, `optimiser` and the
    generators is changed.
    """
    lost = []
    try:
        eager = _outcome(build, model, optimiser, batch)
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        torch.set_deterministic_debug_mode("default")
        lost.append(f"deterministic operations ({_first_line(error)})")
        eager = _outcome(build, model, optimiser, batch)
    step = build(model, optimiser)
    try:
        recorded = _outcome(lambda *twin: graphed(build(*twin)), model, optimiser, batch)
    except RuntimeError as error:
        return step, [*lost, f"CUDA graph ({_first_line(error)})"]
    if not all(map(torch.equal, recorded, eager)):
        return step, [*lost, "CUDA graph (it computes another loss or other weights than the same steps without it)"]
    return graphed(step), lost


def _outcome(build: Build, model: nn.Module, optimiser: Optimizer, batch: tuple[Inputs, Tensor]) -> list[Tensor]:
    """The losses of CHECKED steps of copies of model and optimiser, and the weights after them."""
    model, optimiser = copy.deepcopy((model, optimiser))
    model.train()
    step = build(model, optimiser)
    gpu = [batch[1].device] if batch[1].is_cuda else []
    with torch.random.fork_rng(devices=gpu):
        losses = [step(*batch) for _ in range(CHECKED)]
    return [*losses, *(weight.detach() for weight in model.parameters())]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
