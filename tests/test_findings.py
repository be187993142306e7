"""The findings page: it says what the tables say, of whatever has run."""

import re
import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from configurations import study
from made_tables import write_tables

from pixelpatch.__main__ import main
from pixelpatch.figures import FIGURES
from pixelpatch.files import readable_json
from pixelpatch.findings import findings
from pixelpatch.tables import NAMES, read_table

STUDY = study(("preset", "full"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of a study in which everything ran from four seeds, but for one experiment and one seed."""
    folder = tmp_path_factory.mktemp("tables")
    seeds = {name: range(4) for name in STUDY["experiments"] if name != "pixel_transformer_pre_norm"}
    diverged = {"blog_budget-0.1-0.9": "The loss became nan at epoch 2, step 3 of 9"}
    write_tables(folder, STUDY, seeds | {"blog_cnn": [0, 1, 3]}, diverged)
    return folder


def section(page: str, title: str) -> str:
    (text,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, flags=re.M | re.S)
    return text


def rows_of(text: str) -> list[list[str]]:
    """The cells of a Markdown table, its head and rule left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_every_result_that_was_tested_is_there_with_its_verdict(whole: Path) -> None:
    page = findings(STUDY, whole)
    claims = read_table(whole, "claims")
    tested = claims[
        (claims["verdict"] != "not tested")
        & ~claims["kind"].isin(["self-check", "reading"])
        & ~claims["metric"].str.startswith(("data/", "model/"), na=False)
    ]
    rows = rows_of(section(page, "Does it reproduce?"))
    assert [row[1] for row in rows] == list(tested["text"])
    assert [row[0] for row in rows] == [STUDY["experiments"][system]["title"] for system in tested["system"]]
    assert [re.search(r"\]\(runs/(\w+)\)", row[2])[1] for row in rows] == list(tested["system"])
    alone = [row[6].rpartition("at our settings alone: ")[2] for row in rows]
    verdicts = [verdict.partition(":")[0].rstrip(" ¹²") for verdict in alone]
    said = [verdict.removeprefix("ours ").removesuffix(", but the protocol scatters") for verdict in verdicts]
    assert said == list(tested["verdict"])
    tally = dict(re.findall(r"(\d+) (reproduced|not reproduced|undecided)", page)[i][::-1] for i in range(2))
    stated = tested[tested["system"] != "vit16_tiny"]
    refuted = int(stated["verdict"].isin(["higher", "lower"]).sum())
    assert int(tally["not reproduced"]) == refuted
    assert f"Of {len(stated)} documented results that could be tested, those of open settings aside" in page
    assert "is contradicted by the write-up itself: its table falls at 13–14, 18–19, 20–21, 22–23" in page


def test_where_settings_are_open_the_default_does_not_stand_alone(whole: Path) -> None:
    page = findings(STUDY, whole)
    results = read_table(whole, "specification_summary").set_index("curve")["result"]
    text = section(page, "Does it reproduce?")
    assert f"Tiny ViT, patch 16's settings are open. Over all that are admissible: {results['tiny_vit']}." in text
    for row in rows_of(text):
        beside = row[6].startswith(f"{results['tiny_vit']}; at our settings alone: ")
        assert beside == (row[0] == "Tiny ViT, patch 16"), row
    text = section(page, "Unstated settings")
    for curve, title, of in (
        ("tiny_vit", "Tiny ViT, patch 16", 2),
        ("blog", "Blog CNN and Blog ViT", 4),
        ("grid_reader", "2×2 grid reader", 3),
    ):
        assert f"- **{title}**: {of} numbers, {results[curve]} (n = " in text
    assert text.count("They differ, of the points tested: ") == 3
    assert text.count("the author's own settings, not counted, are") == 2
    assert text.count("Out of sample, by other runs") == 1


def test_every_oddity_has_its_price_and_what_was_not_run_is_named(whole: Path) -> None:
    page = findings(STUDY, whole)
    rows = rows_of(section(page, "What each oddity costs"))
    table = read_table(whole, "oddities").dropna(subset="p_holm")
    assert len(table) == sum(bool(block["mends"]) for block in STUDY["experiments"].values()) - 1
    assert [row[1] for row in rows] == list(table["oddity"])
    assert [float(re.match(r"\[(.*?)\]", row[3])[1].replace("−", "-")) for row in rows] == pytest.approx(
        list(table["effect_points"]), abs=0.005
    )
    tests = [(row.test.capitalize(), f"{row.n_documented}, {row.n_mended}") for row in table.itertuples()]
    assert [(row[4], row[5]) for row in rows] == tests
    assert Counter(row[4] for row in rows) == {"Paired": 3, "Welch": len(table) - 3}
    limits = section(page, "Limitations")
    assert "Not run, with the core-hours that were put aside for them: pixel_transformer_pre_norm (120)." in limits
    assert "blog_cnn (3 of 10)" in limits
    assert "up to an experiment's highest: blog_cnn seed 2." in limits
    assert "- Diverged: blog_budget-0.1-0.9 (4 of 4 runs)." in limits
    assert "on cpu (it), Python 3.11, PyTorch 2.14, at 0123456" in limits


def test_every_patch_size_is_there_and_the_chosen_one_is_bold(whole: Path) -> None:
    text = section(findings(STUDY, whole), "Pixels or patches?")
    assert "| Training images | patch 28 | patch 14 | patch 7 | patch 4 | patch 2 | patch 1 | CNN |" in text
    rows = rows_of(text)
    assert len(rows) == 3
    assert [row.count("**") for row in map(" ".join, rows)] == [2, 2, 2]
    trend = r"accuracy (shows no trend|tends to rise|tends to fall) over all"
    tau = r"\(Kendall's τ \[−?\d.\d\d\]\(tables/patch_tests.md\), p [<\d]"
    assert len(re.findall(f"{trend} {tau}", text)) == 3
    assert text.count("the CNN minus patch") == 3


def test_unstated_settings_are_identified_and_predict(whole: Path) -> None:
    text = section(findings(STUDY, whole), "Unstated settings")
    for name in ("Blog training, by", "Grid reader, by", "Grid reader in hindsight, asked in hindsight."):
        name, *rest = re.split(r"(?=[:,])", name, maxsplit=1)
        said = rf"\*\*{name}\*\*{''.join(rest)}.* alone, the rule names\n .*\d epochs?(, the closest cell, .*)?\n"
        assert re.search(said, text), name
    assert text.count("  - At it, Blog ViT: ") == 2
    assert text.count("  - The same runs' other numbers: 2×2 grid reader: ") == 4  # not predicted: the same runs
    truths = re.findall(r"\*\*What the author ran\*\*: (.*) \(n = (\d)\): .* by the same rule", text)
    assert truths == [
        ("learning rate 0.01, momentum 0.5, 1 epoch", "3"),  # the three recorded; the search has four
        ("depth 4, learning rate 0.001, grids fresh false, grids train 60000, 10 epochs", "4"),
        ("norm pre, dropout 0.0, grids train 60000, 10 epochs", "4"),
    ]
    assert "  - No run of blog_vit_shape is at it.\n" in text  # its budget is the one of the published records
    compatible = text.count(" are compatible: not refuted")
    assert compatible == 3
    span = r"\[from [\d.,−]+ to [\d.,−]+\]\(tables/predictions.md\)"
    found = re.findall(rf"  - Over all compatible cells, [a-z-]+ {span}: (?:\d+ [a-z ]+(?:, )?)+\.\n", text)
    assert len(found) == text.count("Over all compatible cells") in (0, 2, 4, 6)


def test_the_map_shows_every_cell_and_outlines_those_identified(whole: Path) -> None:
    *panels, _ = FIGURES["budget_map"](STUDY, whole, whole).axes
    assert [(axis.get_xlabel(), axis.get_ylabel()) for axis in panels] == [
        *[("epochs", "learning rate")] * 2,
        *[("learning rate", "depth")] * 2,
        ("grids fresh", "grids train"),
        *[("dropout", "norm")] * 2,
    ]
    table = read_table(whole, "identification").query("not truth").drop_duplicates(["question", "experiment", "epochs"])
    assert sum(len(axis.texts) for axis in panels) == len(table)
    outlined = [patch for axis in panels for patch in axis.patches]
    assert len(outlined) == table["identified"].sum() == 3
    dots = sum(text.get_text().count("•") for axis in panels for text in axis.texts)
    assert dots == table["compatible"].sum()


def test_a_number_that_no_run_reaches_is_not_said_to_be_explained(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    table = pd.read_csv(tmp_path / "identification.csv", dtype={"documented": "str"})
    reader = table["question"].str.startswith("grid_reader")
    table.loc[reader, ["least", "most"]] = [0.5, 0.7]
    table.to_csv(tmp_path / "identification.csv", index=False)
    said = "No run of any cell has a final-train-loss as low as 0.0101: the lowest has 0.5."
    assert said in section(findings(STUDY, tmp_path), "Unstated settings")
    table.loc[reader, "least"] = 0.01
    table.to_csv(tmp_path / "identification.csv", index=False)
    assert "No run of any cell has a final-train-loss" not in findings(STUDY, tmp_path)


def test_stuck_runs_are_counted_or_said_not_to_be_there(whole: Path, tmp_path: Path) -> None:
    text = section(findings(STUDY, whole), "Where the spread comes from")
    (row,) = rows_of(text[text.index("| System or check |") :])
    assert row == ["Tiny ViT, patch 16 ¹", "[1 of 4](runs/vit16_tiny)", "25 [1, 81]", "9 (1)", "88.00", "95.00"]
    assert "bfloat16: equivalent, stuck are 0 of 4 runs, of the reference's 1 of 4; means are of the others (" in text
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    table = pd.read_csv(tmp_path / "modes.csv")
    table.assign(n_stuck=0).to_csv(tmp_path / "modes.csv", index=False)
    text = section(findings(STUDY, tmp_path), "Where the spread comes from")
    assert "\nNo run of any system or check of numerics is stuck. ([All counts](tables/modes.md).)\n" in text
    assert "| System or check |" not in text


def test_links_lead_somewhere(whole: Path) -> None:
    page = findings(STUDY, whole)
    tables = {name for name, kind in re.findall(r"\(tables/([a-z_]+)\.(md|csv)\)", page)}
    assert tables <= {*NAMES, "provenance"}
    assert {name for name in re.findall(r"\(figures/([a-z_]+)\.png\)", page)} == {
        "amount_of_descent",
        "budget_map",
        "oddities",
        "patch_sweep",
        "specification_curve",
    }
    assert set(re.findall(r"\(runs/([^)]+)\)", page)) <= STUDY["experiments"].keys()


def test_a_study_that_is_half_done_says_nothing_that_it_does_not_know(tmp_path: Path) -> None:
    """One seed of the pixels, a part of a grid, checks without what they check, and no system."""
    grid = [f"blog_budget-{rate}-{momentum}" for rate in (0.001, 0.1) for momentum in (0.0, 0.9)]
    sweep = [name for name in STUDY["experiments"] if name.startswith(("patch_sweep-", "patch_sweep_cnn-"))]
    pixels = [name for name in STUDY["experiments"] if name.startswith("patch_sweep_pixels")]
    seeds = {name: range(3) for name in (*grid, *sweep, "vit16_tiny_bfloat16", "blog_vit_unnormalised")}
    write_tables(tmp_path, STUDY, seeds | {name: range(1) for name in pixels})
    page = findings(STUDY, tmp_path)
    assert page.count("not identified, for its grid has not run whole") == 3
    assert "At it" not in page
    assert "Nothing that is documented could be tested." in page
    assert "No system has run." in page
    assert "No oddity was mended with enough seeds." in page
    assert "bfloat16: not tested, no run selected of vit16_tiny." in page
    text = section(page, "Pixels or patches?")
    assert text.count("from patch 28 to patch 2, accuracy") == 3
    assert [row[6].endswith("(n = 1)") for row in rows_of(text)] == [True] * 3
    assert not re.search(r"\bnan\b|\(difference  |p \)|\[\]", page)


@pytest.mark.parametrize("preset", ["smoke", "full"])
def test_a_study_of_little_has_a_page_that_says_so(preset: str, tmp_path: Path) -> None:
    made = study(("preset", preset), ("only", "vit16_tiny"))
    write_tables(tmp_path, made, {"vit16_tiny": range(2)} if preset == "smoke" else {})
    (tmp_path / "study.json").write_text(readable_json(made))
    page = tmp_path / "FINDINGS.md"
    place = ["--study", str(tmp_path / "study.json"), "--tables", str(tmp_path)]
    assert main(["findings", *place, "--output", str(page)]) == 0
    text = page.read_text()
    assert "Nothing that is documented could be tested." in text
    assert "Not compared." in text
    assert "No oddity was mended with enough seeds." in text
    assert "not identified, for its grid has not run whole" in text
    assert "highest: none." in text
    assert ("Reduced budget of vit16_tiny: 1 of 10 epochs" in text) == (preset == "smoke")
    assert not re.search(r"\bnan\b", text)
    assert "\n\n\n" not in text
