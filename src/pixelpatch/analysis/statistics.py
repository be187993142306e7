"""The study's statistics: pure functions of numbers; whatever draws at random takes its generator as an argument.

Two questions are asked throughout, and they need different answers:

* *Could this documented number be one more of our runs?* A write-up documents one run, so it is held against a
  **prediction** interval (the spread of runs *and* the uncertainty of our mean), never against a confidence interval of
  the mean, which shrinks to nothing as seeds are added and would then reject every honest single run.
* *Do two systems differ?* Both have replications, so their means are compared: Welch, permutation, effect sizes.

A documented number is known only as precisely as it was printed: "95.01" is anything in 95.005..95.015. `half_unit` is
half a unit of the last printed digit, and only what lies beyond it counts as distance.

No p-value is smaller than its method can support. A permutation test of n_a and n_b values has C(n_a + n_b, n_a) ways
to deal them out. So its two-sided p-value is at least 2 / C(n_a + n_b, n_a). The signs of n pairs give at least 2 / 2ⁿ.
A t-test can go lower, because the values show how far runs scatter. A sample without any spread does not show that. The
t-test would then take it as known that runs never differ, and could give p = 0 from two runs. So for such a sample, its
p-value is never below the smallest one of a permutation test (half of that, if one-sided), and there is no interval.
Kendall's p-value, an approximation by the normal distribution, is always bounded in the same way.
"""

import gc
import math
import warnings
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike
from scipy import special, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower

# Distances below this share of the numbers themselves are the noise of binary fractions (92.305 - 92.3 > 0.005).
ROUNDING = 1e-12
MOST_RUNS, EXACT_SEEDS = 10**6, 1000
AT_ONCE = 2**20  # values that permutations hold at a time: memory is bounded, the draws are the same


class Holm(NamedTuple):
    """Holm's adjusted p-values and the factor that each is multiplied by: two arrays in the order of the input."""

    adjusted: np.ndarray
    multiplier: np.ndarray


class Paired(NamedTuple):
    """Mean of the differences of pairs, its confidence interval, and the p-value of "it is zero"."""

    difference: float
    low: float
    high: float
    p_value: float


class Verdict(NamedTuple):
    """What the runs say of a documented number: see `verdict_of`."""

    p_value: float
    verdict: str


class Welch(NamedTuple):
    """Difference of two means, its confidence interval, t, and the p-values of `a != b` and of `a > b`."""

    difference: float
    low: float
    high: float
    t: float
    p_value: float
    p_greater: float


