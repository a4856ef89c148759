"""Locks on folders: one process writes at a time, and the others are told which one and since when.

The operating system's lock is used, or a lock file of our own on a disk without locks; the environment variable
``DELTAOE_LOCKS`` (``auto``, ``system``, ``file``) decides.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from deltaoe.errors import ConfigError, InUseError, StoreError, StoreWarning, UnreadableError, os_reason
from deltaoe.files import read_small_file
from deltaoe.store.atomic import TEMPORARY_PREFIX, cannot_write, gone, write_json
from deltaoe.store.lock_file import NAME, HeldError, is_held, lock_file
from deltaoe.store.place import LOCKS
from deltaoe.store.read_errors import NO_LOCKS

_WAYS = ("auto", "system", "file")
_OWNER = "writer.json"
_PATIENCE_SECONDS = 30.0
_POLL_SECONDS = 0.05
_CONTENDED = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES}


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, with a note beside it that says which process holds it; without waiting.

    The operating system frees the lock of a process that dies; the note of a dead process and its temporary files are
    removed by the next one.

    Raises:
        InUseError: another process is writing.
        StoreError: the folder cannot be written, or was deleted or replaced meanwhile.
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
    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(_lock(folder, patience))
        except (Timeout, HeldError):
            left = folder / NAME
            away = f"; if it is gone for sure, delete {left}" if left.exists() else ""
            raise InUseError(
                f"another deltaoe process is writing to {folder}{_owner(folder / _OWNER)}",
                hint=f"wait for it, or stop it; what it has finished is kept{away}",
            ) from None
        except OSError as cause:
            raise cannot_write(folder, cause) from cause
        # Under the lock, a temporary file can only be a killed writer's.
        for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)
        before = os.stat(folder)
        yield
        try:
            same = os.path.samestat(before, os.stat(folder))
        except OSError:
            same = False
        if not same:
            raise gone(folder)


@contextlib.contextmanager
def _lock(folder: Path, patience: float) -> Iterator[None]:
    """The operating system's lock; where it has none on this disk, or the user asks for it, a lock file of our own.

    Raises:
        Timeout, HeldError: another process has it for longer than ``patience`` seconds.
        ConfigError: the environment variable has no such value.
        OSError: the folder cannot be written.
    """
    way = os.environ.get(LOCKS) or "auto"
    if way not in _WAYS:
        raise ConfigError(f"{LOCKS} is {way!r}", hint=f"it can be {', '.join(_WAYS)}")
    with contextlib.ExitStack() as held:
        if way == "file" or not _entered(held, folder, patience, way):
            held.enter_context(lock_file(folder, patience))
        elif is_held(folder):  # by a process that sees this disk without locks
            raise HeldError(str(folder))
        yield


def _entered(held: contextlib.ExitStack, folder: Path, patience: float, way: str) -> bool:
    """Enter the operating system's lock; False, with a warning, where there is none on this disk."""
    try:
        held.enter_context(_system_lock(folder / "writer.lock", patience))
    except OSError as cause:
        if cause.errno not in NO_LOCKS:
            raise
        if way == "system":
            raise UnreadableError(
                f"cannot lock {folder}: {os_reason(cause)}",
                hint=f"unset {LOCKS}, or set it to file: a lock file is used then",
            ) from cause
        warnings.warn(
            f"the workspace's disk has no file locks ({os_reason(cause)}): lock files are used instead, which "
            f"{LOCKS}=file chooses without this warning",
            StoreWarning,
            stacklevel=2,
        )
        return False
    return True


@contextlib.contextmanager
def _system_lock(path: Path, patience: float) -> Iterator[None]:
    """The operating system's lock on a file. Raises OSError with an errno of NO_LOCKS where there is none."""
    if os.name == "nt":
        with FileLock(path).acquire(timeout=patience):
            yield
        return
    import fcntl  # filelock takes some of these errors for another process's lock, and meets others in its own way

    end = time.monotonic() + patience
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as cause:
                if cause.errno not in _CONTENDED:
                    raise
            else:
                if _is_at(path, descriptor):
                    yield  # closing the file frees the lock
                    return
                continue  # somebody has deleted it since: lock the one that is there now
        finally:
            os.close(descriptor)
        if time.monotonic() >= end:
            raise HeldError(str(path))
        time.sleep(_POLL_SECONDS)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is the one that lies at a path."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except OSError:
        return False


def _owner(note: Path) -> str:
    """Process, machine and age of the lock, for an error message; empty if the note cannot be read."""
    try:
        owner = json.loads(read_small_file(note, limit=1 << 16, error=StoreError))
        minutes = max(0.0, time.time() - float(owner["since"])) / 60
        age = f"{minutes:.0f} minutes" if minutes >= 2 else f"{60 * minutes:.0f} seconds"
        return f" (process {int(owner['pid'])} on {owner['host']}, for {age})"
    except (StoreError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return ""  # the other has only just begun, or has just ended
