"""The file of a detector: one safetensors file whose metadata has one JSON entry; nothing in it is executed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save

from deltaoe.errors import DataError, first_line
from deltaoe.functional.unit_rows import are_unit_rows
from deltaoe.scoring.detector_fields import JOINT_WEIGHT, PARTS, DetectorFields
from deltaoe.store.feature_space import FeatureSpace, canonical_json

# Format 1 had no background labels, no shots and no calibration classes; format 2 had ΔEnergy as its only score.
_FORMAT = 3
_KEY = "deltaoe"  # the only metadata entry, because safetensors does not keep the order of several
_CONTEXTS = ("context", "class_context")  # written unless they are None
_OPTIONAL_TENSORS = ("background", "centre", "shots", "calibration_classes")  # written unless they are empty
# Of format 3, written unless they are empty; a detector with none of them and no class context is written as format 2.
_EVIDENCE_TENSORS = ("energy_features", "means", "mean_classes", "root", "part_weights", "part_calibration")
_HEAD = {
    "class_names": list,
    "temperature": float,
    "top_c": int,
    "logit_scale": float,
    "space": dict,
    "settings": dict,
    "facts": dict,
}


def to_bytes(detector: DetectorFields) -> bytes:
    """Content of the detector's file; equal detectors give equal bytes."""
    evidence = (
        any(len(getattr(detector, name)) for name in _EVIDENCE_TENSORS)
        or bool(detector.parts)
        or detector.class_context is not None
    )
    head = {
        "format": _FORMAT if evidence else 2,
        "class_names": list(detector.class_names),
        "temperature": float(detector.temperature),
        "top_c": detector.top_c,
        "logit_scale": float(detector.logit_scale),
        "space": detector.space.to_dict(),
        "settings": dict(detector.settings),
        "facts": dict(detector.facts),
        "background_names": list(detector.background_names),
    }
    if evidence:
        head |= {
            "image_weight": float(detector.image_weight),
            "joint_weight": float(detector.joint_weight),
            "parts": list(detector.parts),
        }
    tensors: dict[str, npt.NDArray[Any]] = {
        "text_features": np.ascontiguousarray(detector.text_features),
        "calibration": np.ascontiguousarray(detector.calibration),
    }
    for name in _CONTEXTS:
        if (context := getattr(detector, name)) is not None:
            tensors[name] = np.ascontiguousarray(context)
    for name in (*_OPTIONAL_TENSORS, *_EVIDENCE_TENSORS):
        if getattr(detector, name).size:
            tensors[name] = np.ascontiguousarray(getattr(detector, name))
    content: bytes = save(tensors, metadata={_KEY: canonical_json(head)})
    return content


def read_fields(path: Path) -> dict[str, Any]:
    """Fields of the detector in a file, by name, not checked yet.

    A damaged file may raise any exception here: call it under :func:`damage_reported`.
    """
    with safe_open(path, framework="numpy") as file:
        head = json.loads((file.metadata() or {})[_KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    _check_head(head)
    fields = {
        "class_names": tuple(head["class_names"]),
        "text_features": tensors.pop("text_features"),
        "temperature": float(head["temperature"]),
        "top_c": head["top_c"],
        "calibration": tensors.pop("calibration"),
        "space": FeatureSpace.from_dict(head["space"]),
        "logit_scale": float(head["logit_scale"]),
        **{name: tensors.pop(name, None) for name in _CONTEXTS},
        "background_names": tuple(head["background_names"] if head["format"] > 1 else ()),
        **{name: tensors.pop(name) for name in (*_OPTIONAL_TENSORS, *_EVIDENCE_TENSORS) if name in tensors},
        "image_weight": float(head.get("image_weight", 0.0)),
        "joint_weight": float(head.get("joint_weight", JOINT_WEIGHT)),
        "parts": tuple(head.get("parts", ())),
        "settings": head["settings"],
        "facts": head["facts"],
    }
    if tensors:
        raise DataError(f"it holds tensors that no detector has: {', '.join(sorted(tensors))}")
    return fields


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Context in which whatever is raised while a detector file is read becomes a DataError that names the file."""
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a detector", hint="name the file in it")
    try:
        yield
    except FileNotFoundError as cause:
        raise DataError(
            f"there is no detector {path}", hint="check the path, or run: deltaoe tune"
        ) from cause
    except Exception as cause:  # safetensors, JSON and numbers of any size: damage raises of every kind
        reason = f"missing {cause}" if isinstance(cause, KeyError) else first_line(cause)
        raise DataError(
            f"{path} is not a usable detector: {reason}", hint="detectors are written by: deltaoe tune"
        ) from cause


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
    if not (
        math.isfinite(detector.temperature) and detector.temperature > 0 and 1 <= detector.top_c <= classes
    ):
        raise DataError("its temperature or top-c is out of range")
    if not (math.isfinite(detector.logit_scale) and detector.logit_scale >= 0):
        raise DataError("its logit scale is out of range")
    for name in _CONTEXTS:
        context = getattr(detector, name)
        if context is not None and not (
            context.dtype == np.float32
            # One context for all classes, or one per class.
            and (context.ndim == 2 or (context.ndim == 3 and len(context) == classes))
            and np.isfinite(context).all()
        ):
            raise DataError(f"its {name.replace('_', ' ')} is not a list of float32 vectors")
    if detector.class_context is not None and detector.context is None:
        raise DataError("it has a class context and no context")


def _check_head(head: Any) -> None:
    if not isinstance(head, dict) or type(head["format"]) is not int or head["format"] < 1:
        raise DataError("it is no detector")
    if head["format"] > _FORMAT:
        raise DataError("it was written by a newer deltaoe")
    kinds = _HEAD if head["format"] == 1 else {**_HEAD, "background_names": list}
    if head["format"] >= 3:
        kinds = {**kinds, "image_weight": float, "joint_weight": float, "parts": list}
    for name, kind in kinds.items():
        if type(head[name]) is not kind and not (kind is float and type(head[name]) is int):
            raise DataError(f"its {name} is not of type {kind.__name__}")


def _check_prompts(detector: DetectorFields) -> None:
    names, text, dim = detector.class_names, detector.text_features, detector.space.dim
    if not all(isinstance(name, str) for name in names):
        raise DataError("its class names are no text")
    if len(set(names)) < len(names):
        raise DataError("its class names are not distinct")
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
    if len(centre) and (
        centre.shape != (dim,) or centre.dtype != np.float32 or not np.isfinite(centre).all()
    ):
        raise DataError("its centre is no vector of float32")
    if len(names) != len(rows) or not all(isinstance(name, str) for name in names):
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
        if not (math.isfinite(getattr(detector, name)) and getattr(detector, name) >= 0):
            raise DataError(f"its {name.replace('_', ' ')} is out of range")
    if not len(means) and not len(classes) and not len(root):
        return
    if means.shape != (len(classes), dim) or means.dtype != np.float32 or not np.isfinite(means).all():
        raise DataError("its class means are no list of float32 vectors")
    if (
        classes.dtype != np.int64
        or classes.ndim != 1
        or (np.diff(classes) <= 0).any()
        or not ((classes >= 0) & (classes < len(detector.class_names))).all()
    ):
        raise DataError("its class means do not fit its classes")
    if root.shape != (dim, dim) or root.dtype != np.float32 or not np.isfinite(root).all():
        raise DataError("its covariance is no square matrix of float32")
