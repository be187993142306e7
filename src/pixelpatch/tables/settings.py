"""What every setting of a documented system rests on: the write-up itself (stated), the author's own published code, a
template that the write-up follows, or our choice, with where that is said or why it was chosen. A row per setting.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pixelpatch.basis import WORDS, Setting, settings
from pixelpatch.formatting import display, text
from pixelpatch.study import systems
from pixelpatch.variants import written

CAPTION = "The settings of every documented system, and what each rests on."
COLUMNS = ["system", "setting", "value", "basis", "source"]


def make(study: dict[str, Any], tables: Path) -> pd.DataFrame:
    """One row per system and setting, in the order of its spec; `tables` is not used."""
    rows = [
        (name, setting.path, written(setting.value), *_rests_on(setting, experiment["documented"], study["preset"]))
        for name, experiment in systems(study).items()
        if experiment["basis"]
        for setting in settings(experiment["spec"], experiment["basis"])
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rests_on(setting: Setting, documented: Mapping[str, Any], preset: str) -> tuple[str, str]:
    """The basis of a setting and its source; of one that the preset narrows, what is documented."""
    basis = WORDS[setting.basis]
    if setting.path in documented:
        return f"preset {preset}", f"{basis}: {written(documented[setting.path])}"
    return basis, setting.source


def view(frame: pd.DataFrame, study: dict[str, Any]) -> pd.DataFrame:
    """One row per setting; `study` is not used."""
    columns = {name.capitalize(): (lambda row, name=name: text(row[name])) for name in COLUMNS}
    return display(frame, columns)
