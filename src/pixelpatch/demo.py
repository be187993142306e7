"""The demo, in a browser: a 2×2 grid of digits read by the sequence model, and one digit by every architecture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from torch import Tensor

from pixelpatch.attention import read, spelled
from pixelpatch.data import load_mnist, prepare
from pixelpatch.drawing import centred
from pixelpatch.errors import UserError
from pixelpatch.grids import tile
from pixelpatch.models.grid_reader import GridReader
from pixelpatch.weights import AGAIN, PUBLISHED, load

PLACES = ("top left", "top right", "bottom left", "bottom right")  # in reading order
ENLARGED = 6  # screen pixels of a pixel of the grid
CANVAS = 280  # screen pixels along a side
TAKE_THE_BRUSH = """() => setInterval(() => {
  for (const brush of document.querySelectorAll("button[aria-label=Brush]")) {
    if (!brush.parentElement.querySelector(".highlight")) brush.click();
  }
}, 200)"""  # a pad starts without a tool in hand, and for a while does not hear that it is given one
ORANGE = np.array([230, 120, 0])
BLANK = {"background": None, "layers": [], "composite": None}  # a pad takes no second None for a change
Cell = tuple[np.ndarray, int | None]  # uint8 [28, 28], and its label, where it is known


class Demo:
    """The models of the folder `weights`, and the test digits of the folder `data`, to draw from and for company.

    Raises UserError where either is missing.
    """

    def __init__(self, weights: Path, data: Path, *, seed: int | None = None) -> None:
        trained = [load(file) for file in sorted(weights.glob("*.safetensors"))]
        if not trained:
            raise UserError(f"{weights} has no weights; `{AGAIN}` makes the published ones, in {PUBLISHED}.")
        self.classifiers = [one for one in trained if not isinstance(one.model, GridReader)]
        self.reader = next((one for one in trained if isinstance(one.model, GridReader)), None)
        mnist = load_mnist(data)
        self.digits, self.labels = mnist["test_images"], mnist["test_labels"]
        self.rng = np.random.default_rng(seed)

    def shuffled(self) -> list[Cell]:
        """Four test digits."""
        chosen = self.rng.choice(len(self.labels), 4, replace=False)
        return [(self.digits[i].numpy(), int(self.labels[i])) for i in chosen]

    def read(self, cells: Sequence[Cell]) -> tuple[np.ndarray, list[tuple[np.ndarray, str]], str]:
        """The grid of four cells, the grid at each token under what the decoder looked at, and a sentence."""
        digits = torch.stack([torch.from_numpy(np.array(image)) for image, _ in cells])[:, None]  # [4, 1, 28, 28]
        reading = read(self.reader.model, tile(prepare(digits, self.reader.spec["data"])[None])[0])
        grid = tile(digits[None])[0, 0].numpy()
        steps = [
            (_lit(grid, look.numpy()), f"{spelled(token)}, p = {float(probabilities[token]):.3f}")
            for token, probabilities, look in zip(*reading, strict=True)
        ]
        said = " ".join(map(spelled, reading.tokens))
        labels = [label for _, label in cells]
        if None in labels:
            return _enlarged(grid), steps, f"It reads **{said}**."
        verdict = "correct" if reading.tokens == labels else f"wrong, it is {' '.join(map(str, labels))}"
        return _enlarged(grid), steps, f"It reads **{said}**: {verdict}."

    def classify(self, digit: Tensor) -> list[list[Any]]:
        """What each classifier says of a digit (uint8 [28, 28]): name, patch size, answer, probability, second answer.

        One whose images attend to each other gets it among test digits, in a batch as it was trained on.
        """
        rows = []
        for trained in self.classifiers:
            company = (
                trained.spec["training"]["batch"] - 1 if trained.spec["model"].get("attend_over") == "batch" else 0
            )
            images = torch.cat([digit[None], self.digits[:company]])[:, None]
            with torch.no_grad():
                probabilities = trained.model(prepare(images, trained.spec["data"]))[0].softmax(dim=0)
            first, second = probabilities.topk(2).indices.tolist()
            rows.append(
                [
                    trained.experiment.partition("-")[0],  # without what varies in its family
                    _tokens(trained.spec["model"]),
                    first,
                    f"{float(probabilities[first]):.3f}",
                    second,
                ]
            )
        return rows


def build(demo: Demo) -> gr.Blocks:
    """The page, with a tab for grids and one for single digits."""
    with gr.Blocks(title="pixelpatch", analytics_enabled=False) as page:
        gr.Markdown("# pixelpatch\nSmall vision models, as five public write-ups have them, trained on MNIST.")
        if demo.reader:
            with gr.Tab("Read a grid"):
                _grid_tab(demo, page)
        if demo.classifiers:
            with gr.Tab("One digit, every architecture"):
                _digit_tab(demo)
    return page


def launch(weights: Path, data: Path, *, port: int | None = None) -> None:
    """Serve the page until interrupted, to this machine alone unless GRADIO_SERVER_NAME says otherwise.

    Raises UserError as `Demo`, and where the port is taken.
    """
    fonts = {"font": ("system-ui", "sans-serif"), "font_mono": ("ui-monospace", "monospace")}  # those that are there
    page = build(Demo(weights, data))
    try:
        page.launch(server_port=port, share=False, js=TAKE_THE_BRUSH, theme=gr.themes.Default(**fonts))
    except (OSError, ValueError, OverflowError) as error:  # port taken, or none free up to 65535
        raise UserError(f"The page cannot be served; --port names another port. ({error})") from None


def _grid_tab(demo: Demo, page: gr.Blocks) -> None:
    gr.Markdown("Shuffle four test digits, or draw some yourself; a drawn digit takes its cell.")
    cells = gr.State([None] * 4)
    with gr.Row():
        pads = [_pad(place) for place in PLACES]
    with gr.Row():
        shuffle, clear, go = gr.Button("Shuffle"), gr.Button("Empty"), gr.Button("Read", variant="primary")
    said = gr.Markdown()
    with gr.Row():
        grid = gr.Image(label="The grid, 56×56", interactive=False, buttons=[], height=CANVAS)
        steps = gr.Gallery(
            label="Token by token, and where the decoder looks", columns=4, buttons=[], interactive=False
        )

    def show(cells: list[Cell | None], *drawings: dict[str, Any] | None) -> tuple[Any, Any, str]:
        drawn = [centred(ink(drawing)) for drawing in drawings]
        filled = [(own.numpy(), None) if own is not None else cell for own, cell in zip(drawn, cells, strict=True)]
        if None in filled:
            return None, [], f"The cell at the {PLACES[filled.index(None)]} is empty: draw a digit there, or shuffle."
        return demo.read(filled)

    shown = [grid, steps, said]
    for begin in (shuffle.click, page.load):
        begin(lambda: (demo.shuffled(), *[BLANK] * 4), outputs=[cells, *pads]).then(show, [cells, *pads], shown)
    clear.click(lambda: ([None] * 4, *[BLANK] * 4, None, [], ""), outputs=[cells, *pads, *shown])
    go.click(show, [cells, *pads], shown)


def _digit_tab(demo: Demo) -> None:
    gr.Markdown("Draw a digit on the white sheet. It is scaled and centred as MNIST's are, and every model reads it.")
    with gr.Row():
        pad = _pad("A digit", width=2 * CANVAS)
        seen = gr.Image(label="What the models get, 28×28", interactive=False, buttons=[], height=CANVAS)
    go, said = gr.Button("Classify", variant="primary"), gr.Markdown()
    answers = gr.Dataframe(headers=["Model", "Sees", "Reads", "Probability", "Or else"], interactive=False)

    def show(drawing: dict[str, Any] | None) -> tuple[Any, list[list[Any]], str]:
        digit = centred(ink(drawing))
        if digit is None:
            return None, [], "The canvas is empty: draw a digit first."
        rows = demo.classify(digit)
        votes = {row[2] for row in rows}
        said = f"All read **{votes.pop()}**." if len(votes) == 1 else "They do not agree."
        return _enlarged(digit.numpy()), rows, said

    go.click(show, [pad], [seen, answers, said])


def ink(drawing: dict[str, Any] | None) -> np.ndarray:
    """What was drawn on a pad, uint8 [H, W], 255 where it is blackest: dark strokes on whatever lies under them."""
    if drawing is None or drawing.get("composite") is None:
        return np.zeros((1, 1), np.uint8)
    red, green, blue, opacity = np.moveaxis(np.asarray(drawing["composite"]).astype(np.float32), 2, 0)
    return ((255 - (red + green + blue) / 3) * opacity / 255).astype(np.uint8)


def _pad(label: str, *, width: int = CANVAS) -> gr.Sketchpad:
    brush = gr.Brush(default_size=12, colors=["#000000"], color_mode="fixed")
    return gr.Sketchpad(
        label=label, type="numpy", brush=brush, layers=False, transforms=(), canvas_size=(CANVAS, CANVAS),
        fixed_canvas=True, buttons=[], width=width,
    )  # fmt: skip


def _tokens(model: dict[str, Any]) -> str:
    """What a model takes an image as."""
    side = model.get("patch")
    return "the whole image" if side is None else "single pixels" if side == 1 else f"patches of {side}×{side}"


def _enlarged(image: np.ndarray) -> np.ndarray:
    """Dark on light, as drawn, each pixel a square."""
    return 255 - image.repeat(ENLARGED, 0).repeat(ENLARGED, 1)


def _lit(grid: np.ndarray, look: np.ndarray) -> np.ndarray:
    """The grid [56, 56], and in orange how much of the look [N, N] lies on each of its patches: [H, W, 3]."""
    share = (look / look.max()).repeat(len(grid) // len(look), 0).repeat(len(grid) // len(look), 1)
    share = share.repeat(ENLARGED, 0).repeat(ENLARGED, 1)[..., None] / 2
    return ((1 - share) * _enlarged(grid)[..., None] + share * ORANGE).astype(np.uint8)
