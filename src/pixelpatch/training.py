"""A spec and a seed in, a trained model and its record out."""

import copy
import math
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from pixelpatch.checkpoint import Key, State
from pixelpatch.data import Task, permutation
from pixelpatch.errors import UserError
from pixelpatch.losses import build_loss
from pixelpatch.memory import keep_freed_memory, peak_memory_mb, reset_peak
from pixelpatch.models import build_model, kernels
from pixelpatch.progress import Progress
from pixelpatch.source import source_digest
from pixelpatch.stopping import Paused, Stop

SAVE_SECONDS = 600.0  # between two checkpoints: at most so much is lost in a long epoch
EARLY_STEPS = 20  # after so many a record keeps a digest of the state, for a replay to be held against
TOKENS = "0123456789<>_"  # how a record spells predictions: the digits, <start>, <finish>, <pad>
OPTIMISERS: dict[str, type[Optimizer]] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}

Json = dict[str, Any]
Step = Callable[[tuple[Tensor, ...], Tensor], Tensor]  # inputs and targets in, the loss out


class Diverged(UserError):
    """A loss became NaN or infinite."""


def train(
    spec: Json,
    seed: int,
    mnist: dict[str, Tensor],
    *,
    device: str = "cpu",
    threads: int = 1,
    name: str = "",
    checkpoint: Path | None = None,
    exact: bool = False,
    until: int | None = None,
    stop: Stop | None = None,
    follow: Callable[[int, dict[str, float], Json], None] | None = None,
) -> Json:
    """Train the model of `spec` from `seed` and test it; returns the record's measured part.

    That is `metrics`, `curve` (per epoch), `batch_losses` (of every `training.log_every`-th batch), `predictions`,
    `labels`, `timing` and, of `provenance`, what was measured too. The test set is seen once, at the end; with
    `test_every_epoch` after each epoch too, and nothing follows from it.

    Bit-identical for the same spec, seed, thread count and machine, timings aside. After every epoch, and every
    SAVE_SECONDS within one, the run's state goes into the file `checkpoint`, from which the same call goes on, to the
    same bits, if the process was stopped; to lock and to remove that file is the caller's. A state from another machine
    goes on as well, though not to the same bits, unless `exact` is set. `follow` is called with an epoch's number, its
    results and the measured part so far, once these are safe. Raises Diverged with the epoch and step at which the loss
    stopped being a number; Stopped, its state saved, soon after `stop` became true; and Paused, its state saved, after
    epoch `until` where more are to come.
    """
    stop = Stop() if stop is None else stop
    where = {"device": device, "threads": threads, "name": name}
    run = Training(spec, seed, mnist, **where, checkpoint=checkpoint, exact=exact)
    epochs = spec["training"]["epochs"]
    for epoch in range(run.state.epoch + 1, epochs + 1):
        if until is not None and epoch > until:
            raise Paused(f"{name}: paused after epoch {epoch - 1} of {epochs}")
        losses = run.train_epoch(epoch, stop)
        results = run.end_epoch(epoch, losses)
        run.save()
        run.progress.epoch(epoch, results)
        if follow:
            follow(epoch, results, run.measured())
        if stop:
            raise stop.stopped(name, f"after epoch {epoch} of {epochs}")
    tested = final_test(run.state, run.task, spec)
    return run.measured() | tested


