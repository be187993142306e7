"""The unbounded scale on which a metric is judged. Intervals computed there never hold impossible values."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from pixelpatch.metrics import limits, sizes

FLOAT32_STEP = 1e-7  # losses are computed in float32
PERCENT = 0.01
SLACK = 1e-6  # of a step: the noise of binary fractions


class Scale(NamedTuple):
    """A logit between `low` and `high`, or a logarithm above `low` where `high` is infinite. Values come in `step`s.

    Half a step is added on both sides, so that the ends themselves have a place: of k right among N, the empirical
    logit log((k + ½) / (N − k + ½)) (Cox & Snell, *Analysis of Binary Data*, 1989).
    """

    low: float
    high: float
    step: float

    def of(self, values: ArrayLike) -> np.ndarray:
        """Values in the metric's unit → on the scale, in the same shape. Values outside [low, high] are clipped."""
        values = np.clip(np.asarray(values, dtype=float), self.low, self.high)
        above = np.log(values - self.low + self.step / 2)
        return above if np.isinf(self.high) else above - np.log(self.high - values + self.step / 2)

    def back(self, places: ArrayLike) -> np.ndarray:
        """Places on the scale → in the metric's unit, in the same shape."""
        places = np.asarray(places, dtype=float)
        if np.isinf(self.high):
            with np.errstate(over="ignore"):  # an interval of two seeds may well end at infinity
                return np.maximum(self.low + np.exp(places) - self.step / 2, self.low)
        reach = self.high - self.low + self.step
        return np.clip(self.low + reach * special.expit(places) - self.step / 2, self.low, self.high)

    def cells(self, low: ArrayLike, high: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """The ends of the steps whose values lie between `low` and `high`; NaN if no possible value does.

        A count of 9755 stands for all between 9754.5 and 9755.5. So no print is finer than a step. Losses have no steps
        to speak of: their ends are those given.
        """
        low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
        if np.isinf(self.high):
            return np.where(high < self.low, np.nan, low), np.where(high < self.low, np.nan, high)
        first = np.maximum(np.ceil((low - self.low) / self.step - SLACK), 0)
        last = np.minimum(np.floor((high - self.low) / self.step + SLACK), np.round((self.high - self.low) / self.step))
        none = first > last
        return (
            np.where(none, np.nan, self.low + (first - 0.5) * self.step),
            np.where(none, np.nan, self.low + (last + 0.5) * self.step),
        )

    def step_at(self, places: ArrayLike) -> np.ndarray:
        """The length of one step, on the scale, at `places`: that of the scale's tangent there."""
        values = self.back(places)
        slope = 1 / (values - self.low + self.step / 2)
        return self.step * (slope if np.isinf(self.high) else slope + 1 / (self.high - values + self.step / 2))


def scale_of(metric: str, spec: dict[str, Any]) -> Scale:
    """The scale of a metric of runs of `spec`."""
    low, high = limits(metric, spec)
    if metric.endswith("loss"):
        return Scale(low, high, FLOAT32_STEP)
    if metric.endswith("accuracy"):
        answers = sizes(spec["data"])[metric.split("/")[0]] * (4 if metric.endswith("digit_accuracy") else 1)
        return Scale(low, high, (high - low) / answers)
    return Scale(low, high, 1.0)


def tolerance_of(
    metric: str, spec: dict[str, Any], tolerances: dict[str, float], documented: ArrayLike, own: float | None = None
) -> np.ndarray:
    """How far from our mean a narrow interval may reach, in the metric's unit: an array of the shape of `documented`.

    `tolerances` is `analysis.tolerance` of the configuration: `accuracy` in points (of a count, in percent of all),
    `loss` in percent of what lies above the loss's floor, `epoch` in epochs. A claim's `own` goes before them.
    """
    tolerances = tolerances if own is None else dict.fromkeys(tolerances, own)
    documented = np.asarray(documented, dtype=float)
    low, high = limits(metric, spec)
    if metric.endswith("loss"):
        return PERCENT * tolerances["loss"] * np.maximum(documented - low, 0)
    if metric.endswith("epoch"):
        return np.full(documented.shape, float(tolerances["epoch"]))
    return np.full(documented.shape, PERCENT * tolerances["accuracy"] * (high - low))


def off(metric: str, spec: dict[str, Any], ours: float, documented: float) -> tuple[float, str]:
    """How far our value lies from the documented one, and its unit: as tolerances count, "points", "%" or "epochs"."""
    low, high = limits(metric, spec)
    difference = ours - documented
    if metric.endswith("loss"):
        return (difference / (PERCENT * (documented - low)) if documented > low else np.nan), "%"
    return (difference, "epochs") if metric.endswith("epoch") else (difference / (PERCENT * (high - low)), "points")
