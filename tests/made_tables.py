"""All tables of a study whose runs are made up."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pixelpatch.analysis.documented import documented_text
from pixelpatch.analysis.variance import packed
from pixelpatch.checks import split_sizes
from pixelpatch.metrics import EXACT, curve_length, curves_of, metrics_of
from pixelpatch.study import systems
from pixelpatch.tables import NAMES, make_table

VALUES = {"accuracy": 95.0, "loss": 0.1, "correct": 9500, "images": 1000, "parameters": 7, "length": 49, "epoch": 3}
STUCK = ("vit16_tiny", 0, 9)  # the experiment, seed and digit of the one run that does not recognise one


def write_tables(
    folder: Path, made: dict[str, Any], seeds: dict[str, range], diverged: dict[str, str] | None = None
) -> None:
    """All tables of a study in which each experiment of `seeds` has run from these, with numbers made up by seed.

    Those of `diverged` have no score, but the reason that it says.
    """
    diverged = diverged or {}
    rng = np.random.default_rng(0)
    runs, curves, confusion, correctness, provenance = [], [], [], [], []
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
            for metric in curves_of(block["spec"]) if name not in diverged else ():
                value = next(value for end, value in VALUES.items() if metric.endswith(end)) * (
                    1 + rng.normal(0, 0.002)
                )
                final = next((row[-1] for row in runs if row[:2] == run and row[3] == metric), value)
                for epoch in range(curve_length(block["spec"], metric)):
                    curves.append((*run, narrowed, metric, epoch + 1, final))
            runs += [(*run, narrowed, f"timing/{kind}", 60.0) for kind in ("seconds", "train_seconds")]
            runs.append((*run, narrowed, "timing/images_per_second", 10.0))
            for digit in range(10) if name not in diverged else ():
                right = 10 if (*run, digit) == STUCK else 38
                confusion += [(*run, digit, digit, right), (*run, digit, "other", 40 - right)]
            if name in systems(made):
                correctness.append((*run, 400, packed(rng.random(400) < 0.95)))
            epochs = block["spec"]["training"]["epochs"]
            origin = (
                "cpu (it)",
                1,
                True,
                "0123456789",
                False,
                "feed",
                "3.11",
                "2.14",
                "2.4",
                0,
                1,
                None,
                epochs,
                epochs,
            )
            provenance.append((*run, f"runs/{name}/seed{seed}.json", *origin, diverged.get(name)))
    tidy = {
        "runs": (runs, "experiment seed narrowed metric value"),
        "curves": (curves, "experiment seed narrowed metric epoch value"),
        "confusion": (confusion, "experiment seed label predicted count"),
        "correctness": (correctness, "experiment seed items right"),
        "provenance": (
            provenance,
            "experiment seed record device threads compiled commit dirty source python torch numpy interruptions "
            "machines lost epochs of_epochs diverged",
        ),
        "facts": (facts_of(made), "experiment metric value"),
    }
    for name, (rows, columns) in tidy.items():
        pd.DataFrame(rows, columns=columns.split()).to_csv(folder / f"{name}.csv", index=False)
    for name in NAMES:
        make_table(name, made, folder)


def facts_of(made: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What the study documents of itself, as if it were so: no model is built, no image read."""
    return [
        (name, claim["metric"], documented_text(claim, name))
        for name, block in systems(made).items()
        for claim in block["claims"].values()
        if claim.get("metric", "").startswith(EXACT)
    ]
