"""Runs mirrored in Weights & Biases by a process of its own: nothing that befalls it slows or changes a run.

The process that trains never imports wandb. It starts `python -m pixelpatch.tracking`, writes a line of JSON per event
into a pipe (what the run is; each epoch's metrics; at last its summary), never waits for it to be read, and at the end
gives it LIMIT seconds. Whatever goes wrong is a sentence on stderr.

The mirror is told only what is done: an epoch is to be logged once, after its state is on disk, for the epochs of a
resumed run are appended, under the same id, to what W&B has.
"""

import csv
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Any, NoReturn, Self

from pixelpatch.environment import keep_ours
from pixelpatch.errors import UserError
from pixelpatch.files import digest, read_text
from pixelpatch.stopping import SIGNALS, held_back
from pixelpatch.tables import NAMES

LIMIT = 30.0  # seconds that W&B may take after the end of a run: to finish starting, to upload, to say what went wrong
ANALYSIS_LIMIT = 60.0  # the same for the analysis, which uploads tables and figures
MODES = {"offline": "offline", "dryrun": "offline", "online": "online", "disabled": "disabled"}
# How a mirror that cannot go on says what is to become of it:
NOT_MIRRORED, KEPT_OFFLINE = "Weights & Biases", "Weights & Biases online (it is kept offline)"  # as a record has it
SAID, OFFLINE, AGAIN = 3, 4, 5  # it has said why; begin again, offline; begin again, its helper process is dead


def mode(wanted: str | None = None) -> str:
    """How runs are mirrored: offline, online or disabled. WANDB_MODE goes first, then `wanted`, then disabled.

    A true WANDB_DISABLED disables them too. Raises UserError where the mode is none of these.
    """
    if os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true", "yes", "on"):
        return "disabled"
    source, value = (
        ("WANDB_MODE", os.environ.get("WANDB_MODE")) if os.environ.get("WANDB_MODE") else ("tracking", wanted)
    )
    if value is None:
        return "disabled"
    if value not in MODES:
        raise UserError(f"{source} is {value!r}; choose offline, online or disabled.")
    return MODES[value]


def run_id(key: dict[str, Any], preset: str) -> str:
    """W&B's id of the run that `key` (JSON) determines, the same at each attempt: 16 of [0-9a-f]."""
    return digest({"key": key, "preset": preset})[:16]


def log_analysis(
    mode: str, *, preset: str, tables: Path, figures: Path, study: dict[str, Any], limit: float = ANALYSIS_LIMIT
) -> None:
    """Mirror the analysis as a run of its own: the tables that are in `tables`,
    `figures`/*.png, and how many claims got which verdict. Takes `limit` seconds at most.
    """
    files = {name: tables / f"{name}.csv" for name in NAMES if (tables / f"{name}.csv").is_file()}
    content = {name: read_text(file) for name, file in files.items()}
    verdicts = [row.get("verdict") or "" for row in csv.DictReader(content.get("claims", "").splitlines())]
    tracker = Tracker.start(
        mode,
        id=run_id({"analysis": content}, preset),
        name=f"analysis-{preset}",
        group="analysis",
        job_type="analysis",
        tags=[preset],
        config=study,
        limit=limit,
    )
    tracker.send(
        {
            "tables": {name: str(file.resolve()) for name, file in files.items()},
            "figures": {file.stem: str(file.resolve()) for file in sorted(figures.glob("*.png"))},
        }
    )
    tracker.finish({f"verdicts/{verdict}": verdicts.count(verdict) for verdict in sorted(set(verdicts))})


