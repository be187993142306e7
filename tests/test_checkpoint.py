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
from pixelpatch.checkpoint import Key, State
from pixelpatch.progress import Progress
from pixelpatch.stopping import SIGNALS, Stop, Stopped
from pixelpatch.training import Diverged, train

KEY = Key(
    run={"run": "small seed 0", "spec": {"rate": 0.1}, "seed": 0},
    machine={"PyTorch version": "2.7", "device": "x86_64", "number of threads": 1},
)
RUN = {"spec": small("vit16_tiny"), "seed": 0, "device": "cpu", "threads": 1, "name": ""}


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
    """All experiments on little data for four epochs, and what they have not: bfloat16, fresh grids, and so on."""
    made = {name: small(name, epochs=4) for name in EXPERIMENTS}
    for name, spec in made.items():
        spec["training"]["batch"] = 64 if name != "pixel_transformer" else 100
        spec["data"]["limit"]["train"] = 150 if name != "vit4_assignment" else 256
    made["vit4_assignment"] = merge_training(made["vit4_assignment"], learning_rate=0.02)  # the best epoch comes early
    made["no_momentum"] = merge_training(made["blog_cnn"], momentum=0.0)
    made["bfloat16"] = merge_training(made["vit4_assignment"], precision="bfloat16")
    made["fresh_grids"] = copy.deepcopy(made["seq2seq_2x2"])
    made["fresh_grids"]["data"]["grids"]["fresh"] = True
    made["one_generator"] = merge_training(made["seq2seq_2x2"], one_generator=True)
    return made


@pytest.mark.parametrize("name", list(specs()))
def test_a_run_killed_twice_ends_as_one_that_was_not(
    digits: dict[str, Tensor], tmp_path: Path, kill: Callable[[int | None], None], name: str
) -> None:
    spec, path = specs()[name], tmp_path / "seed3.checkpoint"
    whole = train(spec, 3, digits)
    assert whole["provenance"]["interruptions"] == []
    assert re.fullmatch("[0-9a-f]{64}", whole["provenance"]["early_digest"])
    for epoch in (2, 4):
        kill(epoch)
        with pytest.raises(Killed):
            train(spec, 3, digits, checkpoint=path)
        kill(None)
        train(small("blog_vit"), 7, digits)  # in between, the process does something else
    torch.rand(17)
    parts = train(spec, 3, digits, checkpoint=path)
    assert comparable(parts) == comparable(whole)
    assert parts["provenance"] == whole["provenance"] | {"interruptions": [1, 3]}
    assert train(spec, 3, digits, checkpoint=path)["provenance"]["interruptions"] == [1, 3, 4]


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
    assert parts["provenance"]["early_digest"] == whole["provenance"]["early_digest"]
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

    def follow(epoch: int, results: dict[str, float], measured: dict[str, Any]) -> None:
        assert len(saved(path)["epoch_seconds"]) == epoch
        seen.append((results, measured))

    result = train(spec, 0, digits, checkpoint=path, follow=follow)
    assert {metric: [results[metric] for results, _ in seen] for metric in seen[0][0]} == result["curve"]
    for epoch, (_, measured) in enumerate(seen, start=1):
        assert measured.keys() == {"curve", "batch_losses", "timing", "provenance"}
        assert measured["curve"] == {metric: values[:epoch] for metric, values in result["curve"].items()}
        assert measured["timing"]["epoch_seconds"] == result["timing"]["epoch_seconds"][:epoch]


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


@pytest.mark.parametrize(("name", "copies"), [("blog_cnn", 2), ("vit16_tiny", 3), ("vit4_assignment", 4)])
def test_a_checkpoint_is_no_larger_than_what_it_holds(
    digits: dict[str, Tensor], tmp_path: Path, name: str, copies: int
) -> None:
    """Weights, a velocity or with Adam two moments, and the best weights where they are kept; names and generators."""
    spec, path = small(name), tmp_path / "x.checkpoint"
    parameters = train(spec, 0, digits, checkpoint=path)["metrics"]["model/parameters"]
    assert 0 < path.stat().st_size - 4 * copies * parameters < 80_000


def test_parameters_keep_their_memory_format(digits: dict[str, Tensor], tmp_path: Path) -> None:
    """Of the CNN it is channels-last; with another one kernels would round differently."""
    spec, path = small("blog_cnn", momentum=0.9), tmp_path / "x.checkpoint"
    train(spec, 0, digits, checkpoint=path)
    made = state_of(spec)
    made.begin(path, training.fingerprint(spec, 0, device="cpu", threads=1, name=""))
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


# What tells runs and machines apart


