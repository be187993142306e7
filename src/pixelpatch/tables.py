"""Tables for people: each is written whole as CSV, readable as Markdown, and ready for a paper as LaTeX.

The views (`claims_view`, `oddities_view`, …) turn tidy tables into the columns that a reader sees (strings only);
`write_table` writes both; `terminal_claims` prints the verdicts.
"""

import math
import re
from collections.abc import Callable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from pixelpatch.errors import UserError
from pixelpatch.files import write_atomically
from pixelpatch.study import systems

View = Callable[[pd.DataFrame], pd.DataFrame]

# The metric that stands for a system's accuracy: the first of these that its runs have.
ACCURACY_METRICS = ("test/accuracy", "test/digit_accuracy")

# Columns that are text even where all that stands in them looks like a number, or nothing does.
_TEXT = ("metric", "documented", "note", "predicted")

# What must stand in the columns of the tables that are read again; in those of a claim, numbers can be missing.
_RUN = {"experiment": "str", "seed": "int64"}
_METRIC = _RUN | {"narrowed": "bool", "metric": "str"}
_TIDY = ("runs", "curves", "confusion", "correctness")
_COLUMNS = {
    "runs": _METRIC | {"value": "float64"},
    "curves": _METRIC | {"epoch": "int64", "value": "float64"},
    "confusion": _RUN | {"label": "int64", "predicted": "str", "count": "int64"},
    "correctness": _RUN | {"items": "int64", "right": "str"},
    "claims": dict.fromkeys(("system", "claim", "text", "kind", "metric", "documented", "verdict", "note"), "str")
    | {"n_seeds": "int64"}
    | dict.fromkeys(("replicated_mean", "replicated_std", "interval_low", "interval_high"), "float64")
    | dict.fromkeys(("p_value", "p_holm", "effect_size"), "float64"),
    "oddities": dict.fromkeys(("system", "experiment", "oddity", "instead", "metric", "finding"), "str")
    | {"n_seeds": "int64"}
    | dict.fromkeys(("effect_points", "interval_low", "interval_high", "p_value", "p_holm"), "float64"),
}

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "|": r"\textbar{}",
        "[": "{[}",  # a cell that starts with a bracket would else be read as the option of the row's \\
        "]": "{]}",
        "±": r"$\pm$",
        "×": r"$\times$",
        "−": "$-$",
        "∞": r"$\infty$",
        "→": r"$\to$",
        "≤": r"$\le$",
        "≥": r"$\ge$",
        "…": r"\dots{}",
        "–": "--",
        "\n": " ",
    }
)


def read_table(tables: Path, name: str) -> pd.DataFrame:
    """The tidy table `<tables>/<name>.csv`; floats come back bit for bit, `documented` stays text as printed.

    Raises UserError where the file is missing or is not such a table.
    """
    path, columns = Path(tables) / f"{name}.csv", _COLUMNS.get(name, {})
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(_TEXT, "str") | columns)
        if missing := columns.keys() - table.columns:
            raise ValueError(f"it has no column {', '.join(sorted(missing))}")
        if name in _TIDY and table.duplicated([*columns][:-1]).any():  # the last one is what is measured
            raise ValueError("it has a row twice")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:  # pandas' own errors too
        raise UserError(f"{path} is not a table ({str(error).strip()}); delete it and run again.") from None
    return table


def write_table(
    frame: pd.DataFrame, stem: Path, *, caption: str, columns: View = lambda frame: frame.map(number)
) -> None:
    """Write `<stem>.csv` (all of `frame`, floats that read back to the same bits), `<stem>.md` and `<stem>.tex`.

    `columns` makes the readable columns of the last two from the frame: one of the views here, or any such function.
    The LaTeX needs the packages booktabs and, beyond 25 rows, longtable. Each file is written whole or not at all;
    raises UserError where one cannot be.
    """
    stem, view = Path(stem), columns(frame)
    write_atomically(stem.with_name(f"{stem.name}.csv"), frame.to_csv(index=False, lineterminator="\n"))
    write_atomically(stem.with_name(f"{stem.name}.md"), _markdown(view, caption))
    write_atomically(stem.with_name(f"{stem.name}.tex"), _latex(view, caption, f"tab:{stem.name}"))


