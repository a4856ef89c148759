"""Differences between two detectors on the same images, beside scikit-learn, the jackknife and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deltaoe.functional.paired import accuracy_difference, interval_of_influences, placements


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    labels = np.repeat([1, 0], [len(inside), len(outside)])
    return float(roc_auc_score(labels, np.concatenate([inside, outside])))


@pytest.mark.parametrize("levels", [4, 1000])  # with ties and almost without
def test_the_mean_of_placements_is_the_auroc(levels):
    rng = np.random.default_rng(0)
    inside, outside = rng.integers(0, levels, 40), rng.integers(-levels // 4, levels, 30)
    found = placements(inside, outside)
    for one in found:
        assert one.mean() == pytest.approx(auroc(inside, outside))
    # The placement of an image is the AUROC with it alone on its side.
    assert found[0][3] == pytest.approx(auroc(inside[3:4], outside))
    assert found[1][5] == pytest.approx(auroc(inside, outside[5:6]))


def test_the_interval_of_an_auroc_difference_is_that_of_resampled_images():
    rng = np.random.default_rng(1)
    truth = rng.normal(1, 1, 150), rng.normal(0, 1, 120)
    one, other = ([side + rng.normal(0, noise, len(side)) for side in truth] for noise in (0.3, 0.6))
    influences = []
    for mine, theirs in zip(placements(*one), placements(*other), strict=True):
        difference = mine - theirs
        influences.append((difference - difference.mean()) / len(difference))
    value = auroc(*one) - auroc(*other)
    found = interval_of_influences(value, np.concatenate(influences))
    draws = []
    for _ in range(1000):
        i, j = rng.integers(150, size=150), rng.integers(120, size=120)
        draws.append(auroc(one[0][i], one[1][j]) - auroc(other[0][i], other[1][j]))
    assert (found.low + found.high) / 2 == pytest.approx(value)
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.std(draws), rel=0.1)


def test_an_accuracy_difference_holds_the_truth_as_often_as_promised():
    rng, held, repetitions = np.random.default_rng(2), 0, 2000
    for _ in range(repetitions):
        shared, mine, theirs = rng.random((3, 80))
        right, other = (shared < 0.8) & (mine < 0.95), (shared < 0.8) & (theirs < 0.9)
        found = accuracy_difference(right, other)
        assert found.value == pytest.approx(right.mean() - other.mean())
        held += found.low <= 0.8 * 0.05 <= found.high
    assert 0.93 < held / repetitions < 0.99


def test_few_disagreements_are_no_difference():
    right = np.ones(100, dtype=bool)
    other = right.copy()
    assert accuracy_difference(right, other).value == 0
    other[:3] = False
    found = accuracy_difference(right, other)
    assert found.value == pytest.approx(0.03) and found.low < 0  # the sign test: p = 0.25
    other[:12] = False
    assert accuracy_difference(right, other).low > 0
    assert accuracy_difference(other, right).high < 0
