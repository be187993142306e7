"""A fingerprint of the code that training runs: a changed line of it is noticed, a changed comment is not."""

import ast
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
# What a record's numbers depend on. Analysis and figures are left out: changing a plot retrains nothing.
TRAINING_SOURCE = ("checkpoint.py", "data.py", "graphs.py", "optimisers.py", "training.py", "models")


@cache
def source_digest(*parts: str) -> str:
    """SHA-256 (16 hex digits) of the package's `parts`, files or folders; of the training code if none are named.

    Of Python's syntax trees and C's words, that is: comments, docstrings and layout do not count.
    """
    paths = [PACKAGE / name for name in parts or TRAINING_SOURCE]
    files = sorted(file for path in paths for file in (path.rglob("*.*") if path.is_dir() else [path]))
    readers = {".py": syntax, ".c": words}
    named = [
        (file.relative_to(PACKAGE).as_posix(), readers[file.suffix](file.read_text(encoding="utf-8")))
        for file in files
        if file.suffix in readers
    ]
    return hashlib.sha256(repr(named).encode()).hexdigest()[:16]


def words(source: str) -> list[list[str]]:
    """The words of each line of a C file that has any, comments left out."""
    kept = re.sub(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', lambda found: found[1] or " ", source, flags=re.DOTALL)
    return [line.split() for line in kept.splitlines() if line.split()]


def syntax(source: str) -> Any:
    """The syntax tree of a module as nested tuples, the same under every Python version that parses it alike.

    (`ast.dump` prints empty fields in some versions and not in others.)
    """
    return _node(ast.parse(source))


def _node(node: Any) -> Any:
    if isinstance(node, list):
        return tuple(_node(item) for item in node)
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value is not None and value != []}
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        documented = ast.get_docstring(node, clean=False) is not None
        fields["body"] = node.body[1:] if documented else node.body
    return (type(node).__name__, *((name, _node(value)) for name, value in sorted(fields.items())))
