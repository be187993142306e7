"""Records to tidy tables: real records on disk, and everything that can be wrong with them."""

import json
import tracemalloc
from collections import Counter
from operator import eq
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from configurations import study as configured
from sklearn.metrics import confusion_matrix

from pixelpatch import ledger
from pixelpatch.analysis import collect as module
from pixelpatch.analysis.collect import CONFUSION, CORRECTNESS, CURVES, PROVENANCE, RUNS, Tidy, collect
from pixelpatch.errors import RESTORE, UserError
from pixelpatch.files import canonical_json
from pixelpatch.record import provenance, seal_record, write_record
from pixelpatch.runs import diverged
from pixelpatch.source import source_digest
from pixelpatch.study import merge

SPEC = {
    "data": {"standardise": False, "validation": {"images": 50}, "limit": {"train": 100, "test": 10}},
    "model": {"name": "vit", "width": 8, "patch": 7},
    "training": {"epochs": 2},
    "evaluation": {"checkpoint": "last"},
}
DIGITS = "0123456789"


def record(experiment: str, seed: int, **changes: Any) -> dict:
    """A whole record, sealed, with its changes; what follows from those is true of them."""
    changes = {"labels": DIGITS, "predictions": DIGITS[:9] + "0", "spec": SPEC} | changes
    correct = sum(map(eq, changes["labels"], changes["predictions"]))
    metrics = {
        "data/test_images": len(changes["labels"]),
        "data/train_images": 100,
        "data/validation_images": 50,
        "model/parameters": 1000,
        "model/sequence_length": 16,
        "test/accuracy": 100 * correct / max(len(changes["labels"]), 1),
        "test/correct": correct,
        "test/loss": 0.5,
        "train/loss": 1.0 + seed,
        "validation/accuracy": 80.5,
        "validation/loss": 1.5,
    }
    curve = {"train/loss": [2.0, 1.0 + seed], "validation/accuracy": [50.0, 80.5], "validation/loss": [1.7, 1.5]}
    timing = {"seconds": 12.5, "images_per_second": 16.0, "epoch_seconds": [5.0, 6.0]}
    made = {"format": 2, "experiment": experiment, "seed": seed, "metrics": metrics, "curve": curve, "timing": timing}
    made |= {"epochs": 2, "batch_losses": [], "provenance": {"source": "a" * 64}}
    return seal_record(made | changes)


def study_of(*runs: tuple[str, int], narrowed: tuple[str, ...] = (), spec: dict = SPEC) -> dict:
    """The study that selects these runs of `one` and `two`."""
    return {
        "experiments": {
            name: {"spec": spec, "narrowed": name in narrowed, "resources": {}, "may_diverge": False}
            for name in ("one", "two")
        },
        "runs": [{"experiment": name, "seed": seed, "record": f"runs/{name}/seed{seed}.json"} for name, seed in runs],
    }


def gather(study: dict, folder: Path) -> Tidy:
    """The tidy tables, whichever code made the records: these are made up."""
    return collect(study, folder, today=False)


def spec_with_tests(images: int) -> dict:
    """The spec with another number of test images."""
    return merge(SPEC, {"data": {"limit": {"test": images}}})


def write(folder: Path, study: dict, **changes: object) -> None:
    for run in study["runs"]:
        write_record(folder / run["record"], record(run["experiment"], run["seed"], **changes))


