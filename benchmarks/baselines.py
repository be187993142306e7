"""What a user would run instead: the training of each system as its write-up does it, from stock PyTorch parts.

A DataLoader over single images (PIL images and torchvision's transforms, but for `pixel_transformer`, which reads rows
of numbers), `torch.nn`'s own layers, `torch.optim` as a write-up calls it, the textbook loop; Lightning for
`vit4_assignment`. Sizes and rates are those of the spec in config.yaml. Nothing here imports `pixelpatch`.

    python benchmarks/baselines.py blog_cnn --data data/mnist --workers 2 --threads 1
"""

import argparse
import gc
import itertools
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from baseline_models import build_model
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, random_split
from torchvision import datasets, transforms

START, FINISH = 10, 11
NORMALISE = transforms.Normalize((0.1307,), (0.3081,))
CONFIG = Path(__file__).parents[1] / "config.yaml"

Batch = list[Tensor]
Loss = Callable[[nn.Module, Batch], Tensor]


class MNIST(datasets.MNIST):
    """torchvision's MNIST, read from a folder that holds the four raw files themselves."""

    @property
    def raw_folder(self) -> str:
        """The folder of the raw files."""
        return str(self.root)


class Rows(Dataset):
    """`pixel_transformer`: rows of a table, the label first, then 784 pixels; item i is (image [1, 28, 28], label).

    Pixels are divided by 255. The notebook's CSV files are Colab's; this table has the same columns and as many rows,
    of MNIST's own images.
    """

    def __init__(self, folder: Path, *, images: int) -> None:
        mnist = MNIST(folder)
        self.rows = torch.cat([mnist.targets[:images, None], mnist.data[:images].flatten(1)], dim=1).float()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        row = self.rows[index]
        return (row[1:] / 255).view(1, 28, 28), row[0].long()


