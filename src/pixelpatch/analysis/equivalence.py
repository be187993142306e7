"""Do faster numerics come out the same? Every experiment with `equivalent_to`, against the one that it names.

The two train the same spec but for `training.precision`, or the same one in another number of CPU threads. They are
compared in two ways: how many runs are stuck, and the means of those that are not.

**Stuck runs.** Some runs never learn some digit (the rule is in `analysis.modes`). Fisher's exact test, two-sided,
holds the number of stuck runs of an experiment against that of its reference: `p_stuck` is its p-value, and below α the
rates are shown to differ. With so few runs it detects only large differences, so the table also shows the counts.

**Means.** Where either side has stuck runs, only the escaped runs of both are compared, for a mean over two kinds of
runs describes neither; else all of them. `mean_escaped` is the mean that is compared. A non-significant difference
would not show equivalence. We therefore use an equivalence test (TOST; Schuirmann 1987; Lakens 2017). Its null
hypothesis is that the means of the final metric are `margin` or more apart. Two one-sided Welch tests, each at level α,
both have to reject it. `p_tost` is the larger of their p-values. `difference` is that of the means compared, and
`interval_low..interval_high` Welch's interval of it at 1 − 2α. The margin stands in the configuration, stated before
anything ran. Runs of one seed start from the same weights and see the same data, which the test makes no use of: that
can only make it stricter.

**Verdict.**

* `not equivalent`: the rates are shown to differ, or the whole interval lies outside the margin.
* `equivalent`: the rates are not shown to differ, and p_tost < α.
* `undecided`: else, and where either side has fewer than `analysis.minimum_seeds` escaped runs.
* `not tested`: either experiment has no run, fewer seeds than `analysis.minimum_seeds` or a reduced budget. What there
  is of means is shown for information.

Of a check that was tested, `note` gives the counts where any run is stuck. The p-values are not corrected for multiple
testing. An option passes only if all its checks pass. If it shifts a mean by the margin or more, it therefore passes
with probability α at most. (This covers the means. The comparison of stuck rates can miss a difference.)

**The same seeds.** What runs of one seed share shows in `same_seed_std`, the standard deviation of their differences
over √2: as large as the spread of seeds where other rounding is as good as another seed, and 0 where the runs are the
same. `n_same` counts the seeds whose metric is the same to the last bit. These, `mean` and `least` (the lowest value of
a run) are over all runs.
"""

import numpy as np
import pandas as pd
from scipy import stats

from pixelpatch.analysis.modes import recognition
from pixelpatch.analysis.statistics import equivalence_p_value, mean_and_spread, welch

COLUMNS = [
    "experiment",
    "reference",
    "metric",
    "margin",
    "n",
    "n_reference",
    "n_stuck",
    "n_stuck_reference",
    "p_stuck",
    "mean",
    "mean_reference",
    "least",
    "least_reference",
    "mean_escaped",
    "mean_escaped_reference",
    "difference",
    "interval_low",
    "interval_high",
    "p_tost",
    "n_same",
    "same_seed_std",
    "verdict",
    "note",
]


