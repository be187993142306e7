"""What does each oddity cost? Every experiment with `mends`, against the system that it extends.

The two specs differ in the one oddity. `effect_points` is the mean metric of the mended runs minus that of the runs as
documented, in the metric's unit (points, for an accuracy): above zero, the oddity costs that much.

**Which test.** `test` says which. `n_documented` and `n_mended` are the runs of each side that it compares.

* `paired`: the same trained weights are merely tested otherwise. The two runs of a seed then differ in the test alone,
  so they are pairs, and Student's paired test is taken over the seeds that both sides have. `n_more` and `n_less` count
  the pairs whose metric is higher and lower without the oddity.
* `welch`: training differs. Two runs that share a seed may be correlated, but they are trained differently. We do not
  rely on that correlation, and treat the two samples as independent. Welch's test is taken over all seeds of each side,
  and nothing is counted by pairs.

The weights are the same where the two specs have equal `data`, `model` and `training`, differ in `evaluation` alone,
and have no validation data. With validation data `evaluation` can reach the weights: another batch or another order can
change which epoch is kept, and a shuffled order draws from the generator that also orders the training images.

**What p-values can know.** A sample without spread, such as five runs of a network that answers one class, does not
show that no run would ever differ. Its p-value is never below the smallest one that a permutation test of so few runs
could give (see `analysis.statistics`).

**Family.** The p-values of all rows are corrected together, by Holm. The family is fixed by the configuration: all rows
that are selected and at their full budget. Rows with fewer than `analysis.minimum_seeds` seeds on either side show what
there is, and count in the family as p = 1. The interval
`interval_low..interval_high` is that of the test, at 1 − alpha, and not corrected. `finding` says what was measured,
`means` (of the configuration) why it may be so.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pixelpatch.analysis.statistics import holm, mean_and_spread, paired, welch
from pixelpatch.checks import complete

COLUMNS = [
    "system",
    "experiment",
    "oddity",
    "instead",
    "metric",
    "test",
    "n_documented",
    "n_mended",
    "n_more",
    "n_less",
    "mean_documented",
    "mean_mended",
    "effect_points",
    "interval_low",
    "interval_high",
    "p_value",
    "p_holm",
    "finding",
    "means",
]


def price_oddities(study: dict, runs: pd.DataFrame) -> pd.DataFrame:
    """One row per selected experiment with `mends`, in the config's order: the columns of oddities.csv.

    `runs` is the long table of `collect`. What the runs do not give is missing.
    """
    rows = [
        _row(study, name, runs)
        for name, experiment in study["experiments"].items()
        if experiment.get("mends") and experiment["selected"]
    ]
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"n_more": "Int64", "n_less": "Int64"})
    reasons = [_untested(study, row) for row in rows]
    tested = table["p_value"].where([not reason for reason in reasons])
    planned = sum(not _narrowed(study, row) for row in rows)
    table["p_holm"] = holm(tested.to_numpy(dtype=float), planned).adjusted
    alpha = study["analysis"]["alpha"]
    table["finding"] = [
        reason or _finding(row, alpha) for reason, row in zip(reasons, table.to_dict("records"), strict=True)
    ]
    return table


def compared(row: Mapping[str, Any], runs: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The metric of the runs that a row of oddities.csv compares, by seed: as documented, and mended."""
    of_metric = runs[runs["metric"] == row["metric"]]
    documented, mended = (
        of_metric[of_metric["experiment"] == row[each]].set_index("seed")["value"].sort_index()
        for each in ("system", "experiment")
    )
    if row["test"] == "paired":
        return documented[documented.index.isin(mended.index)], mended[mended.index.isin(documented.index)]
    return documented, mended


def effects(row: Mapping[str, Any], runs: pd.DataFrame) -> pd.Series:
    """What each mended run of a row says of the effect, by seed: the mean of these is `effect_points`.

    Of pairs it is the difference of the two runs, else that from the mean of the runs as documented.
    """
    documented, mended = compared(row, runs)
    return mended - (documented if row["test"] == "paired" else documented.mean())


def same_weights(spec: dict, other: dict) -> bool:
    """Whether one seed has the same trained weights by either spec, and they are merely tested otherwise."""
    spec, other = complete(spec), complete(other)
    trained = ("data", "model", "training")
    return "validation" not in spec["data"] and all(spec[key] == other[key] for key in trained)


def _row(study: dict, name: str, runs: pd.DataFrame) -> dict:
    mends = study["experiments"][name]["mends"]
    specs = (study["experiments"][each]["spec"] for each in (mends["system"], name))
    row = {
        "system": mends["system"],
        "experiment": name,
        "oddity": mends["oddity"],
        "instead": mends["instead"],
        "metric": mends["metric"],
        "test": "paired" if same_weights(*specs) else "welch",
        "means": mends["means"],
    }
    documented, mended = (values.to_numpy(dtype=float) for values in compared(row, runs))
    result = (paired if row["test"] == "paired" else welch)(mended, documented, 1 - study["analysis"]["alpha"])
    if row["test"] == "paired":
        row |= {"n_more": int((mended > documented).sum()), "n_less": int((mended < documented).sum())}
    return row | {
        "n_documented": len(documented),
        "n_mended": len(mended),
        "mean_documented": float(mean_and_spread(documented)[0]),
        "mean_mended": float(mean_and_spread(mended)[0]),
        "effect_points": result.difference,
        "interval_low": result.low,
        "interval_high": result.high,
        "p_value": result.p_value,
    }


def _narrowed(study: dict, row: dict) -> str:
    """Which of the two experiments runs at a reduced budget, if any."""
    return next((name for name in (row["system"], row["experiment"]) if study["experiments"][name]["narrowed"]), "")


def _untested(study: dict, row: dict) -> str:
    """Why a row has no corrected p-value, or nothing."""
    least = max(study["analysis"]["minimum_seeds"], 2)
    if narrowed := _narrowed(study, row):
        return f"not tested: reduced budget of {narrowed}"
    fewer = min(row["n_documented"], row["n_mended"])
    if not fewer:
        return "not run"
    return f"not tested: fewer than {least} seeds" if fewer < least else ""


def _finding(row: dict, alpha: float) -> str:
    """What a row means, in a sentence."""
    before, after = (_signed(row[key]) for key in ("mean_documented", "mean_mended"))
    is_paired, n, n_documented = row["test"] == "paired", row["n_mended"], row["n_documented"]
    if not row["p_holm"] < alpha:
        span = f": without it, {_signed(row['interval_low'])} to {_signed(row['interval_high'])} points"
        sample = f"{n} seeds" if is_paired else f"{n} runs against {n_documented}"
        return f"What it does is not seen in {sample}{span if np.isfinite(row['interval_low']) else ''}."
    side, count = ("more", row["n_more"]) if row["effect_points"] > 0 else ("less", row["n_less"])
    sample = f"{side} from {count} of {n} seeds" if is_paired else f"means of {n} and {n_documented} runs"
    return f"Without it {after} % instead of {before} %, {sample}."


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
