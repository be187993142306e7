"""Pixels or patches: one backbone, one recipe, one budget, from one patch per image to one per pixel, and a CNN beside.

The question of Nguyen et al. 2024 (arXiv:2406.09415), by the rules of the configuration's `patches`. `recipe` shows the
choice of backbone and recipe, on validation data at one patch size; `sweep` what each patch size reaches at each size
of the training set, and what that cost; `trials` whether accuracy rises or falls with ever smaller patches, and how
neighbours differ.

**Cost.** `tera_flops` are the floating-point operations of a run's training, forward and backward, as PyTorch counts
those of matrix products and convolutions (a multiplication and an addition are two); `seconds` are measured, of one
core, testing included.

**Tests.** The trend is Page's (1963): the seeds that all patch sizes share are its blocks, each block ranks the sizes,
and the p-value is twice the smaller of those for "smaller is better" and "smaller is worse". `difference` is Kendall's
τ between the fineness of patches and the mean accuracy. Neighbours, and the CNN against the patch size with the best
validation accuracy, are compared by Welch's test, the finer (the CNN) minus the other. All p-values of the table are
one family, corrected by Holm.
"""

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from pixelpatch.analysis.statistics import holm, mean_and_spread, welch
from pixelpatch.files import canonical_json
from pixelpatch.study import members
from pixelpatch.variants import described

ACCURACY, VALIDATION, SECONDS = "test/accuracy", "validation/accuracy", "timing/seconds"
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


def patch_name(patch: float) -> str:
    """A patch size in words, and what has none."""
    return "CNN" if np.isnan(patch) else f"patch {patch:g}"


def recipe(study: dict, runs: pd.DataFrame) -> pd.DataFrame:
    """The candidates for backbone and recipe, in the config's order: the columns of patch_recipe.csv.

    `chosen` has the highest mean validation accuracy of all, once all of them have run, with the same seeds; `frozen`
    is the one whose spec is the family's own, which the sweep extends.
    """
    entries = _entries(study, runs, [study["patches"]["recipe"]])
    family = members(study, study["patches"]["recipe"])
    means = [entry.mean(VALIDATION) for entry in entries]
    seeds = {tuple(entry.runs.index) for entry in entries}
    chosen = entries[int(np.argmax(means))] if len(entries) == len(family) and len(seeds) == 1 else None
    frozen = frozen_specs(study)
    rows = []
    for entry in entries:
        mean, std = mean_and_spread(entry.runs[VALIDATION])
        rows.append(
            {
                "experiment": entry.experiment,
                "settings": described(study["experiments"][entry.experiment]["vary"]["settings"]),
                "n_seeds": len(entry.runs[VALIDATION]),
                "validation_mean": float(mean),
                "validation_std": float(std),
                "chosen": entry is chosen,
                "frozen": _without_patch(entry.spec) in frozen,
            }
        )
    return pd.DataFrame(rows, columns=RECIPE)


def frozen_specs(study: dict) -> list[str]:
    """Model and training (but for patch and epochs) of the sweep's transformers: one, where all is as it should be."""
    names = [name for family in study["patches"]["sweep"] for name in members(study, family)]
    specs = [study["experiments"][name]["spec"] for name in names]
    return sorted({_without_patch(spec) for spec in specs if "patch" in spec["model"]})


def sweep(study: dict, runs: pd.DataFrame) -> pd.DataFrame:
    """One row per patch size (the CNN last) and size of the training set: the columns of patch_sweep.csv.

    `best` is, of the transformers with one size of training set, the one with the best mean validation accuracy.
    """
    rows = []
    for images, entries in _by_images(study, runs).items():
        best = _best(entries)
        for entry in entries:
            accuracy = entry.runs[ACCURACY]
            mean, std = mean_and_spread(accuracy)
            epochs = entry.spec["training"]["epochs"]
            rows.append(
                {
                    "experiment": entry.experiment,
                    "train_images": images,
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
                    "best": entry is best,
                    "tera_flops": images * epochs * training_flops(canonical_json(entry.spec["model"])) / 1e12,
                    "seconds": entry.mean(SECONDS),
                }
            )
    return pd.DataFrame(rows, columns=SWEEP)


def trials(study: dict, runs: pd.DataFrame) -> pd.DataFrame:
    """The trend, every neighbouring pair and the CNN, for each size of training set: the columns of patch_tests.csv."""
    rows = [
        {"train_images": images} | row
        for images, entries in _by_images(study, runs).items()
        for row in _trials(entries, 1 - study["analysis"]["alpha"])
    ]
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


def _trials(entries: list[Entry], confidence: float) -> Iterator[dict]:
    patched = [entry for entry in entries if not np.isnan(entry.patch)]
    if len(patched) > 2:
        shared = pd.concat([entry.runs[ACCURACY] for entry in patched], axis="columns", join="inner").to_numpy()
        taus = stats.kendalltau(range(len(patched)), [entry.mean(ACCURACY) for entry in patched])
        yield {
            "test": "trend",
            "first": patched[0].name,
            "second": patched[-1].name,
            "n_first": len(shared),
            "n_second": len(shared),
            "difference": float(taus.statistic),
            "p_value": trend_p_value(shared),
        }
    pairs = [("neighbours", *pair) for pair in pairwise(patched)]
    best = _best(entries)
    pairs += [("CNN", best, entry) for entry in entries if best is not None and np.isnan(entry.patch)]
    for test, first, second in pairs:
        a, b = (entry.runs[ACCURACY].to_numpy() for entry in (second, first))
        result = welch(a, b, confidence)
        yield {
            "test": test,
            "first": first.name,
            "second": second.name,
            "n_first": len(b),
            "n_second": len(a),
            "difference": result.difference,
            "interval_low": result.low,
            "interval_high": result.high,
            "p_value": result.p_value,
        }


def trend_p_value(blocks: np.ndarray) -> float:
    """Two-sided p-value of Page's test that the columns of `blocks` [seeds, sizes] are ordered; NaN for one seed."""
    if len(blocks) < 2:
        return np.nan
    ranks = np.arange(1, blocks.shape[1] + 1)
    sides = [stats.page_trend_test(blocks, predicted_ranks=order).pvalue for order in (ranks, ranks[::-1])]
    return min(1.0, 2 * min(sides))


def _best(entries: list[Entry]) -> Entry | None:
    patched = [entry for entry in entries if not np.isnan(entry.patch)]
    return max(patched, key=lambda entry: entry.mean(VALIDATION), default=None)


def _by_images(study: dict, runs: pd.DataFrame) -> dict[int, list[Entry]]:
    """The sweep's experiments that have runs by their number of training images, coarse patches first, the CNN last."""
    by_images: dict[int, list[Entry]] = {}
    for entry in _entries(study, runs, study["patches"]["sweep"]):
        by_images.setdefault(int(entry.mean("data/train_images")), []).append(entry)
    return {
        images: sorted(by_images[images], key=lambda entry: (np.isnan(entry.patch), -entry.patch))
        for images in sorted(by_images)
    }


def _entries(study: dict, runs: pd.DataFrame, families: list[str]) -> list[Entry]:
    """The experiments of `families` that have runs, in the config's order."""
    values = runs.pivot(index=["experiment", "seed"], columns="metric", values="value").sort_index()
    ran = values.index.unique("experiment")
    return [
        Entry(name, study["experiments"][name]["spec"], values.loc[name])
        for family in families
        for name in members(study, family)
        if name in ran
    ]


def _without_patch(spec: dict[str, Any]) -> str:
    model, training = dict(spec["model"]), dict(spec["training"])
    del model["patch"], training["epochs"]
    return canonical_json([model, training])
