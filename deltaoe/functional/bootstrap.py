r"""Detection metrics with bootstrap intervals, many resamples at once.

Scores are sorted once, and equal ones form a group. A resample is then a count per group, and every metric a sum
over cumulative counts: no resample is ever sorted. All sums but the last are of integers, hence exact.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError
from deltaoe.functional.limits import Positive
from deltaoe.functional.metrics import aupr_in, aupr_out, auroc, check_level, fpr_at_tpr, images_kept

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

DETECTION = ("auroc", "fpr95", "aupr_in", "aupr_out")

_TPR = 0.95
# Memory of a block of draws, unless one draw alone takes more. Four times as much is slower: it leaves the cache.
_BLOCK_BYTES = 16 << 20
# Arrays of int64 or float64, one number per draw and distinct score, that live at the same time at most.
_ARRAYS = 8


class Interval(NamedTuple):
    """An estimate, ``value``, and the ends of its interval, ``low`` and ``high``: NaN where none was asked for."""

    value: float
    low: float
    high: float


def detection_intervals(
    id_scores: npt.ArrayLike,
    ood_scores: npt.ArrayLike,
    *,
    generator: np.random.Generator,
    draws: int = 1000,
    level: float = 0.95,
    positive: Positive = "id",
) -> dict[str, Interval]:
    r"""AUROC, FPR@95, AUPR-in and AUPR-out with percentile bootstrap intervals (Efron, Ann. Stat. 1979).

    In- and out-of-distribution scores are resampled separately: each resample has n and m of them. The values are
    those of :mod:`deltaoe.functional.metrics`. ``positive`` changes FPR@95 alone:

    - ``"id"``: the share of OOD images that reach the largest threshold that ≥ 95 % of ID images reach.
    - ``"ood"``, as in pytorch-ood and in OpenOOD since it counts OOD as positive **[source: their code]**: scores
      are negated; the share of ID images that reach the largest threshold that ≥ 95 % of OOD images reach.

    AUROC is the same under both. AUPR-in has ID and AUPR-out has OOD as its positive class under both, in those
    libraries as here; it is average precision here, while both libraries join the points of the curve by straight
    lines, so that their AUPRs differ a little.

    Args:
        id_scores: (n,), higher = more in-distribution.
        ood_scores: (m,), likewise.
        generator: the only source of randomness; equal states give equal intervals.
        draws: number of resamples, ≥ 0. With 0, ``low`` and ``high`` are NaN.
        level: the share of such intervals that should hold the true metric, in (0, 1).
        positive: the class of which 95 % are to be found.

    Returns:
        An interval for each name in ``DETECTION``. It reflects chance in the images, not in training; it has
        no width for a perfect separation, and in small samples it may miss the value it belongs to.

    Raises:
        ConfigError: ``draws`` is negative, ``level`` is not in (0, 1) or ``positive`` is neither class.
        DataError: one side is empty or a score is not finite.

    Example:
        >>> metrics = detection_intervals([0.9, 0.8], [0.2, 0.1], generator=np.random.default_rng(0), draws=10)
        >>> metrics["auroc"]
        Interval(value=1.0, low=1.0, high=1.0)
    """
    check_level(level)
    if draws < 0:
        raise ConfigError(
            f"the number of bootstrap draws must be 0 or more, not {draws}", hint="1000 is usual; 0 is none"
        )
    if positive not in ("id", "ood"):
        raise ConfigError(f"the positive class is {positive!r}", hint="choose 'id' or 'ood'")
    inside, outside = (np.asarray(s, dtype=np.float64).ravel() for s in (id_scores, ood_scores))
    values = {
        "auroc": auroc(inside, outside),
        "fpr95": fpr_at_tpr(*((inside, outside) if positive == "id" else (-outside, -inside)), _TPR),
        "aupr_in": aupr_in(inside, outside),
        "aupr_out": aupr_out(inside, outside),
    }
    if not draws:
        return {name: Interval(value, math.nan, math.nan) for name, value in values.items()}
    resampled = _resampled(inside, outside, generator, draws, positive)
    ends = ((1 - level) / 2, (1 + level) / 2)
    return {
        name: Interval(values[name], *(float(end) for end in np.quantile(resampled[name], ends)))
        for name in DETECTION
    }


def _resampled(
    inside: Floats, outside: Floats, generator: np.random.Generator, draws: int, positive: Positive
) -> dict[str, Floats]:
    """Each metric of each resample, (draws,)."""
    unique, group = np.unique(np.concatenate([inside, outside]), return_inverse=True)
    sides = group[: len(inside)], group[len(inside) :]
    size = max(1, _BLOCK_BYTES // (8 * _ARRAYS * len(unique)))
    blocks = []
    for start in range(0, draws, size):
        counts = np.empty((2, min(size, draws - start), len(unique)), dtype=np.int64)
        # Draw by draw, so that no block size can change the order of the random numbers.
        for draw in range(counts.shape[1]):
            for side, members in enumerate(sides):
                taken = members[generator.integers(len(members), size=len(members))]
                counts[side, draw] = np.bincount(taken, minlength=len(unique))
        blocks.append(metrics_of_counts(counts[0], counts[1], positive))
    return {name: np.concatenate([block[name] for block in blocks]) for name in DETECTION}


def metrics_of_counts(inside: Counts, outside: Counts, positive: Positive = "id") -> dict[str, Floats]:
    r"""The metrics of samples given as counts per distinct score **[derived]**.

    Args:
        inside: (R, G), number of ID images with each of G distinct scores, ascending, in each of R samples.
        outside: (R, G), number of OOD images, likewise. In every sample both sides have at least one image.
        positive: the class of which 95 % are to be found, as in :func:`detection_intervals`.

    Returns:
        The metric of each sample, (R,), for each name in ``DETECTION``.

    Example:
        >>> metrics = metrics_of_counts(np.array([[0, 1, 1]]), np.array([[1, 1, 0]]))
        >>> metrics["auroc"].tolist(), metrics["fpr95"].tolist()
        ([0.875], [0.5])
    """
    in_below, out_below = inside.cumsum(axis=1), outside.cumsum(axis=1)  # at or below each score
    n, m = in_below[:, -1], out_below[:, -1]
    metrics = {
        "auroc": auroc_of_counts(inside, outside),
        "aupr_out": _precision(outside, out_below, in_below, m),
    }
    if positive == "ood":
        metrics["fpr95"] = _reached(out_below, in_below, m) / n
    # At or above each score: all less those below it.
    in_above, out_above = n[:, None] - in_below + inside, m[:, None] - out_below + outside
    metrics["aupr_in"] = _precision(inside, in_above, out_above, n)
    if positive == "id":
        metrics["fpr95"] = _reached(in_above[:, ::-1], out_above[:, ::-1], n) / m
    return metrics


def auroc_of_counts(inside: Counts, outside: Counts) -> Floats:
    """AUROC of samples given as counts per distinct score, ties counted half **[derived]**.

    Args:
        inside: (R, G), as :func:`metrics_of_counts`.
        outside: (R, G), likewise.

    Returns:
        (R,).

    Example:
        >>> auroc_of_counts(np.array([[0, 1, 1]]), np.array([[1, 1, 0]])).tolist()
        [0.875]
    """
    # A pair in the right order counts two, a tie one.
    pairs = (inside * (2 * outside.cumsum(axis=1) - outside)).sum(axis=1)
    return np.asarray(pairs / (2 * inside.sum(axis=1) * outside.sum(axis=1)))


def _precision(gained: Counts, hits: Counts, alarms: Counts, total: Counts) -> Floats:
    """Average precision (R,): precision at each threshold, weighted by the recall gained there."""
    # Before the first image is found, precision is 0 of 0, and its weight is zero.
    return np.asarray((gained * (hits / np.maximum(hits + alarms, 1))).sum(axis=1) / total)


def _reached(hits: Counts, alarms: Counts, total: Counts) -> Counts:
    """False alarms (R,) at the first threshold with 95 % of all hits; both counts (R, G) rise along the thresholds."""
    enough = np.array([images_kept(_TPR, int(count)) for count in total])
    first = (hits < enough[:, None]).sum(axis=1)
    return np.asarray(np.take_along_axis(alarms, first[:, None], axis=1)[:, 0])
