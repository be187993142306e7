"""The rule of verdicts: its scales, its distances and its classes."""

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import special, stats

from pixelpatch.analysis.scales import Scale, scale_of, tolerance_of
from pixelpatch.analysis.verdicts import MOST_SEEDS, Distance

ACCURACY, COUNT, LOSS, EPOCH = Scale(0, 100, 0.01), Scale(0, 10_000, 1), Scale(1.4612, np.inf, 1e-7), Scale(1, 25, 1)
TOLERANCES = {"accuracy": 1, "loss": 10, "epoch": 2}
seeds = st.lists(st.floats(60, 100), min_size=2, max_size=8)


def distance(values: object, low: object, high: object, scale: Scale = ACCURACY, tolerance: object = 1.0) -> Distance:
    return Distance(values, low, high, scale=scale, tolerance=tolerance, alpha=0.05)


def spread(around: float, sd: float, n: int) -> np.ndarray:
    """`n` accuracies whose mean and standard deviation on the logit scale are those of `around` ± `sd` points."""
    z = stats.zscore(np.arange(n), ddof=1)
    slope = 1 / (around / 100 * (1 - around / 100)) / 100
    return ACCURACY.back(ACCURACY.of(around) + sd * slope * z)


@pytest.mark.parametrize("scale", [ACCURACY, COUNT, LOSS, EPOCH])
def test_a_scale_goes_there_and_back_and_keeps_the_order(scale: Scale) -> None:
    top = scale.high if np.isfinite(scale.high) else 30.0
    values = np.linspace(scale.low, top, 101)
    assert np.isfinite(scale.of(values)).all()
    assert (np.diff(scale.of(values)) > 0).all()
    assert scale.back(scale.of(values)) == pytest.approx(values, rel=1e-9, abs=1e-9)
    far = scale.back([-1e6, 1e6])
    assert far[0] == scale.low
    assert far[1] == scale.high


def test_scales_are_the_empirical_logit_and_the_logarithm_above_the_floor() -> None:
    assert COUNT.of(9755) == pytest.approx(np.log(9755.5 / 245.5))
    assert ACCURACY.of(97.55) == pytest.approx(COUNT.of(9755))  # the same images, in percent
    assert LOSS.of(1.53) == pytest.approx(np.log(0.0688), abs=1e-5)
    assert EPOCH.of(25) == pytest.approx(np.log(24.5 / 0.5))
    assert COUNT.step_at(COUNT.of(5000)) == pytest.approx(COUNT.of(5001) - COUNT.of(5000), rel=1e-3)  # one more count
    assert EPOCH.step_at(EPOCH.of([1, 25])) == pytest.approx(2, rel=0.05)  # at an end too, half a step is inside


def test_every_metric_has_its_scale_and_its_tolerance() -> None:
    spec = {
        "data": {"grids": {"train": 60000, "test": 10000}},
        "training": {"softmax_before_loss": False, "epochs": 10},
    }
    assert scale_of("test/sequence_accuracy", spec) == (0, 100, 0.01)
    assert scale_of("test/digit_accuracy", spec) == (0, 100, 0.0025)  # of 40,000 digits
    assert scale_of("train/loss", spec) == (0, np.inf, 1e-7)
    spec = {
        "data": {"validation": {"images": 5000}},
        "training": {"softmax_before_loss": True, "epochs": 10},
    }
    assert scale_of("test/correct", spec) == (0, 10_000, 1)
    assert scale_of("validation/accuracy", spec) == (0, 100, 0.02)
    assert scale_of("validation/best_epoch", spec) == (1, 10, 1)
    assert tolerance_of("test/correct", spec, TOLERANCES, 9038) == 100
    assert tolerance_of("test/accuracy", spec, TOLERANCES, [90, 93]).tolist() == [1, 1]
    assert tolerance_of("validation/best_epoch", spec, TOLERANCES, 24) == 2
    floor = -np.log(np.e / (np.e + 9))
    assert tolerance_of("train/loss", spec, TOLERANCES, 1.53) == pytest.approx(0.1 * (1.53 - floor))


