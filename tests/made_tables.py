"""All tables of a study whose runs are made up."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pixelpatch.analysis.variance import packed
from pixelpatch.checks import split_sizes
from pixelpatch.metrics import curves_of, metrics_of
from pixelpatch.study import systems
from pixelpatch.tables import NAMES, make_table

VALUES = {"accuracy": 95.0, "loss": 0.1, "correct": 9500, "images": 1000, "parameters": 7, "length": 49, "epoch": 3}


def write_tables(
    folder: Path, made: dict[str, Any], seeds: dict[str, range], diverged: dict[str, str] | None = None
) -> None:
    """All tables of a study in which each experiment of `seeds` has run from these, with numbers made up by seed.

    Those of `diverged` have no score, but the reason that it says.
    """
    diverged = diverged or {}
    rng = np.random.default_rng(0)
    runs, curves, correctness, provenance = [], [], [], []
    for name, own in seeds.items():
        block = made["experiments"][name]
        sizes = split_sizes(block["spec"]["data"])
        for seed in own:
            run, narrowed = (name, seed), block["narrowed"]
            for metric in metrics_of(block["spec"]) if name not in diverged else ():
                of_split = sizes.get(metric.removeprefix("data/").removesuffix("_images"))
                value = of_split or next((value for end, value in VALUES.items() if metric.endswith(end)), 13)
                value *= 1 if metric.startswith(("data/", "model/")) else 1 + rng.normal(0, 0.002)
                runs.append((*run, narrowed, metric, value))
                for epoch in range(block["spec"]["training"]["epochs"] if metric in [*curves_of(block["spec"])] else 0):
                    curves.append((*run, narrowed, metric, epoch + 1, value))
            runs += [(*run, narrowed, f"timing/{kind}", 60.0) for kind in ("seconds", "train_seconds")]
            runs.append((*run, narrowed, "timing/images_per_second", 10.0))
            if name in systems(made):
                correctness.append((*run, 400, packed(rng.random(400) < 0.95)))
            origin = ("cpu (it)", 1, True, "0123456789", False, "feed", "3.11", "2.14", "2.4", 0, diverged.get(name))
            provenance.append((*run, f"runs/{name}/seed{seed}.json", *origin))
    tidy = {
        "runs": (runs, "experiment seed narrowed metric value"),
        "curves": (curves, "experiment seed narrowed metric epoch value"),
        "correctness": (correctness, "experiment seed items right"),
        "provenance": (
            provenance,
            "experiment seed record device threads compiled commit dirty source python torch numpy interruptions "
            "diverged",
        ),
    }
    for name, (rows, columns) in tidy.items():
        pd.DataFrame(rows, columns=columns.split()).to_csv(folder / f"{name}.csv", index=False)
    for name in NAMES:
        make_table(name, made, folder)
