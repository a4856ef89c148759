"""Slow, literal versions of the formulas: another route to each number, never the same code retyped.

Energies are sums of exponentials in 60-digit arithmetic; ranks, thresholds and curves are counted in plain
loops over exact fractions. Nothing here is fast, stable or vectorised, and nothing imports `deltaoe`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

import mpmath
import numpy as np

DIGITS = 60

Row = Sequence[float]


def energy(cosines: Row, temperature: float) -> mpmath.mpf:
    """−τ log Σ exp(s/τ), summed as written."""
    with mpmath.workdps(DIGITS):
        tau = mpmath.mpf(temperature)
        return -tau * mpmath.log(mpmath.fsum(mpmath.exp(mpmath.mpf(s) / tau) for s in cosines))


def top(cosines: Row, top_c: int) -> list[int]:
    """Indices of the c largest; among equals the first ones."""
    return sorted(range(len(cosines)), key=lambda j: (-cosines[j], j))[:top_c]


def crop(cosines: Row, chosen: Iterable[int]) -> list[float]:
    """The row with the chosen entries set to zero."""
    gone = set(chosen)
    return [0.0 if j in gone else s for j, s in enumerate(cosines)]


def delta_energy(cosines: Row, temperature: float, top_c: int) -> mpmath.mpf:
    """Energy after cropping minus energy before."""
    with mpmath.workdps(DIGITS):
        cropped = crop(cosines, top(cosines, top_c))
        return energy(cropped, temperature) - energy(cosines, temperature)


def softmax(cosines: Row, temperature: float) -> list[mpmath.mpf]:
    """Exact softmax at τ."""
    with mpmath.workdps(DIGITS):
        terms = [mpmath.exp(mpmath.mpf(s) / mpmath.mpf(temperature)) for s in cosines]
        whole = mpmath.fsum(terms)
        return [t / whole for t in terms]


def log_rest(cosines: Row, temperature: float, chosen: Iterable[int]) -> mpmath.mpf:
    """log Σ exp(s/τ) over all entries but the chosen; −inf if none is left."""
    gone = set(chosen)
    with mpmath.workdps(DIGITS):
        left = [
            mpmath.exp(mpmath.mpf(s) / mpmath.mpf(temperature))
            for j, s in enumerate(cosines)
            if j not in gone
        ]
        return mpmath.log(mpmath.fsum(left)) if left else mpmath.mpf("-inf")


def slopes(function: Callable[[list[mpmath.mpf]], mpmath.mpf], at: Row) -> list[mpmath.mpf]:
    """Partial derivatives by central differences, exact to far beyond float64 at 60 digits."""
    with mpmath.workdps(DIGITS):
        step = mpmath.mpf(10) ** -20
        point = [mpmath.mpf(x) for x in at]
        found = []
        for j in range(len(point)):
            up, down = list(point), list(point)
            up[j] += step
            down[j] -= step
            found.append((function(up) - function(down)) / (2 * step))
        return found


def mask(feature: Row, text_features: Sequence[Row]) -> list[float]:
    """The masked feature h', element by element."""
    products = [
        sum(Fraction(a) * Fraction(b) for a, b in zip(feature, z, strict=True)) for z in text_features
    ]
    best = products.index(max(products))
    kept = [a if a * b > 0 else 0.0 for a, b in zip(feature, text_features[best], strict=True)]
    length = mpmath.sqrt(mpmath.fsum(mpmath.mpf(a) ** 2 for a in kept))
    return [float(a / length) if length else 0.0 for a in kept]


def p_value(score: float, calibration: Sequence[float]) -> Fraction:
    """Conformal p-value by counting."""
    return Fraction(1 + sum(1 for c in calibration if c <= score), len(calibration) + 1)


def auroc(inside: Sequence[float], outside: Sequence[float]) -> Fraction:
    """Share of (ID, OOD) pairs in the right order; a tie is half a pair."""
    wins = sum(
        Fraction(1) if a > b else Fraction(1, 2) if a == b else Fraction(0) for a in inside for b in outside
    )
    return wins / (len(inside) * len(outside))


def average_precision(positive: Sequence[float], negative: Sequence[float]) -> Fraction:
    """Σ (recall gained at t) · (precision at t) over all thresholds t, from high to low."""
    area, recall = Fraction(0), Fraction(0)
    for t in sorted({*positive, *negative}, reverse=True):
        hits = sum(1 for s in positive if s >= t)
        alarms = sum(1 for s in negative if s >= t)
        area += (Fraction(hits, len(positive)) - recall) * Fraction(hits, hits + alarms)
        recall = Fraction(hits, len(positive))
    return area


def fpr_at_tpr(inside: Sequence[float], outside: Sequence[float], tpr: Fraction) -> Fraction:
    """Try every threshold; of those that keep enough ID, the largest decides."""
    good = [t for t in {*inside, *outside} if Fraction(sum(1 for s in inside if s >= t), len(inside)) >= tpr]
    return Fraction(sum(1 for s in outside if s >= max(good)), len(outside))


def unit_rows(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    """Random unit vectors, float64."""
    rows = rng.standard_normal((count, width))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
