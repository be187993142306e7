"""The study's figures, one module each: `FIGURES[name](study, tables, data)` draws one, `save` writes it."""

import io
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
    "patch_sweep",
)


def _draw(name: str, study: Mapping[str, Any], tables: Path, data: Path) -> Figure:
    # Each module is imported when it draws: PyTorch, which one of them needs, takes seconds and most of the memory.
    return import_module(f"{__name__}.{name}").draw(study, tables, data)


FIGURES: dict[str, style.Draw] = {name: partial(_draw, name) for name in NAMES}


def caption(name: str) -> str:
    """What stands under the figure `name`, one paragraph: the first of its module's docstring."""
    return explanation(import_module(f"{__name__}.{name}"))


@style.styled
def save(figure: Figure, stem: Path) -> None:
    """Write `<stem>.pdf` (fonts embedded) and `<stem>.png` (200 dpi), each whole or not at all.

    Neither holds a date, so one matplotlib writes the same bytes for the same figure. Raises UserError where a file
    cannot be written.
    """
    stem = Path(stem)
    for kind, metadata in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
        content = io.BytesIO()
        figure.savefig(content, format=kind, dpi=200, metadata=metadata)
        write_atomically(stem.with_name(f"{stem.name}.{kind}"), content.getvalue())
