"""The feature store: immutable HDF5 shards, one folder per feature space.

Truth is the set of shards. Each is written under a temporary name, synced, and renamed, so a reader sees whole
shards only, whatever kills a writer. A shard holds new features, keyed by content digest and view, and observations
of files: path, size, time of the last change, and the content's digest or why there is none.
The format is specified in ``docs/reference/store-format.md``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from deltaoe.errors import StoreError
from deltaoe.store.atomic import gone, write_json
from deltaoe.store.feature_writer import StoreWriter
from deltaoe.store.hdf5 import Digests
from deltaoe.store.incoming import adopt
from deltaoe.store.key_table import Rows
from deltaoe.store.lock import writing
from deltaoe.store.number_format import as_read
from deltaoe.store.shards import COMPUTED, Shard, read_vectors
from deltaoe.store.store_index import StoreIndex, as_digests

__all__ = ["BLOCK_ROWS", "Digests", "FeatureStore", "Features"]

Features = npt.NDArray[np.float32]
BLOCK_ROWS = 8192


class FeatureStore(StoreIndex):
    """Features of one feature space, by content digest and view, and the files they came from.

    Readers never lock. One process writes at a time: see :meth:`writer`.

    Args:
        folder: the shards' folder; it need not exist.
        space: the feature space that all of them must be of.

    Raises:
        StoreError: a shard cannot be read, or is of another space.
    """

    def features(self, digests: Digests | Sequence[bytes], view: int = 0) -> Features:
        """Features of n images, (n, D) float32 unit rows, in the order asked.

        Args:
            digests: (n, 32) uint8, or n digests of 32 bytes; repetitions are fine.
            view: 0 for the picture itself, 1 … V for an augmented view of it.

        Raises:
            StoreError: one of them is not in the store, or a shard cannot be read.
        """
        digests = as_digests(digests)
        out = np.empty((len(digests), self.space.dim), dtype=np.float32)
        for positions, block in self.blocks(digests, view):
            out[positions] = block
        return out

    def blocks(
        self, digests: Digests, view: int = 0, rows: int = BLOCK_ROWS
    ) -> Iterator[tuple[Rows, Features]]:
        """Features of n images in the order in which they lie on disk, at most ``rows`` at a time.

        Args:
            digests: (n, 32) uint8; repetitions are fine.
            view: as :meth:`features`.
            rows: b, the most features of a block.

        Yields:
            positions (b,) in ``digests``, and their features (b, D) float32, unit rows.

        Raises:
            StoreError: as :meth:`features`.
        """
        shards, shard, row = self._locate(digests, view)
        order = np.lexsort((row, shard))
        for start in range(0, len(order), rows):
            part = order[start : start + rows]
            try:
                block = self._read(shards, shard[part], row[part])
            except StoreError:
                if all(os.path.lexists(shards[i].path) for i in np.unique(shard[part])):
                    raise
                self.refresh()  # somebody has compacted the store: the same rows lie elsewhere now
                if not bool(self.has(digests, view).all()):
                    raise
                shards, shard, row = self._locate(digests, view)
                block = self._read(shards, shard[part], row[part])
            yield part, block

    def order_on_disk(self, digests: Digests, view: int = 0) -> Rows:
        """Positions of n images, (n,), in the order in which their features lie on disk.

        Raises:
            StoreError: the store has no feature of one of them.
        """
        _, shard, row = self._locate(digests, view)
        return np.lexsort((row, shard))

    def _locate(self, digests: Digests, view: int) -> tuple[list[Shard], Rows, Rows]:
        """The shards of this moment; for each feature its index into them, (n,), and its row in that shard, (n,).

        A refresh may number shards anew: indices are good for the list that they came with, and for no other.
        """
        found, columns = self._find(digests, view)
        if not found.all():
            missing = digests[int(np.argmin(found))].tobytes().hex()[:12]
            what = f"view {view} of image" if view else "image"
            raise StoreError(
                f"the store has no feature for {what} {missing}",
                hint="run `deltaoe extract` on its folder again" + (f" with --views {view}" if view else ""),
            )
        if not columns:
            return self.shards, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        return self.shards, columns["shard"].astype(np.int64), columns["row"].astype(np.int64)

    def _read(self, shards: Sequence[Shard], shard: Rows, row: Rows) -> Features:
        out = np.empty((len(row), self.space.dim), dtype=np.float32)
        order = np.lexsort((row, shard))  # as it comes, but after a compaction
        for positions in np.split(order, np.flatnonzero(np.diff(shard[order])) + 1):
            if len(positions):
                out[positions] = as_read(read_vectors(shards[int(shard[positions[0]])].path, row[positions]))
        return out

    def check_there(self, digests: Digests) -> None:
        """Raise StoreError unless the shards of this moment have a feature of each of (n, 32) digests."""
        self.refresh()
        if not os.path.lexists(self.folder / "space.json") or not bool(self.has(digests).all()):
            raise gone(self.folder)

    @contextlib.contextmanager
    def writer(
        self, collected: StoreWriter | None = None, *, origin: str = COMPUTED
    ) -> Iterator[StoreWriter]:
        """Become the one writer. What was added is flushed at the end, also on Ctrl-C or an error.

        Args:
            collected: a writer of this store that has collected features; None for a new one.
            origin: where the features of a new one come from, ``COMPUTED`` or ``IMPORTED``.

        Raises:
            StoreError: another process is writing, or the folder cannot be written.
        """
        with self.locked():
            if not (self.folder / "space.json").exists():
                write_json(self.folder / "space.json", self.space.to_dict())
            adopt(self)  # what workers of a run have left here that was killed
            writer = StoreWriter(self, origin) if collected is None else collected
            try:
                yield writer
            finally:
                writer.flush()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store's lock; what was appended gets an index file at the end, and while there is much of it.

        Raises:
            StoreError: another process is writing, or the folder cannot be written.
        """
        with writing(self.folder):
            self._settles = True
            try:
                self.refresh()  # another writer may have finished between our reading and our lock
                yield
                self.settle(at_end=True)
            finally:
                self._settles = False
