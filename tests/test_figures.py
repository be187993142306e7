"""Figures: what is drawn is what the tables say, in the right place, readable, and the same bytes every time."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy import stats
from sklearn.metrics import confusion_matrix
from world import CURVE, TITLES, World

from pixelpatch import data, figures
from pixelpatch.errors import UserError
from pixelpatch.figures import FIGURES, caption, confusion, save, style
from pixelpatch.tables import read_table

OF_WEIGHTS = ["attention_maps", "position_similarity", "grid_reading"]  # drawn in test_seen.py
LETTERED = [name for name in FIGURES if name not in ("sample_inputs", *OF_WEIGHTS)]
OF_SYSTEMS = [name for name in LETTERED if name != "patch_sweep"]


@pytest.fixture(autouse=True)
def digits(monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """MNIST's stand-in: images of a few pixels' noise in the upper left, so that a mirror shows."""
    images = torch.zeros(5, 28, 28, dtype=torch.uint8)
    images[:, 2:12, 2:12] = torch.randint(0, 256, (5, 10, 10), generator=torch.Generator().manual_seed(0)).byte()
    labels = torch.tensor([5, 7, 2, 1, 0])
    loaded = {"train_images": images, "train_labels": labels, "test_images": images[1:], "test_labels": labels[1:]}
    monkeypatch.setattr(data, "load_mnist", lambda folder: loaded)
    return images


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("tables"), narrowed=("tiny",))


def words(figure: Figure) -> list[str]:
    """All text that was put on a figure."""
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]


def lines(axis: Any, label: str) -> list[np.ndarray]:
    """The x values of every line on an axis that carries a label."""
    return [np.asarray(line.get_xdata(), dtype=float) for line in axis.lines if line.get_label() == label]


def boxes(figure: Figure) -> tuple[list[str], np.ndarray]:
    """All text that is printed, tick labels included, and where it stands: x0, y0, x1, y1 in pixels."""
    figure.draw_without_rendering()
    ticks = {
        label: low <= tick.get_loc() <= high
        for axes in figure.findobj(Axes)
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for low, high in [sorted(axis.get_view_interval())]
        for label in (tick.label1, tick.label2)
    }
    texts = [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and ticks.get(text, True)
    ]
    return [text.get_text() for text in texts], np.array([text.get_window_extent().extents for text in texts])


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_saved_whole_with_embedded_fonts_and_the_same_bytes_whatever_the_users_settings(
    name: str, tmp_path: Path
) -> None:
    world = World(tmp_path, systems=("pit", "grid"))
    save(world.draw(name), tmp_path / "first" / name)
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"font.size": 20, "lines.linewidth": 7, "pdf.fonttype": 3, "savefig.facecolor": "red"}):
        mine = dict(matplotlib.rcParams)
        save(world.draw(name), tmp_path / "second" / name)
        assert dict(matplotlib.rcParams) == mine
    assert dict(matplotlib.rcParams) == before
    pdf, svg, png = ((tmp_path / "first" / f"{name}.{kind}").read_bytes() for kind in ("pdf", "svg", "png"))
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert b"Software" not in png
    assert b"<svg" in svg
    assert b"<dc:date>" not in svg
    assert (tmp_path / "second" / f"{name}.pdf").read_bytes() == pdf
    assert (tmp_path / "second" / f"{name}.svg").read_bytes() == svg
    assert (tmp_path / "second" / f"{name}.png").read_bytes() == png


def test_a_figure_that_cannot_be_written_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        save(Figure(), tmp_path / "file" / "figure")


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("kind", ["all systems", "one seed, all narrowed"])
def test_no_text_is_cut_off_or_covers_another(name: str, kind: str, world: World, tmp_path: Path) -> None:
    if kind != "all systems":
        world = World(tmp_path, seeds=1, narrowed=tuple(TITLES))
    figure = world.draw(name)
    texts, found = boxes(figure)
    assert not any("\\math" in text for text in texts)  # formulas are printed as they are
    inside = (found[:, :2] >= 0) & (found[:, 2:] <= figure.bbox.size)
    assert [text for text, whole in zip(texts, inside.all(axis=1), strict=True) if not whole] == []
    x0, y0, x1, y1 = found.T
    apart = (x1 - 1 <= x0[:, None]) | (y1 - 1 <= y0[:, None])  # one pixel of touching is no overlap
    overlaps = np.argwhere(np.triu(~(apart | apart.T), k=1))
    assert [(texts[a], texts[b]) for a, b in overlaps] == []


def test_only_figures_of_images_and_models_wait_for_pytorch() -> None:
    names = [name for name in FIGURES if name not in ("sample_inputs", "always_wrong", *OF_WEIGHTS)]
    script = "import importlib, sys; [importlib.import_module(f'pixelpatch.figures.{name}') for name in sys.argv[1:]]"
    script += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script, *names], check=False).returncode == 0


def test_the_figures_are_the_files_with_a_draw_function() -> None:
    """Which is how the workflow finds them."""
    files = Path(figures.__file__).parent.glob("*.py")
    assert {file.stem for file in files if "\ndef draw(" in file.read_text(encoding="utf-8")} == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_a_caption_of_whole_sentences(name: str) -> None:
    text = caption(name)
    assert text.endswith(".")
    assert "\n" not in text
    assert " n" in text or "(n" in text


@pytest.mark.parametrize("name", LETTERED)
def test_every_figure_says_n(name: str, world: World) -> None:
    shown = words(world.draw(name))
    assert any(text.startswith("n = 4") for text in "\n".join(shown).split("\n")) or (
        "n" in shown and shown.count("4") >= len(world.claims) - 3
    )


@pytest.mark.parametrize("name", LETTERED)
def test_a_study_without_a_run_still_has_its_figures(name: str, tmp_path: Path) -> None:
    empty = World(tmp_path, systems=())
    pd.DataFrame(columns=World(tmp_path / "full").claims.columns).to_csv(tmp_path / "claims.csv", index=False)
    figure = empty.draw(name)
    assert "n = 0" in "".join(words(figure))
    save(figure, tmp_path / name)


@pytest.mark.parametrize("name", OF_SYSTEMS)
def test_missing_systems_are_left_out(name: str, tmp_path: Path) -> None:
    shown = " ".join(words(World(tmp_path, seeds=1, systems=("cnn", "tiny")).draw(name)))
    assert TITLES["cnn"] in shown
    assert TITLES["tiny"] in shown
    assert TITLES["pit"] not in shown
    assert TITLES["grid"] not in shown


def test_accuracy_shows_every_seed_the_mean_its_interval_and_the_documented_value(world: World) -> None:
    (axis,) = world.draw("accuracy_by_system").axes
    metrics = {system: "test/digit_accuracy" if system == "grid" else "test/accuracy" for system in TITLES}
    rows = [world.values(system, metric) for system, metric in metrics.items()]
    for drawn, mean, interval, seeds in zip(
        lines(axis, "seeds"), lines(axis, "mean"), lines(axis, "interval"), rows, strict=True
    ):
        assert drawn.tolist() == seeds
        assert mean == pytest.approx([np.mean(seeds)])
        assert interval == pytest.approx(list(stats.ttest_1samp(seeds, 0).confidence_interval(0.9)))
    assert np.concatenate(lines(axis, "documented")) == pytest.approx([95.01, 97.55, 98.43, 93.0])
    # An axis linear in the log of the error rate: a halved error is the same step everywhere.
    steps = np.diff(axis.transData.transform([[x, 0] for x in (80, 90, 95, 97.5)])[:, 0])
    assert steps == pytest.approx([steps[0]] * 3)
    assert steps[0] > 0


def test_accuracy_marks_reduced_budgets_hollow(world: World) -> None:
    (axis,) = world.draw("accuracy_by_system").axes
    means = [line for line in axis.lines if line.get_label() == "mean"]
    assert [line.get_markerfacecolor() == "white" for line in means] == [False, False, False, True]
    assert sum("reduced" in text.get_text() for text in axis.texts) == 1


def test_accuracy_of_one_hundred_percent_stays_on_the_axis(tmp_path: Path) -> None:
    world = World(tmp_path, systems=("cnn",))
    runs = pd.read_csv(tmp_path / "runs.csv")
    runs.loc[(runs.experiment == "cnn") & (runs.metric == "test/accuracy"), "value"] = [100.0, 100.0, 99.0, 100.0]
    runs.to_csv(tmp_path / "runs.csv", index=False)
    (axis,) = world.draw("accuracy_by_system").axes
    low, high = axis.get_xlim()
    for drawn in (*lines(axis, "seeds"), *lines(axis, "mean"), *lines(axis, "interval")):
        assert ((low < drawn) & (drawn < high)).all()


def test_learning_curves_show_every_seed_the_mean_the_range_and_the_documented_curve(world: World) -> None:
    axes = world.draw("learning_curves").axes
    curves = pd.read_csv(world.folder / "curves.csv")
    order = [(s, "train/loss") for s in TITLES] + [(s, "validation/accuracy") for s in ("pit", "tiny")]
    assert len(axes) == len(order)
    for axis, (system, metric) in zip(axes, order, strict=True):
        own = curves[(curves.experiment == system) & (curves.metric == metric)]
        by_epoch = own.groupby("epoch")["value"]
        labelled: Callable[[str], list] = lambda label, axis=axis: [  # noqa: E731
            line.get_ydata().tolist() for line in axis.lines if line.get_label() == label
        ]
        assert labelled("_seed") == own.groupby("seed")["value"].apply(list).tolist()
        assert labelled("mean")[0] == pytest.approx(by_epoch.mean().tolist())
        band = axis.collections[0].get_paths()[0].vertices[:, 1]
        assert (band.min(), band.max()) == pytest.approx((own.value.min(), own.value.max()))
        printed = CURVE.get(system, "") if metric == "train/loss" else ""
        assert labelled("documented") == ([[float(value) for value in printed.split()]] if printed else [])
        assert ("reduced budget" in axis.get_title("left")) == (system == "tiny")


def test_forest_rows_are_differences_from_the_documented_value(world: World) -> None:
    accuracy, loss = world.draw("documented_vs_replicated").axes
    by_name = world.claims.set_index(["system", "claim"])

    def expected(rows: list[tuple[str, str, float]], column: str) -> list[float]:
        return [
            (by_name.loc[(system, claim), column] - float(by_name.loc[(system, claim), "documented"])) * factor
            for system, claim, factor in rows
        ]

    points = [("pit", "test-accuracy", 1.0), ("cnn", "test-correct", 0.01), ("grid", "digit-accuracy", 1.0)]
    percents = [("cnn", "test-loss", 100 / 0.081), ("grid", "final-train-loss", 100 / 0.0101)]
    for axis, rows in ((accuracy, points), (loss, percents)):
        assert np.concatenate(lines(axis, "documented")).tolist() == [0] * len(rows)
        assert np.concatenate(lines(axis, "mean")) == pytest.approx(expected(rows, "replicated_mean"))
        ends = np.array(lines(axis, "interval"))
        assert ends[:, 0] == pytest.approx(expected(rows, "interval_low"))
        assert ends[:, 1] == pytest.approx(expected(rows, "interval_high"))


def test_forest_lists_what_is_not_tested_with_its_reason_and_draws_none_of_it(tmp_path: Path) -> None:
    figure = World(tmp_path, seeds=1, narrowed=tuple(TITLES)).draw("documented_vs_replicated")
    shown = words(figure)
    assert not figure.axes
    assert shown.count("test accuracy") == 2
    assert sum(text.startswith("reduced budget: 1 of 3 epochs") for text in shown) == len(TITLES)
    assert "1292042" not in shown


def test_forest_draws_no_interval_where_there_is_none(tmp_path: Path) -> None:
    accuracy, loss, epoch = World(tmp_path, seeds=1).draw("documented_vs_replicated").axes
    assert [len(lines(axis, "interval")) for axis in (accuracy, loss, epoch)] == [0, 0, 0]
    assert [len(lines(axis, "mean")) for axis in (accuracy, loss, epoch)] == [4, 2, 1]


def test_forest_keeps_rows_of_unlike_scale_apart_on_a_log_axis_that_says_so(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.claims.loc[world.claims.claim == "digit-accuracy", ["replicated_mean", "interval_low"]] = [40.0, 30.0]
    world.claims.to_csv(tmp_path / "claims.csv", index=False)
    accuracy = world.draw("documented_vs_replicated").axes[0]
    assert "log beyond" in accuracy.get_xlabel()
    low, high = accuracy.get_xlim()
    assert low < 30 - 98.43 < 30 - 98.43 + 1 < high


def test_confusion_shares_are_sklearns(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    labels, predicted = rng.integers(0, 10, 3000), rng.integers(0, 10, 3000)
    labels[labels == 4] = 5  # a class that the test set does not have
    table = pd.DataFrame({"label": labels.astype(str), "predicted": predicted.astype(str), "count": 1})
    expected = 100 * confusion_matrix(labels, predicted, labels=range(10), normalize="true")
    expected[4] = np.nan
    np.testing.assert_allclose(confusion.shares(table).to_numpy(), expected)


def test_confusion_shades_errors_only_and_has_a_column_for_what_is_no_digit(world: World) -> None:
    figure = world.draw("confusion")
    for axis, system in zip(figure.axes, TITLES, strict=False):
        shaded = axis.images[0].get_array()
        assert shaded.shape == (10, 11 if system == "grid" else 10)
        assert np.ma.getmaskarray(shaded)[np.arange(10), np.arange(10)].all()
    in_class_3 = 4 * 90 + 9 * (1 + 2 + 3 + 4) + 4 * 5
    assert figure.axes[2].images[0].get_array()[3, 10] == pytest.approx(100 * 4 * 5 / in_class_3)


def test_sample_inputs_show_patches_the_grid_and_mirrored_views(world: World, digits: torch.Tensor) -> None:
    axes = [axis for axis in world.draw("sample_inputs").findobj(Axes) if axis.images]
    shown = [axis.images[0].get_array() for axis in axes]
    assert [len(image) for image in shown] == [28] * 6 + [32, 56] + [28] * 7
    edges = [len(axis.collections[0].get_segments()) for axis in axes]
    assert edges[:8] == [2 * (28 // patch + 1) for patch in (28, 14, 7, 4, 2, 1)] + [6, 10]
    digit = digits[0].numpy() / 255
    for view in shown[8:12]:
        np.testing.assert_allclose(view, digit, atol=1e-6)  # this study's augmentation flips and does not crop
    for view in shown[12:]:
        np.testing.assert_allclose(view, digit[:, ::-1], atol=1e-6)
    np.testing.assert_allclose(shown[7][:28, 28:], digits[2].numpy() / 255, atol=1e-6)


def test_a_systems_look_is_its_own_and_does_not_depend_on_what_ran() -> None:
    study = {"experiments": {f"system_{i}": {} for i in range(63)}}
    looks = style.looks(study)
    assert len(set(looks.values())) == 63
    assert style.DOCUMENTED not in {look.colour for look in looks.values()}
    assert "D" not in {look.marker for look in looks.values()}
    first = list(looks.values())[:7]
    assert len({look.colour for look in first}) == len({look.marker for look in first}) == 7


def test_every_seed_of_a_patch_size_stands_at_its_own_seconds(world: World) -> None:
    figure = world.draw("patch_sweep")
    runs = read_table(world.folder, "runs")
    runs = runs[runs["experiment"].str.startswith("patches-")].pivot(
        index=["experiment", "seed"], columns="metric", values="value"
    )
    points = [
        (x, y)
        for line in figure.axes[2].lines
        if line.get_markersize() < 3
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]
    assert sorted(points) == sorted(zip(runs["timing/train_seconds"], runs["test/accuracy"], strict=True))


def test_a_specification_curve_has_a_column_per_point_in_order_and_a_row_per_number_and_value(world: World) -> None:
    curves = world.draw("specification_curve").subfigs
    table = read_table(world.folder, "specifications")
    for curve, (_, own) in zip(curves, table.groupby("curve", sort=False), strict=True):
        panel, matrix = curve.axes
        means = own[own["claim"] == "accuracy"]["mean"].dropna()
        drawn = [line for line in panel.lines if line.get_marker() != "None"]
        assert [line.get_ydata()[0] for line in drawn] == sorted(means)
        assert [line.get_xdata()[0] for line in drawn] == list(range(len(means)))
        (documented,) = [line for line in panel.lines if line.get_linestyle() == "--"]
        assert set(documented.get_ydata()) == {95.0}
        labels = [label.get_text() for label in matrix.get_yticklabels()]
        assert labels == ["accuracy", "loss", "together", "learning rate: 0.1", "1.0", "epochs: 1", "2", "3"]
        marks = [(*line.get_ydata(), line.get_marker()) for line in matrix.lines if line.get_marker() != "None"]
        of_row = [[marker for y, marker in marks if y == row] for row in range(len(labels))]
        assert [sorted(markers) for markers in of_row[:3]] == [["_"] * 3 + ["o"] * 3 + ["x"]] * 3
        assert [len(markers) for markers in of_row[3:]] == [3, 3, 2, 3, 2]
        assert sum(markers.count("*") for markers in of_row) == 1  # the author's rate is none of the sweep's
