"""MNIST as tensors on the device: splits, resizing, standardising, batched augmentation, 2×2 grids.

Images are float32 [N, 1, H, W], labels int64 [N]. Everything is prepared once; no image is touched by Python again.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from pixelpatch.fetch import read_verified
from pixelpatch.models.grid_reader import FINISH, START

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
    """uint8 `images` [N, 1, 28, 28] → float32 [N, 1, H, W]: scaled to 0..1, resized, standardised, as the spec asks."""
    x = images.float() / 255
    if size := spec.get("resize"):
        x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
    return (x - MEAN) / STD if spec["standardise"] else x


def augment(images: Tensor, rng: Generator, *, flip: float = 0.0, crop: dict[str, list[float]] | None = None) -> Tensor:
    """RandomHorizontalFlip and RandomResizedCrop of torchvision, for a whole batch [B, 1, S, S] at once.

    Every image has a draw of its own. Both transforms are linear in the image, so a batch is two matrix products:
    rows · image · columnsᵀ. PIL's rounding to whole grey levels between the two is left out.
    """
    count, side = len(images), images.shape[-1]
    boxes = crop_boxes(count, side, rng, **crop) if crop else torch.tensor([[0, 0, side, side]]).expand(count, 4)
    top, left, height, width = boxes.to(images.device).float().unbind(1)
    rows, columns = _resampling(top, height, side), _resampling(left, width, side)  # [B, S, S]
    mirrored = torch.rand(count, 1, 1, generator=rng, device=rng.device).to(images.device) < flip
    columns = torch.where(mirrored, columns.flip(2), columns)
    return (rows @ images[:, 0] @ columns.transpose(1, 2)).unsqueeze(1)


def crop_boxes(count: int, side: int, rng: Generator, *, scale: list[float], ratio: list[float]) -> Tensor:
    """`count` boxes (top, left, height, width), int64 [count, 4], as torchvision's RandomResizedCrop draws them.

    Ten tries each for an area in `scale` and an aspect ratio, log-uniform in `ratio`, that fit; else the whole image.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=rng, device=rng.device) * (high - low) + low

    area = side * side * uniform(*scale, 10)
    aspect = uniform(math.log(ratio[0]), math.log(ratio[1]), 10).exp()
    width, height = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()  # [count, 10]
    fits = (width > 0) & (width <= side) & (height > 0) & (height <= side)
    first = fits.int().argmax(dim=1, keepdim=True)
    width, height = (torch.where(fits.any(dim=1), size.gather(1, first)[:, 0], side).long() for size in (width, height))
    top, left = ((uniform(0, 1) * (side - size + 1)).long() for size in (height, width))
    return torch.stack([top, left, height, width], dim=1)


def _resampling(start: Tensor, length: Tensor, side: int) -> Tensor:
    """Bilinear weights [B, side, side] that stretch `length` pixels from `start` on over `side` pixels."""
    target = torch.arange(side, device=start.device)
    position = (target + 0.5) * (length / side).unsqueeze(1) - 0.5  # [B, side], within the crop
    position = position.clamp(min=0).minimum(length.unsqueeze(1) - 1) + start.unsqueeze(1)
    return (1 - (position.unsqueeze(2) - target).abs()).clamp(min=0)


def tile(images: Tensor) -> Tensor:
    """Four images each, [B, 4, 1, S, S], as one 2×2 grid [B, 1, 2S, 2S], row by row."""
    return images[:, :, 0].unflatten(1, (2, 2)).transpose(2, 3).flatten(3).flatten(1, 2).unsqueeze(1)


class Digits:
    """The classification task: one image in, one of ten digits out."""

    def __init__(self, spec: dict[str, Any], mnist: dict[str, Tensor], device: torch.device) -> None:
        """`spec` is a spec's `data` block, `mnist` what `load_mnist` gives."""
        self.splits = {
            name: Split(prepare(split.images.to(device), spec), split.labels.to(device))
            for name, split in make_splits(spec, mnist).items()
        }
        self.augmentation = spec.get("augmentation")
        self.image = self.splits["train"].images.shape[-1]
        self.epoch_images = len(self.splits["train"])

    def batches(self, size: int, rng: Generator, *, drop_last: bool) -> Iterator[Batch]:
        """One epoch of training batches, ((images [B, 1, H, W],), labels [B]), in a new order."""
        train = self.splits["train"]
        for chosen in shuffled_batches(len(train), size, rng, drop_last=drop_last):
            images = train.images[chosen]
            if self.augmentation:
                images = augment(images, rng, **self.augmentation)
            yield (images,), train.labels[chosen]


class Grids:
    """The sequence task: a 2×2 grid of digits in, four digits and `<finish>` out."""

    def __init__(self, spec: dict[str, Any], mnist: dict[str, Tensor], device: torch.device) -> None:
        """`spec` is a spec's `data` block with `grids`, `mnist` what `load_mnist` gives."""
        digits = make_splits({key: value for key, value in spec.items() if key != "limit"}, mnist)
        self.digits = {
            name: Split(prepare(split.images.to(device), spec), split.labels.to(device))
            for name, split in digits.items()
        }
        self.image = 2 * self.digits["train"].images.shape[-1]
        grids, limit = spec["grids"], spec.get("limit", {})
        self.epoch_images = min(grids["train"], limit.get("train", grids["train"]))
        fixed = Generator().manual_seed(grids["seed"])
        test = min(grids["test"], limit.get("test", grids["test"]))
        self.test = self._draw("test", test, fixed, device)
        self.fixed_train = None if grids["fresh"] else self._draw("train", self.epoch_images, fixed, device)
        self.splits = {"train": range(self.epoch_images), "test": range(test)}  # for their sizes

    def _draw(self, split: str, count: int, rng: Generator, device: torch.device) -> Tensor:
        """Which four digits each of `count` grids shows: [count, 4]."""
        return torch.randint(len(self.digits[split]), (count, 4), generator=rng, device=rng.device).to(device)

    def grids(self, split: str, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """The grids of digits `chosen` [B, 4]: images [B, 1, 56, 56] and labels [B, 4]."""
        digits = self.digits[split]
        return tile(digits.images[chosen]), digits.labels[chosen]

    def batches(self, size: int, rng: Generator, *, drop_last: bool) -> Iterator[Batch]:
        """One epoch of training batches, ((images [B, 1, 56, 56], tokens so far [B, 5]), next tokens [B, 5])."""
        drawn = self.fixed_train
        if drawn is None:
            drawn = self._draw("train", self.epoch_images, rng, self.digits["train"].labels.device)
        for chosen in shuffled_batches(len(drawn), size, rng, drop_last=drop_last):
            images, labels = self.grids("train", drawn[chosen])
            start, finish = (torch.full_like(labels[:, :1], token) for token in (START, FINISH))
            yield (images, torch.cat([start, labels], dim=1)), torch.cat([labels, finish], dim=1)


def shuffled_batches(count: int, size: int, rng: Generator, *, drop_last: bool) -> list[Tensor]:
    """`count` positions in a random order, cut into batches of `size`; the last may be smaller, or is dropped."""
    batches = torch.randperm(count, generator=rng, device=rng.device).split(size)
    return list(batches[:-1] if drop_last and count % size else batches)
