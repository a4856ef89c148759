"""Locks on folders: one process writes at a time, and the others are told which one and since when."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from deltaoe.errors import StoreError
from deltaoe.store.atomic import TEMPORARY_PREFIX, cannot_write, write_json

_OWNER = "writer.json"
_PATIENCE_SECONDS = 30.0


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, with a note beside it that says which process holds it; without waiting.

    The operating system frees the lock of a process that dies; the note of a dead process and its temporary files are
    removed by the next one.

    Raises:
        StoreError: another process is writing, or the folder cannot be written.
    """
    with _locked(folder, patience=0.0):
        try:
            write_json(folder / _OWNER, {"pid": os.getpid(), "host": platform.node(), "since": time.time()})
            yield
        finally:
            with contextlib.suppress(OSError):
                (folder / _OWNER).unlink(missing_ok=True)


@contextlib.contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Hold the folder's lock for one or two small files, after waiting for others, without a note.

    Raises:
        StoreError: another process holds it for half a minute, or the folder cannot be written.
    """
    with _locked(folder, patience=_PATIENCE_SECONDS):
        yield


@contextlib.contextmanager
def _locked(folder: Path, *, patience: float) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "writer.lock")
        lock.acquire(timeout=patience)
    except Timeout:
        raise StoreError(
            f"another deltaoe process is writing to {folder}{_owner(folder / _OWNER)}",
            hint="wait for it, or stop it; what it has finished is kept",
        ) from None
    except OSError as cause:
        raise cannot_write(folder, cause) from cause
    try:
        # Under the lock, a temporary file can only be a killed writer's.
        for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
            leftover.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def _owner(note: Path) -> str:
    """Process, machine and age of the lock, for an error message; empty if the note cannot be read."""
    try:
        owner = json.loads(note.read_text(encoding="utf-8"))
        minutes = max(0.0, time.time() - float(owner["since"])) / 60
        age = f"{minutes:.0f} minutes" if minutes >= 2 else f"{60 * minutes:.0f} seconds"
        return f" (process {int(owner['pid'])} on {owner['host']}, for {age})"
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return ""  # the other has only just begun, or has just ended
