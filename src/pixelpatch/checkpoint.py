"""A run's whole state between two steps, in one file that is right or is recognised as not.

The file is a line with the format and the SHA-256 of all that follows; a line of JSON that says which run it is of, and
on what machine it was trained; and the state as PyTorch saves it.
"""

import hashlib
import io
import json
import os
import pickle
import sys
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from pixelpatch.errors import UserError
from pixelpatch.files import canonical_json, write_atomically

FORMAT = 3
KIND = "pixelpatch checkpoint"


@dataclass(frozen=True)
class Key:
    """Whose state a file holds.

    `run` tells it from the states of other runs and other code. `machine` is what else its bits depend on: a state from
    another one goes on, but does not repeat bit for bit.
    """

    run: dict[str, Any]
    machine: dict[str, Any]


@dataclass
class State:
    """All of a run that changes while it trains."""

    model: nn.Module
    optimiser: Optimizer
    rng: Generator  # of data order, augmentation and order of evaluation
    curve: dict[str, list[float]] = field(default_factory=dict)  # by metric, a value per epoch
    best: tuple[int, dict[str, Tensor]] | None = None  # the epoch of the best validation accuracy, and its weights
    epoch_seconds: list[float] = field(default_factory=list)  # of training alone
    epoch_began: Tensor | None = None  # the state of `rng` before the epoch that is not finished
    losses: Tensor | None = None  # of that epoch's steps so far
    losses_seconds: float = 0.0  # that these took
    seconds: float = 0.0  # of everything so far
    peak_memory_mb: float = 0.0
    batch_losses: list[float] = field(default_factory=list)  # of every training.log_every-th batch
    early_digest: str | None = None  # `digest` after the first steps, see training.EARLY_STEPS
    interruptions: list[int] = field(default_factory=list)  # how many epochs were finished, at each restart
    machines: list[dict[str, Any]] = field(default_factory=list)  # those that trained it, and from which epoch on

    @property
    def epoch(self) -> int:
        """How many epochs are finished."""
        return len(self.epoch_seconds)

    def digest(self) -> str:
        """SHA-256 (hex) of all weights and all that the optimiser remembers, to the bit."""
        remembered = self.optimiser.state_dict()["state"]
        tensors = [*self.model.state_dict().values()]
        tensors += [value for _, state in sorted(remembered.items()) for _, value in sorted(state.items())]
        content = hashlib.sha256()
        for tensor in tensors:
            if isinstance(tensor, Tensor):  # SGD without momentum remembers None
                content.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return content.hexdigest()

    def save(self, path: Path, key: Key) -> None:
        """Replace `path` by a checkpoint of the run of `key`; UserError where that cannot be."""
        content = io.BytesIO()
        content.write(canonical_json(asdict(key)).encode() + b"\n")
        torch.save({name: getattr(self, name) for name in _values()} | self._generators() | self._weights(), content)
        write_atomically(path, _first_line(content.getbuffer()) + content.getvalue())

    def begin(self, path: Path | None, key: Key, *, exact: bool = False) -> None:
        """Go on from the checkpoint in `path`, and note the interruption there, if it is of the run of `key`.

        In the middle of an epoch `rng` is as it was at its start, for its order to be drawn again. A state that another
        machine saved goes on too, and `machines` has both, unless `exact` asks for a run that repeats bit for bit.
        Any other file there (of another run, torn, damaged, of another format) is named on stderr, with what is wrong.
        Raises UserError where the file cannot be read.
        """
        saved = _read(path, key, exact=exact) if path else None
        if saved is not None:
            self._load(saved)
        if not self.machines or _machine(self.machines[-1]) != key.machine:
            self.machines.append({"from_epoch": self.epoch + 1} | key.machine)
        if saved is None:
            return
        self.interruptions.append(self.epoch)
        self.save(path, key)
        step = "" if self.losses is None else f", step {len(self.losses)} of the next"
        print(f"{path}: going on after epoch {self.epoch}{step}", file=sys.stderr)
        if len(self.machines) > 1:
            differing = [name for name in key.machine if self.machines[-2].get(name) != key.machine[name]]
            print(
                f"{path}: another {', '.join(differing)} trained it so far; the run does not repeat bit for bit",
                file=sys.stderr,
            )

    def _load(self, saved: dict[str, Any]) -> None:
        for name in _values():
            setattr(self, name, saved[name])
        self.model.load_state_dict(saved["model"])
        # Its options are this machine's own: a GPU's optimiser has some that a CPU's has not.
        options = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": saved["optimiser"], "param_groups": options})
        torch.set_rng_state(saved["cpu"])
        if self.rng.device.type == "cuda":
            torch.cuda.set_rng_state(saved["cuda"], self.rng.device)
        self.rng.set_state(saved["rng"])
        self.epoch_began = saved["rng"]

    def _weights(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()["state"]}

    def _generators(self) -> dict[str, Tensor]:
        rng = self.rng.get_state() if self.losses is None else self.epoch_began
        states = {"rng": rng, "cpu": torch.get_rng_state()}
        if self.rng.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.rng.device)
        return states


def _values() -> list[str]:
    """The fields of a State that a file takes as they are."""
    return [part.name for part in fields(State) if part.name not in ("model", "optimiser", "rng", "epoch_began")]


def _machine(part: dict[str, Any]) -> dict[str, Any]:
    """The machine of an entry of `machines`."""
    return {name: value for name, value in part.items() if name != "from_epoch"}


def _read(path: Path, key: Key, *, exact: bool) -> dict[str, Any] | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        return _refuse(path, "is a folder")
    except OSError as error:  # of the file system, not of the file: another attempt may have it
        raise UserError(f"{path} cannot be read: {error.strerror or error}; nothing was changed.") from None
    first, _, rest = content.partition(b"\n")
    if first + b"\n" != _first_line(rest):
        version = first.split(b" ")[2:3]
        if first.startswith(KIND.encode()) and version != [str(FORMAT).encode()]:
            return _refuse(path, f"is not of format {FORMAT}")
        return _refuse(path, "is torn or damaged")
    described, _, state = rest.partition(b"\n")
    theirs, ours = json.loads(described), asdict(key)
    for part in ("run", *(["machine"] if exact else [])):
        if differing := [
            name
            for name, value in ours[part].items()
            if canonical_json(theirs[part].get(name)) != canonical_json(value)
        ]:
            return _refuse(path, f"is of another {', '.join(differing)}")
    try:
        return torch.load(io.BytesIO(state), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        return _refuse(path, "holds more than tensors and plain values")


def _first_line(content: bytes | memoryview) -> bytes:
    return f"{KIND} {FORMAT} {hashlib.sha256(content).hexdigest()}\n".encode()


def _refuse(path: Path, why: str) -> None:
    """Put the file aside, so that the run's own do not replace it."""
    aside = path.with_name(f"{path.name}.refused")
    try:
        os.replace(path, aside)
    except OSError as error:
        raise UserError(f"{path} {why}, and cannot be moved to {aside} ({error.strerror or error}).") from None
    print(f"{path} {why}; it is now {aside}, and the run starts from the beginning", file=sys.stderr)