def test_p_value_and_interval_are_students_on_the_logit_scale() -> None:
    values = np.array([9740, 9731, 9702, 9755.0])
    ours = distance(values, 9754.5, 9755.5, COUNT, 100)
    logits = np.log((values + 0.5) / (10_000 - values + 0.5))
    scale = logits.std(ddof=1) * np.sqrt(1 + 1 / 4)
    t = (np.log(9755 / 246) - logits.mean()) / scale
    assert ours.p_value() == pytest.approx(2 * stats.t.sf(t, 3), rel=1e-6)
    ends = stats.t.interval(0.95, 3, logits.mean(), scale)
    assert np.concatenate(ours.interval()) == pytest.approx(10_001 * special.expit(ends) - 0.5)
    assert ours.p_value(np.inf) == pytest.approx(2 * stats.norm.sf(t * np.sqrt(5 / 4)), rel=1e-6)
    assert ours.sign == -1


def test_a_curve_is_as_far_out_as_its_worst_epoch_times_their_number() -> None:
    curves = np.array([[50, 80, 91], [52, 84, 90], [51, 81, 92.0]])
    documented = np.array([50.5, 95, 91])
    whole = distance(curves, documented - 0.05, documented + 0.05, tolerance=[5, 5, 5])
    alone = [distance(curves[:, e], documented[e] - 0.05, documented[e] + 0.05) for e in range(3)]
    assert whole.worst == 1
    assert whole.sign == -1
    assert whole.p_value() == pytest.approx(3 * min(each.p_value() for each in alone))
    low, high = Distance(curves[:, 2], 0, 0, scale=ACCURACY, tolerance=5, alpha=0.05 / 3).interval()
    assert (whole.interval()[0][2], whole.interval()[1][2]) == (pytest.approx(low[0]), pytest.approx(high[0]))


def test_the_first_epochs_of_a_curve_are_corrected_for_all_of_them() -> None:
    curves, documented = np.array([[50, 80.0], [52, 84], [51, 81]]), np.array([50.5, 95])
    ends = documented - 0.05, documented + 0.05
    two, of_25 = (
        Distance(curves, *ends, scale=ACCURACY, tolerance=5, alpha=0.05, epochs=epochs) for epochs in (None, 25)
    )
    assert of_25.p_value() == pytest.approx(min(1, 25 / 2 * two.p_value()))
    low, high = of_25.interval()
    one = Distance(curves[:, 0], 0, 0, scale=ACCURACY, tolerance=5, alpha=0.05 / 25)
    assert (low[0], high[0]) == pytest.approx(np.ravel(one.interval()))
    near = Distance(curves, curves.mean(0), curves.mean(0), scale=ACCURACY, tolerance=50, alpha=0.05, epochs=25)
    assert near.verdict(1.0, 1) == "undecided"  # whatever the other 23 epochs bring


@pytest.mark.parametrize(
    ("values", "printed", "scale", "sign"),
    [
        ([94.95, 95.0, 95.05, 95.1], 95.02, Scale(0, 100, 0.05), 1),  # of 2,000 images none scores that
        ([9755, 9756, 9754], 9755.5, COUNT, -1),
        ([1, 1, 1, 1], 0, EPOCH, 1),
        ([0.0] * 5, -0.1, Scale(0, np.inf, 1e-7), 1),
        ([25, 25, 25, 24], 26, EPOCH, -1),
    ],
)
def test_an_impossible_value_is_refuted_from_the_right_side(
    values: list[float], printed: float, scale: Scale, sign: int
) -> None:
    ours = distance(values, printed - 0.005, printed + 0.005, scale)
    assert (ours.p_value(), ours.sign) == (0, sign)
    assert ours.verdict(0.0, 1) == ("higher" if sign > 0 else "lower")


def test_a_print_is_no_finer_than_a_step() -> None:
    """One step beside seeds that are all equal is never refuted, also near an end and with finer prints."""
    for images, right in ((100, 99), (1000, 998), (2000, 1999), (10_000, 5000)):
        scale = Scale(0, 100, 100 / images)
        value, documented = 100 * right / images, 100 * (right + 1) / images
        assert distance([value] * 10, documented - 5e-5, documented + 5e-5, scale).p_value(np.inf) > 0.2


def test_values_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="must be finite, not nan"):
        distance([90, np.nan, 91], 90, 91)


@given(seeds, st.floats(0, 99))
def test_what_lies_in_the_interval_is_what_is_not_refuted_and_the_interval_is_possible(
    values: list[float], low: float
) -> None:
    ours = distance(values, low, low + 1)
    (least,), (most,) = ours.interval()
    assert 0 <= least <= most <= 100
    gap = max(low - most, least - (low + 1))
    assume(abs(gap) > 1e-6)
    assert (ours.p_value() < 0.05) == (gap > 0)


