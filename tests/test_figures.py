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

from pixelpatch import data, figures
from pixelpatch.errors import UserError
from pixelpatch.figures import FIGURES, caption, confusion, save, style

TITLES = {"pit": "Pixel transformer", "cnn": "Blog CNN", "grid": "2×2 grid reader", "tiny": "Tiny ViT for $5 & 50 %"}
CURVE = {"pit": "2.1 1.2 0.7", "tiny": "1.7 1.6 1.5"}
NUMBERS = {  # system: claim: (metric, as printed)
    "pit": {"test-accuracy": ("test/accuracy", "95.01"), "size": ("model/parameters", "1292042")},
    "cnn": {"test-correct": ("test/correct", "9755"), "test-images": ("data/test_images", "10000"),
            "test-loss": ("test/loss", "0.0810")},
    "grid": {"digit-accuracy": ("test/digit_accuracy", "98.43"), "final-train-loss": ("train/loss", "0.0101")},
    "tiny": {"test-accuracy": ("test/accuracy", "93"), "best-epoch": ("validation/best_epoch", "2")},
}  # fmt: skip
ACCURACY = {"pit": 94.8, "cnn": 97.9, "grid": 98.5, "tiny": 92.7}
CLAIM = {"p_value": np.nan, "p_holm": np.nan, "effect_size": np.nan}
LETTERED = [name for name in FIGURES if name != "sample_inputs"]
OF_SYSTEMS = [name for name in LETTERED if name != "patch_sweep"]


