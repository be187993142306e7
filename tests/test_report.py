"""The report: it shows what the tables hold, every record can be reached from it, and it asks nobody for anything."""

import json
import os
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from configurations import study
from made_tables import write_tables

from pixelpatch.__main__ import main
from pixelpatch.figures import FIGURES
from pixelpatch.files import readable_json
from pixelpatch.findings import findings
from pixelpatch.report import SHOWN
from pixelpatch.study import systems
from pixelpatch.tables import NAMES, TIDY, read_table, seal

STUDY = study(("preset", "full"))
FIGURE = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'


class Page(HTMLParser):
    """The elements of a page: names and attributes; and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: dict[str, str] = {}
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        tag, attributes = self.elements[-1] if self.elements else ("", {})
        if tag == "script" and data.strip() and "id" in attributes:
            self.scripts[attributes["id"]] = self.scripts.get(attributes["id"], "") + data

    def all(self, attribute: str) -> list[str]:
        """The values of an attribute, wherever it stands."""
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]

    def points(self, chart: str) -> pd.DataFrame:
        """The data of a chart that name a seed."""
        data = json.loads(self.scripts[f"spec-{chart}"])["data"]
        sets = [rows["values"] for rows in data if "values" in rows]
        (points,) = [rows for rows in sets if rows and {"seed", "record"} <= rows[0].keys()]
        return pd.DataFrame(points)


def made(results: Path, made_study: dict = STUDY, *, of: dict[str, range], options: tuple[str, ...] = ()) -> str:
    """The page of a study with made-up runs, by the command."""
    (results / "tables").mkdir(parents=True)
    (results / "figures").mkdir()
    write_tables(results / "tables", made_study, of)
    for name in SHOWN:
        (results / f"figures/{name}.svg").write_text(FIGURE)
    (results / "FINDINGS.md").write_text(findings(made_study, results / "tables"), encoding="utf-8")
    (results / "study.json").write_text(readable_json(made_study))
    output = results / "report.html"
    assert main(["report", "--study", str(results / "study.json"), *options, "--output", str(output)]) == 0
    return output.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a study in which every experiment ran from three seeds."""
    return tmp_path_factory.mktemp("results") / "full"


@pytest.fixture(scope="module")
def page(results: Path) -> Page:
    return Page(made(results, of={name: range(3) for name in STUDY["experiments"]}))


def test_every_address_is_on_the_page_or_beside_it_and_every_record_has_its_own(page: Page, results: Path) -> None:
    ids = page.all("id")
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    records = set(read_table(results / "tables", "provenance")["record"])
    tables = {f"tables/{name}.{kind}" for name in (*TIDY, *NAMES) for kind in ("csv", "tex")}
    figures = {f"figures/{name}.pdf" for name in SHOWN} | {f"figures/{name}.png" for name in FIGURES}
    addresses = page.all("href")
    on_page = {address[1:] for address in addresses if address.startswith("#")}
    assert on_page <= set(ids)
    assert {f"records-{name}" for name in STUDY["experiments"]} <= set(ids)
    rest = {address for address in addresses if not address.startswith(("#", "data:"))}
    assert records <= rest
    assert rest <= records | tables | figures
    assert {f"table-{name}" for name in NAMES} <= set(ids)


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    loaded = page.all("src") + [row["href"] for tag, row in page.elements if tag == "link"]
    assert len(loaded) == len(SHOWN) + 1
    assert all(address.startswith("data:") for address in loaded)
    style = page.words[next(i for i, words in enumerate(page.words) if ":root" in words)]
    assert "url(" not in style
    assert "@import" not in style
    assert [
        words for words in page.scripts.values() if re.search(r'"url"|https?://(?!vega\.github\.io/schema)', words)
    ] == []