class Training:
    """A run between its set-up and its test: the task, all that changes (`state`), and what is measured."""

    def __init__(
        self,
        spec: Json,
        seed: int,
        mnist: dict[str, Tensor],
        *,
        device: str,
        threads: int,
        name: str,
        checkpoint: Path | None,
        exact: bool,
    ) -> None:
        self.began = self.saved = time.perf_counter()
        self.spec, self.device, self.name, self.checkpoint = spec, device, name, checkpoint
        training = spec["training"]
        set_up(training, seed, device=device, threads=threads)
        self.task, self.rng = build_task(spec, seed, mnist, device)
        model = build_model(spec["model"], image=self.task.image).to(device)
        self.state = state = State(model, build_optimiser(model, training), self.rng)
        self.key = fingerprint(spec, seed, device=device, threads=threads, name=name)
        state.begin(checkpoint, self.key, exact=exact)
        self.before = state.seconds  # of earlier processes
        self.steps = (math.floor if training["drop_last"] else math.ceil)(self.task.epoch_images / training["batch"])
        self.images = min(self.steps * training["batch"], self.task.epoch_images)  # in an epoch
        self.early = min(EARLY_STEPS, training["epochs"] * self.steps)
        finished = state.epoch * self.steps + (0 if state.losses is None else len(state.losses))
        self.progress = Progress(
            name, epochs=training["epochs"], steps=self.steps, images=self.images, finished=finished
        )
        self.step, self.lost = training_step(state, spec, self.task)

    def save(self) -> None:
        """Write the state into the checkpoint's file."""
        self.saved = time.perf_counter()
        self.state.seconds = self.before + self.saved - self.began
        self.state.peak_memory_mb = self._peak_memory_mb()
        if self.checkpoint:
            self.state.save(self.checkpoint, self.key)

    def train_epoch(self, epoch: int, stop: Stop) -> list[Tensor]:
        """Train to the end of an epoch; returns the losses of its batches.

        If asked to stop, saves the state and raises Stopped.
        """
        state, rng, training = self.state, self.rng, self.spec["training"]
        losses = [] if state.losses is None else list(state.losses.to(self.device).unbind())
        earlier, state.epoch_began = state.losses_seconds, rng.get_state()
        state.model.train()
        batches = self.task.batches(training["batch"], rng, drop_last=training["drop_last"])
        for inputs, targets in islice(batches, len(losses), None):  # those before were trained on before a stop
            losses.append(self.step(inputs, targets))
            self.progress.step(epoch, losses)
            if (epoch - 1) * self.steps + len(losses) == self.early:
                state.early_digest = state.digest()
            stopping = bool(stop)  # looked at once: a signal may come at any time
            if stopping or time.perf_counter() - self.saved > SAVE_SECONDS:
                state.losses, state.losses_seconds = torch.stack(losses).cpu(), earlier + self.progress.trained()
                self.save()
            if stopping:
                raise stop.stopped(self.name, f"at epoch {epoch}, step {len(losses)} of {self.steps}")
        state.losses, state.losses_seconds = None, earlier  # of earlier processes; `progress` has this one's
        return losses

    def end_epoch(self, epoch: int, losses: list[Tensor]) -> dict[str, float]:
        """The results of an epoch, which are now part of the curve; the weights are kept if they are the best."""
        state, evaluation, every = self.state, self.spec["evaluation"], self.spec["training"].get("log_every")
        results = {"train/loss": mean_loss(losses, epoch)}
        state.epoch_seconds.append(state.losses_seconds + self.progress.trained())
        state.losses_seconds = 0.0
        if every:
            state.batch_losses += [float(loss) for loss in losses[::every]]
        if "validation" in self.task.splits:
            scores, _ = evaluate(state.model, self.task, "validation", self.spec, self.rng)
            results |= {"validation/loss": scores["loss"], "validation/accuracy": scores["accuracy"]}
            so_far = state.curve.get("validation/accuracy", [-1.0])
            if evaluation["checkpoint"] == "best_validation" and scores["accuracy"] > max(so_far):
                state.best = epoch, copy.deepcopy(state.model.state_dict())
        if evaluation.get("test_every_epoch"):
            drawn = self.rng.get_state()
            scores, _ = evaluate(state.model, self.task, "test", self.spec, self.rng)
            self.rng.set_state(drawn)  # as if not tested: the scores are those of a run that ends here
            results |= {f"test/{key}": value for key, value in scores.items()}
        for metric, value in results.items():
            state.curve.setdefault(metric, []).append(value)
        return results

    def measured(self) -> Json:
        """The part of the record that needs no test."""
        state = self.state
        seconds = sum(state.epoch_seconds)
        timing = {
            "seconds": self.before + time.perf_counter() - self.began,
            "train_seconds": seconds,
            "images_per_second": state.epoch * self.images / seconds,
            "epoch_seconds": list(state.epoch_seconds),
            "peak_memory_mb": self._peak_memory_mb(),
        }
        provenance: Json = {"interruptions": list(state.interruptions), "early_digest": state.early_digest}
        if len(state.machines) > 1:
            provenance["machines"] = list(state.machines)
        if self.lost:
            provenance["lost"] = self.lost
        curve = {metric: list(values) for metric, values in state.curve.items()}
        return {"curve": curve, "batch_losses": list(state.batch_losses), "timing": timing, "provenance": provenance}

    def _peak_memory_mb(self) -> float:
        return max(self.state.peak_memory_mb, peak_memory_mb(self.device))