class Tracker:
    """The run's end of the pipe. Nothing here raises, nor waits for more than a second, but for `finish`."""

    def __init__(self, run: dict[str, Any] | None, *, name: str = "", limit: float = LIMIT) -> None:
        self.name, self.limit = name, limit
        self.lost: list[str] = []  # what was not mirrored, for the run's record
        self._events = [run] if run else []  # all that there was, for a mirror that has to begin again
        self._process: subprocess.Popen[bytes] | None = None  # None where nothing is mirrored (any longer)
        self._unsent = b""
        if run:
            self._begin()

    @classmethod
    def start(
        cls,
        mode: str,
        *,
        id: str,
        name: str,
        group: str,
        job_type: str,
        tags: list[str],
        config: dict[str, Any],
        limit: float = LIMIT,
    ) -> Self:
        """Begin to mirror a run in a process of its own; with the mode "disabled", begin nothing."""
        run = {"id": id, "name": name, "group": group, "job_type": job_type, "tags": tags, "config": config}
        how = {"mode": mode, "limit": limit, "process": os.getpid(), "again": False}
        return cls(run | how if mode != "disabled" else None, name=name, limit=limit)

    def log(self, epoch: int, metrics: dict[str, float]) -> None:
        """Mirror the metrics of an epoch, whose state is on disk."""
        self.send({"epoch": epoch, "metrics": metrics})

    def finish(self, summary: dict[str, float] | None) -> None:
        """End the mirrored run with its final metrics, or with None as one that was stopped or failed.

        Takes `limit` seconds at most: a mirror that needs longer is killed.
        """
        if summary is not None:
            self.send({"summary": summary})
        end = time.monotonic() + self.limit
        while self._process:
            while self._process and self._unsent and (left := end - time.monotonic()) > 0:
                select.select([], [self._process.stdin], [], left)
                self._write()
            if self._process:
                self._wait(end)

    def send(self, event: dict[str, Any]) -> None:
        """Hand an event over, now or as soon as there is room in the pipe."""
        if self._process:
            self._events.append(event)
            self._unsent += _line(event)
            self._write()

    def _begin(self) -> None:
        try:
            with held_back():  # also before it can see to that itself
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "pixelpatch.tracking"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,  # neither Ctrl-C nor the terminal is for it
                )
        except OSError as error:  # no more processes, no memory
            self._say(f"its process cannot be started ({error.strerror or error}); the run goes on without it")
            self.lost = [NOT_MIRRORED]
            return
        os.set_blocking(self._process.stdin.fileno(), False)
        self._unsent = b"".join(map(_line, self._events))
        self._write()

    def _write(self) -> None:
        """Write what there is room for, and notice a mirror that is gone."""
        try:
            while self._unsent:
                self._unsent = self._unsent[os.write(self._process.stdin.fileno(), self._unsent) :]
        except BlockingIOError:  # it is busy, or hangs
            pass
        except OSError:
            self._wait(time.monotonic() + 1)

    def _wait(self, end: float) -> None:
        """Wait until the mirror has ended, or kill it at the time `end`; then begin again where it asks for that."""
        with suppress(OSError):
            self._process.stdin.close()
        try:
            status = self._process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            _kill(self._process)
            status = None
        self._process = None
        run = self._events[0]
        if status == OFFLINE and run["mode"] == "online":
            run["mode"] = "offline"
            self.lost = [KEPT_OFFLINE]
            self._begin()
        elif status == AGAIN and not run["again"]:
            run["again"] = True
            self._begin()
        elif status != 0:
            self.lost = [NOT_MIRRORED]
            if status == SAID:
                return
            how = f"did not finish within {self.limit:g} s" if status is None else f"ended with status {status}"
            self._say(f"its process {how}; the run goes on without it, and what it has written is in {folder()}")

    def _say(self, text: str) -> None:
        print(f"{self.name}: Weights & Biases: {text}", file=sys.stderr)


def folder() -> Path:
    """Where W&B keeps all that it writes: `wandb` in WANDB_DIR, or else in the working directory."""
    return Path(os.environ.get("WANDB_DIR") or ".", "wandb")


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, default=str).encode() + b"\n"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a mirror and wandb's helper process, which has a session of its own and might hang as well."""
    pids = [process.pid]
    for file in Path(f"/proc/{process.pid}/task").glob("*/children"):
        with suppress(OSError):  # a thread that has just ended
            pids += map(int, file.read_text().split())
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


# The mirror: what runs in the process that a Tracker starts.


