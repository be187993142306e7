"""The training engine: repeatable to the bit, right against plain PyTorch, clear when a loss is no number."""

import copy
import io
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from pixelpatch import training as module
from pixelpatch.digits import Digits
from pixelpatch.losses import build_loss
from pixelpatch.models import build_model
from pixelpatch.progress import Progress
from pixelpatch.stopping import SIGNALS, Stop, Stopped
from pixelpatch.training import Diverged, backward, build_optimiser, evaluate, train

CONFIG = yaml.safe_load((Path(__file__).parents[1] / "config.yaml").read_text(encoding="utf-8"))
EXPERIMENTS = [name for name, block in CONFIG["experiments"].items() if "extends" not in block]  # with a whole spec


def small(experiment: str, **training: Any) -> dict[str, Any]:
    """A documented spec on a little data, for one epoch unless said otherwise."""
    spec = copy.deepcopy(CONFIG["experiments"][experiment]["spec"])
    spec["data"]["limit"] = {"train": 256, "validation": 40, "test": 50}
    for held_out in ("sample", "validation"):
        if held_out in spec["data"]:
            spec["data"][held_out]["images"] = {"sample": 550, "validation": 60}[held_out]
    if experiment == "pixel_transformer":  # 785 tokens would be slow: the same model on four-pixel patches
        spec["model"] |= {"patch": 4, "width": 32, "depth": 2}
    spec["training"] |= {"epochs": 1, **training}
    return spec


def measured(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key != "timing"}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_same_spec_seed_and_threads_give_the_same_record(experiment: str, digits: dict[str, Tensor]) -> None:
    spec = small(experiment, epochs=2)
    first, second = (measured(train(spec, 3, digits)) for _ in range(2))
    assert first == second
    other = measured(train(spec, 4, digits))
    assert other["curve"] != first["curve"]
    assert all(math.isfinite(value) for value in first["metrics"].values())
    assert len(first["predictions"]) == len(first["labels"]) == (200 if "grids" in spec["data"] else 50)


def test_what_ran_before_in_the_process_does_not_matter(digits: dict[str, Tensor]) -> None:
    spec = small("vit4_assignment")
    alone = measured(train(spec, 0, digits))
    train(small("blog_vit", precision="bfloat16"), 7, digits)
    torch.rand(123)
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    torch.use_deterministic_algorithms(False)
    assert measured(train(spec, 0, digits)) == alone
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cudnn.allow_tf32
    assert torch.are_deterministic_algorithms_enabled()


def test_float32_is_the_precision_by_default_and_tf32_is_it_on_a_cpu(digits: dict[str, Tensor]) -> None:
    plain = measured(train(small("vit4_assignment"), 0, digits))
    for precision in ("float32", "tf32"):
        assert measured(train(small("vit4_assignment", precision=precision), 0, digits)) == plain


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_bfloat16_is_near_float32_and_weights_and_losses_stay_float32(
    digits: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch, experiment: str
) -> None:
    """Without dropout the first epoch's losses differ by rounding alone: a little, and not at all only in a test."""
    seen = []

    def spied(training: dict[str, Any]) -> Callable[[Tensor, Tensor], Tensor]:
        loss = build_loss(training)

        def spy(logits: Tensor, targets: Tensor) -> Tensor:
            value = loss(logits, targets)
            with torch.autocast("cpu", enabled=False):
                full_precision = torch.equal(value, loss(logits, targets))
            seen.append((logits.dtype, value.dtype, full_precision, logits.detach()))
            return value

        return spy

    monkeypatch.setattr(module, "build_loss", spied)
    spec = small(experiment)
    spec["model"] |= {key: 0.0 for key in spec["model"] if "dropout" in key}
    full = train(spec, 0, digits)
    exact = [logits for *_, logits in seen]
    seen.clear()
    brief = train(merge_training(spec, precision="bfloat16"), 0, digits)
    assert {tuple(facts) for *facts, _ in seen} == {(torch.float32, torch.float32, True)}
    rounded = [logits for *_, logits in seen]
    for logits in (rounded[0], rounded[-1]):  # in training and testing alike
        assert torch.equal(logits, logits.bfloat16().float())
    assert not torch.equal(exact[0], rounded[0])
    torch.testing.assert_close(rounded[0], exact[0], rtol=0.05, atol=0.1)
    assert brief["curve"]["train/loss"] == pytest.approx(full["curve"]["train/loss"], rel=0.03)
    assert measured(train(merge_training(spec, precision="bfloat16"), 0, digits)) == measured(brief)


