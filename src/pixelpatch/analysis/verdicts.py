"""When does a documented number reproduce? The rule, as a paper's methods section would give it.

**What is compared.** A write-up documents one run, as precisely as it prints it: "95.01" is anything from 95.005 to
95.015. We hold it against our own runs, one per seed, and ask two questions. Could the documented run be one more of
ours? And do our runs pin the number down, so that the answer means something?

**Scale.** Every metric is first transformed to an unbounded scale (`analysis.scales`). Accuracies, counts and epochs
get a logit between their smallest and largest possible values. Losses get the logarithm of loss minus floor; the floor
is the smallest possible loss (0, or 1.4612 with a softmax before the cross-entropy). There our n values are taken as
independent and normal, with mean m and standard deviation s. Intervals are carried back to the metric's own unit, so
they never hold what is impossible. Values of a metric come in steps (one image of a count, one epoch), and each stands
for all that would be rounded to it. s is never taken as smaller than half a step. Otherwise, if seeds were equal or
nearly equal, s would be so small that true numbers were refuted too often.

**Could it be one of ours?** Let d be the distance from m to the nearest value that would be printed as documented. If
the documented run were one more of ours, t = d / (s √(1 + 1/n)) would follow Student's distribution with n − 1 degrees
of freedom. `p_value` is its two-sided p-value; it is 0 if no run can have the documented value at all (a loss below its
floor, half an image). The interval is the *prediction interval* for one more run at confidence 1 − α: m ± t s √(1 +
1/n) (Hahn & Meeker, *Statistical Intervals*, 1991). A curve is one test over its E epochs. Its p-value is E times the
smallest p-value of its epochs. Its interval at each epoch is taken at 1 − α / E (Bonferroni; it holds under any
dependence between epochs). E counts all epochs of the protocol. While runs are in progress, a fixed set of seeds is
tested over the epochs that all of them have finished, with the same E. So testing it again after each epoch needs no
further correction. Then only *differs* is said, and everything else is `undecided` until all epochs have run.

**Is the answer precise enough?** An interval is *narrow* if both its ends lie within the metric's tolerance of m. For a
curve, this must hold at every epoch. The tolerances are in the configuration, under `analysis.tolerance`, each with its
reason. If half a unit of a number's last printed digit is more than the tolerance, the number is printed too coarsely,
and counts as wide.

**Families.** The numbers and curves of one write-up form one family (not those marked `not_tested`, nor exact facts).
Its size is fixed by the configuration; a number without runs counts as p = 1. Holm's correction is applied within the
family (`p_holm`). If runs are normal and are looked at once, the probability of any false *differs* in a write-up is at
most α. Other write-ups cannot change a verdict. Exact facts and claims in words (a property of a curve, one system
better than another) stand outside.

**Classes.** A number is put into one of four classes, twice: at our n seeds, and at infinitely many seeds of the same
mean and spread. (There, p_holm is p times the factor that Holm applies now.) The first class that fits counts:

1. *differs*: p_holm < α;
2. *between*: the uncorrected p < α;
3. *reproduced*: the interval is narrow;
4. *wide*: it is not.

The verdict follows from both answers:

* `higher`, `lower` (ours is the higher, the lower): *differs* at n seeds. The width of the interval does not matter.
* `reproduced`: *reproduced* at n seeds. This class uses the uncorrected p-value. So `reproduced` does not become easier
  if a write-up documents more numbers.
* `borderline`: *between* at n seeds, and also at infinitely many.
* `compatible`, "compatible, but the protocol scatters": *wide* at n seeds, and also at infinitely many. The documented
  number may be one of our runs, but so may many others.
* `undecided`: *between* or *wide* at n seeds, and another class at infinitely many. The note says about how many more
  seeds would decide, at the present mean and spread. This is an estimate from few seeds: the true number can be several
  times larger.

A curve's distance is that of its most extreme epoch. With more seeds, another epoch would be the most extreme one, and
it would be less extreme. So the p-value of a curve is left as it is when we go to infinitely many seeds. Only the width
of its interval changes.

With fewer than `analysis.minimum_seeds` seeds (two at the least) nothing is tested, and the verdict is `undecided`.

**How often the rule errs.** `benchmarks/verdict_simulations.py` judges simulated write-ups of one, two and five numbers
by this code, at α = 5 %. All its figures, with their Monte Carlo errors, are in `results/benchmark/verdicts.md`. If the
documented runs are like ours and all runs are normal, 4 to 6 % of the write-ups get a false `higher` or `lower`. So do
4 to 5 % of the curves. It is 4 to 9 % of the curves if the first three seeds are judged after every epoch, and then all
seeds at the end. Suppose that every undecided number gets as many more seeds as its note says. After this second look,
for which nothing is corrected, it is 4 to 8 % of the write-ups. The rates are higher if runs are not normal. They are
highest for write-ups of five numbers: up to 23 % if runs are skewed (30 % after the second look), and up to 40 % if
some runs fail to train (41 % after it). Now suppose that runs are normal, and that the first number comes from a
protocol four standard deviations off. With 3, 5 and 10 seeds this is found in 45, 80 and 94 % of cases if the write-up
documents one number, and in 15, 36 and 70 % if it documents five. If the protocol is a whole tolerance off, its number
is `reproduced` in at most 17 % of the cases that were simulated, with up to 30 seeds.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from pixelpatch.analysis.scales import Scale
from pixelpatch.analysis.statistics import ROUNDING, mean_and_spread

DIFFERS, BETWEEN, REPRODUCED, WIDE = "differs", "between", "reproduced", "wide"
MOST_SEEDS = 1000  # beyond this, no number of seeds is suggested


class Distance:
    """How far what is documented lies from our runs, and how wide they scatter: see the module for the rule.

    `values` are ours, of shape (seeds,) or, of a curve, (seeds, epochs), at least two seeds. `low` and `high` are the
    ends of what would be printed as documented, and `tolerance` how far a narrow interval may reach from the mean, in
    the metric's unit: numbers or, of a curve, arrays of shape (epochs,). `epochs` is how many the whole curve has, if
    those are only its first. Raises ValueError for values that are not finite.
    """

    def __init__(
        self,
        values: ArrayLike,
        low: ArrayLike,
        high: ArrayLike,
        *,
        scale: Scale,
        tolerance: ArrayLike,
        alpha: float,
        epochs: int | None = None,
    ) -> None:
        values = np.asarray(values, dtype=float)
        if not np.isfinite(values).all():
            raise ValueError(f"Our values must be finite, not {values[~np.isfinite(values)][0]}.")
        self.n, self.scale, self.alpha = len(values), scale, alpha
        values, low, high = values.reshape(self.n, -1), np.asarray(low, dtype=float), np.asarray(high, dtype=float)
        self.tests = epochs or values.shape[1]
        self.tolerance = np.broadcast_to(np.asarray(tolerance, dtype=float), values.shape[1:])
        coarse = (high - low) / 2 > self.tolerance + ROUNDING * np.maximum(1, np.abs(high))
        self.coarse = np.broadcast_to(coarse, values.shape[1:])
        self._mean, spread = mean_and_spread(scale.of(values))
        self._spread = np.maximum(spread, scale.step_at(self._mean) / 2)
        beyond = (low + high) / 2 - scale.back(self._mean)  # it tells the side, if the value is impossible
        low, high = scale.cells(low, high)
        below, above = scale.of(low) - self._mean, self._mean - scale.of(high)
        distance = np.maximum(np.maximum(below, above), 0)
        distance = np.where(distance <= ROUNDING * np.maximum(1, np.abs(self._mean)), 0, distance)
        distance = np.where(np.isnan(low), np.inf, distance)
        self._surprise = distance / self._spread
        self._sign = np.where(np.isnan(low), np.where(beyond < 0, 1, -1), np.where(above > below, 1, -1))

    @cached_property
    def worst(self) -> int:
        """The position on a curve, from 0, at which the documented value lies farthest out (the first of equals)."""
        return int(np.argmax(self._surprise))

    @property
    def sign(self) -> int:
        """1 where ours is the higher at the worst position, −1 where it is the lower."""
        return int(self._sign[self.worst])

    def p_value(self, n: float | None = None) -> float:
        """The two-sided p-value at `n` seeds of the present mean and spread: the present number, or up to infinity."""
        n = self.n if n is None else n
        p = 2 * stats.t.sf(self._surprise[self.worst] / np.sqrt(1 + 1 / n), n - 1)
        return min(1.0, self.tests * float(p))

    def interval(self, n: float | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The prediction interval at `n` seeds, low and high, in the metric's unit: shape (epochs,), or (1,)."""
        n = self.n if n is None else n
        level = self.alpha / (2 * self.tests)
        reach = stats.t.isf(level, n - 1) * self._spread * np.sqrt(1 + 1 / n)
        return self.scale.back(self._mean - reach), self.scale.back(self._mean + reach)

    def reach(self, n: float | None = None) -> np.ndarray:
        """How far the interval reaches from the mean, at its farther end, in the metric's unit: shape (epochs,)."""
        low, high = self.interval(n)
        mean = self.scale.back(self._mean)
        return np.maximum(high - mean, mean - low)

    def narrow(self, n: float | None = None) -> bool:
        """Whether the interval reaches no farther than the tolerance, and the print is as fine, everywhere."""
        return bool((self.reach(n) <= self.tolerance).all() and not self.coarse.any())

    def verdict(self, p_holm: float, multiplier: float) -> str:
        """The verdict, given the corrected p-value and the factor by which Holm multiplies this one."""
        now = self._class(self.n, p_holm)
        if now == DIFFERS:
            return "higher" if self.sign > 0 else "lower"
        if self.missing_epochs:
            return "undecided"
        if now == REPRODUCED:
            return "reproduced"
        if now == self.in_the_end(multiplier):
            return "borderline" if now == BETWEEN else "compatible"
        return "undecided"

    @property
    def missing_epochs(self) -> int:
        """How many epochs of the curve have still to run."""
        return self.tests - len(self._surprise)

    def in_the_end(self, multiplier: float) -> str:
        """The class at infinitely many seeds of the present mean and spread."""
        return self._class(np.inf, multiplier * self._last_p_value())

    def more_seeds(self, multiplier: float) -> int | None:
        """About how many more seeds would change the class that an `undecided` value has now, to one that lasts.

        That is at the present mean and spread, p-values being multiplied as now. None for more than MOST_SEEDS.
        """
        lasting = {DIFFERS, REPRODUCED, self.in_the_end(multiplier)}
        for more in _steps():
            n = self.n + more
            p_value = self.p_value(n) if self._is_number else self.p_value()
            if self._class(n, multiplier * p_value) in lasting:
                return more
        return None

    @property
    def _is_number(self) -> bool:
        return self.tests == 1

    def _last_p_value(self) -> float:
        """What is expected of the p-value with infinitely many seeds; of a curve nothing, so the present one stands.

        A curve's largest distance is the largest of E chance values: at more seeds it is another epoch's, and smaller.
        """
        return self.p_value(np.inf if self._is_number else None)

    def _class(self, n: float, p_holm: float) -> str:
        if p_holm < self.alpha:
            return DIFFERS
        if (self.p_value(n) if self._is_number else self.p_value()) < self.alpha:
            return BETWEEN
        return REPRODUCED if self.narrow(n) else WIDE


def _steps() -> Iterator[int]:
    """1, 2, 3, … up to 100, then in steps of a twentieth, up to MOST_SEEDS."""
    more = 1
    while more <= MOST_SEEDS:
        yield more
        more += max(1, more // 20 if more > 100 else 1)
