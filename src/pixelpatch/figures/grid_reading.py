"""How the decoder reads a 2×2 grid of test digits: its cross-attention to the patches while it writes each digit, the
mean over blocks and heads, in orange over the grid. Above each stand the digit that it writes and how probable it
finds that. n = 1 seed, two grids; of the published runs, unless these results have weights of their own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pixelpatch import data as mnist
from pixelpatch.attention import read, spelled
from pixelpatch.data import prepare
from pixelpatch.figures import style
from pixelpatch.grids import tile
from pixelpatch.models.grid_reader import GridReader
from pixelpatch.weights import published

GRIDS, DIGITS = 2, 4


@style.styled
def draw(study: Mapping[str, Any], tables: Path, data: Path) -> Figure:
    """The first grids of the test images in `data`, by the grid reader that `published` finds from `tables`."""
    trained = [one for one in published(study, tables) if isinstance(one.model, GridReader)]
    if not trained:
        return style.empty("No weights of a grid reader are here")
    model, spec = trained[0].model, trained[0].spec["data"]
    digits = mnist.load_mnist(data)["test_images"][: DIGITS * GRIDS, None]  # [8, 1, 28, 28]
    grids, shown = (
        tile(images.unflatten(0, (GRIDS, DIGITS))) for images in (prepare(digits, spec), digits / 255.0)
    )  # [2, 1, 56, 56]
    figure = Figure(figsize=(style.PAGE, 1.9 * GRIDS), layout="constrained")
    for row, grid, image in zip(figure.subplots(GRIDS, DIGITS), grids, shown, strict=True):
        reading = read(model, grid, most=DIGITS)
        for axis, token, probabilities, look in zip(row, *reading, strict=False):  # it may finish early
            side = image.shape[-1]
            axis.imshow(image[0].numpy(), cmap="Greys", vmin=0, vmax=1, extent=(0, side, side, 0))
            axis.imshow(
                look.numpy(), cmap="Oranges", alpha=0.5, vmin=0, extent=(0, side, side, 0), interpolation="none"
            )
            axis.set_title(f"{spelled(token)}, p = {float(probabilities[token]):.3f}")
        for axis in row:
            style.bare(axis)
    return figure
