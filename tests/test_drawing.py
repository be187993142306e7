"""A drawn digit becomes what MNIST's digits are: held against MNIST's own, which are so already."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pixelpatch.data import load_mnist
from pixelpatch.drawing import centred


def test_an_enlarged_digit_of_mnist_comes_back(mnist: Path) -> None:
    """Drawn ten times as large and off the middle: the same image, but for what scaling smooths."""
    digits = load_mnist(mnist)["test_images"][:200]
    apart = []
    for digit in digits.numpy():
        drawn = np.zeros((500, 400), np.uint8)
        drawn[200:480, 20:300] = digit.repeat(10, 0).repeat(10, 1)
        again = centred(drawn).float()
        apart.append(float((again - torch.from_numpy(digit).float()).abs().mean()) / 255)
    assert np.mean(apart) < 0.02
    assert np.quantile(apart, 0.95) < 0.06


@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (280, 280)])
def test_an_empty_canvas_is_no_digit(shape: tuple[int, int]) -> None:
    assert centred(np.zeros(shape, np.uint8)) is None
    assert centred(np.full(shape, 15, np.uint8)) is None


@given(arrays(np.uint8, st.tuples(st.integers(1, 60), st.integers(1, 60))))
def test_any_ink_fits_the_box_near_the_middle(ink: np.ndarray) -> None:
    digit = centred(ink)
    assert (digit is None) == (ink.max() < 16)
    if digit is None:
        return
    assert digit.shape == (28, 28)
    assert digit.dtype == torch.uint8
    rows, columns = (digit.any(dim=axis).nonzero() for axis in (1, 0))
    if len(rows):
        assert int(rows[-1] - rows[0]) < 20
        assert int(columns[-1] - columns[0]) < 20


def test_where_and_how_large_it_is_drawn_does_not_matter() -> None:
    small, large = np.zeros((300, 300), np.uint8), np.zeros((300, 300), np.uint8)
    small[10:70, 40:60] = 255
    large[100:280, 200:260] = 255
    assert torch.equal(centred(small), centred(large))