def mean_and_spread(values: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sample standard deviation over the first axis (seeds); any further axes (epochs) are kept.

    Equal values have exactly their own value as mean and exactly 0 as spread (sums of binary fractions would not say
    so). No value: both NaN. One value: its spread is NaN.
    """
    values = np.asarray(values, dtype=float)
    if len(values) == 0:
        return np.full(values.shape[1:], np.nan), np.full(values.shape[1:], np.nan)
    equal = (values == values[0]).all(axis=0)
    mean = np.where(equal, values[0], values.mean(axis=0))
    if len(values) == 1:
        return mean, np.full(values.shape[1:], np.nan)
    return mean, np.where(equal, 0.0, values.std(axis=0, ddof=1))


def prediction_interval(values: ArrayLike, confidence: float) -> tuple[float, float]:
    """The interval that holds one new run with the given confidence: mean ± t s √(1 + 1/n), t with n − 1 degrees.

    `values` has one number per seed, taken as independent and normal (Hahn & Meeker, *Statistical Intervals*, 1991).
    NaN for fewer than two.
    """
    low, high = _intervals(np.asarray(values, dtype=float), confidence)
    return float(low), float(high)


def prediction_p_value(values: ArrayLike, documented: float, half_unit: float) -> float:
    """Two-sided p-value of "the documented number is one more run like these": of t = d / (s √(1 + 1/n)).

    d is how far the documented number, anywhere within its `half_unit`, stays from the mean of `values` (one per seed).
    1 where d is 0; NaN for fewer than two seeds. Seeds that are all equal do not show that runs never differ: s is then
    taken as one unit of the last printed digit.
    """
    return float(_p_value(_surprise(values, documented, half_unit), len(np.asarray(values))))


def predictive_log_density(values: ArrayLike, documented: float, half_unit: float) -> float:
    """Logarithm of the density of one more run like these, averaged over what would be printed as `documented`.

    The distribution is Student's, as in `prediction_interval`; the average is over `half_unit` on both sides. Seeds
    that are all equal put all density on their value and none elsewhere. NaN for fewer than two.
    """
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return np.nan
    mean, spread = (float(part) for part in mean_and_spread(values))
    away = abs(documented - mean)
    if spread == 0:
        return -np.log(2 * half_unit) if away <= half_unit else -np.inf
    scale = spread * np.sqrt(1 + 1 / len(values))
    ends = stats.t.sf([(away - half_unit) / scale, (away + half_unit) / scale], len(values) - 1)  # on the thin side
    return float(np.log((ends[0] - ends[1]) / (2 * half_unit)))


def verdict_of(values: ArrayLike, documented: float, half_unit: float, alpha: float) -> Verdict:
    """`prediction_p_value`, and what it says by itself of a documented number: `higher` or `lower` (ours), where it is
    below alpha; `undecided`, where more seeds of the present mean and spread would bring it there; or `not refuted`.
    """
    p_value = prediction_p_value(values, documented, half_unit)
    if p_value < alpha:
        return Verdict(p_value, "higher" if np.mean(values) > documented else "lower")
    undecided = limiting_p_value(values, documented, half_unit) < alpha
    return Verdict(p_value, "undecided" if undecided else "not refuted")


def limiting_p_value(values: ArrayLike, documented: float, half_unit: float) -> float:
    """What `prediction_p_value` would tend to with ever more seeds of the present mean and spread: 2 (1 − Φ(d / s))."""
    return float(2 * stats.norm.sf(_surprise(values, documented, half_unit)))


def holm(p_values: ArrayLike, family: int | None = None) -> Holm:
    """Holm's step-down correction (1979): it bounds the chance of any false alarm, under any dependence.

    NaN p-values stay NaN. `family` is the number of tests that were planned, where not all have a p-value yet: the
    others count as 1. By default it is that of the p-values there are. The multiplier of a p-value is family − (how
    many are smaller), or more if a smaller p-value holds it back.
    """
    p_values = np.asarray(p_values, dtype=float)
    tested = ~np.isnan(p_values)
    family = int(tested.sum()) if family is None else family
    adjusted, multiplier = np.full(p_values.shape, np.nan), np.full(p_values.shape, np.nan)
    if tested.any():
        planned = np.concatenate([p_values[tested], np.ones(family - tested.sum())])
        gc.freeze()  # statsmodels collects garbage at every correction: with all set aside that takes no time
        adjusted[tested] = multipletests(planned, method="holm")[1][: tested.sum()]
        gc.unfreeze()
        own, held = p_values[tested], adjusted[tested]
        by_rank = family + 1 - stats.rankdata(own, method="min")
        raised = np.divide(held, own, out=by_rank.astype(float), where=(own > 0) & (held < 1))
        multiplier[tested] = np.maximum(by_rank, raised)
    return Holm(adjusted, multiplier)


def least_p_value(*sizes: int) -> float:
    """The least two-sided p-value that a permutation test of samples of these sizes can give: 2 over the deals."""
    return min(1.0, 2 * math.prod(map(math.factorial, sizes)) / math.factorial(sum(sizes)))


def welch(a: ArrayLike, b: ArrayLike, confidence: float) -> Welch:
    """Welch's t-test of two independent samples with unequal variances, and the interval of mean(a) − mean(b).

    If a sample has no spread at all, its p-values go no lower than a permutation test's can, and the interval is NaN.
    Fewer than two values in either: NaN but for the difference.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    difference = float(mean_and_spread(a)[0] - mean_and_spread(b)[0])
    if min(len(a), len(b)) < 2:
        return Welch(difference, np.nan, np.nan, np.nan, np.nan, np.nan)
    least = least_p_value(len(a), len(b)) if _constant(a) or _constant(b) else 0.0
    if _constant(a) and _constant(b):
        sign = float(np.sign(difference))
        t, p_value = (sign * np.inf, least) if sign else (0.0, 1.0)
        return Welch(difference, np.nan, np.nan, t, p_value, p_value / 2 if sign > 0 else 1 - p_value / 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # scipy warns where one sample has no spread; Welch allows it
        result = stats.ttest_ind(a, b, equal_var=False)
        interval = result.confidence_interval(confidence)
    return Welch(
        difference=difference,
        low=np.nan if least else float(interval.low),
        high=np.nan if least else float(interval.high),
        t=float(result.statistic),
        p_value=max(float(result.pvalue), least),
        p_greater=float(np.clip(stats.t.sf(result.statistic, result.df), least / 2, 1 - least / 2)),
    )


def paired(a: ArrayLike, b: ArrayLike, confidence: float) -> Paired:
    """Student's paired t-test of the mean of a − b, pair by pair, and the interval of that mean.

    Where all differences are equal, p goes no lower than the signs of so many pairs can, and the interval is NaN. Fewer
    than two pairs: NaN but for the difference.
    """
    # Rounded, so that differences that are equal on paper (95.1 − 95.0 = 93.1 − 93.0) are so in binary fractions too.
    differences = np.round(np.asarray(a, dtype=float) - np.asarray(b, dtype=float), 9)
    mean, spread = (float(part) for part in mean_and_spread(differences))
    if len(differences) < 2:
        return Paired(mean, np.nan, np.nan, np.nan)
    if spread == 0:
        return Paired(mean, np.nan, np.nan, 0.5 ** (len(differences) - 1) if mean else 1.0)
    result = stats.ttest_1samp(differences, 0.0)
    interval = result.confidence_interval(confidence)
    return Paired(mean, float(interval.low), float(interval.high), float(result.pvalue))


def equivalence_p_value(a: ArrayLike, b: ArrayLike, margin: float) -> float:
    """P-value of "the means of a and b are `margin` or more apart": two one-sided Welch tests (Schuirmann 1987).

    It is the larger of the two. Where both samples have spread, it is below α exactly where the interval of `welch` at
    confidence 1 − 2α lies within ±margin. Fewer than two values in either: NaN.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    above, below = welch(a + margin, b, 0.95), welch(b + margin, a, 0.95)
    return float(np.maximum(above.p_greater, below.p_greater))


def permutation_p_value(a: ArrayLike, b: ArrayLike, *, permutations: int, rng: Generator) -> float:
    """Two-sided permutation p-value of the difference of two means: it assumes exchangeable runs, and no normality.

    Exact where there are at most `permutations` ways to deal the values into the two samples, otherwise drawn with
    `rng`. Fewer than two values in either: NaN.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if min(len(a), len(b)) < 2:
        return np.nan
    pooled = np.concatenate([a, b])
    low, width = pooled.min(), np.ptp(pooled)
    if width == 0:
        return 1.0

    def difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        # Rounded, so that deals that tie on paper (95.01 + 95.04 = 95.02 + 95.03) tie in binary fractions too.
        return np.round(x.mean(axis=axis) - y.mean(axis=axis), 9)

    samples = ((a - low) / width, (b - low) / width)
    batch = max(1, AT_ONCE // len(pooled))
    return float(
        stats.permutation_test(
            samples, difference, vectorized=True, n_resamples=permutations, batch=batch, rng=rng
        ).pvalue
    )


def hedges_g(a: ArrayLike, b: ArrayLike) -> float:
    """Hedges' g: the difference of two means in pooled standard deviations, less its bias in small samples (1981).

    The correction is the exact Γ(m/2) / (√(m/2) Γ((m − 1)/2)) with m = n_a + n_b − 2. Without any spread it is ±∞, or
    NaN where the means are equal too. Fewer than two values in either: NaN.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if min(len(a), len(b)) < 2:
        return np.nan
    (mean_a, spread_a), (mean_b, spread_b) = mean_and_spread(a), mean_and_spread(b)
    degrees = len(a) + len(b) - 2
    pooled = np.sqrt(((len(a) - 1) * spread_a**2 + (len(b) - 1) * spread_b**2) / degrees)
    correction = np.exp(special.gammaln(degrees / 2) - special.gammaln((degrees - 1) / 2)) / np.sqrt(degrees / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(correction * (mean_a - mean_b) / pooled)


def seeds_to_tell(effect_size: float, alpha: float, power: float = 0.8) -> float:
    """The seeds that each of two systems needs for Student's two-sided test to tell them apart with this `power`.

    NaN where the effect size is, or is too small for 10⁶ seeds; at least 2.
    """
    size = abs(effect_size)
    if not size > 0:
        return np.nan
    # What a normal distribution would ask is a little too few, and exact enough where it is many.
    n = max(2.0, float(np.ceil(2 * ((stats.norm.isf(alpha / 2) + stats.norm.isf(1 - power)) / size) ** 2)))
    if n > EXACT_SEEDS:
        return n if n <= MOST_RUNS else np.nan
    while np.isfinite(size) and TTestIndPower().power(size, n, alpha) < power:
        n += 1
    return n


def superiority(a: ArrayLike, b: ArrayLike) -> float:
    """Chance that a run of `a` beats a run of `b`, ties counted half: Mann and Whitney's U / (n_a n_b).

    Fewer than two values in either: NaN.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if min(len(a), len(b)) < 2:
        return np.nan
    return float((1 + np.sign(a[:, None] - b).mean()) / 2)


def _intervals(values: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Prediction intervals over the first axis: low and high, shaped as the further axes."""
    mean, spread = mean_and_spread(values)
    n = len(values)
    if n < 2:
        return np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    reach = stats.t.isf((1 - confidence) / 2, n - 1) * spread * np.sqrt(1 + 1 / n)
    return mean - reach, mean + reach


def _surprise(values: ArrayLike, documented: ArrayLike, half_unit: ArrayLike) -> np.ndarray:
    """The distance d / s over the first axis: 0 where d is 0, NaN for fewer than two seeds.

    Of equal seeds, s is taken as one unit of the last printed digit.
    """
    mean, spread = mean_and_spread(values)
    spread = np.where(spread == 0, 2 * np.asarray(half_unit, dtype=float), spread)
    documented = np.asarray(documented, dtype=float)
    distance = np.maximum(np.abs(mean - documented) - half_unit, 0)
    distance = np.where(distance <= ROUNDING * np.maximum(np.abs(mean), np.abs(documented)), 0, distance)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where((distance == 0) & ~np.isnan(spread), 0.0, distance / spread)


def _p_value(surprise: np.ndarray, n: int) -> np.ndarray:
    """The two-sided p-value of a distance of `surprise` standard deviations from the mean of n seeds."""
    return 2 * stats.t.sf(surprise / np.sqrt(1 + 1 / n), n - 1) if n > 1 else np.full_like(surprise, np.nan)


def _constant(values: np.ndarray) -> bool:
    return bool((values == values[0]).all())
