"""The study's tables for people, one module each: `make_table(name, study, tables)` makes one and writes it.

A table's module says in its docstring what a reader learns from it, which stands below the table, and has a `CAPTION`
(besides, where there may be nothing to show, an `EMPTY` one), `make(study, tables)`, which computes it from the tidy
tables in the folder `tables`, and `view(frame, study)`: the columns that a reader sees, strings only.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixelpatch.errors import RESTORE, UserError
from pixelpatch.files import read_text, write_atomically

# pandas is imported where it is used: the command line asks for the names alone, and trains where there is none.
if TYPE_CHECKING:
    import pandas as pd

TIDY = ("runs", "curves", "confusion", "correctness", "provenance", "facts")  # that all others are made from
NAMES = (
    "claims",
    "settings",
    "comparisons",
    "accuracy",
    "modes",
    "equivalence",
    "oddities",
    "identification",
    "predictions",
    "specifications",
    "specification_summary",
    "variance",
    "places",
    "verdict_map",
    "patch_recipe",
    "patch_sweep",
    "patch_tests",
    "plan",
)

# Columns that are text even where all that stands in them looks like a number, or nothing does.
_TEXT = ("metric", "documented", "note", "predicted")

# What must stand in the columns of the tables that are read again; in those of a claim, numbers can be missing.
_RUN = {"experiment": "str", "seed": "int64"}
_METRIC = _RUN | {"narrowed": "bool", "metric": "str"}
_COLUMNS = {
    "runs": _METRIC | {"value": "float64"},
    "curves": _METRIC | {"epoch": "int64", "value": "float64"},
    "confusion": _RUN | {"label": "int64", "predicted": "str", "count": "int64"},
    "correctness": _RUN | {"items": "int64", "right": "str"},
    "provenance": _RUN
    | dict.fromkeys(("record", "device", "commit", "source", "python", "torch", "numpy", "lost", "diverged"), "str")
    | dict.fromkeys(("epochs", "of_epochs"), "int64"),
    "facts": dict.fromkeys(("experiment", "metric", "value"), "str"),
    "claims": dict.fromkeys(("system", "claim", "text", "kind", "metric", "documented", "verdict", "note"), "str")
    | {"n_seeds": "int64"}
    | dict.fromkeys(("replicated_mean", "replicated_std", "interval_low", "interval_high"), "float64")
    | dict.fromkeys(("p_value", "p_holm", "effect_size"), "float64"),
    "comparisons": dict.fromkeys(("metric", "system_a", "system_b"), "str")
    | dict.fromkeys(("n_a", "n_b"), "int64")
    | dict.fromkeys(("difference", "interval_low", "interval_high", "p_holm"), "float64"),
    "accuracy": dict.fromkeys(("system", "title", "test_metric"), "str")
    | {"n_seeds": "int64", "narrowed": "bool"}
    | dict.fromkeys(("test_mean", "test_std"), "float64"),
    "patch_sweep": dict.fromkeys(("experiment", "model"), "str")
    | {"train_images": "int64", "n_seeds": "int64", "best": "bool"}
    | dict.fromkeys(("patch", "test_mean", "test_std", "test_max", "tera_flops", "seconds"), "float64"),
    "oddities": dict.fromkeys(("system", "experiment", "oddity", "instead", "metric", "test"), "str")
    | dict.fromkeys(("finding", "means"), "str")
    | dict.fromkeys(("n_documented", "n_mended"), "int64")
    | dict.fromkeys(("effect_points", "interval_low", "interval_high", "p_value", "p_holm"), "float64"),
    "identification": dict.fromkeys(("question", "experiment", "settings", "system", "claim", "metric"), "str")
    | {"documented": "str"}
    | dict.fromkeys(("epochs", "n_seeds"), "int64")
    | dict.fromkeys(("mean", "std", "least", "most", "log_likelihood"), "float64")
    | dict.fromkeys(("compatible", "scatters", "identified", "truth"), "bool"),
    "predictions": dict.fromkeys(("question", "experiment", "settings", "predicted_by", "variant", "system"), "str")
    | dict.fromkeys(("claim", "metric", "documented", "verdict"), "str")
    | dict.fromkeys(("epochs", "n_seeds"), "int64")
    | dict.fromkeys(("mean", "std"), "float64")
    | dict.fromkeys(("identified", "truth"), "bool"),
    "modes": dict.fromkeys(("experiment", "metric", "digits"), "str")
    | dict.fromkeys(("n", "n_stuck"), "int64")
    | dict.fromkeys(("rate", "interval_low", "interval_high", "mean", "mean_stuck", "mean_escaped"), "float64"),
    "specifications": dict.fromkeys(("curve", "experiment", "settings", "standing", "system", "claim", "metric"), "str")
    | dict.fromkeys(("documented", "runs_of", "verdict"), "str")
    | dict.fromkeys(("epochs", "n_seeds", "n_diverged"), "int64")
    | {"author": "bool"}
    | dict.fromkeys(("mean", "std", "interval_low", "interval_high", "p_value", "p_holm"), "float64"),
    "specification_summary": dict.fromkeys(("curve", "result", "refuted_by", "author"), "str")
    | dict.fromkeys(("points", "reached", "not_excluded", "undecided", "refuted"), "int64")
    | dict.fromkeys(("too_few", "not_run"), "int64")
    | dict.fromkeys(("least_seeds", "most_seeds"), "int64")
    | dict.fromkeys(("left", "then_reached", "then_not_excluded", "then_undecided"), "float64")
    | dict.fromkeys(("then_refuted", "then_untested"), "float64"),
    "equivalence": dict.fromkeys(("experiment", "reference", "metric", "verdict", "note"), "str")
    | dict.fromkeys(("n", "n_reference", "n_stuck", "n_stuck_reference", "n_same"), "int64")
    | dict.fromkeys(("margin", "mean", "mean_reference", "mean_escaped", "mean_escaped_reference"), "float64")
    | dict.fromkeys(("difference", "interval_low", "interval_high", "p_stuck"), "float64"),
    "variance": dict.fromkeys(("system", "metric"), "str")
    | dict.fromkeys(("n_seeds", "items"), "int64")
    | dict.fromkeys(("mean", "seed_std", "binomial_std", "image_std", "both_std"), "float64"),
    "places": dict.fromkeys(("system", "claim", "metric", "documented"), "str")
    | dict.fromkeys(("n_seeds", "rank"), "int64")
    | dict.fromkeys(("mean", "std", "chance", "best_of"), "float64"),
    "patch_recipe": dict.fromkeys(("experiment", "settings"), "str")
    | {"n_seeds": "int64"}
    | dict.fromkeys(("validation_mean", "validation_std"), "float64")
    | dict.fromkeys(("chosen", "frozen"), "bool"),
    "patch_tests": dict.fromkeys(("test", "first", "second"), "str")
    | dict.fromkeys(("train_images", "n_first", "n_second"), "int64")
    | dict.fromkeys(("difference", "interval_low", "interval_high", "p_value", "p_holm"), "float64"),
    "plan": {"experiment": "str"}
    | dict.fromkeys(("recorded", "to_do"), "int64")
    | dict.fromkeys(("core_hours_done", "core_hours_to_do"), "float64"),
}
_EXPERIMENTS = ("experiment", "reference", "predicted_by", "runs_of")  # columns that name experiments of the study
_SYSTEMS = ("system", "system_a", "system_b")  # and its systems


def make_table(name: str, study: dict[str, Any], tables: Path) -> None:
    """Make the table `name` from the tidy tables in the folder `tables`, and write it there.

    Raises UserError where one of those cannot be read, or a file cannot be written.
    """
    table = import_module(f"{__name__}.{name}")  # when it is made: scipy, which most of them need, takes a second
    frame = table.make(study, tables)
    caption = table.CAPTION if len(frame) else getattr(table, "EMPTY", table.CAPTION)
    caption = f"{caption} Preset {study['preset']}."
    write_table(frame, tables / name, caption=caption, view=table.view(frame, study), note=footnote(name))


def footnote(name: str) -> str:
    """The note below the table `name`: the first paragraph of its module's docstring."""
    from pixelpatch.formatting import explanation

    return explanation(Path(__file__).with_name(f"{name}.py"))


