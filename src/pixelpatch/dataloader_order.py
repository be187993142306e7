"""The order in which PyTorch's DataLoader gives the items of a shuffled epoch."""

import torch
from torch import Generator, Tensor


def dataloader_permutation(count: int, rng: Generator) -> Tensor:
    """The positions of one epoch of `DataLoader(items, shuffle=True)`, int64 [count], where `rng` is PyTorch's default.

    A pass over the loader draws a seed for its workers and another one for its sampler, which permutes with that.
    """
    for _ in range(2):
        seed = int(torch.empty((), dtype=torch.int64).random_(generator=rng))
    return torch.randperm(count, generator=Generator().manual_seed(seed))
