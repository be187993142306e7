"""What does each oddity cost? Every experiment with `mends`, against the system that it extends.

The two specs differ in the one oddity. `effect_points` is the mean metric of the mended runs minus that of the runs as
documented, in the metric's unit (points, for an accuracy): above zero, the oddity costs that much.

**Which test.** `test` says which. `n_documented` and `n_mended` are the runs of each side that it compares.

* `paired`: the same trained weights are merely tested otherwise. The two runs of a seed then differ in the test alone,
  so they are pairs, and Student's paired test is taken over the seeds that both sides have. `n_more` and `n_less` count
  the pairs whose metric is higher and lower without the oddity.
* `welch`: training differs. A seed does not mean the same to two different trainings, so two runs that share one are no
  pair. Welch's test is taken over all seeds of each side, and nothing is counted by pairs.

The weights are the same where the two specs have equal `data`, `model` and `training`, differ in `evaluation` alone, and
have no validation data. With validation data `evaluation` can reach the weights: another batch or another order can
change which epoch is kept, and a shuffled order draws from the generator that also orders the training images.

**What p-values can know.** A sample without spread, such as five runs of a network that answers one class, does not show
that no run would ever differ. Its p-value is kept at what so few runs can know (see `analysis.statistics`).

**Family.** The p-values of all rows are corrected together, by Holm. Rows at a reduced budget, and those with fewer than
`analysis.minimum_seeds` seeds on either side, show what there is and are no part of the family. The interval
`interval_low..interval_high` is that of the test, at 1 − alpha, and not corrected. `finding` says what was measured,
`means` (of the configuration) why it may be so.
"""

import pandas as pd

from pixelpatch.analysis.statistics import holm, mean_and_spread, paired

COLUMNS = [
    "system",
    "experiment",
    "oddity",
    "instead",
    "metric",
    "n_seeds",
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

    `runs` is the long table of `collect`. Without a common seed everything but n_seeds, which is 0, is missing.
    """
    values = {key: group.set_index("seed")["value"] for key, group in runs.groupby(["experiment", "metric"])}
    rows = [
        _row(study, name, values)
        for name, experiment in study["experiments"].items()
        if experiment.get("mends") and experiment["selected"]
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    reasons = [_untested(study, row) for row in rows]
    tested = table["p_value"].where([not reason for reason in reasons])
    table["p_holm"] = holm(tested.to_numpy(dtype=float)).adjusted
    alpha = study["analysis"]["alpha"]
    table["finding"] = [
        reason or _finding(row, alpha) for reason, row in zip(reasons, table.to_dict("records"), strict=True)
    ]
    return table


def _row(study: dict, name: str, values: dict[tuple[str, str], pd.Series]) -> dict:
    mends = study["experiments"][name]["mends"]
    system, metric = mends["system"], mends["metric"]
    nothing = pd.Series(dtype=float)
    pairs = pd.concat(
        [values.get((each, metric), nothing).rename(each) for each in (system, name)], axis="columns", join="inner"
    )
    documented, mended = (pairs[each].to_numpy(dtype=float) for each in (system, name))
    result = paired(mended, documented, 1 - study["analysis"]["alpha"])
    return {
        "system": system,
        "experiment": name,
        "oddity": mends["oddity"],
        "instead": mends["instead"],
        "metric": metric,
        "n_seeds": len(pairs),
        "n_more": int((mended > documented).sum()),
        "n_less": int((mended < documented).sum()),
        "mean_documented": float(mean_and_spread(documented)[0]),
        "mean_mended": float(mean_and_spread(mended)[0]),
        "effect_points": result.difference,
        "interval_low": result.low,
        "interval_high": result.high,
        "p_value": result.p_value,
        "means": mends["means"],
    }


def _untested(study: dict, row: dict) -> str:
    """Why a row has no corrected p-value, or nothing."""
    least = max(study["analysis"]["minimum_seeds"], 2)
    for name in (row["system"], row["experiment"]):
        if study["experiments"][name]["narrowed"]:
            return f"not tested: reduced budget of {name}"
    if not row["n_seeds"]:
        return "not run"
    return f"not tested: fewer than {least} seeds" if row["n_seeds"] < least else ""


def _finding(row: dict, alpha: float) -> str:
    """What a row means, in a sentence."""
    before, after, low, high = (
        f"{row[key]:.2f}".replace("-", "−")
        for key in ("mean_documented", "mean_mended", "interval_low", "interval_high")
    )
    n = row["n_seeds"]
    if not row["p_holm"] < alpha:
        return f"What it does is not seen in {n} seeds: without it, {low} to {high} points."
    side, count = ("more", row["n_more"]) if row["effect_points"] > 0 else ("less", row["n_less"])
    return f"Without it {after} % instead of {before} %, {side} from {count} of {n} seeds."