class World:
    """A synthetic study: its study.json, its tables in a folder, and shorthands to draw from it."""

    def __init__(self, folder: Path, *, seeds: int = 4, narrowed: tuple[str, ...] = (), systems: Any = TITLES) -> None:
        self.folder, self.n, self.rng = folder, seeds, np.random.default_rng(7)
        self.study = {
            "analysis": {"alpha": 0.1},
            "experiments": {
                system: {
                    "title": title,
                    "spec": {"data": {"augmentation": {"flip": 0.5}} if system == "tiny" else {}},
                    "narrowed": system in narrowed,
                    "narrowing": "1 of 3 epochs; 64 of 60,000 training images, which is less than all of them",
                    "claims": {
                        name: {"text": name, "metric": metric, "documented": printed}
                        for name, (metric, printed) in NUMBERS[system].items()
                    }
                    | (
                        {"curve": {"text": "c", "metric": "train/loss", "curve": CURVE[system]}}
                        if system in CURVE
                        else {}
                    ),
                }
                for system, title in TITLES.items()
            },
        }
        folder.mkdir(parents=True, exist_ok=True)
        runs = [run for system in systems for seed in range(seeds) for run in self.run(system, seed)]
        curves = [point for system in systems for seed in range(seeds) for point in self.curve(system, seed)]
        self.write("curves", curves, "experiment seed narrowed metric epoch value")
        counts = [cell for system in systems for seed in range(seeds) for cell in self.confusion(system, seed)]
        self.write("confusion", counts, "experiment seed label predicted count")
        self.price_oddities(systems, runs)
        self.identify(systems)
        self.compare_patches(systems, runs)
        self.write("runs", runs, "experiment seed narrowed metric value")
        self.claims = pd.DataFrame([row for system in systems for row in self.judged(system, runs)])
        self.claims.to_csv(folder / "claims.csv", index=False)

    def price_oddities(self, systems: Any, runs: list[tuple]) -> None:
        """oddities.csv, with one oddity that is mended, and one that is to be mended, of every system; and the runs."""
        rows = []
        for system in systems:
            metric = "test/digit_accuracy" if system == "grid" else "test/accuracy"
            own = {run[1]: run[4] for run in runs if run[0] == system and run[3] == metric}
            effects = {seed: 2 + 0.1 * seed for seed in own}
            runs += [(f"{system}_mended", seed, False, metric, own[seed] + effects[seed]) for seed in own]
            row = {"system": system, "oddity": f"{system}'s oddity of some length", "instead": "none", "metric": metric}
            row |= {"n_seeds": len(own), "effect_points": np.mean([*effects.values()]), "p_value": 0.01, "p_holm": 0.02}
            row |= {"interval_low": 1.0, "interval_high": 3.5, "finding": "2.15 points more without it"}
            nothing = {key: np.nan for key, value in row.items() if isinstance(value, float)}
            rows += [row | {"experiment": f"{system}_mended"}]
            rows += [row | {"experiment": f"{system}_todo", "n_seeds": 0, "finding": "not run"} | nothing]
        columns = (
            "system experiment oddity instead metric n_seeds effect_points interval_low interval_high p_value p_holm"
        )
        pd.DataFrame(rows, columns=[*columns.split(), "finding"]).to_csv(self.folder / "oddities.csv", index=False)

    def identify(self, systems: Any) -> None:
        """identification.csv: two rates and three epochs, of which the second at the higher rate is identified."""
        rows = []
        for system in systems:
            for rate in (0.1, 1.0):
                member = f"{system}_grid-{rate}"
                settings = {"training.learning_rate": rate}
                self.study["experiments"][member] = {"vary": {"family": f"{system}_grid", "settings": settings}}
                for epoch in (1, 2, 3):
                    likelihood = -abs(epoch - 2) - 5 * (1 - rate)
                    best = likelihood == 0
                    rows.append((system, member, epoch, system, "loss", 0.1 / epoch, self.n, likelihood, best, best))
        columns = "question experiment epochs system claim mean n_seeds log_likelihood compatible identified"
        self.write("identification", rows, columns)

    def compare_patches(self, systems: Any, runs: list[tuple]) -> None:
        """patch_sweep.csv: two patch sizes and a CNN, with two sizes of training set; and the runs."""
        rows = []
        for images in (1000, 4000) if systems else ():
            for patch, flops in ((28, 0.1), (4, 2.0), (np.nan, 1.0)):
                own = [80 + images / 1000 + self.rng.normal(0, 0.1) for _ in range(self.n)]
                name = f"patches-{images}-{patch}"
                runs += [(name, seed, False, "test/accuracy", value) for seed, value in enumerate(own)]
                costs = flops, 10 * flops
                rows.append((name, images, patch, self.n, np.mean(own), max(own, default=0), *costs, patch == 4))
        columns = "experiment train_images patch n_seeds test_mean test_max tera_flops seconds best"
        self.write("patch_sweep", rows, columns)

    def write(self, name: str, rows: list[tuple], columns: str) -> None:
        pd.DataFrame(rows, columns=columns.split()).to_csv(self.folder / f"{name}.csv", index=False)

    def narrowed(self, system: str) -> bool:
        return self.study["experiments"][system]["narrowed"]

    def run(self, system: str, seed: int) -> list[tuple]:
        accuracy = 11.0 if self.narrowed(system) else ACCURACY[system]
        accuracy += self.rng.normal(0, 0.1)
        metrics = {"test/accuracy": accuracy, "test/correct": 100 * accuracy, "validation/best_epoch": 1 + seed % 3}
        if system == "grid":
            metrics = {"test/digit_accuracy": accuracy}
        metrics |= {"test/loss": self.rng.uniform(0.07, 0.09), "train/loss": self.rng.uniform(0.01, 0.02)}
        return [(system, seed, self.narrowed(system), *pair) for pair in metrics.items()]

    def curve(self, system: str, seed: int) -> list[tuple]:
        epochs = 1 if self.narrowed(system) else 3
        values = {"train/loss": [2.0, 1.0, 0.01][:epochs], "other/metric": [1.0] * epochs}
        if system in ("pit", "tiny"):
            values["validation/accuracy"] = [50.0, 80.0, 90.0][:epochs]
        return [
            (system, seed, self.narrowed(system), metric, epoch, value * self.rng.uniform(0.9, 1.1))
            for metric, curve in values.items()
            for epoch, value in enumerate(curve, start=1)
        ]

    def confusion(self, system: str, seed: int) -> list[tuple]:
        cells = [(label, str(guess), 90 if label == guess else seed + 1) for label in range(10) for guess in range(10)]
        return [(system, seed, *cell) for cell in [*cells, *[(3, "other", 5)] * (system == "grid")]]

    def judged(self, system: str, runs: list[tuple]) -> list[dict]:
        """Rows of claims.csv, the interval a plain ±3 standard deviations: figures draw it, they do not compute it."""
        rows = []
        for name, (metric, printed) in NUMBERS[system].items():
            values = [run[4] for run in runs if run[0] == system and run[3] == metric] or [float(printed)]
            mean, std = np.mean(values), np.std(values, ddof=1) if len(values) > 1 else np.nan
            tested = not self.narrowed(system)
            rows.append(
                {"system": system, "claim": name, "text": name, "kind": "number", "metric": metric,
                 "documented": printed, "replicated_mean": mean, "replicated_std": std, "n_seeds": self.n,
                 "interval_low": mean - 3 * std if tested else np.nan,
                 "interval_high": mean + 3 * std if tested else np.nan,
                 "verdict": ("higher" if name == "test-loss" else "undecided") if tested else "not tested",
                 "note": "" if tested else "reduced budget: " + self.study["experiments"][system]["narrowing"]} | CLAIM
            )  # fmt: skip
        return rows

    def values(self, system: str, metric: str) -> list[float]:
        runs = pd.read_csv(self.folder / "runs.csv")
        return runs[(runs.experiment == system) & (runs.metric == metric)].sort_values("seed")["value"].tolist()

    def draw(self, name: str) -> Figure:
        return FIGURES[name](self.study, self.folder, self.folder)


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
    pdf, png = ((tmp_path / "first" / f"{name}.{kind}").read_bytes() for kind in ("pdf", "png"))
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert b"Software" not in png
    assert (tmp_path / "second" / f"{name}.pdf").read_bytes() == pdf
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


def test_only_the_figure_of_images_waits_for_pytorch() -> None:
    names = [name for name in FIGURES if name != "sample_inputs"]
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
