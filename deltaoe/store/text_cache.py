"""Text features of a set of prompts, kept so that no prompt is encoded twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from deltaoe.store.atomic import replacing


def prompts_key(prompts: Sequence[str]) -> str:
    """Digest of prompts and their order."""
    return hashlib.sha256(json.dumps(list(prompts)).encode()).hexdigest()[:32]


def load_texts(path: Path, shape: tuple[int, int]) -> npt.NDArray[np.float32] | None:
    """Features kept under ``path``, (K, D); None if there are none or they are damaged: they can be recomputed."""
    try:
        with safe_open(path, framework="numpy") as file:
            features: npt.NDArray[np.float32] = file.get_tensor("text_features")
    except (OSError, SafetensorError):
        return None
    return features if features.shape == shape and features.dtype == np.float32 else None


def save_texts(path: Path, features: npt.NDArray[np.float32]) -> None:
    """Keep features (K, D), atomically. Raises StoreError."""
    with replacing(path) as temporary:
        temporary.write_bytes(save({"text_features": np.ascontiguousarray(features)}))
