"""What the fields of a detector must be: the file that they come from may be damaged, or somebody else's."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from deltaoe.errors import DataError
from deltaoe.functional.unit_rows import are_unit_rows
from deltaoe.scoring.detector_fields import PARTS, DetectorFields
from deltaoe.store.file_text import json_problem, names_problem, text_problem

_CONTEXTS = ("context", "class_context")
# Far beyond what images or tuning give, and small enough that no score overflows.
_MOST = 1e6
_MOST_MEAN, _MOST_ROOT = 1e3, 1e12
_LEAST_TEMPERATURE = 1e-30


def check(detector: DetectorFields) -> None:
    """Raise DataError unless the shapes, types and values of all fields are those of a detector."""
    _check_prompts(detector)
    _check_calibration(detector)
    _check_background(detector)
    _check_calibration_classes(detector)
    _check_evidence(detector)
    if detector.shots.ndim != 2 or detector.shots.shape[1] != 32 or detector.shots.dtype != np.uint8:
        raise DataError("its shots are no list of digests")
    classes = len(detector.class_names)
    if not (_LEAST_TEMPERATURE <= detector.temperature <= 1 / _LEAST_TEMPERATURE):
        raise DataError("its temperature is out of range")
    if not 1 <= detector.top_c <= classes:
        raise DataError("its top-c is out of range")
    if not 0 <= detector.logit_scale <= _MOST:
        raise DataError("its logit scale is out of range")
    for name in ("settings", "facts"):
        if problem := json_problem(dict(getattr(detector, name))):
            raise DataError(f"its {name} hold {problem}")
    for name in _CONTEXTS:
        context = getattr(detector, name)
        if context is not None and not (
            context.dtype == np.float32
            # One context for all classes, or one per class.
            and (context.ndim == 2 or (context.ndim == 3 and len(context) == classes))
            and _within(context, _MOST)
        ):
            raise DataError(f"its {name.replace('_', ' ')} is not a list of float32 vectors")
    if detector.class_context is not None and detector.context is None:
        raise DataError("it has a class context and no context")


def _check_prompts(detector: DetectorFields) -> None:
    names, text, dim = detector.class_names, detector.text_features, detector.space.dim
    if problem := names_problem(names):
        raise DataError(f"its class names are not usable: {problem}")
    if text.shape != (len(names), dim) and not (text.shape == (0, dim) and len(detector.means)):
        raise DataError(f"its text features have shape {text.shape}, not {(len(names), dim)}")
    if text.dtype != np.float32:
        raise DataError(f"its text features are {text.dtype}, not float32")
    if not are_unit_rows(text):
        raise DataError("its text features are not unit length")


def _check_calibration(detector: DetectorFields) -> None:
    scores = detector.calibration
    if scores.dtype != np.float64 or scores.ndim != 1:
        raise DataError("its calibration scores are not a list of numbers")
    if not np.isfinite(scores).all() or (np.diff(scores) < 0).any():
        raise DataError("its calibration scores are not finite and ascending")


def _check_calibration_classes(detector: DetectorFields) -> None:
    classes = detector.calibration_classes
    if len(classes) and (
        classes.shape != detector.calibration.shape
        or classes.dtype != np.int64
        or not ((classes >= 0) & (classes < len(detector.class_names))).all()
    ):
        raise DataError("its calibration classes do not fit its calibration scores")


def _check_background(detector: DetectorFields) -> None:
    rows, names, centre, dim = (
        detector.background,
        detector.background_names,
        detector.centre,
        detector.space.dim,
    )
    if len(centre) and (centre.shape != (dim,) or centre.dtype != np.float32 or not _within(centre, _MOST)):
        raise DataError("its centre is no vector of float32")
    if len(names) != len(rows) or any(map(text_problem, names)):
        raise DataError("its background has not one name per prompt")
    if len(rows) and (rows.ndim != 2 or rows.shape[1] != dim or rows.dtype != np.float32):
        raise DataError(f"its background has shape {rows.shape} and type {rows.dtype}")
    if len(rows) and not are_unit_rows(rows):
        raise DataError("its background is not unit length")


def _check_evidence(detector: DetectorFields) -> None:
    energy = detector.energy_features
    if len(energy) and (
        energy.shape != detector.text_features.shape
        or energy.dtype != np.float32
        or not are_unit_rows(energy)
    ):
        raise DataError("its energy features are no unit rows of float32, one per class")
    _check_image_evidence(detector)
    n, parts = len(detector.calibration), detector.parts
    if not all(isinstance(part, str) and part in PARTS for part in parts) or len(set(parts)) < len(parts):
        raise DataError(f"its parts are not some of {', '.join(PARTS)}")
    _check_sides(detector)
    weights, values = detector.part_weights, detector.part_calibration
    if weights.shape != (len(parts),) or (
        len(parts)
        and (
            weights.dtype != np.float64
            or not np.isfinite(weights).all()
            or (weights < 0).any()
            or not math.isclose(weights.sum(), 1, abs_tol=1e-6)
        )
    ):
        raise DataError("its parts have not one weight each, with the sum 1")
    if values.size and (
        values.shape != (n, len(parts)) or values.dtype != np.float64 or not np.isfinite(values).all()
    ):
        raise DataError("the values of its parts do not fit its calibration scores")
    if n and len(parts) > 1 and not values.size:
        raise DataError("it has calibration scores, and no values of its parts")


def _check_sides(detector: DetectorFields) -> None:
    """Raise DataError unless its parts have the prompts and class means that they are computed with."""
    parts = detector.parts or ("text",)
    if not len(detector.text_features) and parts != ("images",):
        raise DataError("it has no prompts, and a score that needs some")
    if not len(detector.means) and not {"joint", "images"}.isdisjoint(parts):
        raise DataError("it has no class means, and a score that needs some")


def _check_image_evidence(detector: DetectorFields) -> None:
    means, classes, root, dim = detector.means, detector.mean_classes, detector.root, detector.space.dim
    for name in ("image_weight", "joint_weight"):
        if not 0 <= getattr(detector, name) <= _MOST:
            raise DataError(f"its {name.replace('_', ' ')} is out of range")
    if not len(means) and not len(classes) and not len(root):
        return
    if means.shape != (len(classes), dim) or means.dtype != np.float32 or not _within(means, _MOST_MEAN):
        raise DataError("its class means are no list of float32 vectors")
    if (
        classes.dtype != np.int64
        or classes.ndim != 1
        or (np.diff(classes) <= 0).any()
        or not ((classes >= 0) & (classes < len(detector.class_names))).all()
    ):
        raise DataError("its class means do not fit its classes")
    if root.shape != (dim, dim) or root.dtype != np.float32 or not _within(root, _MOST_ROOT):
        raise DataError("its covariance is no square matrix of float32")


def _within(values: npt.NDArray[np.float32], most: float) -> bool:
    """Whether no value is NaN or larger in magnitude than ``most``."""
    return bool((np.abs(values) <= most).all())
