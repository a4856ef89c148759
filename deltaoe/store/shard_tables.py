"""The shards of one feature space and what lies in them, by the shards themselves or by files derived from them.

The files are those of :class:`deltaoe.store.index_folder.IndexFolder`. They cover the first shards, and are of use
only as long as these are the ones that they were made of. What they do not cover is read from the shards at every
opening, and held in memory.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from deltaoe.errors import StoreError, StoreWarning
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.hdf5 import opened
from deltaoe.store.index_file import ROWS, Content
from deltaoe.store.index_folder import IndexFolder
from deltaoe.store.key_table import Columns, GrowingTable, Keys, KeyTable, in_ranges
from deltaoe.store.paged_table import IndexFileError, PagedTable
from deltaoe.store.picture_notes import PictureNotes
from deltaoe.store.read_errors import listed
from deltaoe.store.shards import Shard, read_index

ASIDE = "damaged"  # the folder beside damaged files that a repair moves them to
_SHARDS = f"shard-{'[0-9]' * 8}.h5"  # and no copy that a file manager made
# While somebody writes, so many rows or shards are held in memory; in the end, fewer are left without an index file.
_MOST_ROWS, _MOST_SHARDS = 1 << 18, 1024
_LEFT_ROWS, _LEFT_SHARDS = 4096, 32
_AT_ONCE = 8  # shards that a writer reads before it looks at how many rows there are


class ShardTables:
    """The shards of a folder, and where each feature and each observation of a file lies, in tables.

    Args:
        folder: the shards' folder; it need not exist.
        space: the feature space that all of them must be of.

    Raises:
        StoreError: a shard cannot be read, or is of another space.
    """

    def __init__(self, folder: Path, space: FeatureSpace) -> None:
        self.folder = folder
        self.space = space
        self._index = IndexFolder(folder, space.id)
        self._uses_files = True
        self._settles = False  # whether this process is the writer, and writes index files
        self._clear()
        self.refresh()

    def _clear(self) -> None:
        self.shards: list[Shard] = []
        self._problems: list[str] = [""]
        self._codes = {"": 0}
        self._most_views = 0
        self.notes = PictureNotes()
        self._index.files = ()
        self._take_tables()

    def _take_tables(self) -> None:
        """Use the tables of the index files, and none in memory."""
        self._fresh_notes: dict[bytes, str] = {}  # of shards that no index file covers
        settled: dict[str, list[PagedTable]] = {name: [] for name in ROWS}
        before = 0
        for file in self._index.files:
            count = len(file.content.shards)
            codes = [self._code(problem) for problem in file.content.problems]
            renumber = {
                "shard": np.arange(before, before + count, dtype=np.int32),
                "problem": np.array(codes, dtype=np.int32),
            }
            for name, tables in settled.items():
                tables.append(file.table(name, renumber))
            before += count
        self._features = GrowingTable(settled["features"])  # computed here
        self._imported = GrowingTable(settled["imported"])
        self._files = GrowingTable(settled["files"])

    def _code(self, problem: str) -> int:
        """The number of a problem in the column ``problem``."""
        code = self._codes.setdefault(problem, len(self._problems))
        if code == len(self._problems):
            self._problems.append(problem)
        return code

    def leave_index_files(self) -> None:
        """Read the shards themselves, from now on. Raises StoreError if one cannot be read."""
        self._uses_files = False
        self._clear()
        self.refresh()

    def refresh(self) -> None:
        """Read the shards that other processes have written, or compacted, since the last time.

        Raises:
            StoreError: a shard cannot be read.
        """
        present = listed(self.folder, _SHARDS)
        indexed = {shard.path for shard in self.shards}
        if not indexed <= set(present) or (self._uses_files and len(present) - len(indexed) > _AT_ONCE):
            self._clear()  # in the latter case, whoever wrote so much has written an index file, too
            indexed = set()
        if not indexed and self._uses_files:
            self._load(present)
            indexed = {shard.path for shard in self.shards}
        new = [path for path in present if path not in indexed]
        step = _AT_ONCE if self._settles else max(1, len(new))
        try:
            for start in range(0, len(new), step):
                self.append(new[start : start + step])
        except StoreError:
            if all(os.path.lexists(path) for path in new):
                raise
            self._clear()
            self.refresh()  # one was compacted away since we looked: what it held lies elsewhere now

    def _load(self, present: Sequence[Path]) -> None:
        """Take over what the index files say of the first of these shards."""
        self._index.load(present)
        for file in self._index.files:
            self.shards += file.content.shards
            self._most_views = max(self._most_views, file.content.most_views)
            self.notes.by_digest |= file.content.notes
        self._take_tables()

    def settle(self, *, at_end: bool) -> None:
        """Move what lies in memory into an index file, if it is of many rows or shards; only for the writer.

        An index file that cannot be written is worth a warning: nothing is lost.
        """
        fresh = self.shards[self._index.covered :]
        count = sum(shard.rows for shard in fresh)
        rows, shards = (_LEFT_ROWS, _LEFT_SHARDS) if at_end else (_MOST_ROWS, _MOST_SHARDS)
        if not count or (count < rows and len(fresh) < shards):
            if at_end:
                self._index.tidy()
            return
        kept = self._index.kept(count)
        start = sum(len(file.content.shards) for file in self._index.files[:kept])
        named = {"features": self._features, "imported": self._imported, "files": self._files}
        tables = {name: _counted_from(start, in_ranges(one.tables(kept))) for name, one in named.items()}
        notes: dict[bytes, str] = {}
        for file in self._index.files[kept:]:
            notes |= file.content.notes
        content = Content(self.shards[start:], self._most_views, self._problems, notes | self._fresh_notes)
        try:
            self._index.write(kept, content, tables)
        except IndexFileError as cause:
            warnings.warn(f"{cause}; it is made again", StoreWarning, stacklevel=2)
            self.leave_index_files()
        except StoreError as cause:
            warnings.warn(f"the index was not written: {cause}", StoreWarning, stacklevel=2)
        else:
            self._take_tables()

    def append(self, paths: Sequence[Path]) -> None:
        """Add shards that lie under their final names, in the order of writing; all of them or none.

        Raises:
            StoreError: one of them cannot be read.
        """
        features: list[tuple[Keys, Columns]] = []
        imported: list[tuple[Keys, Columns]] = []
        files: list[tuple[Keys, Columns]] = []
        shards: list[Shard] = []
        for path in paths:
            with opened(path, "features") as file:
                index = read_index(file, self.space)
                seen = os.stat(path)
            number = len(self.shards) + len(shards)
            counts = len(index.row_keys), len(index.file_keys)
            shards.append(
                Shard(path, *counts, seen.st_size, index.imported, index.decode_policy, seen.st_mtime_ns)
            )
            self.notes.by_digest |= index.notes
            self._fresh_notes |= index.notes
            self._most_views = max(self._most_views, int(index.view.max(initial=0)))
            codes = np.zeros(len(index.file_keys), dtype=np.int32)
            for position, problem in index.problems.items():
                codes[position] = self._code(problem)
            rows = imported if index.imported else features
            rows.append((index.row_keys, {"view": index.view, **_places(number, len(index.row_keys))}))
            if index.imported:  # whoever made its features has not seen this computer's files
                continue
            observed: Columns = {
                "size": index.size,
                "mtime_ns": index.mtime_ns,
                "ctime_ns": index.ctime_ns,
                "inode": index.inode,
                "digest": index.digest,
                "problem": codes,
            }
            files.append((index.file_keys, {**observed, **_places(number, len(index.file_keys))}))
        self.shards += shards  # all of them could be read
        for table, parts in (
            (self._features, features),
            (self._imported, imported),
            (self._files, files),
        ):
            if sum(len(keys) for keys, _ in parts):
                columns = {name: np.concatenate([part[name] for _, part in parts]) for name in parts[0][1]}
                table.append(KeyTable(np.concatenate([keys for keys, _ in parts]), columns))
        if self._settles:
            self.settle(at_end=False)

    @property
    def index_size(self) -> int:
        """Bytes of the index files in use."""
        return sum(file.size for file in self._index.files)

    def next_shard(self) -> Path:
        """The name of the shard that comes after all others, those that a repair has set aside included.

        A number never comes back: readers would take the new file for the old one, and what is aside fits in again.
        """
        aside = (
            path.stem.split("-")[1] for path in listed(self.folder / ASIDE, _SHARDS.replace(".h5", "*.h5"))
        )
        number = 1 + max([0, *(shard.number for shard in self.shards), *map(int, aside)])
        return self.folder / f"shard-{number:08d}.h5"


def _places(shard: int, count: int) -> Columns:
    return {"shard": np.full(count, shard, dtype=np.int32), "row": np.arange(count, dtype=np.int32)}


def _counted_from(start: int, parts: Iterator[KeyTable]) -> Iterator[KeyTable]:
    """Parts of a table whose column ``shard`` counts from a later shard."""
    for part in parts:
        yield KeyTable.of_sorted(part.keys, {**part.columns, "shard": part.columns["shard"] - start})
