"""Two kinds of runs: those that never learned some digit, and the others.

Some systems have seeds that end on a plateau: one digit is hardly ever answered, and accuracy is a tenth below that of
the other seeds. A mean over both kinds describes neither, so they are told apart, by a rule that was written before it
was applied:

**Rule.** A run is *stuck* if the recall of at least one digit is below one half in its final test predictions. A run
that is not stuck has *escaped*.

Whatever is answered instead counts the same: another digit, or, of a grid reader, a token that is no digit. A grid
reader's digits are pooled over the four places of a grid: the rule is about what a network can tell apart, wherever it
stands. A digit without test images has no recall and no part in it.

**Which runs.** All that were tested, of every system and every check of numerics. Runs that diverged or are still in
progress have no predictions and are not counted. Experiments at a reduced budget are left out: a short training that
has not yet learned a digit does not show that it is stuck.

**Rate.** `rate` is the share of stuck runs. The interval `interval_low..interval_high` is that of Clopper and Pearson
(1934) at 1 − alpha, which covers the true share at least that often, however few the runs are. Each row stands for
itself: nothing is tested, and nothing corrected.
"""

from collections.abc import Iterator

import pandas as pd
from scipy import stats

from pixelpatch.study import systems

COLUMNS = [
    *("experiment", "metric", "n", "n_stuck", "rate", "interval_low", "interval_high", "digits"),
    *("mean", "mean_stuck", "mean_escaped"),
]


def modes(study: dict, confusion: pd.DataFrame) -> pd.DataFrame:
    """One row per system and check of numerics that was tested, in the config's order: the columns of modes.csv.

    `confusion` is the table of `collect`. `digits` says which digits are not recognised, and by how many of the stuck
    runs. Rates and accuracies are in percent; the mean of no run is missing.
    """
    tested = recognition(confusion)
    rows = [_row(study, name, tested.loc[name]) for name in _judged(study) if name in tested.index.unique("experiment")]
    return pd.DataFrame(rows, columns=COLUMNS)


def recognition(confusion: pd.DataFrame) -> pd.DataFrame:
    """What every tested run recognises, by experiment and seed: its `accuracy` (%), and the digits `missed`, as text.

    A digit is missed where fewer than half of its test images are recognised. A run is stuck where `missed` is not "".
    """
    right = confusion["count"].where(confusion["label"].astype("str") == confusion["predicted"], 0)
    by_digit = confusion.assign(right=right).groupby(["experiment", "seed", "label"])
    images, right = (by_digit[column].sum().unstack() for column in ("count", "right"))
    missed = 2 * right < images  # never of a digit without images
    return pd.DataFrame(
        {
            "accuracy": 100 * right.sum(axis="columns") / images.sum(axis="columns"),
            "missed": ["".join(map(str, missed.columns[run])) for run in missed.to_numpy()],
        },
        index=images.index,
    )


def _judged(study: dict) -> Iterator[str]:
    """Systems and checks of numerics, at their full budget."""
    known = systems(study)
    for name, experiment in study["experiments"].items():
        if (name in known or experiment.get("equivalent_to")) and not experiment["narrowed"]:
            yield name


def _row(study: dict, name: str, runs: pd.DataFrame) -> dict:
    accuracy, stuck, missed = runs["accuracy"], runs["missed"] != "", "".join(runs["missed"])
    n, n_stuck = len(runs), int(stuck.sum())
    interval = stats.binomtest(n_stuck, n).proportion_ci(1 - study["analysis"]["alpha"], method="exact")
    return {
        "experiment": name,
        "metric": "test/digit_accuracy" if "grids" in study["experiments"][name]["spec"]["data"] else "test/accuracy",
        "n": n,
        "n_stuck": n_stuck,
        "rate": 100 * n_stuck / n,
        "interval_low": 100 * interval.low,
        "interval_high": 100 * interval.high,
        "digits": ", ".join(f"{digit} ({missed.count(digit)})" for digit in sorted(set(missed))),
        "mean": accuracy.mean(),
        "mean_stuck": accuracy[stuck].mean(),
        "mean_escaped": accuracy[~stuck].mean(),
    }
