"""Does today's training code still make the recorded runs? Some are trained again, and the replay ledger says so.

Of every experiment whose records were made by other code, the recorded run of the lowest seed is replayed. It is
replayed whole where it took at most `minutes`; else its first steps, after which a record keeps a digest of weights and
optimiser state; else (older records have no such digest) its first epoch, where that took at most `minutes`. A replay
must be equal to the bit. So it needs the kind of machine, and the versions, that made the record.
"""

import datetime
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stderr, suppress
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from torch import Generator, Tensor

from pixelpatch.checkpoint import State
from pixelpatch.checks import image_side
from pixelpatch.errors import UserError
from pixelpatch.ledger import Ledger
from pixelpatch.models import build_model
from pixelpatch.record import on_gpu, provenance, read_record
from pixelpatch.runs import How, device_name
from pixelpatch.source import source_digest
from pixelpatch.stopping import Paused, Stop, Stopped
from pixelpatch.training import EARLY_STEPS, Diverged, build_optimiser, fingerprint, train

COMPARED = ("metrics", "curve", "batch_losses", "predictions", "labels")
ALIKE = ("device", "threads", "compiled", "versions")  # of the provenance: what bits depend on besides the code

Json = dict[str, Any]


class Replayed(NamedTuple):
    """What became of a run: its two digests, whether it came out the same, and how much of it was replayed."""

    run: Json  # experiment, seed and what was replayed: the "whole" run, "20 steps" or "epoch 1"
    old: str
    new: str
    same: bool | None  # None where nothing could be compared
    text: str


def outdated(study: Json, folder: Path, ledger: Ledger) -> list[tuple[str, Json]]:
    """Of every experiment, its first record that other code has made and that no replay has shown equal."""
    found: dict[str, Json] = {}
    for run in study["runs"]:
        record = read_record(folder / run["record"])
        old, new = digests(record)
        if run["experiment"] not in found and not ledger.leads(old, new, run["experiment"]):
            found[run["experiment"]] = record
    return list(found.items())


def digests(record: Json) -> tuple[str, str]:
    """The digest of the code that made a record, and that of the code that would make it today."""
    origin = record["provenance"]
    return origin["source"], source_digest(record["spec"], gpu=on_gpu(origin["device"]))


def replay(study: Json, folder: Path, mnist: dict[str, Tensor], options: How, *, minutes: float) -> Iterator[Replayed]:
    """Replay what is `outdated`, the cheapest first, and say of each run what became of it.

    `study` has the recorded runs, `folder` is where their records lie. Raises Stopped as `train` does.
    """
    waiting = outdated(study, folder, Ledger.read())
    for experiment, record in sorted(waiting, key=lambda item: item[1]["timing"]["seconds"]):
        old, new = digests(record)
        run = {"experiment": experiment, "seed": record["seed"]}
        here = provenance(record["spec"], device=device_name(options.device), threads=record["provenance"]["threads"])
        if other := [key for key in ALIKE if record["provenance"].get(key) != here[key]]:
            yield Replayed(run, old, new, None, f"not compared: it was made with another {', '.join(other)}")
            continue
        yield _replayed(run | {"record": record}, mnist, options, old, new, minutes)


def entries(replayed: list[Replayed], *, machine: str, versions: Json) -> list[Json]:
    """A line of the ledger for each pair of digests of which some run, and every one replayed, came out the same."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    refuted = {(each.old, each.new) for each in replayed if each.same is False}
    pairs = dict.fromkeys((each.old, each.new) for each in replayed if each.same)
    return [
        {
            "old": old,
            "new": new,
            "runs": [each.run for each in replayed if each.same and (each.old, each.new) == (old, new)],
            "machine": machine,
            "versions": versions,
            "date": today,
        }
        for old, new in pairs
        if (old, new) not in refuted
    ]


def _replayed(run: Json, mnist: dict[str, Tensor], options: How, old: str, new: str, minutes: float) -> Replayed:
    record = run.pop("record")
    limit, timing = 60 * minutes, record["timing"]
    name = f"{run['experiment']} seed {run['seed']}"
    where = {"device": options.device, "threads": record["provenance"]["threads"], "name": name}
    whole = record["epochs"] == record["spec"]["training"]["epochs"] and timing["seconds"] <= limit
    with tempfile.TemporaryDirectory() as place, redirect_stderr(StringIO()):
        again = _Again(record, mnist, where, Path(place) / "checkpoint", options.stop)
        if whole:
            what, same = "whole", again.whole()
        elif early := record["provenance"].get("early_digest"):
            what, same = f"{EARLY_STEPS} steps", again.early_digest() == early
        elif (timing.get("epoch_seconds") or [limit + 1])[0] <= limit:
            what, same = "epoch 1", again.first_epoch()
        else:
            return Replayed(run, old, new, None, "not replayed: one epoch of it takes longer than --minutes")
    said = f"{what}: " + ("the same, bit for bit" if same else "NOT THE SAME")
    return Replayed(run | {"replayed": what}, old, new, same, said)


class _Again(NamedTuple):
    """A recorded run, to be trained again."""

    record: Json
    mnist: dict[str, Tensor]
    where: Json
    checkpoint: Path
    stop: Stop

    def train(self, **options: Any) -> Json:
        record = self.record
        return train(record["spec"], record["seed"], self.mnist, **self.where, **{"stop": self.stop} | options)

    def whole(self) -> bool:
        try:
            made = self.train()
        except Diverged as error:
            return str(error).partition(";")[0] == self.record["provenance"].get("diverged")
        return all(made[key] == self.record[key] for key in COMPARED)

    def first_epoch(self) -> bool:
        shown: list[dict[str, float]] = []
        with suppress(Paused):
            self.train(until=1, follow=lambda epoch, results, measured: shown.append(results))
        return all(value == self.record["curve"][metric][0] for metric, value in shown[0].items())

    def early_digest(self) -> str | None:
        spec, seed = self.record["spec"], self.record["seed"]
        after = _StopAfter(EARLY_STEPS, self.stop)
        try:
            self.train(stop=after, checkpoint=self.checkpoint, follow=after.ask_once_more)
        except Stopped:
            if self.stop:  # the process was asked to, too
                raise
        model = build_model(spec["model"], image=image_side(spec["data"])).to(self.where["device"])
        state = State(model, build_optimiser(model, spec["training"]), Generator(self.where["device"]))
        state.begin(self.checkpoint, fingerprint(spec, seed, **self.where))
        return state.early_digest


class _StopAfter(Stop):
    """Asks a training to stop after so many steps; it is asked once a step, and once after an epoch is followed."""

    def __init__(self, steps: int, other: Stop) -> None:
        super().__init__()
        self.left, self.other = steps, other

    def __bool__(self) -> bool:
        self.left -= 1
        return self.left <= 0 or bool(self.other)

    def ask_once_more(self, *_: Any) -> None:
        """Called after an epoch: the question that comes next is after no step."""
        self.left += 1


def refuse_unequal(replayed: list[Replayed]) -> None:
    """Raises UserError, naming each run, where a replay did not make what is recorded."""
    if unequal := [f"{each.run['experiment']} seed {each.run['seed']}" for each in replayed if each.same is False]:
        raise UserError(
            f"{', '.join(unequal)} did not come out as recorded: today's code computes something else. "
            "The ledger has no line for it; train these experiments again, or mend the code."
        )
