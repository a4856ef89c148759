"""New features and observations of files, collected and written as shards."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deltaoe.store.atomic import gone
from deltaoe.store.hdf5 import Digests
from deltaoe.store.number_format import as_kept
from deltaoe.store.shards import COMPUTED, write_shard
from deltaoe.store.store_index import FileRecord, StoreIndex, as_digests


class StoreWriter:
    """Collects features and observations of files until they are written as one shard.

    Of those that :meth:`deltaoe.store.feature_store.FeatureStore.writer` makes there is one at a time. One made
    otherwise may collect for long, and must be handed to that method to be flushed.

    Args:
        index: of the folder to write into; takes in each shard that is written.
        origin: where the features come from, ``COMPUTED`` or ``IMPORTED``. A computed feature is written though the
            store has an imported one of the same content; then it is the one that counts.
    """

    def __init__(self, index: StoreIndex, origin: str = COMPUTED) -> None:
        self._index = index
        self._origin = origin
        self._files: dict[bytes, FileRecord] = {}
        self._features: dict[tuple[bytes, int], npt.NDArray[np.float32]] = {}
        self._notes: dict[bytes, str] = {}
        self._replaced: set[bytes] = set()

    @property
    def pending(self) -> int:
        """Number of rows that are not written yet: features or files, whichever are more."""
        return max(len(self._files), len(self._features))

    def pending_features(self, digests: Digests) -> dict[int, npt.NDArray[np.float32]]:
        """Features of n images, (n, 32) digests, that are not written yet: position → (D,) as they will be read."""
        wanted = {i: self._features.get((digest.tobytes(), 0)) for i, digest in enumerate(digests)}
        dtype = self._index.space.dtype
        return {i: as_kept(one[None], dtype)[0] for i, one in wanted.items() if one is not None}

    def has(self, digest: bytes, view: int) -> bool:
        """Whether this feature is in the store, for a writer of computed ones as such, or about to be written."""
        has = self._index.has_current if digest in self._replaced else self._stored
        return (digest, view) in self._features or bool(has(as_digests([digest]), view)[0])

    def _stored(self, digests: Digests, view: int) -> npt.NDArray[np.bool_]:
        return self._index.has(digests, view, computed=self._origin == COMPUTED)

    def replace(self, digests: Iterable[bytes]) -> None:
        """Take features of these contents for missing where they are of pixels made by an older rule."""
        self._replaced.update(digests)

    def note(self, digest: bytes, notes: Sequence[str]) -> None:
        """Add what is to be said of a picture whose features were added."""
        if notes:
            self._notes[digest] = "\n".join(notes)

    def add(
        self,
        path: bytes,
        record: FileRecord,
        feature: npt.NDArray[np.float32] | None = None,
        views: Sequence[int] = (0,),
    ) -> None:
        """Add an observation of a file and features of its content; those that the store has are left out.

        Args:
            path: the name that the file is recorded under.
            record: the observation.
            feature: (D,) or (V, D), unit length: one row per entry of ``views``.
            views: 0 for the picture itself, 1 and above for augmented views.
        """
        self._files[path] = record
        if feature is not None:
            self.add_features(record.digest, feature.reshape(len(views), -1), views)

    def add_features(self, digest: bytes, features: npt.NDArray[np.float32], views: Sequence[int]) -> None:
        """Add features (V, D), unit rows, of content that no file need be known for."""
        for view, feature in zip(views, features, strict=True):
            self._features.setdefault((digest, view), feature)

    def flush(self) -> None:
        """Write all that is pending as one shard.

        Raises:
            StoreError: the disk does not take it, a feature is not finite, or the store was deleted meanwhile.
        """
        if not self._files and not self._features:
            return
        if not os.path.lexists(self._index.folder / "space.json"):  # written before the first shard
            raise gone(self._index.folder)
        space = self._index.space
        digests = as_digests([digest for digest, _ in self._features])
        views = np.fromiter((view for _, view in self._features), np.uint16, len(self._features))
        vectors = np.asarray(list(self._features.values()), dtype=np.float32)
        new = np.ones(len(digests), dtype=bool)
        for view in np.unique(views):
            new[views == view] = ~self._stored(digests[views == view], int(view))
        if self._replaced:
            for i, (digest, view) in enumerate(self._features):
                if digest in self._replaced:
                    new[i] = not self._index.has_current(digests[i : i + 1], view)[0]
        if not self._files and not new.any():  # imported once more
            self._features = {}
            return
        records = list(self._files.values())
        target = self._next_shard()
        write_shard(
            target,
            space,
            digests=digests[new],
            views=views[new],
            vectors=vectors.reshape(len(digests), space.dim)[new],
            paths=list(self._files),
            sizes=np.fromiter((r.size for r in records), np.int64, len(records)),
            mtimes=np.fromiter((r.mtime_ns for r in records), np.int64, len(records)),
            ctimes=np.fromiter((r.ctime_ns for r in records), np.int64, len(records)),
            inodes=np.fromiter((r.inode for r in records), np.uint64, len(records)),
            file_digests=as_digests([r.digest for r in records]),
            problems=[r.problem for r in records],
            notes=self._notes,
            origin=self._origin,
        )
        self._written(target)
        self._files, self._features, self._notes = {}, {}, {}

    def _next_shard(self) -> Path:
        """Where the next shard is written."""
        return self._index.next_shard()

    def _written(self, shard: Path) -> None:
        """Take in a shard that was written, with the features that are still pending here."""
        self._index.append([shard])
