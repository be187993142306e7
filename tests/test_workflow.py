"""The real command on real data: `snakemake --cores all` at the smoke preset, in a copy of the repository."""

import json
import os
import random
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from browser import launch_options
from checkouts import Checkout
from configurations import study
from wandb_offline import read_run

from pixelpatch.record import read_record
from pixelpatch.study import systems
from pixelpatch.tables import NAMES


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout, in a path with a space, in which the smoke study has run."""
    made = Checkout(tmp_path_factory.mktemp("a checkout"))
    result = made.snakemake()
    assert result.returncode == 0, result.stdout + result.stderr
    made.first_output = result.stdout + result.stderr
    yield made
    shutil.rmtree(made.folder)


def test_the_study_ends_with_the_verdicts_and_where_the_figures_lie(checkout: Checkout) -> None:
    study = json.loads((checkout.folder / "results/smoke/study.json").read_text())
    claims = pd.read_csv(checkout.folder / "results/smoke/tables/claims.csv")
    for experiment, block in study["experiments"].items():
        for claim in block["claims"]:
            assert ((claims["system"] == experiment) & (claims["claim"] == claim)).sum() == 1
            assert claim in checkout.first_output
    for place in ("report.html", "tables", "figures"):
        assert f"results/smoke/{place}" in checkout.first_output
    for figure in ("learning_curves", "documented_vs_replicated", "accuracy_by_system", "sample_inputs", "confusion"):
        for kind in ("pdf", "svg", "png"):
            assert (checkout.folder / f"results/smoke/figures/{figure}.{kind}").stat().st_size > 1000
    for table in NAMES:
        for kind in ("csv", "md", "tex"):
            assert (checkout.folder / f"results/smoke/tables/{table}.{kind}").stat().st_size > 40
    findings = (checkout.folder / "results/smoke/FINDINGS.md").read_text(encoding="utf-8")
    assert f"{len(study['runs'])} runs of {len(systems(study))} experiments, preset smoke." in findings


def test_snakemakes_own_report_is_an_annex_that_opens_without_a_network(checkout: Checkout) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    result = checkout.snakemake("--report", "results/provenance.html", "--report-after-run")
    assert result.returncode == 0, result.stdout + result.stderr
    address, asked, errors = (checkout.folder / "results/provenance.html").as_uri(), [], []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(**launch_options())
        for width, height in ((1440, 900), (390, 844)):
            page = browser.new_page(viewport={"width": width, "height": height})
            page.on("request", lambda request: asked.append(request.url))
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(address)
            page.get_by_text("the provenance of results/smoke").wait_for()
            for category, shown in (("Page", "report.html"), ("Tables", "claims.csv"), ("Figures", "learning_curves")):
                page.get_by_text(category, exact=True).first.click()
                page.get_by_text(shown).first.wait_for()
                page.reload()
            page.get_by_text("Figures", exact=True).first.click()
            page.locator("tr", has_text="learning_curves").get_by_role("link").first.click()
            page.wait_for_function("[...document.images].some((image) => image.naturalWidth > 1000)")
    assert errors == []
    assert {url.removesuffix("#") for url in asked if not url.startswith("data:")} == {address}


def test_a_reduced_budget_tests_no_documented_number(checkout: Checkout) -> None:
    claims = pd.read_csv(checkout.folder / "results/smoke/tables/claims.csv")
    facts = claims["metric"].str.startswith(("data/", "model/"), na=False)  # which no budget changes
    assert set(claims.loc[facts, "verdict"]) == {"reproduced"}
    tested = claims[~claims["kind"].isin(["self-check", "reading"]) & ~facts]
    assert set(tested["verdict"]) == {"not tested"}
    assert tested["p_value"].isna().all()
    study = json.loads((checkout.folder / "results/smoke/study.json").read_text())
    said = {name: claim for block in systems(study).values() for name, claim in block["claims"].items()}
    reduced = tested[["not_tested" not in said[name] for name in tested["claim"]]]  # at any budget
    assert reduced["note"].str.contains("reduced budget").all()


def test_every_run_has_an_intact_record_with_its_provenance(checkout: Checkout) -> None:
    study = json.loads((checkout.folder / "results/smoke/study.json").read_text())
    assert len(study["runs"]) == 2 * len(systems(study))
    for run in study["runs"]:
        record = read_record(checkout.folder / "results/smoke" / run["record"])
        assert record["spec"] == study["experiments"][run["experiment"]]["spec"]
        assert record["provenance"]["threads"] == 1
        assert record["provenance"]["versions"].keys() >= {"python", "torch", "numpy"}
        assert len(record["provenance"]["source"]) == 16


def test_every_run_and_the_analysis_are_mirrored_offline(checkout: Checkout) -> None:
    """In Weights & Biases, as the configuration has it by default: what the records say, and the verdicts."""
    study = json.loads((checkout.folder / "results/smoke/study.json").read_text())
    folders = list((checkout.folder / "wandb").glob("offline-run-*"))
    mirrored = {read.run.display_name: read for read in map(read_run, folders)}
    assert len(folders) == len(mirrored) == len(study["runs"]) + 1
    for run in study["runs"]:
        record = read_record(checkout.folder / "results/smoke" / run["record"])
        mirror = mirrored[f"{run['experiment']}-seed{run['seed']}"]
        assert mirror.exit_code == 0
        assert mirror.epochs() == [1]
        assert {metric: [row[metric] for row in mirror.history] for metric in record["curve"]} == record["curve"]
        assert mirror.summary.items() >= record["metrics"].items()
        assert {key: mirror.config[key] for key in ("spec", "seed", "experiment")}.items() <= record.items()
        assert mirror.config["provenance"].items() <= record["provenance"].items()
        assert (mirror.run.run_group, mirror.run.job_type) == (run["experiment"], "train")
        assert list(mirror.run.tags) == ["smoke", "cpu"]
    analysis = mirrored["analysis-smoke"]
    shown = {key.partition(".")[0] for key in analysis.history[0]}  # a table or an image has several keys
    assert {"claims", "comparisons", "accuracy", "figures/learning_curves"} <= shown
    claims = pd.read_csv(checkout.folder / "results/smoke/tables/claims.csv")
    assert analysis.summary["verdicts/contradicted"] == (claims["verdict"] == "contradicted").sum() > 0


def test_a_second_run_has_nothing_to_do_and_says_so_quickly(checkout: Checkout) -> None:
    began = time.monotonic()
    result = checkout.snakemake()
    assert result.returncode == 0
    assert "Nothing to be done" in result.stdout + result.stderr
    assert time.monotonic() - began < 30
    assert checkout.plan() == {}


def test_a_second_run_needs_no_network(checkout: Checkout) -> None:
    """Nor does a run with other sources ask them: right bytes are kept."""
    command = ["fetch", "--folder", "data/mnist", "--sources", '[{"kind": "folder", "path": "nowhere"}]']
    result = checkout.run(sys.executable, "-m", "pixelpatch", *command)
    assert result.returncode == 0, result.stderr


def test_the_command_line_chooses_preset_seeds_and_experiments(checkout: Checkout) -> None:
    plan = checkout.plan("seeds=0,3,7", "only=blog_cnn,pixel_transformer", preset="full")
    assert plan["train"] == 6
    assert checkout.plan(preset="full")["train"] == len(study(("preset", "full"))["runs"])
    assert checkout.plan(preset="laptop")["train"] == 14


def test_a_clone_s_file_times_ask_for_no_training(checkout: Checkout, tmp_path: Path) -> None:
    """Git writes files in any order and Snakemake's own notes are not in a clone: records still stand."""
    clone = Checkout(tmp_path / "clone")
    shutil.copytree(checkout.folder / "results", clone.folder / "results")
    (clone.folder / "results/smoke/study.json").unlink()
    files = [path for path in clone.folder.rglob("*") if path.is_file()]
    random.Random(0).shuffle(files)
    for age, path in enumerate(files):
        os.utime(path, (1_700_000_000 + age, 1_700_000_000 + age))
    plan = clone.plan()
    assert "train" not in plan
    assert plan["study"] == plan["collect"] == 1
    assert clone.plan("seeds=3")["train"] == 6  # the third seed of each, and none of those that are there


