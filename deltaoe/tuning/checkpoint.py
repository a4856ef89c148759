"""Checkpoints of a tuning: numbers and arrays in one safetensors file, never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from deltaoe.store.atomic import write_bytes
from deltaoe.store.feature_space import canonical_json

_FORMAT = 1
_KEY = "deltaoe-checkpoint"

Arrays = Mapping[str, npt.NDArray[Any]]


def save_checkpoint(path: Path, head: Mapping[str, Any], arrays: Arrays) -> None:
    """Write plain JSON values and arrays, atomically. Raises StoreError."""
    metadata = {_KEY: canonical_json({"format": _FORMAT, "head": dict(head)})}
    write_bytes(path, save({name: np.ascontiguousarray(a) for name, a in arrays.items()}, metadata=metadata))


def load_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]] | None:
    """What :func:`save_checkpoint` wrote; None where there is none, or none of ours: the work is then done again."""
    try:
        with safe_open(path, framework="numpy") as file:
            kept = json.loads((file.metadata() or {})[_KEY])
            if kept["format"] != _FORMAT:
                return None
            return kept["head"], {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
