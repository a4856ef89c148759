"""Compaction: many small shards become few large ones, without the rows that nothing refers to any more."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deltaoe.images.decode_policy import DECODE_POLICY
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.hdf5 import Digests, get_strings, opened
from deltaoe.store.key_table import KeyTable
from deltaoe.store.lock import writing
from deltaoe.store.shards import COMPUTED, FOREIGN_VIEW, IMPORTED, content_keys, read_vectors, write_shard

_ROWS = 32_768


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
    listed: Digests,
    base: bytes,
    drop_missing_folders: bool,
    progress: Callable[[int, int], None],
) -> Compacted:
    """Rewrite a store. At any moment, after a crash too, a reader finds every row that stays, in old shards or new.

    Args:
        store: the store to rewrite.
        listed: (n, 32), digests that data sets list: their features stay whatever became of the files.
        base: the folder that relative paths are relative to.
        drop_missing_folders: whether to drop files whose whole folder is not there; see
            :func:`deltaoe.store.maintenance.compact`.
        progress: called with the number of features written and of all to write.

    Raises:
        StoreError: a shard cannot be read or written, or another process is writing.
    """
    with writing(store.folder):
        store.refresh()
        old = list(store.shards)
        policy = min((shard.decode_policy for shard in old), default=DECODE_POLICY)
        before = (len(old), sum(shard.size for shard in old))
        files, rows = store.file_table(), store.feature_table()
        present = _PresentFiles(store, files, base, drop_missing_folders)
        needed = _needed_rows(rows, listed, present.digest)
        _write(store, rows, needed, present, policy, progress)
        # Only now, when all that stays lies in new shards, the old ones may go.
        for shard in old:
            shard.path.unlink(missing_ok=True)
        store.refresh()
    after = (len(store.shards), sum(shard.size for shard in store.shards))
    return Compacted(
        shards=(before[0], after[0]),
        size=(before[1], after[1]),
        dropped_features=0 if rows is None else int(np.count_nonzero(~needed)),
        dropped_files=(0 if files is None else len(files)) - len(present.paths),
    )


class _PresentFiles:
    """The latest observation of each file that is still there, in columns."""

    def __init__(self, store: FeatureStore, files: KeyTable | None, base: bytes, drop: bool) -> None:
        self.paths: list[bytes] = []
        self.problems: list[str] = []
        picked: list[int] = []
        folders: dict[bytes, bool] = {}
        shard = np.zeros(0, np.int64) if files is None else files.columns["shard"]
        for number in np.unique(shard):
            with opened(store.shards[int(number)].path, "features") as file:
                names = get_strings(file["files"], "path")
            assert files is not None  # noqa: S101 - for the type checker
            members = np.flatnonzero(shard == number)
            for i in members[np.argsort(files.columns["row"][members])].tolist():
                name = names[int(files.columns["row"][i])]
                if _is_there(os.path.join(base, name), folders, drop):
                    picked.append(i)
                    self.paths.append(name)
                    self.problems.append(store.problem(int(files.columns["problem"][i])))
        rows = np.asarray(picked, dtype=np.int64)
        empty = np.zeros(0, np.int64)
        columns = {} if files is None else {name: one[rows] for name, one in files.columns.items()}
        self.size: npt.NDArray[np.int64] = columns.get("size", empty)
        self.mtime_ns: npt.NDArray[np.int64] = columns.get("mtime_ns", empty)
        self.ctime_ns: npt.NDArray[np.int64] = columns.get("ctime_ns", empty)
        self.inode: npt.NDArray[np.uint64] = columns.get("inode", empty.view(np.uint64))
        self.digest: Digests = columns.get("digest", np.zeros((0, 32), np.uint8))


def _is_there(path: bytes, folders: dict[bytes, bool], drop: bool) -> bool:
    if os.path.lexists(path):
        return True
    folder = os.path.dirname(path)
    if folder not in folders:
        folders[folder] = os.path.isdir(folder)
    return not folders[folder] and not drop


def _needed_rows(rows: KeyTable | None, listed: Digests, of_files: Digests) -> npt.NDArray[np.bool_]:
    """Whether each of n features is of an image that a data set lists or a file holds, (n,)."""
    if rows is None:
        return np.zeros(0, dtype=bool)
    images = KeyTable(content_keys(np.concatenate([listed, of_files]), 0), {})
    needed = images.find(content_keys(rows.keys[:, :32], 0)) >= 0
    return np.asarray(needed & (rows.columns["view"] != FOREIGN_VIEW))


def _write(
    store: FeatureStore,
    rows: KeyTable | None,
    needed: npt.NDArray[np.bool_],
    files: _PresentFiles,
    policy: int,
    progress: Callable[[int, int], None],
) -> None:
    """Write what stays as new shards: computed features with the files, then imported ones in shards of their own."""
    total, notes = int(np.count_nonzero(needed)), store.notes.by_digest
    order = np.zeros(0, dtype=np.int64)
    imported = np.zeros(0, dtype=bool)
    if rows is not None:
        order = np.flatnonzero(needed)
        order = order[np.lexsort((rows.columns["row"][order], rows.columns["shard"][order]))]
        imported = np.array([shard.imported for shard in store.shards])[rows.columns["shard"][order]]
    # There is a new shard even for nothing: a number that comes back would be taken for the old file by readers.
    target = store.next_shard()
    number = int(target.stem.partition("-")[2])
    done = 0
    for origin, ordered, observed in (
        (COMPUTED, order[~imported], len(files.paths)),
        (IMPORTED, order[imported], 0),
    ):
        some_shard = int(origin == COMPUTED and not len(order))
        for start in range(0, max(len(ordered), observed, some_shard), _ROWS):
            part = ordered[start : start + _ROWS]
            some = slice(start, min(start + _ROWS, observed))
            digests, views, vectors = _features(store, rows, part)
            write_shard(
                store.folder / f"shard-{number:08d}.h5",
                store.space,
                digests=digests,
                views=views,
                vectors=vectors,
                paths=files.paths[some],
                sizes=files.size[some],
                mtimes=files.mtime_ns[some],
                ctimes=files.ctime_ns[some],
                inodes=files.inode[some],
                file_digests=files.digest[some],
                problems=files.problems[some],
                decode_policy=policy,
                notes={digest: notes[digest] for digest in map(bytes, digests) if digest in notes},
                origin=origin,
            )
            number += 1
            done += len(part)
            progress(done, total)


def _features(
    store: FeatureStore, rows: KeyTable | None, part: npt.NDArray[np.int64]
) -> tuple[Digests, npt.NDArray[np.uint16], npt.NDArray[np.floating]]:
    """Digests (n, 32), views (n,) and features (n, D), as they are on disk, of some rows of the table."""
    vectors = np.empty((len(part), store.space.dim), dtype=store.space.dtype)
    if rows is None or not len(part):
        return np.zeros((0, 32), np.uint8), np.zeros(0, np.uint16), vectors
    shard = rows.columns["shard"][part]
    for n in np.unique(shard):
        members = shard == n
        vectors[members] = read_vectors(
            store.shards[int(n)].path, rows.columns["row"][part[members]].astype(np.int64)
        )
    return rows.keys[part, :32], rows.columns["view"][part].astype(np.uint16), vectors
