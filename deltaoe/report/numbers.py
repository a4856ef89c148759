"""Measured numbers and their intervals as text, made only when a file or the terminal is written."""

from __future__ import annotations

import math

from deltaoe.evaluation.results import Measurement
from deltaoe.report.quantities import QUANTITIES
from deltaoe.theory.results import Finding

NOTHING = "—"
PLACES = 3  # decimals of a measurement of an evaluation

Entry = Measurement | Finding | None


def has_interval(entry: Entry) -> bool:
    """Whether there is a number, and it has an interval."""
    return entry is not None and not math.isnan(entry.value) and not math.isnan(entry.low)


def value_text(entry: Entry) -> str:
    """The value alone, such as ``0.914``; ``—`` for NaN, and empty where nothing was measured."""
    if entry is None:
        return ""
    return NOTHING if math.isnan(entry.value) else f"{entry.value:{_format(entry)}}"


def interval_text(entry: Entry) -> str:
    """The 95 % interval alone, ``[0.905, 0.922]``, or ``± 0.01`` for numbers of Hessians; empty where there is none."""
    if entry is None or not has_interval(entry):
        return ""
    if isinstance(entry, Finding) and entry.part in {"hessian", "distance"}:  # standard errors: symmetrical
        return f"± {(entry.high - entry.low) / 2:.2g}"
    return f"[{entry.low:{_format(entry)}}, {entry.high:{_format(entry)}}]"


def number_text(entry: Entry) -> str:
    """The value and its interval; empty where nothing was measured.

    Example:
        >>> number_text(Measurement("zero-shot", "mcm", "id", "far", "auroc", 0.91449, 0.905, 0.9216))
        '0.914 [0.905, 0.922]'
        >>> number_text(Finding("hessian", "ebm", "id", "", "learned", "trace", 41.5, low=41.0, high=42.0))
        '41.5 ± 0.5'
    """
    return f"{value_text(entry)} {interval_text(entry)}".rstrip()


def _format(entry: Measurement | Finding) -> str:
    """The format of the number and of the ends of its interval."""
    if isinstance(entry, Finding):
        return QUANTITIES[entry.part][entry.quantity].format
    return f".{PLACES}f"
