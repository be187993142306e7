"""The repository's configuration, and ways to change it and to hear what is said: for the tests of configurations."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pixelpatch.errors import UserError
from pixelpatch.study import resolve

ROOT = Path(__file__).parents[1]
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))
# Through JSON, as Snakemake hands it on: YAML's anchors are copies then, and a change of one is a change of one.
CONFIG = json.loads(json.dumps(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))))
CHECKS = {  # of numerics, of these systems
    f"{system}_{numerics}": system
    for numerics in ("bfloat16", "two_threads")
    for system in ("vit16_tiny", "seq2seq_2x2")
}
Path_ = tuple[str | int, ...]
DELETE = object()


def paths(value: Any, above: Path_ = ()) -> Iterator[Path_]:
    """Where everything stands in a JSON value."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*above, key)
        yield from paths(item, (*above, key))


def at(value: Any, path: Path_) -> Any:
    for key in path:
        value = value[key]
    return value


def dotted(path: Path_) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


def changed(*changes: tuple[str | Path_, Any], config: Any = CONFIG) -> Any:
    """The configuration with other values at some paths ("a.b" or a tuple), or without them."""
    config = copy.deepcopy(config)
    for path, value in changes:
        path = tuple(path.split(".")) if isinstance(path, str) else path
        block = at(config, path[:-1])
        if value is DELETE:
            del block[path[-1]]
        else:
            block[path[-1]] = value
    return config


def renamed(path: Path_, name: str) -> Any:
    config = copy.deepcopy(CONFIG)
    block = at(config, path[:-1])
    items = [(name if key == path[-1] else key, value) for key, value in block.items()]
    block.clear()
    block.update(items)
    return config


def complaint(config: Any) -> str:
    """The whole of what is said about a configuration that is refused."""
    with pytest.raises(UserError) as caught:
        resolve(config, SCHEMA)
    first, *problems = str(caught.value).splitlines()
    assert first == "The configuration has problems:"
    assert problems
    assert len(set(problems)) == len(problems)
    assert all(problem.startswith("  ") and problem.endswith(".") for problem in problems)
    return str(caught.value)


def outcome(config: Any) -> str:
    """What is said about a configuration, or nothing where it is a study, one that JSON can hold."""
    try:
        json.dumps(resolve(config, SCHEMA), allow_nan=False)
    except UserError as error:
        return str(error)
    return ""


def study(*changes: tuple[str | Path_, Any]) -> dict[str, Any]:
    return resolve(changed(*changes), SCHEMA)


def is_open(path: Path_) -> bool:
    """Whether a key is a name that the configuration's author makes up."""
    return path[:-1] in (("experiments",), ("presets",), ("identify",), ("admissible",)) or path[-2:-1] == ("claims",)


PATHS = list(paths(CONFIG))
KEY_PATHS = [path for path in PATHS if isinstance(path[-1], str)]
# Single values; without a model's name, a source's kind or a parent, nothing says what other keys there may be, and
# null stands in the place of a block.
VALUES = [
    path
    for path in KEY_PATHS
    if not isinstance(at(CONFIG, path), dict | list | None) and path[-1] not in ("name", "kind", "extends")
]
BLOCKS = [(), *(path for path in PATHS if isinstance(at(CONFIG, path), dict))]
