"""Which of several measurements is the best, which cannot be told from it, and the order to show them in."""

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
    """For each measurement of one metric: ``best``, ``level`` where its interval overlaps the best one's, or neither.

    Where all overlap with the best there is no winner, and all are neither.
    """
    there = [row for row in rows if row is not None and math.isfinite(row.value)]
    if not there:
        return [""] * len(rows)
    best = max(there, key=higher_is_better_value)
    found = [_beside(row, best) for row in rows]
    return found if len(there) > len(found) - found.count("") else [""] * len(rows)


def exceeds(row: Measurement, level: float) -> bool:
    """Whether the whole interval lies above ``level``; False without an interval."""
    return math.isfinite(row.low) and row.low > level


def _beside(row: Measurement | None, best: Measurement) -> Standing:
    if row is None or not math.isfinite(row.value):
        return ""
    # Numbers that look the same as written must not be ranked.
    if round(row.value, PLACES) == round(best.value, PLACES):
        return "best"
    (low, high), (best_low, best_high) = ends(row), ends(best)
    return "level" if low <= best_high and high >= best_low else ""
