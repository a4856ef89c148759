"""A lock of our own for file systems without locks: a file that only one process can create.

The file names its owner, who touches it every few seconds. What is left of a dead process is removed by the next one:
at once if the owner ran on this machine and is gone, and otherwise when it was not touched for ten minutes.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deltaoe.errors import InUseError, StoreError
from deltaoe.files import read_small_file
from deltaoe.store.atomic import TEMPORARY_PREFIX

NAME = "writer.held"
HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 600.0
_WAIT_SECONDS = 0.1
_LIMIT = 4096


class HeldError(InUseError):
    """Another process has the lock."""


@dataclass(frozen=True)
class _Owner:
    """What a lock file says, and when it was last touched by the file system's clock."""

    token: str
    machine: str
    process: str
    touched: float


@contextlib.contextmanager
def lock_file(folder: Path, patience: float) -> Iterator[None]:
    """Hold the folder's lock file.

    Args:
        folder: the folder, which is there.
        patience: seconds to wait for another process.

    Raises:
        HeldError: another process holds it for longer than that.
        OSError: the folder cannot be written.
    """
    path, token = folder / NAME, secrets.token_hex(8)
    end = time.monotonic() + patience
    while not _created(path, token):
        if not _cleared(path) and time.monotonic() >= end:
            raise HeldError(f"{path} is held")
        time.sleep(_WAIT_SECONDS if path.exists() else 0)
    stop = threading.Event()
    beat = threading.Thread(target=_keep_alive, args=(path, token, stop), daemon=True, name="lock-heartbeat")
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        mine = _owner(path)
        if mine is not None and mine.token == token:
            with contextlib.suppress(OSError):
                path.unlink()


def is_held(folder: Path) -> bool:
    """Whether a live process holds the folder's lock file, such as one whose view of this disk has no locks."""
    path = folder / NAME
    return os.path.lexists(path) and not _cleared(path)


def _created(path: Path, token: str) -> bool:
    content = json.dumps({"token": token, "machine": _machine(), "process": _process(os.getpid())}).encode()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    try:
        os.write(descriptor, content)
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    finally:
        os.close(descriptor)
    return True


def _keep_alive(path: Path, token: str, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        with contextlib.suppress(OSError):
            owner = _owner(path)
            if owner is not None and owner.token == token:
                os.utime(path)


def _owner(path: Path) -> _Owner | None:
    """Who holds a lock file; None if it is gone. What does not name its owner is one that cannot be asked."""
    try:
        touched = os.stat(path).st_mtime
    except OSError:
        return None
    try:
        said = json.loads(read_small_file(path, limit=_LIMIT, error=StoreError))
        return _Owner(str(said["token"]), str(said["machine"]), str(said["process"]), touched)
    except (StoreError, ValueError, TypeError, KeyError, RecursionError):
        return _Owner("", "", "", touched)


def _cleared(path: Path) -> bool:
    """Remove the lock file of a dead process. Whether there is none any more."""
    owner = _owner(path)
    if owner is None:
        return True
    if not _is_dead(path, owner):
        return False
    # Only one process may remove it, and only if it still is the dead one's: another may have been faster.
    breaker = path.with_suffix(".breaking")
    try:
        os.close(os.open(breaker, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        if _now(path.parent) - _mtime(breaker) > STALE_SECONDS:
            breaker.unlink(missing_ok=True)
        return False
    try:
        again = _owner(path)
        if again is not None and again == owner:
            path.unlink(missing_ok=True)
            return True
        return again is None
    finally:
        breaker.unlink(missing_ok=True)


def _is_dead(path: Path, owner: _Owner) -> bool:
    if owner.machine == _machine():
        return _process(int(owner.process.partition("@")[0] or 0)) != owner.process
    return _now(path.parent) - owner.touched > STALE_SECONDS


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return float("inf")


def _now(folder: Path) -> float:
    """The time by the clock of the file system, which may be another machine's."""
    probe = folder / f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)


@functools.cache
def _machine() -> str:
    """This machine since it was started, and this container on it: where a process number means one process."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    # Without /proc it cannot be told whether a process is gone: then only time tells.
    return "|".join(parts) if len(parts) == 3 else secrets.token_hex(8)


def _process(pid: int) -> str:
    """A process's number and when it started, which tells it from a later one of that number; empty if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in b"ZX" else f"{pid}@{fields[19].decode()}"
