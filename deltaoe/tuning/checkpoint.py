"""Checkpoints of a tuning: numbers and arrays in one safetensors file, never a pickle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from deltaoe.store.atomic import write_bytes
from deltaoe.store.feature_space import canonical_json
from deltaoe.tuning.loop import Progress, Step

_FORMAT = 1
# To be raised when an old checkpoint would no longer lead to the same result.
_RESULT_FORMAT = 2
_SAVE_SECONDS = 5.0
_KEY = "deltaoe-checkpoint"

Arrays = Mapping[str, npt.NDArray[Any]]


class Checkpoint:
    """The state of one tuning, in a file named by everything that the result depends on.

    Args:
        folder: of checkpoints; None keeps nothing.
        identity: plain values that decide the result.

    Attributes:
        path: the file; None where nothing is kept.
        newest: the last state that was loaded or kept.
    """

    def __init__(self, folder: Path | None, identity: Mapping[str, object]) -> None:
        key = hashlib.sha256(canonical_json({"format": _RESULT_FORMAT, **identity}).encode()).hexdigest()[:24]
        self.path = None if folder is None else folder / f"{key}.safetensors"
        self._saved = time.monotonic()
        self.newest: Progress | None = None

    def load(self) -> Progress | None:
        """The state in the file; None if there is none, or if the file is of no use."""
        found = None if self.path is None else load_checkpoint(self.path)
        if found is None:
            return None
        head, arrays = found
        try:
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
            progress = Progress(
                last=Step(**head["last"]),
                best_loss=float(head["best_loss"]),
                best=tensors["best"],
                context=tensors["context"],
                kept={int(name[5:]): t for name, t in tensors.items() if name.startswith("kept.")},
                optimiser={name[10:]: t for name, t in tensors.items() if name.startswith("optimiser.")},
                generator=tensors["generator"],
            )
        except (KeyError, TypeError, ValueError):
            return None
        self.newest = progress
        return progress

    def keep(self, progress: Progress) -> None:
        """Remember; write it every few seconds."""
        self.newest = progress
        if time.monotonic() - self._saved > _SAVE_SECONDS:
            self.write()

    def write(self) -> None:
        """Write what is remembered. Raises StoreError."""
        self._saved = time.monotonic()
        if self.path is None or self.newest is None:
            return
        one = self.newest
        tensors = {"best": one.best, "context": one.context, "generator": one.generator}
        tensors |= {f"kept.{epoch}": context for epoch, context in one.kept.items()}
        tensors |= {f"optimiser.{name}": tensor for name, tensor in one.optimiser.items()}
        head = {"last": dataclasses.asdict(one.last), "best_loss": one.best_loss}
        save_checkpoint(self.path, head, {name: tensor.cpu().numpy() for name, tensor in tensors.items()})

    def forget(self) -> None:
        """Remove the file."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


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
