"""Sentences of a report: what its verdicts guarantee, what they rest on, and why there is no verdict or threshold."""

from __future__ import annotations

import numpy as np

from deltaoe.functional.conformal import images_needed
from deltaoe.report.model import Report
from deltaoe.scoring.words import REASONS, less_familiar, more_familiar


def reason_words(reason: str) -> str:
    """Why an image is unknown, from :meth:`deltaoe.scoring.score_table.ScoreTable.reason`; "" if there is no reason.

    Example:
        >>> reason_words("text and images")
        'text and images agree'
    """
    return REASONS.get(reason, reason)


def familiarity(p: float | None, verdict: str, calibration: int, of: str = "") -> str:
    """What a p-value says, in words; "" without one, and for images without verdict.

    Args:
        p: (1 + number of calibration images that are no more familiar)/(n + 1).
        verdict: of the image: an unknown one is called less familiar than others, a known one more familiar.
        calibration: n, the number of calibration images.
        of: the class whose images it is compared with; "" for all.

    Example:
        >>> familiarity(0.01, "unknown", 199), familiarity(0.4, "known", 199)
        ('less familiar than 99 % of your images', 'more familiar than 40 % of your images')
    """
    if p is None or not calibration or verdict not in {"known", "unknown"}:
        return ""
    yours = f"your images of {of}" if of else "your images"
    # Of a class there are fewer calibration images than n.
    return (
        less_familiar(p, 0 if of else calibration, yours) if verdict == "unknown" else more_familiar(p, yours)
    )


def group_words(number: int, name: str) -> str:
    """What a group of images is called: its number, by which commands know it, and its name if it has one.

    Example:
        >>> group_words(2, "tulip"), group_words(3, "group 3"), group_words(4, "")
        ('2 tulip', 'group 3', 'group 4')
    """
    return f"{number} {name}" if name and name != f"group {number}" else f"group {number}"


def no_verdict_sentence(report: Report) -> str:
    """Why no image has a verdict, and how many calibration images would do; "" if images have one."""
    if report.threshold is not None:
        return ""
    have = np.size(report.calibration)
    if have == 0:
        return f"No image has a verdict, because there is no calibration. {_needs(report)}"
    if have < images_needed(report.level):
        return f"No image has a verdict, because the calibration has only {images(have)}. {_needs(report)}"
    if report.fdr is not None or report.per_class:
        return ""
    return "No image has a verdict, because no threshold was set."


def no_threshold_sentence(report: Report) -> str:
    """Why images have a verdict although there is not one threshold for all; "" if there is one, or no verdict."""
    if report.threshold is not None or no_verdict_sentence(report):
        return ""
    if report.fdr is not None and not report.counts.get("unknown", 0):
        return "No image is called unknown"
    return "Each class has its own threshold"


def percent(value: float) -> str:
    """A level as percent, with up to six digits.

    Example:
        >>> percent(0.05), percent(0.0125)
        ('5 %', '1.25 %')
    """
    return f"{100 * value:.6g} %"


def images(count: int) -> str:
    """A number of images in words.

    Example:
        >>> images(1), images(1234)
        ('1 image', '1,234 images')
    """
    return f"{count:,} image" + ("" if count == 1 else "s")


def _needs(report: Report) -> str:
    """How many calibration images are needed for a verdict, and what the verdict then guarantees."""
    promise = (
        f"at most {percent(report.alpha)} of your own images would be called unknown on average"
        if report.fdr is None
        else f"at most {percent(report.fdr)} of the images called unknown would be false alarms on average"
    )
    return f"With at least {images(images_needed(report.level))} that were not used for tuning, {promise}."
