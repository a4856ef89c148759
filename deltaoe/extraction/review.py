"""Files whose features were made by an older rule for pixels: which of them the present rule shows otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.errors import StoreError
from deltaoe.images.plain import is_plain
from deltaoe.images.walk import FileList
from deltaoe.store.feature_store import FeatureStore


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
    keys: Sequence[bytes],
    store: FeatureStore,
    usable: npt.NDArray[np.bool_],
    problems: Mapping[int, str],
) -> Review:
    """Look at the first bytes of each usable file that was recorded under an older rule.

    Files that could not be used then are read again, as more kinds can be read now.

    Args:
        files: N files.
        keys: N names that they are recorded under.
        store: has the records.
        usable: (N,) whether a file's features are there.
        problems: index and reason of files that cannot be used.
    """
    before = store.recorded_before(keys)
    failed = np.zeros(len(files), dtype=bool)
    failed[[i for i in problems if i not in files.problems]] = True
    other = before & usable
    for i in np.flatnonzero(other):
        other[i] = not is_plain(files.path(int(i)))
    again = other | (before & failed)
    counts = (
        (int(np.count_nonzero(other)), "of more than 8 bits per sample"),
        (int(np.count_nonzero(before & failed)), "that could not be used before"),
    )
    said = ", ".join(f"{count} {what}" for count, what in counts if count)
    records = [store.file(keys[i]) for i in np.flatnonzero(other).tolist()]
    return Review(
        np.flatnonzero(again),
        np.flatnonzero(before & usable & ~other),
        [record.digest for record in records if record is not None],
        f"this version shows images of some kinds otherwise, and reads them again: {said}" if said else "",
    )


def keep_same(reviewed: Review, keys: Sequence[bytes], store: FeatureStore) -> None:
    """Record files that the present rule shows as before under that rule, so that they are looked at once."""
    if not len(reviewed.same):
        return
    with (
        suppress(StoreError),
        store.writer() as writer,
    ):  # where nothing can be written, they are looked at again
        for i in reviewed.same.tolist():
            if (record := store.file(keys[i])) is not None:
                writer.add(keys[i], record)