def test_all_numbers_and_curves_become_one_row_each(tmp_path: Path) -> None:
    study = study_of(("one", 0), ("one", 3), ("two", 0), narrowed=("two",))
    write(tmp_path, study)
    runs, curves, confusion, correctness, origins = gather(study, tmp_path)
    columns = [list(table) for table in (runs, curves, confusion, correctness, origins)]
    assert columns == [RUNS, CURVES, CONFUSION, CORRECTNESS, PROVENANCE]
    assert correctness.iloc[1].tolist() == ["one", 3, 10, "ff80"]  # nine of ten right, the last one wrong
    assert [*runs[runs.seed == 3].itertuples(index=False, name=None)] == [
        ("one", 3, False, "data/test_images", 10.0),
        ("one", 3, False, "data/train_images", 100.0),
        ("one", 3, False, "data/validation_images", 50.0),
        ("one", 3, False, "model/parameters", 1000.0),
        ("one", 3, False, "model/sequence_length", 16.0),
        ("one", 3, False, "test/accuracy", 90.0),
        ("one", 3, False, "test/correct", 9.0),
        ("one", 3, False, "test/loss", 0.5),
        ("one", 3, False, "train/loss", 4.0),
        ("one", 3, False, "validation/accuracy", 80.5),
        ("one", 3, False, "validation/loss", 1.5),
        ("one", 3, False, "timing/images_per_second", 16.0),
        ("one", 3, False, "timing/seconds", 12.5),
    ]
    assert [*curves[curves.seed == 3].itertuples(index=False, name=None)] == [
        ("one", 3, False, "train/loss", 1, 2.0),
        ("one", 3, False, "train/loss", 2, 4.0),
        ("one", 3, False, "validation/accuracy", 1, 50.0),
        ("one", 3, False, "validation/accuracy", 2, 80.5),
        ("one", 3, False, "validation/loss", 1, 1.7),
        ("one", 3, False, "validation/loss", 2, 1.5),
    ]
    assert set(runs[runs.narrowed].experiment) == set(curves[curves.narrowed].experiment) == {"two"}
    assert len(runs) == 3 * 13
    assert len(curves) == 3 * 6


def test_confusion_is_that_of_scikit_learn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    study, drawn = study_of(("one", 0), ("two", 5), spec=spec_with_tests(500)), {}
    for run in study["runs"]:
        labels, predictions = ("".join(map(str, rng.integers(0, 10, 500))) for _ in range(2))
        drawn[run["experiment"]] = (labels, predictions)
        write_record(
            tmp_path / run["record"],
            record(run["experiment"], run["seed"], labels=labels, predictions=predictions, spec=spec_with_tests(500)),
        )
    confusion = gather(study, tmp_path).confusion
    for (name, seed), part in confusion.groupby(["experiment", "seed"]):
        assert seed == {"one": 0, "two": 5}[name]
        matrix = part.pivot(index="label", columns="predicted", values="count").to_numpy()
        np.testing.assert_array_equal(matrix, confusion_matrix(*map(list, drawn[name])))


def test_what_is_no_digit_is_counted_as_other_and_only_there(tmp_path: Path) -> None:
    study = study_of(("one", 0), spec=spec_with_tests(5))
    write(tmp_path, study, labels="00112", predictions="0<é /", spec=spec_with_tests(5))
    confusion = gather(study, tmp_path).confusion
    other = confusion[confusion.predicted == "other"]
    assert dict(zip(other.label, other["count"], strict=True)) == {0: 1, 1: 2, 2: 1}
    assert confusion["count"].sum() == 5
    assert len(confusion) == 100 + 3


def test_a_study_without_runs_has_empty_tables_with_their_columns(tmp_path: Path) -> None:
    runs, curves, confusion, correctness, origins = gather(study_of(), tmp_path)
    columns = [list(table) for table in (runs, curves, confusion, correctness, origins)]
    assert columns == [RUNS, CURVES, CONFUSION, CORRECTNESS, PROVENANCE]
    assert len(runs) == len(curves) == len(confusion) == 0


