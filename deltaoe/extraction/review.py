"""Files whose features were made by an older rule for pixels: which of them the present rule shows otherwise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.extraction.file_states import FileStates
from deltaoe.images.file_list import FileList
from deltaoe.images.shown_alike import is_plain


class Review(NamedTuple):
    """What of N files the present rule shows as before, and what not.

    Attributes:
        again: (m,) indices of files to read again.
        same: (n,) indices of files whose features stay.
        replaced: content digests of those of the first whose features were used.
        sentence: says so to the user; empty if nothing is read again.
    """

    again: npt.NDArray[np.int64]
    same: npt.NDArray[np.int64]
    replaced: list[bytes]
    sentence: str


def review(
    files: FileList,
    before: npt.NDArray[np.bool_],
    states: FileStates,
) -> Review:
    """Look at the first bytes of each usable file that was recorded under an older rule.

    Files that could not be used then are read again, as more kinds can be read now.

    Args:
        files: N files.
        before: (N,) whether a file was recorded under an older rule.
        states: of the N files, by these records.
    """
    failed = np.zeros(len(files), dtype=bool)
    failed[[i for i in states.problems if i not in files.problems]] = True
    other = before & states.usable
    for i in np.flatnonzero(other):
        other[i] = not is_plain(files.path(int(i)))
    again = other | (before & failed)
    counts = (
        (int(np.count_nonzero(other)), "of more than 8 bits per sample"),
        (int(np.count_nonzero(before & failed)), "that could not be used before"),
    )
    said = ", ".join(f"{count} {what}" for count, what in counts if count)
    return Review(
        np.flatnonzero(again),
        np.flatnonzero(before & states.usable & ~other),
        [digest.tobytes() for digest in states.digests[other]],
        f"this version shows images of some kinds otherwise, and reads them again: {said}" if said else "",
    )
