"""A spec and a seed in, a trained model and its record out."""

import copy
import math
import os
import platform
import re
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from pixelpatch.checkpoint import State
from pixelpatch.data import Digits, Grids
from pixelpatch.errors import UserError
from pixelpatch.graphs import GraphedStep, Step
from pixelpatch.memory import keep_freed_memory, peak_memory_mb, reset_peak
from pixelpatch.models import build_model, kernels
from pixelpatch.optimisers import OPTIMISERS, Optimiser
from pixelpatch.progress import Progress
from pixelpatch.source import source_digest
from pixelpatch.stopping import Stop

SAVE_SECONDS = 600.0  # between two checkpoints: at most so much is lost in a long epoch
TOKENS = "0123456789<>_"  # how a record spells predictions: the digits, <start>, <finish>, <pad>


class Diverged(UserError):
    """A loss became NaN or infinite."""


def train(
    spec: dict[str, Any],
    seed: int,
    mnist: dict[str, Tensor],
    *,
    device: str = "cpu",
    threads: int = 1,
    name: str = "",
    checkpoint: Path | None = None,
    stop: Stop | None = None,
    follow: Callable[[int, dict[str, float]], None] | None = None,
) -> dict[str, Any]:
    """Train the model of `spec` from `seed` and test it; returns the record's measured part.

    That is `metrics`, `curve` (per epoch), `predictions`, `labels`, `timing` and, of `provenance`, `interruptions`.
    The test set is seen once, at the end; with `test_every_epoch` after each epoch too, and nothing follows from it.
    Bit-identical for the same spec, seed, thread count and machine, timings aside. After every epoch, and every
    SAVE_SECONDS within one, the run's state goes into the file `checkpoint`, from which the same call goes on, to the
    same bits, if the process was stopped; to lock and to remove that file is the caller's. `follow` is called with an
    epoch's number and results once these are safe. Raises Diverged with the epoch and step at which the loss stopped
    being a number, and Stopped, its state saved, soon after `stop` became true.
    """
    began = time.perf_counter()
    data, training, evaluation = spec["data"], spec["training"], spec["evaluation"]
    set_up(training, seed, device=device, threads=threads)
    task = (Grids if "grids" in data else Digits)(data, mnist, torch.device(device))
    model = build_model(spec["model"], image=task.image).to(device)
    rng = Generator(device).manual_seed(2**32 + seed)  # data order and augmentation, a stream of their own
    state = State(model, build_optimiser(model, training), rng)
    key = fingerprint(spec, seed, device=device, threads=threads, name=name)
    if checkpoint:
        state.load(checkpoint, key)
    stop = Stop() if stop is None else stop
    before = state.seconds
    saved = began

    def save() -> None:
        nonlocal saved
        saved = time.perf_counter()
        state.seconds = before + saved - began
        state.peak_memory_mb = max(state.peak_memory_mb, peak_memory_mb(device))
        if checkpoint:
            state.save(checkpoint, key)

    steps = (math.floor if training["drop_last"] else math.ceil)(task.epoch_images / training["batch"])
    images = min(steps * training["batch"], task.epoch_images)  # in an epoch
    finished = state.epoch * steps + (0 if state.losses is None else len(state.losses))
    progress = Progress(name, epochs=training["epochs"], steps=steps, images=images, finished=finished)
    step = training_step(model, state.optimiser, training)

    for epoch in range(state.epoch + 1, training["epochs"] + 1):
        losses = [] if state.losses is None else list(state.losses.to(device).unbind())
        earlier, state.epoch_began = state.losses_seconds, rng.get_state()
        model.train()
        batches = task.batches(training["batch"], rng, drop_last=training["drop_last"])
        for inputs, targets in islice(batches, len(losses), None):  # those before were trained on before a stop
            losses.append(step(inputs, targets))
            progress.step(epoch, losses)
            stopping = bool(stop)  # looked at once: a signal may come at any time
            if stopping or time.perf_counter() - saved > SAVE_SECONDS:
                state.losses, state.losses_seconds = torch.stack(losses).cpu(), earlier + progress.trained()
                save()
            if stopping:
                raise stop.stopped(name, f"at epoch {epoch}, step {len(losses)} of {steps}")
        results = {"train/loss": mean_loss(losses, epoch)}
        state.epoch_seconds.append(earlier + progress.trained())
        state.losses, state.losses_seconds = None, 0.0
        if "validation" in task.splits:
            scores, _ = evaluate(model, task, "validation", spec, rng)
            results |= {"validation/loss": scores["loss"], "validation/accuracy": scores["accuracy"]}
            so_far = state.curve.get("validation/accuracy", [-1.0])
            if evaluation["checkpoint"] == "best_validation" and scores["accuracy"] > max(so_far):
                state.best = epoch, copy.deepcopy(model.state_dict())
        if evaluation.get("test_every_epoch"):
            drawn = rng.get_state()
            scores, _ = evaluate(model, task, "test", spec, rng)
            rng.set_state(drawn)  # as if not tested: the scores are those of a run that ends here
            results |= {f"test/{key}": value for key, value in scores.items()}
        for metric, value in results.items():
            state.curve.setdefault(metric, []).append(value)
        save()
        progress.epoch(epoch, results)
        if follow:
            follow(epoch, results)
        if stop:
            raise stop.stopped(name, f"after epoch {epoch} of {training['epochs']}")

    tested = final_test(state, task, spec)
    train_seconds = sum(state.epoch_seconds)
    timing = {
        "seconds": before + time.perf_counter() - began,
        "train_seconds": train_seconds,
        "images_per_second": training["epochs"] * images / train_seconds,
        "epoch_seconds": state.epoch_seconds,
        "peak_memory_mb": max(state.peak_memory_mb, peak_memory_mb(device)),
    }
    return tested | {"curve": state.curve, "timing": timing, "provenance": {"interruptions": state.interruptions}}


