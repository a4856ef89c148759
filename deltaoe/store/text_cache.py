"""A cache of the text features and of the tokens of prompts, one file of each per list of prompts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deltaoe.errors import StoreError
from deltaoe.store.atomic import write_bytes
from deltaoe.store.sealed import to_bytes, unseal, with_seal

_KEY, _TOKENS_KEY = "deltaoe-text", "deltaoe-tokens"


def prompts_key(prompts: Sequence[str]) -> str:
    """A digest of K prompts in their order, 32 hexadecimal digits: the name of their file."""
    return hashlib.sha256(json.dumps(list(prompts)).encode()).hexdigest()[:32]


def load_texts(path: Path, shape: tuple[int, int]) -> npt.NDArray[np.float32] | None:
    """Text features from a file of the cache, (K, D) float32; None if there are none to use.

    A file that is missing, damaged or of another shape is no loss: its prompts are encoded again.

    Args:
        path: the file.
        shape: (K, D).
    """
    try:
        found = unseal(path, _KEY, bare=True)
        features: npt.NDArray[np.float32] = found.arrays["text_features"]
    except (OSError, StoreError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return features if features.shape == shape and features.dtype == np.float32 else None


def save_texts(path: Path, features: npt.NDArray[np.float32]) -> None:
    """Write text features (K, D) to a file of the cache, atomically. Raises StoreError if that fails."""
    arrays = {"text_features": features}
    write_bytes(path, to_bytes(_KEY, with_seal({}, arrays), arrays))


def load_tokens(path: Path, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int] | None:
    """What :func:`save_tokens` wrote of K = ``count`` prompts; None if it is missing or damaged."""
    try:
        arrays = unseal(path, _TOKENS_KEY).arrays
        first, lengths, limit = (arrays[name] for name in ("first", "lengths", "limit"))
    except (OSError, StoreError, ValueError, KeyError, TypeError, RecursionError):
        return None
    fits = all(array.shape == (count,) and array.dtype == np.int64 for array in (first, lengths))
    if not fits or limit.shape != (1,) or not ((first >= 0) & (first <= np.arange(count))).all():
        return None
    return first, lengths, int(limit[0])


def save_tokens(path: Path, first: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], limit: int) -> None:
    """Write what a model reads of K prompts, atomically. Raises StoreError if that fails.

    Args:
        path: the file.
        first: (K,) index of the first prompt with the same tokens.
        lengths: (K,) number of tokens of the prompts that are cut, 0 of all others.
        limit: number of tokens that the model reads.
    """
    arrays = {"first": first, "lengths": lengths, "limit": np.array([limit])}
    write_bytes(path, to_bytes(_TOKENS_KEY, with_seal({}, arrays), arrays))
