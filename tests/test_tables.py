"""Tables: nothing is lost in the CSV, nothing misread in Markdown, nothing breaks LaTeX, nothing overclaims."""

import math
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pixelpatch import tables
from pixelpatch.errors import UserError
from pixelpatch.formatting import interval, latex, markdown, mean_sd, number, p_value, verdict
from pixelpatch.tables import NAMES, accuracy, comparisons, read_table, write_table
from pixelpatch.tables.accuracy import summary
from pixelpatch.tables.claims import terminal_claims
from pixelpatch.tables.claims import view as claims_view

NAN = math.nan
STUDY = {"analysis": {"alpha": 0.1}}
CLAIM = {
    "system": "blog_vit", "claim": "test-accuracy", "text": "90 % right", "kind": "number", "metric": "test/accuracy",
    "documented": "90.380", "replicated_mean": 89.8312, "replicated_std": 0.7216, "n_seeds": 10, "interval_low": 88.12,
    "interval_high": 91.54, "off": -0.5488, "off_unit": "points", "rank": 3, "p_value": 0.4, "p_holm": 0.8,
    "effect_size": NAN, "verdict": "reproduced", "note": "",
}  # fmt: skip


def test_the_tables_are_the_files_with_a_make_function() -> None:
    """Which is how the workflow finds them."""
    files = Path(tables.__file__).parent.glob("*.py")
    assert {file.stem for file in files if "\ndef make(" in file.read_text(encoding="utf-8")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_table_says_in_whole_sentences_what_a_reader_learns(name: str) -> None:
    table = import_module(f"pixelpatch.tables.{name}")
    for text in (table.__doc__.rstrip(), table.CAPTION, getattr(table, "EMPTY", table.CAPTION)):
        assert text.endswith(".")
        assert "\n\n" not in text


@pytest.mark.parametrize(("module", "library"), [("__main__", "pandas"), ("tables.claims", "scipy")])
def test_training_needs_no_pandas_and_showing_verdicts_no_scipy(module: str, library: str) -> None:
    script = f"import sys, pixelpatch.{module}; sys.exit('{library}' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def claims(*changes: dict) -> pd.DataFrame:
    return pd.DataFrame([CLAIM | change for change in changes])


def runs(values: dict[str, dict[str, list[float]]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            (system, seed, False, metric, value)
            for system, metrics in values.items()
            for metric, seeds in metrics.items()
            for seed, value in enumerate(seeds)
        ],
        columns=["experiment", "seed", "narrowed", "metric", "value"],
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (95.01, "95.01"),
        (0.0101, "0.0101"),
        (1292042.0, "1,292,042"),
        (np.int64(17999), "17,999"),
        (97.88734, "97.89"),
        (0.000123456, "0.0001235"),
        (1234.56, "1,235"),
        (-3.5, "−3.5"),
        (0.0, "0"),
        (NAN, ""),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (True, "True"),
        (None, ""),
    ],
)
def test_a_number_is_rounded_to_what_a_reader_needs(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("mean", "std", "shown"),
    [
        (95.1234, 0.2345, "95.12 ± 0.23"),
        (0.018421, 0.00104, "0.0184 ± 0.0010"),
        (9786.3, 13.2, "9,786 ± 13"),
        (1292042.0, 0.0, "1,292,042"),
        (97.55, NAN, "97.55"),
        (NAN, NAN, ""),
        (-0.04, 1.0, "0.0 ± 1.0"),
    ],
)
def test_a_mean_is_as_precise_as_its_spread(mean: float, std: float, shown: str) -> None:
    assert mean_sd(mean, std) == shown


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e3))
def test_a_rounded_interval_is_the_interval_to_a_twentieth_of_its_half_width(middle: float, half: float) -> None:
    ends = interval(middle - half, middle + half)[1:-1].split(", ")
    low, high = (float(end.replace("−", "-").replace(",", "")) for end in ends)
    assert low == pytest.approx(middle - half, abs=half / 19)
    assert high == pytest.approx(middle + half, abs=half / 19)


def test_intervals_and_p_values_at_their_edges() -> None:
    assert interval(88.123, 91.54) == "[88.1, 91.5]"
    assert interval(3.0, 3.0) == "[3, 3]"
    assert interval(NAN, 1.0) == interval(-math.inf, math.inf) == ""
    assert [p_value(p) for p in (0.0, 0.00099, 0.001, 0.0494, 1.0, NAN)] == [
        "<0.001", "<0.001", "0.001", "0.049", "1.000", "",
    ]  # fmt: skip


