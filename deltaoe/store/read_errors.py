"""Why a file of the store cannot be read: it is in use, it is not readable as things are, or it is damaged.

Only the last is ever set aside by a repair. It takes evidence: the file's bytes can be read, and do not make sense.
"""

from __future__ import annotations

import errno
import fnmatch
import functools
import os
import stat
from pathlib import Path
from typing import Any

from deltaoe.errors import DamagedError, InUseError, StoreError, UnreadableError, first_line, os_reason

_HELD = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EBUSY, errno.ETXTBSY, errno.EDEADLK}
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
# A damaged offset or length leads here as well as an operating system that cannot do what it is asked.
_AMBIGUOUS = {errno.EINVAL, errno.EFBIG, errno.EOVERFLOW, errno.ESPIPE, errno.EFAULT}
_CHUNK_BYTES = 8 << 20
_CHUNKS = 64  # the most that are read of one file
REPAIR = (
    "`deltaoe store verify --repair` sets damaged files aside and keeps what can be proven whole; then run the same "
    "`deltaoe extract` again, or import the features again: only what is lost is computed anew"
)
_CHECK_DISK = (
    "check the disk or the connection to it, and run it again; the file itself was not found to be damaged"
)
_LINK = "restore what it points to, such as a disk that is not connected, or delete the link"
_HINTS = {
    errno.ENOENT: "it was moved or deleted meanwhile; run the command again",
    errno.ESTALE: "it was moved or deleted meanwhile; run the command again",
    errno.EACCES: "check its permissions and those of its folder",
    errno.EPERM: "check its permissions and those of its folder",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n), and run it again",
    errno.ENFILE: "too many files are open on this machine: close programs, and run it again",
    errno.ENOMEM: "free some memory, and run it again",
    errno.EINTR: "the read was interrupted: run it again",
} | dict.fromkeys(
    NO_LOCKS,
    "this file system has no locks: unset HDF5_USE_FILE_LOCKING, or set it to FALSE; reading needs no lock",
)


def check_regular(path: Path) -> None:
    """Raise DamagedError if a pipe, device or folder stands where a file should be, OSError if nothing does.

    Opening a pipe would wait for a writer, for ever.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or device"
        raise DamagedError(f"{what} stands in its place")


@functools.cache
def unlocked() -> dict[str, Any]:
    """What h5py is told when it opens a file to read it.

    Files under their final names are never written to, so that reading needs no lock. (HDF5 before 1.10.7 cannot leave
    it out, and the environment variable HDF5_USE_FILE_LOCKING, where it is set, decides.)
    """
    import h5py

    return {"locking": False} if hasattr(h5py.h5p.PropFAID, "set_file_locking") else {}


def listed(folder: Path, pattern: str) -> list[Path]:
    """What lies in a folder under names of this pattern, sorted; nothing if the folder is not there.

    Raises:
        UnreadableError: it cannot be listed. It would look empty otherwise, and everything in it lost.
    """
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as cause:
        hint = _HINTS.get(cause.errno or 0, _CHECK_DISK)
        raise UnreadableError(f"cannot list {folder}: {os_reason(cause)}", hint=hint) from cause
    return [
        folder / name for name in sorted(names) if fnmatch.fnmatchcase(name, pattern)
    ]  # paths compare slowly


def read_error(path: Path, cause: Exception, what: str, *, hint: str = REPAIR) -> StoreError:
    """What an exception that came up while a file was read says about that file.

    Args:
        path: the file.
        cause: the exception, of whatever kind.
        what: how the message begins, such as ``cannot read FILE``.
        hint: what to do about a damaged file.

    Returns:
        An UnreadableError or InUseError where the cause lies outside the file, or may; else a DamagedError.
    """
    if isinstance(cause, UnreadableError):
        return type(cause)(f"{what}: {cause}", hint=cause.hint)
    damaged = DamagedError(f"{what}: {first_line(cause)}", hint=hint)
    if isinstance(cause, DamagedError):  # what could be read is wrong
        return damaged
    if isinstance(cause, MemoryError) and not _declares_more_than_it_holds(path):
        return UnreadableError(f"{what}: not enough memory", hint=_HINTS[errno.ENOMEM])
    if "already open for" in str(cause):  # in this process, or marked in the file by one that writes to it
        return InUseError(
            f"{what}: {first_line(cause)}", hint="close the program that has it open for writing"
        )
    told = isinstance(cause, OSError) and cause.errno not in {None, *_AMBIGUOUS}
    outside = cause if told and isinstance(cause, OSError) else _unreadable(path)
    if outside is None:
        return damaged
    if outside.errno in _HELD or (outside.errno == errno.EACCES and "unable to lock" in str(outside)):
        return InUseError(
            f"{what}: another program has it open and locked ({_reason(outside)})",
            hint="wait for that program, or close it; nothing is wrong with the file",
        )
    if os.path.islink(path) and outside.errno in {errno.ENOENT, errno.ELOOP}:
        return UnreadableError(f"{what}: it is a link that leads nowhere", hint=_LINK)
    return UnreadableError(f"{what}: {_reason(outside)}", hint=_HINTS.get(outside.errno or 0, _CHECK_DISK))


def _reason(cause: OSError) -> str:
    """The operating system's words; h5py puts its own around them."""
    return os_reason(OSError(cause.errno, os.strerror(cause.errno))) if cause.errno else first_line(cause)


def _unreadable(path: Path) -> OSError | None:
    """Why not all bytes of a regular file can be read; None if they can. Of more than 0.5 GB, samples are read."""
    try:
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags), "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            step = max(_CHUNK_BYTES, size // _CHUNKS)
            for start in range(0, size, step):
                file.seek(start)
                if not file.read(_CHUNK_BYTES):
                    return OSError(errno.EIO, os.strerror(errno.EIO))
    except OSError as cause:
        return cause
    return None


def _declares_more_than_it_holds(path: Path) -> bool:
    """Whether an HDF5 file has a data set of more bytes than the file, which no memory would be enough for."""
    import h5py

    size = os.path.getsize(path)
    found = False

    def look(_: str, item: object) -> None:
        nonlocal found
        found |= isinstance(item, h5py.Dataset) and item.nbytes > size

    try:
        with h5py.File(path, "r", **unlocked()) as file:
            file.visititems(look)
    except (OSError, RuntimeError, ValueError, KeyError, MemoryError):
        return False
    return found
