"""Every verdict on small studies."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from pixelpatch.analysis import statistics
from pixelpatch.analysis.claims import COLUMNS, judge
from pixelpatch.analysis.scales import Scale
from pixelpatch.analysis.verdicts import Distance
from pixelpatch.errors import UserError

pytestmark = pytest.mark.usefixtures("nothing_to_sweep")

ALPHA = 0.05

Runs = dict[str, dict[str, list]]  # experiment → metric → one number per seed, or one curve per seed


def study_of(claims: dict[str, dict[str, dict]], narrowed: tuple[str, ...] = (), minimum_seeds: int = 3) -> dict:
    """A study of these claims, by experiment and name; each is given a text."""
    return {
        "analysis": {
            "alpha": ALPHA,
            "minimum_seeds": minimum_seeds,
            "tolerance": {"accuracy": 1, "loss": 10, "epoch": 2},
        },
        "experiments": {
            system: {
                "write_up": system.split("_")[0],
                "narrowed": system in narrowed,
                "narrowing": "1 of 25 epochs" if system in narrowed else "",
                "spec": {
                    "data": {"validation": {"images": 2000}},
                    "training": {"epochs": 25, "log_every": 10, "softmax_before_loss": False},
                },
                "unstated": [],
                "claims": {name: {"text": f"the text of {name}"} | claim for name, claim in block.items()},
            }
            for system, block in claims.items()
        },
    }


def judged(study: dict, runs: Runs, facts: Runs | None = None, confusion: Sequence[tuple] = ()) -> pd.DataFrame:
    """The verdicts on a study whose runs have these metrics and curves, indexed by claim; its facts are theirs."""
    numbers, curves = [], []
    for system, metrics in runs.items():
        narrowed = study["experiments"][system]["narrowed"]
        for metric, values in metrics.items():
            for seed, value in enumerate(values):
                if isinstance(value, list):
                    curves += [(system, seed, narrowed, metric, epoch, v) for epoch, v in enumerate(value, start=1)]
                else:
                    numbers.append((system, seed, narrowed, metric, value))
    table = judge(
        study,
        pd.DataFrame(numbers, columns=["experiment", "seed", "narrowed", "metric", "value"]),
        pd.DataFrame(curves, columns=["experiment", "seed", "narrowed", "metric", "epoch", "value"]),
        pd.DataFrame(
            {(system, metric): (system, metric, str(values[0])) for system, metrics in (facts or runs).items()
             for metric, values in metrics.items() if metric.startswith(("model/", "data/"))}.values(),
            columns=["experiment", "metric", "value"],
        ),
        pd.DataFrame(confusion, columns=["experiment", "seed", "label", "predicted", "count"]),
    )  # fmt: skip
    assert list(table) == COLUMNS
    return table.set_index("claim")


def one_claim(claim: dict, runs: dict[str, list], **settings: int) -> pd.Series:
    """The verdict on the only claim of a study of one experiment."""
    return judged(study_of({"pit": {"it": claim}}, **settings), {"pit": runs}).loc["it"]


ACCURACY = {"metric": "test/accuracy", "documented": "95.01"}


def accuracy(values: list[float], documented: float = 95.01, tolerance: float = 1) -> Distance:
    """The distance of test accuracies from a number with two decimals."""
    ends = (documented - 0.005, documented + 0.005)
    return Distance(values, *ends, scale=Scale(0, 100, 0.01), tolerance=tolerance, alpha=ALPHA)


def test_a_number_among_our_runs_is_reproduced() -> None:
    values = [94.8, 95.2, 95.0, 94.9]
    row = one_claim(ACCURACY, {"test/accuracy": values})
    (low,), (high,) = accuracy(values).interval()
    assert (row.verdict, row.note, row.kind, row.documented, row.n_seeds) == ("reproduced", "", "number", "95.01", 4)
    assert [row.replicated_mean, row.replicated_std] == pytest.approx([np.mean(values), np.std(values, ddof=1)])
    assert [row.interval_low, row.interval_high] == pytest.approx([low, high])
    assert row.p_value == row.p_holm == pytest.approx(accuracy(values).p_value())
    assert (row.off, row.off_unit, row["rank"]) == (pytest.approx(-0.035), "points", 2)
    assert (row.write_up, row.family) == ("pit", 1)
    assert np.isnan(row.effect_size)


@pytest.mark.parametrize(("offset", "verdict"), [(+2, "higher"), (-2, "lower")])
def test_a_number_outside_our_runs_says_where_ours_lie(offset: float, verdict: str) -> None:
    row = one_claim(ACCURACY, {"test/accuracy": [94.8 + offset, 95.2 + offset, 95.0 + offset, 94.9 + offset]})
    assert (row.verdict, row.note) == (verdict, "")
    assert row.p_holm < ALPHA
    assert not row.interval_low <= 95.01 <= row.interval_high
    assert row["rank"] == (5 if offset > 0 else 1)


def test_a_number_that_only_few_seeds_let_in_is_undecided_and_says_about_how_many_would_do() -> None:
    values = [94.3, 94.6, 94.0]
    row = one_claim(ACCURACY, {"test/accuracy": values})
    assert row.interval_low <= 95.01 <= row.interval_high
    assert (row.verdict, row.note) == (
        "undecided",
        f"about {accuracy(values).more_seeds(1)} more seeds would decide",
    )


def test_a_protocol_that_scatters_reproduces_nothing() -> None:
    values = [91.0, 96.0, 93.0, 95.0, 97.0]
    row = one_claim(ACCURACY, {"test/accuracy": values})
    mean = special.expit(special.logit((np.array(values) + 0.005) / 100.01).mean()) * 100.01 - 0.005
    (low,), _ = accuracy(values).interval(np.inf)  # the longer arm: there is less room above
    assert row.verdict == "compatible"
    assert row.note == (
        f"even with any number of seeds, the interval would reach up to {mean - low:.2g} points from our mean; "
        "the tolerance is 1 point"
    )
    assert one_claim(ACCURACY | {"tolerance": 19}, {"test/accuracy": values}).verdict == "reproduced"
    loss = {"metric": "test/loss", "documented": "0.100"}
    row = one_claim(loss, {"test/loss": [0.08, 0.1, 0.12, 0.11]})
    assert "; the tolerance is 10 %" in row.note
    assert (row.off, row.off_unit, row["rank"]) == (pytest.approx(2.5), "%", 2)  # one loss is lower


def test_stuck_and_diverged_runs_are_said_and_the_diverged_have_no_part() -> None:
    study, values = study_of({"pit": {"it": ACCURACY}}), [94.8, 95.2, 95.0, 94.9]
    runs = {"pit": {"test/accuracy": values, "timing/train_seconds": [1.0] * 6}}  # two seeds have no result
    confusion = [("pit", seed, 5, "5" if seed < 3 else "3", 10) for seed in range(4)]
    row = judged(study, runs, confusion=confusion).loc["it"]
    assert (row.verdict, row.n_seeds) == ("reproduced", 4)
    assert row.note == "2 of 6 runs diverged; 1 of 4 runs are stuck"


@pytest.mark.parametrize(("documented", "verdict"), [("100.5", "lower"), ("-1.0", "higher")])
def test_what_no_run_can_have_is_refuted(documented: str, verdict: str) -> None:
    row = one_claim(ACCURACY | {"documented": documented}, {"test/accuracy": [50.0, 99.0, 3.0]})
    assert (row.verdict, row.p_value) == (verdict, 0)


def test_a_number_printed_more_coarsely_than_its_tolerance_is_compatible_at_best() -> None:
    coarse = ACCURACY | {"documented": "95", "tolerance": 0.4}
    row = one_claim(coarse, {"test/accuracy": [95.0, 95.01, 95.02, 95.0, 95.01]})
    assert (row.verdict, row.note) == (
        "compatible", "printed too coarsely: the last digit leaves more room than the tolerance",
    )  # fmt: skip
    at_floor = {"metric": "test/loss", "documented": "0.00"}
    assert one_claim(at_floor, {"test/loss": [0.001, 0.002, 0.0015]}).verdict == "compatible"


def test_too_few_seeds_are_undecided_and_no_test() -> None:
    claims = {"few": ACCURACY, "enough": ACCURACY | {"metric": "test/loss", "documented": "0.5"}}
    runs = {"test/accuracy": [95.0, 80.0], "test/loss": [0.1, 0.11]}
    table = judged(study_of({"pit": claims}, minimum_seeds=4), {"pit": runs})
    assert set(table.verdict) == {"undecided"}
    assert set(table.note) == {"at least 2 more seeds"}
    assert table[["p_value", "p_holm"]].isna().all(axis=None)
    assert table.interval_low.notna().all()


def test_one_seed_is_never_enough() -> None:
    row = one_claim(ACCURACY, {"test/accuracy": [20.0]}, minimum_seeds=1)
    assert (row.verdict, row.note, row.replicated_mean) == ("undecided", "at least 1 more seed", 20)
    assert np.isnan(row[["replicated_std", "interval_low", "interval_high", "p_value"]].astype(float)).all()


def test_the_printed_precision_is_part_of_the_claim() -> None:
    values = [93.2, 93.21, 93.22]
    for documented, verdict in (("93", "reproduced"), ("93.0", "higher")):
        row = one_claim(ACCURACY | {"documented": documented}, {"test/accuracy": values})
        assert (row.verdict, row.documented) == (verdict, documented)


def test_equal_seeds_are_known_to_an_image_and_no_better() -> None:
    for value, verdict in ((95.01, "reproduced"), (95.02, "reproduced"), (95.12, "higher")):
        row = one_claim(ACCURACY, {"test/accuracy": [value] * 3})
        assert (row.verdict, row.replicated_std) == (verdict, 0)


@pytest.mark.parametrize(
    ("documented", "times", "value", "verdict"),
    [
        ("1292042", 1, 1292042, "reproduced"),
        ("1292041", 1, 1292042, "higher"),
        ("106", 1000, 105_501, "reproduced"),
        ("106", 1000, 105_499, "lower"),
    ],
)
def test_an_exact_fact_is_compared_and_not_tested(documented: str, times: int, value: int, verdict: str) -> None:
    claim = {"metric": "model/parameters", "documented": documented, "times": times}
    row = one_claim(claim, {"model/parameters": [value]})
    assert row.verdict == verdict
    assert float(row.documented) == int(documented) * times
    assert np.isnan([row.p_value, row.p_holm, row.interval_low]).all()


@pytest.mark.parametrize(("labels", "verdict"), [([1, 4, 7, 4], "reproduced"), ([1, 4, 4, 7], "other")])
def test_facts_and_first_labels_are_judged_without_any_run(labels: list[int], verdict: str) -> None:
    claims = {
        "labels": {"metric": "data/validation_first_labels", "first_labels": labels},
        "images": {"metric": "data/train_images", "documented": "17999"},
    }
    facts = {"pit": {"data/validation_first_labels": ["1 4 7 4"], "data/train_images": [17999]}}
    table = judged(study_of({"pit": claims}, narrowed=("pit",)), {}, facts)
    assert table.verdict.to_dict() == {"labels": verdict, "images": "reproduced"}
    assert table.loc["labels", "documented"] == " ".join(map(str, labels))
    assert set(table.n_seeds) == {0}


# Runs in progress: curves of so many epochs, and no final number.

PRINTED = " ".join(f"{2 - epoch / 20:.2f}" for epoch in range(25))
OF_EPOCHS = {
    "curve": {"metric": "train/loss", "curve": PRINTED},
    "epoch-3": {"metric": "train/loss", "epoch": 3, "documented": "1.90"},
    "epoch-9": {"metric": "train/loss", "epoch": 9, "documented": "1.60"},
    "falls": {"metric": "train/loss", "falls_every_epoch": True},
    "dips": {"metric": "train/loss", "dips_at": [[3, 4]]},
    "dips-late": {"metric": "train/loss", "dips_at": [[13, 14]]},
    "final": ACCURACY,
}


def as_printed(seed: int, epochs: int, offset: float = 0.0) -> list[float]:
    """The first epochs of a run like the printed one, a thousandth of its seed apart."""
    return [float(figure) + offset + (seed - 1) / 1000 for figure in PRINTED.split()[:epochs]]


def test_a_run_in_progress_speaks_for_its_epochs_and_for_no_final_number() -> None:
    lengths = [8, 5, 6, 2]  # the first three have finished five epochs
    runs = {"pit": {"train/loss": [as_printed(seed, epochs) for seed, epochs in enumerate(lengths)]}}
    table = judged(study_of({"pit": OF_EPOCHS}), runs)
    table = table[table.kind != "self-check"]
    assert table.verdict.to_dict() == {
        "curve": "undecided",
        "epoch-3": "reproduced",
        "epoch-9": "not tested",
        "falls": "not tested",
        "dips": "reproduced",
        "dips-late": "not tested",
        "final": "not tested",
    }
    for name in ("curve", "epoch-3", "dips"):
        assert table.loc[name, "note"].startswith("epochs 1 to 5 of 25"), name
        assert table.loc[name, "n_seeds"] == 3
    assert table.loc["curve", "note"].endswith("20 more epochs have still to run")
    assert table.loc["epoch-9", "note"] == "only epochs 1 to 5 of 25 have run"
    assert table.loc["final", "note"] == "no run is finished"
    assert table.loc["curve", "replicated_mean"] == pytest.approx(as_printed(1, 5)[-1])
    far = judged(study_of({"pit": OF_EPOCHS}), {"pit": {"train/loss": [as_printed(seed, 5, 0.5) for seed in range(3)]}})
    assert far.loc["curve", "verdict"] == "higher"


def test_enough_finished_runs_are_judged_to_the_end_whatever_is_in_progress() -> None:
    finished = [as_printed(seed, 25) for seed in range(3)]
    runs = {"train/loss": [*finished, as_printed(3, 4)], "test/accuracy": [94.9, 95.0, 95.2]}
    table = judged(study_of({"pit": OF_EPOCHS}), {"pit": runs})
    assert table.loc["curve", ["verdict", "n_seeds", "note"]].tolist() == ["reproduced", 3, "shown at epoch 25"]
    assert table.loc["final", "verdict"] == "reproduced"
    few = judged(study_of({"pit": OF_EPOCHS}), {"pit": {"train/loss": [as_printed(0, 7), as_printed(1, 4)]}})
    assert few.loc["curve", "note"] == "epochs 1 to 4 of 25; shown at epoch 4; at least 1 more seed"
    assert few.loc["curve", "verdict"] == "undecided"


def test_a_training_log_is_a_curve_of_single_batches() -> None:
    log = {"metric": "train/batch_loss", "curve": "2.3 2.0 1.5"}
    runs = {"train/batch_loss": [[2.3, 2.0 + d, 5.0] for d in (-0.1, 0.1, 0.0)], "test/loss": [1.0] * 3}
    row = one_claim(log, runs)
    assert (row.verdict, row.note) == ("higher", "shown at batch 21; most extreme at batch 21")


def test_a_log_of_batches_is_of_finished_runs_alone() -> None:
    full = [2.3 - 0.05 * step for step in range(30)]
    log = {"metric": "train/batch_loss", "curve": " ".join(f"{loss:.2f}" for loss in full)}
    for begun in (full[:10], full[:26]):
        row = one_claim(log, {"train/batch_loss": [full, full, begun], "test/loss": [1.0, 1.1]})
        assert (row.n_seeds, row.verdict) == (2, "undecided")


def test_where_all_runs_diverged_that_is_the_reason() -> None:
    row = one_claim(ACCURACY, {"timing/train_seconds": [1.0] * 12})
    assert (row.verdict, row.note) == ("not tested", "12 of 12 runs diverged")


def test_a_family_is_what_one_write_up_documents_in_numbers_and_curves_whether_it_ran_or_not() -> None:
    claims = {
        "number": ACCURACY,
        "fact": {"metric": "model/parameters", "documented": "7"},
        "curve": {"metric": "train/loss", "curve": "2.0 1.0"},
        "property": {"metric": "train/loss", "falls_every_epoch": True},
        "untested": ACCURACY | {"not_tested": "needs an A100"},
        "better": {"metric": "test/accuracy", "better_than": "cnn"},
    }
    curves = [[2.1, 1.1], [1.9, 1.0], [2.2, 1.3]]
    runs = {
        "pit": {"test/accuracy": [92.0, 92.1, 92.2], "model/parameters": [7] * 3, "train/loss": curves},
        "cnn": {"test/accuracy": [92.5, 91.0, 92.2]},
    }
    other = {"absent": {"metric": "test/loss", "documented": "0.5"}}
    table = judged(study_of({"pit": claims, "pit_two": other, "cnn": {}}), runs)
    tested = table.loc[table.p_holm.notna()]
    assert set(tested.index) == {"number", "curve"}
    assert set(tested.family) == {3}  # the number of pit_two's has not run
    assert table.p_value["number"] == tested.p_value.min()
    assert table.p_holm["number"] == pytest.approx(3 * table.p_value["number"])


def test_no_other_write_up_moves_a_verdict() -> None:
    rng = np.random.default_rng(4)
    claims = {f"claim-{k}": ACCURACY | {"metric": f"test/k{k}_accuracy"} for k in range(3)}
    runs = {f"test/k{k}_accuracy": rng.normal(94.6, 0.2, 4).tolist() for k in range(3)}
    alone = judged(study_of({"pit": claims}), {"pit": runs})
    strangers = {f"other{n}": {f"{name}-{n}": claim for name, claim in claims.items()} for n in range(5)}
    among = judged(study_of({"pit": claims} | strangers), dict.fromkeys(["pit", *strangers], runs))
    pd.testing.assert_frame_equal(alone, among.loc[alone.index])


def test_holms_multiplier_counts_in_verdict_and_note() -> None:
    values = [94.075, 94.225, 94.375]  # decided alone, not among five
    assert one_claim(ACCURACY, {"test/accuracy": values}).verdict == "lower"
    claims = {f"claim-{k}": ACCURACY | {"metric": f"test/k{k}_accuracy"} for k in range(5)}
    runs = {f"test/k{k}_accuracy": [94.9, 95.1 + k / 100, 95.0] for k in range(1, 5)} | {"test/k0_accuracy": values}
    row = judged(study_of({"pit": claims}), {"pit": runs}).loc["claim-0"]
    assert row.p_holm == pytest.approx(5 * row.p_value)
    assert (row.verdict, row.note) == (
        "undecided",
        f"about {accuracy(values).more_seeds(5)} more seeds would decide",
    )
    assert accuracy(values).more_seeds(5) > 1


def test_of_two_claims_with_one_corrected_p_value_both_wait_for_seeds() -> None:
    values = np.array([94.7, 95.3, 95.0, 94.85, 95.15])
    documented = [95.82, 95.83]  # both p a little above 0.05 / 2 and below 0.05
    claims = {
        f"claim-{k}": ACCURACY | {"metric": f"test/k{k}_accuracy", "documented": f"{documented[k]:.2f}"} for k in (0, 1)
    }
    runs = dict.fromkeys(["test/k0_accuracy", "test/k1_accuracy"], values.tolist())
    table = judged(study_of({"pit": claims}), {"pit": runs})
    assert (table.p_value > ALPHA / 2).all()
    assert (table.p_value < ALPHA).all()
    assert set(table.verdict) == {"undecided"}
    assert table.p_holm["claim-0"] == table.p_holm["claim-1"]
    assert table.note.str.contains("more seeds? would decide").all()


CURVE = {"metric": "train/loss", "curve": "2.00 1.50  1.20"}
CURVES = [[2.1, 1.5, 1.1], [1.9, 1.4, 1.3], [2.0, 1.7, 1.2], [2.05, 1.55, 1.25]]


def losses(tolerance: float = 10) -> dict[str, object]:
    return CURVE | {"tolerance": tolerance}


RUNS = {"test/accuracy": [1.0] * 4, "train/loss": CURVES}


def test_a_curve_inside_the_band_is_reproduced_where_the_band_is_narrow() -> None:
    row = one_claim(losses(100), RUNS)
    assert (row.verdict, row.kind, row.documented, row.note) == (
        "reproduced",
        "curve",
        "2.00 1.50 1.20",
        "shown at epoch 3",
    )
    at_last = Distance(np.array(CURVES)[:, 2], 1.195, 1.205, scale=Scale(0, np.inf, 1e-7), tolerance=1, alpha=ALPHA / 3)
    assert [row.interval_low, row.interval_high] == pytest.approx(np.concatenate(at_last.interval()))
    assert row.replicated_mean == pytest.approx(np.mean(CURVES, axis=0)[2])
    assert row.n_seeds == 4
    wide = one_claim(CURVE, RUNS)
    assert wide.verdict == "compatible"
    assert " would reach up to 22 % from our mean at epoch 2; the tolerance" in wide.note


@pytest.mark.parametrize(("documented", "verdict"), [("2.00 4.50 1.20", "lower"), ("2.00 0.50 1.20", "higher")])
def test_a_curve_outside_the_band_names_its_most_extreme_epoch(documented: str, verdict: str) -> None:
    row = one_claim(CURVE | {"curve": documented}, RUNS)
    assert row.verdict == verdict
    assert row.note == "shown at epoch 3; most extreme at epoch 2"


def test_a_curve_that_is_wide_because_seeds_are_few_is_undecided() -> None:
    runs = {"test/accuracy": [1.0] * 3, "train/loss": [[2.0, 1.5, 1.2], [2.05, 1.52, 1.22], [1.95, 1.48, 1.18]]}
    row = one_claim(CURVE, runs)
    assert row.verdict == "undecided"
    assert row.note.startswith("shown at epoch 3; about ")
    few = one_claim(CURVE, RUNS, minimum_seeds=5)
    assert (few.verdict, few.note) == ("undecided", "shown at epoch 3; at least 1 more seed")


def test_a_number_with_an_epoch_is_taken_from_the_curve() -> None:
    runs = {"test/accuracy": [1.0] * 4, "train/loss": CURVES}
    row = one_claim({"metric": "train/loss", "epoch": 2, "documented": "1.50"}, runs)
    expected = one_claim({"metric": "test/loss", "documented": "1.50"}, {"test/loss": [1.5, 1.4, 1.7, 1.55]})
    columns = ["replicated_mean", "replicated_std", "n_seeds", "interval_low", "interval_high", "p_value", "verdict"]
    assert row[columns].equals(expected[columns])


def falling(n: int, dips: int) -> dict[str, list]:
    """`n` runs, of which the first `dips` dip from epoch 2 to 3 alone, and the others never do."""
    curves = [[1.0, 2.0, 1.5, 3.0] if seed < dips else [1.0, 2.0, 3.0, 4.0] for seed in range(n)]
    return {"test/accuracy": [1.0] * n, "validation/accuracy": curves}


@pytest.mark.parametrize(
    ("n", "dips", "verdict", "note"),
    [
        (3, 1, "reproduced", "1 of 3 runs show it"),
        (12, 1, "reproduced", "1 of 12 runs show it"),
        (10, 0, "lower", "no run shows it"),
        (9, 0, "undecided", "no run shows it; 1 more seed without it would decide"),
        (3, 0, "undecided", "no run shows it; 7 more seeds without it would decide"),
    ],
)
def test_a_property_is_reproduced_by_one_run_that_shows_it(n: int, dips: int, verdict: str, note: str) -> None:
    row = one_claim({"metric": "validation/accuracy", "dips_at": [[2, 3]]}, falling(n, dips))
    assert (row.verdict, row.note, row.kind, row.documented) == (verdict, note, "property", "1")
    assert row.p_value == pytest.approx(stats.beta.mean(dips + 0.5, n - dips + 0.5))  # Jeffreys' posterior
    assert row.replicated_mean == dips / n
    low = stats.beta.ppf(ALPHA / 2, dips, n - dips + 1) if dips else 0
    high = stats.beta.ppf(1 - ALPHA / 2, dips + 1, n - dips) if dips < n else 1
    assert [row.interval_low, row.interval_high] == pytest.approx([low, high])
    assert np.isnan(row.p_holm)


def test_of_too_few_runs_a_property_is_shown_and_not_tested() -> None:
    row = one_claim({"metric": "validation/accuracy", "dips_at": [[2, 3]]}, falling(2, 1))
    assert (row.verdict, row.note, row.replicated_mean) == ("undecided", "at least 1 more seed", 0.5)
    assert np.isnan(row.p_value)


BETTER = {"metric": "test/accuracy", "better_than": "vit", "documented": "7.17"}


def better(cnn: list[float], vit: list[float], **settings: object) -> pd.Series:
    runs = {name: {"test/accuracy": v} for name, v in (("cnn", cnn), ("vit", vit)) if v}
    return judged(study_of({"cnn": {"it": BETTER}, "vit": {}}, **settings), runs).loc["it"]


@pytest.mark.parametrize(
    ("cnn", "verdict"), [([97, 98, 97.5], "reproduced"), ([81, 82, 80], "lower"), ([91, 90, 93], "undecided")]
)
def test_better_is_a_one_sided_welch_test(cnn: list[float], verdict: str) -> None:
    vit = [90.0, 91.0, 90.2, 91.5]
    row = better(cnn, vit)
    two_sided = stats.ttest_ind(cnn, vit, equal_var=False)
    interval = two_sided.confidence_interval(0.95)
    assert (row.verdict, row.documented, row.n_seeds, row.kind) == (verdict, "7.17", 3, "better")
    assert row.p_value == pytest.approx(stats.ttest_ind(cnn, vit, equal_var=False, alternative="greater").pvalue)
    assert [row.interval_low, row.interval_high] == pytest.approx([interval.low, interval.high])
    assert row.replicated_mean == pytest.approx(np.mean(cnn) - np.mean(vit))
    assert row.replicated_std == pytest.approx(np.sqrt(np.var(cnn, ddof=1) + np.var(vit, ddof=1)))
    assert row.effect_size == pytest.approx(statistics.hedges_g(cnn, vit))


@pytest.mark.parametrize(
    ("metric", "kind", "verdict"),
    [
        ("test/accuracy", "better_than", "reproduced"),
        ("test/accuracy", "worse_than", "lower"),
        ("test/loss", "better_than", "lower"),
        ("test/loss", "worse_than", "reproduced"),
    ],
)
def test_a_loss_is_better_where_it_is_lower_and_worse_is_the_reverse(metric: str, kind: str, verdict: str) -> None:
    runs = {"cnn": {metric: [97.0, 98.0, 97.5]}, "vit": {metric: [90.0, 91.0, 90.2]}}
    row = judged(study_of({"cnn": {"it": {"metric": metric, kind: "vit"}}, "vit": {}}), runs).loc["it"]
    assert row.verdict == verdict
    assert (row.replicated_mean > 0) == (verdict == "reproduced")


def test_words_are_judged_by_reading_and_need_no_run() -> None:
    claim = {"reading": {"verdict": "contradicted", "because": "the code draws it once"}}
    row = judged(study_of({"pit": {"it": claim}}, narrowed=("pit",)), {}).loc["it"]
    assert (row.kind, row.verdict, row.note, row.n_seeds) == ("reading", "contradicted", "the code draws it once", 0)


def test_better_with_too_few_seeds_of_either_is_undecided() -> None:
    row = better([97.0, 98.0, 97.5], [90.0])
    assert (row.verdict, row.note, row.replicated_mean) == ("undecided", "at least 2 more seeds", 7.5)
    assert np.isnan(row.p_value)


def test_equal_systems_without_spread_are_neither_better_nor_worse() -> None:
    assert better([90.0] * 3, [90.0] * 3).verdict == "undecided"


def test_what_cannot_be_tested_says_why_and_still_shows_what_ran() -> None:
    claims = {
        "excluded": {"documented": "21", "not_tested": "needs an A100"},
        "excluded-with-runs": ACCURACY | {"not_tested": "another test set"},
        "fact": {"metric": "model/parameters", "documented": "7"},
    }
    at_epoch_3 = {"metric": "train/loss", "epoch": 3, "documented": "1.2"}
    others = {"accuracy": ACCURACY, "other-curve": CURVE, "at-epoch-3": at_epoch_3}
    study = study_of({"pit": claims, "small": others, "absent": {"gone": ACCURACY}}, narrowed=("small",))
    runs = {
        "pit": {"test/accuracy": [94.0, 96.0], "model/parameters": [7, 7]},
        "small": {"test/accuracy": [80.0, 82.0, 81.0], "train/loss": [[2.0, 1.9]] * 3},
    }
    table = judged(study, runs)
    fact = table.loc["fact"]
    assert fact.verdict == "reproduced"
    rest = table.drop(index=["fact", "at-epoch-3-in-its-own-table"])
    assert set(rest.verdict) == {"not tested"}
    assert rest.note.to_dict() == {
        "excluded": "needs an A100",
        "excluded-with-runs": "another test set",
        "accuracy": "reduced budget: 1 of 25 epochs",
        "other-curve": "reduced budget: 1 of 25 epochs",
        "at-epoch-3": "reduced budget: 1 of 25 epochs",
        "gone": "no run selected",
    }
    assert rest.n_seeds.to_dict() == {
        "excluded": 0,
        "excluded-with-runs": 2,
        "accuracy": 3,
        "other-curve": 3,
        "at-epoch-3": 3,
        "gone": 0,
    }
    assert rest.replicated_mean.dropna().to_dict() == {"excluded-with-runs": 95, "accuracy": 81}
    assert rest[["interval_low", "interval_high", "p_value", "p_holm"]].isna().all(axis=None)


def test_better_needs_both_systems_at_full_budget() -> None:
    assert better([97.0, 98.0, 97.5], []).note == "no run selected of vit"
    row = better([97.0, 98.0, 97.5], [90.0, 91.0, 92.0], narrowed=("vit",))
    assert (row.verdict, row.note) == ("not tested", "reduced budget of vit: 1 of 25 epochs")
    assert row.replicated_mean == 6.5
    assert np.isnan(row.p_value)


def test_a_study_without_runs_tests_nothing() -> None:
    assert judged(study_of({"pit": {"it": ACCURACY}}), {}).verdict.to_dict() == {"it": "not tested"}
    assert judged(study_of({"pit": {}}), {}).empty


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        (CURVE | {"curve": "2 1"}, "experiments.pit.claims.it documents 2 epochs, but the runs of pit have 3 epochs"),
        ({"metric": "train/loss", "epoch": 4, "documented": "1"}, "speaks of epoch 4, but the runs of pit have 3"),
        ({"metric": "train/loss", "dips_at": [[13, 14]]}, "speaks of epoch 14, but the runs of pit have 3"),
        (
            {"metric": "test/acuracy", "documented": "1"},
            "'test/acuracy', which 0 of 4 runs.* choose from partial, test/acc",
        ),
        ({"metric": "partial", "documented": "1"}, "'partial', which 3 of 4 runs"),
        ({"metric": "ragged", "curve": "2 1"}, "ragged over different numbers of epochs"),
        (ACCURACY | {"documented": 95.01}, "claims.it.documented is 95.01; .*quotes"),
        (CURVE | {"curve": "2 l 1"}, "claims.it.curve is 'l'"),
        ({"metric": "test/accuracy", "better_than": "nobody"}, "better_than is 'nobody', which is no experiment"),
        ({"metric": "test/accuracy"}, "nothing to test"),
    ],
)
def test_a_claim_that_cannot_be_judged_is_an_error_that_names_it(claim: dict, words: str) -> None:
    runs = {
        "test/accuracy": [95.0] * 4,
        "partial": [1.0] * 3,
        "train/loss": CURVES,
        "ragged": [[2.0, 1.0], [2.0], [1.0], [1.0]],
    }
    with pytest.raises(UserError, match=words):
        one_claim(claim, runs)