def test_the_csv_reads_back_to_the_same_bits_and_the_same_printed_text(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(500) * 10.0 ** np.arange(-250, 250)
    frame = pd.DataFrame({"documented": [*["95.10", "93", NAN] * 166, "1e3", "+7"], "value": values, "hole": NAN})
    write_table(frame, tmp_path / "deep" / "numbers", caption="Numbers", view=frame.map(number))
    back = read_table(tmp_path / "deep", "numbers")
    assert (back["value"].to_numpy() == values).all()
    assert back["documented"].fillna("-").tolist() == frame["documented"].fillna("-").tolist()
    assert back["hole"].isna().all()


def test_a_missing_or_broken_table_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"claims\.csv cannot be read"):
        read_table(tmp_path, "claims")
    (tmp_path / "claims.csv").write_text("")
    with pytest.raises(UserError, match=r"claims\.csv is not a table"):
        read_table(tmp_path, "claims")
    (tmp_path / "claims.csv").write_text('a,b\n1,2\n"3,4,5\n')
    with pytest.raises(UserError, match=r"claims\.csv is not a table"):
        read_table(tmp_path, "claims")
    (tmp_path / "runs.csv").write_text("experiment,seed,narrowed,metric\npit,0,True,test/loss\n")
    with pytest.raises(UserError, match=r"runs\.csv is not a table \(it has no column value\); restore it"):
        read_table(tmp_path, "runs")
    (tmp_path / "runs.csv").write_text("experiment,seed,narrowed,metric,value\npit,0,True,test/loss,0.x2\n")
    with pytest.raises(UserError, match=r"runs\.csv is not a table .*0\.x2"):
        read_table(tmp_path, "runs")
    row = "pit,0,True,test/loss,0.2\n"
    (tmp_path / "runs.csv").write_text(f"experiment,seed,narrowed,metric,value\n{row}{row}")
    with pytest.raises(UserError, match=r"runs\.csv is not a table \(it has a row twice\)"):
        read_table(tmp_path, "runs")


def test_what_claims_view_shows_of_every_kind_of_claim() -> None:
    nowhere = {"off": NAN, "rank": NAN}
    table = claims(
        {},
        {"kind": "curve", "documented": "2.2 1.9 1.5", "replicated_mean": NAN, "replicated_std": NAN, "n_seeds": 0,
         "interval_low": NAN, "interval_high": NAN, "p_holm": NAN, "verdict": "not tested", "note": "reduced budget"}
        | nowhere,
        {"kind": "property", "documented": "1", "replicated_mean": 0.75, "replicated_std": NAN, "n_seeds": 4} | nowhere,
        {"kind": "better", "documented": "7.17", "verdict": "lower", "p_holm": NAN} | nowhere,
        {"kind": "self-check", "documented": "1", "replicated_mean": NAN, "n_seeds": 0, "verdict": "contradicted"},
    )  # fmt: skip
    view = claims_view(table, STUDY)
    assert list(view) == [
        "System", "Claim", "Documented", "Replicated (mean ± sd)", "n", "Off", "Rank", "90 % interval", "p (Holm)",
        "Verdict", "Why",
    ]  # fmt: skip
    assert view.iloc[0].tolist() == [
        "blog_vit", "90 % right", "90.380", "89.83 ± 0.72", "10", "−0.55 points", "3 of 11", "[88.1, 91.5]", "0.800",
        "reproduced", "",
    ]  # fmt: skip
    assert view.iloc[1].tolist()[2:] == ["3 epochs", "", "0", "", "", "", "", "not tested", "reduced budget"]
    assert view.iloc[2].tolist()[2:5] == ["1 of 1 run", "3 of 4 runs", "4"]
    assert view.iloc[3].tolist()[2:] == [
        "+7.17",
        "89.83 ± 0.72",
        "10",
        "",
        "",
        "[88.1, 91.5]",
        "",
        "not reproduced",
        "",
    ]
    assert view.iloc[4].tolist()[2:5] == ["", "", ""]