def test_a_point_of_a_chart_is_a_seed_with_its_value_and_record(page: Page, results: Path) -> None:
    runs = read_table(results / "tables", "runs").set_index(["experiment", "metric", "seed"])["value"]
    points = page.points("accuracy")
    assert Counter(points["system"]) == dict.fromkeys(systems(STUDY), 3)
    for row in points.to_dict("records"):
        metric = "test/digit_accuracy" if row["system"] == "seq2seq_2x2" else "test/accuracy"
        assert row["value"] == runs[row["system"], metric, row["seed"]]
        assert row["record"] == f"runs/{row['system']}/seed{row['seed']}.json"
    oddities = read_table(results / "tables", "oddities").set_index("experiment")["effect_points"]
    effects = page.points("oddities").groupby("experiment")["effect"].mean()
    pd.testing.assert_series_equal(effects.sort_index(), oddities.sort_index(), check_names=False)
    sweep = read_table(results / "tables", "patch_sweep").set_index("experiment")["test_mean"]
    means = page.points("patches-patch").groupby("experiment")["value"].mean()
    pd.testing.assert_series_equal(means.sort_index(), sweep.sort_index(), check_names=False)
    curve = page.points("curve-pixel_transformer-train-loss")
    assert curve.groupby("seed")["epoch"].apply(list).tolist() == [list(range(1, 26))] * 3


@pytest.mark.parametrize(
    "name", ["identification", "predictions", "specifications", "oddities", "patch_recipe", "patch_sweep"]
)
def test_a_row_leads_to_the_records_that_its_numbers_are_of(name: str, page: Page, results: Path) -> None:
    table = read_table(results / "tables", name)
    of = {"predictions": "predicted_by", "specifications": "runs_of"}.get(name, "experiment")
    text = (results / "report.html").read_text(encoding="utf-8")
    (shown,) = re.findall(rf'<details id="table-{name}">.*?<tbody>(.*?)</tbody>', text, flags=re.S)
    led = [set(re.findall(r'href="#records-([^"]+)"', row)) for row in shown.split("</tr>")[:-1]]
    expected = [{row[of]} | ({row["system"]} if name == "oddities" else set()) for row in table.to_dict("records")]
    assert sorted(map(sorted, led)) == sorted(map(sorted, expected))


def test_rows_say_of_which_systems_they_are(page: Page, results: Path) -> None:
    rows = [row["data-systems"] for tag, row in page.elements if tag == "tr" and "data-systems" in row]
    assert {system for row in rows for system in row.split()} == set(systems(STUDY))
    compared = read_table(results / "tables", "comparisons")[["system_a", "system_b"]].agg(" ".join, axis="columns")
    assert Counter(row for row in rows if " " in row) == Counter(compared)
    assert sorted(page.all("value")) == sorted(systems(STUDY))


def test_what_is_written_in_a_study_is_text(tmp_path: Path) -> None:
    title = '<script>alert(1)</script> & "<b>" </script>'
    hostile = study(("preset", "full"), ("only", "vit16_tiny"))
    hostile["experiments"]["vit16_tiny"]["title"] = title
    page = Page(made(tmp_path / "full", hostile, of={"vit16_tiny": range(2)}))
    scripts = [row for tag, row in page.elements if tag == "script"]
    assert len(scripts) == len(page.scripts) + 2
    assert not [tag for tag, _ in page.elements if tag == "b"]
    assert title in "".join(page.words)


@pytest.mark.parametrize("preset", ["smoke", "full"])
def test_a_study_of_little_has_a_report(preset: str, tmp_path: Path) -> None:
    little = study(("preset", preset), ("only", "vit16_tiny"))
    page = Page(made(tmp_path / preset, little, of={"vit16_tiny": range(2)} if preset == "smoke" else {}))
    assert set(page.scripts) <= {"spec-accuracy", "spec-curve-vit16_tiny-train-loss"}
    assert len(page.scripts) == (2 if preset == "smoke" else 0)


