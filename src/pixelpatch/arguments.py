"""What the values of the command line may be; argparse says what is wrong, but where UserError is raised."""

import argparse
import json
import math
from pathlib import Path
from typing import Any

from pixelpatch.checks import instead
from pixelpatch.errors import UserError
from pixelpatch.tables import NAMES


def parsed_json(text: str, option: str) -> Any:
    """What the JSON of an option says. Raises UserError where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{option} is not JSON: {error}.") from None


def whole(text: str, *, least: int, most: int = 2**32 - 1) -> int:
    """A whole number from `least` to `most`, for argparse, which says what is wrong with other text."""
    if not text.isdecimal() or not least <= int(text) <= most:
        to = "on" if most == 2**32 - 1 else f"to {most}"
        raise argparse.ArgumentTypeError(f"{text} is no whole number from {least} {to}")
    return int(text)


def positive(text: str) -> float:
    """A number above zero."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number above zero")
    return number


def table_name(name: str) -> str:
    """The name of a table."""
    if name not in NAMES:
        raise argparse.ArgumentTypeError(f"{name} is no table{instead(name, NAMES)}")
    return name


def seed_list(text: str) -> list[int]:
    """Seeds separated by commas, for argparse."""
    return [whole(seed, least=0) for seed in text.split(",")]


def check_ending(option: str, path: Path, *endings: str) -> None:
    """Raises UserError where a file to be written has another ending, so that it takes the place of no other file."""
    if path.suffix not in endings:
        raise UserError(f"{option} is {path}; it must end in {' or '.join(endings)}.")


def usable_device(wanted: str | None) -> str:
    """The device of that name, or the GPU if there is one. Raises UserError where there is no such device."""
    import torch

    if wanted is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    usable = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    usable += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if wanted not in usable:
        raise UserError(f"--device is {wanted}; what PyTorch can use here is {', '.join(usable)}.")
    return wanted