class Grids(Dataset):
    """`seq2seq_2x2`: item i is a 2×2 grid [1, 56, 56] of four digits, drawn once, and its tokens [6]."""

    def __init__(self, folder: Path, *, grids: int, seed: int) -> None:
        self.mnist = MNIST(folder, transform=transforms.Compose([transforms.ToTensor(), NORMALISE]))
        self.grids = torch.randint(len(self.mnist), (grids, 4), generator=torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return len(self.grids)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        images, labels = zip(*(self.mnist[i] for i in self.grids[index].tolist()), strict=True)
        grid = torch.cat([torch.cat(images[:2], dim=2), torch.cat(images[2:], dim=2)], dim=1)
        return grid, torch.tensor([START, *labels, FINISH])


def read_spec(system: str) -> dict[str, Any]:
    """The spec of `system` in config.yaml, of the full budget."""
    return yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["experiments"][system]["spec"]


def build_dataset(system: str, spec: dict[str, Any], folder: Path) -> Dataset:
    """The training set of `system`, one image at a time, from the raw files in `folder`."""
    data = spec["data"]
    match system:
        case "pixel_transformer":
            return Rows(folder, images=data["sample"]["images"] - 1 - data["validation"]["images"])
        case "seq2seq_2x2":
            return Grids(folder, grids=data["grids"]["train"], seed=data["grids"]["seed"])
        case "vit16_tiny":
            resize = transforms.Resize((data["resize"], data["resize"]))
            return MNIST(folder, transform=transforms.Compose([resize, transforms.ToTensor()]))
        case "vit4_assignment":
            flip, crop = data["augmentation"]["flip"], data["augmentation"]["crop"]
            transform = transforms.Compose(
                [
                    transforms.RandomHorizontalFlip(flip),
                    transforms.RandomResizedCrop((28, 28), scale=crop["scale"], ratio=crop["ratio"]),
                    transforms.ToTensor(),
                    NORMALISE,
                ]
            )
            mnist, held_out = MNIST(folder, transform=transform), data["validation"]["images"]
            return random_split(mnist, [len(mnist) - held_out, held_out])[0]
    return MNIST(folder, transform=transforms.Compose([transforms.ToTensor(), NORMALISE]))


def classification_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy of the logits."""
    images, labels = batch
    return F.cross_entropy(model(images), labels)


def blog_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Negative log likelihood: both models of the post end in a log-softmax."""
    images, labels = batch
    return F.nll_loss(model(images), labels)


def softmax_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy of softmax outputs, as `vit16_tiny`'s documented losses say it was."""
    images, labels = batch
    return F.cross_entropy(model(images).softmax(dim=1), labels)


def sequence_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy of each next token, with teacher forcing."""
    grids, tokens = batch
    return F.cross_entropy(model(grids, tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


LOSSES: dict[str, Loss] = {
    "blog_cnn": blog_loss,
    "blog_vit": blog_loss,
    "seq2seq_2x2": sequence_loss,
    "vit16_tiny": softmax_loss,
}


def build_optimiser(model: nn.Module, training: dict[str, Any]) -> torch.optim.Optimizer:
    """The write-up's optimiser; what the spec does not set is at PyTorch's default."""
    optimisers = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    momentum = {"momentum": training["momentum"]} if "momentum" in training else {}
    return optimisers[training["optimiser"]](model.parameters(), lr=training["learning_rate"], **momentum)


@dataclass
class Stopwatch:
    """Counts the images of training steps, the first `skip` steps left out, until `seconds` are over."""

    skip: int
    seconds: float
    steps: int = 0
    images: int = 0
    began: float = math.nan
    elapsed: float = 0.0

    def step(self, images: int) -> bool:
        """Call after every step with its number of images; whether the time is up."""
        self.steps += 1
        if self.steps < self.skip:
            return False
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        if self.steps == self.skip:
            self.began = now
            return False
        self.images += images
        self.elapsed = now - self.began
        return self.elapsed >= self.seconds


def fit(
    system: str, spec: dict[str, Any], folder: Path, watch: Stopwatch, *, workers: int, batch: int, device: str
) -> None:
    """Train `system` until `watch` says stop; `batch` images at a time, gradients added up to the write-up's batch."""
    training = spec["training"]
    loader = DataLoader(
        build_dataset(system, spec, folder),
        batch_size=batch,
        shuffle=True,
        drop_last=training["drop_last"],
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device != "cpu",
    )
    model = build_model(system, spec)
    if system == "vit4_assignment":
        fit_with_lightning(model, loader, training, watch, device=device)
    else:
        loss = LOSSES.get(system, classification_loss)
        fit_in_a_loop(model, loader, loss, training, watch, accumulate=training["batch"] // batch, device=device)


def fit_in_a_loop(
    model: nn.Module,
    loader: DataLoader,
    loss_of: Loss,
    training: dict[str, Any],
    watch: Stopwatch,
    *,
    accumulate: int,
    device: str,
) -> None:
    """The textbook loop; the optimiser steps once in `accumulate` batches."""
    model = model.to(device).train()
    optimiser = build_optimiser(model, training)
    while True:
        running_loss = 0.0
        for step, batch in enumerate(loader, start=1):
            loss = loss_of(model, [tensor.to(device) for tensor in batch])
            (loss / accumulate).backward()
            if step % accumulate == 0 or step == len(loader):
                optimiser.step()
                optimiser.zero_grad()
            running_loss += loss.item()
            if watch.step(len(batch[0])):
                return


def fit_with_lightning(
    model: nn.Module, loader: DataLoader, training: dict[str, Any], watch: Stopwatch, *, device: str
) -> None:
    """A Lightning Trainer with neither logger nor progress bar nor checkpoints to pay for."""
    import lightning  # slow to import, and of one system alone

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Batch, _: int) -> Tensor:
            return classification_loss(self.model, batch)

        def on_train_batch_end(self, outputs: Any, batch: Batch, _: int) -> None:
            self.trainer.should_stop = watch.step(len(batch[0]))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return build_optimiser(self.model, training)

    trainer = lightning.Trainer(
        accelerator="cpu" if device == "cpu" else "gpu",
        devices=1,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(), loader)


def main() -> None:
    """Measure one system's baseline at every combination of the settings given; one JSON line each."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("system")
    parser.add_argument("--data", type=Path, required=True, help="folder of the raw MNIST files")
    parser.add_argument("--workers", type=int, nargs="+", default=[0], help="of the DataLoader")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="of PyTorch")
    parser.add_argument("--batch", type=int, nargs="+", help="images at a time; the write-up's batch by default")
    parser.add_argument("--seconds", type=float, default=5.0, help="to measure for, after the warm-up")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    spec = read_spec(options.system)
    whole = spec["training"]["batch"]
    for threads, workers, batch in itertools.product(options.threads, options.workers, options.batch or [whole]):
        torch.set_num_threads(threads)
        watch = Stopwatch(skip=max(1, 10 * batch // whole), seconds=options.seconds)
        fit(options.system, spec, options.data, watch, workers=workers, batch=batch, device=options.device)
        setting = {"workers": workers, "threads": threads, "batch": batch}
        print(json.dumps(setting | {"images_per_second": watch.images / watch.elapsed}), flush=True)
        gc.collect()  # ends the workers


if __name__ == "__main__":
    main()
