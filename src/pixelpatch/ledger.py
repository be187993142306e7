"""The replay ledger: which versions of the training code have been shown to give the same bits.

A record carries the digest of the code that made it. Where that code changes and is meant to leave all bits alone,
`python -m pixelpatch replay` trains some of the recorded runs again and, where all come out the same, adds lines to the
ledger, which lies beside the code: from an old digest to a new one, by which runs, on what machine, when.
A record is as good as new where such lines lead from its digest to today's. (A record of another kind of machine cannot
be replayed here; that other experiments which execute the same code come out the same speaks for it too.)
"""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from pixelpatch.errors import UserError
from pixelpatch.files import canonical_json, digest, read_text, write_atomically

LEDGER = Path(__file__).with_name("replays.jsonl")
KEYS = {"old": str, "new": str, "runs": list, "machine": str, "versions": dict, "date": str, "checksum": str}


class Ledger:
    """The lines of a ledger, each a JSON object of KEYS."""

    def __init__(self, path: Path, lines: list[dict[str, Any]]) -> None:
        self.path, self.lines = path, lines

    @staticmethod
    def read(path: Path | None = None) -> "Ledger":
        """The ledger in `path`, that of this code by default; empty where there is none.

        Raises UserError, with the line's number, where a line is none or was changed after it was written.
        """
        path = path or LEDGER
        stat = path.stat() if path.exists() else None
        return _read(path, stat and (stat.st_mtime_ns, stat.st_size))

    def leads(self, old: str, new: str, experiment: str | None = None) -> bool:
        """Whether code of the digest `new` is known to make what `old` made; if given, by runs of `experiment`."""
        reached, waiting = {old}, [old]
        while waiting:
            here = waiting.pop()
            for line in self.lines:
                shown = experiment is None or experiment in experiments(line)
                if line["old"] == here and line["new"] not in reached and shown:
                    reached.add(line["new"])
                    waiting.append(line["new"])
        return new in reached

    def add(self, lines: Iterable[dict[str, Any]]) -> None:
        """Seal `lines`, which have all KEYS but the checksum, and write them behind those that are there."""
        sealed = [line | {"checksum": digest(line)} for line in lines]
        content = "".join(f"{canonical_json(line)}\n" for line in [*self.lines, *sealed])
        write_atomically(self.path, content)


def experiments(line: dict[str, Any]) -> set[str]:
    """The experiments of which a line of the ledger has replayed a run."""
    return {run["experiment"] for run in line["runs"]}


@cache
def _read(path: Path, stamp: tuple[int, int] | None) -> Ledger:
    """The ledger in `path`; `stamp` changes where the file does."""
    if stamp is None:
        return Ledger(path, [])
    lines = []
    for number, text in enumerate(read_text(path).splitlines(), start=1):
        where = f"{path}, line {number},"
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if not isinstance(line, dict) or line.keys() != KEYS.keys():
            raise UserError(f"{where} is no entry of a replay ledger; git has the file as it was.")
        if wrong := [key for key, kind in KEYS.items() if type(line[key]) is not kind]:
            raise UserError(f"{where} has another kind of value than a replay as {', '.join(wrong)}.")
        if digest({key: value for key, value in line.items() if key != "checksum"}) != line["checksum"]:
            raise UserError(f"{where} was changed after it was written (its checksum does not match).")
        if not line["runs"]:
            raise UserError(f"{where} names no run that was replayed; it shows nothing.")
        lines.append(line)
    return Ledger(path, lines)
