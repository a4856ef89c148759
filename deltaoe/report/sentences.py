"""Sentences of a report: what its verdicts guarantee, and why there is no verdict or no threshold."""

from __future__ import annotations

import numpy as np

from deltaoe.functional.conformal import images_needed
from deltaoe.report.model import Report

# Which sides find an image unusual (ScoreTable.reason) → the same as a sentence.
_REASONS = {
    "": "",
    "text": "Unlike the class names; the class images do not rule it out.",
    "images": "Unlike the class images; the class names do not rule it out.",
    "text and images": "Unlike the class names and the class images.",
    "together": "Only names and images together rule it out.",
}


def reason_sentence(reason: str) -> str:
    """Why an image is unknown, from :meth:`deltaoe.scoring.score_table.ScoreTable.reason`; "" if there is no reason.

    Example:
        >>> reason_sentence("text and images")
        'Unlike the class names and the class images.'
    """
    return _REASONS[reason]


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
        ('5%', '1.25%')
    """
    return f"{100 * value:.6g}%"


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
