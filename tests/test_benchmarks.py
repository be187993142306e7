"""The benchmark compares like with like: its baselines are the same models, losses, optimisers and images as ours."""

import copy
import itertools
import json
import math
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import baselines
import memory
import numpy as np
import pandas as pd
import pytest
import torch
import training as benchmark
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from test_dropout_sites import SITES, sites
from torch import Tensor, nn

from pixelpatch import training
from pixelpatch.checks import image_side, split_sizes
from pixelpatch.data import prepare
from pixelpatch.losses import build_loss
from pixelpatch.models import build_model
from pixelpatch.record import FORMAT, write_record

SPECS = benchmark.read_specs()
PUBLISHED = Path(__file__).parents[1] / "results/benchmark"
systems = pytest.mark.parametrize("system", benchmark.SYSTEMS)


@pytest.fixture
def folder(digits: dict[str, Tensor], tmp_path: Path) -> Path:
    """The stand-in for MNIST as raw IDX files."""
    for name, file in (("train", "train"), ("test", "t10k")):
        images, labels = digits[f"{name}_images"].numpy(), digits[f"{name}_labels"].numpy().astype(np.uint8)
        header = np.array([2051, *images.shape], ">i4").tobytes()
        (tmp_path / f"{file}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = np.array([2049, len(labels)], ">i4").tobytes()
        (tmp_path / f"{file}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    return tmp_path


@pytest.fixture
def small(system: str) -> dict[str, Any]:
    """The system's spec for the stand-in's 600 images."""
    spec = copy.deepcopy(SPECS[system])
    data, training = spec["data"], spec["training"]
    if "validation" in data:
        data["validation"]["images"] = 100
    if "sample" in data:
        data["sample"]["images"] = 111
    if "grids" in data:
        data["grids"] |= {"train": 100, "test": 4}
    training["batch"] = min(training["batch"], 50)
    return spec


def without_dropout(spec: dict[str, Any]) -> dict[str, Any]:
    """The spec with every dropout rate at 0, so that a training step is a function of its batch alone."""
    rates = {key: 0.0 for key in spec["model"] if "dropout" in key}
    return spec | {"model": spec["model"] | rates}


def in_order(model: nn.Module) -> list[list[nn.Parameter]]:
    """The trained parameters; those of two layers for queries and for keys and values are one.

    All models define their parts in the order of use, but for the embedding of tokens, which goes last here.
    """
    groups: dict[str, list[nn.Parameter]] = {}
    for name, parameter in sorted(model.named_parameters(), key=lambda named: "tokens." in named[0]):
        if parameter.requires_grad:
            groups.setdefault(re.sub(r"\.(q|kv)\.", ".qkv.", name), []).append(parameter)
    return list(groups.values())


def joined(tensors: list[Tensor], like: Tensor) -> Tensor:
    """As our one tensor: a convolution's [D, 1, P, P] is a Linear's [D, P·P]."""
    return torch.cat(tensors).view(like.shape)


def twins(system: str, spec: dict[str, Any]) -> tuple[nn.Module, nn.Module, list[tuple[list[Tensor], Tensor]]]:
    """The baseline's model and ours with its weights, and their parameters in pairs."""
    theirs, ours = baselines.build_model(system, spec), build_model(spec["model"], image=image_side(spec["data"]))
    pairs = [(baseline, parameter) for baseline, (parameter,) in zip(in_order(theirs), in_order(ours), strict=True)]
    with torch.no_grad():
        for baseline, parameter in pairs:
            parameter.copy_(joined(baseline, parameter))
        if system == "blog_vit":
            ours.class_token.copy_(theirs.class_token)
    return theirs, ours, pairs


def batch_of(system: str) -> tuple[list[Tensor], tuple[Tensor, ...], Tensor]:
    """A batch as the baseline's loader gives it; ours' inputs and targets of the same."""
    count = 2 if system == "pixel_transformer" else 6
    side = image_side(SPECS[system]["data"])
    images = torch.rand(count, 1, side, side)
    if system != "seq2seq_2x2":
        labels = torch.randint(10, (count,))
        return [images, labels], (images,), labels
    start, finish = torch.full((count, 1), baselines.START), torch.full((count, 1), baselines.FINISH)
    tokens = torch.cat([start, torch.randint(10, (count, 4)), finish], dim=1)
    return [images, tokens], (images, tokens[:, :-1]), tokens[:, 1:]


@systems
def test_a_baseline_is_the_same_function_as_ours(system: str) -> None:
    torch.manual_seed(0)
    theirs, ours, _ = twins(system, SPECS[system])
    (images, tokens), inputs, _ = batch_of(system)
    their_inputs = (images, tokens[:, :-1]) if len(inputs) == 2 else (images,)
    with torch.no_grad():
        logits = theirs.eval()(*their_inputs), ours.eval()(*inputs)
    # Two of them end in a log-softmax, which ours leaves to the loss.
    torch.testing.assert_close(*(x.log_softmax(dim=-1) for x in logits), rtol=1e-4, atol=1e-5)


@systems
def test_a_baseline_has_the_same_loss_and_gradient_as_ours(system: str) -> None:
    torch.manual_seed(1)
    spec = without_dropout(SPECS[system])
    theirs, ours, pairs = twins(system, spec)
    batch, inputs, targets = batch_of(system)
    loss = baselines.LOSSES.get(system, baselines.classification_loss)(theirs.train(), batch)
    loss.backward()
    ours_loss = training.backward(ours.train(), build_loss(spec["training"]), inputs, targets, spec["training"])
    torch.testing.assert_close(ours_loss, loss.detach())
    gradients = [joined([part.grad for part in baseline], parameter) for baseline, parameter in pairs]
    largest = max(float(gradient.abs().max()) for gradient in gradients)
    for gradient, (_, parameter) in zip(gradients, pairs, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-5 * max(largest, 1))


@systems
def test_a_baseline_has_the_same_optimiser_as_ours(system: str) -> None:
    """Both change the same weights, with the same gradients, by the same steps."""
    torch.manual_seed(0)
    start, gradients = torch.randn(3, 4), torch.randn(10, 3, 4)
    ends = []
    for build in (baselines.build_optimiser, training.build_optimiser):
        layer = nn.Linear(4, 3, bias=False)
        layer.weight.data.copy_(start)
        optimiser = build(layer, SPECS[system]["training"])
        for gradient in gradients:
            layer.weight.grad = gradient.clone()
            optimiser.step()
        ends.append(layer.weight.detach())
    torch.testing.assert_close(*ends)


@systems
def test_a_baseline_drops_where_and_as_much_as_the_write_up_says(system: str) -> None:
    model = baselines.build_model(system, SPECS[system]).train()
    _, inputs, _ = batch_of(system)
    assert sites(model, inputs) == SITES[system]


@pytest.mark.parametrize("system", ["blog_cnn", "blog_vit", "vit16_tiny", "vit4_assignment"])
def test_a_baseline_reads_the_images_that_ours_does(
    system: str, small: dict[str, Any], folder: Path, digits: dict[str, Tensor]
) -> None:
    small["data"].pop("validation", None)  # which images are held out is each side's own draw
    if augmentation := small["data"].get("augmentation"):
        augmentation |= {"flip": 0.0, "crop": {"scale": [1.0, 1.0], "ratio": [1.0, 1.0]}}
        small["data"]["validation"] = {"images": 0}
    data = baselines.build_dataset(system, small, folder)
    order = getattr(data, "indices", range(len(data)))
    images, labels = zip(*(data[i] for i in range(8)), strict=True)
    chosen = torch.tensor([order[i] for i in range(8)])
    expected = prepare(digits["train_images"][chosen].unsqueeze(1), small["data"])
    rounding = 1.01 / 255 if system == "vit16_tiny" else 0.0  # Pillow resizes to whole grey levels, rows, then columns
    torch.testing.assert_close(torch.stack(images), expected, rtol=0, atol=rounding + 1e-5)
    assert list(labels) == digits["train_labels"][chosen].tolist()


def test_the_rows_of_the_pixel_transformer_are_images(folder: Path, digits: dict[str, Tensor]) -> None:
    image, label = baselines.Rows(folder, images=20)[7]
    torch.testing.assert_close(image, digits["train_images"][7:8].float() / 255)
    assert label == digits["train_labels"][7]


def test_a_grid_shows_the_digits_of_its_tokens(folder: Path, digits: dict[str, Tensor]) -> None:
    grids = baselines.Grids(folder, grids=5, seed=1)
    grid, tokens = grids[0]
    assert all(map(torch.equal, grids[0], (grid, tokens)))  # drawn once
    start, *labels, finish = tokens.tolist()
    assert (start, finish) == (baselines.START, baselines.FINISH)
    normalised = prepare(digits["train_images"].unsqueeze(1), {"standardise": True})
    for quarter, label in zip(itertools.product((0, 28), repeat=2), labels, strict=True):
        row, column = quarter
        shown = grid[:, row : row + 28, column : column + 28]
        same = (normalised - shown).abs().amax(dim=(1, 2, 3)) < 1e-5
        assert digits["train_labels"][same].tolist() == [label]


@systems
@pytest.mark.filterwarnings("ignore")  # Lightning's own
def test_a_baseline_trains(system: str, small: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if system == "vit4_assignment" and find_spec("lightning") is None:
        pytest.skip("lightning is not installed; `make benchmark` installs it")
    built = []
    build = baselines.build_model
    monkeypatch.setattr(baselines, "build_model", lambda *given: built.append(build(*given)) or built[0])
    torch.manual_seed(0)
    before = [p.clone() for p in build(system, small).parameters()]
    watch = baselines.Stopwatch(skip=1, seconds=0.0)
    if system == "pixel_transformer":
        small["training"]["batch"] = 2  # in two parts, one image each
    torch.manual_seed(0)
    batch = 1 if system == "pixel_transformer" else small["training"]["batch"]
    baselines.fit(system, small, folder, watch, workers=0, batch=batch, device="cpu")
    assert (watch.steps, watch.images) == (2, batch)
    changed = [not torch.equal(a, b) for a, b in zip(before, built[0].parameters(), strict=True)]
    assert sum(changed) > len(changed) / 2


def test_a_stopwatch_leaves_the_warm_up_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(100.0, 2.0)  # two seconds a step
    monkeypatch.setattr(baselines.time, "perf_counter", lambda: next(clock))
    watch = baselines.Stopwatch(skip=3, seconds=5.0)
    assert [watch.step(10) for _ in range(6)] == [False, False, False, False, False, True]
    assert (watch.images, watch.elapsed) == (30, 6.0)


@given(st.lists(st.tuples(st.floats(0.1, 1e4), st.floats(0.1, 1e4)), min_size=2, max_size=8))
def test_the_ratio_has_students_interval(rates: list[tuple[float, float]]) -> None:
    baseline, ours = zip(*rates, strict=True)
    found = benchmark.ratio(baseline, ours)
    logs = np.log(ours) - np.log(baseline)
    assert found["ratio"] == pytest.approx(stats.gmean(ours) / stats.gmean(baseline))
    if logs.std() > 1e-6:
        interval = stats.ttest_1samp(logs, 0.0).confidence_interval(0.95)
        assert (found["ratio_low"], found["ratio_high"]) == pytest.approx(tuple(np.exp(interval)))


def test_a_single_round_has_no_interval() -> None:
    found = benchmark.ratio([2.0], [6.0])
    assert found["ratio"] == pytest.approx(3)
    assert math.isnan(found["ratio_low"])


@systems
@given(images=st.integers(1, 200_000))
def test_a_reduced_run_trains_on_about_as_many_images_as_asked(system: str, images: int) -> None:
    spec = SPECS[system]
    limit = benchmark.reduced(spec, images)["data"]["limit"]["train"]
    batch, whole = spec["training"]["batch"], split_sizes(spec["data"])["train"]
    assert 0 < limit <= whole
    assert limit % batch == 0 or limit == images < batch
    assert abs(limit - min(images, whole)) < batch


def test_a_measurement_of_ours_counts_all_runs_by_the_slowest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seconds = {"0": [50.0, 1.0, 2.0], "1": [1.0, 2.0, 2.0]}  # the first epoch is the warm-up

    def run(command: list[str]) -> str:
        option = dict(itertools.pairwise(command))
        spec = json.loads(option["--spec"])
        parts = {"metrics": {}, "curve": {}, "predictions": "", "labels": "", "provenance": {}}
        timing = {"epoch_seconds": seconds[option["--seed"]]}
        parts |= {"epochs": 3, "batch_losses": []}
        record = {"format": FORMAT, "experiment": "blog_cnn", "seed": 0, "spec": spec, "timing": timing, **parts}
        write_record(Path(option["--record"]), record)
        return ""

    monkeypatch.setattr(benchmark, "_output", run)
    place = benchmark.Place(tmp_path, "cpu", 2)
    rate = benchmark.measure_ours("blog_cnn", SPECS["blog_cnn"], benchmark.Ours(2, 1), place, images=320)
    assert rate == 2 * 2 * 320 / 4.0


def test_flops_of_the_cnn_are_those_of_its_layers() -> None:
    forward = 2 * (26**2 * 32 * 9 + 24**2 * 64 * 32 * 9 + 9216 * 128 + 128 * 10)
    first = 2 * 26**2 * 32 * 9  # no gradient of the images
    assert benchmark.flops_per_image(SPECS["blog_cnn"]) == 3 * forward - first


def test_flops_of_the_pixel_transformer_are_those_of_its_layers() -> None:
    tokens, width, hidden, depth = 785, 128, 512, 6
    per_token = 2 * width * (4 * width + 2 * hidden)
    attention = 2 * 2 * tokens * width  # of one query
    last = tokens * 2 * 2 * width * width + 2 * width * (2 * width + 2 * hidden) + attention  # the class token alone
    blocks = (depth - 1) * tokens * (per_token + attention) + last
    ends = 2 * 784 * width + 2 * width * 10
    expected = 3 * (blocks + ends) - 2 * 784 * width
    assert benchmark.flops_per_image(SPECS["pixel_transformer"]) == pytest.approx(expected, rel=1e-3)


def test_the_peak_of_a_matrix_product_is_that_of_a_processor() -> None:
    assert 1e8 < benchmark.matrix_peak("cpu", seconds=0.2) < 1e13


def test_peak_memory_is_that_of_a_step(digits: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(memory, "load_mnist", lambda folder: digits)
    monkeypatch.setattr(memory, "training_step", lambda *given: (lambda inputs, targets: seen.append(len(targets)), []))
    monkeypatch.setattr(memory, "evaluate", lambda model, task, split, *rest: seen.append(len(task.splits[split])))
    memory.one_step(SPECS["vit4_assignment"] | {"data": {"standardise": True}}, Path(), "cpu")
    assert seen == [128, 200]  # a whole batch; the stand-in's test images are fewer than an evaluation's batch


def table(rows: int = 3) -> pd.DataFrame:
    measured = [
        {"system": system, "round": number, "baseline": 10.0, "ours": 10.0 * (index + 3) * (1 + number / 50)}
        for index, system in enumerate(benchmark.SYSTEMS[:rows])
        for number in (1, 2, 3)
    ]
    summaries = []
    for system in benchmark.SYSTEMS[:rows]:
        rates = [(row["baseline"], row["ours"]) for row in measured if row["system"] == system]
        speeds = {"baseline_images_per_second": 10.0, "images_per_second": stats.gmean([ours for _, ours in rates])}
        where = {"rounds": 3, "machine": "a processor, 2 cores", "torch": "2.0"}
        summaries.append({"system": system, **speeds, **benchmark.ratio(*zip(*rates, strict=True)), **where})
    return pd.DataFrame([*summaries, benchmark.overall(summaries, measured)])


def test_the_last_row_is_the_geometric_mean_over_systems() -> None:
    *rows, mean = table().to_dict("records")
    assert mean["ratio"] == pytest.approx(stats.gmean([row["ratio"] for row in rows]))
    assert mean["ratio_low"] < mean["ratio"] < mean["ratio_high"]


def test_the_figure_shows_every_row() -> None:
    drawn = benchmark.draw(table())
    (axis,) = drawn.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == [*benchmark.SYSTEMS[:3], benchmark.MEAN]
    points = [line.get_xdata()[0] for line in axis.lines if line.get_marker() in ("o", "D")]
    assert points == pytest.approx(list(table()["ratio"]))
    low, high = axis.get_xlim()
    assert low < 1 < max(points) < high


@pytest.mark.skipif(not (PUBLISHED / "training.csv").exists(), reason="no benchmark is published yet")
def test_the_published_table_is_that_of_its_rounds() -> None:
    published, rounds = (pd.read_csv(PUBLISHED / f"{name}.csv") for name in ("training", "rounds"))
    measured = ["pit" if name == "pixel_transformer" else name for name in benchmark.SYSTEMS]  # its former name
    assert list(published["system"]) == [*measured, benchmark.MEAN]
    for row in published.iloc[:-1].to_dict("records"):
        own = rounds[rounds["system"] == row["system"]]
        for name, value in benchmark.ratio(own["baseline"].tolist(), own["ours"].tolist()).items():
            assert row[name] == pytest.approx(value, rel=1e-3)
