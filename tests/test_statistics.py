"""The study's statistics against closed forms, scipy, statsmodels, enumeration and simulation."""

import math
import tracemalloc
from itertools import combinations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.meta_analysis import effectsize_smd
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from pixelpatch.analysis import statistics as ours

pytestmark = pytest.mark.usefixtures("nothing_to_sweep")

SAMPLE = [94.7, 95.3, 95.1, 94.4, 95.0]
OTHER = [93.9, 94.6, 94.8, 93.2, 94.4, 94.1]

# Accuracies with two decimals: no denormals, no overflow, and many ties.
accuracies = st.lists(st.integers(0, 10_000).map(lambda k: k / 100), min_size=2, max_size=12)
half_units = st.sampled_from([0.0, 0.005, 0.05, 0.5])


def spread_out(values: list[float]) -> bool:
    return len(set(values)) > 1


def test_equal_values_have_exactly_their_own_mean_and_no_spread() -> None:
    assert np.mean([0.1] * 3) != 0.1  # what binary fractions make of it
    mean, spread = ours.mean_and_spread([0.1] * 3)
    assert (mean, spread) == (0.1, 0.0)


def test_mean_and_spread_are_taken_over_seeds_and_keep_epochs() -> None:
    mean, spread = ours.mean_and_spread([[1.0, 5.0], [3.0, 5.0]])
    np.testing.assert_array_equal(mean, [2, 5])
    np.testing.assert_array_equal(spread, [math.sqrt(2), 0])


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_prediction_interval_is_that_of_a_regression_on_nothing(confidence: float) -> None:
    regression = sm.OLS(SAMPLE, np.ones(5)).fit().get_prediction([1])
    expected = regression.conf_int(obs=True, alpha=1 - confidence)[0]
    np.testing.assert_allclose(ours.prediction_interval(SAMPLE, confidence), expected, rtol=1e-12)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_prediction_interval_holds_one_new_run_as_often_as_it_says(n: int) -> None:
    rng, trials = np.random.default_rng(n), 3000
    held = 0
    for sample, new in zip(rng.normal(95, 0.3, (trials, n)), rng.normal(95, 0.3, trials), strict=True):
        low, high = ours.prediction_interval(sample, 0.95)
        held += low <= new <= high
    assert abs(held / trials - 0.95) < 4 * math.sqrt(0.95 * 0.05 / trials)


@pytest.mark.parametrize("documented", [95.0, 94.0, 97.5])
def test_p_value_is_that_of_a_pooled_t_test_against_one_run(documented: float) -> None:
    mean, spread = np.mean(SAMPLE), np.std(SAMPLE, ddof=1)
    expected = stats.ttest_ind_from_stats(mean, spread, 5, documented, 0, 1, equal_var=True).pvalue
    assert ours.prediction_p_value(SAMPLE, documented, 0) == pytest.approx(expected, rel=1e-9)


@given(accuracies.filter(spread_out), half_units, st.floats(0.5, 0.999))
def test_p_value_and_interval_say_the_same(values: list[float], half_unit: float, confidence: float) -> None:
    low, high = ours.prediction_interval(values, confidence)
    for edge in (low - half_unit, high + half_unit):
        assert ours.prediction_p_value(values, edge, half_unit) == pytest.approx(1 - confidence, rel=1e-6)


@given(accuracies.filter(spread_out), st.integers(0, 10_000), st.integers(-100, 100), st.integers(1, 50))
def test_p_value_knows_neither_origin_nor_unit(values: list[float], hundredths: int, shift: int, scale: int) -> None:
    before = ours.prediction_p_value(values, hundredths / 100, 0.005)
    moved = [scale * value + shift for value in values]
    after = ours.prediction_p_value(moved, scale * hundredths / 100 + shift, scale * 0.005)
    assert after == pytest.approx(before, rel=1e-6, abs=1e-9)


@given(accuracies.filter(spread_out), st.integers(-100, 100), st.integers(1, 50))
def test_prediction_interval_moves_with_origin_and_unit(values: list[float], shift: int, scale: int) -> None:
    moved = ours.prediction_interval([scale * value + shift for value in values], 0.95)
    expected = [scale * edge + shift for edge in ours.prediction_interval(values, 0.95)]
    np.testing.assert_allclose(moved, expected, rtol=1e-7, atol=1e-7)