def test_verdicts_are_words_that_need_no_legend() -> None:
    kinds = ("number", "curve", "better", "property")
    said = {
        (kind, word): verdict({"kind": kind, "verdict": word})
        for kind in kinds
        for word in ("higher", "lower", "undecided", "compatible")
    }
    assert said["number", "higher"] == said["curve", "higher"] == "ours higher"
    assert said["number", "lower"] == "ours lower"
    assert said["better", "lower"] == said["property", "lower"] == "not reproduced"
    assert {said[kind, "undecided"] for kind in kinds} == {"undecided"}
    assert said["number", "compatible"] == "compatible, but the protocol scatters"


def test_comparisons_view_shows_one_precision_a_row_and_names_reduced_budgets(tmp_path: Path) -> None:
    row = {
        "metric": "test/accuracy", "system_a": "pit", "system_b": "blog_cnn", "n_a": 3, "n_b": 5, "mean_a": 89.8,
        "mean_b": 97.857, "difference": -8.057, "interval_low": -9.4, "interval_high": -6.7, "t": -12.0,
        "p_welch": 0.0004, "p_permutation": 0.1, "p_holm": 0.05, "effect_size": -math.inf, "superiority": 0.0,
        "seeds_to_tell": 2.0,
    }  # fmt: skip
    pd.DataFrame([row | {"narrowed": "pit"}, row | {"narrowed": "", "interval_low": NAN}]).to_csv(
        tmp_path / "comparisons.csv", index=False
    )
    view = comparisons.view(read_table(tmp_path, "comparisons"), STUDY)
    assert view.iloc[0].tolist() == [
        "test/accuracy", "pit", "blog_cnn", "3, 5", "89.80", "97.86", "−8.06", "[−9.40, −6.70]", "<0.001", "0.100",
        "0.050", "−∞", "0.00", "2", "pit",
    ]  # fmt: skip
    assert view.iloc[1].tolist()[4:8] == ["89.80", "97.86", "−8.06", ""]
    assert view.iloc[1]["Reduced budget"] == ""


def test_summary_is_what_numpy_says_in_the_studys_order() -> None:
    study = {
        "experiments": {
            "b": {"title": "B", "narrowed": False, "narrowing": "none"},
            "absent": {"title": "Absent", "narrowed": False},
            "a": {"title": "A", "narrowed": True, "narrowing": "1 of 9 epochs"},
        }
    }
    accuracies = [97.1, 98.2, 97.7]
    table = summary(
        runs(
            {
                "a": {"test/digit_accuracy": [11.0]},
                "b": {
                    "test/accuracy": accuracies,
                    "validation/accuracy": [1.0, 2.0, 3.0],
                    "model/parameters": [7.0] * 3,
                    "timing/seconds": [1.0, 2.0, 6.0],
                    "timing/images_per_second": [10.0, 20.0, 30.0],
                },
            }
        ),
        study,
    )
    assert table["system"].tolist() == ["b", "a"]
    b, a = table.to_dict("records")
    assert (b["test_mean"], b["test_std"]) == pytest.approx((np.mean(accuracies), np.std(accuracies, ddof=1)))
    assert (b["n_seeds"], b["test_min"], b["test_max"], b["parameters"], b["seconds"]) == (3, 97.1, 98.2, 7.0, 3.0)
    assert (b["budget"], a["budget"]) == ("", "1 of 9 epochs")
    view = accuracy.view(table, study)
    assert view.iloc[0].tolist() == [
        "B", "3", "97.67 ± 0.55", "97.10–98.20", "2.0 ± 1.0", "7", "3", "20", "",
    ]  # fmt: skip
    assert view.iloc[1].tolist() == ["A (per digit)", "1", "11", "11.00–11.00", "", "", "", "", "1 of 9 epochs"]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=30))
def test_latex_leaves_no_character_that_is_a_command(text: str) -> None:
    escaped = latex(text)
    commands = (
        r"\\text(backslash|asciitilde|asciicircum|bar)\{\}|\\dots\{\}|\\[&%$#_{}]|\$(<|>|-|\\[a-z]+)\$|\{[\[\]]\}"
    )
    left = re.sub(commands, "", escaped)
    assert not set(left) & set("\\&%$#_{}~^<>|[]±×−→≤≥∞…–")
    assert (left == text) == (escaped == text)


@settings(max_examples=500)
@given(st.text(st.sampled_from("ab1 _*`[]()<>!#-+.&;~|\\/=:\n"), min_size=1, max_size=14))
def test_text_in_markdown_is_that_text_to_a_reader_of_it(text: str) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown(text))
    said = " ".join(text.splitlines()).strip()
    assert [token.type for token in tokens] == (["paragraph_open", "inline", "paragraph_close"] if said else [])
    parts = tokens[1].children if said else []
    assert {part.type for part in parts} <= {"text"}
    assert "".join(part.content for part in parts) == said


