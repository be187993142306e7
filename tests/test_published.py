"""What is published: every number in README.md and results/full follows from the committed records and this code."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from pixelpatch.__main__ import main
from pixelpatch.files import readable_json
from pixelpatch.record import read_record
from pixelpatch.source import source_digest
from pixelpatch.study import resolve
from pixelpatch.tables import NAMES

ROOT = Path(__file__).parents[1]
PUBLISHED = ROOT / "results/full"
RECORDS = sorted(PUBLISHED.glob("runs/*/seed*.json"))
pytestmark = pytest.mark.skipif(not RECORDS, reason="nothing is published yet")


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables made anew from copies of the committed records."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))
    folder = tmp_path_factory.mktemp("full")
    (folder / "runs").symlink_to(PUBLISHED / "runs")
    config |= {"preset": "full", "seeds": "recorded", "results": str(PUBLISHED.parent)}
    (folder / "study.json").write_text(readable_json(resolve(config, schema)), encoding="utf-8")
    place = ["--study", str(folder / "study.json"), "--tables", str(folder / "tables")]
    assert main(["collect", *place]) == 0
    for table in NAMES:
        assert main(["tables", table, *place]) == 0
    return folder / "tables"


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_records_are_clean_runs_of_this_training_code(path: Path) -> None:
    record = read_record(path)
    assert path == PUBLISHED / f"runs/{record['experiment']}/seed{record['seed']}.json"
    assert record["provenance"]["source"] == source_digest()
    assert record["provenance"]["git"]["dirty"] is False


def test_tables_are_those_of_the_records(rebuilt: Path) -> None:
    committed = sorted(path.name for path in (PUBLISHED / "tables").iterdir())
    assert committed == sorted(path.name for path in rebuilt.iterdir())
    for name in committed:
        assert (rebuilt / name).read_bytes() == (PUBLISHED / "tables" / name).read_bytes(), name


@pytest.mark.parametrize("table", ["full/tables/claims.md", "benchmark/training.md", "benchmark/scale.md"])
def test_the_readme_s_tables_are_the_published_ones(table: str) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert (ROOT / "results" / table).read_text(encoding="utf-8") in text


def test_every_system_trains_in_four_gigabytes_at_its_documented_batch_size() -> None:
    published = pd.read_csv(ROOT / "results/benchmark/training.csv").set_index("system")["peak_memory_mb"].dropna()
    assert {"pit", "blog_cnn", "blog_vit", "seq2seq_2x2", "vit16_tiny", "vit4_assignment"} == set(published.index)
    assert published.max() < 4000
