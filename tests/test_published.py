"""What is published: every number in README.md and results/full follows from the committed records and this code."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from checkouts import Checkout

from pixelpatch.ledger import Ledger
from pixelpatch.record import progress_file, read_record, unfinished
from pixelpatch.replay import digests

ROOT = Path(__file__).parents[1]
PUBLISHED = ROOT / "results/full"
RECORDS = sorted(PUBLISHED.glob("runs/*/seed*.json"))
pytestmark = pytest.mark.skipif(not RECORDS, reason="nothing is published yet")


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_records_are_clean_runs_that_this_training_code_makes(path: Path) -> None:
    record = read_record(path)
    file = PUBLISHED / f"runs/{record['experiment']}/seed{record['seed']}.json"
    assert path == (progress_file(file) if unfinished(record) else file)
    assert Ledger.read().leads(*digests(record))
    assert record["provenance"]["git"]["dirty"] is False


def test_weights_are_those_of_the_configuration() -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    assert sorted(path.stem for path in PUBLISHED.glob("weights/*.safetensors")) == sorted(config["weights"])


def test_tables_figures_and_findings_follow_from_the_records_byte_for_byte(tmp_path: Path, mnist: Path) -> None:
    checkout = Checkout(tmp_path / "clone", mnist)
    again = checkout.folder / "results/full"
    for part in ("runs", "weights"):
        shutil.copytree(PUBLISHED / part, again / part)
    made = checkout.snakemake("seeds=recorded", "tracking=disabled", preset="full")
    assert made.returncode == 0, made.stdout + made.stderr
    for kind in ("tables", "figures"):
        assert {path.name for path in (again / kind).iterdir()} == {path.name for path in (PUBLISHED / kind).iterdir()}
    for path in (
        PUBLISHED / "FINDINGS.md",
        PUBLISHED / "report.html",
        *sorted(PUBLISHED.glob("tables/*")),
        *sorted(PUBLISHED.glob("figures/*")),
    ):
        assert (again / path.relative_to(PUBLISHED)).read_bytes() == path.read_bytes(), path


def test_the_recipe_of_the_patch_comparison_is_the_one_that_validation_chose() -> None:
    """By the rule of config.yaml, from the records themselves: no test image has a part in it."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    family = config["patches"]["recipe"]
    accuracies: dict[str, list[float]] = {}
    specs = {}
    for record in map(read_record, RECORDS):
        if record["experiment"].startswith(f"{family}-"):
            accuracies.setdefault(record["experiment"], []).append(record["metrics"]["validation/accuracy"])
            specs[record["experiment"]] = record["spec"]
    assert {len(values) for values in accuracies.values()} == {config["experiments"][family]["seeds"]}
    chosen = max(accuracies, key=lambda name: sum(accuracies[name]) / len(accuracies[name]))
    assert specs[chosen] == config["experiments"][family]["spec"]


def test_widths_and_heads_are_predicted_at_the_budget_that_the_rule_identified() -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    widths, heads = config["experiments"]["blog_vit_shape"]["vary"].values()
    predictions = pd.read_csv(PUBLISHED / "tables/predictions.csv", keep_default_na=False)
    identified = predictions[(predictions["question"] == "blog_training") & predictions["identified"]]
    assert {f"width {width}, heads {each}" for width in widths for each in heads} <= set(identified["variant"])


@pytest.mark.parametrize("table", ["full/tables/claims.md", "benchmark/training.md", "benchmark/scale.md"])
def test_the_readme_s_tables_are_the_published_ones(table: str) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert (ROOT / "results" / table).read_text(encoding="utf-8") in text


def test_every_system_trains_in_four_gigabytes_at_its_documented_batch_size() -> None:
    published = pd.read_csv(ROOT / "results/benchmark/training.csv").set_index("system")["peak_memory_mb"].dropna()
    # Measured under the pixel transformer's former name.
    assert {"pit", "blog_cnn", "blog_vit", "seq2seq_2x2", "vit16_tiny", "vit4_assignment"} == set(published.index)
    assert published.max() < 4000
