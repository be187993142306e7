"""The study's figures, one module each: `FIGURES[name](study, tables, data)` draws one, `save` writes it."""

import ast
import io
import re
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pixelpatch.figures import style
from pixelpatch.files import write_atomically
from pixelpatch.formatting import explanation

NAMES = (
    "learning_curves",
    "documented_vs_replicated",
    "accuracy_by_system",
    "sample_inputs",
    "confusion",
    "oddities",
    "budget_map",
    "amount_of_descent",
    "patch_sweep",
    "attention_maps",
    "position_similarity",
    "grid_reading",
    "always_wrong",
)


FORMATS: dict[str, dict[str, None]] = {  # and what matplotlib would write into each of when and by what it was made
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
    "svg": {"Date": None},
}


def _draw(name: str, study: Mapping[str, Any], tables: Path, data: Path) -> Figure:
    # Each module is imported when it draws: PyTorch, which some of them need, takes seconds and most of the memory.
    return import_module(f"{__name__}.{name}").draw(study, tables, data)


FIGURES: dict[str, style.Draw] = {name: partial(_draw, name) for name in NAMES}


def caption(name: str) -> str:
    """What stands under the figure `name`, one paragraph: the first of its module's docstring."""
    source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")  # without what it would import
    return explanation(ast.get_docstring(ast.parse(source)))


@style.styled
def save(figure: Figure, stem: Path) -> None:
    """Write `<stem>.pdf` (fonts embedded), `<stem>.svg` and `<stem>.png` (200 dpi), each whole or not at all.

    None holds a date, so one matplotlib writes the same bytes for the same figure. Raises UserError where a file
    cannot be written.
    """
    stem = Path(stem)
    for kind, metadata in FORMATS.items():
        content = io.BytesIO()
        figure.savefig(content, format=kind, dpi=200, metadata=metadata)
        drawn = content.getvalue() if kind != "svg" else _numbered(content.getvalue())
        write_atomically(stem.with_name(f"{stem.name}.{kind}"), drawn)


def _numbered(svg: bytes) -> bytes:
    """`svg` with its clip paths numbered: matplotlib names them by a layout whose last bits differ from run to run."""
    for number, name in enumerate(dict.fromkeys(re.findall(rb"\bp[0-9a-f]{10}\b", svg))):
        svg = svg.replace(name, b"clip%d" % number)
    return svg
