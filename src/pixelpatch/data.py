"""MNIST as tensors on the device: splits, resizing, standardising, batches.

Images are float32 [N, 1, H, W], labels int64 [N]. Everything is prepared once; no image is touched by Python again.
"""

from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from pixelpatch.fetch import read_verified

SIDE = 28
# The write-ups that standardise use these figures, the training set's mean and standard deviation.
MEAN, STD = 0.1307, 0.3081


@dataclass(frozen=True)
class Split:
    """Images [N, 1, H, W] and labels [N], both on the device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


Batch = tuple[tuple[Tensor, ...], Tensor]  # what the model is called with, and the targets
Loss = Callable[[Tensor, Tensor], Tensor]  # of logits and targets, their mean
Permutation = Callable[[int, Generator], Tensor]  # of so many positions, in a random order


class Task(Protocol):
    """What a model learns: batches to train on, and how it is tested. See `digits` and `grids`."""

    image: int  # the side in pixels of what the model sees
    epoch_images: int
    splits: Mapping[str, Sized]  # by name: "train", "test" and maybe "validation"
    generator: Generator  # as it is after the task was drawn

    def batches(self, size: int, rng: Generator, *, drop_last: bool) -> Iterator[Batch]:
        """One epoch of training batches, in a new order."""

    def evaluate(
        self, model: nn.Module, split: str, loss: Loss, evaluation: dict[str, Any], rng: Generator
    ) -> tuple[dict[str, float], tuple[Tensor, Tensor]]:
        """Scores of `model`, as it is, on a split, and its predictions and labels."""


def load_mnist(folder: Path) -> dict[str, Tensor]:
    """The four files: `train_images` (uint8 [60000, 28, 28]), `train_labels` (int64 [60000]), and of `test`.

    Raises UserError where a file is missing or its bytes are not MNIST's.
    """
    arrays = {}
    for name, file in (("train", "train"), ("test", "t10k")):
        images = np.frombuffer(read_verified(folder, f"{file}-images-idx3-ubyte"), np.uint8, offset=16)
        labels = np.frombuffer(read_verified(folder, f"{file}-labels-idx1-ubyte"), np.uint8, offset=8)
        arrays[f"{name}_images"] = torch.from_numpy(images.reshape(-1, SIDE, SIDE).copy())
        arrays[f"{name}_labels"] = torch.from_numpy(labels.astype(np.int64))
    return arrays


def make_splits(spec: dict[str, Any], mnist: dict[str, Tensor]) -> dict[str, Split]:
    """The `train`, `validation` (where the spec has one) and `test` splits of a spec's `data` block, as uint8 images.

    `sample` draws that many training images without replacement; `lost_header_rows` drops the first of them and test
    image 0; `validation` is split off as scikit-learn's `train_test_split` or PyTorch's `random_split` does it;
    `limit` keeps the first so many of a split (only reduced budgets have it).
    """
    train, test = torch.arange(len(mnist["train_labels"])), torch.arange(len(mnist["test_labels"]))
    if sample := spec.get("sample"):
        train = torch.randperm(len(train), generator=Generator().manual_seed(sample["seed"]))[: sample["images"]]
    if spec.get("lost_header_rows"):
        train, test = train[1:], test[1:]
    indices = {"train": train, "test": test}
    if validation := spec.get("validation"):
        first, rest = _held_out(len(train), **validation)
        indices |= {"train": train[rest], "validation": train[first]}
    for name, count in spec.get("limit", {}).items():
        if name in indices:
            indices[name] = indices[name][:count]
    source = {"train": "train", "validation": "train", "test": "test"}
    return {
        name: Split(mnist[f"{source[name]}_images"][chosen].unsqueeze(1), mnist[f"{source[name]}_labels"][chosen])
        for name, chosen in indices.items()
    }


def _held_out(count: int, *, images: int, seed: int, split_by: str) -> tuple[Tensor, Tensor]:
    """Positions of the validation images and of the training images among `count`."""
    if split_by == "sklearn":  # ShuffleSplit: one permutation, the held-out part first
        order = torch.from_numpy(np.random.RandomState(seed).permutation(count))
        return order[:images], order[images:]
    order = torch.randperm(count, generator=Generator().manual_seed(seed))  # random_split: the training part first
    return order[count - images :], order[: count - images]


def prepare(images: Tensor, spec: dict[str, Any]) -> Tensor:
    """uint8 `images` [N, 1, 28, 28] → float32 [N, 1, H, W]: scaled to 0..1, resized, standardised, as the spec asks.

    Resized pixels stay as they come out. (torchvision resizes a PIL image, which rounds them to whole grey levels.)
    """
    x = images.float() / 255
    if size := spec.get("resize"):
        x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
    return (x - MEAN) / STD if spec["standardise"] else x


def permutation(count: int, rng: Generator) -> Tensor:
    """The numbers below `count` in a random order, int64 [count]."""
    return torch.randperm(count, generator=rng, device=rng.device)


def cut_into_batches(order: Tensor, size: int, *, drop_last: bool) -> list[Tensor]:
    """`order` cut into batches of `size`; the last may be smaller, or is dropped."""
    batches = order.split(size)
    return list(batches[:-1] if drop_last and len(order) % size else batches)
