"""What several tests need: one thread, the real MNIST, and a small stand-in for it."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from checkouts import ROOT
from hypothesis import settings
from torch import Tensor

from pixelpatch.fetch import fetch

settings.register_profile("patient", settings(), deadline=None)  # machines are busy at times
settings.load_profile("patient")
torch.set_num_threads(1)
os.environ.pop("WANDB_MODE", None)  # the tests say themselves how runs are followed


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--thorough`: the tests in tests/torture draw their full samples, not the few of a quick run."""
    parser.addoption("--thorough", action="store_true", help="full samples in tests/torture, where CI draws a few")


@pytest.fixture(scope="session")
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether the torture tests run with their full counts: `make torture`, and not `make test`."""
    return request.config.getoption("--thorough")


@pytest.fixture(scope="session")
def digits() -> dict[str, Tensor]:
    """MNIST's shape in small, learnable: 600 training and 200 test images, each class a bright block of its own."""
    rng = torch.Generator().manual_seed(0)

    def draw(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(10, (count,), generator=rng)
        images = torch.randint(0, 60, (count, 28, 28), generator=rng, dtype=torch.uint8)
        for image, label in zip(images, labels.tolist(), strict=True):
            row, column = divmod(label, 4)
            image[8 * row + 2 : 8 * row + 8, 7 * column : 7 * column + 6] = 255
        return images, labels

    train, test = draw(600), draw(200)
    return {"train_images": train[0], "train_labels": train[1], "test_images": test[0], "test_labels": test[1]}


@pytest.fixture(scope="session")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the real MNIST: a copy of the checkout's, or fetched as the configuration says."""
    data = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["data"]
    folder = tmp_path_factory.mktemp("mnist")
    fetch(folder, [{"kind": "folder", "path": str(ROOT / data["folder"])}, *data["sources"]])
    return folder


@pytest.fixture(scope="module")
def nothing_to_sweep() -> Iterator[None]:
    """Statsmodels collects garbage at every correction; with the libraries' objects set aside that takes no time."""
    gc.freeze()
    yield
    gc.unfreeze()
