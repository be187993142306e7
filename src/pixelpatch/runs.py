"""A run, from the lock on it to its record, and the files beside that record while the run is not finished."""

import sys
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pixelpatch.checks import complete, differing
from pixelpatch.errors import UserError
from pixelpatch.files import remove_temporaries
from pixelpatch.ledger import Ledger
from pixelpatch.lock import Lock
from pixelpatch.record import FORMAT, on_gpu, progress_file, provenance, read_record, write_record
from pixelpatch.shortfalls import unlocked
from pixelpatch.source import source_digest
from pixelpatch.stopping import Stop, held_back
from pixelpatch.tracking import Tracker, run_id
from pixelpatch.training import Diverged, fingerprint, processor, train

POLL_SECONDS = 0.5  # between two looks at a lock that another process has
NOTHING: dict[str, Any] = {"metrics": {}, "predictions": "", "labels": ""}  # of a test that did not take place


@dataclass(frozen=True)
class How:
    """What a run does not depend on, but for its bits: where it is trained, who follows it, and when to stop.

    `device` is a name as PyTorch has it, `tracking` one of pixelpatch.tracking.MODES; `preset` is told to Weights &
    Biases alone. `exact` refuses a saved state that another machine trained, `until` is the epoch after which a run
    pauses.
    """

    device: str
    stop: Stop
    tracking: str = "disabled"
    preset: str = ""
    exact: bool = False
    until: int | None = None


