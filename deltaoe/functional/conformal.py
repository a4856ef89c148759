r"""Split-conformal p-values, and thresholds with a guaranteed rate of false alarms.

With n calibration scores of held-out in-distribution images, an image with score s has
p = (1 + #{cal ≤ s})/(n + 1) and is called unknown iff p ≤ α. If images and calibration images are
exchangeable, the share of in-distribution images called unknown is ≤ α in expectation, for any n
(Vovk et al. 2005; Bates et al., Annals of Statistics 2023). :func:`benjamini_hochberg` turns this guarantee
for each image into one for the flagged images of a folder, and :func:`grouped_p_values` gives it within
each group of images instead of on average over all.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError, DataError

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Difference of two computations of one score in single precision, as a share of it, beyond which they are two scores.
ROUNDING = 4e-6
# Rounding of a number near 1, such as a cosine, in single precision.
COSINE_ROUNDING = 2.0**-24


def p_values(scores: npt.ArrayLike, calibration: npt.ArrayLike) -> Floats:
    r"""p = (1 + #{cal ≤ s})/(n + 1) of each score s **[source]**; small means unlike the calibration images.

    Args:
        scores: (N,), higher = more in-distribution.
        calibration: (n,), scores of held-out in-distribution images, in any order.

    Returns:
        (N,), each in [1/(n + 1), 1]; all ones for n = 0.

    Raises:
        DataError: a score is NaN, which would sort above all others and pass for in-distribution.

    Example:
        >>> p_values([0.05, 0.25, 0.9], calibration=[0.1, 0.2, 0.3, 0.4]).tolist()
        [0.2, 0.6, 1.0]
    """
    ordered = np.sort(_without_nan(calibration))
    below = np.searchsorted(ordered, _without_nan(scores), side="right")
    return np.asarray((1 + below) / (len(ordered) + 1), dtype=np.float64)


def with_ties(
    scores: npt.ArrayLike, calibration: npt.ArrayLike, rounding: float = ROUNDING, least: float = 0.0
) -> Floats:
    r"""Scores, those set to the nearest calibration score that differ from it by rounding alone **[derived]**.

    The same image computed anew, in another batch, by another library or on another device, differs in its last
    digits; without this, one that *is* a calibration image could lie just below itself and have another rank. No
    p-value becomes smaller, so they keep their promise: a score that is set down keeps its rank, one that is set up
    gains one.

    Args:
        scores: (N,), higher = more in-distribution; NaN stays what it is.
        calibration: (n,), scores of held-out in-distribution images, in any order.
        rounding: the largest difference that counts as rounding, as a share of the calibration score, or of the mean
            size of all of them if that is larger.
        least: a difference that counts as rounding however small the scores are, such as that of the cosines which a
            score is a small difference of.

    Returns:
        (N,).

    Example:
        >>> with_ties([0.2999999, 0.25], calibration=[0.1, 0.3]).tolist()
        [0.3, 0.25]
    """
    values, ordered = np.array(scores, dtype=np.float64), np.sort(_without_nan(calibration))
    if not len(ordered):
        return values
    above = np.searchsorted(ordered, values)
    low, high = ordered[np.maximum(above - 1, 0)], ordered[np.minimum(above, len(ordered) - 1)]
    nearest = np.where(np.abs(values - low) <= np.abs(high - values), low, high)
    size = np.maximum(np.abs(nearest), np.abs(ordered).mean())
    return np.where(np.abs(values - nearest) <= np.maximum(rounding * size, least), nearest, values)


def threshold(calibration: npt.ArrayLike, alpha: float) -> float | None:
    r"""The score t with p ≤ α ⇔ s < t: an image is called known iff its score is ≥ t **[derived]**.

    Args:
        calibration: (n,), scores of held-out in-distribution images, in any order.
        alpha: α, the accepted share of in-distribution images that are called unknown, in (0, 1).

    Returns:
        t, one of the calibration scores; None if n < 1/α − 1, when no score can reach p ≤ α.

    Raises:
        ConfigError: α is not in (0, 1).
        DataError: a score is NaN.

    Example:
        >>> threshold([0.1, 0.2, 0.3, 0.4], alpha=0.4), threshold([0.1, 0.2], alpha=0.05)
        (0.2, None)
    """
    check_alpha(alpha)
    ordered = np.sort(_without_nan(calibration))
    n = len(ordered)
    # Counted on the very numbers that p_values() returns, so that rounding can't part the two.
    reachable = int(np.searchsorted(np.arange(1, n + 2) / (n + 1), alpha, side="right"))
    return float(ordered[reachable - 1]) if reachable else None


def benjamini_hochberg(p_values: npt.ArrayLike, q: float) -> Mask:
    r"""Which images to call unknown so that the false discovery rate is ≤ q **[source]**.

    With k the largest rank at which p_(k) ≤ k·q/N, the images of the k smallest p-values are called unknown
    (Benjamini and Hochberg, JRSS B 1995). In expectation over calibration sets and folders, at most a share
    q·N_0/N of them are false alarms, where N_0 of the N images are in-distribution. It holds for :func:`p_values`
    although all of them share one calibration set (Bates et al., Annals of Statistics 2023), and for those of
    :func:`grouped_p_values` that are not pooled, whose sets are disjoint **[reading]**.

    Args:
        p_values: (N,), in [0, 1]; N may be 0.
        q: the accepted share of false alarms among the images that are called unknown, in (0, 1).

    Returns:
        (N,), True where an image is called unknown.

    Raises:
        ConfigError: q is not in (0, 1).
        DataError: a p-value is NaN or outside [0, 1], or they are not one list.

    Example:
        >>> benjamini_hochberg([0.01, 0.04, 0.5, 0.9], q=0.1).tolist()
        [True, True, False, False]
    """
    # Loaded here: it takes a second, and the verdicts of single images do without it.
    from scipy.stats import false_discovery_control

    if not 0 < q < 1:
        raise ConfigError(
            f"q must lie between 0 and 1, not {q}",
            hint="it is the share of false alarms you accept among the images called unknown; 0.1 is usual",
        )
    p = _without_nan(p_values)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise DataError(f"p-values must be one list of numbers from 0 to 1, not shape {p.shape}")
    # p = k/(n + 1) and q are meant as fractions, but 0.01·7 is 0.07 and one ulp in floating point; fractions
    # that do differ are much further apart.
    return np.asarray(false_discovery_control(p) <= q * (1 + 1e-12), dtype=np.bool_)


def grouped_p_values(
    scores: npt.ArrayLike,
    groups: npt.ArrayLike,
    calibration: npt.ArrayLike,
    calibration_groups: npt.ArrayLike,
    minimum: int,
) -> tuple[Floats, Mask]:
    r"""p-values of images among the calibration images of the same group (Vovk et al. 2005, §4.5) **[source]**.

    A group must be a function of the image alone, such as its *predicted* class. Then the images of one group
    are exchangeable, and the share of in-distribution images called unknown is ≤ α in every group, not only
    on average over all (Mondrian conformal prediction) **[source]**.

    Images of a group with fewer than ``minimum`` calibration images are compared with all of them: pooled. For such
    a group nothing is guaranteed: if its scores are lower than other groups', more than α of it is called unknown,
    and more than α of all images can be **[derived]**.

    Args:
        scores: (N,), higher = more in-distribution.
        groups: (N,), integers.
        calibration: (n,), in any order.
        calibration_groups: (n,), integers.
        minimum: ≥ 0; ``images_needed(alpha)`` is the fewest with which a group can call an image unknown.

    Returns:
        p (N,), the :func:`p_values` of each image among the images that it is compared with; and (N,), True where
        those are pooled.

    Raises:
        ConfigError: ``minimum`` is negative.
        DataError: a score is NaN, groups are not integers, or not one per score.

    Example:
        >>> p, pooled = grouped_p_values([0.3, 0.3], [0, 1], [0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], minimum=2)
        >>> p.round(3).tolist(), pooled.tolist()
        ([1.0, 0.667], [False, False])
    """
    _check_minimum(minimum)
    score, group_of_score = _grouped(scores, groups)
    reference, group_of_reference = _grouped(calibration, calibration_groups)
    p, pooled = p_values(score, reference), np.ones(len(score), dtype=np.bool_)
    for group in np.unique(group_of_score):
        same_group = reference[group_of_reference == group]
        if len(same_group) >= minimum:
            members = group_of_score == group
            p[members], pooled[members] = p_values(score[members], same_group), False
    return p, pooled


def group_thresholds(
    calibration: npt.ArrayLike, calibration_groups: npt.ArrayLike, alpha: float, groups: int, minimum: int
) -> Floats:
    r"""The score t of each group with p ≤ α ⇔ s < t, where p is of :func:`grouped_p_values` **[derived]**.

    Args:
        calibration: (n,), in any order.
        calibration_groups: (n,), integers from 0 to ``groups`` − 1.
        alpha: in (0, 1).
        groups: G, number of groups.
        minimum: ≥ 0; groups with fewer calibration images get the threshold of all of them.

    Returns:
        (G,), the :func:`threshold` of each group; NaN, below which no score is, where it is None.

    Raises:
        ConfigError: α is not in (0, 1) or ``minimum`` is negative.
        DataError: a score is NaN, groups are not integers, out of range, or not one per score.

    Example:
        >>> group_thresholds([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], alpha=0.4, groups=2, minimum=2).tolist()
        [0.1, 0.3]
    """
    _check_minimum(minimum)
    reference, group_of = _grouped(calibration, calibration_groups)
    if len(group_of) and not 0 <= group_of.min() <= group_of.max() < groups:
        raise DataError(
            f"calibration images are in groups {group_of.min()} to {group_of.max()}, "
            f"but groups are numbered from 0 to {groups - 1}"
        )
    thresholds = np.full(groups, _or_nan(threshold(reference, alpha)))
    for group in range(groups):
        same_group = reference[group_of == group]
        if len(same_group) >= minimum:
            thresholds[group] = _or_nan(threshold(same_group, alpha))
    return thresholds


def images_needed(alpha: float) -> int:
    r"""The smallest number of calibration images with which some image can be called unknown at α **[derived]**.

    Raises:
        ConfigError: α is not in (0, 1).

    Example:
        >>> images_needed(0.05)
        19
    """
    check_alpha(alpha)
    n = max(1, math.ceil(1 / alpha) - 2)
    while 1 / (n + 1) > alpha:  # the smallest number that p_values() returns
        n += 1
    return n


def smallest_alpha(images: int) -> float:
    r"""The smallest α at which some image can be called unknown, 1/(n + 1), rounded up to four decimals **[derived]**.

    Args:
        images: n, number of calibration images, ≥ 0.

    Example:
        >>> smallest_alpha(19), smallest_alpha(21), smallest_alpha(0)
        (0.05, 0.0455, 1.0)
    """
    return math.ceil(10_000 / (images + 1)) / 10_000


def check_alpha(alpha: float) -> None:
    """Raise ConfigError unless α is in (0, 1)."""
    if not 0 < alpha < 1:
        raise ConfigError(
            f"alpha must lie between 0 and 1, not {alpha}",
            hint="it is the share of your own images you accept to see called unknown; 0.05 is usual",
        )


def _without_nan(scores: npt.ArrayLike) -> Floats:
    """Scores as float64. Raises DataError if one is NaN."""
    array = np.asarray(scores, dtype=np.float64)
    if np.isnan(array).any():
        raise DataError("a score is not a number, so it has no rank among the calibration scores")
    return array


def _grouped(scores: npt.ArrayLike, groups: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Scores and their groups, both (N,). Raises DataError unless groups are integers, one per score."""
    score, group_of = _without_nan(scores), np.asarray(groups)
    if score.ndim != 1 or group_of.shape != score.shape:
        raise DataError(f"each score needs one group, not shapes {score.shape} and {group_of.shape}")
    if group_of.size and not np.issubdtype(group_of.dtype, np.integer):  # an empty list has no integers
        raise DataError(
            f"a group must be an integer, such as the index of the predicted class, not {group_of.dtype}"
        )
    return score, group_of.astype(np.int64)


def _check_minimum(minimum: int) -> None:
    if minimum < 0:
        raise ConfigError(
            f"the smallest group must have 0 or more calibration images, not {minimum}",
            hint="images_needed(alpha) is the fewest with which a group can call an image unknown",
        )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
