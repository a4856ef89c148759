"""The choice of settings: what is measured, against references; when the default stands."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score

from deltaoe.functional.folds import Fold
from deltaoe.functional.text_features import blend
from deltaoe.tuning.selection_rule import (
    FoldResult,
    Setting,
    choose_setting,
    score_settings,
    shuffled_features,
)

DEFAULT = Setting(0.2, 1.0, 0.7, 0.1, 1)
OTHER = Setting(0.05, 1.0, 0.7, 0.1, 1)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def results(*accuracies):
    return [FoldResult(accuracy, math.nan, 0.5, math.nan, math.nan, math.nan) for accuracy in accuracies]


def test_the_default_stands_unless_another_is_surely_better():
    better = choose_setting(
        {DEFAULT: results(0.5, 0.6, 0.7), OTHER: results(0.6, 0.69, 0.81)}, DEFAULT, results(0.5, 0.5, 0.5)
    )
    assert better.chosen.setting == OTHER
    assert better.chosen.gain == pytest.approx(0.1)
    # A hundred other settings that scatter widely say how far luck goes with three folds.
    rng = np.random.default_rng(0)
    noise = {
        Setting(0.2, 1.0, round(share, 3), 1.0, 1): results(*rng.normal(0.6, 0.3, 3))
        for share in np.linspace(0, 1, 100)
    }
    doubtful = choose_setting(
        {DEFAULT: results(0.6, 0.6, 0.6), OTHER: results(0.61, 0.61, 0.61), **noise},
        DEFAULT,
        results(0.5, 0.5, 0.5),
    )
    [same] = [one for one in doubtful.tried if one.setting == OTHER]
    assert same.gain == pytest.approx(0.01)
    assert same.gain < same.error


def test_zero_shot_is_compared_and_never_chosen():
    found = choose_setting({DEFAULT: results(0.5, 0.5)}, DEFAULT, results(0.9, 0.9))
    assert found.chosen.setting == DEFAULT
    assert found.zero_shot.gain == pytest.approx(0.4)


def test_objective_is_of_what_is_there():
    assert FoldResult(0.8, 0.6, 0.9, 0.7, 1.0, 0.8).objective == pytest.approx(0.7 + 0.85)
    assert FoldResult(0.8, math.nan, 0.9, math.nan, 0.7, math.nan).objective == pytest.approx(0.8 + 0.8)
    assert FoldResult(0.8, 0.6, math.nan, math.nan, math.nan, math.nan).objective == pytest.approx(0.7)


def test_scored_as_by_hand():
    """Accuracy and AUROC in float64 with SciPy and scikit-learn; each background label stands for three."""
    rng = np.random.default_rng(3)
    features, text, other, floor = (unit(rng.normal(size=(n, 12))) for n in (40, 3, 3, 5))
    classes = rng.integers(0, 4, 40)
    known, gone = np.flatnonzero(classes != 2), np.flatnonzero(classes == 2)
    none = np.zeros(0, dtype=np.int64)
    fold = Fold(np.array([0, 1, 3]), none, known, gone, none, none, -1)
    found = score_settings(
        fold, features, classes, (text, floor), (other, floor), math.log(3), [0.4], [(0.2, 1), (1.0, 2)], 0
    )
    assert set(found) == {(0.4, 0.2, 1), (0.4, 1.0, 2)}
    mixed = 0.6 * text.astype(float) + 0.4 * other.astype(float)
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    cosines, beside = features @ mixed.T, features.astype(float) @ floor.T.astype(float)
    right = np.array([0, 1, 3])[cosines[known].argmax(axis=1)] == classes[known]
    for (_, tau, c), one in found.items():
        cropped = cosines.copy()
        np.put_along_axis(cropped, np.argsort(-cosines, axis=1)[:, :c], 0.0, axis=1)
        every = [np.concatenate([rows, *[beside] * 3], axis=1) / tau for rows in (cosines, cropped)]
        score = tau * (logsumexp(every[0], axis=1) - logsumexp(every[1], axis=1))
        wanted = roc_auc_score(classes != 2, score)
        assert one.near == pytest.approx(wanted, abs=1e-6)
        assert one.accuracy == pytest.approx(right.mean())
        assert math.isnan(one.shifted_near)
        assert 0 <= one.far <= 1


def test_shuffled_features_keep_what_components_are_and_lose_what_images_are():
    rng = np.random.default_rng(0)
    features = unit(rng.normal(size=(50, 8)) + 3 * np.eye(8)[rng.integers(0, 8, 50)])
    made = shuffled_features(features, rng, 100)
    assert made.shape == (100, 8)
    assert np.linalg.norm(made, axis=1) == pytest.approx(1, abs=1e-5)
    assert (made @ features.T).max() < 0.999
    assert (
        np.abs(unit(made.mean(axis=0, keepdims=True)) @ unit(features.mean(axis=0, keepdims=True)).T) > 0.95
    )
    assert len(shuffled_features(features[:1], rng)) == 0


@given(arrays(np.float64, (3, 5), elements=st.floats(-1, 1)), st.floats(0, 1))
def test_a_blend_is_of_unit_length_and_ends_where_it_should(values, share):
    rng = np.random.default_rng(0)
    start, end = unit(values + 2), unit(rng.normal(size=(3, 5)))
    assert np.linalg.norm(blend(start, end, share), axis=1) == pytest.approx(1, abs=1e-5)
    assert blend(start, end, 0) == pytest.approx(start, abs=1e-6)
    assert blend(start, end, 1) == pytest.approx(end, abs=1e-6)
    assert blend(start, -start, 0.5) == pytest.approx(-start, abs=1e-6)