@dataclass(frozen=True)
class Run:
    """One experiment from one seed, and the path of its record."""

    experiment: str
    seed: int
    spec: Any
    record: Path
    threads: int = 1  # of the CPU
    may_diverge: bool = False

    @property
    def name(self) -> str:
        """As messages and checkpoints call it."""
        return f"{self.experiment} seed {self.seed}"

    @property
    def checkpoint(self) -> Path:
        """`seed0.checkpoint` beside `seed0.json`."""
        return self.record.with_suffix(".checkpoint")

    @property
    def progress(self) -> Path:
        """`seed0.progress.json` beside `seed0.json`: what a run in progress has shown so far."""
        return progress_file(self.record)

    def new_lock(self) -> Lock:
        """The lock on the run, not taken yet: `seed0.lock` beside `seed0.json`."""
        return Lock(self.record.with_suffix(".lock"))

    def say(self, text: str) -> None:
        """A line about this run on stderr."""
        print(f"{self.name}: {text}", file=sys.stderr)

    def recorded(self) -> bool:
        """Whether the run has its record, and says so. Raises UserError where that file is damaged."""
        if not self.record.exists():
            return False
        record = read_record(self.record)
        if not self._is_of_this_run(record):
            self.say(f"{self.record} is of another run or spec; it will be put aside")
            return False
        same = self._is_of_this_code(record)
        advice = "" if same else ", made by another version of the training code: move it away to have it made anew"
        self.say(f"{self.record} is there already{advice}")
        lock = self.new_lock()
        # Beside a record of older code, a checkpoint may be the newer run's that is to replace it.
        if same and (self.checkpoint.exists() or lock.path.exists()) and lock.take():
            self._tidy()  # after a process that was killed just before it would have done so
            lock.release()
        return True

    def complete(self, mnist: dict[str, Tensor], how: How, *, wait: bool) -> bool:
        """Train, from where an attempt that was stopped left off, and write the record.

        A run that another process works on is left alone, and the answer False, unless `wait` says to wait for it.
        A record of this very run, made by this very code, is kept; anything else in its place is put aside when the new
        one is written. Raises Stopped and Paused as `train` does, Diverged unless that is a result (and recorded,
        without any score), and UserError where a file cannot be written.
        """
        lock = self.new_lock()
        if not lock.take():
            if not wait:
                self.say(f"{lock.owner()} works on it; it is left for the end")
                return False
            self.say(f"waiting for {lock.owner()}, which works on it")
            while not lock.take():
                if how.stop:
                    raise how.stop.stopped(self.name, f"while it waited for {lock.owner()}")
                time.sleep(POLL_SECONDS)
        try:
            if self._made():
                self.say(f"{self.record} is there already; move it away to have it made anew")
            else:
                remove_temporaries(self.record)
                remove_temporaries(self.checkpoint)
                remove_temporaries(self.progress)
                self._train(mnist, how)
            self._tidy()
        except Diverged:  # as it would from its checkpoint
            self._tidy()
            raise
        finally:
            lock.release()
        return True

    def _train(self, mnist: dict[str, Tensor], how: How) -> None:
        with held_back():  # a signal would end the compiler or git, and the run go on without what they give
            device = device_name(how.device)
            origin = provenance(self.spec, device=device, threads=self.threads)  # of the code as it is loaded
        where = {"device": how.device, "threads": self.threads, "name": self.name}
        run = {"experiment": self.experiment, "seed": self.seed, "spec": self.spec}
        tracker = Tracker.start(
            how.tracking,
            id=run_id(fingerprint(self.spec, self.seed, **where).run, how.preset),
            name=f"{self.experiment}-seed{self.seed}",
            group=self.experiment,
            job_type="train",
            tags=[how.preset, how.device],
            config=run | {"preset": how.preset, "provenance": origin},
        )
        summary, began = None, time.perf_counter()

        def record(path: Path, epochs: int, result: dict[str, Any]) -> None:
            whole = {"format": FORMAT, "epochs": epochs} | run | result
            write_record(path, whole | {"provenance": origin | result["provenance"]})

        def follow(epoch: int, results: dict[str, float], measured: dict[str, Any]) -> None:
            record(self.progress, epoch, NOTHING | measured)
            tracker.log(epoch, results)

        try:
            try:
                result = train(
                    self.spec,
                    self.seed,
                    mnist,
                    **where,
                    checkpoint=self.checkpoint,
                    exact=how.exact,
                    until=how.until,
                    stop=how.stop,
                    follow=follow,
                )
            except Diverged as error:
                if not self.may_diverge:
                    raise
                result = diverged(str(error).partition(";")[0], time.perf_counter() - began)
            timing = {f"timing/{key}": value for key, value in result["timing"].items() if not isinstance(value, list)}
            summary = result["metrics"] | timing
        finally:
            tracker.finish(summary)  # before the record, which says whether Weights & Biases has all
        lost = [*result["provenance"].get("lost", []), *tracker.lost]
        if other := unlocked(("torch", "numpy")):
            lost.append(f"the locked versions ({', '.join(other)})")
        if lost:
            result["provenance"]["lost"] = lost
        self._put_aside()
        record(self.record, self.spec["training"]["epochs"], result)
        scores = [f"{key} {value:.4g}" for key, value in result["metrics"].items() if key.startswith("test/")]
        came_out = ", ".join(scores) or result["provenance"]["diverged"]
        self.say(f"{came_out}, {result['timing']['seconds']:.0f} s → {self.record}")

    def _put_aside(self) -> None:
        """Rename what stands in the record's place, and say so: it may be the only trace of another run."""
        if self.record.exists():
            names = (self.record.with_name(f"{self.record.name}.replaced-{number}") for number in count(1))
            aside = next(path for path in names if not path.exists())
            self.record.rename(aside)
            self.say(f"{self.record} was no valid record of this run and code; it is now {aside}")

    def _made(self) -> bool:
        """Whether there is a valid record of this very run, made by this very code."""
        try:
            record = read_record(self.record)
        except UserError:
            return False
        return self._is_of_this_run(record) and self._is_of_this_code(record)

    def _is_of_this_run(self, record: dict[str, Any]) -> bool:
        named = all(record[key] == getattr(self, key) for key in ("experiment", "seed"))
        return named and not list(differing(complete(record["spec"]), complete(self.spec)))

    def _is_of_this_code(self, record: dict[str, Any]) -> bool:
        """Whether today's code made it, or is known to make the same."""
        origin = record["provenance"]
        today = source_digest(self.spec, gpu=on_gpu(origin["device"]))
        return Ledger.read().leads(origin["source"], today)

    def _tidy(self) -> None:
        """Remove what the run has left beside the record, but for the lock, which the caller has."""
        self.checkpoint.unlink(missing_ok=True)
        self.progress.unlink(missing_ok=True)
        remove_temporaries(self.checkpoint)
        remove_temporaries(self.progress)
        remove_temporaries(self.record)


def diverged(why: str, seconds: float) -> dict[str, Any]:
    """What a record has of a run that diverged: `why` in its provenance, the seconds of the last attempt, no score."""
    return NOTHING | {
        "curve": {},
        "batch_losses": [],
        "timing": {"seconds": seconds},
        "provenance": {"diverged": why, "interruptions": []},
    }


def device_name(device: str) -> str:
    """What a record calls a device."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else f"cpu ({processor()})"
