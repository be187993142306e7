"""Pixels or patches: one backbone, one recipe, one budget, from one patch per image to one per pixel, and a CNN beside.

The question of Nguyen et al. 2024 (arXiv:2406.09415), by the rules of the configuration's `patches`. `recipe` shows the
choice of backbone and recipe, on validation data at one patch size; `sweep` what each patch size reaches at each size
of the training set, and what that cost; `trials` whether accuracy rises or falls with ever smaller patches, and how
neighbours differ.

**Cost.** `tera_flops` are the floating-point operations of a run's training, forward and backward, as PyTorch counts
those of matrix products and convolutions (a multiplication and an addition are two); `seconds` are those measured of
training, without validation and test. (On a CPU the transformers' attention is this package's own kernel, the CNN's
convolutions are PyTorch's.)

**Tests.** The trend is Kendall's: `difference` is τ-b between the fineness of the patch and the accuracy, over all
runs (the test is that of Jonckheere and Terpstra); it says that accuracy rather falls, not that each step does. How
the answer depends on the size of the training set: each seed has a slope of accuracy over halvings of the patch (least
squares; over the patches that both sizes have), and Welch's test compares the slopes at neighbouring sizes, the larger
minus the smaller. Neighbours, and the CNN against the patch size with the best validation accuracy, are compared by
Welch's test too, the finer (the CNN) minus the other. All p-values of the table are one family, corrected by Holm.
"""

from collections.abc import Iterator
from functools import cache
from itertools import pairwise, takewhile
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from pixelpatch.analysis.statistics import holm, least_p_value, mean_and_spread, welch
from pixelpatch.checks import split_sizes
from pixelpatch.files import canonical_json
from pixelpatch.formatting import patch_size
from pixelpatch.metrics import ACCURACY, TRAIN_SECONDS, VALIDATION
from pixelpatch.questions import without_patch
from pixelpatch.study import members
from pixelpatch.variants import described

RECIPE = ["experiment", "settings", "n_seeds", "validation_mean", "validation_std", "chosen", "frozen"]
SWEEP = [
    *("experiment", "train_images", "epochs", "model", "patch", "tokens", "parameters", "n_seeds"),
    *("test_mean", "test_std", "test_min", "test_max", "validation_mean", "best", "tera_flops", "seconds"),
]
TRIALS = [
    *("train_images", "test", "first", "second", "n_first", "n_second"),
    *("difference", "interval_low", "interval_high", "p_value", "p_holm"),
]


class Entry(NamedTuple):
    """One experiment of the sweep, and its runs: a row per seed, a column per metric."""

    experiment: str
    spec: dict[str, Any]
    runs: pd.DataFrame

    @property
    def patch(self) -> float:
        """Pixels along a side; NaN of a model without patches."""
        return self.spec["model"].get("patch", np.nan)

    @property
    def name(self) -> str:
        """As tables and figures call it."""
        return patch_name(self.patch)

    def mean(self, metric: str) -> float:
        """Over seeds."""
        return float(self.runs[metric].mean())


class Group(NamedTuple):
    """One size of training set: the experiments that ran, coarse patches first and the CNN last, and those compared."""

    images: int
    entries: list[Entry]
    compared: list[Entry]
    others: list[Entry]

    @property
    def best(self) -> Entry | None:
        """The transformer that validation images choose; None while one that has begun has too few runs."""
        if len(self.compared) < sum(not np.isnan(entry.patch) for entry in self.entries):
            return None
        return max(self.compared, key=lambda entry: entry.mean(VALIDATION), default=None)


def patch_name(patch: float) -> str:
    """A patch size in words, and what has none."""
    return patch_size(patch) if np.isnan(patch) else f"patch {patch_size(patch)}"


