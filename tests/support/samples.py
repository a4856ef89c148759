"""Small valid values of what this package stores."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from deltaoe.scoring.detector import Detector
from deltaoe.store.feature_space import FeatureSpace


def unit_rows(count: int, dim: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def digest(number: int) -> bytes:
    """The content digest of an image of this number."""
    return hashlib.sha256(b"image %d" % number).digest()


def digests(numbers: Iterable[int]) -> np.ndarray:
    return np.frombuffer(b"".join(map(digest, numbers)), dtype=np.uint8).reshape(-1, 32)


def make_space(dim: int = 16, **changes: object) -> FeatureSpace:
    values = {
        "model": "ViT-B-16/openai",
        "weights": "w" * 64,
        "config": "c" * 64,
        "preprocess": '{"size":32}',
    }
    values |= {"precision": "fp32", "decode_policy": 1, "dim": dim, "dtype": "float16"}
    return FeatureSpace(**(values | changes))


def make_detector(classes: int = 3, dim: int = 16, calibration: int = 40, **changes: object) -> Detector:
    rng = np.random.default_rng(5)
    values = {
        "class_names": tuple(f"class {i}" for i in range(classes)),
        "text_features": unit_rows(classes, dim, seed=1),
        "temperature": 0.1,
        "top_c": 2,
        "calibration": np.sort(rng.normal(size=calibration)),
        "space": make_space(dim),
        "logit_scale": 100.0,
        "context": rng.normal(size=(4, 8)).astype(np.float32),
        "settings": {"shots": 16, "ebm_weight": 0.1, "context_phrase": None, "domains": ["photo"]},
        "facts": {"cross_entropy": 0.25},
    }
    return Detector(**(values | changes))
