"""Groups of images by their features, in memory that does not grow with the square of their number.

The images are taken in the order of their contents' digests, which is random with regard to what they show and the same
however they are named. A number of images that fits into memory is grouped by average linkage; every other image joins
the nearest of these groups if its average distance to it allows that, and what is left is grouped again, together with
the next images (:mod:`deltaoe.functional.average_linkage`).

The features are compared after the mean μ of the known classes was subtracted and the covariance Σ that they share was
divided out, (h − μ) W with W Wᵀ = Σ⁻¹: what varies among images of one class says little about whether two unknown
images show the same. docs/how-to/discover.md has the measurements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deltaoe.functional.average_linkage import NO_GROUP, average_linkage, directions, nearest_group
from deltaoe.functional.gaussians import class_means
from deltaoe.functional.unit_rows import Rows
from deltaoe.scoring.detector_fields import DetectorFields

Indices = npt.NDArray[np.int64]
_AT_ONCE = 4096  # images that are grouped at a time
_BLOCK = 4096  # images that are read at a time


@dataclass(frozen=True)
class GroupingSpace:
    """Where features are compared: (h − centre) W, scaled to unit length.

    Attributes:
        centre: (D,).
        root: (D, D), W; empty for the identity.
    """

    centre: Rows
    root: Rows

    @classmethod
    def of_classes(cls, detector: DetectorFields) -> GroupingSpace | None:
        """The space of the known classes of a detector; None if it has no image evidence."""
        if not len(detector.means):
            return None
        return cls(detector.means.mean(axis=0, dtype=np.float64).astype(np.float32), detector.root)

    @classmethod
    def around(cls, centre: Rows) -> GroupingSpace:
        """The space of features around a centre (D,), of which no covariance is known."""
        return cls(centre, np.zeros((0, len(centre)), dtype=np.float32))

    def __call__(self, features: Rows) -> Rows:
        """Unit rows (n, D) of features (n, D)."""
        return directions(features, self.centre, self.root)


@dataclass(frozen=True)
class Grouping:
    """G groups of N images, the largest first.

    Attributes:
        group_of: (N,) index of each image's group; :data:`~deltaoe.functional.average_linkage.NO_GROUP` for none.
        closeness: (N,) average cosine of each image with the images that its group was found with, in the grouping
            space; NaN for images in no group.
        means: (G, D) float32, mean feature of each group, scaled to unit length.
    """

    group_of: Indices
    closeness: npt.NDArray[np.float32]
    means: Rows


def group(
    count: int,
    read: Callable[[Indices], Rows],
    space: GroupingSpace,
    limit: float,
    smallest: int,
    on_block: Callable[[int], None] = lambda done: None,
    at_once: int = _AT_ONCE,
) -> Grouping:
    """Group images.

    Args:
        count: N, in an order that has nothing to do with what they show.
        read: gives the features (b, D), unit rows, of images by index (b,).
        space: where they are compared.
        limit: the largest average distance 1 − cos of groups that are joined.
        smallest: the fewest images of a group.
        on_block: called with the number of images read so far; all are read twice.
        at_once: number of images that are grouped at a time.
    """
    stream = _Stream(space, limit, smallest, max(at_once, 2))
    for start in range(0, count, _BLOCK):
        part = np.arange(start, min(start + _BLOCK, count))
        stream.add(part, space(read(part)))
        on_block(int(part[-1]) + 1)
    stream.finish()
    return _described(count, read, space, stream.means, limit, stream.group_of(count), smallest, on_block)


class _Stream:
    """Groups found so far, and the images that are in none of them and may still form one."""

    def __init__(self, space: GroupingSpace, limit: float, smallest: int, at_once: int) -> None:
        self._limit, self._smallest, self._at_once = limit, smallest, at_once
        dim = len(space.centre)
        self.means = np.zeros((0, dim), dtype=np.float32)
        self._members: list[tuple[Indices, Indices]] = []  # images and their groups
        self._waiting = np.zeros(0, dtype=np.int64)
        self._rows = np.zeros((0, dim), dtype=np.float32)
        self._fresh = 0  # waiting images that have not been grouped yet

    def add(self, images: Indices, rows: Rows) -> None:
        """Add images, unit rows of the grouping space."""
        while len(images):
            found, _ = nearest_group(rows, self.means, self._limit)
            self._members.append((images[found >= 0], found[found >= 0]))
            images, rows = images[found < 0], rows[found < 0]
            fit = self._at_once - len(self._waiting)
            self._waiting = np.concatenate([self._waiting, images[:fit]])
            self._rows = np.concatenate([self._rows, rows[:fit]])
            self._fresh += min(fit, len(images))
            images, rows = images[fit:], rows[fit:]
            if len(self._waiting) == self._at_once:
                self.finish()
                kept = self._at_once // 2  # the others have waited longest
                self._waiting, self._rows = self._waiting[-kept:], self._rows[-kept:]

    def finish(self) -> None:
        """Group the images that wait."""
        if not self._fresh:
            return
        self._fresh = 0
        found = average_linkage(self._rows, self._limit, self._smallest)
        grouped = found >= 0
        self._members.append((self._waiting[grouped], found[grouped] + len(self.means)))
        if grouped.any():
            new = class_means(self._rows[grouped], found[grouped], int(found.max()) + 1)
            self.means = np.concatenate([self.means, new.astype(np.float32)])
        self._waiting, self._rows = self._waiting[~grouped], self._rows[~grouped]

    def group_of(self, count: int) -> Indices:
        """(N,) group of each image."""
        group_of = np.full(count, NO_GROUP, dtype=np.int64)
        for images, groups in self._members:
            group_of[images] = groups
        return group_of


def _described(
    count: int,
    read: Callable[[Indices], Rows],
    space: GroupingSpace,
    means: Rows,
    limit: float,
    group_of: Indices,
    smallest: int,
    on_block: Callable[[int], None],
) -> Grouping:
    """The groups in their order, with the images that came before their group was found."""
    closeness = np.full(count, np.nan, dtype=np.float32)
    sums = np.zeros((len(means), len(space.centre)), dtype=np.float64)
    for start in range(0, count, _BLOCK):
        part = np.arange(start, min(start + _BLOCK, count))
        features = read(part)
        rows = space(features)
        alone = group_of[part] == NO_GROUP
        group_of[part[alone]], _ = nearest_group(rows[alone], means, limit)
        inside = np.flatnonzero(group_of[part] != NO_GROUP)
        numbers = group_of[part[inside]]
        closeness[part[inside]] = np.einsum("ij,ij->i", rows[inside], means[numbers])
        np.add.at(sums, numbers, features[inside])
        on_block(int(part[-1]) + 1)
    sizes = np.bincount(group_of[group_of >= 0], minlength=len(means))
    order = np.lexsort((np.arange(len(means)), -sizes))
    place = np.empty(len(means) + 1, dtype=np.int64)
    place[order], place[-1] = np.arange(len(means)), NO_GROUP
    sums = sums[order]
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    unit = np.asarray(sums / np.maximum(length, np.finfo(np.float64).tiny), dtype=np.float32)
    return Grouping(place[group_of], closeness, unit)