def test_tables_survive_csv(tmp_path: Path) -> None:
    study = study_of(("one", 0), ("two", 1), narrowed=("two",))
    write(tmp_path, study)
    tidy = gather(study, tmp_path)
    for table in tidy[:2]:
        table.to_csv(tmp_path / "table.csv", index=False)
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "table.csv"), table, check_dtype=False)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    study = study_of(("one", 0), ("one", 1), ("one", 2), ("one", 3), ("two", 0), ("two", 0), ("two", 1), ("two", 2))
    write(tmp_path, study)
    paths = {(run["experiment"], run["seed"]): tmp_path / run["record"] for run in study["runs"]}
    paths["one", 0].unlink()
    paths["one", 1].write_text(paths["one", 1].read_text()[:50])
    paths["one", 2].write_text(paths["one", 2].read_text().replace('"test/accuracy":90.0', '"test/accuracy":99.0'))
    write_record(paths["one", 3], record("two", 7))
    changed = merge(SPEC, {"training": {"epochs": 3}, "model": {"width": 16}, "seeds": 1})
    write_record(paths["two", 1], record("two", 1, spec=changed))
    write_record(paths["two", 2], record("two", 2, predictions="01", labels="0x2"))
    with pytest.raises(UserError) as error:
        gather(study, tmp_path)
    lines = str(error.value).split("\n")
    assert len(lines) == 8
    for words in (
        ["two seed 0", "2 times"],
        ["runs/one/seed0.json", "cannot be read"],
        ["runs/one/seed1.json", "not valid JSON"],
        ["runs/one/seed2.json", "changed after it was written"],
        ["runs/one/seed3.json", "holds two seed 7, not one seed 3"],
        ["runs/two/seed1.json", "differ in model.width, seeds, training.epochs"],
        ["runs/two/seed2.json", "2 predictions for 3 labels"],
        ["runs/two/seed2.json", "labels other than the digits"],
    ):
        assert sum(all(word in line for word in words) for line in lines) == 1, words


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "90", True, 10**400])
def test_a_value_that_is_not_a_finite_number_is_refused(monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    broken = record("one", 0)
    broken["metrics"]["test/accuracy"] = value
    broken["curve"]["train/loss"][1] = value
    monkeypatch.setattr(module, "read_record", lambda path: broken)
    with pytest.raises(UserError) as error:
        gather(study_of(("one", 0)), Path())
    assert "test/accuracy" in str(error.value)
    assert "train/loss" in str(error.value)


def test_a_run_of_an_unknown_experiment_is_refused(tmp_path: Path) -> None:
    study = study_of(("three", 0))
    write(tmp_path, study)
    with pytest.raises(UserError, match="three, which is no experiment"):
        gather(study, tmp_path)


def test_very_many_problems_are_cut_short(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        gather(study_of(*(("one", seed) for seed in range(1000))), tmp_path)
    lines = str(error.value).split("\n")
    assert len(lines) < 50
    assert f"{1000 - len(lines) + 1} more" in lines[-1]


def test_predictions_are_counted_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    length, number, made = 10_000, 400, Counter()
    spec = spec_with_tests(length)

    def read(path: Path) -> dict:
        made["characters"] += 2 * length
        seed = int(path.stem[4:])
        return record("one", seed, spec=spec, labels="7" * length, predictions=f"{seed % 7}" * length)

    monkeypatch.setattr(module, "read_record", read)
    study = study_of(*(("one", seed) for seed in range(number)), spec=spec)
    tracemalloc.start()
    confusion = gather(study, Path()).confusion
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert confusion["count"].sum() == number * length
    of_bits = number * length / 4  # hexadecimal digits: what of a run's predictions is kept
    assert peak < 0.8 * made["characters"] + of_bits


# Records that contradict themselves, or one another


def forged(**changes: Any) -> dict:
    """A record with other numbers in it ("metrics.test/accuracy"), or without them (None), and a checksum that fits."""
    made = json.loads(json.dumps(record("one", 0)))
    for path, value in changes.items():
        block, _, key = path.rpartition(".")
        place = made[block] if block else made
        place.pop(key) if value is None else place.update({key: value})
    return seal_record(made)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metrics.test/accuracy": 99.0}, "has 99.0 as test/accuracy; its predictions and labels make it 90.0"),
        ({"metrics.test/correct": 10}, "has 10 as test/correct; its predictions and labels make it 9"),
        ({"predictions": DIGITS}, "has 90.0 as test/accuracy; its predictions and labels make it 100.0"),
        ({"labels": DIGITS[::-1]}, "has 9 as test/correct; its predictions and labels make it 1"),
        ({"predictions": DIGITS[:9]}, "has 9 predictions for 10 labels"),
        ({"predictions": DIGITS[:9], "labels": DIGITS[:9]}, "has 9 labels; its spec tests 10"),
        ({"labels": "012345678x"}, "has labels other than the digits 0 to 9"),
        ({"metrics.data/test_images": 10000}, "has 10000 as data/test_images; its data settings make it 10"),
        ({"metrics.data/train_images": 60000}, "has 60000 as data/train_images; its data settings make it 100"),
        ({"metrics.train/loss": 0.9}, "has 0.9 as train/loss; its curves make it 1.0"),
        ({"metrics.validation/accuracy": 99.5}, "has 99.5 as validation/accuracy; its curves make it 80.5"),
        ({"curve.train/loss": [3.0, 2.0, 1.0]}, "has 3 epochs of train/loss; it is of 2"),
        ({"curve.train/loss": []}, "has 0 epochs of train/loss; it is of 2"),
        ({"curve.validation/loss": None}, "has no curve validation/loss"),
        ({"curve.test/loss": [1.0, 1.0]}, "has the curve test/loss, which its spec does not give"),
        ({"metrics.test/loss": None, "metrics.test/correct": None}, "has no metric test/correct, test/loss"),
        ({"metrics.test/digit_accuracy": 9.0}, "has the metric test/digit_accuracy, which its spec does not give"),
        ({"metrics.test/loss": -0.1}, "has -0.1 as test/loss, which cannot be"),
        ({"timing.seconds": -1.0}, "has -1.0 as timing/seconds, which cannot be"),
        ({"curve.train/loss": 5.0}, "has a value of train/loss that is not a finite number"),
        ({"epochs": 3}, "has 3 epochs; its spec trains 2"),
        ({"epochs": 0}, "has 0 epochs; its spec trains 2"),
        ({"epochs": 1}, "has 2 epochs of train/loss; it is of 1"),
        ({"batch_losses": [1.0]}, "has the losses of 1 batches; its spec logs none"),
        ({"curve.validation/accuracy": [100.5, 80.5]}, "has 100.5 as validation/accuracy, which cannot be"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(tmp_path: Path, changes: dict, said: str) -> None:
    study = study_of(("one", 0))
    (tmp_path / "runs/one").mkdir(parents=True)
    (tmp_path / "runs/one/seed0.json").write_text(canonical_json(forged(**changes)) + "\n")
    with pytest.raises(UserError) as error:
        gather(study, tmp_path)
    assert f"runs/one/seed0.json {said}; {RESTORE}." in str(error.value).splitlines()


def test_the_best_epoch_is_the_first_with_the_highest_validation_accuracy(tmp_path: Path) -> None:
    spec = merge(SPEC, {"evaluation": {"checkpoint": "best_validation"}})
    curve = {"train/loss": [2.0, 1.0], "validation/accuracy": [80.5, 80.5], "validation/loss": [1.5, 1.7]}
    metrics = record("one", 0)["metrics"]
    for best in (1, 2):
        made = record("one", 0, spec=spec, curve=curve, metrics=metrics | {"validation/best_epoch": best})
        write_record(tmp_path / "runs/one/seed0.json", made)
        if best == 1:
            assert len(gather(study_of(("one", 0), spec=spec), tmp_path).runs) == 14
        else:
            with pytest.raises(UserError, match="has 2 as validation/best_epoch; its curves make it 1"):
                gather(study_of(("one", 0), spec=spec), tmp_path)


@pytest.mark.parametrize(("metric", "right"), [("test/digit_accuracy", 87.5), ("test/sequence_accuracy", 50.0)])
def test_a_grid_is_right_where_all_four_digits_are(tmp_path: Path, metric: str, right: float) -> None:
    spec = merge(SPEC, {"data": {"grids": {"train": 100, "test": 2}, "validation": None, "limit": None}})
    spec["model"] = {"name": "grid_reader", "patch": 14}
    metrics = {"data/test_images": 2, "data/train_images": 100, "model/parameters": 9, "model/sequence_length": 16}
    metrics |= {"model/vocabulary": 13, "train/loss": 1.0, "test/digit_accuracy": 87.5, "test/sequence_accuracy": 50.0}
    changes = {"spec": spec, "curve": {"train/loss": [2.0, 1.0]}, "labels": "01234567", "predictions": "0123456<"}
    write_record(tmp_path / "runs/one/seed0.json", record("one", 0, **changes, metrics=metrics))
    assert gather(study_of(("one", 0), spec=spec), tmp_path).confusion["count"].sum() == 8
    write_record(tmp_path / "runs/one/seed0.json", record("one", 0, **changes, metrics=metrics | {metric: 75.0}))
    with pytest.raises(UserError, match=f"has 75.0 as {metric}; its predictions and labels make it {right}"):
        gather(study_of(("one", 0), spec=spec), tmp_path)


@pytest.mark.parametrize("share", ["model/parameters", "labels"])
def test_runs_of_one_experiment_share_their_labels_and_the_model_s_size(tmp_path: Path, share: str) -> None:
    study = study_of(("one", 0), ("one", 1), ("two", 0))
    write(tmp_path, study)
    other = {"labels": DIGITS[::-1], "predictions": DIGITS[::-1]}
    if share != "labels":
        other = {"metrics": record("one", 1)["metrics"] | {share: 1001}}
    write_record(tmp_path / "runs/one/seed1.json", record("one", 1, **other))
    with pytest.raises(UserError) as error:
        gather(study, tmp_path)
    first, second = "runs/one/seed1.json and runs/one/seed0.json", f"differ in {share}, though their spec is the same"
    assert str(error.value).startswith(f"{first} {second}")
    assert "\n" not in str(error.value)


def test_an_experiment_of_so_many_threads_has_records_of_as_many(tmp_path: Path) -> None:
    study = study_of(("one", 0))
    write(tmp_path, study, provenance={"device": "cpu (x86_64)", "threads": 1})
    assert len(gather(study, tmp_path).runs)
    study["experiments"]["one"]["resources"] = {"threads": 2}
    with pytest.raises(UserError, match=r"one/seed0.json ran with 1 CPU threads, not 2; restore it"):
        gather(study, tmp_path)


def study_spec() -> dict:
    """The whole spec of an experiment, so that code can be told by it."""
    return configured(("preset", "full"))["experiments"]["vit16_tiny"]["spec"]


def test_every_run_says_where_it_comes_from(tmp_path: Path) -> None:
    study = study_of(("one", 0), ("one", 3))
    spec = study_spec()
    origin = provenance(spec, device="cpu (x86_64)", threads=1) | {"interruptions": [{}, {}], "lost": ["a", "b"]}
    write(tmp_path, study, provenance=origin)
    table = gather(study, tmp_path).provenance
    assert list(table["record"]) == ["runs/one/seed0.json", "runs/one/seed3.json"]
    said = table.iloc[1].drop(["experiment", "seed", "record"]).to_dict()
    assert said == {
        "device": "cpu (x86_64)",
        "threads": 1,
        "compiled": origin["compiled"],
        "commit": origin["git"]["commit"],
        "dirty": origin["git"]["dirty"],
        "source": origin["source"],
        **origin["versions"],
        "interruptions": 2,
        "machines": 1,
        "lost": "a; b",
        "epochs": 2,
        "of_epochs": 2,
        "diverged": None,
    }
    write(tmp_path, study)  # an old record may say less
    assert gather(study, tmp_path).provenance["commit"].isna().all()


def test_a_run_that_diverged_is_one_where_it_may(tmp_path: Path) -> None:
    study = study_of(("one", 0), ("one", 1), ("two", 0))
    write(tmp_path, study)
    nothing = diverged("The loss became nan at epoch 2, step 7 of 9", 3.5)
    write_record(tmp_path / "runs/one/seed1.json", record("one", 1) | nothing)
    with pytest.raises(UserError, match=r"one/seed1.json diverged, and one must not; move it away, change the spec"):
        gather(study, tmp_path)
    study["experiments"]["one"]["may_diverge"] = True
    tidy = gather(study, tmp_path)
    own = tidy.runs[(tidy.runs["experiment"] == "one") & (tidy.runs["seed"] == 1)]
    assert own[["metric", "value"]].to_numpy().tolist() == [["timing/seconds", 3.5]]
    assert len(tidy.confusion.groupby(["experiment", "seed"])) == len(tidy.correctness) == 2
    assert tidy.provenance["diverged"].fillna("").tolist() == ["", "The loss became nan at epoch 2, step 7 of 9", ""]
    write_record(tmp_path / "runs/one/seed1.json", record("one", 1) | nothing | {"metrics": {"test/accuracy": 99.0}})
    with pytest.raises(UserError, match=r"one/seed1.json diverged and yet has results; restore it"):
        gather(study, tmp_path)


# Runs in progress, and records of other code


def begun(seed: int, **changes: Any) -> dict:
    """The record of a run in progress, one of its two epochs finished."""
    curve = {metric: values[:1] for metric, values in record("one", seed)["curve"].items()}
    return record(
        "one", seed, **{"epochs": 1, "metrics": {}, "curve": curve, "labels": "", "predictions": ""} | changes
    )


def test_a_run_in_progress_has_curves_and_no_numbers(tmp_path: Path) -> None:
    study = study_of(("one", 0), ("one", 1))
    study["runs"][1]["record"] = "runs/one/seed1.progress.json"
    write_record(tmp_path / "runs/one/seed0.json", record("one", 0))
    write_record(tmp_path / "runs/one/seed1.progress.json", begun(1))
    tidy = gather(study, tmp_path)
    assert set(tidy.runs["seed"]) == set(tidy.confusion["seed"]) == set(tidy.correctness["seed"]) == {0}
    assert tidy.curves.loc[tidy.curves["seed"] == 1, ["metric", "epoch", "value"]].to_numpy().tolist() == [
        ["train/loss", 1, 2.0],
        ["validation/accuracy", 1, 50.0],
        ["validation/loss", 1, 1.7],
    ]
    assert tidy.provenance[["epochs", "of_epochs"]].to_numpy().tolist() == [[2, 2], [1, 2]]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"metrics": {"test/accuracy": 90.0}}, "has the metric test/accuracy, which its spec does not give"),
        ({"predictions": "0", "labels": "0"}, "has predictions, though its training is not finished"),
        ({"curve": record("one", 0)["curve"]}, "has 2 epochs of train/loss; it is of 1"),
    ],
)
def test_a_run_in_progress_that_claims_more_is_refused(tmp_path: Path, changes: dict, said: str) -> None:
    study = study_of(("one", 0))
    write_record(tmp_path / "runs/one/seed0.json", begun(0, **changes))
    with pytest.raises(UserError, match=said):
        gather(study, tmp_path)


