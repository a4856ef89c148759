"""Gaussian classes: one mean per class and one shrunk covariance for all, in the space of image features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deltaoe.errors import DataError

Floats = npt.NDArray[np.float64]

# Smallest variance of a direction, as a share of the mean variance.
_SMALLEST_VARIANCE = 1e-6


@dataclass(frozen=True)
class ClassGaussians:
    """A Gaussian for each of C classes, with the same covariance Σ (Lee et al., NeurIPS 2018) **[source]**.

    Attributes:
        classes: (C,) int64, ascending: the class of each mean.
        means: (C, D) float32.
        root: (D, D) float32, W with W Wᵀ = Σ⁻¹: Euclidean distances after multiplication by W are Mahalanobis
            distances.
    """

    classes: npt.NDArray[np.int64]
    means: npt.NDArray[np.float32]
    root: npt.NDArray[np.float32]

    @classmethod
    def fit(cls, features: npt.ArrayLike, classes: npt.ArrayLike) -> ClassGaussians:
        """Estimate means, and Σ from the deviations of the images from the means of their classes.

        Σ is Ledoit and Wolf's shrunk estimate (2004), which has an inverse with few images, times n/(n − C): n images
        deviate from C means that were estimated from them **[derived]**. Classes of one image deviate by nothing and
        do not count. If there are no others, Σ is the covariance of all images, which is never smaller **[reading]**.

        Args:
            features: (n, D) image features.
            classes: (n,) class of each, integers.

        Raises:
            DataError: there are no images, or not as many classes as images.

        Example:
            >>> rows = np.array([[1.0, 0.0], [1.0, 0.2], [0.0, 1.0], [0.2, 1.0]])
            >>> fitted = ClassGaussians.fit(rows, [0, 0, 3, 3])
            >>> fitted.classes.tolist(), fitted.means.astype(float).round(3).tolist()
            ([0, 3], [[1.0, 0.1], [0.1, 1.0]])
        """
        rows, labels = np.asarray(features, dtype=np.float64), np.asarray(classes)
        if not len(rows) or labels.shape != (len(rows),):
            raise DataError("there are no in-distribution images to compare with")
        found, class_of = np.unique(labels, return_inverse=True)
        means = class_means(rows, class_of, len(found))
        sizes = np.bincount(class_of)
        several = sizes[class_of] > 1
        deviations, count = (rows - means[class_of])[several], int((sizes > 1).sum())
        if not deviations.any():
            deviations, count = rows - rows.mean(axis=0), 1
        freedom = np.sqrt(max(len(deviations) - count, 1) / len(deviations))
        root = inverse_root(deviations) * freedom
        return cls(found.astype(np.int64), means.astype(np.float32), root.astype(np.float32))


def class_means(features: npt.ArrayLike, class_of: npt.NDArray[np.int64], count: int) -> Floats:
    """Mean (``count``, D) of the rows of each class.

    Args:
        features: (n, D).
        class_of: (n,) integers from 0 to ``count`` − 1; every class has a row.
        count: number of classes.
    """
    rows = np.asarray(features)
    # Sorted by class, every class is one piece: no loop over classes.
    order = np.argsort(class_of, kind="stable")
    sizes = np.bincount(class_of, minlength=count)
    starts = np.cumsum(sizes) - sizes
    return np.asarray(np.add.reduceat(rows[order].astype(np.float64), starts, axis=0) / sizes[:, None])


def inverse_root(deviations: Floats) -> Floats:
    """W (D, D) with W Wᵀ the inverse of Ledoit and Wolf's covariance of (n, D) deviations; I if all are 0."""
    from sklearn.covariance import LedoitWolf  # takes long to load, and few runs need it

    if not deviations.any():
        return np.eye(deviations.shape[1])
    # Few images in many dimensions have a singular covariance: Ledoit and Wolf's shrinkage has an inverse.
    covariance = LedoitWolf(assume_centered=True, store_precision=False).fit(deviations).covariance_
    variances, directions = np.linalg.eigh(covariance)
    # Two images deviate along one line, and nothing is shrunk: the other directions need some variance, too.
    return np.asarray(directions / np.sqrt(np.maximum(variances, _SMALLEST_VARIANCE * variances.mean())))


def squared_distances(rows: Floats, centres: Floats, root: Floats) -> Floats:
    """Squared distances of (N, D) rows and (C, D) centres after multiplication by ``root``, (N, C)."""
    images, means = rows @ root, centres @ root
    # |a − b|² = |a|² + |b|² − 2ab: N×C numbers instead of N×C×D.
    return np.asarray((images**2).sum(axis=1)[:, None] + (means**2).sum(axis=1) - 2 * images @ means.T)


def placed_labels(
    text: npt.ArrayLike, fitted: ClassGaussians, labels: npt.ArrayLike
) -> npt.NDArray[np.float32]:
    r"""Where images of labels without images should lie, from their text features **[derived]**.

    Text and image features of CLIP lie apart (Liang et al., NeurIPS 2022). A label with text feature z is placed at
    μ̄ + a (z − z̄): μ̄ is the mean of the class means, z̄ that of the text features of these classes, and a the least
    squares fit of μ_j − μ̄ by a (z_j − z̄). Of a single class there is no a; it is then 0.

    Args:
        text: (K, D) text features of all classes, of which ``fitted`` has C.
        fitted: the classes with images.
        labels: (M, D) text features of the labels to place.

    Returns:
        (M, D) float32.

    Example:
        >>> rows = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]])
        >>> fitted = ClassGaussians.fit(rows, [0, 1])
        >>> placed_labels(np.eye(3)[:2], fitted, np.eye(3)[:1] * 2).tolist()
        [[2.0, 0.0, 0.5]]
    """
    known = np.asarray(text, dtype=np.float64)[fitted.classes]
    means = fitted.means.astype(np.float64)
    middle, text_middle = means.mean(axis=0), known.mean(axis=0)
    spread = known - text_middle
    length = float((spread**2).sum())
    slope = float((spread * (means - middle)).sum()) / length if length > 0 else 0.0
    return np.asarray(middle + slope * (np.asarray(labels, dtype=np.float64) - text_middle), dtype=np.float32)
