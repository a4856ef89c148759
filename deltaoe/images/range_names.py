"""A range of samples of more than eight bits, as the user says it and as a feature space names it; without NumPy."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from deltaoe.errors import ConfigError

AUTO = "auto"

_FORM = re.compile(
    r"(?P<low>[-+]?[0-9.]+(?:e[-+]?\d+)?)\.\.(?P<high>[-+]?[0-9.]+(?:e[-+]?\d+)?)", re.IGNORECASE
)
_BITS = re.compile(r"bits:(\d{1,2})")


class Range(NamedTuple):
    """The range that is shown from black to white.

    Attributes:
        low: black, like all below and what is no number.
        high: white, like all above.
        note: what was assumed, or is remarkable; empty if nothing is.
    """

    low: float
    high: float
    note: str = ""


def canonical_range(text: str) -> str:
    """``--sample-range`` in the form in which a feature space names it: ``auto`` or ``LOW..HIGH``.

    Raises:
        ConfigError: it is neither, nor ``bits:N``.

    Example:
        >>> [canonical_range(text) for text in ("auto", "bits:12", "0.0..1")]
        ['auto', '0..4095', '0..1']
    """
    if text == AUTO:
        return text
    low = high = 0.0
    if found := _BITS.fullmatch(text):
        high = 2.0 ** int(found[1]) - 1
    elif found := _FORM.fullmatch(text):
        try:
            low, high = float(found["low"]), float(found["high"])
        except ValueError:  # 1.2.3
            low = high = 0.0
    if not (low < high and all(map(math.isfinite, (low, high, high - low)))):
        raise ConfigError(
            f"--sample-range {text!r} is not a range", hint="use auto, LOW..HIGH such as 0..4095, or bits:12"
        )
    return f"{_number(low)}..{_number(high)}"


def fixed_range(canonical: str) -> Range | None:
    """The range of :func:`canonical_range`; None for ``auto``."""
    if canonical == AUTO:
        return None
    low, high = canonical.split("..")
    return Range(float(low), float(high))


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