def claims_view(claims: pd.DataFrame, *, alpha: float = 0.05) -> pd.DataFrame:
    """What a reader sees of claims.csv: one row per claim, in the same order; `alpha` names the interval's level."""
    return _frame(
        claims,
        {
            "System": lambda row: text(row["system"]),
            "Claim": lambda row: text(row["text"]),
            "Documented": documented,
            "Replicated (mean ± sd)": replicated,
            "n": _seeds,
            _level(alpha): lambda row: interval(row["interval_low"], row["interval_high"]),
            "p (Holm)": lambda row: p_value(row["p_holm"]),
            "Verdict": verdict,
            "Why": lambda row: text(row["note"]),
        },
    )


def comparisons_view(comparisons: pd.DataFrame, *, alpha: float = 0.05) -> pd.DataFrame:
    """What a reader sees of comparisons.csv: one row per pair of systems and metric, A minus B."""
    return _frame(
        comparisons,
        {
            "Metric": lambda row: text(row["metric"]),
            "A": lambda row: text(row["system_a"]),
            "B": lambda row: text(row["system_b"]),
            "n": lambda row: f"{number(row['n_a'])}, {number(row['n_b'])}",
            "Mean A": lambda row: fixed(row["mean_a"], _places(row)),
            "Mean B": lambda row: fixed(row["mean_b"], _places(row)),
            "A − B": lambda row: fixed(row["difference"], _places(row)),
            _level(alpha): lambda row: interval(row["interval_low"], row["interval_high"], at_least=2),
            "p (Welch)": lambda row: p_value(row["p_welch"]),
            "p (permutation)": lambda row: p_value(row["p_permutation"]),
            "p (Holm)": lambda row: p_value(row["p_holm"]),
            "Effect size": lambda row: fixed(row["effect_size"], 2),
            "P(A > B)": lambda row: fixed(row["superiority"], 2),
            "Seeds to tell": lambda row: number(row["seeds_to_tell"]),
            "Reduced budget": lambda row: text(row["narrowed"]),
        },
    )


def summary(runs: pd.DataFrame, study: Mapping[str, Any]) -> pd.DataFrame:
    """One row per system of runs.csv, in the study's order: its accuracies over seeds (%), size, speed and budget.

    `test_*` is the test accuracy; for a system that has none (the grid reader) the accuracy per digit, as
    `test_metric` says. Seconds and images per second are means over its runs. Missing is NaN.
    """
    present = set(runs["experiment"])
    return pd.DataFrame(
        [
            _summary_row(runs[runs["experiment"] == system], system, experiment)
            for system, experiment in systems(study).items()
            if system in present
        ]
    )


def accuracy_view(summary: pd.DataFrame) -> pd.DataFrame:
    """What a reader sees of `summary`."""
    return _frame(
        summary,
        {
            "System": lambda row: text(row["title"]) + (" (per digit)" if "digit" in text(row["test_metric"]) else ""),
            "n": lambda row: number(row["n_seeds"]),
            "Test accuracy (%)": lambda row: mean_sd(row["test_mean"], row["test_std"]),
            "Min–max": lambda row: _span(row["test_min"], row["test_max"]),
            "Validation (%)": lambda row: mean_sd(row["validation_mean"], row["validation_std"]),
            "Parameters": lambda row: number(row["parameters"]),
            "Seconds per run": lambda row: number(row["seconds"], digits=3),
            "Images/s": lambda row: number(row["images_per_second"], digits=3),
            "Budget": lambda row: text(row["budget"]),
        },
    )


