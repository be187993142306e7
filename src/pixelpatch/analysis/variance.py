"""Where does the spread of an accuracy come from: the seed, or the images that happen to be in the test set?

A system's runs are a table of seeds × test items, each right or wrong (items are images, or the digits of grids, which
are resampled by whole grids). From it come, in points of accuracy,

* `seed_std`: the standard deviation over seeds, on the one test set that there is;
* `binomial_std`: that of one run's accuracy over test sets of the same size, were its items independent (the digits of
  one grid are not quite): √(p (1 − p) / N), what error bars that know nothing of seeds show;
* `image_std`: that of the *mean* over our seeds, over test sets: a bootstrap of the items alone, all seeds kept, as
  hard items are hard for every seed;
* `both_std`: that of one run on one test set, seeds and items resampled together (the pigeonhole bootstrap, Owen 2007,
  which counts twice what seeds find hard in different images). Resampling n seeds shows but (n − 1) / n of their
  variance: the rest is added.
"""

import numpy as np
import pandas as pd
from numpy.random import Generator

from pixelpatch.analysis.statistics import mean_and_spread
from pixelpatch.study import systems

COLUMNS = ["system", "metric", "n_seeds", "items", "mean", "seed_std", "binomial_std", "image_std", "both_std"]
RESAMPLES = 4000  # which know a standard deviation to about a hundredth of itself
AT_ONCE = 50  # of them, held in memory


def spread(study: dict, correctness: pd.DataFrame, rng: Generator) -> pd.DataFrame:
    """One row per system that has runs, in the config's order: the columns of variance.csv.

    `correctness` is the table of `collect` with the bits of every run. With one seed spreads over seeds are missing.
    """
    rows = []
    for system in systems(study):
        own = correctness[correctness["experiment"] == system].sort_values("seed")
        if len(own):
            right = np.stack([bits(row["right"], row["items"]) for row in own.to_dict("records")])
            rows.append(_row(study, system, right, rng))
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(study: dict, system: str, right: np.ndarray, rng: Generator) -> dict:
    """`right` [seeds, items] is 1 where a run is right."""
    grids = "grids" in study["experiments"][system]["spec"]["data"]
    accuracy = 100 * right.mean(axis=1)
    mean, seed_std = (float(part) for part in mean_and_spread(accuracy))
    shares = right.reshape(len(right), -1, 4).mean(axis=2) if grids else right.astype(float)  # [seeds, images or grids]
    image_std, both_std = bootstrap(shares, resamples=RESAMPLES, rng=rng)
    return {
        "system": system,
        "metric": "test/digit_accuracy" if grids else "test/accuracy",
        "n_seeds": len(right),
        "items": right.shape[1],
        "mean": mean,
        "seed_std": seed_std,
        "binomial_std": float(np.sqrt(mean * (100 - mean) / right.shape[1])),
        "image_std": 100 * image_std,
        "both_std": np.sqrt((100 * both_std) ** 2 + seed_std**2 / len(right)) if len(right) > 1 else np.nan,
    }


def packed(right: np.ndarray) -> str:
    """Bits [items] as hexadecimal text, a quarter of a character each."""
    return np.packbits(right).tobytes().hex()


def bits(text: str, items: int) -> np.ndarray:
    """The bits that `packed` made a text of: uint8 [items]. Raises ValueError where it is none."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))[:items]


def bootstrap(shares: np.ndarray, *, resamples: int, rng: Generator) -> tuple[float, float]:
    """Standard deviations over resampled items of the mean over all seeds, and of one resampled seed's mean.

    `shares` [seeds, items] is what share of each item a run has right.
    """
    seeds, items = shares.shape
    means = np.empty((resamples, seeds))
    for batch in np.array_split(means, -(-resamples // AT_ONCE)):
        drawn = [np.bincount(rng.integers(items, size=items), minlength=items) for _ in batch]  # how often each item is
        # Of whole numbers and quarters: the products are exact, in whatever order a machine adds them up.
        np.matmul(np.array(drawn, dtype=float), shares.T, out=batch)
    means /= items
    one = means[np.arange(resamples), rng.integers(seeds, size=resamples)]
    return float(means.mean(axis=1).std(ddof=1)), float(one.std(ddof=1))
