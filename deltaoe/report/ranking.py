"""Comparison of measurements: the best one, and those whose intervals overlap with the best one's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from deltaoe.evaluation.results import Measurement
from deltaoe.report.numbers import PLACES

# Metrics of which lower is better; of all others higher is.
LOWER_IS_BETTER = frozenset({"fpr95", "ece", "false_alarms"})
Standing = Literal["best", "level", ""]


def higher_is_better_value(row: Measurement | None) -> float:
    """The value, negated where lower is better, so that a better one is larger; −∞ where there is no number."""
    if row is None or not math.isfinite(row.value):
        return -math.inf
    return -row.value if row.metric in LOWER_IS_BETTER else row.value


def ends(row: Measurement) -> tuple[float, float]:
    """The ends of the interval; without an interval, the value twice."""
    if math.isfinite(row.low) and math.isfinite(row.high):
        return row.low, row.high
    return row.value, row.value


def standings(rows: Sequence[Measurement | None]) -> list[Standing]:
    """For each measurement of one metric: ``best``, ``level`` where its interval overlaps the best one's, or ``""``.

    Where all overlap with the best none can be called better than the others, and all are ``""``.

    Example:
        >>> ends = [(0.9, 0.88, 0.92), (0.89, 0.87, 0.91), (0.6, 0.5, 0.7)]
        >>> standings([Measurement("zero-shot", "mcm", "id", "far", "auroc", *each) for each in ends])
        ['best', 'level', '']
    """
    numbers = [row for row in rows if row is not None and math.isfinite(row.value)]
    if not numbers:
        return [""] * len(rows)
    best = max(numbers, key=higher_is_better_value)
    compared = [_beside(row, best) for row in rows]
    marked = len(compared) - compared.count("")
    return compared if marked < len(numbers) else [""] * len(rows)


def exceeds(row: Measurement, level: float) -> bool:
    """Whether the whole interval lies above ``level``, a share from 0 to 1; False without an interval."""
    return math.isfinite(row.low) and row.low > level


def _beside(row: Measurement | None, best: Measurement) -> Standing:
    """The standing of one measurement beside the best one."""
    if row is None or not math.isfinite(row.value):
        return ""
    # Numbers that are written with the same digits must not be ranked.
    if round(row.value, PLACES) == round(best.value, PLACES):
        return "best"
    (low, high), (best_low, best_high) = ends(row), ends(best)
    return "level" if low <= best_high and high >= best_low else ""
