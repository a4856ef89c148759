"""Scores that compare with a gallery: against scipy, scikit-learn and plain NumPy, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator
from sklearn.covariance import LedoitWolf, ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from deltaoe.errors import ConfigError, DataError
from deltaoe.functional.gallery import Gallery, neighbours_for
from deltaoe.functional.scores import GDA_WEIGHT, SCORES, Evidence

CLASSES, DIM = 5, 12
NAMES = [name for name, score in SCORES.items() if "gallery" in score.needs]
every_score = pytest.mark.parametrize("name", NAMES)


def unit_rows(n, seed, dtype=np.float32):
    rows = np.random.default_rng(seed).normal(size=(n, DIM)) + 0.3
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(dtype)


IMAGES = unit_rows(40, 1).astype(np.float64)
TEXT = unit_rows(CLASSES, 2).astype(np.float64)


def score(name, shots, classes, images=IMAGES, text=TEXT, neighbours=None):
    h, z = torch.from_numpy(images), torch.from_numpy(text)
    gallery = Gallery(shots, classes, neighbours)
    return SCORES[name](Evidence(h, z, z[:0], z, z[:0], gallery), 1.0).numpy()


def shots_of(count, seed=5):
    """(count, D) images, and their classes in no order."""
    return unit_rows(count, seed), np.random.default_rng(seed).permutation(np.arange(count) % CLASSES)


def mean_of(shots, classes):
    """(C, D), in double precision."""
    return np.stack([shots[classes == k].astype(np.float64).mean(axis=0) for k in np.unique(classes)])


def test_there_are_six():
    assert NAMES == ["knn", "mahalanobis", "relative_mahalanobis", "gda", "tip_adapter", "fdbd"]


# Values


@pytest.mark.parametrize("neighbours", [None, 1, 4])
def test_knn_is_the_distance_to_the_kth(neighbours):
    shots, classes = shots_of(30)
    plain = np.sort(cdist(IMAGES, shots), axis=1)[:, (neighbours or 1) - 1]
    np.testing.assert_allclose(score("knn", shots, classes, neighbours=neighbours), -plain, rtol=1e-4)


def test_knn_of_few_images_takes_the_last():
    shots, classes = shots_of(3)
    plain = cdist(IMAGES, shots).max(axis=1)
    np.testing.assert_allclose(score("knn", shots, classes, neighbours=10), -plain, rtol=1e-4)


def test_k_follows_the_gallery():
    for classes in (1, 2, 10, 52, 100, 1000, 21_000):
        assert {neighbours_for(shots * classes, classes) for shots in (1, 2, 4, 8, 16, 39)} == {1}
    assert neighbours_for(50_000, 10) == 50  # as Sun et al. choose for CIFAR-10
    assert neighbours_for(50_000, 100) == 25
    for classes in (1, 10, 1000):
        found = [neighbours_for(images, classes) for images in range(classes, 100 * classes, classes)]
        assert found == sorted(found)


@pytest.mark.parametrize("count", [8, 20, 300])  # fewer than dimensions, and more
def test_mahalanobis_is_the_distance_to_the_nearest_mean(count):
    shots, classes = shots_of(count)
    means = mean_of(shots, classes)
    covariance, _ = ledoit_wolf(shots - means[classes], assume_centered=True)
    plain = cdist(IMAGES, means, "mahalanobis", VI=np.linalg.inv(covariance)).min(axis=1) ** 2
    np.testing.assert_allclose(score("mahalanobis", shots, classes), -plain, rtol=1e-6)


@pytest.mark.parametrize("count", [8, 20, 300])
def test_relative_mahalanobis_subtracts_the_distance_to_everything(count):
    shots, classes = shots_of(count)
    means = mean_of(shots, classes)
    within = LedoitWolf(assume_centered=True).fit(shots.astype(np.float64) - means[classes])
    everything = LedoitWolf().fit(shots.astype(np.float64))
    near = cdist(IMAGES, means, "mahalanobis", VI=within.precision_) ** 2
    plain = [
        min(row) - all_of_it for row, all_of_it in zip(near, everything.mahalanobis(IMAGES), strict=True)
    ]
    ours = score("relative_mahalanobis", shots, classes)
    np.testing.assert_allclose(ours, -np.array(plain), rtol=1e-6, atol=1e-6)


class Fixed(BaseEstimator):
    """A covariance estimator that knows its answer."""

    def __init__(self, covariance=None):
        self.covariance = covariance

    def fit(self, rows):
        self.covariance_ = self.covariance
        return self


@pytest.mark.parametrize("count", [8, 20, 300])
def test_gda_is_scikit_learns_discriminant_analysis_beside_clip(count):
    shots, classes = shots_of(count)
    shots = shots.astype(np.float64)
    s = np.cov((shots - mean_of(shots, classes)[classes]).T)
    covariance = ((count - 1) * s + np.trace(s) * np.eye(DIM)) / DIM
    peer = LinearDiscriminantAnalysis(
        solver="lsqr", priors=[1 / CLASSES] * CLASSES, covariance_estimator=Fixed(covariance)
    ).fit(shots, classes)
    discriminants = peer.decision_function(IMAGES) - np.log(1 / CLASSES)
    found = Gallery(shots, classes).discriminants(torch.from_numpy(IMAGES), CLASSES).numpy()
    np.testing.assert_allclose(found, discriminants, rtol=1e-5, atol=1e-5)
    fused = [100 * IMAGES @ z + GDA_WEIGHT * d for z, d in zip(TEXT, discriminants.T, strict=True)]
    np.testing.assert_allclose(score("gda", shots, classes), np.max(fused, axis=0), rtol=1e-6)


def test_gda_of_one_image_per_class_is_clips_largest_logit():
    shots, classes = shots_of(CLASSES)
    np.testing.assert_allclose(score("gda", shots, classes), 100 * (IMAGES @ TEXT.T).max(axis=1))


def test_tip_adapter_adds_the_cache_to_clip():
    shots, classes = shots_of(23)
    labels = np.eye(CLASSES)[classes]
    affinity = np.exp(-5.5 * (1 - IMAGES @ shots.astype(np.float64).T))
    fused = 1.0 * affinity @ labels + 100 * IMAGES @ TEXT.T
    np.testing.assert_allclose(score("tip_adapter", shots, classes), fused.max(axis=1), rtol=1e-9)


def test_fdbd_is_the_distance_to_projections_on_the_boundaries():
    shots, classes = shots_of(23)
    expected = []
    for h in IMAGES:
        predicted = max(range(CLASSES), key=lambda j: TEXT[j] @ h)
        moved = []
        for j in set(range(CLASSES)) - {predicted}:
            normal = (TEXT[predicted] - TEXT[j]) / np.linalg.norm(TEXT[predicted] - TEXT[j])
            moved.append(np.linalg.norm(h - (h - (normal @ h) * normal)))
        expected.append(np.mean(moved) / np.linalg.norm(h - shots.astype(np.float64).mean(axis=0)))
    np.testing.assert_allclose(score("fdbd", shots, classes), expected, rtol=1e-6)


def test_fdbd_of_equal_prompts_and_of_one_class():
    shots, classes = shots_of(23)
    twice = np.concatenate([TEXT, TEXT])
    ratio = score("fdbd", shots, classes, text=twice) / score("fdbd", shots, classes)
    np.testing.assert_allclose(ratio, 2 * (CLASSES - 1) / (2 * CLASSES - 1), rtol=1e-6)
    assert not score("fdbd", shots, np.zeros(23, dtype=int), text=TEXT[:1]).any()


# Properties


@every_score
def test_the_order_of_images_and_classes_does_not_count(name):
    shots, classes = shots_of(23)
    expected = score(name, shots, classes)
    order = np.random.default_rng(8).permutation(23)
    np.testing.assert_allclose(score(name, shots[order], classes[order]), expected, rtol=1e-5)
    renumbered = np.random.default_rng(9).permutation(CLASSES)
    text = np.empty_like(TEXT)
    text[renumbered] = TEXT
    np.testing.assert_allclose(score(name, shots, renumbered[classes], text=text), expected, rtol=1e-5)


@every_score
@pytest.mark.parametrize(
    "classes", [[0], [0, 0], [3, 3], [0, 1, 2, 3, 4], [4, 1], [0, 1, 1], [0, 1, 2, 2, 2, 2, 2]], ids=str
)
def test_few_images_and_classes_without_any(name, classes):
    found = score(name, unit_rows(len(classes), 6), classes)
    assert np.isfinite(found).all()
    if name == "relative_mahalanobis" and len(set(classes)) == 1:
        assert not found.any()  # the class is everything
    else:
        assert len(np.unique(found)) > 1


@every_score
def test_an_image_of_the_gallery_scores_high(name):
    shots, classes = shots_of(CLASSES)
    found = score(name, shots, classes, images=np.concatenate([shots, -shots]).astype(np.float64))
    assert np.isfinite(found).all()
    if name != "fdbd":  # which asks the text alone for the class
        assert found[:CLASSES].mean() > found[CLASSES:].mean()


@every_score
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_features_of_less_precision(name, dtype):
    shots, classes = shots_of(23)
    images, text = IMAGES.astype(dtype), TEXT.astype(dtype)
    found = score(name, shots, classes, images, text)
    double = score(name, shots, classes, images.astype(np.float64), text.astype(np.float64))
    np.testing.assert_allclose(found, double, rtol=1e-4 if dtype == np.float32 else 1e-2)


@every_score
def test_blocks_of_images_score_alike(name):
    shots, classes = shots_of(23)
    parts = [score(name, shots, classes, images=part) for part in (IMAGES[:7], IMAGES[7:])]
    np.testing.assert_allclose(np.concatenate(parts), score(name, shots, classes), rtol=1e-5)


def test_gda_puts_a_class_without_images_at_the_mean_of_the_others():
    shots, classes = shots_of(23)
    shots, classes = shots[classes != 2].astype(np.float64), classes[classes != 2]
    means = {k: shots[classes == k].mean(axis=0) for k in set(classes)}
    means[2] = np.mean(list(means.values()), axis=0)
    s = np.cov(np.stack([shot - means[k] for shot, k in zip(shots, classes, strict=True)]).T)
    precision = DIM * np.linalg.pinv((len(shots) - 1) * s + np.trace(s) * np.eye(DIM))
    found = Gallery(shots, classes).discriminants(torch.from_numpy(IMAGES), CLASSES).numpy()
    for k, mean in means.items():
        plain = IMAGES @ precision @ mean - mean @ precision @ mean / 2
        np.testing.assert_allclose(found[:, k], plain, rtol=1e-5, atol=1e-5)


def test_tip_adapter_leaves_a_class_without_images_to_its_text():
    shots, classes = shots_of(23)
    found = score("tip_adapter", shots[classes != 2], classes[classes != 2], images=TEXT[2:3])
    assert found == pytest.approx(100)


# Refusals


@every_score
def test_they_need_images(name):
    h, z = torch.from_numpy(IMAGES), torch.from_numpy(TEXT)
    with pytest.raises(ConfigError, match="in-distribution images"):
        SCORES[name](Evidence(h, z, z[:0], z, z[:0]), 1.0)


@pytest.mark.parametrize(("shots", "classes"), [(np.zeros((0, DIM)), []), (unit_rows(3, 5), [0, 1])])
def test_a_gallery_needs_images_and_their_classes(shots, classes):
    with pytest.raises(DataError, match="no in-distribution images"):
        Gallery(shots, classes)


@pytest.mark.parametrize("name", ["gda", "tip_adapter"])
@pytest.mark.parametrize("classes", [[0, CLASSES], [-1, 0], ["cat", "dog"]], ids=str)
def test_text_and_images_must_have_the_same_classes(name, classes):
    with pytest.raises(ConfigError, match="gallery's classes") as caught:
        score(name, unit_rows(2, 5), classes)
    assert str(CLASSES - 1) in caught.value.hint


@pytest.mark.parametrize("name", ["knn", "mahalanobis", "relative_mahalanobis", "fdbd"])
def test_images_alone_may_have_named_classes(name):
    shots, classes = shots_of(23)
    named = np.array(["ant", "bee", "cat", "dog", "eel"])[classes]
    np.testing.assert_array_equal(score(name, shots, named), score(name, shots, classes))
