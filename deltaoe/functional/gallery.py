"""The gallery: in-distribution images that others are compared with, by nearest neighbours or class-wise Gaussians."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deltaoe.errors import ConfigError, DataError
from deltaoe.functional.gaussians import class_means, inverse_root, squared_distances

if TYPE_CHECKING:
    from sklearn.neighbors import NearestNeighbors

Floats = npt.NDArray[np.float64]

# Sun et al. choose k = 50 and 200 of CIFAR's 50,000 training images and 1,000 of ImageNet's 1.28 million.
_IMAGES_PER_NEIGHBOUR = 1000
_IMAGES_OF_CLASS_PER_NEIGHBOUR = 20


def neighbours_for(images: int, classes: int) -> int:
    """k of KNN for a gallery: a thousandth of it, at most a twentieth of a class, at least 1 **[reading]**.

    Sun et al. (ICML 2022) choose k on validation data, for whole training sets: .1 %, .4 % and .08 % of the images.
    The k-th neighbour must also be one of the image's own class: on CLIP features of 5 to 52 Caltech classes with 1 to
    72 images of each, k = 1 is within .001 of the best AUROC, and k beyond a tenth of a class costs some. So k = 1
    below 40 images per class.

    Args:
        images: in the gallery.
        classes: of these images.

    Example:
        >>> [neighbours_for(images, classes) for images, classes in ((832, 52), (16_000, 1000), (50_000, 10))]
        [1, 1, 50]
    """
    of_class = images // (_IMAGES_OF_CLASS_PER_NEIGHBOUR * classes)
    return max(1, min(images // _IMAGES_PER_NEIGHBOUR, of_class))


class Gallery:
    """Features and classes of n in-distribution images that are not scored themselves.

    Means and covariances are estimated once, when first needed. The shared covariance is Ledoit and Wolf's shrinkage
    of the deviations from the class means. Where every class has one image there are no deviations: it is then the
    covariance of all images, which is never smaller.

    Args:
        features: (n, D) unit rows.
        classes: (n,), each image's class: its row in the classes' text features. Scores that use images alone also
            take other integers, or names.
        neighbours: k of KNN, at most n; None for :func:`neighbours_for`.

    Raises:
        DataError: there are no images, or not as many classes as features.

    Example:
        >>> gallery = Gallery([[1.0, 0.0], [0.0, 1.0]], [0, 1])
        >>> gallery.negative_knn_distance(torch.tensor([[0.6, 0.8]])).round(decimals=3).tolist()
        [-0.632]
    """

    def __init__(
        self, features: npt.ArrayLike, classes: npt.ArrayLike, neighbours: int | None = None
    ) -> None:
        self._features = np.asarray(features, dtype=np.float32)
        labels = np.asarray(classes)
        if not len(self._features) or len(self._features) != len(labels):
            raise DataError("there are no in-distribution images to compare with")
        self._classes, self._class_of = np.unique(labels, return_inverse=True)
        count = len(self._features)
        self._neighbours = min(neighbours or neighbours_for(count, len(self._classes)), count)

    def __len__(self) -> int:
        return len(self._features)

    @cached_property
    def _index(self) -> NearestNeighbors:
        from sklearn.neighbors import NearestNeighbors  # takes long to load, and few runs need it

        return NearestNeighbors(n_neighbors=self._neighbours, algorithm="brute").fit(self._features)

    @cached_property
    def _class_means(self) -> Floats:
        """Means of the classes that have images, (C, D)."""
        return class_means(self._features, self._class_of, len(self._classes))

    @cached_property
    def _mean(self) -> Floats:
        """Mean of all images, (D,)."""
        return np.asarray(self._features.mean(axis=0, dtype=np.float64))

    @cached_property
    def _deviations(self) -> Floats:
        """Each image minus its class mean, (n, D)."""
        return np.asarray(self._features.astype(np.float64) - self._class_means[self._class_of])

    @cached_property
    def _root(self) -> Floats:
        """W (D, D) with W Wᵀ the inverse of the covariance that all classes share."""
        return inverse_root(self._deviations) if self._deviations.any() else self._root_of_all

    @cached_property
    def _root_of_all(self) -> Floats:
        """W (D, D) with W Wᵀ the inverse of the covariance of all images."""
        return inverse_root(self._features.astype(np.float64) - self._mean)

    @cached_property
    def _discriminant(self) -> tuple[Floats, Floats]:
        """Weights (D, C + 1) and offsets (C + 1,) of the classes that have images, and of the mean of their means."""
        means = np.vstack([self._class_means, self._class_means.mean(axis=0)])
        scatter = self._deviations.T @ self._deviations
        if not scatter.any():
            return np.zeros_like(means.T), np.zeros(len(means))
        dimensions, trace = len(scatter), np.trace(scatter) / (len(self) - 1)
        weights = dimensions * np.linalg.solve(scatter + trace * np.eye(dimensions), means.T)
        return weights, -(means * weights.T).sum(axis=1) / 2

    def negative_knn_distance(self, features: Tensor) -> Tensor:
        """Minus the Euclidean distance of each of (N, D) unit rows to its k-th nearest image, (N,) float64."""
        distances, _ = self._index.kneighbors(features.cpu().numpy().astype(np.float32))
        return torch.from_numpy(-distances[:, -1].astype(np.float64))

    def negative_mahalanobis(self, features: Tensor) -> Tensor:
        """Minus the squared Mahalanobis distance of each of (N, D) rows to the nearest class mean, (N,) float64."""
        return torch.from_numpy(
            -squared_distances(_rows(features), self._class_means, self._root).min(axis=1)
        )

    def negative_relative_mahalanobis(self, features: Tensor) -> Tensor:
        """:meth:`negative_mahalanobis` plus the squared distance to the one Gaussian of all images, (N,) float64."""
        rows = _rows(features)
        nearest = squared_distances(rows, self._class_means, self._root).min(axis=1)
        return torch.from_numpy(squared_distances(rows, self._mean[None], self._root_of_all)[:, 0] - nearest)

    def distance_to_mean(self, features: Tensor) -> Tensor:
        """Euclidean distance of each of (N, D) rows to the mean of all images, (N,) float64."""
        return torch.from_numpy(np.linalg.norm(_rows(features) - self._mean, axis=1))

    def discriminants(self, features: Tensor, count: int) -> Tensor:
        r"""Logits of Gaussian discriminant analysis, h Σ⁻¹ μ_j − ½ μ_j Σ⁻¹ μ_j, (N, ``count``) float64.

        Σ⁻¹ = D ((n − 1) S + tr(S) I)⁻¹ of the covariance S of the deviations from the class means (Kubokawa &
        Srivastava 2008), and 0 where there are no deviations, as in Wang et al.'s code **[source]**. Equal priors
        would add a constant. A class without images has the mean of the other classes' means **[reading]**.

        Args:
            features: (N, D).
            count: K classes.

        Raises:
            ConfigError: the gallery's classes are not rows of K text features.
        """
        weights, offsets = self._discriminant
        source = np.full(count, len(self._classes))
        source[self._columns(count)] = np.arange(len(self._classes))
        return torch.from_numpy(_rows(features) @ weights[:, source] + offsets[source])

    def affinities(self, features: Tensor, count: int, sharpness: float) -> Tensor:
        r"""Σ over the images of each class of exp(−β (1 − cosine)), (N, ``count``), in the precision of ``features``.

        Args:
            features: (N, D) unit rows.
            count: K classes; one without images has 0.
            sharpness: β.

        Raises:
            ConfigError: the gallery's classes are not rows of K text features.
        """
        column = torch.from_numpy(self._columns(count)[self._class_of]).to(features.device)
        images = torch.from_numpy(self._features).to(features)
        likeness = torch.exp(sharpness * (features @ images.T - 1))
        return likeness.new_zeros(len(features), count).index_add_(1, column, likeness)

    def _columns(self, count: int) -> npt.NDArray[np.int64]:
        """The row of each class in ``count`` text features, (C,)."""
        numbered = np.issubdtype(self._classes.dtype, np.integer)
        if not numbered or self._classes[0] < 0 or self._classes[-1] >= count:
            raise ConfigError(
                "the gallery's classes are not those of the text features",
                hint=f"number them from 0 to {count - 1}",
            )
        return self._classes.astype(np.int64)


def _rows(features: Tensor) -> Floats:
    """A tensor's rows in double precision."""
    return features.cpu().numpy().astype(np.float64)
