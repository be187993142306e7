"""Stuck runs: scikit-learn's recall, statsmodels' interval, where the rule's edge lies, and which runs it is about."""

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, recall_score
from statsmodels.stats.proportion import proportion_confint

from pixelpatch.analysis.collect import CONFUSION
from pixelpatch.analysis.modes import COLUMNS, modes, recognition

DIGITS = "0123456789"
Runs = dict[tuple[str, int], tuple[str, str]]


def study_of(*, narrowed: str = "") -> dict[str, Any]:
    """Two systems, one of which reads grids, a check of numerics, and an oddity mended."""
    experiments: dict[str, Any] = {
        name: {"narrowed": name == narrowed, "spec": {"data": {}}} for name in ("plain", "reader", "fast", "mended")
    }
    experiments["reader"]["spec"]["data"]["grids"] = {}
    experiments["fast"]["equivalent_to"] = {"experiment": "plain"}
    experiments["mended"]["mends"] = {"system": "plain"}
    return {"analysis": {"alpha": 0.1}, "experiments": experiments}


def confusion_of(runs: Runs) -> pd.DataFrame:
    """The table of `collect`, of labels and predictions by experiment and seed."""
    rows = []
    for run, (labels, predictions) in runs.items():
        counts = Counter(zip(labels, predictions, strict=True))
        said = dict.fromkeys([*DIGITS, *predictions])
        rows += [
            (*run, int(label), each if each in DIGITS else "other", counts[label, each])
            for label, each in product(DIGITS, said)
        ]
    return pd.DataFrame(rows, columns=CONFUSION)


def answers(*wrong: int, times: int = 10) -> tuple[str, str]:
    """Labels, every digit so many times, and predictions, `wrong` of which are wrong: of 0, of 1, …"""
    missed = dict(enumerate(wrong))
    shown = "".join(
        str((digit + 1) % 10) * missed.get(digit, 0) + str(digit) * (times - missed.get(digit, 0))
        for digit in range(10)
    )
    return "".join(digit * times for digit in DIGITS), shown


texts = st.lists(st.tuples(st.sampled_from(DIGITS), st.sampled_from([*DIGITS, "<"])), min_size=1, max_size=60)


@given(texts)
def test_recall_and_accuracy_are_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    labels, predicted = zip(*pairs, strict=True)
    found = recognition(confusion_of({("plain", 3): ("".join(labels), "".join(predicted))})).loc[("plain", 3)]
    present = sorted(set(labels))
    recalls = recall_score(labels, predicted, labels=present, average=None)
    assert found["missed"] == "".join(digit for digit, recall in zip(present, recalls, strict=True) if recall < 0.5)
    assert found["accuracy"] == pytest.approx(100 * accuracy_score(labels, predicted))


def test_half_is_enough_and_one_digit_below_is_not() -> None:
    runs = {("plain", seed): answers(*wrong) for seed, wrong in enumerate([(5,) * 10, (6,), (0, 10, 7), (0,)])}
    assert recognition(confusion_of(runs))["missed"].tolist() == ["", "0", "12", ""]


@pytest.mark.parametrize("n_stuck", [0, 1, 3, 8])
def test_a_row_says_how_many_runs_are_stuck_on_what(n_stuck: int) -> None:
    runs = {("plain", seed): answers(0, 9, 6 * (seed == 0)) if seed < n_stuck else answers(1) for seed in range(8)}
    (row,) = modes(study_of(), confusion_of(runs)).to_dict("records")
    low, high = proportion_confint(n_stuck, 8, alpha=0.1, method="beta")
    assert (row["n"], row["n_stuck"], row["rate"]) == (8, n_stuck, 12.5 * n_stuck)
    assert (row["interval_low"], row["interval_high"]) == pytest.approx((100 * low, 100 * high))
    assert row["digits"] == (f"1 ({n_stuck}), 2 (1)" if n_stuck else "")
    stuck = [91 - 6 * (seed == 0) for seed in range(n_stuck)]
    every = stuck + [99] * (8 - n_stuck)
    assert row["mean"] == pytest.approx(np.mean(every))
    assert row["mean_stuck"] == pytest.approx(np.mean(stuck) if stuck else np.nan, nan_ok=True)
    assert row["mean_escaped"] == pytest.approx(99 if n_stuck < 8 else np.nan, nan_ok=True)


def test_systems_and_checks_have_a_row_in_the_studys_order_and_nothing_else() -> None:
    runs = {(name, 0): answers() for name in ("mended", "fast", "reader", "plain")}
    table = modes(study_of(), confusion_of(runs))
    assert list(table) == COLUMNS
    assert table["experiment"].tolist() == ["plain", "reader", "fast"]
    assert table["metric"].tolist() == ["test/accuracy", "test/digit_accuracy", "test/accuracy"]
    assert modes(study_of(narrowed="plain"), confusion_of(runs))["experiment"].tolist() == ["reader", "fast"]


def test_without_a_tested_run_there_is_no_row() -> None:
    """So it is of runs that diverged, or are in progress."""
    table = modes(study_of(), confusion_of({("plain", 0): answers()}).iloc[:0])
    assert (list(table), len(table)) == (COLUMNS, 0)