def equivalences(study: dict, runs: pd.DataFrame, provenance: pd.DataFrame, confusion: pd.DataFrame) -> pd.DataFrame:
    """The verdict on every experiment with `equivalent_to` that has runs, in the config's order: equivalence.csv.

    `runs`, `provenance` and `confusion` are tables of `collect`; `difference` is the experiment's mean minus its
    reference's.
    """
    threads = {name: set(own) for name, own in _threads(provenance).groupby("experiment")["threads"]}
    stuck = recognition(confusion)["missed"].ne("").rename("stuck")
    tested = runs.merge(stuck.reset_index(), on=["experiment", "seed"])
    samples = {key: group.set_index("seed") for key, group in tested.groupby(["experiment", "metric"])}
    ran = set(runs["experiment"])
    rows = [
        _row(study, name, samples, threads)
        for name, experiment in study["experiments"].items()
        if experiment.get("equivalent_to") and name in ran
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _threads(provenance: pd.DataFrame) -> pd.DataFrame:
    """In how many CPU threads every run computed; 0 where a GPU did."""
    on_cpu = provenance["device"].str.startswith("cpu")
    return provenance.assign(threads=provenance["threads"].where(on_cpu, 0))


def _row(study: dict, name: str, samples: dict[tuple[str, str], pd.DataFrame], threads: dict[str, set[int]]) -> dict:
    reference, metric, margin = (
        study["experiments"][name]["equivalent_to"][key] for key in ("experiment", "metric", "margin")
    )
    nothing = pd.DataFrame({"value": [], "stuck": []}).astype({"stuck": bool})
    both = [samples.get((each, metric), nothing) for each in (name, reference)]
    differences = (both[0]["value"] - both[1]["value"]).dropna().to_numpy(dtype=float)
    ours, theirs = (own.loc[~own["stuck"], "value"].to_numpy(dtype=float) for own in both)  # the escaped runs
    alpha, least = study["analysis"]["alpha"], max(study["analysis"]["minimum_seeds"], 2)
    result = welch(ours, theirs, 1 - 2 * alpha)
    row = {
        "experiment": name,
        "reference": reference,
        "metric": metric,
        "margin": margin,
        **_summary(both[0], ""),
        **_summary(both[1], "_reference"),
        "difference": result.difference,
        "n_same": int((differences == 0).sum()),
        "same_seed_std": float(mean_and_spread(differences)[1]) / np.sqrt(2),
    }
    reason = _untested(study, {name: row["n"], reference: row["n_reference"]})
    if not reason and study["experiments"][name]["resources"].get("threads") and threads[name] & threads[reference]:
        reason = "its runs and those of the reference computed in as many threads"
    if reason:
        return row | {"verdict": "not tested", "note": reason}
    counts = [(row[f"n_stuck{end}"], row[f"n{end}"]) for end in ("", "_reference")]
    row["p_stuck"] = float(stats.fisher_exact([(stuck, n - stuck) for stuck, n in counts]).pvalue)
    if enough := min(len(ours), len(theirs)) >= least:
        row |= {"interval_low": result.low, "interval_high": result.high}
        row["p_tost"] = equivalence_p_value(ours, theirs, margin)
    if row["p_stuck"] < alpha:
        verdict, why = "not equivalent", "the rates differ"
    elif not enough:
        verdict, why = "undecided", f"fewer than {least} escaped runs of either"
    elif row["p_tost"] < alpha:
        verdict, why = "equivalent", ""
    elif result.low > margin or result.high < -margin:
        verdict, why = "not equivalent", ""
    else:
        verdict, why = "undecided", "the interval reaches over the margin; more seeds would narrow it"
    rates = "stuck are {} of {} runs, of the reference's {} of {}; means are of the others".format(
        *counts[0], *counts[1]
    )
    said = [rates] if row["n_stuck"] or row["n_stuck_reference"] else []
    return row | {"verdict": verdict, "note": "; ".join([*said, *filter(None, [why])])}


def _summary(own: pd.DataFrame, end: str) -> dict[str, float]:
    """What the runs of one side are, in the columns whose names end so."""
    values, stuck = own["value"], own["stuck"]
    numbers = {"n": len(own), "n_stuck": int(stuck.sum()), "mean": values.mean(), "least": values.min()}
    numbers["mean_escaped"] = values[~stuck].mean()
    return {f"{name}{end}": number for name, number in numbers.items()}


def _untested(study: dict, seeds: dict[str, int]) -> str:
    """Why two experiments with so many seeds each cannot be held against each other, or nothing."""
    for name, count in seeds.items():
        if not count:
            return f"no run selected of {name}"
        if study["experiments"][name]["narrowed"]:
            return f"reduced budget of {name}: {study['experiments'][name]['narrowing']}"
    least = study["analysis"]["minimum_seeds"]
    few = [name for name, count in seeds.items() if count < least]
    return f"fewer than {least} seeds of {' and '.join(few)}" if few else ""
