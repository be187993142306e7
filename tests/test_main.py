"""The command line: one sentence for whatever is wrong, and training that takes up where it was left."""

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from pixelpatch import __main__ as command
from pixelpatch import data
from pixelpatch.errors import UserError
from pixelpatch.record import read_record, write_record
from pixelpatch.study import STUDY_FORMAT, resolve

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
CONFIG = json.loads(json.dumps(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))))
SPECS = {name: block["spec"] for name, block in CONFIG["experiments"].items() if "extends" not in block}
SPEC = {
    "data": {"standardise": False, "validation": {"images": 100, "seed": 0, "split_by": "torch"}},
    "model": {
        "name": "vit",
        "patch": 14,
        "width": 8,
        "depth": 1,
        "heads": 2,
        "hidden": 8,
        "norm": "pre",
        "dropout": 0.1,
        "attention_dropout": 0.0,
        "positions": "learned",
        "head_norm": True,
    },
    "training": {
        "optimiser": "adam",
        "learning_rate": 0.01,
        "batch": 100,
        "drop_last": False,
        "epochs": 2,
        "softmax_before_loss": False,
    },
    "evaluation": {"batch": 100, "order": "stored", "checkpoint": "last"},
}
HERE = ("--data", "x", "--device", "cpu")
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call with arguments, in an empty folder; the exit status, and what was said on stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> tuple[int, str]:
        status = command.main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        assert output.out == ""
        return status, output.err

    return call


