"""What lies where in the shards of one feature space: an index in memory, built from the shards at every opening.

It cannot be out of date with them, and nothing of it is written. Later shards overrule earlier ones, and features that
were computed here overrule imported ones, whichever came first.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.errors import StoreError
from deltaoe.images.decode_policy import DECODE_POLICY
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.hdf5 import Digests, opened
from deltaoe.store.key_table import GrowingTable, Keys, KeyTable
from deltaoe.store.picture_notes import PictureNotes
from deltaoe.store.read_errors import listed
from deltaoe.store.shards import Shard, content_keys, path_keys, read_index

if TYPE_CHECKING:
    from deltaoe.images.walk import FileList

ASIDE = "damaged"  # the folder beside damaged files that a repair moves them to
_SHARDS = f"shard-{'[0-9]' * 8}.h5"  # and no copy that a file manager made

_Columns = dict[str, npt.NDArray[Any]]


class FileRecord(NamedTuple):
    """One observation of a file.

    Attributes:
        size: bytes.
        mtime_ns: time of the last modification, nanoseconds since 1970, modulo 2^64.
        digest: SHA-256 of its content, 32 bytes; zeros in observations of a problem before version 3.
        problem: why it is no usable image; empty if it is one.
        ctime_ns: time of the last change of content or attributes, as ``mtime_ns``; 0 where it is not known.
        inode: number of the file in its file system, modulo 2^64; 0 where it is not known.
    """

    size: int
    mtime_ns: int
    digest: bytes
    problem: str
    ctime_ns: int = 0
    inode: int = 0


class FileRecords(NamedTuple):
    """The latest observation of each of n files, column by column.

    Attributes:
        known: (n,) whether there is one; where there is none, the other columns hold zeros.
        size: (n,) bytes.
        mtime_ns: (n,) nanoseconds since 1970, modulo 2^64.
        ctime_ns: (n,) likewise; 0 where it is not known, as in every observation before version 3.
        inode: (n,) modulo 2^64; 0 where it is not known.
        digest: (n, 32) SHA-256 of the content; zeros in observations of a problem before version 3.
        problem: position → why that file is no usable image.
    """

    known: npt.NDArray[np.bool_]
    size: npt.NDArray[np.int64]
    mtime_ns: npt.NDArray[np.int64]
    ctime_ns: npt.NDArray[np.int64]
    inode: npt.NDArray[np.uint64]
    digest: Digests
    problem: dict[int, str]

    def unchanged(self, files: FileList) -> npt.NDArray[np.bool_]:
        """(n,) whether each file of a list (n) is still the one that was observed, as far as can be told unread.

        Size, modification time, change time and inode must be the recorded ones. The first two can stay the same while
        the content becomes another (files exchanged, archives without times, ``rsync -t``, ``touch -r``). Nobody can
        set the change time; and after folders were exchanged by renaming, it is only the inode that differs. Where a
        file has no inode, now or on record, that is not compared.
        """
        inode = np.asarray(files.inode)
        same: npt.NDArray[np.bool_] = (
            self.as_sized_and_dated(files)
            & self.has_change_time
            & (self.ctime_ns == np.asarray(files.ctime_ns))
            & ((self.inode == inode) | (self.inode == 0) | (inode == 0))
        )
        return same

    def as_sized_and_dated(self, files: FileList) -> npt.NDArray[np.bool_]:
        """(n,) whether each file of a list (n) has the recorded size and modification time; less than unchanged."""
        same: npt.NDArray[np.bool_] = (
            self.known & (self.size == np.asarray(files.size)) & (self.mtime_ns == np.asarray(files.mtime_ns))
        )
        return same

    @property
    def has_change_time(self) -> npt.NDArray[np.bool_]:
        """(n,) whether the observation has a change time; none of before version 3 has."""
        return np.asarray(self.ctime_ns != 0)

    @property
    def failed(self) -> npt.NDArray[np.bool_]:
        """(n,) whether it was no usable image."""
        failed = np.zeros(len(self.known), dtype=bool)
        failed[list(self.problem)] = True
        return failed


class StoreIndex:
    """The shards of a folder, and in which of them each feature and each observation of a file lies.

    Args:
        folder: the shards' folder; it need not exist.
        space: the feature space that all of them must be of.

    Raises:
        StoreError: a shard cannot be read, or is of another space.
    """

    def __init__(self, folder: Path, space: FeatureSpace) -> None:
        self.folder = folder
        self.space = space
        self._clear()
        self.refresh()

    def _clear(self) -> None:
        self.shards: list[Shard] = []
        self._files = GrowingTable()
        self._features = GrowingTable()  # computed here
        self._imported = GrowingTable()
        self._problems: list[str] = [""]
        self._most_views = 0
        self.notes = PictureNotes()

    def refresh(self) -> None:
        """Read the shards that other processes have written, or compacted, since the last time.

        Raises:
            StoreError: a shard cannot be read.
        """
        present = listed(self.folder, _SHARDS)
        indexed = {shard.path for shard in self.shards}
        if not indexed <= set(present):
            self._clear()
            indexed = set()
        new = [path for path in present if path not in indexed]
        try:
            self.append(new)
        except StoreError:
            if all(os.path.lexists(path) for path in new):
                raise
            self._clear()
            self.refresh()  # one was compacted away since we looked: what it held lies elsewhere now

    def append(self, paths: Sequence[Path]) -> None:
        """Add shards that lie under their final names, in the order of writing; all of them or none.

        Raises:
            StoreError: one of them cannot be read.
        """
        features: list[tuple[Keys, _Columns]] = []
        imported: list[tuple[Keys, _Columns]] = []
        files: list[tuple[Keys, _Columns]] = []
        shards: list[Shard] = []
        for path in paths:
            with opened(path, "features") as file:
                index = read_index(file, self.space)
                size = os.path.getsize(path)
            number = len(self.shards) + len(shards)
            counts = len(index.row_keys), len(index.file_keys)
            shards.append(Shard(path, *counts, size, index.imported, index.decode_policy))
            self.notes.by_digest |= index.notes
            self._most_views = max(self._most_views, int(index.view.max(initial=0)))
            codes = np.zeros(len(index.file_keys), dtype=np.int32)
            for position, problem in index.problems.items():
                codes[position] = len(self._problems)
                self._problems.append(problem)
            rows = imported if index.imported else features
            rows.append((index.row_keys, {"view": index.view, **_places(number, len(index.row_keys))}))
            if index.imported:  # whoever made its features has not seen this computer's files
                continue
            observed: _Columns = {
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

    def next_shard(self) -> Path:
        """The name of the shard that comes after all others, those that a repair has set aside included.

        A number never comes back: readers would take the new file for the old one, and what is aside fits in again.
        """
        aside = (
            path.stem.split("-")[1] for path in listed(self.folder / ASIDE, _SHARDS.replace(".h5", "*.h5"))
        )
        number = 1 + max([0, *(shard.number for shard in self.shards), *map(int, aside)])
        return self.folder / f"shard-{number:08d}.h5"

    def __len__(self) -> int:
        """Number of distinct images with a feature of view 0."""
        table = self.feature_table()
        return 0 if table is None else int(np.count_nonzero(table.columns["view"] == 0))

    @property
    def feature_rows(self) -> int:
        """Number of features: each view of an image is one."""
        table = self.feature_table()
        return 0 if table is None else len(table)

    def files(self, paths: Sequence[bytes]) -> FileRecords:
        """The latest observation of each of n files, by the name it was recorded under."""
        known, columns = self._files.find(path_keys(paths))
        if not columns:
            empty = np.zeros(len(paths), dtype=np.int64)
            return FileRecords(
                known, empty, empty, empty, empty.view(np.uint64), np.zeros((len(paths), 32), np.uint8), {}
            )
        codes = columns["problem"]
        return FileRecords(
            known=known,
            size=columns["size"].astype(np.int64, copy=False),
            mtime_ns=columns["mtime_ns"].astype(np.int64, copy=False),
            ctime_ns=columns["ctime_ns"].astype(np.int64, copy=False),
            inode=columns["inode"].astype(np.uint64, copy=False),
            digest=columns["digest"].astype(np.uint8, copy=False),
            problem={int(i): self._problems[int(codes[i])] for i in np.flatnonzero(codes)},
        )

    def file(self, path: bytes) -> FileRecord | None:
        """The latest observation of one file, by the name it was recorded under; None if there is none."""
        one = self.files([path])
        if not one.known[0]:
            return None
        return FileRecord(
            int(one.size[0]),
            int(one.mtime_ns[0]),
            one.digest[0].tobytes(),
            one.problem.get(0, ""),
            int(one.ctime_ns[0]),
            int(one.inode[0]),
        )

    def has(self, digests: Digests, view: int = 0, *, computed: bool = False) -> npt.NDArray[np.bool_]:
        """(n,) whether there is a feature of this view for each of (n, 32) digests.

        Args:
            digests: (n, 32).
            view: 0 for the picture itself, 1 and above for an augmented view of it.
            computed: only features that were computed here count. Nothing else may stand in for encoding an image:
                an imported feature is whatever its file says of that content.
        """
        return (self._features.find(content_keys(digests, view)) if computed else self._find(digests, view))[
            0
        ]

    def _find(self, digests: Digests, view: int) -> tuple[npt.NDArray[np.bool_], _Columns]:
        """As :meth:`GrowingTable.find`: computed features, and imported ones of images of which none was computed."""
        keys = content_keys(digests, view)
        found, columns = self._features.find(keys)
        missing = np.flatnonzero(~found)
        if view:  # a picture that was encoded here gets no augmented views of somebody else
            missing = missing[~self.has(digests[missing], computed=True)]
        also, imported = self._imported.find(keys[missing])
        for name, column in imported.items():
            if name not in columns:
                columns[name] = np.zeros((len(keys), *column.shape[1:]), dtype=column.dtype)
            columns[name][missing[also]] = column[also]
        found[missing[also]] = True
        return found, columns

    def has_current(self, digests: Digests, view: int = 0) -> npt.NDArray[np.bool_]:
        """(n,) as :meth:`has`, for features of pixels that were made by the present rule."""
        found, columns = self._features.find(content_keys(digests, view))
        return found & self._current(columns)

    def recorded_before(self, paths: Sequence[bytes]) -> npt.NDArray[np.bool_]:
        """(n,) whether the latest observation of each of n files was made by an older rule for pixels."""
        if self.space.is_imported or all(shard.decode_policy >= DECODE_POLICY for shard in self.shards):
            return np.zeros(len(paths), dtype=bool)
        found, columns = self._files.find(path_keys(paths))
        return found & ~self._current(columns)

    def _current(self, columns: _Columns) -> npt.NDArray[np.bool_] | np.bool_:
        if not columns:
            return np.True_
        policies = np.array([shard.decode_policy for shard in self.shards])
        return np.asarray(policies[columns["shard"]] >= DECODE_POLICY)

    def __contains__(self, digest: bytes) -> bool:
        return bool(self.has(as_digests([digest]))[0])

    def views(self, digests: Digests) -> int:
        """The largest V such that *all* of these images, (n, 32) digests, have the augmented views 1 … V."""
        count = 0
        while count < self._most_views and len(digests) and bool(self.has(digests, count + 1).all()):
            count += 1
        return count

    def problem(self, code: int) -> str:
        """The reason behind the column ``problem`` of :meth:`file_table`; empty for 0."""
        return self._problems[code]

    def file_table(self) -> KeyTable | None:
        """The latest observation of every file; None if there are none.

        Columns: ``size``, ``mtime_ns``, ``ctime_ns``, ``inode``, ``digest``, ``problem`` (a code), and ``shard`` and
        ``row``: index into ``shards`` and row in that shard.
        """
        return self._files.whole()

    def feature_table(self) -> KeyTable | None:
        """Every feature once, by digest and view; None if there are none.

        Columns: ``view``, and ``shard`` and ``row``: index into ``shards`` and row in that shard.
        """
        computed, imported = self._features.whole(), self._imported.whole()
        if computed is None or imported is None:
            return imported if computed is None else computed
        return imported.followed_by(computed)


def as_digests(digests: Digests | Sequence[bytes]) -> Digests:
    """n digests of 32 bytes as an array (n, 32)."""
    if isinstance(digests, np.ndarray):
        return digests
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), 32)


def _places(shard: int, count: int) -> _Columns:
    return {"shard": np.full(count, shard, dtype=np.int32), "row": np.arange(count, dtype=np.int32)}