def equivalence_view(equivalence: pd.DataFrame, *, alpha: float = 0.05) -> pd.DataFrame:
    """What a reader sees of equivalence.csv: one row per numerics check, the experiment minus its reference."""
    return _frame(
        equivalence,
        {
            "Experiment": lambda row: text(row["experiment"]),
            "Reference": lambda row: text(row["reference"]),
            "Metric": lambda row: text(row["metric"]),
            "n": lambda row: f"{number(row['n'])}, {number(row['n_reference'])}",
            "Mean": lambda row: fixed(row["mean"], _places(row)),
            "Reference mean": lambda row: fixed(row["mean_reference"], _places(row)),
            "Difference": lambda row: fixed(row["difference"], _places(row)),
            "Margin": lambda row: f"±{number(row['margin'])}",
            _level(2 * alpha): lambda row: interval(row["interval_low"], row["interval_high"], at_least=2),
            "p (TOST)": lambda row: p_value(row["p_tost"]),
            "Verdict": lambda row: text(row["verdict"]),
            "Why": lambda row: text(row["note"]),
        },
    )


def oddities_view(oddities: pd.DataFrame, *, alpha: float = 0.05) -> pd.DataFrame:
    """What a reader sees of oddities.csv: one row per oddity, the mended run minus the run as documented."""
    return _frame(
        oddities,
        {
            "System": lambda row: text(row["system"]),
            "Oddity": lambda row: text(row["oddity"]),
            "Instead": lambda row: text(row["instead"]),
            "n": lambda row: number(row["n_seeds"]),
            "As documented (%)": lambda row: fixed(row["mean_documented"], 2),
            "Mended (%)": lambda row: fixed(row["mean_mended"], 2),
            "Effect (points)": lambda row: fixed(row["effect_points"], 2),
            _level(alpha): lambda row: interval(row["interval_low"], row["interval_high"], at_least=2),
            "p (Holm)": lambda row: p_value(row["p_holm"]),
            "Finding": lambda row: text(row["finding"]),
        },
    )


def identification_view(identification: pd.DataFrame) -> pd.DataFrame:
    """What a reader sees of identification.csv: a row per cell and identifying number, the best cells first."""
    ranked = identification.sort_values(["question", "log_likelihood"], ascending=[True, False], kind="stable")
    return _frame(
        ranked,
        {
            "Question": lambda row: text(row["question"]),
            "Settings": _cell,
            "Number": lambda row: f"{row['system']} {row['claim']}",
            "Documented": lambda row: text(row["documented"]),
            "n": lambda row: number(row["n_seeds"]),
            "Ours (mean ± sd)": lambda row: mean_sd(row["mean"], row["std"]),
            "p": lambda row: p_value(row["p_value"]),
            "Log-likelihood": lambda row: fixed(row["log_likelihood"], 1),
            "": lambda row: "identified" if row["identified"] else "compatible" if row["compatible"] else "",
        },
    )


def predictions_view(predictions: pd.DataFrame, *, alpha: float = 0.05) -> pd.DataFrame:
    """What a reader sees of predictions.csv: a row per cell and predicted number, the identified first."""
    ranked = predictions.sort_values(["question", "identified"], ascending=[True, False], kind="stable")
    return _frame(
        ranked,
        {
            "Question": lambda row: text(row["question"]),
            "Settings": lambda row: ", ".join(filter(None, [_cell(row), text(row["variant"])])),
            "": lambda row: "identified" if row["identified"] else "",
            "Number": lambda row: f"{row['system']} {row['claim']}",
            "Documented": lambda row: text(row["documented"]),
            "n": lambda row: number(row["n_seeds"]),
            "Ours (mean ± sd)": lambda row: mean_sd(row["mean"], row["std"]),
            _level(alpha): lambda row: interval(row["interval_low"], row["interval_high"]),
            "p": lambda row: p_value(row["p_value"]),
            "Verdict": lambda row: {"higher": "ours higher", "lower": "ours lower"}.get(row["verdict"], row["verdict"]),
        },
    )


