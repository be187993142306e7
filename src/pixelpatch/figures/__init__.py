"""The study's figures, one module each: `FIGURES[name](study, tables, data)` draws one, `save` writes it."""

import inspect
import io
from pathlib import Path

from matplotlib.figure import Figure

from pixelpatch.figures import (
    accuracy_by_system,
    confusion,
    documented_vs_replicated,
    learning_curves,
    sample_inputs,
    style,
)
from pixelpatch.files import write_atomically

_MODULES = {
    module.__name__.rpartition(".")[2]: module
    for module in (learning_curves, documented_vs_replicated, accuracy_by_system, sample_inputs, confusion)
}

FIGURES: dict[str, style.Draw] = {name: module.draw for name, module in _MODULES.items()}

# One paragraph under each figure: the first of its module's docstring.
CAPTIONS: dict[str, str] = {
    name: " ".join(inspect.getdoc(module).split("\n\n")[0].split()) for name, module in _MODULES.items()
}


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
