"""The optimisers against those of torch.optim."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from pixelpatch.optimisers import OPTIMISERS

THEIRS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
CASES: list[tuple[str, dict[str, float]]] = [
    ("sgd", {}),
    ("sgd", {"momentum": 0.9}),
    ("adam", {}),
    ("adamw", {}),
    ("adamw", {"weight_decay": 0.3}),
]


def steps(optimiser: Any, model: nn.Module, count: int) -> None:
    rng = torch.Generator().manual_seed(1)
    for _ in range(count):
        optimiser.zero_grad()
        model(torch.randn(5, 3, 8, 8, generator=rng)).square().sum().backward()
        optimiser.step()


def convolution() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_steps_are_those_of_torch_optim(name: str, options: dict[str, float]) -> None:
    ours, theirs = convolution(), convolution()
    steps(OPTIMISERS[name](ours.parameters(), lr=0.003, **options), ours, 20)
    steps(THEIRS[name](theirs.parameters(), lr=0.003, fused=True, **options), theirs, 20)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_saved_state_goes_on_to_the_same_bits(name: str, options: dict[str, float]) -> None:
    whole, parts = convolution(), convolution()
    steps(OPTIMISERS[name](whole.parameters(), lr=0.003, **options), whole, 5)
    first = OPTIMISERS[name](parts.parameters(), lr=0.003, **options)
    steps(first, parts, 5)
    second = OPTIMISERS[name](parts.parameters(), lr=0.003, **options)
    second.load_state_dict(first.state_dict())
    again = OPTIMISERS[name](whole.parameters(), lr=0.003, **options)
    again.load_state_dict(first.state_dict())
    steps(second, parts, 3)
    steps(again, whole, 3)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("optimiser", "loads"), [("pixelpatch.optimisers.SGD", False), ("torch.optim.SGD", True)])
def test_a_step_does_not_load_torch_compile(optimiser: str, loads: bool) -> None:
    """Once torch.optim does not either, it can be used instead."""
    module = optimiser.rpartition(".")[0]
    code = (
        f"import sys, torch, {module}; layer = torch.nn.Linear(1, 1); layer(torch.ones(1)).backward();"
        f"{optimiser}(layer.parameters(), lr=0.1).step(); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == loads