def build_task(spec: Json, seed: int, mnist: dict[str, Tensor], device: str) -> tuple[Task, Generator]:
    """The task of a spec, and the generator of its order, its augmentation and its order of evaluation.

    That is a stream of its own, apart from PyTorch's default generator, which draws weights and dropout. With
    `one_generator` there is but one, as in a script that calls `torch.manual_seed` once: it draws the training grids,
    and goes on to draw the weights and then each epoch's order, as a DataLoader does. (`seed` then has no part.)
    """
    data, task = spec["data"], import_module(f"{__package__}.{'grids' if 'grids' in spec['data'] else 'digits'}").TASK
    if not spec["training"].get("one_generator"):
        return task(data, mnist, torch.device(device), permutation), Generator(device).manual_seed(2**32 + seed)
    from pixelpatch.dataloader_order import dataloader_permutation

    built = task(data, mnist, torch.device(device), dataloader_permutation)
    torch.set_rng_state(built.generator.get_state())
    return built, torch.default_generator


def set_up(training: Json, seed: int, *, device: str, threads: int) -> None:
    """PyTorch's global settings and generators, all of them: what ran before in the process does not matter."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that costs a twentieth of the time
    on_gpu = device.startswith("cuda")
    if on_gpu:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats bit for bit only with this
        torch.cuda.set_device(torch.device(device).index or 0)
    tf32 = on_gpu and training.get("precision") == "tf32"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32  # of convolutions, PyTorch's default is True
    torch.manual_seed(seed)  # initialisation and dropout
    keep_freed_memory()
    reset_peak(device)


def fingerprint(spec: Json, seed: int, *, device: str, threads: int, name: str) -> Key:
    """What tells a run from every other one, and what else the bits of its result depend on."""
    compiled = kernels.library()
    on_gpu = device.startswith("cuda")
    return Key(
        run={
            "run": name,
            "spec": spec,
            "seed": seed,
            "training code": source_digest(spec, gpu=on_gpu),
            "kind of device": "GPU" if on_gpu else "CPU",
        },
        machine={
            "PyTorch version": str(torch.__version__),
            "compiled code": Path(compiled._name).name if compiled else None,  # named after source, compiler, processor
            "device": torch.cuda.get_device_name(device) if on_gpu else processor(),
            "number of threads": threads,
        },
    )


def processor() -> str:
    """Which processor this is; libraries choose their operations, and so the rounding, by it."""
    model = platform.processor() or platform.machine()
    with suppress(OSError):  # Linux says more
        if found := re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            model = found[1]
    return f"{model}, {torch.backends.cpu.get_cpu_capability()}"


def training_step(state: State, spec: Json, task: Task) -> tuple[Step, list[str]]:
    """A function that takes one step of training on a batch and returns its loss; and what it does without, in words.

    On a GPU the step is recorded as a graph, once a check of it has shown the same loss and weights.
    """
    training = spec["training"]

    def build(model: nn.Module, optimiser: Optimizer) -> Step:
        loss = build_loss(training)

        def step(inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
            optimiser.zero_grad()
            value = backward(model, loss, inputs, targets, training)
            optimiser.step()
            return value

        return step

    lost = [] if _is_fused(state.optimiser) else ["fused optimiser"]
    step = build(state.model, state.optimiser)
    on_gpu = next(state.model.parameters()).is_cuda
    if not on_gpu and (why := kernels.missing()):
        lost.append(f"compiled operations ({why})")
    if on_gpu:
        from pixelpatch.graphs import checked

        drawn = state.rng.get_state()
        batch = next(iter(task.batches(training["batch"], state.rng, drop_last=training["drop_last"])))
        state.rng.set_state(drawn)
        step, without = checked(build, state.model, state.optimiser, batch)
        lost += without
    for thing in lost:
        print(f"training without: {thing}", file=sys.stderr)
    return step, lost


def build_optimiser(model: nn.Module, training: Json) -> Optimizer:
    """The optimiser of a spec's `training` block, fused where that is to be had.

    What the block does not set stays at PyTorch's default.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    options = {key: training[key] for key in ("momentum", "weight_decay") if key in training}
    if parameters[0].is_cuda and training["optimiser"] != "sgd":
        options["capturable"] = True  # its count of steps lies on the GPU, where a graph can change it
    build = partial(OPTIMISERS[training["optimiser"]], parameters, lr=training["learning_rate"], **options)
    try:
        return build(fused=True)
    except RuntimeError:  # not for this device or type of number
        return build()


