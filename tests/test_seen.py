"""The figures of what models see: they show what the weights beside them say."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from configurations import CONFIG, study
from matplotlib.figure import Figure
from test_figures import boxes

from pixelpatch.analysis.variance import packed
from pixelpatch.attention import spelled
from pixelpatch.checks import image_side
from pixelpatch.data import load_mnist, prepare
from pixelpatch.figures import FIGURES
from pixelpatch.figures.attention_maps import class_attention
from pixelpatch.figures.position_similarity import by_distance, similarities
from pixelpatch.grids import tile
from pixelpatch.models import build_model
from pixelpatch.models.grid_reader import FINISH, PAD
from pixelpatch.weights import load, pack

NAMES = ("vit4_assignment", "seq2seq_2x2", "vit16_tiny")
STUDY: dict[str, Any] = {"experiments": {name: {"title": CONFIG["experiments"][name]["title"]} for name in NAMES}}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of tables beside which weights of untrained models lie."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "weights").mkdir()
    for name in NAMES:
        spec = CONFIG["experiments"][name]["spec"]
        torch.manual_seed(1)
        model = build_model(spec["model"], image=image_side(spec["data"]))
        content = pack({"experiment": name, "seed": 0, "spec": spec}, model.state_dict())
        (folder / f"weights/{name}.safetensors").write_bytes(content)
    return folder / "tables"


def drawn(name: str, tables: Path, mnist: Path) -> Figure:
    figure = FIGURES[name](STUDY, tables, mnist)
    texts, found = boxes(figure)
    assert texts
    assert ((found[:, :2] >= 0) & (found[:, 2:] <= figure.bbox.size)).all()  # no text is cut off
    return figure


def test_attention_maps_are_the_class_token_s(tables: Path, mnist: Path) -> None:
    figure = drawn("attention_maps", tables, mnist)
    axes = np.array(figure.axes).reshape(3, 10)  # the digits, and two vision transformers, fine patches first
    images = load_mnist(mnist)
    first = [int((images["test_labels"] == digit).nonzero()[0]) for digit in range(10)]
    digits = images["test_images"][first][:, None]
    assert np.array_equal(axes[0, 3].images[0].get_array(), digits[3, 0] / 255.0)
    for row, name in zip(axes[1:], ("vit4_assignment", "vit16_tiny"), strict=True):
        trained = load(tables.parent / f"weights/{name}.safetensors")
        maps, answers = class_attention(trained, digits)
        for axis, map_, answer, digit in zip(row, maps, answers.tolist(), range(10), strict=True):
            assert np.array_equal(axis.images[0].get_array(), map_)
            assert axis.get_xlabel() == ("" if answer == digit else f"reads {answer}")
        assert ((maps.sum(dim=(1, 2)) > 0) & (maps.sum(dim=(1, 2)) < 1)).all()  # the rest is on the token itself


def test_attention_maps_are_of_the_last_block(tables: Path, mnist: Path) -> None:
    """With nothing to ask for there, it looks everywhere alike, whatever the blocks before it do."""
    trained = load(tables.parent / "weights/vit4_assignment.safetensors")
    last = trained.model.encoder[-1].attention
    with torch.no_grad():
        last.in_proj_weight[: last.in_proj_weight.shape[0] // 3] = 0  # the queries' third
        last.in_proj_bias.zero_()
    maps, _ = class_attention(trained, load_mnist(mnist)["test_images"][:3, None])
    torch.testing.assert_close(maps, torch.full((3, 7, 7), 1 / 50))


def test_similarity_by_distance_is_the_mean_over_pairs() -> None:
    rng = torch.Generator().manual_seed(0)
    positions = torch.randn(25, 6, generator=rng)
    similarity = similarities(positions)
    centred = (positions - positions.mean(dim=0)).numpy()
    for i, j in ((0, 0), (3, 17), (24, 1)):
        cosine = centred[i] @ centred[j] / np.linalg.norm(centred[i]) / np.linalg.norm(centred[j])
        assert similarity[i, j] == pytest.approx(cosine, abs=1e-5)
    apart, mean = by_distance(similarity, 5)
    for distance in (1, 2, 4):
        pairs = [
            similarity[i, j]
            for i in range(25)
            for j in range(25)
            if round(np.hypot(i // 5 - j // 5, i % 5 - j % 5)) == distance
        ]
        assert mean[list(apart).index(distance)] == pytest.approx(np.mean(pairs), abs=1e-6)


def test_positions_of_a_grid_are_seen_as_one() -> None:
    """Embeddings that are smooth over the image: neighbours are alike, and likeness falls with distance."""
    rows, columns = np.divmod(np.arange(100), 10)
    waves = [f(k * axis * np.pi / 10) for axis in (rows, columns) for k in (1, 2) for f in (np.sin, np.cos)]
    _, mean = by_distance(similarities(torch.tensor(np.stack(waves, axis=1), dtype=torch.float32)), 10)
    assert mean[0] > 0.8
    assert (np.diff(mean[:6]) < 0).all()


def test_position_similarity_draws_the_models_that_learn_positions(tables: Path, mnist: Path) -> None:
    figure = drawn("position_similarity", tables, mnist)
    *maps, curve = [axis for part in figure.subfigs for axis in part.axes]
    assert len(maps) == 5  # of vit4_assignment: vit16_tiny has four positions, too few
    assert [line.get_label().split("\n")[-1] for line in curve.lines if "patch" in line.get_label()] == ["patch 4"]


def test_a_grid_is_read_as_the_model_reads_it(tables: Path, mnist: Path) -> None:
    figure = drawn("grid_reading", tables, mnist)
    trained = load(tables.parent / "weights/seq2seq_2x2.safetensors")
    digits = prepare(load_mnist(mnist)["test_images"][:8, None], trained.spec["data"])
    expected = trained.model.read(tile(digits.unflatten(0, (2, 4))))
    for row, tokens in zip(np.array(figure.axes).reshape(2, 4), expected.tolist(), strict=True):
        titles = [title.split(",")[0] for axis in row if (title := axis.get_title(loc="left"))]
        assert titles == [spelled(token) for token in tokens[: len(titles)]]
        assert len(titles) == 4 or tokens[len(titles) - 1] in (FINISH, PAD)


def test_always_wrong_shows_what_no_seed_gets_right(mnist: Path, tmp_path: Path) -> None:
    right = np.ones((2, 10_000), dtype=bool)
    right[:, [7, 300]] = False
    right[0, 50] = False  # by one seed alone
    rows = [
        {"experiment": "vit16_tiny", "seed": seed, "items": 10_000, "right": packed(one)}
        for seed, one in enumerate(right)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "correctness.csv", index=False)
    figure = FIGURES["always_wrong"](study(("preset", "full")), tmp_path, mnist)
    assert "n = 2 seeds, 2 images" in figure.subfigs[0].get_suptitle()
    images = load_mnist(mnist)
    shown = [axis for axis in figure.subfigs[0].axes if axis.images]
    assert [axis.get_xlabel() for axis in shown] == [str(int(images["test_labels"][i])) for i in (7, 300)]
    for axis, image in zip(shown, (7, 300), strict=True):
        assert np.array_equal(axis.images[0].get_array(), images["test_images"][image])


@pytest.mark.parametrize("name", ["attention_maps", "position_similarity", "grid_reading"])
def test_without_weights_a_figure_says_so(
    name: str, tmp_path: Path, mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixelpatch.weights.PUBLISHED", tmp_path)  # where there are none
    figure = FIGURES[name](STUDY, tmp_path / "laptop/tables", mnist)
    assert "n = 0" in figure.texts[0].get_text()
