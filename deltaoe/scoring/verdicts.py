"""p-values and thresholds of scored images by a rule, and the notes that a reader needs with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError
from deltaoe.functional import conformal
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import Rule
from deltaoe.scoring.score_table import ScoreTable
from deltaoe.scoring.scorer import ImageScores

Floats = npt.NDArray[np.float64]

_NO_CALIBRATION = (
    "There is no calibration, so nothing is called known or unknown: extract images of the known classes first, or "
    "tune with fewer --shots. Scores and their order are valid."
)


@dataclass(frozen=True)
class Decisions:
    """What a rule says about N scored images.

    Attributes:
        p_values: (N,) conformal p-values; None without calibration.
        thresholds: (N,) threshold of each image: an image is known iff its score is at least that. −∞ where no score
            is unknown, NaN where the calibration is too small for any threshold; None without calibration.
        threshold: the one threshold of all images; None if there is none, or classes have their own.
        notes: sentences for the user.
    """

    p_values: Floats | None
    thresholds: Floats | None
    threshold: float | None
    notes: list[str]


def decide(detector: Detector, scores: Floats, classes: npt.NDArray[np.int64], rule: Rule) -> Decisions:
    """Apply a rule to scored images, by split-conformal calibration (:mod:`deltaoe.functional.conformal`).

    Args:
        detector: its calibration scores are used, and their classes where the rule is per class.
        scores: (N,) the detector's scores of the images, in any unit.
        classes: (N,) predicted class indices.
        rule: α or the false discovery rate, over all images or per class.

    Raises:
        ConfigError: the rule is out of range, or it is per class and the detector has no classes of its calibration
            images.
    """
    rule.check()
    n = len(detector.calibration)
    if n == 0:
        return Decisions(None, None, None, [_NO_CALIBRATION])
    groups = detector.calibration_classes
    if rule.per_class and not len(groups):
        raise ConfigError(
            "this detector does not know the classes of its calibration images",
            hint="leave --per-class out; a detector of text and images has none for one of them alone, as --evidence, "
            "--neighbours and --index ask it",
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
        unknown = conformal.benjamini_hochberg(p, rule.fdr)
        if n >= needed and not unknown.any():
            notes += _nothing_called_unknown(p, n, rule.fdr)
            return Decisions(p, np.full(len(scores), -np.inf), None, notes)
        alpha = float(p[unknown].max()) if unknown.any() else rule.fdr
    notes += _small_calibration_notes(n, needed, rule)
    if rule.per_class:
        class_thresholds = conformal.group_thresholds(
            detector.calibration, groups, alpha, len(detector.class_names), needed
        )
        return Decisions(p, class_thresholds[classes], None, notes)
    threshold = detector.threshold(alpha) if n >= needed else None
    return Decisions(p, np.full(len(scores), np.nan if threshold is None else threshold), threshold, notes)


def tabulated(
    detector: Detector,
    rule: Rule,
    scored: ImageScores,
    decisions: Decisions,
    paths: Sequence[str],
    failed: Sequence[tuple[str, str]],
) -> ScoreTable:
    """The table of N scored images with these paths, and of the files that failed."""
    return ScoreTable(
        class_names=detector.class_names,
        paths=paths,
        scores=scored.scores,
        labels=scored.labels,
        cosines=scored.cosines,
        p_values=decisions.p_values,
        threshold=decisions.threshold,
        alpha=rule.alpha,
        failed=failed,
        thresholds=decisions.thresholds,
        bounds=scored.bounds,
        parts=detector.parts if detector.fused else (),
        part_p_values=detector.part_p_values(scored.parts)
        if detector.fused and scored.parts is not None
        else None,
    )


def rows_to_score_exactly(
    bounds: Floats | None, thresholds: Floats | None, exact: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Rows whose verdict is open because the threshold lies between the bounds of the score.

    Args:
        bounds: (N, 2) lower and upper bound of each score; None if all scores are exact.
        thresholds: (N,) threshold of each image; None without calibration.
        exact: (N,) True for scores that were computed exactly already; these are left out.

    Returns:
        (m,) row indices, ascending; none without bounds or thresholds.
    """
    if bounds is None or thresholds is None:
        return np.zeros(0, dtype=np.int64)
    low, high = bounds.T
    return np.flatnonzero((low < thresholds) & (thresholds <= high) & ~exact)


def _nothing_called_unknown(p: Floats, n: int, fdr: float) -> list[str]:
    """One sentence on why Benjamini and Hochberg's procedure calls no image unknown; none if there are no images."""
    if not len(p):
        return []
    smallest = float(p.min())
    said = (
        f"--fdr {fdr:g} calls no image unknown: among {len(p)} images the smallest p-value would have to be at most "
        f"{fdr / len(p):.2g}, or the two smallest at most {2 * fdr / len(p):.2g}, and so on; the smallest is "
        f"{smallest:.2g}."
    )
    if smallest <= 1.5 / (n + 1):
        return [f"{said} {n} calibration images allow none below it: extract more images, or use --alpha."]
    return [f"{said} Use --alpha, or a larger --fdr."]


def _small_calibration_notes(n: int, needed: int, rule: Rule) -> list[str]:
    """One sentence if n calibration images are too few for the rule, with the smallest level that they allow."""
    if n >= needed:
        return []
    smallest = conformal.smallest_alpha(n)
    name = "alpha" if rule.fdr is None else "fdr"
    return [
        f"Calibration has {n} images; {name} {rule.level:g} needs at least {needed}, so nothing is called known "
        f"or unknown. Extract more images, or use --{name} {smallest:g} or larger."
    ]


def _pooled_notes(detector: Detector, classes: npt.NDArray[np.int64], needed: int) -> list[str]:
    """One sentence if images, given by their predicted classes, were compared with the images of all classes."""
    if not len(classes):
        return []
    names = [detector.class_names[i] for i in np.unique(classes)]
    listed = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
    return [
        f"{len(classes)} images were taken for classes with fewer than {needed} calibration images ({listed}); they "
        "are compared with all calibration images, and alpha is not promised for them."
    ]
