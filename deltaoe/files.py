"""Small files that a user names: read whole, without waiting for a pipe or a device."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from deltaoe.errors import DataError, DeltaoeError, os_reason

SMALL_BYTES = 1 << 30  # a list of ten million files takes less


def read_small_file(
    path: Path | str, *, limit: int = SMALL_BYTES, error: type[DeltaoeError] = DataError
) -> bytes:
    """All bytes of a regular file. A pipe or a device is refused: reading one may never end.

    Args:
        path: the file, or a link to it.
        limit: the most bytes that such a file can have.
        error: what is raised.

    Raises:
        DeltaoeError: of the kind ``error``; the file is not there, cannot be read, is no regular file or is larger.
    """
    try:
        if not stat.S_ISREG(mode := os.stat(path).st_mode):  # opening some devices does something
            raise _refused(path, mode, error)
        # Between the two looks a pipe may have come: without O_NONBLOCK, opening it waits for a writer.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags), "rb") as file:
            info = os.fstat(file.fileno())
            if not stat.S_ISREG(info.st_mode):
                raise _refused(path, info.st_mode, error)
            data = b"" if info.st_size > limit else file.read(limit + 1)
    except (OSError, ValueError) as cause:  # ValueError: a NUL in the name
        reason = os_reason(cause) if isinstance(cause, OSError) else "not a possible file name"
        raise error(f"cannot read {path}: {reason}", hint="check the path") from cause
    if info.st_size > limit or len(data) > limit:
        size = max(info.st_size, len(data))
        raise error(
            f"cannot read {path}: {size:,} bytes are more than such a file can have ({limit:,})",
            hint="check that it is the file you mean",
        )
    return data


def _refused(path: Path | str, mode: int, error: type[DeltaoeError]) -> DeltaoeError:
    if stat.S_ISDIR(mode):
        return error(f"cannot read {path}: it is a folder", hint="name a file")
    return error(f"cannot read {path}: not a regular file", hint="save it as a file first")


def check_regular_file(path: Path | str, *, error: type[DeltaoeError] = DataError) -> None:
    """Look at a file before a reader opens it, who would wait for a pipe or a device for ever.

    Raises:
        DeltaoeError: of the kind ``error``; it is a pipe, a device or a folder.
        FileNotFoundError, OSError: it is not there, or cannot be looked at.
    """
    if not stat.S_ISREG(mode := os.stat(path).st_mode):
        raise _refused(path, mode, error)
