"""Checkpoints: a run that goes on from one ends as if it had never stopped, and any file that is not right is named."""

import copy
import io
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_training import EXPERIMENTS, merge_training, small
from torch import Tensor

from pixelpatch import training
from pixelpatch.checkpoint import State
from pixelpatch.progress import Progress
from pixelpatch.stopping import SIGNALS, Stop, Stopped
from pixelpatch.training import Diverged, train

KEY = {"run": "small seed 0", "spec": {"rate": 0.1}, "seed": 0}


def away(path: Path) -> str:
    """The end of the sentence about a refused file."""
    return f"; it is now {path}.refused, and the run starts from the beginning\n"


class Killed(BaseException):
    """The process is gone: nothing catches this."""


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Call with an epoch in whose middle every run from now on is killed, or with None."""
    step, chosen = Progress.step, [None]

    def dying(self: Progress, epoch: int, losses: list[Tensor]) -> None:
        if epoch == chosen[0] and len(losses) == 2:
            raise Killed
        step(self, epoch, losses)

    monkeypatch.setattr(Progress, "step", dying)
    return lambda epoch: chosen.__setitem__(0, epoch)


def comparable(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key not in ("timing", "provenance")}


def specs() -> dict[str, dict[str, Any]]:
    """All experiments on little data for four epochs, and what they have not: momentum, bfloat16, fixed grids."""
    made = {name: small(name, epochs=4) for name in EXPERIMENTS}
    for name, spec in made.items():
        spec["training"]["batch"] = 64 if name != "pit" else 100
        spec["data"]["limit"]["train"] = 150 if name != "vit4_assignment" else 256
    made["vit4_assignment"] = merge_training(made["vit4_assignment"], learning_rate=0.02)  # the best epoch comes early
    made["momentum"] = merge_training(made["blog_cnn"], momentum=0.9)
    made["bfloat16"] = merge_training(made["vit4_assignment"], precision="bfloat16")
    made["fixed_grids"] = copy.deepcopy(made["seq2seq_2x2"])
    made["fixed_grids"]["data"]["grids"]["fresh"] = False
    return made


@pytest.mark.parametrize("name", list(specs()))
def test_a_run_killed_twice_ends_as_one_that_was_not(
    digits: dict[str, Tensor], tmp_path: Path, kill: Callable[[int | None], None], name: str
) -> None:
    spec, path = specs()[name], tmp_path / "seed3.checkpoint"
    whole = train(spec, 3, digits)
    assert whole["provenance"] == {"interruptions": []}
    for epoch in (2, 4):
        kill(epoch)
        with pytest.raises(Killed):
            train(spec, 3, digits, checkpoint=path)
        kill(None)
        train(small("blog_vit"), 7, digits)  # in between, the process does something else
    torch.rand(17)
    parts = train(spec, 3, digits, checkpoint=path)
    assert comparable(parts) == comparable(whole)
    assert parts["provenance"] == {"interruptions": [1, 3]}
    assert train(spec, 3, digits, checkpoint=path)["provenance"] == {"interruptions": [1, 3, 4]}


@pytest.mark.parametrize("name", list(specs()))
def test_a_run_stopped_in_the_middle_of_epochs_ends_as_one_that_was_not(
    digits: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Stopped at any step, the last of an epoch too, or killed after a save there."""
    spec, path = specs()[name], tmp_path / "seed3.checkpoint"
    whole = train(spec, 3, digits)
    rng, stops = random.Random(name), []
    monkeypatch.setattr(training, "SAVE_SECONDS", 0.0)  # a state after every step
    for _ in range(200):
        stop = Stop()
        monkeypatch.setattr(
            Progress, "step", lambda *_, stop=stop: setattr(stop, "number", rng.choice([None, *SIGNALS]))
        )
        try:
            parts = train(spec, 3, digits, checkpoint=path, stop=stop, name="run")
            break
        except Stopped as stopped:
            stops.append(str(stopped))
        torch.rand(17)
    assert comparable(parts) == comparable(whole)
    assert len(parts["provenance"]["interruptions"]) == len(stops) > 2
    where = r"run: stopped by SIG(INT|TERM|USR1) (at epoch \d, step \d of \d|after epoch \d of 4)"
    assert all(re.fullmatch(where, said) for said in stops)
    assert parts["timing"]["train_seconds"] == pytest.approx(sum(parts["timing"]["epoch_seconds"]))
    assert len(parts["timing"]["epoch_seconds"]) == 4


