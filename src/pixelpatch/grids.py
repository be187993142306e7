"""The sequence task: a 2×2 grid of digits in, four digits and `<finish>` out."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Generator, Tensor, nn

from pixelpatch.data import Batch, Loss, Permutation, Split, cut_into_batches, make_splits, permutation, prepare
from pixelpatch.models.grid_reader import FINISH, START


class Grids:
    """The sequence task: a 2×2 grid of digits in, four digits and `<finish>` out."""

    def __init__(
        self,
        spec: dict[str, Any],
        mnist: dict[str, Tensor],
        device: torch.device,
        order: Permutation = permutation,
    ) -> None:
        """`spec` is a spec's `data` block with `grids`, `mnist` what `load_mnist` gives, `order` that of an epoch."""
        digits = make_splits({key: value for key, value in spec.items() if key != "limit"}, mnist)
        self.digits = {
            name: Split(prepare(split.images.to(device), spec), split.labels.to(device))
            for name, split in digits.items()
        }
        self.image = 2 * self.digits["train"].images.shape[-1]
        grids, limit = spec["grids"], spec.get("limit", {})
        self.epoch_images = min(grids["train"], limit.get("train", grids["train"]))
        self.order = order
        generator = Generator().manual_seed(grids["seed"])
        test = min(grids["test"], limit.get("test", grids["test"]))
        self.test = self._draw("test", test, generator, device)
        if grids.get("seed_per_split"):
            generator.manual_seed(grids["seed"])
        self.fixed_train = None if grids["fresh"] else self._draw("train", self.epoch_images, generator, device)
        self.generator = generator  # as it is after the training grids
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
        for chosen in cut_into_batches(self.order(len(drawn), rng), size, drop_last=drop_last):
            images, labels = self.grids("train", drawn[chosen])
            start, finish = (torch.full_like(labels[:, :1], token) for token in (START, FINISH))
            yield (images, torch.cat([start, labels], dim=1)), torch.cat([labels, finish], dim=1)

    def evaluate(
        self, model: nn.Module, split: str, loss: Loss, evaluation: dict[str, Any], rng: Generator
    ) -> tuple[dict[str, float], tuple[Tensor, Tensor]]:
        """Scores in percent on the test grids, and predictions (by greedy decoding) and labels, each [N, 4].

        `sequence_accuracy` is of grids with all four digits right, `digit_accuracy` of single digits.
        """
        grids = (self.grids(split, chosen) for chosen in self.test.split(evaluation["batch"]))
        read = [(model.read(images), labels) for images, labels in grids]
        predictions, labels = (torch.cat(part) for part in zip(*read, strict=True))
        right = predictions == labels
        scores = {"sequence_accuracy": right.all(dim=1), "digit_accuracy": right}
        return {key: 100 * float(value.double().mean()) for key, value in scores.items()}, (predictions, labels)


TASK = Grids


def tile(images: Tensor) -> Tensor:
    """Four images each, [B, 4, 1, S, S], as one 2×2 grid [B, 1, 2S, 2S], row by row."""
    return images[:, :, 0].unflatten(1, (2, 2)).transpose(2, 3).flatten(3).flatten(1, 2).unsqueeze(1)
