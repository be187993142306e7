"""A spec and a seed in, a trained model and its record out."""

import copy
import math
import time
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from pixelpatch.data import Digits, Grids
from pixelpatch.errors import UserError
from pixelpatch.models import build_model
from pixelpatch.progress import Progress

OPTIMISERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
TOKENS = "0123456789<>_"  # how a record spells predictions: the digits, <start>, <finish>, <pad>


class Diverged(UserError):
    """The loss became NaN or infinite."""


def train(
    spec: dict[str, Any], seed: int, mnist: dict[str, Tensor], *, device: str = "cpu", threads: int = 1, name: str = ""
) -> dict[str, Any]:
    """Train the model of `spec` from `seed` and test it once; returns the record's measured part.

    That is `metrics`, `curve` (per epoch), `predictions`, `labels` and `timing`. Bit-identical for the same spec,
    seed, thread count and machine, timings aside. Raises Diverged with the epoch and step at which the loss stopped
    being a number.
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a debugging aid that costs a twentieth of the time
    torch.manual_seed(seed)  # initialisation and dropout
    rng = Generator(device).manual_seed(2**32 + seed)  # data order and augmentation, a stream of their own
    began = time.perf_counter()
    data, training, evaluation = spec["data"], spec["training"], spec["evaluation"]
    task = (Grids if "grids" in data else Digits)(data, mnist, torch.device(device))
    model = build_model(spec["model"], image=task.image).to(device)
    optimiser = build_optimiser(model, training)
    steps = (math.floor if training["drop_last"] else math.ceil)(task.epoch_images / training["batch"])
    images = min(steps * training["batch"], task.epoch_images)  # in an epoch
    progress = Progress(name, epochs=training["epochs"], steps=steps, images=images)

    curve: dict[str, list[float]] = {}
    best, best_accuracy = None, -math.inf
    for epoch in range(1, training["epochs"] + 1):
        losses = []
        model.train()
        for inputs, targets in task.batches(training["batch"], rng, drop_last=training["drop_last"]):
            optimiser.zero_grad()
            losses.append(backward(model, inputs, targets, training))
            optimiser.step()
            progress.step(epoch, losses)
        results = {"train/loss": mean_loss(losses, epoch)}
        if "validation" in task.splits:
            scores, _ = evaluate(model, task, "validation", spec, rng)
            results |= {"validation/loss": scores["loss"], "validation/accuracy": scores["accuracy"]}
            if evaluation["checkpoint"] == "best_validation" and scores["accuracy"] > best_accuracy:
                best_accuracy, best = scores["accuracy"], (epoch, copy.deepcopy(model.state_dict()))
        for metric, value in results.items():
            curve.setdefault(metric, []).append(value)
        progress.epoch(epoch, results)
    train_seconds = progress.train_seconds

    kept_epoch = training["epochs"]
    if best is not None:
        kept_epoch, state = best
        model.load_state_dict(state)
    metrics = {metric: values[kept_epoch - 1] for metric, values in curve.items()}
    metrics["train/loss"] = curve["train/loss"][-1]
    if best is not None:
        metrics["validation/best_epoch"] = kept_epoch
    scores, (predictions, labels) = evaluate(model, task, "test", spec, rng)
    metrics |= {f"test/{key}": value for key, value in scores.items()}
    metrics |= {f"data/{split}_images": len(images) for split, images in task.splits.items()}
    metrics["model/parameters"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    metrics |= {
        f"model/{fact}": getattr(model, fact) for fact in ("sequence_length", "vocabulary") if hasattr(model, fact)
    }
    return {
        "metrics": metrics,
        "curve": curve,
        "predictions": "".join(TOKENS[token] for token in predictions.flatten().tolist()),
        "labels": "".join(TOKENS[token] for token in labels.flatten().tolist()),
        "timing": {
            "seconds": time.perf_counter() - began,
            "train_seconds": train_seconds,
            "images_per_second": training["epochs"] * images / train_seconds,
        },
    }


def build_optimiser(model: nn.Module, training: dict[str, Any]) -> torch.optim.Optimizer:
    """The optimiser of a spec's `training` block; what the block does not set stays at PyTorch's default."""
    options = {key: training[key] for key in ("momentum", "weight_decay") if key in training}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return OPTIMISERS[training["optimiser"]](parameters, lr=training["learning_rate"], fused=True, **options)


def backward(model: nn.Module, inputs: tuple[Tensor, ...], targets: Tensor, training: dict[str, Any]) -> Tensor:
    """Add the gradients of the batch's mean loss, and return that loss, detached.

    `microbatch` images at a time where the spec has one: the same gradient, up to rounding, in less memory.
    """
    size = training.get("microbatch", len(targets))
    total = torch.zeros((), device=targets.device)
    for part in zip(targets.split(size), *(tensor.split(size) for tensor in inputs), strict=True):
        labels, *images = part
        loss = criterion(model(*images), labels, softmax_first=training["softmax_before_loss"])
        loss = loss * (len(labels) / len(targets))
        loss.backward()
        total += loss.detach()
    return total


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
    `sequence_accuracy` (all four right) and `digit_accuracy`.
    """
    model.eval()
    size = spec["evaluation"]["batch"]
    if isinstance(task, Grids):
        grids = (task.grids("test", chosen) for chosen in task.test.split(size))
        read = [(model.read(images), labels) for images, labels in grids]
        predictions, labels = (torch.cat(part) for part in zip(*read, strict=True))
        right = predictions == labels
        scores = {"sequence_accuracy": right.all(dim=1), "digit_accuracy": right}
        return {key: 100 * float(value.double().mean()) for key, value in scores.items()}, (predictions, labels)

    images, labels = task.splits[split].images, task.splits[split].labels
    order = torch.arange(len(labels), device=labels.device)
    if spec["evaluation"]["shuffled"]:
        order = torch.randperm(len(labels), generator=rng, device=rng.device)
    logits = torch.empty(len(labels), 10, device=labels.device)
    for chosen in order.split(size):
        logits[chosen] = model(images[chosen])
    loss = criterion(logits, labels, softmax_first=spec["training"]["softmax_before_loss"])
    predictions = logits.argmax(dim=1)
    correct = int((predictions == labels).sum())
    scores = {"loss": float(loss), "accuracy": 100 * correct / len(labels), "correct": correct}
    return scores, (predictions, labels)