def recipe(study: dict, runs: pd.DataFrame) -> pd.DataFrame:
    """The candidates for backbone and recipe, in the config's order: the columns of patch_recipe.csv.

    `chosen` has the highest mean validation accuracy of all, once all of them have run, from the same seeds, enough of
    them, and at their full budget; `frozen` is the one that the sweep extends.
    """
    names = members(study, study["patches"]["recipe"])
    entries = [entry for entry in _entries(study, runs, names) if len(entry.runs)]
    seeds = {tuple(entry.runs.index) for entry in entries}
    narrowed = any(study["experiments"][name]["narrowed"] for name in names)
    enough = all(len(own) >= study["analysis"]["minimum_seeds"] for own in seeds)
    whole = len(entries) == len(names) and len(seeds) == 1 and enough and not narrowed
    chosen = max(entries, key=lambda entry: entry.mean(VALIDATION)) if whole else None
    frozen = frozen_spec(study)
    rows = []
    for entry in entries:
        mean, std = mean_and_spread(entry.runs[VALIDATION])
        rows.append(
            {
                "experiment": entry.experiment,
                "settings": described(study["experiments"][entry.experiment]["vary"]["settings"]),
                "n_seeds": len(entry.runs),
                "validation_mean": float(mean),
                "validation_std": float(std),
                "chosen": entry is chosen,
                "frozen": without_patch(entry.spec) == frozen,
            }
        )
    return pd.DataFrame(rows, columns=RECIPE)


def frozen_spec(study: dict) -> str:
    """Model and training (but for patch and epochs) of the sweep's transformers, of all of them; empty without any."""
    names = [name for family in study["patches"]["sweep"] for name in members(study, family)]
    specs = [study["experiments"][name]["spec"] for name in names]
    return next((without_patch(spec) for spec in specs if "patch" in spec["model"]), "")


def sweep(study: dict, runs: pd.DataFrame) -> pd.DataFrame:
    """One row per patch size (the CNN last) and size of the training set that ran: the columns of patch_sweep.csv.

    `best` is, of the transformers compared at one size of training set, the one with the best mean validation accuracy.
    What ran at a reduced budget is left out. `seconds` is the median of the seeds.
    """
    rows = []
    for group in _groups(study, runs):
        for entry in group.entries:
            accuracy = entry.runs[ACCURACY]
            mean, std = mean_and_spread(accuracy)
            epochs = entry.spec["training"]["epochs"]
            flops = training_flops(canonical_json(entry.spec["model"]))
            rows.append(
                {
                    "experiment": entry.experiment,
                    "train_images": group.images,
                    "epochs": epochs,
                    "model": entry.spec["model"]["name"],
                    "patch": entry.patch,
                    "tokens": entry.runs.get("model/sequence_length", pd.Series(dtype=float)).mean(),
                    "parameters": int(entry.mean("model/parameters")),
                    "n_seeds": len(accuracy),
                    "test_mean": float(mean),
                    "test_std": float(std),
                    "test_min": accuracy.min(),
                    "test_max": accuracy.max(),
                    "validation_mean": entry.mean(VALIDATION),
                    "best": entry is group.best,
                    "tera_flops": group.images * epochs * flops / 1e12,
                    "seconds": float(entry.runs[TRAIN_SECONDS].median()),
                }
            )
    return pd.DataFrame(rows, columns=SWEEP)


def trials(study: dict, runs: pd.DataFrame) -> pd.DataFrame:
    """The trend, every neighbouring pair and the CNN, for each size of training set, and how that depends on the size.

    The columns of patch_tests.csv.

    A patch size is compared once it and all coarser ones have run from `analysis.minimum_seeds` at least.
    """
    confidence, groups = 1 - study["analysis"]["alpha"], list(_groups(study, runs))
    rows = [{"train_images": group.images} | row for group in groups for row in _trials(group, confidence)]
    for smaller, larger in pairwise(groups):
        rows += [{"train_images": larger.images} | row for row in _dependence(smaller, larger, confidence)]
    table = pd.DataFrame(rows, columns=TRIALS)
    table["p_holm"] = holm(table["p_value"].to_numpy(dtype=float)).adjusted
    return table


