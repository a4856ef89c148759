"""What can go wrong, each with the next action.

The library raises these and nothing else for what a caller can cause; the command line turns each into one
message and an exit code. The message is the fact, ``hint`` is what to do about it.
"""

from __future__ import annotations


class DeltaoeError(Exception):
    """Base of all errors of this package: a short fact and, in ``hint``, the next action."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(DeltaoeError):
    """An option or argument has no usable value. The caller can fix it without touching any data."""

    exit_code = 2


class DataError(DeltaoeError):
    """The images, labels or files given cannot be used as asked."""


class StoreError(DeltaoeError):
    """The workspace or the feature store cannot be read or written."""


class MismatchError(DeltaoeError):
    """Two things that must belong together do not: a detector and a model, a store and a feature space."""


class ModelError(DeltaoeError):
    """A model cannot be found, loaded or used for what was asked."""


def first_line(cause: BaseException, limit: int = 240) -> str:
    """What somebody else's exception says, in one line for a message of ours; never empty."""
    lines = str(cause).strip().splitlines()
    return lines[0][:limit] if lines else type(cause).__name__