def write_table(frame: "pd.DataFrame", stem: Path, *, caption: str, view: "pd.DataFrame", note: str = "") -> None:
    """Write `<stem>.csv` (all of `frame`, floats that read back to the same bits), `<stem>.md` and `<stem>.tex`.

    The last two show `view`, strings only; below it in Markdown stands `note`. The LaTeX needs the packages booktabs
    and, beyond 25 rows, longtable. Each file is written whole or not at all; raises UserError where one cannot be.
    """
    from pixelpatch.formatting import latex_table, markdown_table

    stem = Path(stem)
    write_atomically(stem.with_name(f"{stem.name}.csv"), frame.to_csv(index=False, lineterminator="\n"))
    write_atomically(stem.with_name(f"{stem.name}.md"), markdown_table(view, caption, note))
    write_atomically(stem.with_name(f"{stem.name}.tex"), latex_table(view, caption, f"tab:{stem.name}"))


def seal(tables: Path, names: Iterable[str]) -> None:
    """Note the SHA-256 of the CSV tables `names`, as `sha256sum` does, so that an edited one is recognised.

    Those of TIDY in `tidy.sha256` in the folder `tables`, all others in `tables.sha256`.
    """
    for path in (Path(tables) / f"{name}.csv" for name in names):
        sums = _sums(_seal(path)) | {path.name: _sha256(path)}
        write_atomically(_seal(path), "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())))


def _sealed(path: Path) -> bool:
    """Whether a table is as it was written, so far as that is known: one that is made by hand has no seal."""
    return _sums(_seal(path)).get(path.name) in (None, _sha256(path))


def _seal(path: Path) -> Path:
    return path.with_name("tidy.sha256" if path.stem in TIDY else "tables.sha256")


def _sums(file: Path) -> dict[str, str]:
    lines = read_text(file).splitlines() if file.exists() else []
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_table(tables: Path, name: str, study: Mapping[str, Any] | None = None) -> "pd.DataFrame":
    """The tidy table `<tables>/<name>.csv`; floats come back bit for bit, `documented` stays text as printed.

    Raises UserError where the file is missing, is not such a table, was edited, or names what `study` does not have.
    """
    import pandas as pd

    path, columns = Path(tables) / f"{name}.csv", _COLUMNS.get(name, {})
    try:
        if missing := columns.keys() - pd.read_csv(path, nrows=0).columns:
            raise ValueError(f"it has no column {', '.join(sorted(missing))}")
        table = pd.read_csv(path, dtype=dict.fromkeys(_TEXT, "str") | columns)
        if name in TIDY and table.duplicated([*columns][:-1]).any():  # the last one is what is measured
            raise ValueError("it has a row twice")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:  # pandas' own errors too
        what = _unfit(path, columns) or str(error).strip()
        raise UserError(f"{path} is not a table ({what}); {RESTORE}.") from None
    for column, value in _strangers(table, study) if study else ():
        raise UserError(f"{path} has the {column} {value!r}, which is not in the study; {RESTORE}.")
    if not _sealed(path):
        raise UserError(f"{path} was changed after it was written (see {_seal(path).name}); {RESTORE}.")
    return table


def _unfit(path: Path, columns: Mapping[str, str]) -> str | None:
    """The first value of a wrong type in a table, in words; None if there is none."""
    import pandas as pd

    with suppress(OSError, ValueError):  # no table at all
        table = pd.read_csv(path, dtype="str")
        for column, kind in columns.items():
            if kind == "str" or column not in table:
                continue
            texts = table[column]
            numbers = pd.to_numeric(texts, errors="coerce")
            right, wanted = {
                "bool": (texts.str.lower().isin(["true", "false"]), "True or False"),
                "int64": (numbers.mod(1).eq(0), "a whole number"),
                "float64": (numbers.notna() | texts.isna(), "a number"),
            }[kind]
            if not right.all():
                value = texts[~right].iloc[0]
                said = "nothing" if pd.isna(value) else repr(value)
                return f"its column {column} has {said} where {wanted} should be"
    return None


def _strangers(table: "pd.DataFrame", study: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(column, name) for every name in the table that the study does not have."""
    from pixelpatch.study import systems

    blocks = study["experiments"]
    families = {block["vary"]["family"] for block in blocks.values() if block.get("vary")}  # which the plan has as well
    known = dict.fromkeys(_EXPERIMENTS, blocks.keys() | families) | dict.fromkeys(_SYSTEMS, systems(study))
    known |= {"question": study.get("identify", {}), "curve": study.get("admissible", {})}
    for column, names in known.items():
        if column in table:
            yield from ((column, name) for name in table[column].unique() if name not in names)