def variance_view(variance: pd.DataFrame) -> pd.DataFrame:
    """What a reader sees of variance.csv: one row per system."""
    return _frame(
        variance,
        {
            "System": lambda row: text(row["system"]) + (" (per digit)" if "digit" in row["metric"] else ""),
            "n": lambda row: number(row["n_seeds"]),
            "Test items": lambda row: number(row["items"]),
            "Mean (%)": lambda row: fixed(row["mean"], 2),
            "Seed to seed": lambda row: fixed(row["seed_std"], 3),
            "Binomial": lambda row: fixed(row["binomial_std"], 3),
            "Images (bootstrap, mean of seeds)": lambda row: fixed(row["image_std"], 3),
            "Images × seeds (bootstrap, one run)": lambda row: fixed(row["both_std"], 3),
        },
    )


def places_view(places: pd.DataFrame) -> pd.DataFrame:
    """What a reader sees of places.csv: one row per documented score."""
    return _frame(
        places,
        {
            "System": lambda row: text(row["system"]),
            "Claim": lambda row: text(row["claim"]),
            "Documented": lambda row: text(row["documented"]),
            "n": lambda row: number(row["n_seeds"]),
            "Ours (mean ± sd)": lambda row: mean_sd(row["mean"], row["std"]),
            "Rank": lambda row: f"{number(row['rank'])} of {row['n_seeds'] + 1}",
            "Chance of one run": lambda row: p_value(row["chance"]),
            "Best of": lambda row: number(row["best_of"]) or "more than 1,000,000",
        },
    )


def verdict_map_view(verdicts: pd.DataFrame) -> pd.DataFrame:
    """What a reader sees of verdict_map.csv: a row per score and number of seeds, a column per tolerance."""
    shown = verdicts.assign(tolerance=[f"±{100 * tolerance:g} %" for tolerance in verdicts["tolerance"]])
    index = ["system", "claim", "documented", "n_seeds"]
    wide = shown.pivot_table(index=index, columns="tolerance", values="verdict", aggfunc="first", sort=False)
    return wide.reset_index().map(number).rename(columns={"n_seeds": "n"})


def plan_view(plan: pd.DataFrame) -> pd.DataFrame:
    """What a reader sees of plan.csv: one row per experiment or family, and what all of them add up to."""
    total = plan[["recorded", "to_do", "core_hours_done", "core_hours_to_do"]].sum()
    rows = pd.concat([plan, pd.DataFrame([{"experiment": "all", **total}])]) if len(plan) else plan
    return _frame(
        rows,
        {
            "Experiment": lambda row: text(row["experiment"]),
            "Runs recorded": lambda row: number(row["recorded"]),
            "To do": lambda row: number(row["to_do"]),
            "Minutes per run": _minutes,
            "Core-hours done": lambda row: fixed(row["core_hours_done"], 2),
            "Core-hours to do": lambda row: fixed(row["core_hours_to_do"], 2),
        },
    )


def terminal_claims(claims: pd.DataFrame, *, width: int = 110) -> str:
    """The verdicts for a terminal `width` characters wide: a row per claim, then how many claims got which verdict."""
    view = _frame(
        claims,
        {
            "system": lambda row: text(row["system"]),
            "claim": lambda row: text(row["claim"]),
            "documented": documented,
            "replicated": replicated,
            "n": _seeds,
            "verdict": verdict,
        },
    )
    if view.empty:
        return "No claims."
    widths = {column: max(len(column), *view[column].str.len()) for column in view}
    spare = width - sum(widths.values()) - 2 * (len(widths) - 1)
    if spare < 0:  # a claim's name is the one cell that stays clear when cut
        widths["claim"] = max(12, widths["claim"] + spare)
        view["claim"] = [cut(cell, widths["claim"]) for cell in view["claim"]]
    lines = [list(widths), ["-" * size for size in widths.values()], *view.to_numpy().tolist()]
    counts = ", ".join(f"{count} {words}" for words, count in view["verdict"].value_counts(sort=False).items())
    table = ("  ".join(map(str.ljust, line, widths.values())).rstrip() for line in lines)
    return "\n".join([*table, "", f"{len(view)} claims: {counts}"])