def test_losses_of_batches_are_a_curve_of_as_many_as_the_spec_logs(tmp_path: Path) -> None:
    training = {"batch": 16, "drop_last": False, "log_every": 3}  # 7 batches of 100 images, of which 3 are logged
    spec = merge(SPEC, {"training": training})
    write_record(tmp_path / "runs/one/seed0.json", record("one", 0, spec=spec, batch_losses=[1.0] * 6))
    curves = gather(study_of(("one", 0), spec=spec), tmp_path).curves
    assert curves.loc[curves["metric"] == "train/batch_loss", "epoch"].tolist() == [1, 2, 3, 4, 5, 6]
    write_record(tmp_path / "runs/one/seed0.json", record("one", 0, spec=spec, batch_losses=[1.0] * 5))
    with pytest.raises(UserError, match="has the losses of 5 batches; its spec logs 6"):
        gather(study_of(("one", 0), spec=spec), tmp_path)


def test_a_record_of_other_code_needs_replays_that_lead_to_today_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = study_spec()
    today, ours = source_digest(spec), {"source": "old", "device": "cpu (x)", "threads": 1}
    study = study_of(("one", 0), spec=spec)
    study["experiments"]["one"] |= {"may_diverge": True}
    nothing = diverged("it did", 1.0)
    made = record("one", 0, spec=spec) | nothing | {"provenance": ours | nothing["provenance"]}
    write_record(tmp_path / "runs/one/seed0.json", made)
    monkeypatch.setattr(ledger, "LEDGER", tmp_path / "replays.jsonl")
    with pytest.raises(
        UserError, match=rf"one/seed0.json was made by other training code \(old, now {today}\), and no"
    ):
        collect(study, tmp_path)
    line = {"old": "old", "machine": "m", "versions": {}, "date": "2026-01-01", "runs": [{"experiment": "another"}]}
    ledger.Ledger.read().add([line | {"new": "between"}])
    with pytest.raises(UserError, match="no replay has shown that both give the same bits"):
        collect(study, tmp_path)
    ledger.Ledger.read().add([line | {"old": "between", "new": today}])
    assert len(collect(study, tmp_path).provenance) == 1