@given(accuracies, st.floats(0, 100), st.floats(0, 1), st.floats(0, 1))
def test_coarser_printing_never_lowers_the_p_value(values: list[float], documented: float, a: float, b: float) -> None:
    fine, coarse = sorted((a, b))
    assert ours.prediction_p_value(values, documented, fine) <= ours.prediction_p_value(values, documented, coarse)
    assert ours.limiting_p_value(values, documented, fine) <= ours.limiting_p_value(values, documented, coarse)


def test_a_value_that_rounds_to_the_printed_one_is_no_surprise() -> None:
    assert 92.305 - 92.30 > 0.005  # in binary fractions
    assert ours.prediction_p_value([92.305] * 3, 92.30, 0.005) == 1
    # Equal seeds: a unit of the last digit, 0.01, stands for their spread.
    expected = 2 * stats.t.sf(0.095 / 0.01 / math.sqrt(4 / 3), 2)
    assert ours.prediction_p_value([92.4] * 3, 92.30, 0.005) == pytest.approx(expected)


@pytest.mark.parametrize("values", [[], [95.0]])
def test_fewer_than_two_seeds_say_nothing(values: list[float]) -> None:
    assert np.isnan(ours.prediction_interval(values, 0.95)).all()
    assert math.isnan(ours.prediction_p_value(values, 95, 0.5))
    assert math.isnan(ours.limiting_p_value(values, 95, 0.5))
    for a, b in ((values, SAMPLE), (SAMPLE, values)):
        assert np.isnan(ours.welch(a, b, 0.95)[1:]).all()
        assert math.isnan(ours.hedges_g(a, b))
        assert math.isnan(ours.superiority(a, b))
        assert math.isnan(ours.permutation_p_value(a, b, permutations=99, rng=np.random.default_rng(0)))


def with_moments(n: int, mean: float, spread: float) -> np.ndarray:
    """`n` numbers with exactly this mean and sample standard deviation."""
    values = np.linspace(-1, 1, n)
    return mean + spread * values / values.std(ddof=1)


def test_limiting_p_value_is_approached_from_above_as_seeds_are_added() -> None:
    p_values = [ours.prediction_p_value(with_moments(n, 95, 0.3), 95.7, 0.005) for n in (3, 10, 100, 100_000)]
    limit = ours.limiting_p_value(with_moments(3, 95, 0.3), 95.7, 0.005)
    assert p_values == sorted(p_values, reverse=True)
    assert p_values[-1] > limit == pytest.approx(2 * stats.norm.cdf(-0.695 / 0.3))
    assert p_values[-1] == pytest.approx(limit, rel=1e-3)


def test_holm_by_hand_and_what_is_not_tested_is_no_part_of_the_family() -> None:
    adjusted, multiplier = ours.holm([0.03, np.nan, 0.01, 0.02, 0.9])
    np.testing.assert_allclose(adjusted, [0.06, np.nan, 0.04, 0.06, 0.9])
    np.testing.assert_array_equal(multiplier, [2, np.nan, 4, 3, 1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.integers(0, 6))
def test_planned_tests_without_a_p_value_count_as_one(p_values: list[float], missing: int) -> None:
    adjusted, multiplier = ours.holm([*p_values, np.nan], len(p_values) + missing)
    np.testing.assert_allclose(adjusted[:-1], ours.holm([*p_values, *[1.0] * missing]).adjusted[: len(p_values)])
    assert np.isnan([adjusted[-1], multiplier[-1]]).all()


@given(st.lists(st.sampled_from([0.001, 0.01, 0.02, 0.3, 0.7, 1.0]), min_size=1, max_size=8))
def test_holm_adjusts_by_the_running_maximum_of_what_it_multiplies(p_values: list[float]) -> None:
    adjusted, multiplier = ours.holm(p_values)
    for p, value in zip(p_values, adjusted, strict=True):
        steps = [m * q for q, m in zip(p_values, multiplier, strict=True) if q <= p]
        assert value == pytest.approx(min(1, max(steps)))


@pytest.mark.parametrize("p_values", [[], [np.nan, np.nan]])
def test_holm_of_no_test_is_no_correction(p_values: list[float]) -> None:
    adjusted, multiplier = ours.holm(p_values)
    assert len(adjusted) == len(multiplier) == len(p_values)
    assert np.isnan(adjusted).all()


def test_holm_bounds_any_false_alarm_under_dependence() -> None:
    rng, trials = np.random.default_rng(4), 2000
    scores = rng.normal(size=(trials, 8)) * math.sqrt(0.5) + rng.normal(size=(trials, 1)) * math.sqrt(0.5)
    scores[:, :3] += 5  # three alarms are true ones
    p_values = 2 * stats.norm.sf(np.abs(scores))
    false_alarms = sum(bool((ours.holm(row).adjusted[3:] < 0.05).any()) for row in p_values)
    assert 0 < false_alarms / trials < 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)
    assert ((p_values[:, 3:] < 0.05).any(axis=1)).mean() > 0.1  # uncorrected, there would be many more


