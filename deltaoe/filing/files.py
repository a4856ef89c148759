"""One file at a time: compare, copy, move or link, never onto a file that is there."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from deltaoe.filing.plan import Mode
from deltaoe.store.atomic import clear_leftovers, temporary_name

_BLOCK = 1 << 20
# What a file system answers that knows no hard links.
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EACCES}


def put(source: str, target: str, mode: Mode) -> None:
    """Copy, move or link a file; killed at any time, it leaves the whole file or none under the target's name.

    A copy keeps the time of the last change. A move to another disk is a copy that is read back and compared before
    the source is deleted. A link is symbolic, to the absolute path.

    Args:
        source: path of the file.
        target: absolute path that it gets.
        mode: what to do.

    Raises:
        FileExistsError: there is something of the target's name.
        OSError: the file cannot be read, written or deleted.
    """
    if mode == "link":
        os.symlink(os.path.abspath(source), target)
    elif mode == "copy":
        _copy(source, target)
    else:
        _move(source, target)


def put_bytes(data: bytes, target: str, modified_ns: int) -> None:
    """Write a file with this content and time of the last change, as :func:`put` copies one. Raises OSError."""
    with _temporary(os.path.dirname(target)) as temporary:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.utime(temporary, ns=(modified_ns, modified_ns))
        _name_if_free(temporary, target)


def holds(path: str, data: bytes) -> bool:
    """Whether a path leads to a file of just this content; False if it cannot be read."""
    try:
        return os.path.isfile(path) and os.path.getsize(path) == len(data) and Path(path).read_bytes() == data
    except OSError:
        return False


def same_content(one: str, other: str) -> bool:
    """Whether two paths lead to files of the same bytes; False if one cannot be read."""
    try:
        if not (
            os.path.isfile(one) and os.path.isfile(other) and os.path.getsize(one) == os.path.getsize(other)
        ):
            return False
        with open(one, "rb") as first, open(other, "rb") as second:
            while block := first.read(_BLOCK):
                if block != second.read(_BLOCK):
                    return False
            return not second.read(1)
    except OSError:
        return False


def _move(source: str, target: str) -> None:
    if os.path.islink(source):
        raise OSError(errno.EINVAL, "Is a symbolic link; move what it leads to, or copy it")
    try:
        _name_if_free(source, target)
    except OSError as cause:
        if cause.errno != errno.EXDEV:
            raise
        _copy(source, target)
        if not same_content(source, target):
            os.unlink(target)
            raise OSError(errno.EIO, "The copy differs from the file, which was left where it is") from None
        os.unlink(source)


def _name_if_free(old: str, new: str) -> None:
    """Rename a file unless there is something of the new name. Raises FileExistsError or another OSError."""
    if os.name == "nt":
        os.rename(old, new)  # fails there if the new name is taken
        return
    try:
        os.link(old, new, follow_symlinks=False)  # fails if the name is taken, which renaming does not
    except OSError as cause:
        if cause.errno not in _NO_HARD_LINKS:
            raise
        if os.path.lexists(new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new) from None
        os.rename(old, new)
    else:
        os.unlink(old)


def _copy(source: str, target: str) -> None:
    with _temporary(os.path.dirname(target)) as temporary:
        shutil.copyfile(source, temporary)
        with contextlib.suppress(OSError):  # permissions and times are welcome where the disk has them
            shutil.copystat(source, temporary)
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _name_if_free(temporary, target)


@contextlib.contextmanager
def _temporary(folder: str) -> Iterator[str]:
    clear_leftovers(Path(folder))
    path = os.path.join(folder, temporary_name())
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
