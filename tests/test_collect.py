"""Records to tidy tables: real records on disk, and everything that can be wrong with them."""

import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import confusion_matrix

from pixelpatch.analysis import collect as module
from pixelpatch.analysis.collect import CONFUSION, CURVES, RUNS, collect
from pixelpatch.errors import UserError
from pixelpatch.record import seal_record, write_record

SPEC = {"epochs": 2, "model": {"name": "vit", "width": 8}, "data": {"train": 100}}


def record(experiment: str, seed: int, **changes: object) -> dict:
    """A whole record, sealed, with its changes."""
    return seal_record(
        {
            "format": 1,
            "experiment": experiment,
            "seed": seed,
            "spec": SPEC,
            "metrics": {"test/accuracy": 90.0 + seed, "model/parameters": 1000},
            "curve": {"train/loss": [2.0, 1.0 + seed], "validation/accuracy": [50.0, 80.5]},
            "predictions": "0123456789",
            "labels": "0123456789",
            "timing": {"seconds": 12.5, "images_per_second": 16.0, "epoch_seconds": [5.0, 6.0]},
            "provenance": {"source": "a" * 64},
        }
        | changes
    )


def study_of(*runs: tuple[str, int], narrowed: tuple[str, ...] = ()) -> dict:
    """The study that selects these runs of `one` and `two`."""
    return {
        "experiments": {name: {"spec": SPEC, "narrowed": name in narrowed} for name in ("one", "two")},
        "runs": [{"experiment": name, "seed": seed, "record": f"runs/{name}/seed{seed}.json"} for name, seed in runs],
    }


def write(folder: Path, study: dict, **changes: object) -> None:
    for run in study["runs"]:
        write_record(folder / run["record"], record(run["experiment"], run["seed"], **changes))


def test_all_numbers_and_curves_become_one_row_each(tmp_path: Path) -> None:
    study = study_of(("one", 0), ("one", 3), ("two", 0), narrowed=("two",))
    write(tmp_path, study)
    runs, curves, confusion, notes = collect(study, tmp_path)
    assert (list(runs), list(curves), list(confusion)) == (RUNS, CURVES, CONFUSION)
    assert [*runs[runs.seed == 3].itertuples(index=False, name=None)] == [
        ("one", 3, False, "model/parameters", 1000.0),
        ("one", 3, False, "test/accuracy", 93.0),
        ("one", 3, False, "timing/images_per_second", 16.0),
        ("one", 3, False, "timing/seconds", 12.5),
    ]
    assert [*curves[curves.seed == 3].itertuples(index=False, name=None)] == [
        ("one", 3, False, "train/loss", 1, 2.0),
        ("one", 3, False, "train/loss", 2, 4.0),
        ("one", 3, False, "validation/accuracy", 1, 50.0),
        ("one", 3, False, "validation/accuracy", 2, 80.5),
    ]
    assert set(runs[runs.narrowed].experiment) == set(curves[curves.narrowed].experiment) == {"two"}
    assert len(runs) == 3 * 4
    assert len(curves) == 3 * 4
    assert notes == []


def test_confusion_is_that_of_scikit_learn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    study = study_of(("one", 0), ("two", 5))
    drawn = {}
    for run in study["runs"]:
        labels, predictions = ("".join(map(str, rng.integers(0, 10, 500))) for _ in range(2))
        drawn[run["experiment"]] = (labels, predictions)
        write_record(
            tmp_path / run["record"],
            record(run["experiment"], run["seed"], labels=labels, predictions=predictions),
        )
    confusion = collect(study, tmp_path).confusion
    for (name, seed), part in confusion.groupby(["experiment", "seed"]):
        assert seed == {"one": 0, "two": 5}[name]
        matrix = part.pivot(index="label", columns="predicted", values="count").to_numpy()
        np.testing.assert_array_equal(matrix, confusion_matrix(*map(list, drawn[name])))


def test_what_is_no_digit_is_counted_as_other_and_only_there(tmp_path: Path) -> None:
    study = study_of(("one", 0))
    labels, predictions = "00112", "0<é /"
    write(tmp_path, study, labels=labels, predictions=predictions)
    confusion = collect(study, tmp_path).confusion
    other = confusion[confusion.predicted == "other"]
    assert dict(zip(other.label, other["count"], strict=True)) == {0: 1, 1: 2, 2: 1}
    assert confusion["count"].sum() == 5
    assert len(confusion) == 100 + 3