def differing(one: Key, other: Key) -> list[str]:
    """What differs between two keys: "run.seed"."""
    both = ((part, getattr(one, part), getattr(other, part)) for part in ("run", "machine"))
    return [f"{part}.{name}" for part, mine, theirs in both for name in mine if mine[name] != theirs[name]]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"seed": 1}, "run.seed"),
        ({"threads": 2}, "machine.number of threads"),
        ({"name": "vit16_tiny seed 0"}, "run.run"),
        ({"spec": small("vit16_tiny", learning_rate=0.1)}, "run.spec"),
    ],
)
def test_a_key_tells_runs_from_one_another_and_from_machines(change: dict[str, Any], part: str) -> None:
    assert differing(training.fingerprint(**RUN), training.fingerprint(**RUN | change)) == [part]


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("source_digest", lambda spec, gpu: "0" * 16, "run.training code"),
        ("processor", lambda: "abacus", "machine.device"),
        ("kernels.library", lambda: None, "machine.compiled code"),
        ("torch.__version__", "1.0", "machine.PyTorch version"),
    ],
)
def test_what_bits_depend_on_is_part_of_it(monkeypatch: pytest.MonkeyPatch, name: str, value: Any, part: str) -> None:
    one = training.fingerprint(**RUN)
    monkeypatch.setattr(f"pixelpatch.training.{name}", value)
    assert differing(one, training.fingerprint(**RUN)) == [part]


def test_another_kind_of_device_is_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    one = training.fingerprint(**RUN)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GPU")
    other = training.fingerprint(**RUN | {"device": "cuda"})
    assert differing(one, other) == ["run.training code", "run.kind of device", "machine.device"]


def test_the_processor_is_named() -> None:
    assert torch.backends.cpu.get_cpu_capability() in training.processor()
    if (cpuinfo := Path("/proc/cpuinfo")).exists() and "model name" in cpuinfo.read_text():
        assert training.processor().split(", ")[0] in cpuinfo.read_text()


# A state that moves to another machine


@pytest.fixture
def stopped(
    digits: dict[str, Tensor], tmp_path: Path, kill: Callable[[int | None], None], capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[dict[str, Any], str]]:
    """Trains `RUN` of four epochs until it is killed in the third; call to go on, elsewhere or otherwise.

    Returns the result, and what was said.
    """
    spec, path = small("vit16_tiny", epochs=4, batch=64), tmp_path / "x.checkpoint"
    kill(3)
    with pytest.raises(Killed):
        train(spec, 0, digits, checkpoint=path)
    kill(None)

    def go_on(spec: dict[str, Any] = spec, seed: int = 0, **options: Any) -> tuple[dict[str, Any], str]:
        capsys.readouterr()
        result = train(spec, seed, digits, checkpoint=path, **options)
        torch.set_num_threads(1)  # as all other tests have it
        return result, capsys.readouterr().err

    return go_on


MOVES = [
    ("threads", 2, "number of threads"),
    ("processor", lambda: "abacus", "device"),
    ("torch.__version__", "1.0", "PyTorch version"),
]


def move(monkeypatch: pytest.MonkeyPatch, name: str, value: Any) -> dict[str, Any]:
    """Be on another machine from now on; returns further options of a training there."""
    if name == "threads":
        return {"threads": value}
    monkeypatch.setattr(f"pixelpatch.training.{name}", value)
    return {}


@pytest.mark.parametrize(("name", "value", "part"), MOVES)
def test_a_state_goes_on_on_another_machine_which_is_said_and_recorded(
    stopped: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: Any, part: str
) -> None:
    path = tmp_path / "x.checkpoint"
    here = training.fingerprint(**RUN).machine
    options = move(monkeypatch, name, value)
    there = training.fingerprint(**RUN | options).machine
    result, said = stopped(**options)
    assert f"{path}: going on after epoch 2\n" in said
    assert f"{path}: another {part} trained it so far; the run does not repeat bit for bit\n" in said
    assert result["provenance"]["machines"] == [{"from_epoch": 1} | here, {"from_epoch": 3} | there]
    assert here[part] != there[part]
    assert result["provenance"]["interruptions"] == [2]
    assert len(result["curve"]["train/loss"]) == len(result["timing"]["epoch_seconds"]) == 4
    assert not path.with_name(f"{path.name}.refused").exists()


@pytest.mark.parametrize(("name", "value", "part"), MOVES)
def test_where_it_is_to_be_exact_it_is_set_aside_instead(
    stopped: Any,
    digits: dict[str, Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: Any,
    part: str,
) -> None:
    path = tmp_path / "x.checkpoint"
    options = move(monkeypatch, name, value)
    result, said = stopped(**options, exact=True)
    assert f"{path} is of another {part}{away(path)}" in said
    assert path.with_name(f"{path.name}.refused").exists()
    assert result["provenance"].keys() == {"interruptions", "early_digest"}
    assert result["provenance"]["interruptions"] == []
    alone = train(small("vit16_tiny", epochs=4, batch=64), 0, digits, **options)
    torch.set_num_threads(1)
    assert comparable(result) == comparable(alone)


def test_on_the_same_machine_an_exact_run_goes_on(stopped: Any, digits: dict[str, Tensor]) -> None:
    result, said = stopped(exact=True)
    assert "going on after epoch 2\n" in said
    assert "bit for bit" not in said
    assert comparable(result) == comparable(train(small("vit16_tiny", epochs=4, batch=64), 0, digits))
    assert "machines" not in result["provenance"]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"seed": 1}, "seed"),
        ({"spec": small("vit16_tiny", epochs=5, batch=64)}, "spec"),
        ({"name": "another run"}, "run"),
        ({}, "training code"),
    ],
)
def test_a_state_of_anything_else_is_set_aside_on_any_machine(
    stopped: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    part: str,
    exact: bool,
) -> None:
    path = tmp_path / "x.checkpoint"
    if part == "training code":
        monkeypatch.setattr(training, "source_digest", lambda spec, gpu: "0" * 16)
    monkeypatch.setattr(training, "processor", lambda: "abacus")
    result, said = stopped(**change, exact=exact)
    assert f"{path} is of another {part}{away(path)}" in said
    assert path.with_name(f"{path.name}.refused").exists()
    assert result["provenance"].keys() == {"interruptions", "early_digest"}
    assert result["provenance"]["interruptions"] == []


