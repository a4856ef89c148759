"""A file read whole, and the size, times and inode under which its content may be recorded."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path

from deltaoe.errors import first_line
from deltaoe.extraction.decoding_window import FileContent
from deltaoe.images.decode import ImageError, read_bytes
from deltaoe.images.location_text import inside, is_url
from deltaoe.images.locations import read_inside, read_url
from deltaoe.images.walk import Observed, observed

READERS = 8  # threads; they wait for disks and networks rather than for a CPU
_SECOND = 10**9
_TICK_NS = _SECOND // 50  # no clock of a kernel that dates files is slower
_COARSE_TICK_NS = 2 * _SECOND  # of file systems that keep whole seconds: FAT has every second one


def readers_for(locations: Iterable[str]) -> int:
    """Number of threads to read these locations with: more where some are URLs."""
    if any(map(is_url, locations)):
        from deltaoe.images.remote import REMOTE_READERS

        return REMOTE_READERS
    return READERS


def read_file(location: str) -> FileContent:
    """The content of what lies at a location, and how it was observed; no exception ends the run.

    A file that changed while it was read has no observation: which content those times belong to is not known.
    """
    try:
        data, seen = _read(location)
    except ImageError as cause:
        return FileContent(b"", b"", str(cause), None)
    except Exception as cause:  # a zero byte in a path, or no memory
        return FileContent(b"", b"", f"cannot be read: {first_line(cause)}", None)
    return FileContent(data, hashlib.sha256(data).digest(), "", seen)


def _read(location: str) -> tuple[bytes, Observed | None]:
    if is_url(location):
        return read_url(location)
    place = inside(location)
    if place is not None:
        before = _settled(place[0])
        data, seen = read_inside(*place)
        return data, None if before is None else seen
    before = _settled(location)
    data = read_bytes(Path(location))
    return data, before if before == observed(os.stat(location)) else None


def _settled(path: str) -> Observed | None:
    """The file as it can be observed now, once its times are older than one tick of the clock that made them.

    A change within the same tick as the one before would leave the same times: what is read after it cannot be
    mistaken for what was there before. None if the file cannot be looked at (reading it says why), or is being written.

    Raises:
        ImageError: it is a pipe or a device, and reading it may never end.
    """
    try:
        info = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(info.st_mode) and not stat.S_ISDIR(info.st_mode):
        raise ImageError("not a regular file")
    wait = max(map(_to_wait, (info.st_mtime_ns, info.st_ctime_ns)))
    if wait:
        time.sleep(wait / _SECOND)
        if observed(os.stat(path)) != observed(info):
            return None
    return observed(info)


def _to_wait(when: int) -> int:
    """Nanoseconds until a time is older than one tick; 0 if it is, or lies in the future."""
    tick = _TICK_NS if when % _SECOND else _COARSE_TICK_NS
    age = time.time_ns() - when
    return tick - age if 0 <= age < tick else 0
