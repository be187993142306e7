"""Fingerprints of code: a changed line of it is noticed, a changed comment, docstring or file name is not.

A record carries the digest of the code that its own run executes, so that a new model or another loss leaves the
records of other runs alone. It is a digest of what the code says, and not of where it lies: module names and imports of
this package do not count. What is imported counts instead, by its own content.
"""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pixelpatch.losses import loss_name

PACKAGE = Path(__file__).parent
NAME = PACKAGE.name
# What a run executes and no number depends on. A test holds the list against a run that is traced.
WITHOUT_EFFECT = {
    "checks": "refuses settings, and changes none",
    "errors": "one exception",
    "fetch": "hands on MNIST's bytes, whose digests it checks",
    "files": "writes what it is given",
    "memory": "says when memory is given back, and how much there was",
    "progress": "prints and takes times",
    "source": "tells code apart, and runs none",
    "stopping": "notes signals",
}


def source_digest(spec: dict[str, Any], *, gpu: bool = False) -> str:
    """SHA-256 (16 hex digits) of the code that a run of `spec` executes, on a GPU or on a CPU.

    Every optional part (a model, a loss, a task, an augmentation, …) counts only where the spec names it.
    """
    return _digest(frozenset(reached(parts(spec, gpu=gpu))))


def files_digest(*paths: str) -> str:
    """SHA-256 (16 hex digits) of files and folders of the package, wherever in it they lie and in any order."""
    files = [PACKAGE / path for path in paths]
    return _digest(frozenset(file for path in files for file in (path.rglob("*.*") if path.is_dir() else [path])))


def parts(spec: dict[str, Any], *, gpu: bool) -> list[str]:
    """The modules that a run of `spec` begins with, and those that it imports where it needs them."""
    optional = {
        "augmentation": "augmentation" in spec["data"],
        "dataloader_order": spec["training"].get("one_generator", False),
        "graphs": gpu,
    }
    return [
        "training",
        "grids" if "grids" in spec["data"] else "digits",
        f"losses.{loss_name(spec['training'])}",
        f"models.{spec['model']['name']}",
        *(part for part, needed in optional.items() if needed),
    ]


def reached(modules: Iterable[str]) -> set[Path]:
    """The files of `modules` and of all that they import at their top, but for those WITHOUT_EFFECT."""
    found: set[Path] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in WITHOUT_EFFECT or (path := _path(module)) is None or path in found:
            continue
        found.add(path)
        if (c := path.with_suffix(".c")).exists():
            found.add(c)
        waiting += _imported(_read(path))
    return found


def _path(module: str) -> Path | None:
    """The file of a module of this package, by its dotted name below the package; None where there is none."""
    path = PACKAGE.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _imported(source: str) -> Iterator[str]:
    """Which modules of this package a module imports at its top; a name that is imported from one may be one too."""
    for node in ast.parse(source).body:
        if _is_own_import(node):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            yield from (name.removeprefix(f"{NAME}.") for name in names if name != NAME)


def _is_own_import(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return all(alias.name.partition(".")[0] == NAME for alias in node.names)
    return isinstance(node, ast.ImportFrom) and node.module is not None and node.module.partition(".")[0] == NAME


@cache
def _digest(files: frozenset[Path]) -> str:
    readers = {".py": syntax, ".c": words}
    contents = sorted(repr(readers[file.suffix](_read(file))) for file in files if file.suffix in readers)
    return hashlib.sha256(repr(contents).encode()).hexdigest()[:16]


@cache
def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def words(source: str) -> list[list[str]]:
    """The words of each line of a C file that has any, comments left out."""
    kept = re.sub(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', lambda found: found[1] or " ", source, flags=re.DOTALL)
    return [line.split() for line in kept.splitlines() if line.split()]


def syntax(source: str) -> Any:
    """The syntax tree of a module as nested tuples, the same under every Python version that parses it alike.

    Docstrings, and imports of this package, are left out. (`ast.dump` prints empty fields in some versions and not in
    others.)
    """
    return _node(ast.parse(source))


def _node(node: Any) -> Any:
    if isinstance(node, list):
        return tuple(_node(item) for item in node if not _is_own_import(item))
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value is not None and value != []}
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        documented = ast.get_docstring(node, clean=False) is not None
        fields["body"] = node.body[1:] if documented else node.body
    return (type(node).__name__, *((name, _node(value)) for name, value in sorted(fields.items())))
