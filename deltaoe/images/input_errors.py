"""What is said of inputs that are not there, or name no images."""

from __future__ import annotations

import difflib
import errno
import itertools
import os
from collections.abc import Sequence

from deltaoe.errors import DataError
from deltaoe.images.file_list import FileList
from deltaoe.images.location_text import inside, without_secrets
from deltaoe.images.walk import SUFFIXES, reason
from deltaoe.short_repr import counted


def missing(given: str, cause: OSError | ValueError) -> DataError:
    """The error for an input that cannot be looked at, with a name that is close to it."""
    if not given:
        return DataError("one of the inputs is an empty name", hint="is a variable of the shell not set?")
    if isinstance(cause, OSError) and (place := inside(given)) is not None:
        return DataError(
            f"{given} is an image inside {place[0]}, which no command line names",
            hint="write its path into a list (.txt), or into - on standard input; or name the whole file",
        )
    if not isinstance(cause, OSError) or cause.errno != errno.ENOENT:
        return DataError(f"cannot read {given}: {reason(cause)}", hint="check the path and its permissions")
    if os.path.islink(given):
        return DataError(
            f"no such file or folder: {given}",
            hint=f"it is a link to {os.readlink(given)}, which is not there",
        )
    folder, name = os.path.split(given.rstrip("/" + os.sep))
    try:
        with os.scandir(folder or os.curdir) as listing:
            # A part of a huge folder will do: the answer should come at once.
            names = [entry.name for entry in itertools.islice(listing, 10_000)]
    except OSError:
        names = []
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {os.path.join(folder, close[0])}?" if close else "check the path"
    return DataError(f"no such file or folder: {given}", hint=hint)


def no_images(inputs: Sequence[str], files: FileList) -> DataError:
    """The error for inputs that name no images, with what they hold instead."""
    shown = ", ".join(map(without_secrets, inputs[:3])) + (
        f" and {len(inputs) - 3} more inputs" if len(inputs) > 3 else ""
    )
    kinds = (
        (files.ignored.other_files, "other file", "other files"),
        (files.ignored.hidden, "hidden entry", "hidden entries"),
    )
    beside = ", ".join(
        [counted(count, one, more) for count, one, more in kinds if count]
        + [f"{one.relative} {one.reason}" for one in files.unlisted[:3]]
        + files.notes[:3]  # a tar that is cut off in its first image, links in one
    )
    nothing = "it is empty" if len(inputs) == 1 else "they are empty"
    return DataError(
        f"no images in {shown}" + (f" ({beside})" if beside else f": {nothing}"),
        hint=f"images are files ending in {', '.join(sorted(SUFFIXES))}",
    )