def test_welch_is_that_of_statsmodels_and_its_one_sided_half_that_of_scipy() -> None:
    result = ours.welch(SAMPLE, OTHER, 0.9)
    reference = CompareMeans(DescrStatsW(SAMPLE), DescrStatsW(OTHER))
    t, p_value, _ = reference.ttest_ind(usevar="unequal")
    low, high = reference.tconfint_diff(alpha=0.1, usevar="unequal")
    np.testing.assert_allclose(result[:5], [np.mean(SAMPLE) - np.mean(OTHER), low, high, t, p_value])
    greater = stats.ttest_ind(SAMPLE, OTHER, equal_var=False, alternative="greater").pvalue
    assert result.p_greater == pytest.approx(greater)
    assert ours.welch(OTHER, SAMPLE, 0.9).p_greater == pytest.approx(1 - greater)


@pytest.mark.parametrize("sizes", [(2, 3), (5, 5), (5, 10)])
def test_welch_without_any_spread_knows_no_more_than_permutations(sizes: tuple[int, int]) -> None:
    high, low = ([value] * n for value, n in zip((2.0, 1.0), sizes, strict=True))
    least = ours.permutation_p_value(high, low, permutations=9999, rng=np.random.default_rng(0))
    np.testing.assert_allclose(ours.welch(high, low, 0.95), (1, np.nan, np.nan, np.inf, least, least / 2))
    np.testing.assert_allclose(ours.welch(low, high, 0.95), (-1, np.nan, np.nan, -np.inf, least, 1 - least / 2))
    np.testing.assert_allclose(ours.welch(low, low, 0.95), (0, np.nan, np.nan, 0, 1, 0.5))


def test_welch_with_one_sample_without_spread_is_a_t_test_of_the_other_and_no_surer_than_permutations() -> None:
    for constant in (94.5, 94.0, 50.0):
        expected = stats.ttest_1samp(SAMPLE, constant)
        result = ours.welch(SAMPLE, [constant] * 4, 0.95)
        least = 2 / math.comb(9, 4)
        assert result.t == pytest.approx(expected.statistic)
        assert result.p_value == pytest.approx(max(expected.pvalue, least))
        assert result.p_greater == pytest.approx(max(expected.pvalue, least) / 2)
        assert ours.welch([constant] * 4, SAMPLE, 0.95).p_greater == pytest.approx(1 - result.p_greater)
    assert ours.welch(SAMPLE, [50.0, 50.0, 50.0, 50.01], 0.95).p_value < least  # where there is some spread, it counts


@pytest.mark.parametrize("n", [2, 5, 9])
def test_equal_differences_of_pairs_know_no_more_than_their_signs(n: int) -> None:
    before = 90 + np.arange(n) / 10
    after = [float(f"{value + 0.1:.1f}") for value in before]  # equal on paper, not in binary fractions
    signs = stats.binomtest(n, n).pvalue
    assert ours.paired(after, before, 0.95) == pytest.approx((0.1, np.nan, np.nan, signs), nan_ok=True)
    assert ours.paired(before, before, 0.95)[::3] == (0, 1)


def test_the_least_p_value_is_that_of_the_one_deal_that_sorts_all_values() -> None:
    assert ours.least_p_value(2, 3) == 2 / 10
    assert ours.least_p_value(2, 2, 2) == 2 / 90
    assert ours.least_p_value(1, 1) == ours.least_p_value(3) == 1


def enumerated_p_value(a: list[int], b: list[int]) -> float:
    """Twice the smaller share of deals at least as extreme, in exact integers."""
    pooled = a + b

    def difference(chosen: tuple[int, ...]) -> int:
        total = sum(pooled[i] for i in chosen)
        return len(b) * total - len(a) * (sum(pooled) - total)

    deals = [difference(chosen) for chosen in combinations(range(len(pooled)), len(a))]
    seen = difference(tuple(range(len(a))))
    return min(1, 2 * min(sum(d >= seen for d in deals), sum(d <= seen for d in deals)) / len(deals))


few_hundredths = st.lists(st.integers(0, 9), min_size=2, max_size=4)


