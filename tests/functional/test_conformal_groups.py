"""Promises about a whole folder and about every group of images."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import references
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from deltaoe.errors import ConfigError, DataError
from deltaoe.functional.conformal import (
    benjamini_hochberg,
    group_thresholds,
    grouped_p_values,
    p_values,
    threshold,
)

quick = settings(max_examples=150, deadline=None, derandomize=True)

SCORES = st.floats(-1, 1) | st.sampled_from([-0.5, 0.0, 0.25, 0.5])  # ties are common
ALPHAS = st.sampled_from([k / m for m in range(2, 20) for k in range(1, m)]) | st.floats(0.001, 0.999)

# Benjamini-Hochberg


def step_up(ps, q):
    """The definition, rank by rank, in fractions."""
    ordered = sorted(ps)
    passing = [i for i, p in enumerate(ordered, start=1) if p <= i * q / len(ps)]
    return [bool(passing) and p <= ordered[max(passing) - 1] for p in ps]


@quick
@given(
    st.integers(1, 120).flatmap(
        lambda n: st.lists(st.integers(1, n + 1).map(lambda k: Fraction(k, n + 1)), max_size=30)
    ),
    st.sampled_from(["0.01", "0.05", "0.07", "0.1", "0.3", "0.5", "0.9"]) | st.floats(0.001, 0.999).map(str),
)
@example([Fraction(1, 100)] + [Fraction(1)] * 6, "0.07")  # 0.01·7 is 0.07 and one ulp
@example([Fraction(1, 10), Fraction(1), Fraction(1)], "0.3")  # 0.1·3 likewise
def test_benjamini_hochberg_steps_up(ps, q):
    found = benjamini_hochberg([float(p) for p in ps], float(q))
    assert found.dtype == bool
    assert found.tolist() == step_up(ps, Fraction(q))


@quick
@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0.01, 0.9), st.randoms(use_true_random=False))
def test_benjamini_hochberg_ignores_the_order_and_grows_with_q(ps, q, random):
    found = benjamini_hochberg(ps, q)
    order = random.sample(range(len(ps)), len(ps))
    assert benjamini_hochberg([ps[i] for i in order], q).tolist() == [found[i] for i in order]
    assert (found <= benjamini_hochberg(ps, (q + 1) / 2)).all()
    assert not found.any() or np.max(np.array(ps)[found]) <= q * 1.0000001


@pytest.mark.parametrize("grouped", [False, True])
def test_false_discoveries_keep_the_promise(grouped):
    """Folders of 60 known and 20 unknown images, one fresh calibration set each; FDR ≤ q·60/80.

    The promise is about the mean over folders; the band is its normal one, folders being independent.
    """
    rng = np.random.default_rng(31)
    folders, q, n = 1500, 0.2, 799
    unknown = np.arange(80) >= 60
    shares, caught = [], 0
    for _ in range(folders):
        groups, calibration_groups = rng.integers(0, 2, size=80), rng.integers(0, 2, size=n)
        scores = rng.normal(size=80) + 3 * groups - 2.5 * unknown
        calibration = rng.normal(size=n) + 3 * calibration_groups
        if grouped:
            p, pooled = grouped_p_values(scores, groups, calibration, calibration_groups, 30)
            assert not pooled.any()
        else:
            p = p_values(scores - 3 * groups, calibration - 3 * calibration_groups)
        called = benjamini_hochberg(p, q)
        shares.append((called & ~unknown).sum() / max(1, called.sum()))
        caught += int((called & unknown).sum())
    assert np.mean(shares) <= q * 60 / 80 + 2.58 * np.std(shares) / math.sqrt(folders)
    assert np.mean(shares) >= 0.75 * q * 60 / 80  # not kept by calling nothing
    assert caught > folders * 20 * 0.5


def test_benjamini_hochberg_of_one_image_is_its_p_value():
    assert benjamini_hochberg([0.05], 0.05).tolist() == [True]
    assert benjamini_hochberg([0.05], 0.0499).tolist() == [False]
    assert benjamini_hochberg([], 0.05).tolist() == []


@pytest.mark.parametrize("q", [0.0, 1.0, -0.1, 5, math.nan])
def test_q_must_lie_between_0_and_1(q):
    with pytest.raises(ConfigError, match="q must lie") as caught:
        benjamini_hochberg([0.1], q)
    assert "false alarms" in caught.value.hint


@pytest.mark.parametrize("bad", [[math.nan], [0.1, 1.5], [-0.1], [[0.1, 0.2]], 0.1])
def test_what_is_no_p_value_is_refused(bad):
    with pytest.raises(DataError):
        benjamini_hochberg(bad, 0.1)


# Groups

GROUPED = st.lists(st.tuples(SCORES, st.integers(0, 4)), max_size=45)


def columns(pairs):
    return [s for s, _ in pairs], [g for _, g in pairs]


@quick
@given(GROUPED, GROUPED, st.integers(0, 12))
def test_each_image_is_compared_with_its_own_group(images, calibration, minimum):
    p, pooled = grouped_p_values(*columns(images), *columns(calibration), minimum)
    everyone = [s for s, _ in calibration]
    for row, (score, group) in enumerate(images):
        own = [s for s, g in calibration if g == group]
        assert pooled[row] == (len(own) < minimum)
        assert p[row] == float(references.p_value(score, everyone if pooled[row] else own))


@quick
@given(GROUPED, ALPHAS, st.integers(0, 12))
def test_each_group_has_the_threshold_of_its_p_values(calibration, alpha, minimum):
    scores, groups = columns(calibration)
    limits = group_thresholds(scores, groups, alpha, 6, minimum)
    assert limits.shape == (6,)
    around = [f for c in {*scores, 0.0} for f in (math.nextafter(c, -2), c, math.nextafter(c, 2))]
    for group in range(6):
        p, pooled = grouped_p_values(around, [group] * len(around), scores, groups, minimum)
        assert (p <= alpha).tolist() == (np.array(around) < limits[group]).tolist()
        own = [s for s, g in calibration if g == group]
        expected = threshold(scores if pooled[0] else own, alpha)
        assert math.isnan(limits[group]) if expected is None else limits[group] == expected


def test_false_alarms_keep_the_promise_in_every_group():
    """One fresh image per calibration set. Groups differ in score and size; pooled p-values fail, own ones hold."""
    rng = np.random.default_rng(77)
    trials, alpha, sizes = 4000, 0.1, [0.7, 0.3]
    alarms, pooled_alarms, images = np.zeros(2), np.zeros(2), np.zeros(2)
    for _ in range(trials):
        groups = rng.choice(2, size=101, p=sizes)
        scores = rng.normal(size=101) - 1.5 * groups
        p, pooled = grouped_p_values(scores[:1], groups[:1], scores[1:], groups[1:], 9)
        assert not pooled.any()
        images[groups[0]] += 1
        alarms[groups[0]] += p[0] <= alpha
        pooled_alarms[groups[0]] += p_values(scores[:1], scores[1:])[0] <= alpha
    for group in range(2):
        # Given its number of images n, a group's level is ⌊α(n + 1)⌋/(n + 1); n itself is binomial.
        n = np.arange(101)
        exact = binom.pmf(n, 100, sizes[group]) @ (np.floor(alpha * (n + 1) + 1e-9) / (n + 1))
        low, high = binom.interval(0.99, images[group], exact)
        assert low <= alarms[group] <= high
        assert alarms[group] <= binom.ppf(0.995, images[group], alpha)
    assert pooled_alarms[1] > binom.ppf(0.9999, images[1], alpha)


def test_a_pooled_group_is_promised_nothing():
    """A rare group whose scores are all lower: nearly all of it is called unknown, and that is on top."""
    rng = np.random.default_rng(8)
    trials, alpha = 4000, 0.05
    alarms, rare = 0, [0, 0]
    for _ in range(trials):
        groups = (rng.random(201) < 0.03).astype(int)
        scores = rng.normal(size=201) - 6 * groups
        p, pooled = grouped_p_values(scores[:1], groups[:1], scores[1:], groups[1:], 30)
        alarms += int(p[0] <= alpha)
        if groups[0]:
            assert pooled.all()
            rare[int(p[0] <= alpha)] += 1
    assert rare[1] > 0.5 * sum(rare)
    assert alarms > binom.ppf(0.995, trials, alpha)


def test_a_minimum_above_every_group_pools_everything():
    p, pooled = grouped_p_values([0.1, 0.6], [0, 1], [0.0, 0.5, 1.0], [0, 1, 1], 10)
    assert pooled.all()
    assert p.tolist() == p_values([0.1, 0.6], [0.0, 0.5, 1.0]).tolist()


def test_group_inputs_are_checked():
    calls = {
        "one group": lambda: grouped_p_values([0.1, 0.2], [0], [0.1], [0], 1),
        "not shapes": lambda: grouped_p_values([0.1], [0], [0.1, 0.2], [0], 1),
        "an integer": lambda: grouped_p_values([0.1], [0.5], [0.1], [0], 1),
        "not a number": lambda: grouped_p_values([math.nan], [0], [0.1], [0], 1),
        "groups 0 to 2": lambda: group_thresholds([0.1, 0.2], [0, 2], 0.1, 2, 1),
        "groups -1 to 0": lambda: group_thresholds([0.1, 0.2], [0, -1], 0.1, 2, 1),
    }
    for fact, call in calls.items():
        with pytest.raises(DataError, match=fact):
            call()
    for call in (
        lambda: grouped_p_values([0.1], [0], [0.1], [0], -1),
        lambda: group_thresholds([0.1], [0], 0.1, 1, -1),
    ):
        with pytest.raises(ConfigError, match="smallest group") as caught:
            call()
        assert caught.value.hint
    with pytest.raises(ConfigError, match="alpha"):
        group_thresholds([0.1], [0], 0.0, 1, 1)
