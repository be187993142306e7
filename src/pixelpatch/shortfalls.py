"""What a run or a study went without. None of it is an error, but users should be told."""

import re
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from pixelpatch.errors import UserError
from pixelpatch.files import read_text

if TYPE_CHECKING:
    import pandas as pd

LOCK = Path(__file__).parents[2] / "requirements.lock"  # of the checkout; an installed package has none
MOST = 5  # lines on the screen


def unlocked(names: Collection[str] | None = None, lock: Path | None = None) -> list[str]:
    """The packages, of `names` or of all, that are installed in another version than requirements.lock has.

    In words, such as "torch 2.11.0 instead of 2.14.1". A build of a version, such as 2.14.1+cpu, is that version.
    """
    lock = lock or LOCK
    if not lock.exists():
        return []
    pinned: dict[str, list[str]] = {}  # some have several: each is for other systems
    for name, wanted in re.findall(r"^([\w.-]+)==([^\s;]+)", read_text(lock), re.MULTILINE):
        pinned.setdefault(name, []).append(wanted)
    found = []
    for name in pinned if names is None else pinned.keys() & names:
        try:
            here = version(name)
        except PackageNotFoundError:  # of another system, or of an extra that is not used
            continue
        if here not in pinned[name] and here.partition("+")[0] not in pinned[name]:
            found.append(f"{name} {here} instead of {' or '.join(pinned[name])}")
    return sorted(found)


def notes(provenance: "pd.DataFrame") -> list[str]:
    """Sentences on what the runs of a study did without (the tidy table `provenance`), and on versions here."""
    without = provenance["lost"].dropna().value_counts()
    said = [f"{count} of {len(provenance)} runs went without {what}." for what, count in without.items()]
    if len(said) > MOST:
        said[MOST:] = [f"{int(without[MOST:].sum())} more runs went without something else: see tables/provenance.csv."]
    try:
        if other := unlocked():
            said.append(f"Package versions differ from requirements.lock: {', '.join(other)}.")
    except UserError as error:
        said.append(str(error))
    return said
