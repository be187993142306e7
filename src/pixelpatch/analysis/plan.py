"""What the study has cost, and what it has yet to cost: core-hours of every experiment, measured where one has run.

A run's cost is its wall time, times its CPU threads. An experiment (of a family: all of it) of which nothing has run is
put at the minutes that its configuration asks of a core, which are generous. Cheapest first: the order in which
evidence is best gathered.
"""

import pandas as pd

SECONDS = "timing/seconds"
COLUMNS = ["experiment", "recorded", "to_do", "minutes_per_run", "measured", "core_hours_done", "core_hours_to_do"]


def plan(study: dict, runs: pd.DataFrame) -> pd.DataFrame:
    """One row per selected experiment or family, cheapest to finish first: the columns of plan.csv.

    `runs` is the long table of `collect`. `to_do` counts the seeds that the preset wants and that have no run.
    """
    took = {name: own.set_index("seed")["value"] for name, own in runs[runs["metric"] == SECONDS].groupby("experiment")}
    rows: dict[str, dict] = {}
    for name, experiment in study["experiments"].items():
        if not experiment["selected"]:
            continue
        family = (experiment["vary"] or {}).get("family", name)
        row = rows.setdefault(family, {"experiment": family, "recorded": 0, "to_do": 0, "seconds": 0.0})
        seconds = took.get(name, pd.Series(dtype=float))
        threads = experiment["resources"].get("threads", 1)
        row["recorded"] += len(seconds)
        row["to_do"] += len(set(experiment["wanted"]) - set(seconds.index))
        row["seconds"] += threads * float(seconds.sum())
        row["asked"] = threads * experiment["resources"]["minutes"]
    for row in rows.values():
        measured = row["recorded"] > 0
        per_run = row["seconds"] / 60 / row["recorded"] if measured else row["asked"]
        row |= {"measured": measured, "minutes_per_run": per_run}
        row |= {"core_hours_done": row["seconds"] / 3600, "core_hours_to_do": row["to_do"] * per_run / 60}
    table = pd.DataFrame(list(rows.values()), columns=COLUMNS)
    return table.sort_values("core_hours_to_do", kind="stable", ignore_index=True)