class Mirror:
    """A run in W&B. What goes wrong ends this process, with a status that says how to go on."""

    def __init__(self, run: dict[str, Any], stderr: int) -> None:
        self.run, self.stderr = run, stderr
        self.patience = ceil(run["limit"]) + 5  # seconds; the run itself has lost it before, if it lives
        self.failed, self.ended = True, False

    def begin(self) -> None:
        """Begin the run in W&B."""
        try:
            from wandb import Settings, init, setup
        except ImportError:  # or it is the folder `wandb` that Python found
            self.give_up("wandb is not installed (pip install wandb); the run goes on without it")
        except Exception as error:  # it is, but does not fit what else is
            self.cannot_begin(error)
        signal.alarm(self.patience)
        try:
            tags = _tags(self.run["tags"])
            setup(settings=Settings(silent=True, x_disable_viewer=True))  # which would wait for the server once more
            settings = Settings(
                silent=True,
                console="off",
                use_dot_wandb=False,
                allow_offline_artifacts=False,  # tables refer to files of the run, which come along elsewhere
                init_timeout=self.run["limit"] / 3,  # leaves time to begin again, offline
                finish_timeout=self.run["limit"] / 2,
                finish_timeout_raises=True,
                x_stats_pid=self.run["process"],
                x_transaction_log_flush_interval=1,  # else a killed run loses its last 15 s
            )
            self.wandb = init(
                mode=self.run["mode"],
                project=os.environ.get("WANDB_PROJECT") or "pixelpatch",
                tags=tags,
                resume="allow",
                settings=settings,
                **{key: self.run[key] for key in ("id", "name", "group", "job_type", "config")},
            )
            self.wandb.define_metric("epoch")
            self.wandb.define_metric("*", step_metric="epoch")
        except Exception as error:
            self.cannot_begin(error)
        self.folder = Path(self.wandb.dir).parent
        if not self.folder.is_relative_to(folder().resolve()):
            self.say(f"{folder()} cannot be written; the run is kept in {self.folder}")
        signal.alarm(0)  # an epoch may take as long as it likes

    def take(self, event: dict[str, Any]) -> None:
        """Mirror an event; that of the first epoch, or of the analysis, voids what an earlier run left offline."""
        if event.get("epoch") == 1 or "tables" in event:
            for earlier in folder().glob(f"offline-run-*-{self.run['id']}"):
                if earlier.name != self.folder.name:
                    replaced(earlier)
        match event:
            case {"epoch": epoch, "metrics": metrics}:
                self.wandb.log({"epoch": epoch, **metrics}, step=epoch, commit=True)  # a step that it has is dropped
            case {"tables": tables, "figures": figures}:
                self.wandb.log(_tables(tables) | _images(figures), step=0, commit=True)
            case {"summary": summary}:
                self.wandb.summary.update(summary)
                self.failed = False

    def end(self) -> None:
        """Finish the run in W&B, as a failed one where there was no summary."""
        self.ended = True
        try:
            self.wandb.finish(exit_code=int(self.failed))
        except TimeoutError:
            again = f"wandb sync --include-online --id {self.run['id']}-whole {_relative(self.folder)}"
            self.give_up(f"not everything could be uploaded in time; all of it is in the file: {again}")

    def cannot_begin(self, error: Exception) -> NoReturn:
        """Say so, and end: to begin again offline, where that might help."""
        why = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        if self.run["mode"] == "offline" or self.run["again"]:
            self.give_up(f"cannot begin ({why}); the run goes on without it")
        self.say(
            f"cannot go online ({why}); the run is kept offline: wandb sync {folder()}/offline-run-*-{self.run['id']}"
        )
        os._exit(OFFLINE)

    def begin_again(self, error: Exception) -> NoReturn:
        """End, as wandb's helper process is dead, to begin again with all events."""
        if self.ended and self.failed:  # who stops a job (Slurm) tells each process: all is written, as its last act
            os._exit(0)
        if self.run["again"]:
            self.give_up(f"ended again ({error}); what it has written is in {_relative(self.folder)}")
        self.say(f"ended ({error}), and begins again")
        if self.run["mode"] == "offline":  # else its epochs would be there twice
            replaced(self.folder)
        os._exit(AGAIN)

    def give_up(self, text: str) -> NoReturn:
        """Say why, and end."""
        self.say(text)
        os._exit(SAID)

    def say(self, text: str) -> None:
        """A line for the user."""
        os.write(self.stderr, f"{self.run['name']}: Weights & Biases: {text}\n".encode())


def main() -> None:
    """Mirror the run that is described on stdin, to its end."""
    pipe, stderr = os.dup(0), os.dup(2)  # not inherited by wandb's helper process, and out of wandb's reach
    for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        os.dup2(os.open(os.devnull, flags), number)
    # Slurm signals every process of a job, but it is the run that tells when it is over.
    signal.pthread_sigmask(signal.SIG_BLOCK, {*SIGNALS, signal.SIGHUP})
    with open(pipe, encoding="utf-8") as lines:
        first = next(lines, "")
        if first.endswith("\n"):
            _place_files()
            _mirror(Mirror(json.loads(first), stderr), lines)


def _mirror(mirror: Mirror, lines: Iterable[str]) -> None:
    mirror.begin()
    try:
        for line in lines:
            signal.alarm(mirror.patience)  # ends this process, whatever it hangs in
            if line.endswith("\n"):  # else the run was killed as it wrote
                mirror.take(json.loads(line))
            signal.alarm(0)
        signal.alarm(mirror.patience)
        mirror.end()
    except Exception as error:
        mirror.begin_again(error)  # with all events, for the last of them may not have been written


def _place_files() -> None:
    """Keep W&B's files together, that they can be carried to another machine, and out of a home that is not there."""
    place = folder().resolve()
    os.environ.setdefault("WANDB_DATA_DIR", str(place / "data"))
    os.environ.setdefault("WANDB_CACHE_DIR", str(place / "cache"))
    if not os.access(os.path.expanduser("~"), os.W_OK):
        os.environ.setdefault("WANDB_CONFIG_DIR", str(place / "config"))


def replaced(run: Path) -> None:
    """Rename the folder of a run that is mirrored anew: synced as well, its epochs would be there twice."""
    with suppress(OSError):
        run.rename(run.with_name(f"replaced-{run.name}"))


def _tags(tags: list[str]) -> list[str]:
    """`tags` and those of WANDB_TAGS, no longer than W&B takes them."""
    users = (tag.strip() for tag in os.environ.pop("WANDB_TAGS", "").split(","))
    return [tag[:64] for tag in dict.fromkeys(filter(None, [*tags, *users]))]


def _tables(files: dict[str, str]) -> dict[str, Any]:
    from wandb import Table

    rows = {name: list(csv.reader(Path(file).read_text(encoding="utf-8").splitlines())) for name, file in files.items()}
    return {name: Table(columns=header, data=data) for name, (header, *data) in rows.items()}


def _images(files: dict[str, str]) -> dict[str, Any]:
    from wandb import Image

    return {f"figures/{name}": Image(file) for name, file in files.items()}


def _relative(path: Path) -> str:
    return os.path.relpath(path)


if __name__ == "__main__":
    keep_ours(os.environ)
    main()
