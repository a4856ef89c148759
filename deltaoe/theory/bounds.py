r"""What the source's theorems need and claim, as statistics of given images: the EBM bound, and separation."""

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
        n: images.
        premise: share with E_2 ≤ E_1, and Wilson's interval.
        bound: share with ΔE ≥ E_2 − E_0. As ΔE = E_1 − E_0, it is the premise said in other words **[derived]**; here
            ΔE is computed apart from E_1, so the two check each other.
        informative: share with E_2 > E_0. Elsewhere the bound is not above 0, and says no more than ΔE ≥ 0.
        change, lower: means of ΔE and of E_2 − E_0, cosine units.
        gap: mean of ΔE − (E_2 − E_0), cosine units; ``gap_quantiles``: at :data:`QUANTILES`.
        relative: mean of that divided by ΔE, over the images with ΔE > 0; NaN if there are none. 1 is a bound of 0,
            below 1 it is above 0. ``relative_quantiles``: at :data:`QUANTILES`.
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
    r"""Statistics of the EBM bound **[derived]** from ΔE and the three energies, each (n,), cosine units.

    Raises:
        DataError: there are no images, or a number is not finite.
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
    if not len(values):
        return (math.nan,) * len(QUANTILES)
    return tuple(float(v) for v in np.quantile(values, QUANTILES))


@dataclass(frozen=True)
class Separation:
    """How one score tells ID from OOD images, beside a rival on the same images.

    Attributes:
        auroc, rival_auroc: of each.
        difference: AUROC minus the rival's, with its interval.
        gap, rival_gap: (mean of ID − mean of OOD) / pooled standard deviation.
        gap_difference: gap minus the rival's, with its interval.
        n_known, n_unknown: images.
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
    """Of a difference that a theorem says is positive; undecided where its interval holds 0 or is not known."""
    if difference.low > 0:
        return "supports"
    return "contradicts" if difference.high < 0 else "undecided"


def separation(
    inside: npt.ArrayLike,
    outside: npt.ArrayLike,
    *,
    generator: np.random.Generator,
    draws: int = 1000,
    level: float = 0.95,
) -> Separation:
    """Compare two scores, paired: each draw resamples ID and OOD images, and both scores see the same ones.

    Args:
        inside: (2, n), our score and the rival's of ID images, higher = more ID.
        outside: (2, m), of OOD images.
        generator: the only source of chance.
        draws: bootstrap draws (percentiles; Efron, Ann. Stat. 1979); 0 for no intervals.
        level: of the intervals.

    Raises:
        ConfigError: ``draws`` is negative.
        DataError: one side is empty, or a score is not finite.
    """
    if draws < 0:
        raise ConfigError(f"the number of bootstrap draws must be 0 or more, not {draws}")
    known, unknown = (np.asarray(s, dtype=np.float64) for s in (inside, outside))
    areas = [auroc(a, b) for a, b in zip(known, unknown, strict=True)]
    gaps = [standardised_gap(a, b) for a, b in zip(known, unknown, strict=True)]
    intervals = [(math.nan, math.nan)] * 2
    if draws:
        ends = ((1 - level) / 2, (1 + level) / 2)
        found = _resampled(known, unknown, generator, draws)
        intervals = [(float(low), float(high)) for low, high in (np.nanquantile(v, ends) for v in found)]
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


def standardised_gap(inside: Floats, outside: Floats) -> float:
    r"""(mean of ID − mean of OOD) / √((s_ID² (n−1) + s_OOD² (m−1)) / (n + m − 2)), of scores (n,) and (m,).

    NaN where the pooled standard deviation is 0 or there are fewer than three images.
    """
    n, m = len(inside), len(outside)
    squares = ((inside - inside.mean()) ** 2).sum() + ((outside - outside.mean()) ** 2).sum()
    if n + m < 3 or squares <= 0:
        return math.nan
    return float((inside.mean() - outside.mean()) / math.sqrt(squares / (n + m - 2)))


def _resampled(
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
            rows, others = generator.integers(n, size=n), generator.integers(m, size=m)
            for score, group in enumerate(groups):
                counts[score, 0, row] = np.bincount(group[:n][rows], minlength=width)
                counts[score, 1, row] = np.bincount(group[n:][others], minlength=width)
            ours, rival = (standardised_gap(known[s][rows], unknown[s][others]) for s in (0, 1))
            gaps[draw] = ours - rival
        ours_area, rival_area = (auroc_of_counts(*counts[s]) for s in (0, 1))
        areas[block.start : block.stop] = ours_area - rival_area
    return areas, gaps
