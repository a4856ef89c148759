r"""Split-conformal p-values and the threshold that keeps a false-alarm promise.

With n calibration scores of held-out in-distribution images, an image with score s has
p = (1 + #{cal ≤ s})/(n + 1) and is called unknown iff p ≤ α. If images and calibration images are
exchangeable, the share of in-distribution images called unknown is ≤ α in expectation, for any n
(Vovk et al. 2005; Bates et al., Annals of Statistics 2023).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError, DataError

Floats = npt.NDArray[np.float64]


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
