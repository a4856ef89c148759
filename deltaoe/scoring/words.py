"""Verdicts in words: one line about one image, and short sentences about many."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from deltaoe.scoring.score_table import NONE_FITS

# ScoreTable.reason → why an image is unknown.
REASONS = {
    "text": "text says so, images do not",
    "images": "images say so, text does not",
    "text and images": "text and images agree",
    "together": "text and images say so only together",
}


def verdict_line(record: Mapping[str, Any], calibration: int, *, per_class: bool = False) -> str:
    """What deltaoe says about one image, in one line that begins with its path.

    Args:
        record: the image's, of :meth:`deltaoe.scoring.score_table.ScoreTable.records`.
        calibration: n, number of calibration images.
        per_class: whether its p-value was taken among the calibration images of its class.

    Example:
        >>> verdict_line({"path": "a.jpg", "verdict": "unknown", "class": "cat", "p_value": 0.01,
        ...               "unknown_by": "text and images", "looks_like": "airliner"}, 199)
        'a.jpg: unknown (less familiar than 99 % of your images; text and images agree; looks like "airliner")'
        >>> verdict_line({"path": "a.jpg", "verdict": "known", "class": "cat", "p_value": 0.4}, 199)
        'a.jpg: cat (known; more familiar than 40 % of your images)'
    """
    path, verdict = record["path"], record["verdict"]
    if verdict == "failed":
        return f"{path}: failed ({record['error']})"
    if verdict == "undecided":
        return f"{path}: undecided ({_undecided(calibration)}; most like {record['class']})"
    p = record["p_value"]
    yours = "your images" + (f" of {record['class']}" if per_class else "")
    if verdict == "known":
        said = "" if p is None else f"; {more_familiar(p, yours)}"
        return f"{path}: {record['class']} (known{said})"
    reasons = [
        "" if p is None else less_familiar(p, 0 if per_class else calibration, yours),
        REASONS.get(record.get("unknown_by") or "", ""),
        _looks_like(record.get("looks_like") or ""),
    ]
    return f"{path}: unknown ({'; '.join(one for one in reasons if one)})"


def most_frequent(names: Iterable[str], shown: int = 3) -> str:
    """The most frequent names with their numbers, in words; empty without any.

    Example:
        >>> most_frequent(["tulip", "", "airliner", "tulip", "none fits"])
        'tulip 2, airliner 1; 1 fits no name'
    """
    counts = Counter(name for name in names if name)
    unnamed = counts.pop(NONE_FITS, 0)
    listed = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    said = ", ".join(f"{name} {count:,}" for name, count in listed[:shown])
    said += f" and {len(listed) - shown:,} more" if len(listed) > shown else ""
    rest = f"{unnamed:,} {'fits' if unnamed == 1 else 'fit'} no name" if unnamed else ""
    return "; ".join(one for one in (said, rest) if one)


def less_familiar(p: float, calibration: int, yours: str) -> str:
    """What the p-value of an unknown image says: p = (1 + number of images that are no more familiar)/(n + 1)."""
    if round(p * (calibration + 1)) <= 1 and calibration:
        return f"less familiar than all of {yours}"
    return f"less familiar than {_percent(1 - p)} of {yours}"


def more_familiar(p: float, yours: str) -> str:
    """What the p-value of a known image says."""
    return f"as familiar as any of {yours}" if p >= 1 else f"more familiar than {_percent(p)} of {yours}"


def _percent(share: float) -> str:
    """A share in whole per cent, rounded down."""
    return f"{math.floor(100 * share + 1e-9)} %"


def _looks_like(name: str) -> str:
    if not name:
        return ""
    return "no name of the vocabulary fits" if name == NONE_FITS else f'looks like "{name}"'


def _undecided(calibration: int) -> str:
    if not calibration:
        return "there is no calibration"
    return f"{calibration:,} calibration images are too few"
