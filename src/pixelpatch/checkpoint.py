"""A run's whole state between two steps, in one file that is right or is recognised as not.

The file is a line with the format and the SHA-256 of all that follows; a line of JSON that says which run it is of, and
what the bits of that run depend on; and the state as PyTorch saves it.
"""

import hashlib
import io
import json
import os
import pickle
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from pixelpatch.errors import UserError
from pixelpatch.files import canonical_json, write_atomically
from pixelpatch.optimisers import Optimiser

FORMAT = 2
KIND = "pixelpatch checkpoint"


@dataclass
class State:
    """All of a run that changes while it trains."""

    model: nn.Module
    optimiser: Optimiser
    rng: Generator  # of data order, augmentation and order of evaluation
    curve: dict[str, list[float]] = field(default_factory=dict)  # by metric, a value per epoch
    best: tuple[int, dict[str, Tensor]] | None = None  # the epoch of the best validation accuracy, and its weights
    epoch_seconds: list[float] = field(default_factory=list)  # of training alone
    epoch_began: Tensor | None = None  # the state of `rng` before the epoch that is not finished
    losses: Tensor | None = None  # of that epoch's steps so far
    losses_seconds: float = 0.0  # that these took
    seconds: float = 0.0  # of everything so far
    peak_memory_mb: float = 0.0
    interruptions: list[int] = field(default_factory=list)  # how many epochs were finished, at each restart

    @property
    def epoch(self) -> int:
        """How many epochs are finished."""
        return len(self.epoch_seconds)

    def save(self, path: Path, key: dict[str, Any]) -> None:
        """Replace `path` by a checkpoint of the run that `key` (JSON) describes; UserError where that cannot be."""
        content = io.BytesIO()
        content.write(canonical_json(key).encode() + b"\n")
        torch.save({name: getattr(self, name) for name in _values()} | self._generators() | self._weights(), content)
        write_atomically(path, _first_line(content.getbuffer()) + content.getvalue())

    def load(self, path: Path, key: dict[str, Any]) -> None:
        """Go on from the checkpoint in `path`, and note the interruption there, if it is of the run of `key`.

        In the middle of an epoch `rng` is as it was at its start, for its order to be drawn again.
        Any other file there (of another run, torn, damaged, of another format) is named on stderr, with what is wrong.
        Raises UserError where the file cannot be read.
        """
        saved = _read(path, key)
        if saved is None:
            return
        for name in _values():
            setattr(self, name, saved[name])
        self.model.load_state_dict(saved["model"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.rng.set_state(saved["rng"])
        torch.set_rng_state(saved["cpu"])
        if self.rng.device.type == "cuda":
            torch.cuda.set_rng_state(saved["cuda"], self.rng.device)
        self.epoch_began = saved["rng"]
        self.interruptions.append(self.epoch)
        self.save(path, key)
        step = "" if self.losses is None else f", step {len(self.losses)} of the next"
        print(f"{path}: going on after epoch {self.epoch}{step}", file=sys.stderr)

    def _weights(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}

    def _generators(self) -> dict[str, Tensor]:
        rng = self.rng.get_state() if self.losses is None else self.epoch_began
        states = {"rng": rng, "cpu": torch.get_rng_state()}
        if self.rng.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.rng.device)
        return states


def _values() -> list[str]:
    """The fields of a State that a file takes as they are."""
    return [part.name for part in fields(State) if part.name not in ("model", "optimiser", "rng", "epoch_began")]


def _read(path: Path, key: dict[str, Any]) -> dict[str, Any] | None:
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
    theirs = json.loads(described)
    if differing := [name for name in key if canonical_json(theirs.get(name)) != canonical_json(key[name])]:
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