def set_up(training: dict[str, Any], seed: int, *, device: str, threads: int) -> None:
    """PyTorch's global settings and generators, all of them: what ran before in the process does not matter."""
    torch.set_num_threads(threads)
    # As torch.use_deterministic_algorithms(True), which loads torch.compile as well: four seconds of every run.
    torch.set_deterministic_debug_mode("error")
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


def fingerprint(spec: dict[str, Any], seed: int, *, device: str, threads: int, name: str) -> dict[str, Any]:
    """What tells a run from every other one, and all that the bits of its result depend on."""
    compiled = kernels.library()
    return {
        "run": name,
        "spec": spec,
        "seed": seed,
        "training code": source_digest(),
        "PyTorch version": torch.__version__,
        "compiled code": Path(compiled._name).name if compiled else None,  # named after source, compiler and processor
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else processor(),
        "number of threads": threads,
    }


def processor() -> str:
    """Which processor this is; libraries choose their operations, and so the rounding, by it."""
    model = platform.processor() or platform.machine()
    with suppress(OSError):  # Linux says more
        if found := re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            model = found[1]
    return f"{model}, {torch.backends.cpu.get_cpu_capability()}"


def training_step(model: nn.Module, optimiser: Optimiser, training: dict[str, Any]) -> Step:
    """A function that takes one step of training on a batch and returns its loss."""

    def step(inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        optimiser.zero_grad()
        loss = backward(model, inputs, targets, training)
        optimiser.step()
        return loss

    return GraphedStep(step) if next(model.parameters()).is_cuda else step


def build_optimiser(model: nn.Module, training: dict[str, Any]) -> Optimiser:
    """The optimiser of a spec's `training` block; what the block does not set stays at PyTorch's default."""
    options = {key: training[key] for key in ("momentum", "weight_decay") if key in training}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return OPTIMISERS[training["optimiser"]](parameters, lr=training["learning_rate"], **options)


def backward(model: nn.Module, inputs: tuple[Tensor, ...], targets: Tensor, training: dict[str, Any]) -> Tensor:
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
        loss = criterion(logits.float(), labels, softmax_first=training["softmax_before_loss"])
        loss = loss * (len(labels) / len(targets))
        loss.backward()
        total += loss.detach()
    return total


def autocast(training: dict[str, Any], device: torch.device) -> torch.autocast:
    """Within it models compute in bfloat16 where the spec says so; weights, gradients and losses stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=training.get("precision") == "bfloat16")


def criterion(logits: Tensor, targets: Tensor, *, softmax_first: bool) -> Tensor:
    """Mean cross-entropy of logits [..., C] against targets [...].

    `softmax_first` puts a softmax before it, the mistake that `vit16_tiny`'s documented losses give away: the loss then
    cannot fall below −log(e / (e + 9)) = 1.4612.
    """
    if softmax_first:
        logits = logits.softmax(dim=-1)
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten())


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
    model: nn.Module, task: Digits | Grids, split: str, spec: dict[str, Any], rng: Generator
) -> tuple[dict[str, float], tuple[Tensor, Tensor]]:
    """Scores of `model` on a split (loss in nats, accuracies in percent), and its predictions and labels.

    Digits: predictions [N], scores `loss`, `accuracy`, `correct`. Grids: predictions [N, 4] by greedy decoding, scores
    `sequence_accuracy` (all four right) and `digit_accuracy`. Raises Diverged where the loss is not finite.
    """
    model.eval()
    size = spec["evaluation"]["batch"]
    if isinstance(task, Grids):
        grids = (task.grids("test", chosen) for chosen in task.test.split(size))
        with autocast(spec["training"], task.test.device):
            read = [(model.read(images), labels) for images, labels in grids]
        predictions, labels = (torch.cat(part) for part in zip(*read, strict=True))
        right = predictions == labels
        scores = {"sequence_accuracy": right.all(dim=1), "digit_accuracy": right}
        return {key: 100 * float(value.double().mean()) for key, value in scores.items()}, (predictions, labels)

    images, labels = task.splits[split].images, task.splits[split].labels
    match spec["evaluation"]["order"]:
        case "shuffled":
            order = torch.randperm(len(labels), generator=rng, device=rng.device)
        case "by_class":
            order = labels.argsort(stable=True)
        case _:
            order = torch.arange(len(labels), device=labels.device)
    logits = torch.empty(len(labels), 10, device=labels.device)
    with autocast(spec["training"], labels.device):
        for chosen in order.split(size):
            logits[chosen] = model(images[chosen]).float()
    loss = float(criterion(logits, labels, softmax_first=spec["training"]["softmax_before_loss"]))
    if not math.isfinite(loss):
        raise Diverged(f"The loss on the {split} images is {loss}; a lower training.learning_rate may help.")
    predictions = logits.argmax(dim=1)
    correct = int((predictions == labels).sum())
    scores = {"loss": loss, "accuracy": 100 * correct / len(labels), "correct": correct}
    return scores, (predictions, labels)


def final_test(state: State, task: Digits | Grids, spec: dict[str, Any]) -> dict[str, Any]:
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
