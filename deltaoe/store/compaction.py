"""Compaction: many small shards become few large ones, without the rows that nothing refers to any more."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.images.decode_policy import DECODE_POLICY
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.hdf5 import get_digests, get_strings, opened
from deltaoe.store.key_table import Keys, Rows, prefixes
from deltaoe.store.shards import (
    COMPUTED,
    FOREIGN_VIEW,
    IMPORTED,
    Shard,
    ShardIndex,
    read_index,
    read_vectors,
    write_shard,
)

Starts = npt.NDArray[np.uint64]
_Mask = npt.NDArray[np.bool_]
_ROWS = 32_768
_TOGETHER = 1 << 17


@dataclass(frozen=True)
class Compacted:
    """The result of a compaction.

    Attributes:
        shards: number of shards before and after.
        size: bytes of all shards before and after.
        dropped_features: number of features that were dropped.
        dropped_files: number of observations of files that were dropped.
    """

    shards: tuple[int, int]
    size: tuple[int, int]
    dropped_features: int
    dropped_files: int


def compact_store(
    store: FeatureStore,
    listed: Sequence[Starts] | None,
    base: bytes,
    drop_missing_folders: bool,
    progress: Callable[[int, int], None],
) -> Compacted:
    """Rewrite a store. At any moment, after a crash too, a reader finds every row that stays, in old shards or new.

    In memory are some bytes per row (what stays, and the first eight bytes of each digest) and a few shards.

    Args:
        store: the store to rewrite.
        listed: the first eight bytes of digests that data sets list: their features stay whatever became of the files.
            None if all features stay. Another digest that begins alike stays with them.
        base: the folder that relative paths are relative to.
        drop_missing_folders: whether to drop files whose whole folder is not there; see
            :func:`deltaoe.store.maintenance.compact`.
        progress: called with the number of features written and of all to write.

    Raises:
        StoreError: a shard cannot be read or written, or another process is writing.
    """
    with store.locked():
        plan = store.soundly(lambda: _Plan(store, listed, base, drop_missing_folders))
        _write(store, plan, progress)
        # Only now, when all that stays lies in new shards, the old ones may go.
        for shard in plan.old:
            shard.path.unlink(missing_ok=True)
        store.refresh()
    return Compacted(
        shards=(len(plan.old), len(store.shards)),
        size=(sum(shard.size for shard in plan.old), sum(shard.size for shard in store.shards)),
        dropped_features=plan.features - sum(map(int, map(np.count_nonzero, plan.kept_features))),
        dropped_files=plan.files - sum(map(int, map(np.count_nonzero, plan.kept_files))),
    )


class _Plan:
    """Which rows of which shards stay.

    Attributes:
        old: the shards of now.
        kept_features, kept_files: for each of them, which of its rows stay, one bool per row.
        features, files: number of rows that no other one overrules.
    """

    def __init__(
        self, store: FeatureStore, listed: Sequence[Starts] | None, base: bytes, drop_missing_folders: bool
    ) -> None:
        self.old = list(store.shards)
        self.kept_features: list[_Mask] = []
        self.kept_files: list[_Mask] = []
        self.features = self.files = 0
        folders: dict[bytes, bool] = {}
        needed = [] if listed is None else list(listed)
        for start, stop in _groups(self.old):
            indexes, names = self._read(store.space, start, stop)
            features = _by_shard(start, [index.row_keys for index in indexes], store.features_in_force)
            files = _by_shard(start, [index.file_keys for index in indexes], store.files_in_force)
            for i, index in enumerate(indexes):
                if index.imported:  # whoever made its features has not seen this computer's files
                    files[i][:] = False
                self.features += int(np.count_nonzero(features[i]))
                self.files += int(np.count_nonzero(files[i]))
                for row in np.flatnonzero(files[i]).tolist():
                    files[i][row] = _is_there(
                        os.path.join(base, names[i][row]), folders, drop_missing_folders
                    )
                if listed is not None:
                    needed.append(prefixes(index.digest[files[i]]))
                self.kept_features.append(features[i] & (index.view != FOREIGN_VIEW))
                self.kept_files.append(files[i])
        if listed is not None:
            self._drop_all_but(np.unique(np.concatenate([np.zeros(0, np.uint64), *needed])))

    def _read(self, space: FeatureSpace, start: int, stop: int) -> tuple[list[ShardIndex], list[list[bytes]]]:
        indexes, names = [], []
        for shard in self.old[start:stop]:
            with opened(shard.path, "features") as file:
                indexes.append(read_index(file, space))
                names.append(get_strings(file["files"], "path"))
        return indexes, names

    def _drop_all_but(self, needed: Starts) -> None:
        """Drop the features of images whose digests do not begin as one of these, which ascend."""
        for shard, kept in zip(self.old, self.kept_features, strict=True):
            with opened(shard.path, "features") as file:
                starts = prefixes(get_digests(file["features"], "digest"))
            if len(needed):
                at = np.minimum(np.searchsorted(needed, starts), len(needed) - 1)
                kept &= needed[at] == starts
            else:
                kept[:] = False


def _groups(shards: Sequence[Shard]) -> Iterator[tuple[int, int]]:
    """First and last + 1 of groups of shards, each of some ``_TOGETHER`` rows, which are looked up at once."""
    start = rows = 0
    for number, shard in enumerate(shards):
        rows += shard.rows
        if rows >= _TOGETHER or number == len(shards) - 1:
            yield start, number + 1
            start, rows = number + 1, 0


def _by_shard(start: int, keys: Sequence[Keys], in_force: Callable[[Keys, Rows, Rows], _Mask]) -> list[_Mask]:
    """Which rows of some shards, whose keys these are, no other one overrules."""
    counts = list(map(len, keys))
    shard = np.repeat(np.arange(start, start + len(keys)), counts)
    row = np.concatenate([np.arange(count) for count in counts])
    return np.split(in_force(np.concatenate(keys), shard, row), np.cumsum(counts)[:-1])


def _is_there(path: bytes, folders: dict[bytes, bool], drop: bool) -> bool:
    if os.path.lexists(path):
        return True
    folder = os.path.dirname(path)
    if folder not in folders:
        folders[folder] = os.path.isdir(folder)
    return not folders[folder] and not drop


@dataclass
class _Rows:
    """Features, and observations of files, on their way from old shards to new ones: columns of equal length each.

    Attributes:
        features: ``digests``, ``views`` and ``vectors``, as they are on disk.
        files: ``paths`` and ``problems`` as arrays of objects, ``sizes``, ``mtimes``, ``ctimes``, ``inodes`` and
            ``file_digests``.
    """

    features: dict[str, npt.NDArray[Any]]
    files: dict[str, npt.NDArray[Any]]

    def __len__(self) -> int:
        return max(len(self.features["views"]), len(self.files["sizes"]))

    def part(self, rows: slice) -> _Rows:
        """Some of both."""
        return _Rows(
            {name: column[rows] for name, column in self.features.items()},
            {name: column[rows] for name, column in self.files.items()},
        )

    def with_more(self, more: _Rows) -> _Rows:
        """These, and then some more."""
        return _Rows(
            {name: np.concatenate([column, more.features[name]]) for name, column in self.features.items()},
            {name: np.concatenate([column, more.files[name]]) for name, column in self.files.items()},
        )


def _rows(shard: Shard, space: FeatureSpace, features: _Mask, files: _Mask) -> _Rows:
    """The rows of a shard that stay."""
    with opened(shard.path, "features") as file:
        index = read_index(file, space)
        names = get_strings(file["files"], "path")
    rows, picked = np.flatnonzero(features), np.flatnonzero(files)
    vectors = (
        read_vectors(shard.path, rows) if len(rows) else np.zeros((0, space.dim), dtype=np.dtype(space.dtype))
    )
    return _Rows(
        {"digests": index.row_keys[rows, :32], "views": index.view[rows], "vectors": vectors},
        {
            "paths": np.array([*map(names.__getitem__, picked.tolist()), None], dtype=object)[:-1],
            "problems": np.array([*(index.problems.get(i, "") for i in picked.tolist()), None], dtype=object)[
                :-1
            ],
            "sizes": index.size[picked],
            "mtimes": index.mtime_ns[picked],
            "ctimes": index.ctime_ns[picked],
            "inodes": index.inode[picked],
            "file_digests": index.digest[picked],
        },
    )


def _write(store: FeatureStore, plan: _Plan, progress: Callable[[int, int], None]) -> None:
    """Write what stays as new shards: computed features with the files, then imported ones in shards of their own."""
    total, notes = sum(map(int, map(np.count_nonzero, plan.kept_features))), store.notes.by_digest
    policy = min((shard.decode_policy for shard in plan.old), default=DECODE_POLICY)
    number, done = int(store.next_shard().stem.partition("-")[2]), 0
    for origin in (COMPUTED, IMPORTED):
        # There is a new shard even for nothing: a number that comes back would be taken for the old file by readers.
        least = int(origin == COMPUTED and not total)
        for some in _in_blocks(store, plan, origin == IMPORTED, least):
            digests = some.features["digests"]
            write_shard(
                store.folder / f"shard-{number:08d}.h5",
                store.space,
                digests=digests,
                views=some.features["views"],
                vectors=some.features["vectors"],
                paths=some.files["paths"].tolist(),
                sizes=some.files["sizes"],
                mtimes=some.files["mtimes"],
                ctimes=some.files["ctimes"],
                inodes=some.files["inodes"],
                file_digests=some.files["file_digests"],
                problems=some.files["problems"].tolist(),
                decode_policy=policy,
                notes={digest: notes[digest] for digest in map(bytes, digests) if digest in notes},
                origin=origin,
            )
            number += 1
            done += len(digests)
            progress(done, total)


def _in_blocks(store: FeatureStore, plan: _Plan, imported: bool, least: int) -> Iterator[_Rows]:
    """What stays of the computed or of the imported shards, in blocks for new shards; at least so many blocks."""
    nothing = np.zeros(0, dtype=bool)
    empty = _Rows(
        {
            "digests": np.zeros((0, 32), np.uint8),
            "views": np.zeros(0, np.uint16),
            "vectors": np.zeros((0, store.space.dim), dtype=np.dtype(store.space.dtype)),
        },
        {
            "paths": nothing.astype(object),
            "problems": nothing.astype(object),
            "sizes": np.zeros(0, np.int64),
            "mtimes": np.zeros(0, np.int64),
            "ctimes": np.zeros(0, np.int64),
            "inodes": np.zeros(0, np.uint64),
            "file_digests": np.zeros((0, 32), np.uint8),
        },
    )
    waiting, count = empty, 0
    for shard, *kept in zip(plan.old, plan.kept_features, plan.kept_files, strict=True):
        if shard.imported != imported or not any(mask.any() for mask in kept):
            continue
        waiting = waiting.with_more(_rows(shard, store.space, *kept))
        while len(waiting) >= _ROWS:
            yield waiting.part(slice(_ROWS))
            waiting, count = waiting.part(slice(_ROWS, None)), count + 1
    if len(waiting) or count < least:
        yield waiting
