"""Checkpoints of a tuning, from which an interrupted one resumes: numbers and arrays in one safetensors file."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from deltaoe.errors import StoreError, first_line
from deltaoe.store.atomic import write_bytes
from deltaoe.store.feature_space import canonical_json
from deltaoe.store.sealed import to_bytes, unseal, with_seal
from deltaoe.tuning.loop import Progress, Step

_FORMAT = 1
_RESULT_FORMAT = 2  # to be raised when resuming from an old checkpoint would give another result
_SAVE_SECONDS = 5.0  # between two writes
_KEY = "deltaoe-checkpoint"

Arrays = Mapping[str, npt.NDArray[Any]]


class Checkpoint:
    """The checkpoint of one tuning, in a file whose name is a digest of everything that the result depends on.

    Args:
        folder: folder of checkpoints; None writes none.
        identity: JSON values that decide the result.

    Attributes:
        path: the file; None if none is written.
        latest: the last state that was loaded or recorded; None before that.
    """

    def __init__(self, folder: Path | None, identity: Mapping[str, object]) -> None:
        key = hashlib.sha256(canonical_json({"format": _RESULT_FORMAT, **identity}).encode()).hexdigest()[:24]
        self.path = None if folder is None else folder / f"{key}.safetensors"
        self._saved = time.monotonic()
        self.latest: Progress | None = None

    def load(self, say: Callable[[str], None] = lambda sentence: None) -> Progress | None:
        """The state in the file; None if there is no file, or it is damaged or of another format.

        Args:
            say: told that the tuning starts anew if there is a file that cannot be used.
        """
        try:
            progress = None if self.path is None else self._loaded(self.path)
        except StoreError as cause:
            say(f"{cause}: the tuning starts anew")
            return None
        self.latest = progress
        return progress

    @staticmethod
    def _loaded(path: Path) -> Progress | None:
        content = load_checkpoint(path)
        if content is None:
            return None
        head, arrays = content
        try:
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
            return Progress(
                last=Step(**head["last"]),
                best_loss=float(head["best_loss"]),
                best=tensors["best"],
                context=tensors["context"],
                optimiser={name[10:]: t for name, t in tensors.items() if name.startswith("optimiser.")},
                generator=tensors["generator"],
            )
        except (KeyError, TypeError, ValueError) as cause:
            raise _unusable(path, first_line(cause)) from cause

    def record(self, progress: Progress) -> None:
        """Make this state the latest one, and write it if the last write was more than five seconds ago.

        Raises:
            StoreError: the file cannot be written.
        """
        self.latest = progress
        if time.monotonic() - self._saved > _SAVE_SECONDS:
            self.write()

    def write(self) -> None:
        """Write the latest state, if there is one.

        Raises:
            StoreError: the file cannot be written.
        """
        self._saved = time.monotonic()
        state = self.latest
        if self.path is None or state is None:
            return
        tensors = {"best": state.best, "context": state.context, "generator": state.generator}
        tensors |= {f"optimiser.{name}": tensor for name, tensor in state.optimiser.items()}
        head = {"last": dataclasses.asdict(state.last), "best_loss": state.best_loss}
        save_checkpoint(self.path, head, {name: tensor.cpu().numpy() for name, tensor in tensors.items()})

    def delete(self) -> None:
        """Delete the file, if there is one."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def save_checkpoint(path: Path, head: Mapping[str, Any], arrays: Arrays) -> None:
    """Write JSON values and arrays to one file, atomically.

    Raises:
        StoreError: the file cannot be written.
    """
    whole = {"format": _FORMAT, "head": dict(head)}
    write_bytes(path, to_bytes(_KEY, with_seal(whole, arrays), arrays))


def load_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]] | None:
    """JSON values and arrays that :func:`save_checkpoint` wrote; None if there is no file.

    Raises:
        StoreError: it cannot be read, is damaged, or is of another format.
    """
    try:
        whole, arrays, _ = unseal(path, _KEY)
        if whole["format"] != _FORMAT:
            raise StoreError("it is of another version of deltaoe")
        head: dict[str, Any] = whole["head"]
        return head, arrays
    except FileNotFoundError:
        return None
    except Exception as cause:  # safetensors, JSON and numbers of any size: damage raises of every kind
        raise _unusable(path, first_line(cause)) from cause


def _unusable(path: Path, why: str) -> StoreError:
    return StoreError(f"the checkpoint {path} cannot be used ({why})", hint="delete it, and tune again")
