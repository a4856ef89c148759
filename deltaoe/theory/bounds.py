r"""Statistics of what two of the source's theorems need and claim: the EBM bound, and the separation of scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError, DataError
from deltaoe.functional.bootstrap import Interval, auroc_of_counts
from deltaoe.functional.metrics import auroc, proportion_interval

Floats = npt.NDArray[np.float64]
Verdict = Literal["supports", "contradicts", "undecided"]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Energies at τ = 10 are near 20, an ulp of which is 4e-15.
_ROUNDING = 1e-12
_BLOCK = 1 << 21  # counts of one block of draws


@dataclass(frozen=True)
class BoundStatistics:
    r"""How often the EBM bound ΔE ≥ E_2 − E_0 holds on n images, and how tight it is.

    Attributes:
        n: number of images.
        premise: share of images with E_2 ≤ E_1, and Wilson's interval.
        bound: share with ΔE ≥ E_2 − E_0. As ΔE = E_1 − E_0, this is the premise in other terms **[derived]**; here ΔE
            is computed independently of E_1, so that each checks the other.
        informative: share with E_2 > E_0. For the other images the bound is not above 0, and says no more than ΔE ≥ 0.
        change, lower: means of ΔE and of E_2 − E_0, cosine units.
        gap: mean of ΔE − (E_2 − E_0), cosine units; ``gap_quantiles``: at :data:`QUANTILES`.
        relative: mean of the gap divided by ΔE, over the images with ΔE > 0; NaN if there are none. It is 1 for a
            bound of 0 and below 1 for a bound above 0. ``relative_quantiles``: at :data:`QUANTILES`.
    """

    n: int
    premise: Interval
    bound: Interval
    informative: Interval
    change: float
    lower: float
    gap: float
    gap_quantiles: tuple[float, ...]
    relative: float
    relative_quantiles: tuple[float, ...]


def bound_statistics(change: Floats, e0: Floats, e1: Floats, e2: Floats) -> BoundStatistics:
    r"""Statistics of the EBM bound, which holds exactly where its premise E_2 ≤ E_1 does **[derived]**.

    Args:
        change: (n,), ΔE, cosine units.
        e0, e1, e2: (n,) each, the energies of :func:`~deltaoe.functional.ebm.ebm_terms`, cosine units.

    Raises:
        DataError: there are no images, or a number is not finite.

    Example:
        >>> e0, e1, e2 = np.array([-1.0, -1.0]), np.array([-0.2, -0.8]), np.array([-0.4, -0.6])
        >>> found = bound_statistics(e1 - e0, e0, e1, e2)
        >>> found.premise.value, found.bound.value, round(found.gap, 6)
        (0.5, 0.5, 0.0)
    """
    if not len(change) or not all(np.isfinite(v).all() for v in (change, e0, e1, e2)):
        raise DataError("the bound needs at least one image, and finite energies")
    n, lower = len(change), e2 - e0
    gap = change - lower
    positive = change > 0
    relative = gap[positive] / change[positive]

    def share(hits: npt.NDArray[np.bool_]) -> Interval:
        count = int(hits.sum())
        return Interval(count / n, *proportion_interval(count, n))

    return BoundStatistics(
        n=n,
        premise=share(e2 <= e1 + _ROUNDING),
        bound=share(gap >= -_ROUNDING),
        informative=share(e2 > e0),
        change=float(change.mean()),
        lower=float(lower.mean()),
        gap=float(gap.mean()),
        gap_quantiles=_quantiles(gap),
        relative=float(relative.mean()) if len(relative) else math.nan,
        relative_quantiles=_quantiles(relative),
    )


def _quantiles(values: Floats) -> tuple[float, ...]:
    """The quantiles at :data:`QUANTILES`; NaN of no values."""
    if not len(values):
        return (math.nan,) * len(QUANTILES)
    return tuple(float(v) for v in np.quantile(values, QUANTILES))


@dataclass(frozen=True)
class Separation:
    """How well a score separates ID from OOD images, compared with a rival score on the same images.

    Attributes:
        auroc, rival_auroc: AUROC of both scores.
        difference: AUROC minus the rival's, with its interval.
        gap, rival_gap: standardised gaps of both scores, see :func:`standardised_gap`.
        gap_difference: standardised gap minus the rival's, with its interval.
        n_known, n_unknown: numbers of ID and OOD images.
    """

    auroc: float
    rival_auroc: float
    difference: Interval
    gap: float
    rival_gap: float
    gap_difference: Interval
    n_known: int
    n_unknown: int


def verdict(difference: Interval) -> Verdict:
    """What the interval of a difference says of a theorem by which it is positive.

    ``undecided`` where the interval contains 0 or is NaN.
    """
    if difference.low > 0:
        return "supports"
    return "contradicts" if difference.high < 0 else "undecided"


def separation(
    id_scores: npt.ArrayLike,
    ood_scores: npt.ArrayLike,
    *,
    generator: np.random.Generator,
    draws: int = 1000,
    level: float = 0.95,
) -> Separation:
    """Compare two scores by a paired bootstrap: each draw resamples ID and OOD images, the same ones for both scores.

    Args:
        id_scores: (2, n), a score and its rival of the ID images, higher = more ID.
        ood_scores: (2, m), the same of the OOD images.
        generator: the only source of randomness; equal states give equal intervals.
        draws: bootstrap draws (percentile intervals; Efron, Ann. Stat. 1979); 0 for intervals of NaN.
        level: the share of such intervals that should hold the true difference, in (0, 1).

    Raises:
        ConfigError: ``draws`` is negative.
        DataError: there are no ID or no OOD images, or a score is not finite.

    Example:
        >>> found = separation([[3, 2], [3, 1]], [[1, 0], [2, 0]], generator=np.random.default_rng(0), draws=0)
        >>> found.auroc, found.rival_auroc, found.difference.value
        (1.0, 0.75, 0.25)
    """
    if draws < 0:
        raise ConfigError(f"the number of bootstrap draws must be 0 or more, not {draws}")
    known, unknown = (np.asarray(s, dtype=np.float64) for s in (id_scores, ood_scores))
    areas = [auroc(a, b) for a, b in zip(known, unknown, strict=True)]
    gaps = [standardised_gap(a, b) for a, b in zip(known, unknown, strict=True)]
    intervals = [(math.nan, math.nan)] * 2
    if draws:
        ends = ((1 - level) / 2, (1 + level) / 2)
        differences = _resampled_differences(known, unknown, generator, draws)
        quantiles = (np.nanquantile(values, ends) for values in differences)
        intervals = [(float(low), float(high)) for low, high in quantiles]
    return Separation(
        auroc=areas[0],
        rival_auroc=areas[1],
        difference=Interval(areas[0] - areas[1], *intervals[0]),
        gap=gaps[0],
        rival_gap=gaps[1],
        gap_difference=Interval(gaps[0] - gaps[1], *intervals[1]),
        n_known=known.shape[1],
        n_unknown=unknown.shape[1],
    )


def standardised_gap(id_scores: Floats, ood_scores: Floats) -> float:
    r"""(mean of ID − mean of OOD) / √((s_ID² (n−1) + s_OOD² (m−1)) / (n + m − 2)): the gap in pooled SDs.

    Args:
        id_scores: (n,), with standard deviation s_ID.
        ood_scores: (m,), with standard deviation s_OOD.

    Returns:
        NaN where the pooled standard deviation is 0 or there are fewer than three images.

    Example:
        >>> standardised_gap(np.array([2.0, 4.0]), np.array([0.0, 2.0]))
        1.414213562373095
    """
    n, m = len(id_scores), len(ood_scores)
    id_mean, ood_mean = id_scores.mean(), ood_scores.mean()
    squares = ((id_scores - id_mean) ** 2).sum() + ((ood_scores - ood_mean) ** 2).sum()
    if n + m < 3 or squares <= 0:
        return math.nan
    return float((id_mean - ood_mean) / math.sqrt(squares / (n + m - 2)))


def _resampled_differences(
    known: Floats, unknown: Floats, generator: np.random.Generator, draws: int
) -> tuple[Floats, Floats]:
    """Differences of AUROC and of standardised gaps in each draw, (draws,) each."""
    n, m = known.shape[1], unknown.shape[1]
    groups = [np.unique(np.r_[a, b], return_inverse=True)[1] for a, b in zip(known, unknown, strict=True)]
    width = max(int(group.max()) + 1 for group in groups)
    areas, gaps = np.empty(draws), np.empty(draws)
    size = max(1, _BLOCK // width)
    for start in range(0, draws, size):
        block = range(start, min(start + size, draws))
        counts = np.zeros((2, 2, len(block), width), dtype=np.int64)  # score, side, draw, distinct score
        for row, draw in enumerate(block):
            id_rows, ood_rows = generator.integers(n, size=n), generator.integers(m, size=m)
            for score, group in enumerate(groups):
                counts[score, 0, row] = np.bincount(group[:n][id_rows], minlength=width)
                counts[score, 1, row] = np.bincount(group[n:][ood_rows], minlength=width)
            gap, rival_gap = (standardised_gap(known[s][id_rows], unknown[s][ood_rows]) for s in (0, 1))
            gaps[draw] = gap - rival_gap
        area, rival_area = (auroc_of_counts(*counts[s]) for s in (0, 1))
        areas[block.start : block.stop] = area - rival_area
    return areas, gaps