def test_the_latex_table_has_a_caption_a_label_rules_and_whole_rows(tmp_path: Path) -> None:
    nasty = {"text": "50 % of $5 & a_b #1 {x} ~ ^ \\ \n<start>", "system": "a_b", "note": "[1] first"}
    table = claims(nasty)
    write_table(table, tmp_path / "claims", caption="A & B: 95 %", view=claims_view(table, STUDY))
    source = (tmp_path / "claims.tex").read_text()
    assert r"\caption{A \& B: 95 \%}" in source
    assert r"\label{tab:claims}" in source
    assert all(rule in source for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{table}"))
    rows = [line for line in source.splitlines() if line.endswith(r"\\") and "caption" not in line]
    assert [len(re.findall(r"(?<!\\)&", row)) for row in rows] == [10, 10]
    assert r"50 \% of \$5 \& a\_b \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{}" in rows[1]
    assert "{[}1{]} first" in rows[1]
    format_ = re.search(r"\\begin\{tabular\}\{(.*)\}", source)[1]
    assert len(re.sub(r"p\{[^}]*\}", "p", format_)) == 11


def test_a_long_latex_table_breaks_over_pages(tmp_path: Path) -> None:
    table = claims(*[{}] * 26)
    write_table(table, tmp_path / "claims", caption="Many", view=claims_view(table, STUDY))
    source = (tmp_path / "claims.tex").read_text()
    assert r"\begin{longtable}" in source
    assert r"\begin{table}" not in source
    assert source.count("90.380") == 26
    assert source.count("{") - source.count(r"\{") == source.count("}") - source.count(r"\}")


def test_markdown_keeps_its_columns_and_shows_nothing_for_what_is_missing(tmp_path: Path) -> None:
    odd = {"text": "a | b\nc <start>", "p_holm": 0.0002, "replicated_mean": NAN, "interval_low": NAN, "documented": NAN}
    table = claims(odd, {})
    write_table(table, tmp_path / "claims", caption="All claims", view=claims_view(table, STUDY))
    lines = (tmp_path / "claims.md").read_text().splitlines()
    assert lines[:2] == ["All claims", ""]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]
    assert {len(row) for row in cells} == {11}
    assert cells[2] == [
        "blog_vit",
        r"a \| b c &lt;start>",
        "",
        "",
        "10",
        "−0.55 points",
        "3 of 11",
        "",
        "<0.001",
        "reproduced",
        "",
    ]
    assert "nan" not in "\n".join(lines).lower()


def test_numbers_stand_right_and_words_left(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [1, 20], "who": ["cnn", "vit"], "budget": ["1 of 25 epochs; 64 images", ""]})
    write_table(frame, tmp_path / "t", caption="T", view=frame.map(number))
    ruler = (tmp_path / "t.md").read_text().splitlines()[3]
    assert [cell.endswith(":") for cell in ruler.split("|")[1:-1]] == [True, False, False]
    assert r"\begin{tabular}{rll}" in (tmp_path / "t.tex").read_text()


def test_an_empty_table_is_still_a_table(tmp_path: Path) -> None:
    table = claims({}).iloc[:0]
    write_table(table, tmp_path / "claims", caption="None yet", view=claims_view(table, STUDY))
    assert read_table(tmp_path, "claims").empty
    assert "| System" in (tmp_path / "claims.md").read_text()
    assert r"\toprule" in (tmp_path / "claims.tex").read_text()
    assert terminal_claims(table) == "No claims."


@pytest.mark.parametrize("width", [80, 110])
def test_the_terminal_shows_every_verdict_within_its_width(width: int) -> None:
    table = claims(
        {"claim": "validation-accuracy-dips-only-where-it-says-it-does-in-its-own-table", "verdict": "higher"},
        {"system": "vit4_assignment", "documented": "1292042", "verdict": "undecided"},
        {"verdict": "not tested"},
        {"verdict": "not tested"},
    )
    lines = terminal_claims(table, width=width).splitlines()
    assert max(map(len, lines[:-1])) <= width
    assert [line.split("  ")[-1] for line in lines[2:6]] == [
        "ours higher",
        "undecided",
        "not tested",
        "not tested",
    ]
    assert lines[-1] == "4 claims: 1 ours higher, 1 undecided, 2 not tested"
