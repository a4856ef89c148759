"""Differences between two detectors on the same images, with 95 % intervals: what a comparison can tell."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from deltaoe.functional.bootstrap import Interval

Floats = npt.NDArray[np.float64]

_WITHIN = 1.959964  # standard normal quantile of 0.975


def accuracy_difference(right: npt.ArrayLike, other_right: npt.ArrayLike) -> Interval:
    r"""Accuracy minus another one on the same n images (Agresti & Min, Biometrics 2005) **[source]**.

    Only the images on which the two disagree count. To each of the four cells of the paired table half an image is
    added for the interval, which keeps it from having no width where they disagree on few images.

    Args:
        right: (n,) whether each image is classified right; n ≥ 1.
        other_right: (n,) by the other detector.

    Returns:
        The difference, as measured, and the ends of its interval.

    Example:
        >>> found = accuracy_difference([True] * 90 + [False] * 10, [True] * 70 + [False] * 30)
        >>> [round(end, 3) for end in found]
        [0.2, 0.117, 0.275]
    """
    one, other = np.asarray(right, dtype=np.bool_), np.asarray(other_right, dtype=np.bool_)
    n, gained, lost = len(one), int((one & ~other).sum()), int((~one & other).sum())
    middle = (gained - lost) / (n + 2)
    half = _WITHIN * math.sqrt(gained + lost + 1 - (gained - lost) ** 2 / (n + 2)) / (n + 2)
    return Interval((gained - lost) / n, middle - half, middle + half)


def placements(id_scores: npt.ArrayLike, ood_scores: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Share of the OOD scores below each ID score, and of the ID scores above each OOD score; ties count half.

    The mean of either is the AUROC. By its placements an image's influence on the AUROC is known (DeLong et al.,
    Biometrics 1988) **[source]**.

    Args:
        id_scores: (n,), higher = more in-distribution; n ≥ 1.
        ood_scores: (m,), likewise; m ≥ 1.

    Returns:
        (n,) and (m,).

    Example:
        >>> inside, outside = placements([0.9, 0.4], [0.4, 0.1])
        >>> inside.tolist(), outside.tolist()
        ([1.0, 0.75], [0.75, 1.0])
    """
    inside, outside = (np.asarray(scores, dtype=np.float64) for scores in (id_scores, ood_scores))
    return _below(inside, outside), 1 - _below(outside, inside)


def interval_of_influences(value: float, influences: npt.ArrayLike) -> Interval:
    """An estimate with the interval that the influence of each image on it gives, by the normal distribution.

    Args:
        value: the estimate.
        influences: (n,), by how much each image moves the estimate; their sum is about 0.

    Example:
        >>> [round(end, 3) for end in interval_of_influences(0.02, [0.01, -0.01, 0.0])]
        [0.02, -0.008, 0.048]
    """
    half = _WITHIN * math.sqrt(float(np.square(np.asarray(influences, dtype=np.float64)).sum()))
    return Interval(value, value - half, value + half)


def _below(scores: Floats, others: Floats) -> Floats:
    """Share of the other scores below each score, ties half."""
    ordered = np.sort(others)
    low, high = (np.searchsorted(ordered, scores, side=side) for side in ("left", "right"))
    return np.asarray((low + high) / (2 * len(ordered)), dtype=np.float64)