def test_a_study_without_runs_has_empty_tables_with_their_columns(tmp_path: Path) -> None:
    runs, curves, confusion, notes = collect(study_of(), tmp_path)
    assert (list(runs), list(curves), list(confusion), notes) == (RUNS, CURVES, CONFUSION, [])
    assert len(runs) == len(curves) == len(confusion) == 0


def test_tables_survive_csv(tmp_path: Path) -> None:
    study = study_of(("one", 0), ("two", 1), narrowed=("two",))
    write(tmp_path, study)
    tidy = collect(study, tmp_path)
    for table in tidy[:2]:
        table.to_csv(tmp_path / "table.csv", index=False)
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "table.csv"), table, check_dtype=False)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    study = study_of(("one", 0), ("one", 1), ("one", 2), ("one", 3), ("two", 0), ("two", 0), ("two", 1), ("two", 2))
    write(tmp_path, study)
    paths = {(run["experiment"], run["seed"]): tmp_path / run["record"] for run in study["runs"]}
    paths["one", 0].unlink()
    paths["one", 1].write_text(paths["one", 1].read_text()[:50])
    paths["one", 2].write_text(paths["one", 2].read_text().replace("92.0", "99.0"))
    write_record(paths["one", 3], record("two", 7))
    changed = {**SPEC, "epochs": 3, "model": {"name": "vit", "width": 16}, "seeds": 1}
    write_record(paths["two", 1], record("two", 1, spec=changed))
    write_record(paths["two", 2], record("two", 2, predictions="01", labels="0x2"))
    with pytest.raises(UserError) as error:
        collect(study, tmp_path)
    lines = str(error.value).split("\n")
    assert len(lines) == 8
    for words in (
        ["two seed 0", "2 times"],
        ["runs/one/seed0.json", "cannot be read"],
        ["runs/one/seed1.json", "not whole JSON"],
        ["runs/one/seed2.json", "changed after it was written"],
        ["runs/one/seed3.json", "holds two seed 7, not one seed 3"],
        ["runs/two/seed1.json", "differ in epochs, model.width, seeds"],
        ["runs/two/seed2.json", "2 predictions for 3 labels"],
        ["runs/two/seed2.json", "labels other than the digits"],
    ):
        assert sum(all(word in line for word in words) for line in lines) == 1, words


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "90"])
def test_a_value_that_is_not_a_finite_number_is_refused(monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    broken = record("one", 0)
    broken["metrics"]["test/accuracy"] = value
    broken["curve"]["train/loss"][1] = value
    monkeypatch.setattr(module, "read_record", lambda path: broken)
    with pytest.raises(UserError) as error:
        collect(study_of(("one", 0)), Path())
    assert "test/accuracy" in str(error.value)
    assert "train/loss" in str(error.value)


def test_a_run_of_an_unknown_experiment_is_refused(tmp_path: Path) -> None:
    study = study_of(("three", 0))
    write(tmp_path, study)
    with pytest.raises(UserError, match="three, which is no experiment"):
        collect(study, tmp_path)


def test_very_many_problems_are_cut_short(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        collect(study_of(*(("one", seed) for seed in range(1000))), tmp_path)
    lines = str(error.value).split("\n")
    assert len(lines) < 50
    assert f"{1000 - len(lines) + 1} more" in lines[-1]


def test_several_versions_of_the_training_code_are_a_note(tmp_path: Path) -> None:
    study = study_of(("one", 0), ("one", 1), ("two", 0))
    write(tmp_path, study)
    write_record(tmp_path / "runs/two/seed0.json", record("two", 0, provenance={"source": "b" * 64}))
    tidy = collect(study, tmp_path)
    assert len(tidy.runs) == 3 * 4
    (note,) = tidy.notes
    assert "2 by aaaaaaaaaaaa," in note
    assert "1 by bbbbbbbbbbbb)" in note


def test_predictions_are_counted_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    length, number = 10_000, 400
    made = Counter()

    def read(path: Path) -> dict:
        made["characters"] += 2 * length
        seed = int(path.stem[4:])
        return record("one", seed) | {"labels": f"{seed % 10}" * length, "predictions": f"{seed % 7}" * length}

    monkeypatch.setattr(module, "read_record", read)
    study = study_of(*(("one", seed) for seed in range(number)))
    tracemalloc.start()
    confusion = collect(study, Path()).confusion
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert confusion["count"].sum() == number * length
    assert peak < 0.8 * made["characters"]
