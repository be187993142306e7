"""YAML and JSON files, read strictly: what their own readers let pass, a key given twice above all, is one sentence."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from pixelpatch.errors import UserError
from pixelpatch.files import read_text

MOST_VALUES = 100_000  # of one file, those under anchors counted wherever they are used


def read_yaml(path: Path) -> Any:
    """The value in a YAML file.

    Raises UserError, with the line, where the file is missing, no text, no YAML, gives a key twice, or holds more
    values than any configuration (anchors within anchors, or one within itself).
    """
    text = read_text(path)
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        _check(root, path, {}) if root else None
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        raise UserError(f"{_place(path, error.problem_mark)} is no YAML: {error.problem}.") from None
    except RecursionError:
        raise UserError(f"{path} is nested too deep, or has an anchor (&) within itself.") from None
    except (yaml.YAMLError, ValueError) as error:  # a control character; a date or a number that is none
        raise UserError(f"{path} is no YAML: {' '.join(str(error).split())}.") from None


def read_configuration(path: Path) -> Any:
    """The value in a file that is JSON or else YAML, whatever its name, as Snakemake takes it. Raises as above."""

    def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if twice := [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]:
            raise UserError(f"{path} gives the key {twice[0]} again.")
        return dict(pairs)

    try:
        return json.loads(read_text(path), object_pairs_hook=once_each)
    except (ValueError, RecursionError):
        return read_yaml(path)


def _check(node: yaml.Node, path: Path, sizes: dict[yaml.Node, int]) -> int:
    """How many values `node` stands for; raises UserError at a key that is given twice, or at too many values."""
    if node not in sizes:
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, path)
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
        sizes[node] = 1 + sum(_check(part, path, sizes) for part in parts)
        if sizes[node] > MOST_VALUES:
            raise UserError(f"{_place(path, node.start_mark)} has more than {MOST_VALUES} values, anchors resolved.")
    return sizes[node]


def _check_keys(node: yaml.MappingNode, path: Path) -> None:
    first: dict[str, yaml.Node] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise UserError(f"{_place(path, key.start_mark)} has a key that is no text.")
        if key.value in first:
            line = first[key.value].start_mark.line + 1
            raise UserError(f"{_place(path, key.start_mark)} gives the key {key.value} again, after line {line}.")
        first[key.value] = key


def _place(path: Path, mark: yaml.Mark | None) -> str:
    return f"{path}, line {mark.line + 1}," if mark else str(path)