@given(few_hundredths, few_hundredths)
def test_permutation_of_small_samples_counts_every_deal_ties_included(a: list[int], b: list[int]) -> None:
    x, y = ([95 + value / 100 for value in sample] for sample in (a, b))
    p_value = ours.permutation_p_value(x, y, permutations=999, rng=np.random.default_rng(0))
    assert p_value == pytest.approx(enumerated_p_value(a, b), rel=1e-12)


def test_drawn_permutations_are_close_to_all_of_them_and_replay() -> None:
    a, b = [3, 5, 4, 8, 6, 9, 7], [2, 4, 1, 6, 3, 5, 4]
    drawn = [ours.permutation_p_value(a, b, permutations=3000, rng=np.random.default_rng(7)) for _ in range(2)]
    exact = enumerated_p_value(a, b)
    assert drawn[0] == drawn[1]
    assert drawn[0] != exact
    assert abs(drawn[0] - exact) < 5 * 2 * math.sqrt(exact / 2 / 3000)


def test_permutations_of_many_seeds_need_little_memory_and_change_nothing() -> None:
    a, b = np.random.default_rng(0).normal([0, 0.1], 1, (600, 2)).T
    tracemalloc.start()
    drawn = ours.permutation_p_value(a, b, permutations=2999, rng=np.random.default_rng(1))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    def difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return x.mean(axis=axis) - y.mean(axis=axis)

    at_once = stats.permutation_test(
        (a, b), difference, vectorized=True, n_resamples=2999, rng=np.random.default_rng(1)
    )
    assert drawn == at_once.pvalue
    assert peak < 2999 * 1200 * 8 * 1.5  # all of them at once are that many numbers, and their indices again


def test_permutation_of_equal_values_is_no_surprise() -> None:
    assert ours.permutation_p_value([0.1] * 3, [0.1] * 4, permutations=99, rng=np.random.default_rng(0)) == 1


def test_hedges_g_is_that_of_the_meta_analysts() -> None:
    approximate, _ = effectsize_smd(
        np.mean(SAMPLE), np.std(SAMPLE, ddof=1), 5, np.mean(OTHER), np.std(OTHER, ddof=1), 6
    )  # with 1 − 3 / (4 m − 1) for the correction
    assert ours.hedges_g(SAMPLE, OTHER) == pytest.approx(approximate, rel=2e-3)


def test_hedges_g_is_not_biased_in_samples_of_three() -> None:
    rng, trials = np.random.default_rng(5), 6000
    g = [ours.hedges_g(rng.normal(1, 1, 3), rng.normal(0, 1, 3)) for _ in range(trials)]
    assert abs(np.mean(g) - 1) < 4 * np.std(g) / math.sqrt(trials)


def test_hedges_g_without_spread() -> None:
    assert ours.hedges_g([2, 2], [1, 1]) == np.inf
    assert ours.hedges_g([0.1, 0.1], [0.3, 0.3]) == -np.inf
    assert math.isnan(ours.hedges_g([0.1] * 3, [0.1] * 2))


@pytest.mark.parametrize("size", [0.3, 1.0, -1.7, 4.0])
def test_so_many_seeds_tell_two_systems_apart_as_often_as_they_should(size: float) -> None:
    n = int(ours.seeds_to_tell(size, 0.05))
    rng = np.random.default_rng(5)
    drawn = rng.standard_normal((4000, 2, n))
    found = (stats.ttest_ind(drawn[:, 0] + size, drawn[:, 1], axis=1).pvalue < 0.05).mean()
    assert found > 0.78
    if n > 2:
        fewer = drawn[..., : n - 1]
        assert (stats.ttest_ind(fewer[:, 0] + size, fewer[:, 1], axis=1).pvalue < 0.05).mean() < 0.83


def test_no_difference_needs_no_number_of_seeds() -> None:
    assert np.isnan(ours.seeds_to_tell(0, 0.05))
    assert np.isnan(ours.seeds_to_tell(np.nan, 0.05))
    assert np.isnan(ours.seeds_to_tell(1e-4, 0.05))
    assert ours.seeds_to_tell(np.inf, 0.05) == 2
    assert ours.seeds_to_tell(0.05, 0.05) == pytest.approx(2 * (2.8016 / 0.05) ** 2, rel=1e-3)


@given(accuracies, accuracies)
def test_superiority_is_mann_and_whitneys(a: list[float], b: list[float]) -> None:
    assume(len(set(a + b)) > 1)
    expected = stats.mannwhitneyu(a, b, method="asymptotic").statistic / (len(a) * len(b))
    assert ours.superiority(a, b) == pytest.approx(expected)
    assert ours.superiority(a, b) + ours.superiority(b, a) == pytest.approx(1)
