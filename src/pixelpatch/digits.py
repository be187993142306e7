"""The classification task: one image in, one of ten digits out."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Generator, Tensor, nn

from pixelpatch.data import Batch, Loss, Permutation, Split, cut_into_batches, make_splits, permutation, prepare


class Digits:
    """The classification task: one image in, one of ten digits out."""

    def __init__(
        self,
        spec: dict[str, Any],
        mnist: dict[str, Tensor],
        device: torch.device,
        order: Permutation = permutation,
    ) -> None:
        """`spec` is a spec's `data` block, `mnist` what `load_mnist` gives, `order` that of an epoch's images."""
        self.splits = {
            name: Split(prepare(split.images.to(device), spec), split.labels.to(device))
            for name, split in make_splits(spec, mnist).items()
        }
        self.augment = build_augmentation(spec)
        self.order = order
        self.generator = Generator()
        self.image = self.splits["train"].images.shape[-1]
        self.epoch_images = len(self.splits["train"])

    def batches(self, size: int, rng: Generator, *, drop_last: bool) -> Iterator[Batch]:
        """One epoch of training batches, ((images [B, 1, H, W],), labels [B]), in a new order."""
        train = self.splits["train"]
        for chosen in cut_into_batches(self.order(len(train), rng), size, drop_last=drop_last):
            yield (self.augment(train.images[chosen], rng),), train.labels[chosen]

    def evaluate(
        self, model: nn.Module, split: str, loss: Loss, evaluation: dict[str, Any], rng: Generator
    ) -> tuple[dict[str, float], tuple[Tensor, Tensor]]:
        """Scores `loss`, `accuracy` (percent) and `correct` on a split, and predictions and labels, each [N].

        The loss is a mean over images or, with `loss_mean: batches`, over batches: a smaller last one counts as much as
        any other.
        """
        images, labels = self.splits[split].images, self.splits[split].labels
        batches = self._order(labels, evaluation["order"], rng).split(evaluation["batch"])
        logits = torch.empty(len(labels), 10, device=labels.device)
        for chosen in batches:
            logits[chosen] = model(images[chosen]).float()
        if evaluation.get("loss_mean") == "batches":
            mean = torch.stack([loss(logits[chosen], labels[chosen]) for chosen in batches]).double().mean()
        else:
            mean = loss(logits, labels)
        predictions = logits.argmax(dim=1)
        correct = int((predictions == labels).sum())
        scores = {"loss": float(mean), "accuracy": 100 * correct / len(labels), "correct": correct}
        return scores, (predictions, labels)

    @staticmethod
    def _order(labels: Tensor, order: str, rng: Generator) -> Tensor:
        """In which order a split is tested: as stored, shuffled, or sorted by class."""
        match order:
            case "shuffled":
                return permutation(len(labels), rng)
            case "by_class":
                return labels.argsort(stable=True)
            case _:
                return torch.arange(len(labels), device=labels.device)


TASK = Digits


def build_augmentation(spec: dict[str, Any]) -> Callable[[Tensor, Generator], Tensor]:
    """A function of a batch of images [B, 1, H, W] and a generator: the augmentation of a spec's `data` block."""
    if "augmentation" not in spec:
        return lambda images, rng: images
    from pixelpatch.augmentation import augment

    return lambda images, rng: augment(images, rng, **spec["augmentation"])
