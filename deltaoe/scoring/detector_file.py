"""The file of a detector: one safetensors file whose metadata has one JSON entry; nothing in it is executed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.errors import DataError, first_line
from deltaoe.scoring.detector_fields import JOINT_WEIGHT, DetectorFields
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.sealed import CHANGED, to_bytes, unseal, with_seal

# Format 1 had no background labels, no shots and no calibration classes; format 2 had ΔEnergy as its only score.
_FORMAT = 3
_KEY = "deltaoe"
# The beginning of the digest of a detector's content, at the end of the names that tuning gives.
_NAMED = re.compile(r"(?:\d+-shots|interrupted)-([0-9a-f]{12})\Z")
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


def file_content(detector: DetectorFields) -> bytes:
    """Content of the detector's file; equal detectors give equal bytes."""
    head, tensors = _parts(detector)
    return to_bytes(_KEY, with_seal(head, tensors), tensors)


def digest(detector: DetectorFields) -> str:
    """SHA-256, hexadecimal, of the detector's file without the digest in it: of the files of earlier versions."""
    return hashlib.sha256(to_bytes(_KEY, *_parts(detector))).hexdigest()


def _parts(detector: DetectorFields) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """JSON values and tensors of the detector's file."""
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
    return head, tensors


def read_fields(path: Path) -> dict[str, Any]:
    """Fields of the detector in a file, by name, not checked yet.

    A damaged file may raise any exception here: call it under :func:`damage_reported`.
    """
    head, tensors, checked = unseal(path, _KEY)
    _check_head(head)
    if not checked:
        _check_name(path)
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


def _check_head(head: dict[str, Any]) -> None:
    if type(head["format"]) is not int or head["format"] < 1:
        raise DataError("it is no detector")
    if head["format"] > _FORMAT:
        raise DataError("it was written by a newer deltaoe")
    kinds = {"format": int, **_HEAD}
    if head["format"] >= 2:
        kinds |= {"background_names": list}
    if head["format"] >= 3:
        kinds |= {"image_weight": float, "joint_weight": float, "parts": list}
    for name, kind in kinds.items():
        if type(head[name]) is not kind and not (kind is float and type(head[name]) is int):
            raise DataError(f"its {name} is not of type {kind.__name__}")
    # So that no damage hides an entry, the digest of the content above all. A newer format has a number of its own.
    if unknown := sorted(set(head) - set(kinds)):
        raise DataError(f"it has entries that no detector has: {', '.join(unknown)[:80]}")


def _check_name(path: Path) -> None:
    """Compare a file of an earlier version, with no digest in it, with the digest in the name that tuning gave it."""
    named = _NAMED.search(path.stem)
    if named is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(named[1]):
        raise DataError(f"{CHANGED}, or another detector was given this name")