def test_every_move_is_recorded_once(
    digits: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill: Callable[[int | None], None]
) -> None:
    """There and back, and interrupted on the same machine in between: in the middle of an epoch, that epoch counts."""
    spec, path = small("vit16_tiny", epochs=4, batch=64), tmp_path / "x.checkpoint"
    for epoch, machine in ((2, "one"), (3, "other"), (4, "other")):
        monkeypatch.setattr(training, "processor", lambda machine=machine: machine)
        kill(epoch)
        with pytest.raises(Killed):
            train(spec, 0, digits, checkpoint=path)
    kill(None)
    monkeypatch.setattr(training, "processor", lambda: "one")
    provenance = train(spec, 0, digits, checkpoint=path)["provenance"]
    assert [(part["from_epoch"], part["device"]) for part in provenance["machines"]] == [
        (1, "one"),
        (2, "other"),
        (4, "one"),
    ]
    assert provenance["interruptions"] == [1, 2, 3]


# The digest of the state after the first steps


@pytest.mark.parametrize("step", [3, 19, 20, 21])
@pytest.mark.parametrize("ending", ["stopped", "killed"])
def test_the_early_digest_is_the_same_wherever_a_run_is_interrupted(
    digits: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, ending: str
) -> None:
    """Eight steps an epoch: the twentieth is in the third."""
    spec, path = small("blog_cnn", epochs=4), tmp_path / "x.checkpoint"
    whole = train(spec, 0, digits)
    monkeypatch.setattr(training, "SAVE_SECONDS", 0.0 if ending == "killed" else 600.0)
    stop, steps, advance = Stop(), [], Progress.step

    def count(self: Progress, *arguments: Any) -> None:
        steps.append(1)
        advance(self, *arguments)
        if len(steps) == step and ending == "stopped":
            stop.number = SIGNALS[0]
        elif len(steps) == step + 1 and ending == "killed":  # a state is saved after each step
            raise Killed

    monkeypatch.setattr(Progress, "step", count)
    with pytest.raises(Stopped if ending == "stopped" else Killed):
        train(spec, 0, digits, checkpoint=path, stop=stop)
    assert (saved(path)["early_digest"] is None) == (step < training.EARLY_STEPS)
    parts = train(spec, 0, digits, checkpoint=path)
    assert len(steps) == 32 + (ending == "killed")
    assert comparable(parts) == comparable(whole)
    assert parts["provenance"]["early_digest"] == whole["provenance"]["early_digest"]


def test_the_early_digest_is_that_of_the_state_and_of_the_last_step_of_a_short_run(digits: dict[str, Tensor]) -> None:
    spec = small("blog_cnn", epochs=3)  # of eight steps each
    twenty = merge_training(spec, epochs=4)
    early = {epochs: train(merge_training(spec, epochs=epochs), 0, digits)["provenance"]["early_digest"]
             for epochs in (1, 2, 3, 4)}  # fmt: skip
    assert early[3] == early[4] == train(twenty, 0, digits)["provenance"]["early_digest"]
    assert len(set(early.values())) == 3
    assert train(twenty, 1, digits)["provenance"]["early_digest"] != early[4]


def test_the_digest_of_a_state_sees_weights_and_the_optimiser_s_memory() -> None:
    for spec in (small("blog_cnn"), small("vit4_assignment")):
        state = state_of(spec)
        seen = {state.digest()}
        for parameter in state.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        state.optimiser.step()
        remembered = max(tensors(state.optimiser.state_dict()), key=Tensor.numel)
        for tensor in (remembered, next(state.model.parameters()).data):
            before = state.digest()
            tensor.flatten()[0] += 1e-6
            seen |= {before, state.digest()}
        assert len(seen) == 4


def test_batch_losses_are_those_of_every_so_manieth_step_of_each_epoch(digits: dict[str, Tensor]) -> None:
    spec = small("blog_cnn", epochs=2, log_every=1)
    every = train(spec, 0, digits)
    assert len(every["batch_losses"]) == 16
    for epoch, loss in enumerate(every["curve"]["train/loss"]):
        assert sum(every["batch_losses"][8 * epoch : 8 * epoch + 8]) / 8 == pytest.approx(loss, rel=1e-6)
    third = train(merge_training(spec, log_every=3), 0, digits)
    assert third["batch_losses"] == [every["batch_losses"][step] for step in (0, 3, 6, 8, 11, 14)]
