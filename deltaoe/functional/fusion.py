r"""Fusion of several scores into one by their conformal ranks, so that its p-values keep their promise.

Each part k of an image's verdict has a value v_k, in units of its own, and a p-value p_k among n calibration images
(:func:`deltaoe.functional.conformal.p_values`). The fused score is Σ_k w_k log p_k: with equal weights, Fisher's
combination (1932) **[source]**. Ranks beat standardised values here, whose tails are heavy.

The calibration images are ranked among themselves. Were a new image x one of them, its rank would be the same as it
is now, and theirs could only be larger, by one, wherever x lies below. With x among them, fused scores would be
exchangeable. So the p-value of the fused score, computed with :func:`calibration_scores`, is never smaller than a valid
one: at most α of in-distribution images are called unknown, for any n **[derived]**. The price is a rate a little below
α when n is small.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Weight of the squared distance to the prior weights, beside the log loss summed over in-distribution images.
PRIOR_STRENGTH = 8.0
# Bounds of the factor by which prior weights turn log p-values into log-odds.
_SCALES = (0.01, 5.0)
_START = 0.3


def log_p_values(values: npt.ArrayLike, calibration: npt.ArrayLike) -> Floats:
    r"""log p of each part of N images, p = (1 + #{cal ≤ v})/(n + 1) **[source]**.

    A value below all calibration values by a gap g has up to 1 less, g/(1 + g), so that images beyond the calibration
    keep their order **[derived]**.

    Args:
        values: (N, P), higher = more in-distribution.
        calibration: (n, P), values of the calibration images, n ≥ 1.

    Returns:
        (N, P), ≤ 0.

    Example:
        >>> calibration = [[0.1], [0.2], [0.3]]
        >>> np.exp(log_p_values([[0.25], [0.1]], calibration)).round(2).tolist()
        [[0.75], [0.5]]
        >>> below = log_p_values([[0.0], [-1.0]], calibration)
        >>> bool(below[1, 0] < below[0, 0] < np.log(0.25))
        True
    """
    scores, ordered = np.asarray(values, dtype=np.float64), np.sort(_matrix(calibration), axis=0)
    n = len(ordered)
    out = np.empty_like(scores)
    for part in range(scores.shape[1]):
        below = np.searchsorted(ordered[:, part], scores[:, part], side="right")
        gap = np.maximum(ordered[0, part] - scores[:, part], 0)
        out[:, part] = np.log((1 + below) / (n + 1)) - _below_all(gap)
    return out


def calibration_log_p_values(calibration: npt.ArrayLike) -> Floats:
    r"""log p of the calibration images among themselves, p = #{cal ≤ v}/(n + 1), each counting itself **[derived]**.

    Args:
        calibration: (n, P).

    Returns:
        (n, P). The smallest value of a part has g/(1 + g) less, g the gap to the second smallest; of a single
        image, 1 less, the most that a new image among them could make it.

    Example:
        >>> np.exp(calibration_log_p_values([[0.3], [0.1], [0.1]])).round(2).tolist()
        [[0.75], [0.5], [0.5]]
    """
    values = _matrix(calibration)
    ordered = np.sort(values, axis=0)
    n = len(ordered)
    out = np.empty_like(values)
    for part in range(values.shape[1]):
        column = ordered[:, part]
        below = np.searchsorted(column, values[:, part], side="right")
        gap = column[1] - column[0] if n > 1 else np.inf
        out[:, part] = np.log(below / (n + 1)) - (below == 1) * _below_all(gap)
    return out


def fused_scores(values: npt.ArrayLike, calibration: npt.ArrayLike, weights: npt.ArrayLike) -> Floats:
    r"""Σ_k w_k log p_k of N images, (N,) **[source: Fisher's combination, with weights]**.

    Args:
        values: (N, P), higher = more in-distribution.
        calibration: (n, P), values of the calibration images, n ≥ 1.
        weights: (P,), ≥ 0.

    Example:
        >>> fused_scores([[0.5, 9.0], [0.5, 0.0]], [[0.1, 1.0]], [0.5, 0.5]).round(2).tolist()
        [0.0, -0.6]
    """
    return _weighted(log_p_values(values, calibration), weights)


def calibration_scores(calibration: npt.ArrayLike, weights: npt.ArrayLike) -> Floats:
    """Fused scores (n,) of the calibration images themselves, to which :func:`fused_scores` are compared.

    Args:
        calibration: (n, P), values of the calibration images.
        weights: (P,), ≥ 0.
    """
    return _weighted(calibration_log_p_values(calibration), weights)


def fusion_weights(
    pairs: Sequence[tuple[Floats, Floats]], prior: npt.ArrayLike, strength: float = PRIOR_STRENGTH
) -> Floats:
    r"""Weights of the parts that tell in-distribution from pseudo-out-of-distribution images **[derived]**.

    Logistic regression on log p-values, with weights ≥ 0 and an intercept for every pair. What is minimised is the mean
    log loss over the pairs, in which both kinds of images count the same, plus s/n times the squared distance to the
    prior weights, with n in-distribution images in all pairs. The prior weights are scaled first, by the one factor
    with the smallest loss. With few images, the prior stays nearly as it is.

    Args:
        pairs: log p-values of in-distribution images (a, P) and of pseudo-out-of-distribution images (b, P).
        prior: (P,), > 0.
        strength: s, ≥ 0.

    Returns:
        (P,), ≥ 0, with the sum 1; the prior over its sum if there are no pairs, or nothing tells them apart.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> known, unknown = np.log(rng.uniform(size=(200, 2))), np.log(rng.uniform(size=(200, 2)))
        >>> unknown[:, 1] -= 3  # only the second part tells them apart
        >>> weights = fusion_weights([(known, unknown)], [1, 1])
        >>> bool(weights[1] > weights[0])
        True
    """
    from scipy.optimize import minimize  # takes long to load, and few runs need it

    start: Floats = np.asarray(prior, dtype=np.float64) / float(np.sum(prior))
    pairs = [(known, unknown) for known, unknown in pairs if len(known) and len(unknown)]
    if not pairs:
        return start
    count, many = len(start), len(pairs)

    def loss(weights: Floats, intercepts: Floats) -> tuple[float, Floats, Floats]:
        """The mean log loss, and its gradients in the weights and intercepts."""
        total, slope, level = 0.0, np.zeros(count), np.zeros(many)
        for number, (known, unknown) in enumerate(pairs):
            for rows, sign in ((known, -1.0), (unknown, 1.0)):
                odds = sign * (rows @ weights + intercepts[number])
                total += float(np.logaddexp(0, odds).mean())
                pull = sign / (1 + np.exp(-np.clip(odds, -500, 500))) / len(rows)
                slope += rows.T @ pull
                level[number] += pull.sum()
        return total / (2 * many), slope / (2 * many), level / (2 * many)

    def of_scale(point: Floats) -> tuple[float, Floats]:
        value, slope, level = loss(point[0] * start, point[1:])
        return value, np.concatenate([[slope @ start], level])

    free = [(None, None)] * many
    scaled = minimize(of_scale, np.array([_START, *np.ones(many)]), jac=True, bounds=[_SCALES, *free]).x
    if scaled[0] <= _SCALES[0]:
        return start  # no part tells them apart
    aim = scaled[0] * start
    regularisation = strength / sum(len(known) for known, _ in pairs)

    def of_weights(point: Floats) -> tuple[float, Floats]:
        weights = point[:count]
        value, slope, level = loss(weights, point[count:])
        off = weights - aim
        return value + regularisation * float(off @ off), np.concatenate(
            [slope + 2 * regularisation * off, level]
        )

    found: Floats = minimize(
        of_weights, np.concatenate([aim, scaled[1:]]), jac=True, bounds=[(0, None)] * count + free
    ).x[:count]
    total = float(found.sum())
    return found / total if total > 0 else start


def _below_all(gap: npt.ArrayLike) -> Floats:
    """g/(1 + g) of gaps g ≥ 0; 1 of an infinite one."""
    return np.asarray(1 - 1 / (1 + np.asarray(gap, dtype=np.float64)))


def _weighted(log_p: Floats, weights: npt.ArrayLike) -> Floats:
    """Σ_k w_k log p_k, (N,).

    Equal rows must have equal sums, or ties are broken by where a row stands: a matrix product does not promise that.
    """
    shares = np.asarray(weights, dtype=np.float64)
    total = np.zeros(len(log_p))
    for part, share in enumerate(shares):
        total += share * log_p[:, part]
    return total


def _matrix(values: npt.ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)
