"""What is asked of a store: where each feature lies, which there are, and what is on record of a file.

Later shards overrule earlier ones, and features that were computed here overrule imported ones, whichever came first.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Concatenate, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from deltaoe.errors import StoreWarning
from deltaoe.images.decode_policy import DECODE_POLICY
from deltaoe.store.file_records import FileRecord, FileRecords
from deltaoe.store.hdf5 import Digests
from deltaoe.store.key_table import Columns, Keys, KeyTable, Rows, in_ranges, joined
from deltaoe.store.paged_table import IndexFileError
from deltaoe.store.shard_tables import ASIDE, ShardTables
from deltaoe.store.shards import content_keys, path_keys

__all__ = ["ASIDE", "FileRecord", "FileRecords", "StoreIndex", "as_digests"]

_Mask = npt.NDArray[np.bool_]
_P = ParamSpec("_P")
_R = TypeVar("_R")
_Method = Callable[Concatenate["StoreIndex", _P], _R]


def _sound(method: _Method[_P, _R]) -> _Method[_P, _R]:
    """The method, called by :meth:`StoreIndex.soundly`."""

    @functools.wraps(method)
    def called(self: StoreIndex, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return self.soundly(lambda: method(self, *args, **kwargs))

    return called


class StoreIndex(ShardTables):
    """In which shard of a folder each feature and each observation of a file lies.

    Args:
        folder: the shards' folder; it need not exist.
        space: the feature space that all of them must be of.

    Raises:
        StoreError: a shard cannot be read, or is of another space.
    """

    def soundly(self, action: Callable[[], _R]) -> _R:
        """What the action returns, done again without index files if one turns out to be damaged or lost."""
        try:
            return action()
        except IndexFileError as cause:
            warnings.warn(f"{cause}; the shards are read instead", StoreWarning, stacklevel=4)
            self.leave_index_files()
            return action()

    def __len__(self) -> int:
        """Number of distinct images with a feature of view 0."""
        return self._count(only_pictures=True)

    @property
    def feature_rows(self) -> int:
        """Number of features: each view of an image is one."""
        return self._count(only_pictures=False)

    @_sound
    def _count(self, *, only_pictures: bool) -> int:
        views = (part.columns["view"] for part in self.feature_ranges())
        return sum(int(np.count_nonzero(view == 0)) if only_pictures else len(view) for view in views)

    @_sound
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

    @_sound
    def has(self, digests: Digests, view: int = 0, *, computed: bool = False) -> npt.NDArray[np.bool_]:
        """(n,) whether there is a feature of this view for each of (n, 32) digests.

        Args:
            digests: (n, 32).
            view: 0 for the picture itself, 1 and above for an augmented view of it.
            computed: only features that were computed here count. Nothing else may stand in for encoding an image:
                an imported feature is whatever its file says of that content.
        """
        return self._has_computed(digests, view) if computed else self._found(digests, view)[0]

    def _has_computed(self, digests: Digests, view: int) -> npt.NDArray[np.bool_]:
        return self._features.find(content_keys(digests, view))[0]

    @_sound
    def _find(self, digests: Digests, view: int) -> tuple[npt.NDArray[np.bool_], Columns]:
        """As :meth:`GrowingTable.find`: computed features, and imported ones of images of which none was computed."""
        return self._found(digests, view)

    def _found(self, digests: Digests, view: int) -> tuple[npt.NDArray[np.bool_], Columns]:
        keys = content_keys(digests, view)
        found, columns = self._features.find(keys)
        missing = np.flatnonzero(~found)
        if view:  # a picture that was encoded here gets no augmented views of somebody else
            missing = missing[~self._has_computed(digests[missing], 0)]
        also, imported = self._imported.find(keys[missing])
        for name, column in imported.items():
            if name not in columns:
                columns[name] = np.zeros((len(keys), *column.shape[1:]), dtype=column.dtype)
            columns[name][missing[also]] = column[also]
        found[missing[also]] = True
        return found, columns

    @_sound
    def has_current(self, digests: Digests, view: int = 0) -> npt.NDArray[np.bool_]:
        """(n,) as :meth:`has`, for features of pixels that were made by the present rule."""
        found, columns = self._features.find(content_keys(digests, view))
        return found & self._current(columns)

    @_sound
    def recorded_before(self, paths: Sequence[bytes]) -> npt.NDArray[np.bool_]:
        """(n,) whether the latest observation of each of n files was made by an older rule for pixels."""
        if self.space.is_imported or all(shard.decode_policy >= DECODE_POLICY for shard in self.shards):
            return np.zeros(len(paths), dtype=bool)
        found, columns = self._files.find(path_keys(paths))
        return found & ~self._current(columns)

    def _current(self, columns: Columns) -> npt.NDArray[np.bool_] | np.bool_:
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

    def file_ranges(self) -> Iterator[KeyTable]:
        """The latest observation of every file, in the order of their keys, some at a time.

        Columns: ``size``, ``mtime_ns``, ``ctime_ns``, ``inode``, ``digest``, ``problem`` (a code), and ``shard`` and
        ``row``: index into ``shards`` and row in that shard.

        Raises:
            IndexFileError: an index file is damaged; see :meth:`leave_index_files`.
        """
        return in_ranges(self._files.tables())

    def feature_ranges(self) -> Iterator[KeyTable]:
        """Every feature once, in the order of their keys, some at a time.

        Columns: ``view``, and ``shard`` and ``row``: index into ``shards`` and row in that shard.

        Raises:
            IndexFileError: as :meth:`file_ranges`.
        """
        return in_ranges((*self._imported.tables(), *self._features.tables()))

    def features_in_force(self, keys: Keys, shard: Rows, row: Rows) -> _Mask:
        """Which of n features no other one overrules, (n,).

        Args:
            keys: (n, 34), as :func:`content_keys` makes them.
            shard: (n,), index into ``shards``.
            row: (n,), row in that shard.

        Raises:
            IndexFileError: as :meth:`file_ranges`.
        """
        found, columns = self._features.find(keys)
        in_force = _are_at(found, columns, shard, row)
        others = np.flatnonzero(~found)
        in_force[others] = _are_at(*self._imported.find(keys[others]), shard[others], row[others])
        return in_force

    def files_in_force(self, keys: Keys, shard: Rows, row: Rows) -> _Mask:
        """As :meth:`features_in_force`, of n observations of files, by the keys (n, 16) of their paths."""
        return _are_at(*self._files.find(keys), shard, row)

    @_sound
    def file_table(self) -> KeyTable | None:
        """All of :meth:`file_ranges`; None if there are none."""
        return _whole(self.file_ranges())

    @_sound
    def feature_table(self) -> KeyTable | None:
        """All of :meth:`feature_ranges`; None if there are none."""
        return _whole(self.feature_ranges())


def _are_at(found: _Mask, columns: Columns, shard: Rows, row: Rows) -> _Mask:
    """Which of n rows that were looked up are there, (n,), and at the place that is named."""
    if not columns:
        return found
    return np.asarray(found & (columns["shard"] == shard) & (columns["row"] == row))


def as_digests(digests: Digests | Sequence[bytes]) -> Digests:
    """n digests of 32 bytes as an array (n, 32)."""
    if isinstance(digests, np.ndarray):
        return digests
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), 32)


def _whole(parts: Iterator[KeyTable]) -> KeyTable | None:
    """Parts of a table as one; None if there are no rows."""
    some = [part for part in parts if len(part)]
    return joined(some) if some else None