def test_other_sources_leave_right_data_alone(checkout: Checkout) -> None:
    path = checkout.folder / "config.yaml"
    before = path.read_text(encoding="utf-8")
    config = yaml.safe_load(before)
    config["data"]["sources"] = [{"kind": "folder", "path": "nowhere"}]
    mnist = checkout.folder / "data/mnist/t10k-labels-idx1-ubyte"
    try:
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        assert not checkout.plan().keys() & {"fetch", "train"}
        assert mnist.stat().st_size == 10_008
    finally:
        path.write_text(before, encoding="utf-8")


def test_changing_one_experiment_reruns_that_one_alone(checkout: Checkout) -> None:
    path = checkout.folder / "config.yaml"
    before = path.read_text(encoding="utf-8")
    config = yaml.safe_load(before)
    config["experiments"]["vit16_tiny"]["spec"]["training"]["learning_rate"] = 0.006
    try:
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        plan = checkout.plan()
        assert plan["train"] == 2
        config["experiments"]["a_new_one"] = {
            "title": "New",
            "source": "us",
            "extends": "vit16_tiny",
            "spec": {"training": {"softmax_before_loss": False}},
        }
        config["experiments"]["vit16_tiny"]["spec"]["training"]["learning_rate"] = 0.005
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        assert checkout.plan()["train"] == 2
    finally:
        path.write_text(before, encoding="utf-8")
    assert checkout.plan().get("train", 0) == 0


