"""Class Gaussians against scikit-learn and SciPy, and where labels without images are placed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf

from deltaoe.errors import DataError
from deltaoe.functional.gaussians import ClassGaussians, class_means, placed_labels, squared_distances


def clusters(sizes: list[int], dim: int, seed: int, spread: float = 1.0, offset: float = 0.0):
    """Images (n, D) of classes of these sizes, in a random order, and their classes."""
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = offset + spread * rng.normal(size=(len(sizes), dim))
    return centres[classes] + spread * rng.normal(size=(len(classes), dim)) * np.linspace(
        0.2, 2, dim
    ), classes


def residuals(rows: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return np.concatenate(
        [rows[classes == c] - rows[classes == c].mean(axis=0) for c in sorted(set(classes.tolist()))]
    )


@pytest.mark.parametrize("sizes", [[5, 9, 2], [40, 40, 40, 40], [1, 7], [6]])
def test_means_and_covariance(sizes):
    rows, classes = clusters(sizes, 6, seed=1)
    fitted = ClassGaussians.fit(rows, classes * 3 + 2)  # classes with gaps
    assert fitted.classes.tolist() == [3 * c + 2 for c in range(len(sizes))]
    wanted = np.stack([rows[classes == c].mean(axis=0) for c in range(len(sizes))])
    assert fitted.means == pytest.approx(wanted, abs=1e-6)
    precision = np.linalg.inv(LedoitWolf(assume_centered=True).fit(residuals(rows, classes)).covariance_)
    root = fitted.root.astype(np.float64)
    assert root @ root.T == pytest.approx(precision, rel=1e-4, abs=1e-5)
    assert (fitted.classes.dtype, fitted.means.dtype, fitted.root.dtype) == (np.int64, np.float32, np.float32)


def test_distances_are_mahalanobis_distances():
    rows, classes = clusters([8, 8, 8], 5, seed=2)
    fitted, new = ClassGaussians.fit(rows, classes), np.random.default_rng(3).normal(size=(7, 5))
    precision = np.linalg.inv(LedoitWolf(assume_centered=True).fit(residuals(rows, classes)).covariance_)
    wanted = [
        [mahalanobis(one, rows[classes == c].mean(axis=0), precision) ** 2 for c in range(3)] for one in new
    ]
    found = squared_distances(new, fitted.means.astype(np.float64), fitted.root.astype(np.float64))
    assert found == pytest.approx(np.array(wanted), rel=1e-4)


def test_one_image_per_class_has_the_covariance_of_all_images():
    rows, _ = clusters([1] * 12, 4, seed=4)
    fitted = ClassGaussians.fit(rows, np.arange(12))
    precision = np.linalg.inv(LedoitWolf().fit(rows).covariance_)
    root = fitted.root.astype(np.float64)
    assert root @ root.T == pytest.approx(precision, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("rows", [np.ones((1, 3)), np.ones((4, 3)), np.tile([1.0, 0.0, 0.1], (9, 1))])
def test_images_that_do_not_differ_have_distances_all_the_same(rows):
    fitted = ClassGaussians.fit(rows.astype(np.float32), np.zeros(len(rows), dtype=int))
    assert np.array_equal(fitted.root, np.eye(3))
    assert fitted.means[0] == pytest.approx(rows[0])


@pytest.mark.parametrize(("count", "dim"), [(2, 8), (3, 50), (20, 300)])
def test_few_images_in_many_dimensions_have_an_inverse(count, dim):
    rows, _ = clusters([count], dim, seed=5)
    fitted = ClassGaussians.fit(rows, np.zeros(count, dtype=int))
    lengths = np.linalg.norm(fitted.root, axis=0)
    assert np.isfinite(fitted.root).all()
    # The smallest variance is a millionth of the mean one, and no variance is above D times the mean.
    assert lengths.max() / lengths.min() <= np.sqrt(dim * 1e6) * 1.01


def test_clusters_far_from_the_origin_lose_no_digits():
    """Features of CLIP lie in a cone: far from 0 compared with how much they differ."""
    rows, classes = clusters([20, 20], 6, seed=6, spread=1e-3, offset=0.4)
    new = rows[:10] + 1e-3
    found, moved = (
        squared_distances(
            new - shift,
            class_means(rows - shift, classes, 2),
            ClassGaussians.fit(rows - shift, classes).root.astype(np.float64),
        )
        for shift in (0.0, 0.4)
    )
    assert found == pytest.approx(moved, rel=1e-5)


def test_the_order_of_images_does_not_matter_and_equal_images_count_each():
    rows, classes = clusters([6, 6, 6], 5, seed=7)
    order = np.random.default_rng(0).permutation(18)
    one, other = ClassGaussians.fit(rows, classes), ClassGaussians.fit(rows[order], classes[order])
    assert other.means == pytest.approx(one.means, abs=1e-6)
    assert other.root @ other.root.T == pytest.approx(one.root @ one.root.T, rel=1e-4, abs=1e-5)


def test_no_images_or_not_a_class_for_each():
    for rows, classes in ((np.empty((0, 3)), []), (np.ones((2, 3)), [0])):
        with pytest.raises(DataError, match="no in-distribution images"):
            ClassGaussians.fit(rows, classes)


# Labels without images


def gaussians(classes, means) -> ClassGaussians:
    means = np.asarray(means, dtype=np.float32)
    return ClassGaussians(
        np.asarray(classes, dtype=np.int64), means, np.eye(means.shape[1], dtype=np.float32)
    )


@given(slope=st.floats(-3, 3), shift=st.floats(-2, 2), seed=st.integers(0, 1000), known=st.integers(2, 6))
def test_a_map_that_is_exact_is_found(slope, shift, seed, known):
    """Of classes whose means are m + a z, every other label is placed at m + a z."""
    rng = np.random.default_rng(seed)
    text, others = rng.normal(size=(7, 4)), rng.normal(size=(5, 4))
    middle = shift * rng.normal(size=4)
    classes = np.sort(rng.permutation(7)[:known])
    found = placed_labels(text, gaussians(classes, middle + slope * text[classes]), others)
    assert found.dtype == np.float32
    assert found == pytest.approx(middle + slope * others, abs=1e-4)


def test_where_texts_and_images_lie_does_not_matter():
    rng = np.random.default_rng(0)
    text, others, means = rng.normal(size=(5, 4)), rng.normal(size=(3, 4)), rng.normal(size=(5, 4))
    placed = placed_labels(text, gaussians(range(5), means), others)
    by_text, by_images = rng.normal(size=4), rng.normal(size=4)
    assert placed_labels(text + by_text, gaussians(range(5), means), others + by_text) == pytest.approx(
        placed, abs=1e-5
    )
    assert placed_labels(text, gaussians(range(5), means + by_images), others) == pytest.approx(
        placed + by_images, abs=1e-5
    )
    assert placed_labels(2 * text, gaussians(range(5), means), 2 * others) == pytest.approx(placed, abs=1e-5)


def test_the_fit_is_that_of_least_squares():
    rng = np.random.default_rng(1)
    text, means = rng.normal(size=(6, 4)), rng.normal(size=(6, 4))
    fitted = gaussians(range(6), means)
    spread, wanted = text - text.mean(axis=0), means - means.mean(axis=0)
    (slope,), *_ = np.linalg.lstsq(spread.reshape(-1, 1), wanted.ravel(), rcond=None)
    placed = placed_labels(text, fitted, text)
    assert placed == pytest.approx(means.mean(axis=0) + slope * spread, abs=1e-5)


def test_a_single_class_and_texts_all_alike_place_everything_at_the_mean():
    rng = np.random.default_rng(2)
    others = rng.normal(size=(3, 4))
    one = placed_labels(rng.normal(size=(5, 4)), gaussians([2], [[1.0, 2, 3, 4]]), others)
    assert one.tolist() == [[1, 2, 3, 4]] * 3
    alike = placed_labels(np.ones((2, 4)), gaussians([0, 1], [[0.0, 0, 0, 0], [2, 2, 2, 2]]), others)
    assert alike.tolist() == [[1, 1, 1, 1]] * 3
    assert placed_labels(np.eye(4), gaussians([0, 1], np.eye(4)[:2]), others[:0]).shape == (0, 4)
