"""The folder of a store's index files: which of them are of use, and when they are written anew."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from deltaoe.errors import StoreWarning
from deltaoe.store.index_file import SUFFIX, Content, IndexFile, write_index
from deltaoe.store.key_table import KeyTable
from deltaoe.store.paged_table import IndexFileError
from deltaoe.store.read_errors import listed

FOLDER = "index"
PATTERN = f"{'[0-9]' * 8}-{'[0-9]' * 8}{SUFFIX}"  # the numbers of its first and its last shard


class IndexFolder:
    """The index files that are in use: each covers the shards that follow those of the one before.

    As in a log-structured merge tree, files of similar size are written anew as one, so that there are few, and each
    row is written a logarithmic number of times.

    Args:
        store: the folder of the shards; this one lies in it, and need not exist.
        space_id: id of the feature space.

    Attributes:
        files: the files in use.
    """

    def __init__(self, store: Path, space_id: str) -> None:
        self.folder = store / FOLDER
        self._space_id = space_id
        self.files: tuple[IndexFile, ...] = ()

    @property
    def covered(self) -> int:
        """Number of shards whose rows are in the files in use."""
        return sum(len(file.content.shards) for file in self.files)

    def load(self, present: Sequence[Path]) -> None:
        """Take into use what covers the first of these shards, in the order of their names, and fits them."""
        files: list[IndexFile] = []
        paths = listed(self.folder, PATTERN)
        start = 0
        while start < len(present) and paths:
            first = present[start].stem.partition("-")[2]
            fitting = (
                _opened(path, self._space_id) for path in reversed(paths) if path.stem.startswith(first)
            )
            best = next((file for file in fitting if file and file.covers(present[start:])), None)
            if best is None:
                break
            files.append(best)
            start += len(best.content.shards)
        self.files = tuple(files)

    def kept(self, fresh: int) -> int:
        """How many of the files in use stay as they are when so many rows are to be added."""
        kept = len(self.files)
        while kept and 2 * fresh >= self.files[kept - 1].rows:
            kept -= 1
            fresh += self.files[kept].rows
        return kept

    def write(self, kept: int, content: Content, tables: Mapping[str, Iterable[KeyTable]]) -> None:
        """Write a file that follows the first ``kept`` files in use, and remove all others; only for the writer.

        Args:
            kept: number of files that stay.
            content: of the new file.
            tables: of the new file, as :func:`write_index` takes them.

        Raises:
            StoreError: the disk does not take it; then all is as before.
        """
        first, last = content.shards[0].number, content.shards[-1].number
        target = self.folder / f"{first:08d}-{last:08d}{SUFFIX}"
        write_index(target, self._space_id, content, tables)
        self.files = (*self.files[:kept], IndexFile(target, self._space_id))
        self.tidy()

    def tidy(self) -> None:
        """Remove the files that are not in use; only for the writer."""
        used = {file.path for file in self.files}
        for path in listed(self.folder, PATTERN):
            if path not in used:
                with contextlib.suppress(OSError):  # a reader may have it open where that forbids removal
                    path.unlink(missing_ok=True)


def _opened(path: Path, space_id: str) -> IndexFile | None:
    """An index file, or None if it cannot be used; a damaged one is worth a warning."""
    try:
        return IndexFile(path, space_id)
    except IndexFileError as cause:
        if path.exists():  # and was not replaced since the folder was listed
            warnings.warn(f"{cause}; the shards are read instead", StoreWarning, stacklevel=2)
        return None