@pytest.mark.parametrize(
    ("file", "old", "new", "retrained"),
    [
        ("training.py", "# looked at once", "# examined once", 0),
        ("models/vit.py", '"""The vision transformer', '"""A vision transformer', 0),
        ("models/vit.py", "x + self.positions", "x - self.positions", 6),  # what executes that file
        ("models/cnn.py", ", 2).relu()", ", 2).relu().relu()", 2),
        ("figures/style.py", "import", "import json\nimport", 0),
    ],
)
def test_editing_training_code_is_noticed_and_a_comment_is_not(
    checkout: Checkout, file: str, old: str, new: str, retrained: int
) -> None:
    path = checkout.folder / "src/pixelpatch" / file
    before = path.read_text(encoding="utf-8")
    assert old in before
    try:
        path.write_text(before.replace(old, new, 1), encoding="utf-8")
        assert checkout.plan().get("train", 0) == retrained
    finally:
        path.write_text(before, encoding="utf-8")


def test_a_run_by_hand_is_the_rule_s_run_to_the_bit(checkout: Checkout, tmp_path: Path) -> None:
    study = json.loads((checkout.folder / "results/smoke/study.json").read_text())
    study["runs"] = [run for run in study["runs"] if run["seed"] == 1]
    (tmp_path / "study.json").write_text(json.dumps(study), encoding="utf-8")
    only = "vit16_tiny,blog_vit"
    arguments = ["train", str(tmp_path / "study.json"), "--only", only, "--data", "data/mnist"]
    result = checkout.run(sys.executable, "-m", "pixelpatch", *arguments)
    assert result.returncode == 0, result.stderr
    for experiment in only.split(","):
        ours, rule_s = (
            read_record(folder / f"runs/{experiment}/seed1.json")
            for folder in (tmp_path, checkout.folder / "results/smoke")
        )
        for part in ("spec", "metrics", "curve", "predictions", "labels"):
            assert ours[part] == rule_s[part]


def test_an_edited_record_stops_the_analysis_with_one_sentence(checkout: Checkout) -> None:
    path = checkout.folder / "results/smoke/runs/vit16_tiny/seed0.json"
    before = path.read_bytes()
    try:
        path.write_bytes(re.sub(rb'"test/accuracy":[0-9.]+', b'"test/accuracy":99.9', before))
        command = ["collect", "--study", "results/smoke/study.json", "--data", "data/mnist", "--tables", "elsewhere"]
        result = checkout.run(sys.executable, "-m", "pixelpatch", *command)
        assert result.returncode == 1
        assert "vit16_tiny/seed0.json was changed after it was written" in result.stderr
        assert "Traceback" not in result.stderr
        assert not (checkout.folder / "elsewhere").exists()
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize(
    ("pair", "sentence"),
    [
        ("only=pixel_transformr", "only names the experiment 'pixel_transformr'; did you mean pixel_transformer?"),
        ("seeds=1,1", "seeds has 1 twice"),
        ("preest=smoke", "preest is not a known key; did you mean preset?"),
    ],
)
def test_a_wrong_configuration_is_one_sentence_before_anything_runs(
    checkout: Checkout, pair: str, sentence: str
) -> None:
    result = checkout.snakemake(pair)
    assert result.returncode != 0
    assert sentence in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