def number(value: Any, *, digits: int = 4) -> str:
    """A number to `digits` significant digits, without trailing zeros; text as it is; missing empty.

    Thousands are separated, whole numbers stay whole: 95.01, 0.0101, 1,292,042.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        return text(value)
    if not math.isfinite(value):
        return fixed(value, 0)
    decimals = 0 if float(value).is_integer() else max(0, digits - 1 - math.floor(math.log10(abs(value))))
    rounded = fixed(value, decimals)
    return rounded.rstrip("0").rstrip(".") if decimals else rounded


def fixed(value: float, decimals: int) -> str:
    """A number with so many decimals, thousands separated; '∞' where it is infinite, empty where missing."""
    shown = f"{abs(value):,.{decimals}f}" if math.isfinite(value) else "∞"
    sign = "−" if value < 0 and re.search("[1-9∞]", shown) else ""  # no minus on what rounds to zero
    return "" if math.isnan(value) else sign + shown


def mean_sd(mean: float, std: float) -> str:
    """'95.12 ± 0.23', to two significant digits of the deviation; the mean alone where that is 0 or missing."""
    if not math.isfinite(mean):
        return ""
    if not math.isfinite(std) or std == 0:
        return number(mean)
    decimals = _decimals(std)
    return f"{fixed(mean, decimals)} ± {fixed(std, decimals)}"


def interval(low: float, high: float, *, at_least: int = 0) -> str:
    """'[94.6, 95.7]', to two significant digits of its half width and `at_least` so many decimals.

    Empty where an end is missing or infinite.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    if low == high:
        return f"[{number(low)}, {number(high)}]"
    decimals = _decimals((high - low) / 2, at_least=at_least)
    return f"[{fixed(low, decimals)}, {fixed(high, decimals)}]"


def p_value(value: float) -> str:
    """A p-value to three decimals, '<0.001' below that, empty where missing."""
    if not math.isfinite(value):
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def documented(row: Mapping[str, Any]) -> str:
    """A claim's documented value as printed: a curve's number of epochs, of a property the one run that shows it.

    Empty for a self-check, which has none but its text.
    """
    printed = text(row["documented"])
    if row["kind"] == "curve":
        return f"{len(printed.split())} epochs"
    if row["kind"] == "better" and printed:
        return f"+{printed}"
    return {"property": "1 of 1 run", "self-check": ""}.get(row["kind"], printed)


def replicated(row: Mapping[str, Any]) -> str:
    """What our runs show of a claim: mean ± standard deviation over seeds; of a property, how many runs show it."""
    mean, std = row["replicated_mean"], row["replicated_std"]
    if row["kind"] == "property" and math.isfinite(mean):
        return f"{round(mean * row['n_seeds'])} of {number(row['n_seeds'])} runs"
    return mean_sd(mean, std)


def verdict(row: Mapping[str, Any]) -> str:
    """A verdict in words that need no legend: of a refuted number or curve, on which side ours lies."""
    words = text(row["verdict"])
    if words not in ("higher", "lower"):
        return words
    return f"ours {words}" if row["kind"] in ("number", "curve") else "not reproduced"


def text(value: Any) -> str:
    """A cell's text; empty where it is missing."""
    return "" if value is None or value is pd.NA or value != value else str(value)


def cut(cell: str, width: int) -> str:
    """`cell`, its end replaced by an ellipsis where it is longer than `width` characters."""
    return cell if len(cell) <= width else f"{cell[: width - 1]}…"


def latex(value: str) -> str:
    """`value` with everything that LaTeX would read as a command, or that its fonts lack, written out."""
    return value.translate(_LATEX)


def _frame(source: pd.DataFrame, columns: Mapping[str, Callable[[Mapping[str, Any]], str]]) -> pd.DataFrame:
    rows = source.to_dict("records")
    return pd.DataFrame({name: pd.Series([cell(row) for row in rows], dtype="str") for name, cell in columns.items()})


def _minutes(row: Mapping[str, Any]) -> str:
    if not math.isfinite(row["minutes_per_run"]):
        return ""
    return fixed(row["minutes_per_run"], 1) if row["measured"] else f"at most {number(row['minutes_per_run'])}"


