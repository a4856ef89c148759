"""The small JSON files of a workspace: its state, with a digest that is compared, and descriptions of spaces."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deltaoe.errors import DamagedError, StoreError, UnreadableError
from deltaoe.files import read_small_file
from deltaoe.store.atomic import write_json
from deltaoe.store.feature_space import canonical_json
from deltaoe.store.read_errors import check_regular, read_error

MEND = "`deltaoe store verify --repair` sets it aside, or move that file away; then run the command again"
_FORMAT = 1
_BYTES = 1 << 28
_DIGEST = "sha256"  # the entry with the digest of the others; the state of earlier versions has none
_TABLES = ("spaces", "tuned_on", "folders", "models", "named", "results")  # entries that are tables


def read_state(path: Path) -> dict[str, Any]:
    """The state of a workspace, without its digest; empty if there is no file.

    Raises:
        DamagedError: it is not what was written.
        UnreadableError: it cannot be read, or another version wrote it.
    """
    if not os.path.lexists(path):
        return {}
    state = read_json(path)
    written = state.pop(_DIGEST, None)
    if not isinstance(state.get("format"), int):
        raise _damaged(path)
    if state["format"] != _FORMAT:
        raise UnreadableError(
            f"{path} was written by another version of deltaoe", hint="use --workspace for a new one"
        )
    if written is not None and written != _digest(state):
        raise DamagedError(f"{path} is damaged: its content has changed since it was written", hint=MEND)
    known = {"format", "dataset", "detector", *_TABLES}
    # One of them may be the digest, its name damaged.
    if set(state) - known or not all(isinstance(state.get(name, {}), dict) for name in _TABLES):
        raise _damaged(path)
    return state


def as_written(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state as :func:`read_state` will give it back."""
    return {**state, "format": _FORMAT}


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write the state of a workspace with its digest, atomically. Raises StoreError if that fails."""
    whole = as_written(state)
    write_json(path, {**whole, _DIGEST: _digest(whole)})


def read_json(path: Path) -> dict[str, Any]:
    """The object that a small JSON file holds. Raises DamagedError, or UnreadableError as things are."""
    try:
        check_regular(path)
        if os.path.getsize(path) > _BYTES:
            raise _damaged(path)
        value = json.loads(read_small_file(path, limit=_BYTES, error=StoreError))
    except (OSError, StoreError, ValueError, RecursionError) as cause:
        raise read_error(path, cause, f"cannot read {path}", hint=MEND) from cause
    if not isinstance(value, dict):
        raise _damaged(path)
    return value


def _digest(state: Mapping[str, Any]) -> str:
    """SHA-256, hexadecimal, of the entries in canonical form."""
    return hashlib.sha256(canonical_json(state).encode()).hexdigest()


def _damaged(path: Path) -> StoreError:
    return DamagedError(f"{path} is damaged", hint=MEND)