def test_a_long_epoch_is_saved_within(
    digits: dict[str, Tensor], tmp_path: Path, kill: Callable[[int | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, path = specs()["blog_cnn"], tmp_path / "x.checkpoint"
    whole = train(spec, 0, digits)
    monkeypatch.setattr(training, "SAVE_SECONDS", 0.0)
    kill(2)
    with pytest.raises(Killed):
        train(spec, 0, digits, checkpoint=path)
    kill(None)
    assert len(saved(path)["losses"]) == 1
    assert saved(path)["losses_seconds"] > 0
    parts = train(spec, 0, digits, checkpoint=path)
    assert comparable(parts) == comparable(whole)


def test_results_are_followed_once_they_are_safe(digits: dict[str, Tensor], tmp_path: Path) -> None:
    spec, path, seen = specs()["vit4_assignment"], tmp_path / "x.checkpoint", []

    def follow(epoch: int, results: dict[str, float]) -> None:
        assert len(saved(path)["epoch_seconds"]) == epoch
        seen.append(results)

    result = train(spec, 0, digits, checkpoint=path, follow=follow)
    assert {metric: [results[metric] for results in seen] for metric in seen[0]} == result["curve"]


def test_times_are_sums_over_the_parts_that_count(
    digits: dict[str, Tensor],
    tmp_path: Path,
    kill: Callable[[int | None], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec, path = small("vit16_tiny", epochs=3, batch=64), tmp_path / "x.checkpoint"
    monkeypatch.setattr(training, "peak_memory_mb", lambda device: 500.0)
    kill(3)
    with pytest.raises(Killed):
        train(spec, 0, digits, checkpoint=path)
    first = saved(path)
    assert len(first["epoch_seconds"]) == 2
    assert first["seconds"] >= sum(first["epoch_seconds"])
    for _ in range(2):  # killed twice in the same epoch
        with pytest.raises(Killed):
            train(spec, 0, digits, checkpoint=path)
        again = saved(path)
        assert {key: again[key] for key in ("seconds", "epoch_seconds")} == {
            key: first[key] for key in ("seconds", "epoch_seconds")
        }  # a lost half of an epoch does not count
    kill(None)
    monkeypatch.setattr(training, "peak_memory_mb", lambda device: 400.0)
    result = train(spec, 0, digits, checkpoint=path)
    timing = result["timing"]
    assert timing["epoch_seconds"][:2] == first["epoch_seconds"]
    assert len(timing["epoch_seconds"]) == 3
    assert timing["train_seconds"] == pytest.approx(sum(timing["epoch_seconds"]))
    assert timing["seconds"] > first["seconds"] + timing["epoch_seconds"][2]
    assert timing["images_per_second"] == pytest.approx(3 * 256 / timing["train_seconds"])
    assert timing["peak_memory_mb"] == 500.0
    assert result["provenance"]["interruptions"] == [2, 2, 2]
    assert capsys.readouterr().err.count(f"{path}: going on after epoch 2\n") == 3


def saved(path: Path) -> dict[str, Any]:
    return torch.load(io.BytesIO(path.read_bytes().split(b"\n", 2)[2]), weights_only=True)


def test_without_a_path_nothing_is_written(
    digits: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train(small("vit16_tiny"), 0, digits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "copies"), [("blog_cnn", 1), ("vit16_tiny", 3), ("vit4_assignment", 4)])
def test_a_checkpoint_is_no_larger_than_what_it_holds(
    digits: dict[str, Tensor], tmp_path: Path, name: str, copies: int
) -> None:
    """Weights, with Adam two moments, and the best weights where they are kept; names and generators."""
    spec, path = small(name), tmp_path / "x.checkpoint"
    parameters = train(spec, 0, digits, checkpoint=path)["metrics"]["model/parameters"]
    assert 0 < path.stat().st_size - 4 * copies * parameters < 80_000


def test_parameters_keep_their_memory_format(digits: dict[str, Tensor], tmp_path: Path) -> None:
    """Of the CNN it is channels-last; with another one kernels would round differently."""
    spec, path = small("blog_cnn", momentum=0.9), tmp_path / "x.checkpoint"
    train(spec, 0, digits, checkpoint=path)
    made = state_of(spec)
    made.load(path, training.fingerprint(spec, 0, device="cpu", threads=1, name=""))
    weight = max((p for p in made.model.parameters() if p.dim() == 4), key=Tensor.numel)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    momenta = [tensor for tensor in tensors(made.optimiser.state_dict()) if tensor.shape == weight.shape]
    assert [momentum.stride() for momentum in momenta] == [weight.stride()]


def tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in a state."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors(item)


def state_of(spec: dict[str, Any]) -> State:
    torch.manual_seed(1)
    model = training.build_model(spec["model"], image=28)
    return State(model, training.build_optimiser(model, spec["training"]), torch.Generator().manual_seed(1))


def test_a_run_that_diverges_does_so_again(
    digits: dict[str, Tensor], tmp_path: Path, kill: Callable[[int | None], None]
) -> None:
    spec, path = small("blog_cnn", learning_rate=3e8, batch=100, epochs=50), tmp_path / "x.checkpoint"
    with pytest.raises(Diverged) as once:
        train(spec, 0, digits)
    for _ in range(2):
        with pytest.raises(Diverged) as again:
            train(spec, 0, digits, checkpoint=path)
        assert str(again.value) == str(once.value)


# What tells runs apart


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"seed": 1}, "seed"),
        ({"threads": 2}, "number of threads"),
        ({"name": "vit16_tiny seed 0"}, "run"),
        ({"spec": small("vit16_tiny", learning_rate=0.1)}, "spec"),
    ],
)
def test_a_run_goes_on_only_from_its_own_checkpoint(change: dict[str, Any], part: str) -> None:
    given = {"spec": small("vit16_tiny"), "seed": 0, "device": "cpu", "threads": 1, "name": ""}
    one, other = (training.fingerprint(**options) for options in (given, given | change))
    assert [key for key in one if one[key] != other[key]] == [part]


@pytest.mark.parametrize(
    ("function", "part"),
    [("source_digest", "training code"), ("processor", "device"), ("torch.__version__", "PyTorch version")],
)
def test_what_bits_depend_on_is_part_of_it(monkeypatch: pytest.MonkeyPatch, function: str, part: str) -> None:
    given = {"spec": small("vit16_tiny"), "seed": 0, "device": "cpu", "threads": 1, "name": ""}
    one = training.fingerprint(**given)
    if function == "torch.__version__":
        monkeypatch.setattr(torch, "__version__", "1.0")
    else:
        monkeypatch.setattr(training, function, lambda: "other")
    other = training.fingerprint(**given)
    assert [key for key in one if one[key] != other[key]] == [part]


def test_the_processor_is_named() -> None:
    assert torch.backends.cpu.get_cpu_capability() in training.processor()
    if (cpuinfo := Path("/proc/cpuinfo")).exists() and "model name" in cpuinfo.read_text():
        assert training.processor().split(", ")[0] in cpuinfo.read_text()


def test_a_checkpoint_of_other_code_is_left_aside_by_a_real_run(
    digits: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, path = small("vit16_tiny"), tmp_path / "x.checkpoint"
    whole = train(spec, 0, digits, checkpoint=path)
    monkeypatch.setattr(training, "source_digest", lambda: "0" * 16)
    capsys.readouterr()
    again = train(spec, 0, digits, checkpoint=path)
    assert f"{path} is of another training code{away(path)}" in capsys.readouterr().err
    assert comparable(again) == comparable(whole)
    assert again["provenance"] == {"interruptions": []}
