r"""Detection metrics with bootstrap intervals, all draws of a block at once.

Scores are sorted once and equal ones form a group. A resample is then a count per group, and every metric is a
sum over cumulative counts: no draw is ever sorted. All sums but the last are of integers, hence exact.
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
    """A point estimate and the ends of its interval, NaN where no interval was asked for."""

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

    In- and out-of-distribution scores are resampled separately, so each draw has as many of either as there
    are. The values are those of :mod:`deltaoe.functional.metrics`. ``positive`` moves FPR@95 alone:

    - ``"id"``: the share of OOD images kept by the largest threshold that keeps ≥ 95 % of ID images.
    - ``"ood"``, as in pytorch-ood and OpenOOD since it counts OOD as positive **[source: their code]**: scores
      are negated, and the share of ID images flagged by the strictest threshold that flags ≥ 95 % of OOD.

    AUROC is the same under both. Also AUPR-in has ID and AUPR-out has OOD as its positive class under both,
    there as here; they are average precision here, while both libraries join the points of the curve by
    straight lines, so their AUPRs differ a little.

    Args:
        id_scores: (n,), higher = more in-distribution.
        ood_scores: (m,).
        generator: the only source of chance; equal states give equal intervals.
        draws: resamples. 0 asks for the values only: ``low`` and ``high`` are NaN.
        level: the share of such intervals that should hold the true metric.
        positive: the class to be found at 95 %.

    Returns:
        An interval for each name in ``DETECTION``. It reflects chance in the images, not in training; it has
        no width for a perfect separation, and in small samples it may miss the value it belongs to.

    Raises:
        ConfigError: ``draws`` is negative, ``level`` is not in (0, 1) or ``positive`` is neither class.
        DataError: one side is empty or a score is not finite.
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
    found = _resampled(inside, outside, generator, draws, positive)
    ends = ((1 - level) / 2, (1 + level) / 2)
    return {
        name: Interval(values[name], *(float(end) for end in np.quantile(found[name], ends)))
        for name in DETECTION
    }


def _resampled(
    inside: Floats, outside: Floats, generator: np.random.Generator, draws: int, positive: Positive
) -> dict[str, Floats]:
    """Each metric of each draw, (draws,)."""
    unique, group = np.unique(np.concatenate([inside, outside]), return_inverse=True)
    sides = group[: len(inside)], group[len(inside) :]
    size = max(1, _BLOCK_BYTES // (8 * _ARRAYS * len(unique)))
    blocks = []
    for start in range(0, draws, size):
        counts = np.empty((2, min(size, draws - start), len(unique)), dtype=np.int64)
        # Draw by draw, so that chance is spent in an order that no block size can change.
        for draw in range(counts.shape[1]):
            for side, members in enumerate(sides):
                taken = members[generator.integers(len(members), size=len(members))]
                counts[side, draw] = np.bincount(taken, minlength=len(unique))
        blocks.append(metrics_of_counts(counts[0], counts[1], positive))
    return {name: np.concatenate([block[name] for block in blocks]) for name in DETECTION}


def metrics_of_counts(inside: Counts, outside: Counts, positive: Positive = "id") -> dict[str, Floats]:
    r"""The metrics of samples given as counts per distinct score **[derived]**.

    Args:
        inside: (R, G), how often each of G scores, ascending, is an ID image's in each of R samples.
        outside: (R, G), the same of OOD images. In every sample both sides have at least one image.
        positive: the class to be found at 95 %.

    Returns:
        Each name in ``DETECTION``, (R,).
    """
    in_below, out_below = inside.cumsum(axis=1), outside.cumsum(axis=1)  # at or below each score
    n, m = in_below[:, -1], out_below[:, -1]
    found = {
        "auroc": auroc_of_counts(inside, outside),
        "aupr_out": _precision(outside, out_below, in_below, m),
    }
    if positive == "ood":
        found["fpr95"] = _reached(out_below, in_below, m) / n
    # At or above each score: what is left of the whole.
    in_above, out_above = n[:, None] - in_below + inside, m[:, None] - out_below + outside
    found["aupr_in"] = _precision(inside, in_above, out_above, n)
    if positive == "id":
        found["fpr95"] = _reached(in_above[:, ::-1], out_above[:, ::-1], n) / m
    return found


def auroc_of_counts(inside: Counts, outside: Counts) -> Floats:
    """AUROC (R,) of samples given as counts per distinct score, ties ½; see :func:`metrics_of_counts`."""
    # A pair in the right order counts two, a tie one.
    pairs = (inside * (2 * outside.cumsum(axis=1) - outside)).sum(axis=1)
    return np.asarray(pairs / (2 * inside.sum(axis=1) * outside.sum(axis=1)))


def _precision(gained: Counts, hits: Counts, alarms: Counts, total: Counts) -> Floats:
    """Average precision (R,): precision at each threshold, weighed by the recall gained there."""
    # Before the first image is found, 0 hits of 0 are a precision that weighs nothing.
    return np.asarray((gained * (hits / np.maximum(hits + alarms, 1))).sum(axis=1) / total)


def _reached(hits: Counts, alarms: Counts, total: Counts) -> Counts:
    """Alarms (R,) at the first threshold that finds enough; both counts rise along the thresholds."""
    kept = np.array([images_kept(_TPR, int(count)) for count in total])
    first = (hits < kept[:, None]).sum(axis=1)
    return np.asarray(np.take_along_axis(alarms, first[:, None], axis=1)[:, 0])
