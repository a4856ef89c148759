"""Metrics against counting, and against another library where it has the same quantity."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import references
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from deltaoe.errors import ConfigError, DataError
from deltaoe.functional.metrics import aupr_in, aupr_out, auroc, fpr_at_tpr

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
