"""p-values, thresholds and the promise they keep."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import references
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom, binom

from deltaoe.errors import ConfigError, DataError
from deltaoe.functional.conformal import check_alpha, images_needed, p_values, threshold

quick = settings(max_examples=150, deadline=None, derandomize=True)

SCORES = st.floats(-1, 1) | st.sampled_from([-0.5, 0.0, 0.25, 0.5])  # ties are common
CALIBRATION = st.lists(SCORES, max_size=45)


@st.composite
def awkward_alphas(draw):
    """Levels at, or one ulp beside, some k/m, where α(n + 1) is an integer or just misses one."""
    m = draw(st.integers(2, 60))
    k = draw(st.integers(1, m - 1))
    value = draw(st.sampled_from([k / m, 1 - (m - k) / m, k * (1 / m), sum([1 / m] * k)]))
    value = draw(st.sampled_from([value, math.nextafter(value, 0), math.nextafter(value, 1)]))
    return min(max(value, 1e-6), math.nextafter(1, 0))


ALPHAS = awkward_alphas() | st.floats(0.001, 0.999)


@quick
@given(st.lists(SCORES, min_size=1, max_size=10), CALIBRATION)
def test_p_values_count_the_calibration_scores_at_or_below(scores, calibration):
    scores = [*scores, *calibration[:3]]
    expected = [float(references.p_value(s, calibration)) for s in scores]
    assert p_values(scores, calibration).tolist() == expected


@quick
@given(SCORES, SCORES, CALIBRATION)
def test_p_value_rises_with_the_score_and_ignores_the_order(a, b, calibration):
    low, high = p_values(sorted([a, b]), calibration)
    assert 1 / (len(calibration) + 1) <= low <= high <= 1
    assert p_values([a], calibration[::-1])[0] == p_values([a], calibration)[0]


@quick
@given(st.lists(SCORES, max_size=5), CALIBRATION, ALPHAS)
@example([], [0.1 * i for i in range(19)], 0.05)  # α(n + 1) = 1
@example([], [0.1 * i for i in range(9)], 1 - 0.9)  # 0.0999…98: no score may be called unknown
@example([], [0.1 * i for i in range(9)], 0.1 + 0.2)  # 0.30000000000000004
@example([], [0.1 * i for i in range(28)], 7 * (1 / 29))
def test_p_at_most_alpha_means_below_the_threshold(scores, calibration, alpha):
    around = [f for c in calibration for f in (math.nextafter(c, -2), c, math.nextafter(c, 2))]
    scores = np.array([*scores, *around, -2.0, 2.0])
    rejected = p_values(scores, calibration) <= alpha
    limit = threshold(calibration, alpha)
    if limit is None:
        assert not rejected.any()
    else:
        assert limit in calibration
        assert rejected.tolist() == (scores < limit).tolist()


def test_threshold_at_an_exact_level_is_an_order_statistic():
    """α = k/(n + 1) is p ≤ α for the k lowest ranks, also where α(n + 1) rounds below k, as 0.29·100 does."""
    assert int(0.29 * 100) == 28
    for n in range(1, 131):
        calibration = np.arange(n)[::-1]
        found = [threshold(calibration, k / (n + 1)) for k in range(1, n + 1)]
        assert found == list(range(n)), n


@quick
@given(st.integers(1, 60), ALPHAS)
def test_too_few_images_have_no_threshold(n, alpha):
    reachable = 1 / (n + 1) <= alpha
    assert (threshold([0.5] * n, alpha) is not None) == reachable
    assert (p_values([-1.0], [0.5] * n)[0] <= alpha) == reachable


def test_no_images_have_no_threshold():
    assert threshold([], 0.999) is None
    assert p_values([0.1, 0.9], []).tolist() == [1.0, 1.0]


@quick
@given(ALPHAS)
@example(0.05)
@example(1 / 3)
@example(1 - 0.95)
@example(0.5)
@example(0.999)
@example(0.001)
def test_images_needed_is_the_fewest_that_can_reject(alpha):
    needed = images_needed(alpha)
    assert threshold(np.zeros(needed), alpha) is not None
    assert threshold(np.zeros(needed - 1), alpha) is None


def test_images_needed_of_common_levels():
    assert {a: images_needed(a) for a in (0.5, 0.2, 0.1, 0.05, 0.01, 0.001)} == {
        0.5: 1,
        0.2: 4,
        0.1: 9,
        0.05: 19,
        0.01: 99,
        0.001: 999,
    }
    assert images_needed(1e-9) == 999_999_999  # counted without an array of that size


# The promise


@pytest.mark.parametrize(
    ("n", "alpha"), [(19, 0.05), (50, 0.05), (9, 0.1), (29, 0.1), (99, 1 - 0.95), (4, 0.3)]
)
def test_false_alarms_on_fresh_images_keep_the_promise(n, alpha):
    """One fresh image per calibration set, so that trials are independent: a 99 % binomial band, seeded."""
    trials = 6000
    rng = np.random.default_rng(20240 + n)
    alarms = known = 0
    for _ in range(trials):
        calibration, fresh = rng.normal(size=n), rng.normal()
        alarms += int(p_values([fresh], calibration)[0] <= alpha)
        known += int(fresh >= threshold(calibration, alpha))
    assert alarms + known == trials
    expected = math.floor(alpha * (n + 1) + 1e-12) / (n + 1)  # exact for continuous scores; ≤ α
    low, high = binom.interval(0.99, trials, expected)
    assert low <= alarms <= high
    assert alarms <= binom.ppf(0.995, trials, alpha)


@pytest.mark.parametrize(
    ("n", "alpha"), [(19, 0.05), (99, 0.05), (30, 0.1), (200, 0.01), (7, 0.25), (45, 0.3)]
)
def test_false_alarms_over_200_fresh_draws_follow_the_exact_law(n, alpha):
    """200 calibration sets, 100 fresh images each, all from one distribution: a 99 % band.

    The images of one repetition share a calibration set, so their alarms are dependent and a binomial band
    would be far too narrow. Exactly: with k = ⌊α(n + 1)⌋ an image is called unknown iff it lies below the k-th
    lowest calibration score. The share of the distribution below that is Beta(k, n + 1 − k), whatever the
    distribution, and given it the images are independent. So alarms are beta-binomial(100, k, n + 1 − k) in
    one repetition, and their sum over independent repetitions is that law convolved 200 times with itself.
    """
    repetitions, fresh = 200, 100
    rng = np.random.default_rng(900 + n)
    alarms = 0
    for _ in range(repetitions):
        calibration, images = rng.gamma(2.0, size=n), rng.gamma(2.0, size=fresh)
        alarms += int((p_values(images, calibration) <= alpha).sum())
    k = math.floor(Fraction(str(alpha)) * (n + 1))
    one = betabinom.pmf(np.arange(fresh + 1), fresh, k, n + 1 - k)
    size = repetitions * fresh + 1
    law = np.fft.irfft(np.fft.rfft(one, 2 * size) ** repetitions, 2 * size)[:size].cumsum()
    assert law[-1] == pytest.approx(1, abs=1e-9)
    low, high = np.searchsorted(law, [0.005, 0.995])
    assert low <= alarms <= high
    assert low / (repetitions * fresh) < alpha  # the promise itself lies in or above the band


def test_ties_make_it_careful_not_careless():
    rng = np.random.default_rng(5)
    trials, alpha = 6000, 0.1
    alarms = 0
    for _ in range(trials):
        *calibration, fresh = rng.integers(0, 6, size=40) / 8
        alarms += int(p_values([fresh], calibration)[0] <= alpha)
    assert 0 < alarms <= binom.ppf(0.995, trials, alpha)


# Errors


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.05, 1.5, math.nan, math.inf])
def test_alpha_must_lie_between_0_and_1(alpha):
    for call in (
        lambda: check_alpha(alpha),
        lambda: images_needed(alpha),
        lambda: threshold([0.1, 0.2], alpha),
    ):
        with pytest.raises(ConfigError, match="alpha must lie between 0 and 1") as caught:
            call()
        assert "0.05" in caught.value.hint


def test_nan_is_refused_because_it_would_pass_for_known():
    for call in (
        lambda: p_values([math.nan], [0.1]),
        lambda: p_values([0.1], [math.nan, 0.2]),
        lambda: threshold([0.1, math.nan], 0.5),
    ):
        with pytest.raises(DataError, match="not a number"):
            call()


def test_infinite_scores_have_a_rank():
    assert p_values([-math.inf, math.inf], [0.1, 0.2, 0.3]).tolist() == [0.25, 1.0]
