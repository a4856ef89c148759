"""In-distribution images that others are compared with: nearest neighbours and class-wise Gaussians."""

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
    """Features and classes of in-distribution images that are not scored themselves.

    Args:
        features: (n, D) unit rows.
        classes: (n,) class of each.
        neighbours: k of KNN. Sun et al. choose 50 to 1,000 for whole training sets; among a few shots a class, the
            tenth neighbour is as far as it is meant to be. At most n.

    Raises:
        DataError: there are none, or not as many classes as features.
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
        """Class means (C, D) and a matrix W with W Wᵀ the inverse of the shared covariance."""
        from sklearn.covariance import LedoitWolf

        names, home = np.unique(self._classes, return_inverse=True)
        means = np.stack(
            [self._features[home == i].mean(axis=0, dtype=np.float64) for i in range(len(names))]
        )
        rest = self._features.astype(np.float64) - means[home]
        # Few shots in many dimensions have a singular covariance: Ledoit and Wolf's shrinkage has an inverse.
        precision = LedoitWolf(assume_centered=True).fit(rest).precision_
        return means, np.linalg.cholesky(precision)

    def negative_knn_distance(self, features: Tensor) -> Tensor:
        """Minus the Euclidean distance of (N, D) unit rows to their k-th nearest image: (N,) float64."""
        distances, _ = self._index.kneighbors(features.cpu().numpy().astype(np.float32))
        return torch.from_numpy(-distances[:, -1].astype(np.float64))

    def negative_mahalanobis(self, features: Tensor) -> Tensor:
        """Minus the squared Mahalanobis distance of (N, D) rows to their nearest class mean: (N,) float64."""
        means, root = self._gaussians
        images, centres = features.cpu().numpy().astype(np.float64) @ root, means @ root
        # |a − b|² = |a|² + |b|² − 2ab: N×C numbers instead of N×C×D.
        squares = (images**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1) - 2 * images @ centres.T
        return torch.from_numpy(-squares.min(axis=1))
