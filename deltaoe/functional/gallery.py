"""The gallery: in-distribution images that others are compared with, by nearest neighbours or class-wise Gaussians."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deltaoe.errors import DataError

if TYPE_CHECKING:
    from sklearn.neighbors import NearestNeighbors

NEIGHBOURS = 10


class Gallery:
    """Features and classes of n in-distribution images that are not scored themselves.

    Args:
        features: (n, D) unit rows.
        classes: (n,), each image's class, integers or names.
        neighbours: k of KNN, at most n. Sun et al. choose 50 to 1,000 for whole training sets; for a gallery of a few
            images per class 10 is our choice.

    Raises:
        DataError: there are no images, or not as many classes as features.

    Example:
        >>> gallery = Gallery([[1.0, 0.0], [0.0, 1.0]], [0, 1], neighbours=1)
        >>> gallery.negative_knn_distance(torch.tensor([[0.6, 0.8]])).round(decimals=3).tolist()
        [-0.632]
    """

    def __init__(self, features: npt.ArrayLike, classes: npt.ArrayLike, neighbours: int = NEIGHBOURS) -> None:
        self._features = np.asarray(features, dtype=np.float32)
        self._classes = np.asarray(classes)
        if not len(self._features) or len(self._features) != len(self._classes):
            raise DataError("there are no in-distribution images to compare with")
        self._neighbours = min(neighbours, len(self._features))

    @cached_property
    def _index(self) -> NearestNeighbors:
        from sklearn.neighbors import NearestNeighbors  # takes long to load, and few runs need it

        return NearestNeighbors(n_neighbors=self._neighbours, algorithm="brute").fit(self._features)

    @cached_property
    def _gaussians(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Class means (C, D) and a matrix W (D, D) with W Wᵀ the inverse of the covariance that all classes share."""
        from sklearn.covariance import LedoitWolf

        names, class_of = np.unique(self._classes, return_inverse=True)
        means = np.stack(
            [self._features[class_of == i].mean(axis=0, dtype=np.float64) for i in range(len(names))]
        )
        deviations = self._features.astype(np.float64) - means[class_of]
        # Few images in many dimensions have a singular covariance: Ledoit and Wolf's shrinkage has an inverse.
        precision = LedoitWolf(assume_centered=True).fit(deviations).precision_
        return means, np.linalg.cholesky(precision)

    def negative_knn_distance(self, features: Tensor) -> Tensor:
        """Minus the Euclidean distance of each of (N, D) unit rows to its k-th nearest image, (N,) float64."""
        distances, _ = self._index.kneighbors(features.cpu().numpy().astype(np.float32))
        return torch.from_numpy(-distances[:, -1].astype(np.float64))

    def negative_mahalanobis(self, features: Tensor) -> Tensor:
        """Minus the squared Mahalanobis distance of each of (N, D) rows to the nearest class mean, (N,) float64."""
        means, root = self._gaussians
        images, centres = features.cpu().numpy().astype(np.float64) @ root, means @ root
        # |a − b|² = |a|² + |b|² − 2ab: N×C numbers instead of N×C×D.
        squares = (images**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1) - 2 * images @ centres.T
        return torch.from_numpy(-squares.min(axis=1))
