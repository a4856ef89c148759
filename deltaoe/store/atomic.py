"""Writing files so that a crash leaves the old file or the new one, never a part of one."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import platform
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deltaoe.errors import StoreError, os_reason

TEMPORARY_PREFIX = ".deltaoe-tmp-"
_OLD_SECONDS = 24 * 3600
_cleared: set[Path] = set()  # folders whose leftovers this process has cleared


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path in ``target``'s folder; on success sync it to disk and rename it to ``target``.

    On any exception, Ctrl-C included, the temporary file is removed and ``target`` stays as it was.

    Raises:
        StoreError: the folder cannot be written, the disk is full, or a pipe, device or folder stands at ``target``.
    """
    check_target(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        clear_leftovers(target.parent)
        temporary = target.parent / temporary_name(target.suffix)
        temporary.touch(exist_ok=False)
    except OSError as cause:
        raise cannot_write(target, cause) from cause
    try:
        yield temporary
        sync(temporary)
        temporary.replace(target)
        sync(target.parent)
    except OSError as cause:
        raise cannot_write(target, cause) from cause
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def temporary_name(suffix: str = "") -> str:
    """A new name for a temporary file of this process, from which others can tell whether it still runs."""
    return f"{TEMPORARY_PREFIX}{_here()}-{os.getpid()}-{secrets.token_hex(4)}{suffix}"


def clear_leftovers(folder: Path) -> None:
    """Remove temporary files and folders of processes that were killed while they wrote into a folder.

    Those are such whose name has a process of this machine that runs no more, and any file that nobody has changed for
    a day: of processes elsewhere it cannot be told whether they run. Nothing is said of what cannot be removed. A
    process looks into a folder once.
    """
    if folder in _cleared:
        return
    _cleared.add(folder)
    own = f"{TEMPORARY_PREFIX}{_here()}-"
    with contextlib.suppress(OSError), os.scandir(folder) as listing:
        for entry in listing:
            if not entry.name.startswith(TEMPORARY_PREFIX):
                continue
            with contextlib.suppress(OSError):
                info = entry.stat(follow_symlinks=False)
                age = time.time() - max(info.st_mtime, info.st_ctime)
                number = entry.name.removeprefix(own).partition("-")[0]
                killed = entry.name.startswith(own) and number.isdecimal() and not _runs(int(number))
                if stat.S_ISREG(info.st_mode) and (killed or age > _OLD_SECONDS):
                    os.unlink(entry.path)
                elif stat.S_ISDIR(info.st_mode) and killed:
                    shutil.rmtree(entry.path)


@functools.cache
def _here() -> str:
    """A word for the machine, or container, whose process numbers these are."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return hashlib.sha256(f"{platform.node()}\0{space}".encode()).hexdigest()[:8]


def _runs(number: int) -> bool:
    """Whether a process of this number runs here; True where that cannot be told."""
    if os.name == "nt":  # where os.kill ends processes
        return True
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def write_bytes(target: Path, content: bytes) -> None:
    """Write a whole file, atomically. Raises StoreError like :func:`replacing`."""
    with replacing(target) as temporary:
        temporary.write_bytes(content)


def write_json(target: Path, value: Any) -> None:
    """Write ``value`` as JSON, atomically. Raises StoreError like :func:`replacing`."""
    with replacing(target) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def check_target(target: Path) -> None:
    """Raise StoreError if something else than a file stands where one will be written: nobody meant to replace it."""
    if target.exists() and not target.is_file():
        what = "it is a folder" if target.is_dir() else "not a regular file"
        raise StoreError(f"cannot write {target}: {what}", hint="name a file that may be written")


def cannot_write(target: Path, cause: OSError) -> StoreError:
    """The error of a file or folder that cannot be written, with the operating system's reason."""
    return StoreError(
        f"cannot write {target}: {os_reason(cause)}",
        hint="check permissions and free space, then run it again",
    )


def gone(path: Path) -> StoreError:
    """The error of something in the workspace that somebody deletes, moves or replaces while it is written to."""
    return StoreError(
        f"{path} was deleted, moved or replaced while deltaoe was writing to it",
        hint="run the same command again: only what is lost is made anew",
    )


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk. Raises OSError."""
    if path.is_dir() and os.name == "nt":  # folders can't be opened there, and renames are journalled
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
