"""Detectors with every field, and what lies in their files."""

from __future__ import annotations

import dataclasses
import json
import struct

import numpy as np
from samples import make_detector, unit_rows

from deltaoe.scoring.detector import Detector
from deltaoe.scoring.detector_fields import PARTS


def full_detector(**changes: object) -> Detector:
    """Three classes, of which two have images, and a value in every field."""
    rng = np.random.default_rng(6)
    plain = make_detector()
    n = len(plain.calibration)
    values = {
        "background": unit_rows(2, 16, seed=3),
        "background_names": ("v", "w"),
        "shots": np.full((4, 32), 7, dtype=np.uint8),
        "class_context": rng.normal(size=(4, 8)).astype(np.float32),
        "energy_features": unit_rows(3, 16, seed=4),
        "means": rng.normal(size=(2, 16)).astype(np.float32),
        "mean_classes": np.array([0, 2]),
        "root": rng.normal(size=(16, 16)).astype(np.float32),
        "image_weight": 0.02,
        "joint_weight": 0.01,
        "parts": PARTS,
        "part_weights": np.array([0.25, 0.25, 0.5]),
        "part_calibration": rng.normal(size=(n, 3)),
        "calibration_classes": rng.integers(0, 3, n),
    }
    return make_detector(**(values | changes))


def assert_equal(a: Detector, b: Detector) -> None:
    for field in dataclasses.fields(Detector):
        mine, theirs = getattr(a, field.name), getattr(b, field.name)
        if isinstance(mine, np.ndarray):
            assert mine.dtype == theirs.dtype
            assert mine.shape == theirs.shape
            assert mine.tobytes() == theirs.tobytes()
        else:
            assert mine == theirs, field.name


def parts(content: bytes) -> tuple[dict, dict, bytes]:
    """Table of tensors, our own head without the digest, and the tensors' bytes.

    What is put together of them by :func:`joined` is a file as earlier versions wrote it.
    """
    return parts_under("deltaoe", content)


def joined(table: dict, head: object, body: bytes) -> bytes:
    return joined_under("deltaoe", table, head, body)


def parts_under(key: str, content: bytes) -> tuple[dict, dict, bytes]:
    """As :func:`parts`, of a file whose head has another name."""
    (length,) = struct.unpack("<Q", content[:8])
    table = json.loads(content[8 : 8 + length])
    head = json.loads(table["__metadata__"][key])
    head.pop("sha256", None)
    return table, head, content[8 + length :]


def joined_under(key: str, table: dict, head: object, body: bytes) -> bytes:
    table = {**table, "__metadata__": {key: head if isinstance(head, str) else json.dumps(head)}}
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body