def test_master_weights_are_float32(digits: dict[str, Tensor]) -> None:
    spec = small("vit4_assignment", precision="bfloat16")
    model = build_model(spec["model"], image=28)
    loss = build_loss(spec["training"])
    backward(model, loss, (torch.rand(8, 1, 28, 28),), torch.arange(8), spec["training"])
    assert {(p.dtype, p.grad.dtype) for p in model.parameters()} == {(torch.float32, torch.float32)}


def test_training_learns(digits: dict[str, Tensor]) -> None:
    spec = small("vit4_assignment", epochs=25, learning_rate=0.003)
    del spec["data"]["augmentation"]
    result = train(spec, 0, digits)
    assert result["curve"]["train/loss"][0] > 2 > 0.5 > result["curve"]["train/loss"][-1]
    assert result["metrics"]["test/accuracy"] > 90


def test_the_loop_is_plain_pytorch(digits: dict[str, Tensor]) -> None:
    """Without dropout, the curve is that of a textbook loop over the same batches."""
    spec = small("vit16_tiny", epochs=2)
    curve = train(spec, 5, digits)["curve"]["train/loss"]
    torch.manual_seed(5)
    model = build_model(spec["model"], image=32)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.005)
    images = F.interpolate(digits["train_images"][:256, None].float() / 255, size=32, mode="bilinear")
    labels = digits["train_labels"][:256]
    rng = torch.Generator().manual_seed(2**32 + 5)
    for ours in curve:
        losses = []
        for chosen in torch.randperm(256, generator=rng).split(128):
            loss = F.cross_entropy(model(images[chosen]).softmax(1), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert ours == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_softmax_before_the_loss_bounds_it_as_the_documented_losses_are() -> None:
    logits, target = torch.zeros(1, 10), torch.tensor([4])
    logits[0, 4] = 1000.0
    bound = -math.log(math.e / (math.e + 9))
    assert bound == pytest.approx(1.4612, abs=1e-4)
    with_softmax, without = (build_loss({"softmax_before_loss": first}) for first in (True, False))
    assert float(with_softmax(logits, target)) == pytest.approx(bound, rel=1e-6)
    assert float(without(logits, target)) == pytest.approx(0, abs=1e-6)


def test_microbatches_add_up_to_the_batch_s_gradient() -> None:
    torch.manual_seed(0)
    spec = small("vit16_tiny")
    model = build_model(spec["model"], image=32).double()
    inputs, targets = (torch.rand(37, 1, 32, 32, dtype=torch.float64),), torch.randint(10, (37,))
    loss = build_loss(spec["training"])
    whole = backward(model, loss, inputs, targets, spec["training"])
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    parts = backward(model, loss, inputs, targets, spec["training"] | {"microbatch": 8})
    torch.testing.assert_close(parts, whole)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_microbatches_of_grids(digits: dict[str, Tensor]) -> None:
    spec = small("seq2seq_2x2")
    spec["model"]["dropout"] = 0.0
    whole, parts = (train(s, 0, digits)["curve"]["train/loss"] for s in (spec, merge_training(spec, microbatch=24)))
    assert parts == pytest.approx(whole, rel=1e-4)


def merge_training(spec: dict[str, Any], **change: Any) -> dict[str, Any]:
    return spec | {"training": spec["training"] | change}


@pytest.mark.parametrize(
    ("experiment", "documented"),
    [  # the calls that the write-ups print
        ("pixel_transformer", lambda weights: torch.optim.AdamW(weights, lr=1e-4)),
        ("blog_cnn", lambda weights: torch.optim.SGD(weights, lr=0.01, momentum=0.5)),
        ("blog_vit", lambda weights: torch.optim.SGD(weights, lr=0.01, momentum=0.5)),
        ("seq2seq_2x2", lambda weights: torch.optim.Adam(weights, lr=1e-3)),
        ("vit16_tiny", lambda weights: torch.optim.Adam(weights, lr=0.005)),
        ("vit4_assignment", lambda weights: torch.optim.AdamW(weights, lr=3e-4)),
    ],
)
def test_optimisers_are_the_documented_ones_at_pytorch_s_defaults(
    experiment: str, documented: Callable[[Any], torch.optim.Optimizer]
) -> None:
    training = CONFIG["experiments"][experiment]["spec"]["training"]
    torch.manual_seed(0)
    ours, theirs = torch.nn.Linear(20, 3), torch.nn.Linear(20, 3)
    theirs.load_state_dict(ours.state_dict())
    optimisers = build_optimiser(ours, training), documented(theirs.parameters())
    assert type(optimisers[0]) is type(optimisers[1])
    assert optimisers[0].param_groups[0]["fused"] is True
    for batch in torch.randn(10, 4, 20):
        for model, optimiser in zip((ours, theirs), optimisers, strict=True):
            optimiser.zero_grad()
            model(batch).square().sum().backward()
            optimiser.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


@pytest.mark.parametrize("experiment", ["blog_cnn", "blog_vit", "seq2seq_2x2"])
def test_tested_every_epoch_a_run_shows_what_shorter_ones_show(experiment: str, digits: dict[str, Tensor]) -> None:
    spec = small(experiment, epochs=3)
    spec["evaluation"]["test_every_epoch"] = True
    result = measured(train(spec, 2, digits))
    assert {metric for metric in result["metrics"] if metric.startswith("test/")} <= result["curve"].keys()
    del spec["evaluation"]["test_every_epoch"]
    for epochs in (1, 2, 3):
        short = measured(train(merge_training(spec, epochs=epochs), 2, digits))
        for metric, values in result["curve"].items():
            assert short["metrics"][metric] == values[epochs - 1], (metric, epochs)
    assert (short["metrics"], short["predictions"]) == (result["metrics"], result["predictions"])


def test_the_strictly_best_validation_checkpoint_is_tested(digits: dict[str, Tensor]) -> None:
    spec = small("vit4_assignment", epochs=6, learning_rate=0.03)
    result = train(spec, 1, digits)
    accuracies = result["curve"]["validation/accuracy"]
    best = accuracies.index(max(accuracies)) + 1
    assert result["metrics"]["validation/best_epoch"] == best
    assert result["metrics"]["validation/accuracy"] == max(accuracies)
    assert best < 6, "choose a rougher learning rate: this test needs a best epoch before the last"
    stopped = train(merge_training(spec, epochs=best), 1, digits)
    assert stopped["predictions"] == result["predictions"]


def test_a_tie_does_not_replace_the_best_and_the_train_loss_is_the_last_epoch_s(
    digits: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of scripted validation accuracies, the second and the third are equal, and the last is low."""
    scripted: list[float] = []

    def evaluate_as_scripted(model: Any, task: Any, split: str, *rest: Any) -> Any:
        scores, read = evaluate(model, task, split, *rest)
        return (scores | {"accuracy": scripted.pop(0)} if split == "validation" else scores), read

    monkeypatch.setattr(module, "evaluate", evaluate_as_scripted)

    def run(*accuracies: float) -> dict[str, Any]:
        scripted[:] = accuracies
        spec = small("vit4_assignment", epochs=len(accuracies), learning_rate=0.003)
        return train(spec, 0, digits)

    result = run(50.0, 60.0, 60.0, 40.0)
    curve, metrics = result["curve"], result["metrics"]
    assert curve["validation/accuracy"] == [50.0, 60.0, 60.0, 40.0]
    assert (metrics["validation/best_epoch"], metrics["validation/accuracy"]) == (2, 60.0)
    # Weights and validation loss are the second epoch's, by runs that end there and one later.
    second, third = run(50.0, 60.0), run(50.0, 60.0, 70.0)
    assert third["metrics"]["validation/best_epoch"] == 3
    for key in ("test/loss", "validation/loss"):
        assert metrics[key] == second["metrics"][key] != third["metrics"][key]
    assert result["predictions"] == second["predictions"]
    assert len(set(curve["train/loss"])) == 4
    assert metrics["train/loss"] == curve["train/loss"][3]


@pytest.mark.parametrize("every", [1, 3, 8, 100])
def test_logged_losses_are_those_of_a_plain_loop(digits: dict[str, Tensor], every: int) -> None:
    """Of eight batches an epoch, the first and every n-th after it, before its step."""
    spec = small("vit16_tiny", epochs=2, batch=32, log_every=every)
    result = train(spec, 5, digits)
    torch.manual_seed(5)
    model = build_model(spec["model"], image=32)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.005)
    images = F.interpolate(digits["train_images"][:256, None].float() / 255, size=32, mode="bilinear")
    labels = digits["train_labels"][:256]
    rng = torch.Generator().manual_seed(2**32 + 5)
    expected = []
    for _ in range(2):
        for step, chosen in enumerate(torch.randperm(256, generator=rng).split(32)):
            loss = F.cross_entropy(model(images[chosen]).softmax(1), labels[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if step % every == 0:
                expected.append(loss.item())
    assert len(expected) == 2 * math.ceil(8 / every)
    assert result["batch_losses"] == pytest.approx(expected, rel=1e-5)
    del spec["training"]["log_every"]
    unlogged = train(spec, 5, digits)
    assert unlogged["batch_losses"] == []
    assert unlogged["curve"] == result["curve"]


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("batch", [16, 25, 40, 1000])
def test_a_loss_is_a_mean_over_images_or_over_batches(digits: dict[str, Tensor], split: str, batch: int) -> None:
    spec = small("pixel_transformer")
    assert spec["evaluation"]["loss_mean"] == "batches"
    torch.manual_seed(0)
    task = Digits(spec["data"], digits, torch.device("cpu"))
    model = build_model(spec["model"], image=28).eval()
    chosen = task.splits[split]
    with torch.no_grad():
        logits = model(chosen.images).double()
    each = [
        float(row.exp().sum().log() - row[label]) for row, label in zip(logits, chosen.labels.tolist(), strict=True)
    ]
    batches = [each[first : first + batch] for first in range(0, len(each), batch)]
    over_images = sum(each) / len(each)
    over_batches = sum(sum(part) / len(part) for part in batches) / len(batches)
    assert len({len(part) for part in batches}) == 1 or over_images != pytest.approx(over_batches, rel=1e-4)
    for mean, expected in (("batches", over_batches), ("images", over_images)):
        asked = spec | {"evaluation": spec["evaluation"] | {"batch": batch, "loss_mean": mean}}
        scores, _ = evaluate(model, task, split, asked, torch.Generator())
        assert scores["loss"] == pytest.approx(expected, rel=1e-5), mean


def test_one_generator_is_the_author_s_script(digits: dict[str, Tensor]) -> None:
    """Seed 42, then the training grids, the weights, and each epoch's order as a DataLoader draws it."""
    spec = small("seq2seq_2x2", epochs=2, one_generator=True, log_every=1)
    result = train(spec, 0, digits)

    torch.manual_seed(42)
    grids = torch.stack([torch.randint(600, (4,)) for _ in range(256)])
    model = build_model(spec["model"], image=56)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    images = (digits["train_images"].float() / 255 - 0.1307) / 0.3081
    losses = []
    for _ in range(2):
        for chosen in DataLoader(range(256), batch_size=64, shuffle=True):
            top_left, top_right, bottom_left, bottom_right = images[grids[chosen]].unbind(1)
            rows = torch.cat([top_left, top_right], dim=2), torch.cat([bottom_left, bottom_right], dim=2)
            labels = digits["train_labels"][grids[chosen]]
            tokens = torch.cat([torch.full((64, 1), 10), labels, torch.full((64, 1), 11)], dim=1)
            logits = model(torch.cat(rows, dim=1).unsqueeze(1), tokens[:, :-1])
            loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    assert result["batch_losses"] == pytest.approx(losses, rel=1e-5)


def test_one_generator_leaves_the_run_s_seed_no_part_and_goes_on_within_an_epoch(
    digits: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def results(seed: int, **options: Any) -> dict[str, Any]:
        spec = small("seq2seq_2x2", epochs=2, one_generator=True, log_every=1)
        made = measured(train(spec, seed, digits, **options))
        assert made["provenance"].pop("interruptions") == ([0, 1] if options else [])
        return made

    whole = results(3)
    assert results(4) == whole
    path, step = tmp_path / "x.checkpoint", Progress.step
    for epoch, steps in ((1, 3), (2, 1)):  # stopped in the middle of both epochs
        stop = Stop()

        def stopping(
            self: Progress, at: int, losses: list[Tensor], *, stop: Stop = stop, where: Any = (epoch, steps)
        ) -> None:
            step(self, at, losses)
            if (at, len(losses)) == where:
                stop.number = SIGNALS[0]

        monkeypatch.setattr(Progress, "step", stopping)
        with pytest.raises(Stopped, match=f"at epoch {epoch}, step {steps} of 4"):
            train(
                small("seq2seq_2x2", epochs=2, one_generator=True, log_every=1), 3, digits, checkpoint=path, stop=stop
            )
        torch.rand(17)
    assert results(3, checkpoint=path) == whole


def test_a_fused_optimiser_that_is_refused_is_done_without(
    digits: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Refusing(torch.optim.Adam):
        def __init__(self, *given: Any, fused: bool | None = None, **named: Any) -> None:
            if fused:
                raise RuntimeError("fused is not for this device")
            super().__init__(*given, **named)

    spec = small("vit16_tiny", epochs=3)
    fused = train(spec, 0, digits)
    assert "lost" not in fused["provenance"]
    monkeypatch.setitem(module.OPTIMISERS, "adam", Refusing)
    capsys.readouterr()
    plain = train(spec, 0, digits)
    assert plain["provenance"]["lost"] == ["fused optimiser"]
    assert capsys.readouterr().err.splitlines()[0] == "training without: fused optimiser"
    assert plain["curve"]["train/loss"] == pytest.approx(fused["curve"]["train/loss"], rel=1e-4)


def test_a_loss_that_is_no_number_ends_the_run_where_it_began(digits: dict[str, Tensor]) -> None:
    with pytest.raises(Diverged, match=r"The loss became (nan|inf) at epoch 1, step [23] of 8; a lower training"):
        train(small("blog_cnn", learning_rate=1e20), 0, digits)


@pytest.mark.parametrize("experiment", ["blog_cnn", "vit4_assignment"])
def test_so_does_one_that_the_very_last_step_made(digits: dict[str, Tensor], experiment: str) -> None:
    split = "validation" if experiment == "vit4_assignment" else "test"
    with pytest.raises(Diverged, match=f"The loss on the {split} images is (nan|inf); a lower training"):
        train(small(experiment, learning_rate=1e30, batch=400, drop_last=False), 0, digits)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_one_weight_that_is_no_number_ends_the_run(
    digits: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch, experiment: str
) -> None:
    """Whichever operations a model is made of, none may hide it."""

    def spoilt(*arguments: Any, **options: Any) -> torch.nn.Module:
        model = build_model(*arguments, **options)
        torch.nn.init.constant_(next(p for p in model.parameters() if p.dim() > 1 and p.requires_grad), math.nan)
        return model

    monkeypatch.setattr(module, "build_model", spoilt)
    with pytest.raises(Diverged, match="The loss became nan at epoch 1, step 1"):
        train(small(experiment), 0, digits)


def test_test_scores_are_those_of_the_predictions(digits: dict[str, Tensor]) -> None:
    result = train(small("blog_vit"), 0, digits)
    right = sum(a == b for a, b in zip(result["predictions"], result["labels"], strict=True))
    assert result["metrics"]["test/correct"] == right
    assert result["metrics"]["test/accuracy"] == pytest.approx(100 * right / 50)
    assert result["labels"] == "".join(map(str, digits["test_labels"][:50].tolist()))
    grids = train(small("seq2seq_2x2"), 0, digits)
    pairs = list(zip(grids["predictions"], grids["labels"], strict=True))
    assert grids["metrics"]["test/digit_accuracy"] == pytest.approx(100 * sum(a == b for a, b in pairs) / 200)
    rows = [pairs[i : i + 4] for i in range(0, 200, 4)]
    whole = sum(all(a == b for a, b in row) for row in rows)
    assert grids["metrics"]["test/sequence_accuracy"] == pytest.approx(100 * whole / 50)


def test_evaluation_order_matters_only_where_attention_mixes_the_batch(digits: dict[str, Tensor]) -> None:
    for experiment, mixes in (("blog_vit", True), ("vit4_assignment", False)):
        spec = small(experiment)
        torch.manual_seed(0)
        task = Digits(spec["data"], digits, torch.device("cpu"))
        model = build_model(spec["model"], image=28)
        losses = []
        for seed in (0, 1):
            shuffled = spec | {"evaluation": {"batch": 16, "order": "shuffled", "checkpoint": "last"}}
            scores, (predictions, labels) = evaluate(model, task, "test", shuffled, torch.Generator().manual_seed(seed))
            assert torch.equal(labels, task.splits["test"].labels)
            assert scores["correct"] == int((predictions == labels).sum())
            losses.append(scores["loss"])
        assert (abs(losses[0] - losses[1]) > 1e-6) is mixes


def test_progress_in_a_log_file_is_lines_and_on_a_terminal_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("pixelpatch.progress.LOG_SECONDS", 0.0)
    monkeypatch.setattr("pixelpatch.progress.TERMINAL_SECONDS", 0.0)
    for stream in (io.StringIO(), Terminal()):
        monkeypatch.setattr(sys, "stderr", stream)
        progress = Progress("pixel_transformer seed 0", epochs=2, steps=3, images=300)
        for epoch in (1, 2):
            for step in range(1, 4):
                progress.step(epoch, [torch.tensor(0.5)] * step)
            assert progress.trained() > 0
            progress.epoch(epoch, {"train/loss": 0.4, "validation/accuracy": 91.25})
        text = stream.getvalue()
        assert "epoch 2/2" in text
        assert "validation accuracy 91.25 %" in text
        assert "images/s" in text
        assert text.rstrip().endswith("0:00 left")
        assert text.count("\n") == (2 if stream.isatty() else 8)


def test_progress_after_a_restart_counts_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten epochs of a second each, eight of them done before; evaluation takes another second of each."""
    now = [0.0]
    monkeypatch.setattr("pixelpatch.progress.time.perf_counter", lambda: now[0])
    progress = Progress("pixel_transformer seed 0", epochs=10, steps=4, images=100, finished=32)
    for epoch, left in ((9, "0:02 left"), (10, "0:00 left")):
        for step in range(1, 5):
            now[0] += 0.25
            progress.step(epoch, [torch.tensor(0.5)] * step)
        assert progress.trained() == pytest.approx(1.0)
        now[0] += 1.0
        progress.epoch(epoch, {"train/loss": 0.4})
        said = capsys.readouterr().err
        assert f"epoch {epoch}/10" in said
        assert "100 images/s" in said
        assert left in said
