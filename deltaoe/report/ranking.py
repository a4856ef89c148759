"""Which of several measurements lead, and in what order to show them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from deltaoe.evaluation.results import Measurement, shown

# Less of these is better, more of all others.
LOWER = frozenset({"fpr95", "ece", "false_alarms"})
Standing = Literal["best", "level", ""]


def worth(row: Measurement | None) -> float:
    """A number that is larger for a better measurement; −∞ for one that is not there or not a number."""
    if row is None or not math.isfinite(row.value):
        return -math.inf
    return -row.value if row.metric in LOWER else row.value


def ends(row: Measurement) -> tuple[float, float]:
    """The ends of the interval; without one, the value itself is both."""
    if math.isfinite(row.low) and math.isfinite(row.high):
        return row.low, row.high
    return row.value, row.value


def standings(rows: Sequence[Measurement | None]) -> list[Standing]:
    """Of each measurement of one metric: is it the ``best``, or ``level`` with it, as their intervals overlap?

    Where all overlap with the best there is no winner, and none is either.
    """
    there = [row for row in rows if row is not None and math.isfinite(row.value)]
    if not there:
        return [""] * len(rows)
    best = max(there, key=worth)
    found = [_beside(row, best) for row in rows]
    return found if len(there) > len(found) - found.count("") else [""] * len(rows)


def exceeds(row: Measurement, level: float) -> bool:
    """Whether the whole interval lies above ``level``; never without an interval."""
    return math.isfinite(row.low) and row.low > level


def _beside(row: Measurement | None, best: Measurement) -> Standing:
    if row is None or not math.isfinite(row.value):
        return ""
    # What reads the same must not be ranked.
    if shown(row).split()[0] == shown(best).split()[0]:
        return "best"
    (low, high), (best_low, best_high) = ends(row), ends(best)
    return "level" if low <= best_high and high >= best_low else ""