@given(seeds, st.floats(60, 99), st.integers(2, 50))
def test_a_number_reproduces_no_more_and_no_less_easily_among_others(
    values: list[float], low: float, family: int
) -> None:
    ours = distance(values, low, low + 0.01)
    p = ours.p_value()
    alone, among = ours.verdict(p, 1), ours.verdict(min(1.0, family * p), family)
    assert (alone == "reproduced") == (among == "reproduced")
    assert alone in ("higher", "lower") or among not in ("higher", "lower")
    assert alone != "borderline"  # nothing lies between without a correction


@pytest.mark.parametrize(
    ("around", "sd", "n", "documented", "family", "verdict"),
    [
        (93, 0.2, 5, 93.1, 1, "reproduced"),
        (93, 0.2, 5, 95.0, 1, "lower"),
        (93, 0.2, 5, 91.0, 1, "higher"),
        (93, 3.0, 5, 40.0, 1, "higher"),  # outside beats wide
        (93, 3.0, 5, 93.5, 1, "compatible"),
        (93, 3.0, 50, 93.5, 1, "compatible"),  # no number of seeds would help
        (93, 0.3, 3, 93.1, 1, "undecided"),  # wide because seeds are few
        (93, 0.3, 4, 93.88, 1, "undecided"),  # plentiful seeds would refute it
        (93, 0.2, 200, 93.43, 20, "borderline"),
        (93, 0.2, 4, 93.9, 3, "undecided"),  # between, and plentiful seeds would refute it
    ],
)
def test_classes(around: float, sd: float, n: int, documented: float, family: int, verdict: str) -> None:
    ours = distance(spread(around, sd, n), documented - 0.005, documented + 0.005)
    assert ours.verdict(min(1.0, family * ours.p_value()), family) == verdict


@given(st.floats(0.05, 0.45), st.integers(2, 6), st.floats(93, 95))
def test_as_many_more_seeds_as_it_says_decide(sd: float, n: int, documented: float) -> None:
    low, high = documented - 0.005, documented + 0.005
    now = distance(spread(93, sd, n), low, high)
    assume(now.verdict(now.p_value(), 1) == "undecided")
    more = now.more_seeds(1)
    assume(more is not None)
    assert 1 <= more <= MOST_SEEDS
    then = distance(spread(93, sd, n + more), low, high)
    assert then.verdict(then.p_value(), 1) != "undecided"


def test_more_seeds_are_not_said_to_refute_a_curve_that_chance_alone_draws() -> None:
    """The most extreme of many epochs is far out by chance: extrapolated, it would refute nearly every true curve."""
    rng, said = np.random.default_rng(3), []
    for _ in range(40):
        *curves, documented = np.round(ACCURACY.back(rng.normal(2.5, 0.3, (6, 188))), 2)
        ours = distance(curves, documented, documented)
        said.append(ours.verdict(ours.p_value(), 1))
    assert said.count("compatible") > 35


def test_equal_seeds_are_known_to_a_step_and_no_better() -> None:
    # Three seeds with the same best epoch do not rule out its neighbour.
    assert distance([23, 23, 23], 24, 24, EPOCH, 2).p_value() > 0.05
    assert distance([23, 23, 23], 3, 3, EPOCH, 2).p_value() < 0.05
    # Whatever the spread, true numbers that come in steps are not refuted more often than alpha says.
    rng = np.random.default_rng(0)
    for sd, n in product((0.2, 0.4, 0.8), (3, 10)):
        values = np.round(5000 + rng.uniform(-0.5, 0.5, (1000, 1)) + rng.normal(0, sd, (1000, n + 1)))
        refuted = sum(distance(ours, seen, seen, COUNT, 9).p_value() < 0.05 for *ours, seen in values)
        assert stats.binomtest(refuted, 1000, 0.05, alternative="greater").pvalue > 0.01
    assert distance([11.35, 11.35, 11.35], 90.375, 90.385).verdict(0.0, 1) == "lower"


def test_a_reproduced_number_is_within_the_tolerance_of_our_mean() -> None:
    values = spread(93, 0.35, 30)
    far = distance(values, 93.55, 93.57)
    assert far.p_value() > 0.05
    assert far.verdict(far.p_value(), 1) == "reproduced"
    assert (far.reach() <= 1).all()
    skew = distance(spread(99.5, 0.2, 5), 99.3, 99.32)  # near the top there is more room below the mean than above
    low, high = skew.interval()
    assert (high - low) / 2 < 1 < skew.reach()
    assert skew.verdict(skew.p_value(), 1) != "reproduced"
