r"""Split-conformal p-values and the threshold that keeps a false-alarm promise.

With n calibration scores of held-out in-distribution images, an image with score s has
p = (1 + #{cal ≤ s})/(n + 1) and is called unknown iff p ≤ α. If images and calibration images are
exchangeable, the share of in-distribution images called unknown is ≤ α in expectation, for any n
(Vovk et al. 2005; Bates et al., Annals of Statistics 2023). :func:`benjamini_hochberg` turns the promise
about each image into one about the flagged images of a folder, and :func:`grouped_p_values` keeps it within
each group of images instead of on average over all.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError, DataError

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def p_values(scores: npt.ArrayLike, calibration: npt.ArrayLike) -> Floats:
    r"""p = (1 + #{cal ≤ s})/(n + 1) for each score; small means unlike the calibration images.

    Args:
        scores: (N,), higher = more in-distribution.
        calibration: (n,), in any order.

    Returns:
        (N,), each in [1/(n + 1), 1]; all ones for n = 0.

    Raises:
        DataError: a score is NaN, which would sort above all others and pass for in-distribution.
    """
    ordered = np.sort(_numbers(calibration))
    below = np.searchsorted(ordered, _numbers(scores), side="right")
    return np.asarray((1 + below) / (len(ordered) + 1), dtype=np.float64)


def threshold(calibration: npt.ArrayLike, alpha: float) -> float | None:
    r"""The score t with: p ≤ α ⇔ s < t. An image is known iff its score is ≥ t **[derived]**.

    Returns:
        t, one of the calibration scores; None if n < 1/α − 1, when no score can reach p ≤ α.

    Raises:
        ConfigError: α is not in (0, 1).
        DataError: a score is NaN.
    """
    check_alpha(alpha)
    ordered = np.sort(_numbers(calibration))
    n = len(ordered)
    # Counted on the very numbers that p_values() returns, so that rounding can't part the two.
    reachable = int(np.searchsorted(np.arange(1, n + 2) / (n + 1), alpha, side="right"))
    return float(ordered[reachable - 1]) if reachable else None


def benjamini_hochberg(p_values: npt.ArrayLike, q: float) -> Mask:
    r"""Call images unknown so that the false discovery rate is ≤ q **[source]**.

    With k the largest rank at which p_(k) ≤ k·q/N, the k smallest p-values are called unknown (Benjamini and
    Hochberg, JRSS B 1995). In expectation over calibration sets and folders, at most a share q·N_0/N of the
    called are false alarms, N_0 the in-distribution images. It holds for :func:`p_values` although all of
    them share one calibration set (Bates et al., Annals of Statistics 2023), and for those of
    :func:`grouped_p_values` that are not pooled, whose sets are disjoint **[reading]**.

    Args:
        p_values: (N,), in [0, 1]; N may be 0.
        q: in (0, 1).

    Returns:
        (N,), True = called unknown.

    Raises:
        ConfigError: q is not in (0, 1).
        DataError: a p-value is NaN or outside [0, 1], or they are not one list.
    """
    # Loaded here: it takes a second, and the verdicts of single images do without it.
    from scipy.stats import false_discovery_control

    if not 0 < q < 1:
        raise ConfigError(
            f"q must lie between 0 and 1, not {q}",
            hint="it is the share of false alarms you accept among the images called unknown; 0.1 is usual",
        )
    p = _numbers(p_values)
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
    r"""p-values that compare each image with the calibration images of its own group (Vovk et al. 2005, §4.5).

    A group must be a function of the image alone, such as its *predicted* class. Then the images of one group
    are exchangeable, and the share of in-distribution images called unknown is ≤ α in every group, not only
    on average over all (Mondrian conformal prediction) **[source]**.

    A group with fewer than ``minimum`` calibration images is compared with all of them. For it nothing is
    promised: if its scores are lower than other groups', more than α of it is called unknown, and more than α
    of all images can be **[derived]**.

    Args:
        scores: (N,), higher = more in-distribution.
        groups: (N,), integers.
        calibration: (n,), in any order.
        calibration_groups: (n,), integers.
        minimum: ≥ 0; ``images_needed(alpha)`` is the fewest with which a group can call an image unknown.

    Returns:
        p (N,), equal to :func:`p_values` of each image with the images it was compared with; and (N,), True
        where that was all of them.

    Raises:
        ConfigError: ``minimum`` is negative.
        DataError: a score is NaN, groups are not integers, or not one per score.
    """
    _check_minimum(minimum)
    seen, of_seen = _grouped(scores, groups)
    known, of_known = _grouped(calibration, calibration_groups)
    p, pooled = p_values(seen, known), np.ones(len(seen), dtype=np.bool_)
    for group in np.unique(of_seen):
        own = known[of_known == group]
        if len(own) >= minimum:
            here = of_seen == group
            p[here], pooled[here] = p_values(seen[here], own), False
    return p, pooled


def group_thresholds(
    calibration: npt.ArrayLike, calibration_groups: npt.ArrayLike, alpha: float, groups: int, minimum: int
) -> Floats:
    r"""The score t of each group with: p ≤ α ⇔ s < t, p from :func:`grouped_p_values` **[derived]**.

    Args:
        calibration: (n,), in any order.
        calibration_groups: (n,), integers from 0 to ``groups`` − 1.
        alpha: in (0, 1).
        groups: G.
        minimum: ≥ 0; groups with fewer calibration images get the threshold of all of them.

    Returns:
        (G,), each a :func:`threshold`; NaN, below which no score is, where that is None.

    Raises:
        ConfigError: α is not in (0, 1) or ``minimum`` is negative.
        DataError: a score is NaN, groups are not integers, out of range, or not one per score.
    """
    _check_minimum(minimum)
    known, of_known = _grouped(calibration, calibration_groups)
    if len(of_known) and not 0 <= of_known.min() <= of_known.max() < groups:
        raise DataError(
            f"calibration images are in groups {of_known.min()} to {of_known.max()}, "
            f"but groups are numbered from 0 to {groups - 1}"
        )
    limits = np.full(groups, _or_nan(threshold(known, alpha)))
    for group in range(groups):
        own = known[of_known == group]
        if len(own) >= minimum:
            limits[group] = _or_nan(threshold(own, alpha))
    return limits


def images_needed(alpha: float) -> int:
    r"""The smallest number of calibration images with which some image can be called unknown at α.

    Raises:
        ConfigError: α is not in (0, 1).
    """
    check_alpha(alpha)
    n = max(1, math.ceil(1 / alpha) - 2)
    while 1 / (n + 1) > alpha:  # the smallest number that p_values() returns
        n += 1
    return n


def check_alpha(alpha: float) -> None:
    """Raise ConfigError unless 0 < ``alpha`` < 1."""
    if not 0 < alpha < 1:
        raise ConfigError(
            f"alpha must lie between 0 and 1, not {alpha}",
            hint="it is the share of your own images you accept to see called unknown; 0.05 is usual",
        )


def _numbers(scores: npt.ArrayLike) -> Floats:
    array = np.asarray(scores, dtype=np.float64)
    if np.isnan(array).any():
        raise DataError("a score is not a number, so it has no rank among the calibration scores")
    return array


def _grouped(scores: npt.ArrayLike, groups: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Scores and their groups, both (N,); an empty list of groups has no type of its own."""
    numbers, labels = _numbers(scores), np.asarray(groups)
    if numbers.ndim != 1 or labels.shape != numbers.shape:
        raise DataError(f"each score needs one group, not shapes {numbers.shape} and {labels.shape}")
    if labels.size and not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"a group must be an integer, such as the index of the predicted class, not {labels.dtype}"
        )
    return numbers, labels.astype(np.int64)


def _check_minimum(minimum: int) -> None:
    if minimum < 0:
        raise ConfigError(
            f"the smallest group must have 0 or more calibration images, not {minimum}",
            hint="images_needed(alpha) is the fewest with which a group can call an image unknown",
        )


def _or_nan(limit: float | None) -> float:
    return math.nan if limit is None else limit
