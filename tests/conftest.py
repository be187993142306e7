"""What several tests need: one thread, and a small stand-in for MNIST."""

import os

import pytest
import torch
from torch import Tensor

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