def _is_fused(optimiser: Optimizer) -> bool:
    return bool(optimiser.param_groups[0].get("fused"))


def backward(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    inputs: tuple[Tensor, ...],
    targets: Tensor,
    training: Json,
) -> Tensor:
    """Add the gradients of the batch's mean loss, and return that loss, detached.

    On a CPU `microbatch` images at a time, where the spec has it: the same gradient, up to rounding, in less memory. A
    GPU, which has that memory, takes the batch whole.
    """
    size = len(targets) if targets.is_cuda else training.get("microbatch", len(targets))
    total = torch.zeros((), device=targets.device)
    for part in zip(targets.split(size), *(tensor.split(size) for tensor in inputs), strict=True):
        labels, *images = part
        with autocast(training, labels.device):
            logits = model(*images)
        value = loss(logits.float(), labels) * (len(labels) / len(targets))
        value.backward()
        total += value.detach()
    return total


def autocast(training: Json, device: torch.device) -> torch.autocast:
    """Within it models compute in bfloat16 where the spec says so; weights, gradients and losses stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=training.get("precision") == "bfloat16")


def mean_loss(losses: list[Tensor], epoch: int) -> float:
    """The epoch's loss, the mean over its batches. Raises Diverged with the first step that is not finite."""
    values = torch.stack(losses)  # looked at once an epoch, so that a GPU is never waited for within one
    if not values.isfinite().all():
        step = int((~values.isfinite()).nonzero()[0]) + 1
        raise Diverged(
            f"The loss became {float(values[step - 1])} at epoch {epoch}, step {step} of {len(losses)}; "
            "a lower training.learning_rate may help."
        )
    return float(values.double().mean())


@torch.no_grad()
def evaluate(
    model: nn.Module, task: Task, split: str, spec: Json, rng: Generator
) -> tuple[dict[str, float], tuple[Tensor, Tensor]]:
    """Scores of `model` on a split (loss in nats, accuracies in percent), and its predictions and labels.

    Both are the task's: see its `evaluate`. Raises Diverged where the loss is not finite.
    """
    model.eval()
    with autocast(spec["training"], next(model.parameters()).device):
        scores, read = task.evaluate(model, split, build_loss(spec["training"]), spec["evaluation"], rng)
    if not math.isfinite(loss := scores.get("loss", 0.0)):
        raise Diverged(f"The loss on the {split} images is {loss}; a lower training.learning_rate may help.")
    return scores, read


def final_test(state: State, task: Task, spec: Json) -> Json:
    """`metrics`, `predictions` and `labels` of a trained model, with its best weights if it was to keep them."""
    kept_epoch = state.epoch
    if state.best is not None:
        kept_epoch, weights = state.best
        state.model.load_state_dict(weights)
    metrics = {metric: values[kept_epoch - 1] for metric, values in state.curve.items()}
    metrics["train/loss"] = state.curve["train/loss"][-1]
    if state.best is not None:
        metrics["validation/best_epoch"] = kept_epoch
    scores, (predictions, labels) = evaluate(state.model, task, "test", spec, state.rng)
    metrics |= {f"test/{key}": value for key, value in scores.items()}
    metrics |= {f"data/{split}_images": len(images) for split, images in task.splits.items()}
    metrics["model/parameters"] = sum(p.numel() for p in state.model.parameters() if p.requires_grad)
    facts = ("sequence_length", "vocabulary")
    metrics |= {f"model/{fact}": getattr(state.model, fact) for fact in facts if hasattr(state.model, fact)}
    predictions, labels = (
        "".join(TOKENS[token] for token in part.flatten().tolist()) for part in (predictions, labels)
    )
    return {"metrics": metrics, "predictions": predictions, "labels": labels}
