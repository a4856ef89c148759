"""Metrics against counting, and against another library where it has the same quantity."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import references
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from deltaoe.errors import ConfigError, DataError
from deltaoe.functional.metrics import (
    aupr_in,
    aupr_out,
    auroc,
    expected_calibration_error,
    fpr_at_tpr,
    mean_interval,
    proportion_interval,
)

quick = settings(max_examples=80, deadline=None, derandomize=True)

# A coarse grid, for ties within and between the two sides, and free floats beyond [0, 1].
VALUES = st.sampled_from([-3.0, -0.5, 0.0, 0.25, 0.5, 2.0, 40.0]) | st.floats(-5, 5)
SIDE = st.lists(VALUES, min_size=1, max_size=25)
METRICS = {"auroc": auroc, "aupr_in": aupr_in, "aupr_out": aupr_out, "fpr_at_tpr": fpr_at_tpr}
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())


@quick
@given(SIDE, SIDE)
def test_auroc_counts_pairs(inside, outside):
    assert auroc(inside, outside) == pytest.approx(float(references.auroc(inside, outside)), abs=1e-12)


@quick
@given(SIDE, SIDE)
def test_aupr_is_average_precision_of_either_side(inside, outside):
    flipped = [-s for s in outside], [-s for s in inside]
    assert aupr_in(inside, outside) == pytest.approx(
        float(references.average_precision(inside, outside)), abs=1e-12
    )
    assert aupr_out(inside, outside) == pytest.approx(
        float(references.average_precision(*flipped)), abs=1e-12
    )


@quick
@given(SIDE, SIDE, st.sampled_from(["0.95", "0.9", "0.8", "0.5", "0.05", "1", "0.001"]))
@example([float(i) for i in range(20)], [0.5, 1.5], "0.95")  # 0.95·20 is 19, exactly
@example([float(i) for i in range(40)], [0.5, 1.5, 2.5], "0.95")
@example([1.0] * 19 + [0.0], [1.0, 0.5, 0.0], "0.95")
def test_fpr_at_tpr_tries_every_threshold(inside, outside, tpr):
    expected = float(references.fpr_at_tpr(inside, outside, Fraction(tpr)))
    assert fpr_at_tpr(inside, outside, float(tpr)) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("tpr", ["0.95", "0.9", "0.55", "0.07"])
def test_fpr_keeps_exactly_as_many_as_it_must(tpr):
    """ID scores 1..n, one OOD score above each: the FPR tells which threshold was taken."""
    for n in range(1, 201):  # 0.55·100 and 0.07·100 are just above an integer in floating point
        inside = np.arange(1, n + 1)
        kept = next(k for k in range(1, n + 1) if Fraction(k, n) >= Fraction(tpr))
        assert fpr_at_tpr(inside, inside + 0.5, float(tpr)) == pytest.approx(kept / n, abs=1e-15), n


@quick
@given(SIDE, SIDE)
def test_scikit_learn_agrees(inside, outside):
    """On ranks, which no implementation can squash or merge."""
    scores = np.unique([*inside, *outside], return_inverse=True)[1].astype(float)
    truth = np.repeat([1, 0], [len(inside), len(outside)])
    assert auroc(inside, outside) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert aupr_in(inside, outside) == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert aupr_out(inside, outside) == pytest.approx(average_precision_score(1 - truth, -scores), abs=1e-12)
    fpr, tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert fpr_at_tpr(inside, outside) == pytest.approx(fpr[np.argmax(tpr >= 0.95 - 1e-12)], abs=1e-12)


@pytest.mark.parametrize("decimals", [0, 1, 2, 12])
@pytest.mark.parametrize(("n", "m"), [(1, 700), (700, 1), (900, 400), (64, 2000)])
def test_auroc_of_many_scores_with_and_without_ties(n, m, decimals):
    rng = np.random.default_rng(n + decimals)
    inside, outside = rng.normal(0.4, size=n).round(decimals), rng.normal(size=m).round(decimals)
    expected = roc_auc_score(np.repeat([1, 0], [n, m]), np.r_[inside, outside])
    assert auroc(inside, outside) == pytest.approx(expected, abs=1e-12)
    assert auroc(np.float32(inside), np.float32(outside)) == pytest.approx(expected, abs=1e-12)


@every_metric
@quick
@given(SIDE, SIDE, st.sampled_from([1e-6, 0.5, 8.0]), st.integers(-100, 100))
def test_only_the_order_of_scores_counts(metric, inside, outside, scale, shift):
    ranks = np.unique([*inside, *outside], return_inverse=True)[1]
    moved = (ranks + shift) ** 3 * scale  # strictly increasing, far outside [0, 1], ties kept
    assert metric(moved[: len(inside)], moved[len(inside) :]) == metric(inside, outside)


@every_metric
@quick
@given(SIDE, SIDE, st.randoms(use_true_random=False))
def test_the_order_of_images_does_not_count(metric, inside, outside, random):
    a, b = random.sample(inside, len(inside)), random.sample(outside, len(outside))
    assert metric(a, b) == metric(inside, outside)


@quick
@given(SIDE, SIDE)
def test_swapping_the_sides_mirrors_auroc(inside, outside):
    assert auroc(inside, outside) + auroc(outside, inside) == pytest.approx(1, abs=1e-12)


def test_the_direction_is_higher_means_in_distribution():
    known, unknown = [0.7, 0.8, 0.9], [0.1, 0.2]
    assert [m(known, unknown) for m in METRICS.values()] == [1.0, 1.0, 1.0, 0.0]
    assert auroc(unknown, known) == 0.0
    assert fpr_at_tpr(unknown, known) == 1.0


def test_all_scores_equal():
    assert auroc([1, 1, 1], [1]) == 0.5
    assert aupr_in([1, 1, 1], [1]) == 0.75
    assert aupr_out([1, 1, 1], [1]) == 0.25
    assert fpr_at_tpr([1, 1, 1], [1]) == 1.0


def test_float32_scores_and_columns_are_taken_as_they_are():
    column = np.array([[0.1], [0.9]], dtype=np.float32)
    assert auroc(column, np.float32([[0.1]])) == 0.75


@every_metric
@pytest.mark.parametrize(("inside", "outside"), [([], [0.1]), ([0.1], []), ([], [])])
def test_an_empty_side_is_an_error(metric, inside, outside):
    with pytest.raises(DataError, match="needs both"):
        metric(inside, outside)


@every_metric
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_an_error(metric, bad):
    for sides in (([0.1, bad], [0.2]), ([0.1], [0.2, bad])):
        with pytest.raises(DataError, match="finite"):
            metric(*sides)


@pytest.mark.parametrize("tpr", [0.0, -0.1, 1.01, 95, math.nan])
def test_tpr_must_be_a_share(tpr):
    with pytest.raises(ConfigError, match="true-positive rate"):
        fpr_at_tpr([0.1, 0.2], [0.1], tpr)


# Calibration error

# Hundredths lie on the edges of 1 to 100 bins as often as any number can.
CONFIDENCE = st.floats(0, 1) | st.integers(0, 100).map(lambda i: i / 100)
OUTCOMES = st.lists(st.tuples(CONFIDENCE, st.booleans()), min_size=1, max_size=40)


@quick
@given(OUTCOMES, st.sampled_from([1, 2, 4, 8, 16, 64]))
@example([(0.0, True), (0.25, False), (0.5, True), (0.75, True), (1.0, False)], 4)
def test_calibration_error_visits_bin_by_bin(outcomes, bins):
    """In fractions; with a power of two, edges are the same numbers in floating point."""
    expected = Fraction(0)
    for m in range(1, bins + 1):
        held = [
            (Fraction(c), int(right))
            for c, right in outcomes
            if Fraction(m - 1, bins) < Fraction(c) <= Fraction(m, bins) or (m == 1 and c == 0)
        ]
        if held:
            accuracy = Fraction(sum(right for _, right in held), len(held))
            confidence = sum(c for c, _ in held) / len(held)
            expected += Fraction(len(held), len(outcomes)) * abs(accuracy - confidence)
    found = expected_calibration_error(*zip(*outcomes, strict=True), bins=bins)
    assert found == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_scikit_learn_draws_the_same_calibration_curve(bins):
    rng = np.random.default_rng(7)
    confidence = rng.beta(4, 2, size=3000)
    correct = rng.random(3000) < confidence**1.5
    accuracy, mean = calibration_curve(correct, confidence, n_bins=bins)
    weights = np.histogram(confidence, bins, range=(0, 1))[0]
    expected = np.average(np.abs(accuracy - mean), weights=weights[weights > 0])
    assert expected_calibration_error(confidence, correct, bins) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_of_extremes():
    assert expected_calibration_error([1.0, 1.0], [True, True]) == 0
    assert expected_calibration_error([1.0, 1.0], [False, False]) == 1
    assert expected_calibration_error([0.0, 0.0], [1, 1]) == 1
    assert expected_calibration_error(np.float32([0.75] * 4), [1, 1, 0, 1]) == 0
    # One bin sees only that the mean is right, many bins see the two errors.
    assert expected_calibration_error([0.2, 0.8], [1, 0], bins=1) == 0
    assert expected_calibration_error([0.2, 0.8], [1, 0], bins=2) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("confidence", "correct", "fact"),
    [
        ([], [], "per image"),
        ([0.5, 0.5], [1], "per image"),
        ([[0.5]], [[1]], "per image"),
        ([1.2], [1], "outside 0 to 1"),
        ([-0.1], [1], "outside 0 to 1"),
        ([math.nan], [1], "outside 0 to 1"),
        ([0.5], [2], "neither right"),
        ([0.5], [math.nan], "neither right"),
    ],
)
def test_calibration_error_refuses(confidence, correct, fact):
    with pytest.raises(DataError, match=fact):
        expected_calibration_error(confidence, correct)


def test_calibration_error_needs_a_bin():
    with pytest.raises(ConfigError, match="at least 1 bin"):
        expected_calibration_error([0.5], [1], bins=0)


# Intervals


@quick
@given(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_ends_of_a_proportion_are_where_the_score_test_turns(total, share, level):
    """Wilson (1927): the p for which (hits/n − p)² = z² p(1 − p)/n."""
    hits = round(share * total)
    z = norm.ppf((1 + level) / 2)
    low, high = proportion_interval(hits, total, level)
    assert 0 <= low <= hits / total <= high <= 1
    for end in (low, high):
        assert (hits / total - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / total, abs=1e-12)
    assert (low == 0) == (hits == 0)
    assert (high == 1) == (hits == total)


def test_a_proportion_interval_covers_as_often_as_it_says():
    """Exactly: the binomial probability of all counts whose interval holds p, averaged over p."""
    total = 40
    intervals = [proportion_interval(hits, total) for hits in range(total + 1)]
    covered = [
        sum(binom.pmf(h, total, p) for h, (low, high) in enumerate(intervals) if low <= p <= high)
        for p in np.linspace(0.02, 0.98, 97)
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize(("hits", "total"), [(0, 0), (-1, 5), (6, 5)])
def test_what_is_not_a_share_has_no_interval(hits, total):
    with pytest.raises(DataError, match="not a share"):
        proportion_interval(hits, total)


def test_mean_interval_of_a_table():
    """t_{2, 0.975} = 4.302653 and t_{4, 0.95} = 2.131847 of any printed table."""
    mean, half = mean_interval([1.0, 2.0, 3.0])
    assert mean == 2
    assert half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    mean, half = mean_interval([2, 4, 4, 4, 6], level=0.9)
    assert mean == 4
    assert half == pytest.approx(2.131847 * math.sqrt(2) / math.sqrt(5), rel=1e-6)


def test_a_mean_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(11)
    trials = 2000
    hits = 0
    for _ in range(trials):
        mean, half = mean_interval(rng.normal(0.8, 0.02, size=3))
        hits += abs(mean - 0.8) <= half
    low, high = binom.interval(0.99, trials, 0.95)
    assert low <= hits <= high


def test_one_seed_has_a_mean_and_no_width():
    mean, half = mean_interval([0.75])
    assert mean == 0.75
    assert math.isnan(half)
    assert mean_interval([0.5, 0.5]) == (0.5, 0.0)


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf]])
def test_a_mean_needs_finite_values(values):
    with pytest.raises(DataError, match="at least one value and finite"):
        mean_interval(values)


@pytest.mark.parametrize("level", [0.0, 1.0, 95, -0.5, math.nan])
def test_a_level_must_lie_between_0_and_1(level):
    for call in (lambda: proportion_interval(1, 2, level), lambda: mean_interval([1, 2], level)):
        with pytest.raises(ConfigError, match="level of an interval") as caught:
            call()
        assert "0.95" in caught.value.hint
