"""A cache of the text features of prompts, one file per list of prompts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from deltaoe.errors import StoreError
from deltaoe.store.atomic import replacing
from deltaoe.store.read_errors import check_regular


def prompts_key(prompts: Sequence[str]) -> str:
    """A digest of K prompts in their order, 32 hexadecimal digits: the name of their file."""
    return hashlib.sha256(json.dumps(list(prompts)).encode()).hexdigest()[:32]


def load_texts(path: Path, shape: tuple[int, int]) -> npt.NDArray[np.float32] | None:
    """Text features from a file of the cache, (K, D) float32; None if it is missing or damaged, or of another shape.

    Args:
        path: the file.
        shape: (K, D).
    """
    try:
        check_regular(path)  # opening a pipe would wait for ever
        with safe_open(path, framework="numpy") as file:
            features: npt.NDArray[np.float32] = file.get_tensor("text_features")
    except (OSError, StoreError, SafetensorError):
        return None
    return features if features.shape == shape and features.dtype == np.float32 else None


def save_texts(path: Path, features: npt.NDArray[np.float32]) -> None:
    """Write text features (K, D) to a file of the cache, atomically. Raises StoreError if that fails."""
    with replacing(path) as temporary:
        temporary.write_bytes(save({"text_features": np.ascontiguousarray(features)}))
