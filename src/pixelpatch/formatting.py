"""How numbers, verdicts and whole tables read: cells of text, columns of cells, and those as Markdown or LaTeX."""

import ast
import math
import re
from collections.abc import Callable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from pixelpatch.metrics import BATCH_LOSS

# Emphasis, code, links, cells, tags and entities; and at the start, headings, quotations, code, lists and rules.
_MARKUP = re.compile(
    r"[\\`*|]|(?<![^\W_])_|_(?![^\W_])|(?<=])[(:]|<(?=[A-Za-z/!?])|&(?=#?\w+;)"
    r"|^#(?=#{0,5}(?:\s|$))|^[>~]|^[+-](?=[\s-]|$)|^\d+[.)](?=\s|$)"
)
_ENTITIES = {"<": "&lt;", "&": "&amp;"}
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


def display(frame: pd.DataFrame, columns: Mapping[str, Callable[[Mapping[str, Any]], str]]) -> pd.DataFrame:
    """What a reader sees of `frame`: for each of its rows, the cell that each of `columns` makes of it."""
    rows = frame.to_dict("records")
    return pd.DataFrame({name: pd.Series([cell(row) for row in rows], dtype="str") for name, cell in columns.items()})


def level(alpha: float) -> str:
    """The heading of intervals at confidence 1 − alpha."""
    return f"{100 * (1 - alpha):g} % interval"


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


def counted(count: int, thing: str) -> str:
    """'1 run', '2 runs'."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def patch_size(size: float) -> str:
    """The side of a patch, in pixels, and what has none."""
    return "CNN" if math.isnan(size) else f"{size:g}"


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


def precision(row: Mapping[str, Any]) -> int:
    """The decimals of the means in a row that has an interval of their difference."""
    return _decimals((row["interval_high"] - row["interval_low"]) / 2, at_least=2)


def documented(row: Mapping[str, Any]) -> str:
    """A claim's documented value as printed: how many values a curve has, of a property the one run that shows it.

    Empty for a self-check and a reading, which have none but their text.
    """
    printed = text(row["documented"])
    if row["kind"] == "curve":
        return f"{len(printed.split())} {'batches' if row['metric'] == BATCH_LOSS else 'epochs'}"
    if row["kind"] == "better" and printed:
        return f"+{printed}"
    return {"property": "1 of 1 run", "self-check": "", "reading": ""}.get(row["kind"], printed)


def replicated(row: Mapping[str, Any]) -> str:
    """What our runs show of a claim: mean ± standard deviation over seeds; of a property, how many runs show it."""
    mean, std = row["replicated_mean"], row["replicated_std"]
    if row["kind"] == "property" and math.isfinite(mean):
        return f"{round(mean * row['n_seeds'])} of {number(row['n_seeds'])} runs"
    return mean_sd(mean, std)


def verdict(row: Mapping[str, Any]) -> str:
    """A verdict in words that need no legend: of a refuted number or curve, on which side ours lies."""
    words = side(row["verdict"])
    return words if row["kind"] in ("number", "curve") or not words.startswith("ours") else "not reproduced"


def side(verdict: str) -> str:
    """A verdict on a number in words: where it is refuted, on which side ours lies."""
    words = text(verdict)
    if words in ("higher", "lower"):
        return f"ours {words}"
    return "compatible, but the protocol scatters" if words == "compatible" else words


def off(row: Mapping[str, Any]) -> str:
    """How far our mean lies from the documented value: "+0.32 points", "−3.1 %"; empty where missing."""
    if not math.isfinite(row["off"]):
        return ""
    sign = "+" if row["off"] > 0 else ""
    return f"{sign}{number(row['off'], digits=2)} {row['off_unit']}"


def rank(row: Mapping[str, Any]) -> str:
    """The documented value's place among it and our seeds, the best being 1; empty where missing."""
    return f"{number(row['rank'])} of {number(row['n_seeds'] + 1)}" if math.isfinite(row["rank"]) else ""


def text(value: Any) -> str:
    """A cell's text; empty where it is missing."""
    return "" if value is None or value is pd.NA or value != value else str(value)


def cut(cell: str, width: int) -> str:
    """`cell`, its end replaced by an ellipsis where it is longer than `width` characters."""
    return cell if len(cell) <= width else f"{cell[: width - 1]}…"


def markdown(value: str) -> str:
    """`value` on one line, with everything that Markdown would read as markup, or HTML as its own, written out."""
    line = " ".join(value.splitlines()).strip()
    return _MARKUP.sub(lambda found: _ENTITIES.get(found[0], f"{found[0][:-1]}\\{found[0][-1]}"), line)


def latex(value: str) -> str:
    """`value` with everything that LaTeX would read as a command, or that its fonts lack, written out."""
    return value.translate(_LATEX)


def explanation(module: Path) -> str:
    """The first paragraph of a module's docstring on one line: what stands below its figure or table.

    Read from the source file: PYTHONOPTIMIZE=2 strips docstrings, and importing the module takes seconds.
    """
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    return " ".join((docstring or "").split("\n\n")[0].split())


def markdown_table(view: pd.DataFrame, caption: str, note: str = "") -> str:
    """`view`, strings only, as a Markdown table below its caption and above its note."""
    shown = view.map(markdown).rename(columns=markdown)
    align = ["left" if _is_text(view[column]) else "right" for column in view]
    table = tabulate(
        shown, headers="keys", showindex=False, tablefmt="pipe", disable_numparse=True, colalign=align or None
    )
    return "\n\n".join(filter(None, [caption, table, note])) + "\n"


def latex_table(view: pd.DataFrame, caption: str, label: str) -> str:
    """`view`, strings only, as a LaTeX table with its caption; beyond 25 rows as one that breaks over pages."""
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
    return not column.str.fullmatch(r"[^A-Za-z]*|\d+ of \d+ runs?|\d+ (epochs|batches)").all()


def _decimals(spread: float, *, at_least: int = 0) -> int:
    """The decimals that show two significant digits of a spread; `at_least` so many, where it is 0 or missing too."""
    if not (math.isfinite(spread) and spread > 0):
        return at_least
    return min(6, max(at_least, 1 - math.floor(math.log10(spread))))