@pytest.fixture
def mnist(monkeypatch: pytest.MonkeyPatch, digits: dict[str, Tensor]) -> list[Path]:
    """The small digits in the place of MNIST; the folders that it was read from."""
    folders: list[Path] = []

    def load(folder: Path) -> dict[str, Tensor]:
        folders.append(folder)
        return digits

    monkeypatch.setattr(data, "load_mnist", load)
    return folders


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of two experiments and two seeds that trains within a moment."""
    other = copy.deepcopy(SPEC)
    other["model"]["width"] = 4
    return write_study(tmp_path / "study.json", small=SPEC, smaller=other)


def write_study(path: Path, **specs: Any) -> Path:
    runs = [
        {"experiment": name, "seed": seed, "record": f"runs/{name}/seed{seed}.json"}
        for name in specs
        for seed in (0, 1)
    ]
    experiments = {name: {"spec": spec, "resources": {}} for name, spec in specs.items()}
    study = {"format": STUDY_FORMAT, "preset": "small", "analysis": {}, "experiments": experiments, "runs": runs}
    path.write_text(json.dumps(study))
    return path


def single(spec: Any, record: Path) -> list[str]:
    given = ["--experiment", "small", "--spec", json.dumps(spec), "--seed", "0", "--record", str(record)]
    return ["train", *given, *HERE]


def records(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.glob("runs/*/*"))}


# One sentence


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("fetch --folder x --sources [", "--sources is not JSON: "),
        ("fetch --folder x --sources 5", "--sources is 5; write a list, such as "),
        ("fetch --folder x --sources [5]", "data.sources: 5 is no source"),
        ("study --config {{ --schema {schema} --output x", "--config is not JSON: "),
        ("study --config {{}} --schema missing.yaml --output x", "missing.yaml cannot be read: No such file"),
        ("study --config {{}} --schema {root}/Makefile --output x", "is no YAML: "),
        ("train --data x", "train needs a study.json, or --experiment, --spec, --seed, --record for a single run."),
        ("train --data x --experiment a --seed 0", "train needs a study.json, or --spec, --record for a single run."),
        ("train --data x --experiment a --spec {{ --seed 0 --record r", "--spec is not JSON: "),
        (
            "train --data x --experiment a --spec {{}} --seed 0 --record r.lock",
            "--record is r.lock; a run's own files end",
        ),
        ("train missing.json --data x", "missing.json cannot be read: No such file"),
        ("train {schema} --data x", "config.schema.yaml is not valid JSON ("),
        ("train {study} --only smal,smaller --data x", "--only names smal, of which "),
        ("train {study} --experiment small --data x", "--experiment is for a single run, without a study.json; choose"),
        ("train {study} --data {study}", "train-images-idx3-ubyte cannot be read (Not a directory)"),
        ("train {study} --data x --device gpu", "--device is gpu; what PyTorch can use here is cpu"),
        ("collect --study missing.json --data x --tables x", "missing.json cannot be read: No such file"),
        ("tables claims --study {study} --tables missing", "missing/runs.csv"),
        (
            "figure confusoin --study {study} --tables x --data x --output x.png",
            "confusoin is no figure; did you mean conf",
        ),
        (
            "figure confusion --study {study} --tables x --data x --output /",
            "--output is /; it must end in .pdf or .svg",
        ),
        ("show missing", "missing/tables/claims.csv"),
        ("readme missing.md verdicts=claims.md", "missing.md cannot be read: No such file"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(run: Run, study: Path, arguments: str, said: str) -> None:
    filled = [argument.format(study=study, schema=SCHEMA, root=ROOT) for argument in arguments.split()]
    status, error = run(*filled)
    assert status == 1
    assert error.startswith("error: ")
    assert said in error
    assert error.count("\n") == 1


def test_the_program_itself_says_it_and_shows_no_traceback(tmp_path: Path) -> None:
    arguments = [
        "study",
        "--config",
        json.dumps(CONFIG | {"preset": "lapto"}),
        "--schema",
        SCHEMA,
        "--output",
        "x.json",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pixelpatch", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    sentence = "preset is 'lapto'; did you mean laptop? Known: smoke, laptop, full."
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: The configuration has problems:\n  {sentence}\n"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "the following arguments are required: verb"),
        ("trian --data x", "invalid choice: 'trian'"),
        ("train", "the following arguments are required: --data"),
        ("train --data x --seed -1", "-1"),
        ("train --data x --seed one", "argument --seed: one is no whole number from 0 on"),
        ("train --data x --seed 4294967296", "argument --seed: 4294967296 is no whole number from 0 on"),
        ("train --data x --until 0", "argument --until: 0 is no whole number from 1 on"),
        ("train --data x --threads 0", "argument --threads: 0 is no whole number from 1 on"),
        ("demo --weights x --data x --port 99999", "argument --port: 99999 is no whole number from 1 to 65535"),
        ("verify x --data x --minutes nan", "argument --minutes: nan is no number above zero"),
        ("verify x --data x --minutes -1", "argument --minutes: -1 is no number above zero"),
        ("tables accurcy --study x --tables x", "accurcy is no table; did you mean accuracy?"),
    ],
)
def test_a_wrong_command_line_is_shown_the_right_one(
    capsys: pytest.CaptureFixture[str], arguments: str, said: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(arguments.split())
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert error.startswith("usage: python -m pixelpatch")
    assert said in error


def test_every_verb_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    verbs = ["fetch", "study", "train", "weights", "track", "collect", "tables", "figure", "findings", "report", "show"]
    verbs += ["demo", "verify", "replay", "readme"]
    with pytest.raises(SystemExit):
        command.main(["--help"])
    listed = capsys.readouterr().out
    for verb in verbs:
        with pytest.raises(SystemExit) as caught:
            command.main([verb, "--help"])
        assert caught.value.code == 0
        assert verb in listed
        assert getattr(command, verb).__doc__.split(",")[0].split()[0] in capsys.readouterr().out


def test_an_interrupt_is_no_traceback_either(run: Run, monkeypatch: pytest.MonkeyPatch, study: Path) -> None:
    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "load_mnist", interrupted)
    status, error = run("train", study, *HERE)
    assert (status, error) == (130, "error: interrupted; what was finished is kept.\n")


# study


def test_a_study_is_written_as_it_is_resolved(run: Run, tmp_path: Path) -> None:
    output = tmp_path / "results" / "full" / "study.json"
    arguments = ("study", "--schema", SCHEMA, "--output", output, "--config")
    assert run(*arguments, json.dumps(CONFIG | {"preset": "full"})) == (0, "")
    written = output.read_bytes()
    assert json.loads(written) == resolve(
        CONFIG | {"preset": "full"}, yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    )
    assert run(*arguments, json.dumps(CONFIG | {"preset": "none"}))[0] == 1
    assert output.read_bytes() == written


# train


def test_a_study_is_trained_once(run: Run, study: Path, mnist: list[Path]) -> None:
    status, said = run("train", study, *HERE)
    assert status == 0
    made = records(study.parent)
    assert list(made) == [f"runs/{name}/seed{seed}.json" for name in ("small", "smaller") for seed in (0, 1)]
    for path in made:
        record = read_record(study.parent / path)
        assert (record["experiment"], record["seed"]) == (path.split("/")[1], int(path[-6]))
        assert record["spec"] == json.loads(study.read_text())["experiments"][record["experiment"]]["spec"]
        assert record["provenance"]["threads"] == 1
        assert record["provenance"]["interruptions"] == []
        assert len(record["timing"]["epoch_seconds"]) == 2
        assert record["timing"]["peak_memory_mb"] > 100
        assert f"{record['experiment']} seed {record['seed']}: test/loss" in said
    assert run("train", study, *HERE) == (
        0,
        "".join(
            f"{path.split('/')[1]} seed {path[-6]}: {study.parent / path} is there already\n" for path in made
        ),
    )  # fmt: skip
    assert records(study.parent) == made
    assert mnist == [Path("x")]  # where nothing is left to train, MNIST is not even read


@pytest.mark.usefixtures("mnist")
@pytest.mark.parametrize(("given", "expected"), [((), (1, 2)), (("--threads", "3"), (3, 3))])
def test_a_study_says_in_how_many_threads_unless_the_command_does(
    run: Run, study: Path, given: tuple[str, ...], expected: tuple[int, int]
) -> None:
    content = json.loads(study.read_text())
    content["experiments"]["smaller"]["resources"] = {"threads": 2}
    study.write_text(json.dumps(content))
    assert run("train", study, *HERE, "--seeds", "0", *given)[0] == 0
    torch.set_num_threads(1)  # as all other tests have it
    made = [read_record(study.parent / f"runs/{name}/seed0.json") for name in ("small", "smaller")]
    assert tuple(record["provenance"]["threads"] for record in made) == expected


def test_a_missing_record_alone_is_made_again_and_is_the_same(run: Run, study: Path, mnist: list[Path]) -> None:
    run("train", study, *HERE)
    made = records(study.parent)
    lost = "runs/smaller/seed1.json"
    before = read_record(study.parent / lost)
    (study.parent / lost).unlink()
    status, said = run("train", study, *HERE)
    assert (status, said.count("is there already")) == (0, 3)
    again = records(study.parent)
    assert {path for path in made if again[path] == made[path]} >= made.keys() - {lost}
    after = read_record(study.parent / lost)
    for key in before.keys() - {"timing", "checksum"}:
        assert after[key] == before[key], key


def test_only_some_experiments(run: Run, study: Path, mnist: list[Path]) -> None:
    assert run("train", study, *HERE, "--only", "smaller")[0] == 0
    assert list(records(study.parent)) == ["runs/smaller/seed0.json", "runs/smaller/seed1.json"]


def test_a_single_run_is_the_study_s(run: Run, study: Path, mnist: list[Path], tmp_path: Path) -> None:
    run("train", study, *HERE, "--only", "small")
    assert run(*single(SPEC, tmp_path / "alone.json"))[0] == 0
    alone, one_of = read_record(tmp_path / "alone.json"), read_record(tmp_path / "runs/small/seed0.json")
    for key in alone.keys() - {"timing", "checksum"}:
        assert alone[key] == one_of[key], key
    assert run(*single(SPEC, tmp_path / "alone.json"))[0] == 0  # asked for by name, it is made again
    assert read_record(tmp_path / "alone.json")["predictions"] == alone["predictions"]
    assert len(mnist) == 3


@pytest.mark.parametrize("change", [{"spec": SPEC | {"evaluation": {}}}, {"seed": 1}, {"experiment": "smaller"}])
def test_a_record_of_another_run_is_replaced_and_that_is_said(
    run: Run, study: Path, mnist: list[Path], change: dict[str, Any]
) -> None:
    run("train", study, *HERE, "--only", "small")
    made = records(study.parent)
    path = study.parent / "runs/small/seed0.json"
    write_record(path, read_record(path) | change)
    status, said = run("train", study, *HERE, "--only", "small")
    assert status == 0
    assert f"small seed 0: {path} is of another run or spec; it will be put aside\n" in said
    assert read_record(path)["predictions"] == json.loads(made["runs/small/seed0.json"])["predictions"]
    assert read_record(path)["seed"] == 0
    assert change.items() <= read_record(path.with_name("seed0.json.replaced-1")).items()
    assert records(study.parent)["runs/small/seed1.json"] == made["runs/small/seed1.json"]


def test_a_record_of_other_training_code_is_kept_and_that_is_said(run: Run, study: Path, mnist: list[Path]) -> None:
    run("train", study, *HERE, "--only", "small")
    path = study.parent / "runs/small/seed0.json"
    record = read_record(path)
    write_record(path, record | {"provenance": record["provenance"] | {"source": "0" * 16}})
    before = records(study.parent)
    status, said = run("train", study, *HERE, "--only", "small")
    assert status == 0
    assert "seed0.json is there already, made by another version of the training code: move it away to have" in said
    assert records(study.parent) == before


def test_a_damaged_record_is_kept_and_said_and_the_other_runs_are_trained(
    run: Run, study: Path, mnist: list[Path]
) -> None:
    path = study.parent / "runs/smaller/seed1.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"format": 1')
    status, said = run("train", study, *HERE)
    assert status == 1
    assert said.splitlines()[-1].startswith(f"error: {path} is not valid JSON")
    assert path.read_text() == '{"format": 1'
    assert len(records(study.parent)) == len(json.loads(study.read_text())["runs"])


def test_seeds_of_a_study_are_chosen(run: Run, study: Path, mnist: list[Path]) -> None:
    assert run("train", study, *HERE, "--only", "small", "--seeds", "1")[0] == 0
    assert list(records(study.parent)) == ["runs/small/seed1.json"]
    status, said = run("train", study, *HERE, "--seeds", "0,9")
    assert status == 1
    assert "--seeds names 9, of which" in said


def test_a_run_that_diverges_says_so_and_leaves_no_record(run: Run, mnist: list[Path], tmp_path: Path) -> None:
    spec = copy.deepcopy(SPEC)
    spec["training"] |= {"optimiser": "sgd", "learning_rate": 1e30}
    status, said = run(*single(spec, tmp_path / "record.json"))
    assert status == 1
    assert "error: small seed 0: The loss became nan at epoch" in said
    assert "a lower training.learning_rate may help." in said
    assert os.listdir(tmp_path) == []


def test_a_run_that_diverges_does_not_stop_the_others(run: Run, mnist: list[Path], tmp_path: Path) -> None:
    broken = copy.deepcopy(SPEC)
    broken["training"] |= {"optimiser": "sgd", "learning_rate": 1e30}
    study = write_study(tmp_path / "study.json", broken=broken, small=SPEC)
    status, said = run("train", study, *HERE)
    assert status == 1
    assert list(records(tmp_path)) == ["runs/small/seed0.json", "runs/small/seed1.json"]
    assert said.count("The loss became nan") == 2


@pytest.mark.parametrize("alone", [True, False])
def test_that_a_run_diverges_can_be_a_result(alone: bool, run: Run, mnist: list[Path], tmp_path: Path) -> None:
    spec = copy.deepcopy(SPEC)
    spec["training"] |= {"optimiser": "sgd", "learning_rate": 1e30}
    path = tmp_path / "runs/broken/seed0.json"
    study = write_study(tmp_path / "study.json", broken=spec)
    content = json.loads(study.read_text())
    content["experiments"]["broken"]["may_diverge"] = True
    study.write_text(json.dumps(content))
    given = ["train", "--experiment", "broken", "--spec", json.dumps(spec), "--seed", "0", "--record", path]
    for _ in range(2):  # the second finds the record, and trains nothing
        status, said = run(*(given if alone else ["train", study, "--seeds", "0"]), *HERE, *["--may-diverge"] * alone)
        assert status == 0
    assert said.endswith("is there already; move it away to have it made anew\n" if alone else "is there already\n")
    record = read_record(path)
    assert re.fullmatch(r"The loss became nan at epoch \d, step \d+ of \d+", record["provenance"]["diverged"])
    assert record["metrics"] == record["curve"] == {}
    assert record["predictions"] == record["labels"] == ""
    assert record["timing"].keys() == {"seconds"}
    assert record["provenance"]["interruptions"] == []
    assert os.listdir(path.parent) == ["seed0.json"]


def test_what_diverged_is_said_also_where_the_rest_cannot_go_on(run: Run, mnist: list[Path], tmp_path: Path) -> None:
    broken = copy.deepcopy(SPEC)
    broken["training"] |= {"optimiser": "sgd", "learning_rate": 1e30}
    study = write_study(tmp_path / "study.json", broken=broken, small=SPEC)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/small").write_text("in the way")
    status, said = run("train", study, *HERE)
    assert status == 1
    assert said.count("The loss became nan") == 2
    assert "runs/small" in said.splitlines()[-1]


# A spec on the command line, which no schema has seen


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("training.learning_rte", 0.1, "training.learning_rte is not a known key; did you mean learning_rate?"),
        ("data.validation.split", "torch", "data.validation.split is not a known key; did you mean split_by?"),
        (
            "evaluation",
            {},
            "evaluation.batch is missing. evaluation.order is missing. evaluation.checkpoint is missing.",
        ),
        (
            "evaluation",
            5,
            "evaluation is 5; it must have the keys batch order loss_mean (optional) checkpoint "
            "test_every_epoch (optional).",
        ),
        (
            "data.limit",
            5,
            "data.limit is 5; it must have the keys train (optional) validation (optional) test (optional).",
        ),
        ("model.heads", 3, "heads is 3, which does not divide the width 8; choose from 1, 2, 4, 8."),
        ("model.heads", 0, "heads is 0, which does not divide the width 8; choose from 1, 2, 4, 8."),
        ("model.patch", 5, "patch is 5, which does not divide the 28-pixel image; choose from 1, 2, 4, 7, 14, 28."),
        ("model.patch", 0, "patch is 0, which does not divide the 28-pixel image"),
        ("model.dropout", 1.5, "dropout is 1.5; choose a rate from 0 up to, but not including, 1."),
        ("model.wdth", 8, "wdth"),
        ("model.width", "8", "cannot be trained"),
        ("model.name", "vitt", "model.name is 'vitt', which is no model."),
        ("model.layer_init", "copy", "model.layer_init is 'copy'; did you mean copied? Known: independent, copied."),
        (
            "training.one_generator",
            True,
            "training.one_generator goes on from fixed training grids; it needs data.grids",
        ),
        ("training.optimiser", "rmsprop", "'rmsprop' is missing or unknown"),
        ("training.momentum", 0.5, "momentum"),
        (
            "training.precision",
            "bf16",
            "training.precision is 'bf16'; did you mean bfloat16? Known: float32, tf32, bfl",
        ),
        ("training.precision", ["float32"], "training.precision is ['float32']; did you mean float32?"),
        ("data.grids", {"train": 1, "test": 1, "fresh": True, "seed": 0}, "data.grids and model.name vit do not fit"),
        ("data.sample", {"images": 100, "seed": 0}, "data.validation.images is 100; it must leave some of the 100 to"),
    ],
)
def test_a_spec_that_cannot_be_trained_is_said_first(
    run: Run, mnist: list[Path], path: str, value: Any, said: str
) -> None:
    spec = copy.deepcopy(SPEC)
    *above, key = path.split(".")
    block = spec
    for part in above:
        block = block[part]
    block[key] = value
    status, error = run(*single(spec, Path("record.json")))
    assert status == 1
    assert error.startswith("error: The spec of small cannot be trained: ")
    assert said in error
    assert mnist == []


@pytest.mark.parametrize("spec", [None, 5, "vit", [], {}])
def test_what_is_no_spec_at_all(run: Run, spec: Any) -> None:
    status, error = run(*single(spec, Path("record.json")))
    assert status == 1
    assert error.startswith("error: The spec of small cannot be trained: ")


def places(value: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, item in value.items() if isinstance(value, dict) else ():
        yield (*above, key)
        yield from places(item, (*above, key))


PLACES = [(name, *place) for name, spec in SPECS.items() for place in places(spec)]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PLACES), st.sampled_from(["", "s", None]))
def test_any_lost_or_misspelt_key_of_a_spec_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, place: tuple[str, ...], ending: str | None
) -> None:
    def stop(_: Path) -> None:
        raise UserError("so far, so good")

    monkeypatch.setattr(data, "load_mnist", stop)
    name, *above, key = place
    spec = copy.deepcopy(SPECS[name])
    block = spec
    for part in above:
        block = block[part]
    value = block.pop(key)
    if ending is not None:
        block[key + ending] = value
    status, error = run(*single(spec, Path("record.json")))
    assert (status, error.count("\n")) == (1, 1)
    if ending == "":
        assert "so far, so good" in error
    elif ending == "s" or "so far, so good" not in error:
        assert key in error or (key == "resize" and "28-pixel" in error)


# readme


def test_readme_puts_each_table_between_its_marks(run: Run, tmp_path: Path) -> None:
    readme, table = tmp_path / "README.md", tmp_path / "table.md"
    table.write_text("| a \\1 |\n", encoding="utf-8")
    marked = "one\n<!-- x: made -->\nold\n<!-- end of x -->\ntwo\n<!-- y: made -->\n<!-- end of y -->\nthree\n"
    readme.write_text(marked, encoding="utf-8")
    assert run("readme", readme, f"x={table}", f"y={table}")[0] == 0
    once = readme.read_text(encoding="utf-8")
    assert once == marked.replace("old\n", "\n| a \\1 |\n\n").replace("<!-- end of y", "\n| a \\1 |\n\n<!-- end of y")
    assert run("readme", readme, f"y={table}", f"x={table}")[0] == 0
    assert readme.read_text(encoding="utf-8") == once
    for block in (f"z={table}", "x", f"={table}"):
        status, error = run("readme", readme, block)
        assert status == 1
        assert f"{block} should be name=file" in error
    assert readme.read_text(encoding="utf-8") == once