def test_a_published_run_is_shown_beside_one_s_own(results: Path, page: Page, tmp_path: Path) -> None:
    laptop = study(("preset", "laptop"))
    runs = {name: range(2) for name, block in laptop["experiments"].items() if block["selected"]}
    beside = made(tmp_path / "laptop", laptop, of=runs, options=("--published", str(results)))
    assert "Your machine against the published run" not in page.words
    (rows,) = re.findall(r'<section id="beside">.*?<tbody>(.*?)</tbody>', beside, flags=re.S)
    both = set(read_table(results / "tables", "accuracy")["system"]) & set(runs)
    assert re.findall(r'<tr data-systems="(\w+)">', rows) == [name for name in systems(laptop) if name in both]
    assert re.findall(r'href="([^#"]+)#records-(\w+)"', rows) == [
        (os.path.relpath(results / "report.html", tmp_path / "laptop"), name)
        for name in systems(laptop)
        if name in both
    ]
    assert rows.count("<td>2</td>") == rows.count("<td>3</td>") == len(both)


def test_a_missing_file_is_named(results: Path, page: Page, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text((results / "study.json").read_text())
    output = tmp_path / "report.html"
    assert main(["report", "--study", str(tmp_path / "study.json"), "--output", str(output)]) == 1
    assert str(tmp_path) in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (
            "tables/comparisons.csv",
            "metric,system_a\n",
            "comparisons.csv is not a table (it has no column difference, ",
        ),
        ("tables/patch_sweep.csv", "experiment\n", "patch_sweep.csv is not a table (it has no column best, "),
        ("FINDINGS.md", "", "FINDINGS.md has no heading; restore it"),
    ],
)
def test_a_file_of_another_version_is_named(
    results: Path, page: Page, capsys: pytest.CaptureFixture[str], tmp_path: Path, file: str, content: str, said: str
) -> None:
    shutil.copytree(results, tmp_path / "results")
    (tmp_path / "results" / file).write_text(content)
    command = ["report", "--study", str(tmp_path / "results/study.json")]
    assert main([*command, "--output", str(tmp_path / "results/report.html")]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    ["report", "findings --tables {0}/tables", "tables accuracy --tables {0}/tables", "figure accuracy_by_system "
     "--tables {0}/tables --data x"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (r"\nblog_cnn,", r"\nblog_cmm,", "has the experiment 'blog_cmm', which is not in the study"),
        (r"\nblog_cnn,", r"\n,", "has the experiment nan, which is not in the study"),
        (r",metric,", r",metrics,", "is not a table (it has no column metric)"),
        (r",[^,]+\n$", r",95.1%\n", "is not a table (its column value has '95.1%' where a number should be)"),
        (r",[^,]+\n$", r",95.1\n", "was changed after it was written (see tidy.sha256); restore it"),
        (r"(\n\w+),0,", r"\1,,", "is not a table (its column seed has nothing where a whole number should be)"),
        (r"(\n\w+),0,\w+", r"\1,0,no", "is not a table (its column narrowed has 'no' where True or False should be)"),
    ],
)
def test_a_table_that_was_edited_by_hand_is_a_sentence(
    results: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, old: str, new: str, said: str
) -> None:
    folder = tmp_path / "results"
    shutil.copytree(results, folder)
    table = folder / "tables/runs.csv"
    seal(folder / "tables", ["runs"])
    text, count = re.subn(old, new, table.read_text(encoding="utf-8"), count=1)
    assert count == 1
    table.write_text(text, encoding="utf-8")
    verb, *rest = command.format(folder).split()
    output = {"report": "report.html", "findings": "FINDINGS.md", "figure": "figures/accuracy.png"}.get(verb)
    outputs = ["--output", str(folder / output)] if output else []
    assert main([verb, *rest, "--study", str(folder / "study.json"), *outputs]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {table} {said}")
    assert len(error.splitlines()) == 1


def test_a_page_whose_links_would_lead_nowhere_is_refused(
    results: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = tmp_path / "report.html"
    assert main(["report", "--study", str(results / "study.json"), "--output", str(output)]) == 1
    assert f"--output is {output}; the page leads to what lies beside the study" in capsys.readouterr().err
    assert not output.exists()
