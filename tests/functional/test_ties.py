"""Scores that differ from a calibration score by rounding alone, and what becomes of their p-values."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaoe.functional.conformal import p_values, threshold, with_ties

SCORE = st.floats(-1, 1) | st.sampled_from([-0.5, 0.0, 0.25])
quickly = settings(max_examples=200, deadline=None, derandomize=True)


@quickly
@given(st.lists(SCORE, min_size=1, max_size=30), st.lists(SCORE, max_size=5), st.floats(-6e-6, 6e-6))
def test_no_p_value_becomes_smaller_and_none_by_more_than_the_nearest(calibration, scores, off):
    scores = np.array([*scores, *(c + off for c in calibration)])
    plain, tied = p_values(scores, calibration), p_values(with_ties(scores, calibration), calibration)
    assert (tied >= plain).all()
    ordered = np.sort(calibration)
    for score, low, high in zip(scores, plain, tied, strict=True):
        if high > low:  # it was set up to the next calibration score, and no further
            following = ordered[ordered > score].min()
            assert high == p_values([following], calibration)[0]


@quickly
@given(st.lists(SCORE, min_size=1, max_size=30), st.floats(0.01, 0.9))
def test_a_verdict_still_follows_from_the_p_value(calibration, alpha):
    scores = with_ties([c + off for c in calibration for off in (-1e-7, 0, 1e-7, -1e-3)], calibration)
    limit = threshold(calibration, alpha)
    below = scores < (-math.inf if limit is None else limit)
    assert below.tolist() == (p_values(scores, calibration) <= alpha).tolist()


def test_single_precision_ties_and_a_real_difference_does_not():
    calibration = np.random.default_rng(0).uniform(-700, -300, 50)
    rounded = calibration.astype(np.float32).astype(np.float64)
    assert (rounded != calibration).any()
    assert with_ties(rounded, calibration).tolist() == calibration.tolist()
    apart = calibration * (1 - 1e-4)
    assert with_ties(apart, calibration[:1])[0] == apart[0]


def test_rounding_is_measured_by_the_size_of_the_scores():
    for size in (1e-6, 1.0, 1e6):
        calibration = size * np.array([0.1, 0.2, 0.3, 0.0])
        near, far = size * (0.2 + 5e-7), size * (0.2 + 1e-5)
        assert with_ties([near, far], calibration).tolist() == [calibration[1], far]
        # Next to zero a share of the score would be nothing.
        assert with_ties([size * 1e-7], calibration).tolist() == [0.0]


def test_what_has_no_neighbour_stays():
    assert with_ties([0.3, 0.1], []).tolist() == [0.3, 0.1]
    kept = with_ties([math.nan, math.inf, -math.inf], [0.1, 0.2])
    assert np.isnan(kept[0]) and kept[1:].tolist() == [math.inf, -math.inf]
    assert with_ties([], [0.1]).shape == (0,)