def _cell(row: Mapping[str, Any]) -> str:
    return f"{row['settings']}, {row['epochs']} epoch{'s' * (row['epochs'] != 1)}"


def _seeds(row: Mapping[str, Any]) -> str:
    return "" if row["kind"] == "self-check" else number(row["n_seeds"])


def _summary_row(runs: pd.DataFrame, system: str, experiment: Mapping[str, Any]) -> dict[str, Any]:
    values = {metric: group for metric, group in runs.groupby("metric")["value"]}
    nothing = pd.Series(dtype=float)
    test_metric = next((metric for metric in ACCURACY_METRICS if metric in values), "")
    test = values.get(test_metric, nothing)
    validation = values.get("validation/accuracy", nothing)
    return {
        "system": system,
        "title": experiment["title"],
        "n_seeds": runs["seed"].nunique(),
        "test_metric": test_metric,
        "test_mean": test.mean(),
        "test_std": test.std(),
        "test_min": test.min(),
        "test_max": test.max(),
        "validation_mean": validation.mean(),
        "validation_std": validation.std(),
        "parameters": values.get("model/parameters", nothing).mean(),
        "seconds": values.get("timing/seconds", nothing).mean(),
        "images_per_second": values.get("timing/images_per_second", nothing).mean(),
        "narrowed": bool(experiment["narrowed"]),
        "budget": experiment.get("narrowing", "") if experiment["narrowed"] else "",
    }


def _markdown(view: pd.DataFrame, caption: str) -> str:
    def escape(cell: str) -> str:
        return re.sub(r"<(?=[A-Za-z/!])", "&lt;", cell.replace("|", r"\|").replace("\n", " "))

    shown = view.map(escape).rename(columns=escape)
    align = ["left" if _is_text(view[column]) else "right" for column in view]
    table = tabulate(
        shown, headers="keys", showindex=False, tablefmt="pipe", disable_numparse=True, colalign=align or None
    )
    return f"{caption}\n\n{table}\n"


def _latex(view: pd.DataFrame, caption: str, label: str) -> str:
    long = len(view) > 25
    shown = view.map(latex).rename(columns=latex)
    body = shown.style.hide(axis="index").to_latex(
        column_format="".join(_column_format(view[column]) for column in view),
        caption=latex(caption),
        label=label,
        hrules=True,
        environment="longtable" if long else None,
        position=None if long else "tbp",
        position_float=None if long else "centering",
    )
    small = r"\footnotesize\setlength{\tabcolsep}{3pt}"
    body = f"{{{small}%\n{body}}}\n" if long else body.replace(r"\centering", rf"\centering{small}", 1)
    return f"% needs \\usepackage{{booktabs{',longtable' if long else ''}}}\n{body}"


def _column_format(column: pd.Series) -> str:
    if not _is_text(column):
        return "r"
    return "l" if column.str.len().max() <= 30 else r"p{0.18\linewidth}"


def _is_text(column: pd.Series) -> bool:
    """Whether a display column holds words rather than numbers, intervals and counts ("4 of 5 runs")."""
    return not column.str.fullmatch(r"[^A-Za-z]*|\d+ of \d+ runs?|\d+ epochs").all()


def _decimals(spread: float, *, at_least: int = 0) -> int:
    """The decimals that show two significant digits of a spread; `at_least` so many, where it is 0 or missing too."""
    if not (math.isfinite(spread) and spread > 0):
        return at_least
    return min(6, max(at_least, 1 - math.floor(math.log10(spread))))


def _places(row: Mapping[str, Any]) -> int:
    """The decimals of the means in a row that has an interval of their difference."""
    return _decimals((row["interval_high"] - row["interval_low"]) / 2, at_least=2)


def _span(low: float, high: float) -> str:
    return f"{fixed(low, 2)}–{fixed(high, 2)}" if math.isfinite(low) else ""


def _level(alpha: float) -> str:
    return f"{100 * (1 - alpha):g} % interval"
