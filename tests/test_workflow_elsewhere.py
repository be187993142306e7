"""The workflow run from another folder, with results in a third, and as a part of a larger workflow."""

import re
from pathlib import Path

import pytest
import yaml
from checkouts import Checkout

CONFIG = ("--cores", "2", "--config", "preset=smoke", "only=vit16_tiny", "tracking=disabled", "seeds=1")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, mnist: Path) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("checkout"), mnist)


def test_another_folder_s_configuration_goes_first_and_other_packages_reach_no_rule(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("snakemake", "--directory", str(tmp_path), *CONFIG)
    assert "results/smoke/report.html" in checkout.said(*command, "--dry-run")[1]
    own = yaml.safe_load((checkout.folder / "config.yaml").read_text(encoding="utf-8"))
    own["results"], own["data"]["folder"] = "$PLACE/third", str(checkout.folder / "data/mnist")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(own, sort_keys=False), encoding="utf-8")
    (tmp_path / "foreign/torch").mkdir(parents=True)
    (tmp_path / "foreign/torch/__init__.py").write_text("raise ImportError('another environment')")
    (tmp_path / "foreign/python").write_text("#!/bin/sh\nexit 1\n")  # as where .venv is not active
    (tmp_path / "foreign/python").chmod(0o755)
    foreign = f"{checkout.environment['PYTHONPATH']}:{tmp_path / 'foreign'}"
    monkeypatch.setattr(checkout, "environment", checkout.environment | {"PLACE": str(tmp_path), "PYTHONPATH": foreign})
    checkout.environment["PATH"] = f"{tmp_path}/foreign:{checkout.environment['PATH']}"
    results = tmp_path / "third/smoke"
    status, said = checkout.said(*command, "--", f"{results}/tables/claims.csv")
    assert status == 0, said
    assert f"Report:  {results}/report.html" in said
    assert [path.name for path in results.glob("runs/*/*")] == ["seed0.json"]
    assert not (checkout.folder / "results").exists()


@pytest.mark.parametrize("names", ["", " as px_*"])
def test_a_larger_workflow_uses_the_rules_under_any_names_and_folder(
    checkout: Checkout, tmp_path: Path, names: str
) -> None:
    """It keeps its shells' strictness, its own config.yaml and its tables' place."""
    folder = "deeper/" if names else ""
    (tmp_path / "config.yaml").write_text("key: of the larger workflow")
    (tmp_path / "Snakefile").write_text(f'''
module pixelpatch:
    snakefile: "{checkout.folder}/Snakefile"
    config: config | {{"data": {{"folder": "data", "sources": [{{"kind": "folder", "path": config.pop("mnist")}}]}}}}
    prefix: "{folder}"

use rule * from pixelpatch{names}

rule last:
    default_target: True
    input: "{folder}results/smoke/tables/claims.csv"
    output: "rows.txt"
    shell: "false | wc --lines < {{input}} > {{output}} || wc --lines < {{input}} >> {{output}}"
''')
    command = ("snakemake", "--directory", str(tmp_path), "--snakefile", str(tmp_path / "Snakefile"))
    status, said = checkout.said(*command, *CONFIG, f"mnist={checkout.folder}/data/mnist", *([] if names else ["-n"]))
    assert status == 0, said
    assert re.search(rf"^{'px_' if names else ''}train +1$", said, re.MULTILINE)
    if names:
        rows = (tmp_path / f"{folder}results/smoke/tables/claims.csv").read_text().count("\n")
        assert (tmp_path / "rows.txt").read_text() == f"{rows}\n{rows}\n"
        assert [path.name for path in tmp_path.glob("deeper/results/smoke/runs/*/*")] == ["seed0.json"]


def test_code_of_another_checkout_is_refused(checkout: Checkout, tmp_path: Path) -> None:
    """As in a copied checkout, whose .venv still leads to the original."""
    copy = Checkout(tmp_path)
    copy.environment = checkout.environment
    status, said = copy.said("snakemake", *CONFIG, "--dry-run")
    assert status == 1
    assert f"imports pixelpatch from {checkout.folder}/src/pixelpatch, not from {copy.folder}/src" in said
    assert "make setup" in said
