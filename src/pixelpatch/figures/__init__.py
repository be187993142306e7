"""The study's figures, one module each: `FIGURES[name](study, tables, data)` draws one, `save` writes it."""

import io
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
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
    "specification_curve",
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
DIGITS = 6  # of a place, as a share of the figure


def _draw(name: str, study: Mapping[str, Any], tables: Path, data: Path) -> Figure:
    # Each module is imported when it draws: PyTorch, which some of them need, takes seconds and most of the memory.
    return import_module(f"{__name__}.{name}").draw(study, tables, data)


FIGURES: dict[str, style.Draw] = {name: partial(_draw, name) for name in NAMES}


def caption(name: str) -> str:
    """What stands under the figure `name`, one paragraph: the first of its module's docstring."""
    return explanation(Path(__file__).with_name(f"{name}.py"))


@style.styled
def save(figure: Figure, stem: Path) -> None:
    """Write `<stem>.pdf` (fonts embedded), `<stem>.svg` and `<stem>.png` (200 dpi), each whole or not at all.

    None holds a date, so one matplotlib writes the same bytes for the same figure. Raises UserError where a file
    cannot be written.
    """
    stem = Path(stem)
    _settle(figure)
    for kind, metadata in FORMATS.items():
        content = io.BytesIO()
        figure.savefig(content, format=kind, dpi=200, metadata=metadata)
        write_atomically(stem.with_name(f"{stem.name}.{kind}"), content.getvalue())


def _settle(figure: Figure) -> None:
    """Lay `figure` out, once for all formats: the solver's last bits differ from run to run, so places are rounded."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for part in figure.subfigs:
        part.bbox_relative.set_points(part.bbox_relative.get_points().round(DIGITS))
    for axes in figure.axes:
        axes.set_position(np.round(axes.get_position(original=True).bounds, DIGITS))
