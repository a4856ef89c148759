"""Numbers, paths and pictures as a report's page writes them."""

from __future__ import annotations

import base64
import math

from deltaoe.report.numbers import NOTHING


def decimal(value: float | None, *, places: int = 4, sign: bool = False) -> str:
    """``value`` with fixed decimals and a minus sign (U+2212); what would round to zero keeps one digit.

    Example:
        >>> decimal(0.25), decimal(-0.25, places=2), decimal(2e-7), decimal(None)
        ('0.2500', '−0.25', '2e−07', '—')
    """
    if value is None or math.isnan(value):
        return NOTHING if value is None else "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    plus = "+" if sign and value > 0 else ""
    text = f"{value + 0.0:.{places}f}"  # −0.0 + 0.0 is 0.0
    if value and not text.strip("-0."):
        text = f"{value:.0e}"
    return plus + text.replace("-", "−")


def p_value(value: float | None) -> str:
    """Three significant digits without exponents, so that the numbers of a column are easy to compare.

    Example:
        >>> p_value(0.5), p_value(0.00123), p_value(None)
        ('0.500', '0.00123', '—')
    """
    if value is None or not 0 < value < math.inf:
        return NOTHING
    return f"{value:.{max(2, 2 - math.floor(math.log10(value)))}f}"


def share(part: int, whole: int) -> str:
    """``part`` of ``whole`` in percent with one decimal; 0 % and 100 % only where they are exact.

    Example:
        >>> share(1, 3), share(1, 10_000), share(9_999, 10_000), share(3, 3)
        ('33.3 %', 'under 0.1 %', 'over 99.9 %', '100 %')
    """
    if not whole:
        return NOTHING
    value = 100 * part / whole
    if 0 < value < 0.05:
        return "under 0.1 %"
    if 99.95 <= value < 100:
        return "over 99.9 %"
    return f"{value:.1f} %" if 0 < part < whole else f"{value:.0f} %"


def sort_key(value: float | None) -> str:
    """The full value, by which the page's script sorts rows; "" where it is not finite (such rows are last)."""
    return repr(float(value)) if value is not None and math.isfinite(value) else ""


def folder_length(path: str) -> int:
    """How many leading characters of ``path`` name the folder, its last separator included."""
    return max(path.rfind("/"), path.rfind("\\")) + 1


def data_url(thumbnail: bytes) -> str:
    """The WebP file as a URL that needs no request."""
    return "data:image/webp;base64," + base64.b64encode(thumbnail).decode("ascii")
