"""The errors of this package, each with a hint.

The library raises these and nothing else for what a caller can cause; the command line turns each into one
message and an exit code. The message says what is wrong, the hint what to do about it.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence


class DeltaoeError(Exception):
    """Base of all errors of this package.

    Args:
        message: what is wrong, without a full stop.
        hint: what to do about it; empty if there is nothing to say.

    Attributes:
        hint: as given.
        exit_code: what the command line exits with.

    Example:
        >>> try:
        ...     raise DataError("no images in photos", hint="check the path")
        ... except DeltaoeError as error:
        ...     print(f"{error} ({error.hint}), exit code {error.exit_code}")
        no images in photos (check the path), exit code 1
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(DeltaoeError):
    """An option or argument has no usable value; it can be corrected without touching any data. Exit code 2."""

    exit_code = 2


class DataError(DeltaoeError):
    """Images, labels or files that were given cannot be used as asked."""


class StoreError(DeltaoeError):
    """The workspace or the feature store cannot be read or written."""


class UnreadableError(StoreError):
    """A file of the store cannot be read as things are: no permission, a failing disk, a newer version.

    It says nothing against the file's content: such a file is never set aside.
    """


class InUseError(UnreadableError):
    """Another process holds a file or a lock of the store, and does not share it."""


class DamagedError(StoreError):
    """All bytes of a file of the store can be read, and by checksum or structure are not what was written."""


class StoreWarning(UserWarning):
    """Something about the workspace or the feature store that a user should know, and that stops nothing."""


class MismatchError(DeltaoeError):
    """Two things that must belong together do not, such as a detector and a model, or features of two spaces."""


class ModelError(DeltaoeError):
    """A model cannot be found, loaded or used as asked."""


class ClusterError(DeltaoeError):
    """A cluster cannot be reached, or its workers cannot do what they are asked."""


def first_line(cause: BaseException, limit: int = 240) -> str:
    """The first line of another package's exception, for a message of ours; the exception's name if it says nothing.

    Args:
        cause: the exception.
        limit: the most characters.

    Example:
        >>> first_line(ValueError("bad header\\nat byte 7")), first_line(KeyboardInterrupt())
        ('bad header', 'KeyboardInterrupt')
    """
    lines = str(cause).strip().splitlines()
    return lines[0][:limit] if lines else type(cause).__name__


def os_reason(cause: OSError) -> str:
    """Why the operating system refused, in lower-case words that fit into a sentence or a table cell.

    Example:
        >>> os_reason(FileNotFoundError(errno.ENOENT, "any text"))
        'no such file or folder'
    """
    if cause.errno == errno.ENOENT:
        return "no such file or folder"
    return (cause.strerror or str(cause)).lower()


def counted_failures(failed: Sequence[tuple[str, str]]) -> str:
    """How many files, and how many folders, whose paths end with ``/``, are in a list of (path, reason).

    Example:
        >>> counted_failures([("a.jpg", "empty file"), ("b.jpg", "empty file"), ("private/", "permission denied")])
        '2 files and 1 folder'
    """
    folders = sum(path.endswith("/") for path, _ in failed)
    counts = [(len(failed) - folders, "file"), (folders, "folder")]
    return " and ".join(f"{count} {what}" + "s" * (count > 1) for count, what in counts if count)
