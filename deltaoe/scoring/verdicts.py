"""From scores to p-values, thresholds and verdicts, and what must be said about them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError
from deltaoe.functional import conformal
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import Rule

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """p-values (N,), each image's threshold (N,), −∞ where nothing is unknown and NaN where nothing can be said.

    Both are None without calibration. ``threshold`` is the one of all images, None where there is none or several.
    """

    p_values: Floats | None
    thresholds: Floats | None
    threshold: float | None
    notes: list[str]


def judge(detector: Detector, scores: Floats, classes: npt.NDArray[np.int64], rule: Rule) -> Judged:
    """p-values and thresholds of scores (N,) of images taken for ``classes`` (N,).

    Raises:
        ConfigError: the rule is out of range, or the detector does not know the classes of its calibration.
    """
    rule.check()
    n = len(detector.calibration)
    if n == 0:
        return Judged(None, None, None, [_NO_CALIBRATION])
    groups = detector.calibration_classes
    if rule.per_class and not len(groups):
        raise ConfigError(
            "this detector does not know the classes of its calibration images",
            hint="tune again with this version, or leave --per-class out",
        )
    needed = conformal.images_needed(rule.level)
    notes = []
    if rule.per_class:
        p, pooled = conformal.grouped_p_values(scores, classes, detector.calibration, groups, needed)
        notes += _pooled_notes(detector, classes[pooled], needed)
    else:
        p = detector.p_values(scores)
    alpha = rule.alpha
    if rule.fdr is not None:
        called = conformal.benjamini_hochberg(p, rule.fdr)
        if n >= needed and not called.any():
            return Judged(p, np.full(len(scores), -np.inf), None, notes)
        alpha = float(p[called].max()) if called.any() else rule.fdr
    if rule.per_class:
        limits = conformal.group_thresholds(
            detector.calibration, groups, alpha, len(detector.class_names), needed
        )
        return Judged(p, limits[classes], None, notes + _short_notes(n, needed, rule))
    threshold = detector.threshold(alpha) if n >= needed else None
    each = np.full(len(scores), np.nan if threshold is None else threshold)
    return Judged(p, each, threshold, notes + _short_notes(n, needed, rule))


def undecided(
    bounds: Floats | None, thresholds: Floats | None, exact: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Rows whose threshold lies between the bounds (N, 2) of their score, but for exact ones; none without either."""
    if bounds is None or thresholds is None:
        return np.zeros(0, dtype=np.int64)
    low, high = bounds.T
    return np.flatnonzero((low < thresholds) & (thresholds <= high) & ~exact)


_NO_CALIBRATION = (
    "There is no calibration, so nothing is called known or unknown: extract images of the known classes first, or "
    "pass a tuned detector. Scores and their order are valid."
)


def _short_notes(n: int, needed: int, rule: Rule) -> list[str]:
    if n >= needed:
        return []
    least = math.ceil(10_000 / (n + 1)) / 10_000
    name = "alpha" if rule.fdr is None else "fdr"
    return [
        f"Calibration has {n} images; {name} {rule.level:g} needs at least {needed}, so nothing is called known "
        f"or unknown. Extract more images, or use --{name} {least:g} or larger."
    ]


def _pooled_notes(detector: Detector, classes: npt.NDArray[np.int64], needed: int) -> list[str]:
    if not len(classes):
        return []
    names = [detector.class_names[i] for i in np.unique(classes)]
    listed = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
    return [
        f"{len(classes)} images were taken for classes with fewer than {needed} calibration images ({listed}); they "
        "are compared with all calibration images, and alpha is not promised for them."
    ]
