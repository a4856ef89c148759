"""A detector with one of its sides alone: prompts, or images."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import Evidence

_HINTS = {
    "text": "it was made from images alone; leave --evidence, --neighbours and --index out",
    "images": "tune again, without --evidence text and --method coop; or leave --evidence out",
}


def without_prompts(detector: Detector) -> Detector:
    """The detector without text features and background: its images alone classify."""
    none = _no_rows(detector)
    return dataclasses.replace(
        detector,
        text_features=none,
        energy_features=none,
        background=none,
        background_names=(),
        centre=np.zeros(0, dtype=np.float32),
        top_c=1,
        image_weight=0.0,
    )


def without_images(detector: Detector) -> Detector:
    """The detector without class means and covariance: its prompts alone classify."""
    none = _no_rows(detector)
    return dataclasses.replace(
        detector, means=none, mean_classes=np.zeros(0, dtype=np.int64), root=none, image_weight=0.0
    )


def with_evidence(detector: Detector, evidence: Evidence) -> Detector:
    """A saved detector with the evidence that is wanted, calibrated with that side's values of the same images.

    Args:
        detector: of one side or of both.
        evidence: ``text`` or ``images``; ``auto`` changes nothing, and neither does ``both`` if it has both.

    Raises:
        ConfigError: the detector does not have that side.
    """
    if evidence == "auto":
        return detector
    sides = {"text": len(detector.text_features) > 0, "images": len(detector.means) > 0}
    for side in ("text", "images") if evidence == "both" else (evidence,):
        if not sides[side]:
            raise ConfigError(f"this detector has no evidence of {side}", hint=_HINTS[side])
    if evidence == "both" and not detector.fused:
        raise ConfigError(
            "this detector has no calibration images, so its sides cannot be fused",
            hint="tune again with fewer --shots, or leave --evidence out",
        )
    if evidence == "both" or not all(sides.values()):
        return detector
    alone = without_prompts(detector) if evidence == "images" else without_images(detector)
    parts = ("images",) if evidence == "images" else ()
    column = [part == evidence for part in detector.parts]
    if any(column):
        values = detector.part_calibration[:, column]
    else:  # a detector that was calibrated for its prompts alone
        values = detector.calibration[: None if evidence == "text" else 0]
    return dataclasses.replace(
        alone,
        parts=parts,
        part_weights=np.ones(len(parts)),
        calibration=np.empty(0),
        part_calibration=np.zeros((0, len(parts))),
        # Those of the calibration images were predicted with both sides.
        calibration_classes=np.zeros(0, dtype=np.int64),
    ).calibrated(values)


def _no_rows(detector: Detector) -> npt.NDArray[np.float32]:
    return np.zeros((0, detector.space.dim), dtype=np.float32)
