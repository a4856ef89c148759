"""Shards that workers write without the store's lock, on this machine or others, and that the one writer adopts.

A worker writes a whole shard, synced to disk, under a name of its own into the folder ``incoming`` of the feature
space. Whoever holds the store's lock gives it the next number. Between the two nothing can be lost, whatever is killed,
and until then nobody reads it.
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from deltaoe.errors import StoreError, UnreadableError
from deltaoe.store.atomic import cannot_write
from deltaoe.store.feature_writer import StoreWriter
from deltaoe.store.hdf5 import get_digests, get_strings, opened
from deltaoe.store.read_errors import listed
from deltaoe.store.shards import ShardIndex, read_index, write_shard
from deltaoe.store.store_index import StoreIndex, as_digests

INCOMING = "incoming"
_NAMES = "shard-*.h5"


class IncomingWriter(StoreWriter):
    """A writer of a worker: its shards wait in ``incoming`` until the store's one writer adopts them.

    Args:
        index: of the store, which is only read.
    """

    def __init__(self, index: StoreIndex) -> None:
        super().__init__(index)
        self._waiting: set[tuple[bytes, int]] = set()  # written, and perhaps not adopted yet

    def has(self, digest: bytes, view: int) -> bool:
        """Whether this feature is in the store, waits to be adopted, or is about to be written."""
        return (digest, view) in self._waiting or super().has(digest, view)

    def refresh(self) -> None:
        """Look what the store has adopted since the last time. Raises StoreError if a shard cannot be read."""
        self._index.refresh()
        for view in {view for _, view in self._waiting}:
            digests = [digest for digest, other in self._waiting if other == view]
            there = self._index.has_current(as_digests(digests), view)
            self._waiting -= {(digest, view) for digest, has in zip(digests, there, strict=True) if has}

    def _next_shard(self) -> Path:
        # The time first, so that they are adopted in the order of writing, as far as clocks agree.
        name = f"shard-{time.time_ns():020d}-{secrets.token_hex(8)}.h5"
        return self._index.folder / INCOMING / name

    def _written(self, shard: Path) -> None:
        self._waiting.update(self._features)


def arrived(folder: Path) -> list[Path]:
    """The shards that wait in a store's folder, in the order of writing. Raises StoreError if it cannot be listed."""
    return listed(folder / INCOMING, _NAMES)


def adopt(index: StoreIndex) -> int:
    """Give the shards that wait in a store their numbers, and take them into its index; return how many there were.

    Features that the store has already, which two workers made of one content, are left out. Only the holder of the
    store's lock may call this.

    Raises:
        StoreError: a shard that waits cannot be read, is of another space, or the folder cannot be written.
    """
    waiting = arrived(index.folder)
    for path in waiting:
        try:
            with opened(path, "features") as file:
                found = read_index(file, index.space)
                new = ~_known(found, index)
                target = index.next_shard()
                if not new.all():
                    _write_part(target, file, found, new, index)
            if new.all():
                os.replace(path, target)
            else:
                path.unlink()
        except StoreError as cause:
            raise type(cause)(
                f"a worker's shard cannot be taken into the store: {cause}",
                hint=cause.hint
                if isinstance(cause, UnreadableError)
                else f"move {path} away: the images in it are encoded anew",
            ) from cause
        except OSError as cause:
            raise cannot_write(path, cause) from cause
        index.append([target])
    return len(waiting)


def _known(found: ShardIndex, index: StoreIndex) -> npt.NDArray[np.bool_]:
    """(n,) whether the store has each of a shard's n features, of pixels by the present rule."""
    digests, known = found.row_keys[:, :32], np.zeros(len(found.row_keys), dtype=bool)
    for view in np.unique(found.view):
        rows = found.view == view
        known[rows] = index.has_current(digests[rows], int(view))
    return known


def _write_part(
    target: Path, file: h5py.File, found: ShardIndex, rows: npt.NDArray[np.bool_], index: StoreIndex
) -> None:
    """Write a shard of some features of an open one, and all its observations of files."""
    problems = [found.problems.get(row, "") for row in range(len(found.size))]
    write_shard(
        target,
        index.space,
        digests=get_digests(file["features"], "digest")[rows],
        views=found.view[rows],
        vectors=file["features/vector"][()][rows],
        paths=get_strings(file["files"], "path"),
        sizes=found.size,
        mtimes=found.mtime_ns,
        ctimes=found.ctime_ns,
        inodes=found.inode,
        file_digests=found.digest,
        problems=problems,
        decode_policy=found.decode_policy,
        notes=found.notes,
    )
