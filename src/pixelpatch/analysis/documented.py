"""What a write-up says, read as precisely as it says it, and whether its words agree with its own tables.

A claim is a block of the config: `text`, `metric`, and what makes it one of six kinds: a number, a curve, a property of
a curve, one system being better than another, the labels of the first images, or words that we hold against the
write-up's own code. Nothing here needs a run.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from pixelpatch.errors import UserError

KINDS = {
    "first_labels": "labels",
    "better_than": "better",
    "worse_than": "better",
    "reading": "reading",
    "curve": "curve",
    "falls_every_epoch": "property",
    "dips_at": "property",
    "documented": "number",
}


class Printed(NamedTuple):
    """A number as precisely as it was printed: anything from `low` to `high` would be printed so. Exact decimals."""

    value: Decimal
    low: Decimal
    high: Decimal

    @property
    def half_unit(self) -> Decimal:
        """Half the length of what would be printed so: half a unit of the last digit, where that was rounded."""
        return (self.high - self.low) / 2


def kind_of(claim: dict, where: str) -> str:
    """What a claim is, of the values of KINDS. Raises UserError, naming `where`, if none of these.

    A claim with nothing but a reason not to test it counts as a number.
    """
    for key, kind in KINDS.items():
        if key in claim:
            return kind
    if "not_tested" in claim:
        return "number"
    raise UserError(f"{where} has nothing to test; give it one of {', '.join(KINDS)}, or a reason as not_tested.")


def printed(text: str | None, where: str, times: int = 1) -> Printed:
    """Read a number as printed, "95.01" as 95.01 ± 0.005; `times` gives its unit (1000: "106" is 106000 ± 500).

    Raises UserError, naming `where`, for anything but the text of a finite number.
    """
    try:
        if not isinstance(text, str):
            raise InvalidOperation
        value = Decimal(text)
        half_unit = Decimal(5).scaleb(value.as_tuple().exponent - 1)
    except (InvalidOperation, TypeError):  # infinities and NaN have letters for exponents
        raise UserError(
            f'{where} is {text!r}; give the number as the write-up prints it, in quotes ("95.01", not 95.01), '
            "for its last digit tells its precision."
        ) from None
    return Printed(value * times, (value - half_unit) * times, (value + half_unit) * times)


def documented_number(claim: dict, where: str) -> Printed:
    """The number that a claim documents, in the metric's own unit. Raises UserError as `printed` does.

    `within` replaces half a unit of the last digit where the write-up's code does not round as usual.
    """
    times = claim.get("times", 1)
    number = printed(claim.get("documented"), f"{where}.documented", times)
    if "within" not in claim:
        return number
    low, high = (printed(end, f"{where}.within", times).value for end in claim["within"])
    if not low <= number.value <= high:
        raise UserError(f"{where}.within is {low} to {high}, without the documented {number.value}; give its ends.")
    return number._replace(low=low, high=high)


def documented_curve(claim: dict, where: str) -> list[Printed]:
    """The figures of a curve claim, one per epoch or logged batch. Raises UserError as `printed` does."""
    return [printed(figure, f"{where}.curve") for figure in claim["curve"].split()]


def documented_text(claim: dict, where: str) -> str:
    """What a table prints as documented: the number as printed but in the metric's unit, the curve's figures, or 1."""
    kind = kind_of(claim, where)
    if kind == "curve":
        return " ".join(claim["curve"].split())
    if kind == "labels":
        return " ".join(map(str, claim["first_labels"]))
    if kind == "property":
        return "1"  # the one documented run, of one, shows it
    return f"{documented_number(claim, where).value:f}" if "times" in claim else str(claim.get("documented", ""))


def falls(curve: Iterable[float]) -> set[tuple[int, int]]:
    """The consecutive epochs (from 1) between which a curve falls: {(13, 14), …}. Equal values do not fall."""
    return {(epoch, epoch + 1) for epoch, (now, then) in enumerate(pairwise(curve), start=1) if then < now}


def shows(claim: dict, curve: Sequence[float]) -> bool:
    """Whether one curve, replicated or printed, shows the property that `claim` speaks of."""
    if "falls_every_epoch" in claim:
        return len(falls(curve)) == len(curve) - 1
    return falls(curve) >= {tuple(pair) for pair in claim["dips_at"]}


def self_check(claims: dict, name: str, where: str) -> tuple[str, str] | None:
    """Does a claim agree with the curve printed by the same write-up? ("consistent" or "contradicted", what it shows).

    `claims` are all those of the experiment, and `where` is their place in the config. None where the write-up prints
    no curve of the claim's metric, or where the claim is no property, no value at an epoch and no best epoch (the first
    of the highest validation accuracy).
    """
    claim = claims[name]
    best_epoch = claim.get("metric") == "validation/best_epoch"
    metric = "validation/accuracy" if best_epoch else claim.get("metric")
    source = next((key for key, other in claims.items() if "curve" in other and other.get("metric") == metric), None)
    if source is None:
        return None
    curve, figures = documented_curve(claims[source], f"{where}.{source}"), claims[source]["curve"].split()
    kind = kind_of(claim, f"{where}.{name}")
    if kind == "property":
        values = [float(figure.value) for figure in curve]
        return _outcome(shows(claim, values)), _falls_in_words(values)
    if kind != "number" or not (best_epoch or "epoch" in claim):
        return None
    number = documented_number(claim, f"{where}.{name}")
    if best_epoch:
        best = int(np.argmax([figure.value for figure in curve]))  # the first of equals, as training keeps it
        return _outcome(number.value == best + 1), f"its table is first highest at epoch {best + 1} ({figures[best]})"
    epoch = claim["epoch"]
    if epoch > len(curve):
        return _outcome(False), f"its table has only {len(curve)} epochs"
    there = curve[epoch - 1]
    agrees = number.low < there.high and there.low < number.high  # one number can print as both
    return _outcome(agrees), f"its table shows {figures[epoch - 1]} at epoch {epoch}"


def _outcome(agrees: bool) -> str:
    return "consistent" if agrees else "contradicted"


def _falls_in_words(curve: Sequence[float]) -> str:
    fallen, steps = falls(curve), {(epoch, epoch + 1) for epoch in range(1, len(curve))}
    if fallen == steps:
        return "its table falls at every epoch"
    if not fallen:
        return "its table never falls"
    if len(fallen) > len(steps) / 2:
        return f"its table falls at every epoch but {_in_words(steps - fallen)}"
    return f"its table falls at {_in_words(fallen)}"


def _in_words(pairs: set[tuple[int, int]]) -> str:
    return ", ".join(f"{start}–{end}" for start, end in sorted(pairs))
