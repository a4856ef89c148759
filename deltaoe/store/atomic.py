"""Writing files so that a crash leaves the old file or the new one, never a part of one."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deltaoe.errors import StoreError, os_reason

TEMPORARY_PREFIX = ".deltaoe-tmp-"


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
        temporary = target.parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(4)}{target.suffix}"
        temporary.touch(exist_ok=False)
    except OSError as cause:
        raise cannot_write(target, cause) from cause
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(target)
        _sync(target.parent)
    except OSError as cause:
        raise cannot_write(target, cause) from cause
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(target: Path, content: bytes) -> None:
    """Write a whole file, atomically. Raises StoreError like :func:`replacing`."""
    with replacing(target) as temporary:
        temporary.write_bytes(content)


def write_json(target: Path, value: Any) -> None:
    """Write ``value`` as JSON, atomically. Raises StoreError like :func:`replacing`."""
    with replacing(target) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def check_target(target: Path) -> None:
    """Raise StoreError if something that is no file stands where one will be written: nobody meant to replace it."""
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


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # folders can't be opened there, and renames are journalled
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