@cache
def training_flops(model: str) -> int:
    """Floating-point operations of one training image, forward and backward, of a spec's `model` block as JSON."""
    import json

    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from pixelpatch.data import SIDE
    from pixelpatch.models import build_model

    with torch.device("meta"):  # shapes without numbers
        network, image = build_model(json.loads(model), image=SIDE), torch.zeros(1, 1, SIDE, SIDE)
        with FlopCounterMode(display=False) as counter:
            network(image).sum().backward()
    return counter.get_total_flops()


def _trials(group: Group, confidence: float) -> Iterator[dict]:
    compared = group.compared
    if len(compared) > 2:
        found = [(step, value) for step, entry in enumerate(compared) for value in entry.runs[ACCURACY]]
        tau, p_value = stats.kendalltau(*zip(*found, strict=True))
        yield {
            "test": "trend",
            "first": compared[0].name,
            "second": compared[-1].name,
            "n_first": len(compared[0].runs),
            "n_second": len(compared[-1].runs),
            "difference": float(tau),
            "p_value": float(np.maximum(p_value, least_p_value(*(len(entry.runs) for entry in compared)))),
        }
    pairs = [("neighbours", *pair) for pair in pairwise(compared)]
    pairs += [("CNN", group.best, entry) for entry in group.others if group.best]
    for test, first, second in pairs:
        runs = (entry.runs[ACCURACY].to_numpy() for entry in (first, second))
        yield {"test": test, "first": first.name, "second": second.name} | _compared(*runs, confidence)


def _dependence(smaller: Group, larger: Group, confidence: float) -> Iterator[dict]:
    """How slopes over the patch sizes that are compared in both differ between two sizes of training set."""
    patches = {entry.patch for entry in smaller.compared} & {entry.patch for entry in larger.compared}
    if len(patches) > 2:
        names = {"first": f"{smaller.images:,} images", "second": f"{larger.images:,} images"}
        yield {"test": "dependence"} | names | _compared(slopes(smaller, patches), slopes(larger, patches), confidence)


def slopes(group: Group, patches: set[float]) -> np.ndarray:
    """Points of accuracy per halving of the patch, over `patches`, of each seed that all of these share."""
    entries = [entry for entry in group.compared if entry.patch in patches]
    accuracy = pd.concat([entry.runs[ACCURACY] for entry in entries], axis="columns", join="inner").to_numpy()
    return np.polyfit(-np.log2([entry.patch for entry in entries]), accuracy.T, 1)[0]


def _compared(first: np.ndarray, second: np.ndarray, confidence: float) -> dict:
    result = welch(second, first, confidence)
    return {
        "n_first": len(first),
        "n_second": len(second),
        "difference": result.difference,
        "interval_low": result.low,
        "interval_high": result.high,
        "p_value": result.p_value,
    }


def _groups(study: dict, runs: pd.DataFrame) -> Iterator[Group]:
    """The sweep by size of the training set, what ran at a reduced budget left out."""
    least = max(study["analysis"]["minimum_seeds"], 2)
    by_images: dict[int, list[Entry]] = {}
    for entry in _entries(
        study, runs, [name for family in study["patches"]["sweep"] for name in members(study, family)]
    ):
        if not study["experiments"][entry.experiment]["narrowed"]:
            by_images.setdefault(split_sizes(entry.spec["data"])["train"], []).append(entry)
    for images in sorted(by_images):
        ordered = sorted(by_images[images], key=lambda entry: (np.isnan(entry.patch), -entry.patch))
        patched = [entry for entry in ordered if not np.isnan(entry.patch)]
        yield Group(
            images,
            entries=[entry for entry in ordered if len(entry.runs)],
            compared=list(takewhile(lambda entry: len(entry.runs) >= least, patched)),
            others=[entry for entry in ordered if np.isnan(entry.patch) and len(entry.runs) >= least],
        )


def _entries(study: dict, runs: pd.DataFrame, names: list[str]) -> list[Entry]:
    values = runs.pivot(index=["experiment", "seed"], columns="metric", values="value").sort_index()
    ran = values.index.unique("experiment")
    nothing = values.iloc[:0].droplevel("experiment")
    return [
        Entry(name, study["experiments"][name]["spec"], values.loc[name] if name in ran else nothing) for name in names
    ]
