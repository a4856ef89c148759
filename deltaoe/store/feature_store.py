"""The feature store: immutable HDF5 shards, one folder per feature space.

Truth is the set of shards. Each is written under a temporary name, synced, and renamed, so a reader sees whole
shards only, whatever kills a writer. A shard holds new features, keyed by content digest and view, and what was
observed of files: path, size, mtime and the digest found, or why there is none. Later shards overrule earlier
ones. The index is built from the shards at every opening and lives in memory only: it cannot be out of date.
The format is specified in ``docs/reference/store-format.md``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.errors import StoreError
from deltaoe.store.atomic import write_json
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.hdf5 import opened
from deltaoe.store.key_table import GrowingTable, KeyTable, Rows
from deltaoe.store.lock import writing
from deltaoe.store.shards import Shard, content_keys, path_keys, read_index, read_vectors, write_shard

Features = npt.NDArray[np.float32]
Digests = npt.NDArray[np.uint8]
BLOCK_ROWS = 8192
_SHARDS = f"shard-{'[0-9]' * 8}.h5"  # and no copy that a file manager made


class FileRecord(NamedTuple):
    """What is known of a file of this size and mtime: its content digest, or why it is no usable image."""

    size: int
    mtime_ns: int
    digest: bytes
    problem: str


class Observed(NamedTuple):
    """What the store knows of n files, column by column.

    ``known`` (n,) tells which of them it knows at all; ``size``, ``mtime_ns`` (n,) and ``digest`` (n, 32) are what
    was seen; ``problem`` holds the reasons of those that are no usable images, by position.
    """

    known: npt.NDArray[np.bool_]
    size: npt.NDArray[np.int64]
    mtime_ns: npt.NDArray[np.int64]
    digest: Digests
    problem: dict[int, str]


class FeatureStore:
    """Features of one feature space, by content digest and view, and the files they came from.

    Readers never lock. One process writes at a time: see :meth:`writer`.
    """

    def __init__(self, folder: Path, space: FeatureSpace) -> None:
        self.folder = folder
        self.space = space
        self._clear()
        self.refresh()

    def _clear(self) -> None:
        self.shards: list[Shard] = []
        self._files = GrowingTable()
        self._rows = GrowingTable()
        self._problems: list[str] = [""]
        self._most_views = 0

    def refresh(self) -> None:
        """Take in what other processes have written, or compacted, since.

        Raises:
            StoreError: a shard cannot be read.
        """
        present = sorted(self.folder.glob(_SHARDS))
        known = {shard.path for shard in self.shards}
        if not known <= set(present):
            self._clear()
            known = set()
        new = [path for path in present if path not in known]
        try:
            self._index(new)
        except StoreError:
            if all(path.exists() for path in new):
                raise
            self._clear()
            self.refresh()  # one was compacted away since we looked: what it held lies elsewhere now

    def __len__(self) -> int:
        """Number of distinct images with a feature."""
        table = self._rows.whole()
        return 0 if table is None else int(np.count_nonzero(table.columns["view"] == 0))

    @property
    def feature_rows(self) -> int:
        """Number of features: images times their views."""
        table = self._rows.whole()
        return 0 if table is None else len(table)

    def files(self, paths: Sequence[bytes]) -> Observed:
        """The latest observation of each file, by the name it was recorded under."""
        known, columns = self._files.find(path_keys(paths))
        if not columns:
            empty = np.zeros(len(paths), dtype=np.int64)
            return Observed(known, empty, empty, np.zeros((len(paths), 32), np.uint8), {})
        codes = columns["problem"]
        return Observed(
            known=known,
            size=columns["size"].astype(np.int64, copy=False),
            mtime_ns=columns["mtime_ns"].astype(np.int64, copy=False),
            digest=columns["digest"].astype(np.uint8, copy=False),
            problem={int(i): self._problems[int(codes[i])] for i in np.flatnonzero(codes)},
        )

    def file(self, path: bytes) -> FileRecord | None:
        """The latest observation of one file."""
        seen = self.files([path])
        if not seen.known[0]:
            return None
        return FileRecord(
            int(seen.size[0]), int(seen.mtime_ns[0]), seen.digest[0].tobytes(), seen.problem.get(0, "")
        )

    def has(self, digests: Digests, view: int = 0) -> npt.NDArray[np.bool_]:
        """(n,) whether there is a feature of this view for each of (n, 32) digests."""
        return self._rows.find(content_keys(digests, view))[0]

    def __contains__(self, digest: bytes) -> bool:
        return bool(self.has(np.frombuffer(digest, np.uint8).reshape(1, 32))[0])

    def views(self, digests: Digests) -> int:
        """How many augmented views *all* of these images have: views 1 … V are there."""
        count = 0
        while count < self._most_views and len(digests) and bool(self.has(digests, count + 1).all()):
            count += 1
        return count

    def features(self, digests: Digests | Sequence[bytes], view: int = 0) -> Features:
        """Features of these images, (n, D) float32 unit rows, in the order asked.

        Args:
            digests: (n, 32) uint8, or n digests.
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
        """Features of these images in the order in which they lie on disk, at most ``rows`` at a time.

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
                if all(shards[i].path.exists() for i in np.unique(shard[part])):
                    raise
                self.refresh()  # somebody has compacted the store: the same rows lie elsewhere now
                if not bool(self.has(digests, view).all()):
                    raise
                shards, shard, row = self._locate(digests, view)
                block = self._read(shards, shard[part], row[part])
            yield part, block

    def _locate(self, digests: Digests, view: int) -> tuple[list[Shard], Rows, Rows]:
        """The shards of this moment, and number of the shard and row in it of each feature.

        A refresh may number shards anew: numbers are good for the list that they came with, and for no other.
        """
        found, columns = self._rows.find(content_keys(digests, view))
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
        for here in np.split(order, np.flatnonzero(np.diff(shard[order])) + 1):
            if len(here):
                out[here] = read_vectors(shards[int(shard[here[0]])].path, row[here])
        if self.space.dtype == "float16":
            # Rounding to half precision moves the length by about 1e-4; cosines are meant between unit vectors.
            length = np.sqrt(np.einsum("ij,ij->i", out, out))
            out /= np.maximum(length, np.finfo(np.float32).tiny)[:, None]
        return out

    def problem(self, code: int) -> str:
        """The reason behind the column ``problem`` of :meth:`live_files`; empty for 0."""
        return self._problems[code]

    def live_files(self) -> KeyTable | None:
        """The latest observation of every file: for compaction. Columns name shard and row of each."""
        return self._files.whole()

    def live_rows(self) -> KeyTable | None:
        """Every feature once: keys are digest and view; columns name shard and row of each."""
        return self._rows.whole()

    @contextlib.contextmanager
    def writer(self) -> Iterator[StoreWriter]:
        """Become the one writer. What was added is flushed at the end, also on Ctrl-C or an error.

        Raises:
            StoreError: another process is writing, or the folder cannot be written.
        """
        with writing(self.folder):
            self.refresh()  # another writer may have finished between our reading and our lock
            if not (self.folder / "space.json").exists():
                write_json(self.folder / "space.json", self.space.to_dict())
            writer = StoreWriter(self)
            try:
                yield writer
            finally:
                writer.flush()

    def next_shard(self) -> Path:
        """The name of the shard that comes after all others."""
        number = 1 + max((shard.number for shard in self.shards), default=0)
        return self.folder / f"shard-{number:08d}.h5"

    def append(self, path: Path) -> None:
        """Take in a shard that was just written under its final name."""
        self._index([path])

    def _index(self, paths: Sequence[Path]) -> None:
        rows: list[tuple[npt.NDArray[np.uint8], dict[str, npt.NDArray[Any]]]] = []
        files: list[tuple[npt.NDArray[np.uint8], dict[str, npt.NDArray[Any]]]] = []
        shards: list[Shard] = []
        for path in paths:
            with opened(path, "features") as file:
                index = read_index(file, self.space)
                size = os.path.getsize(path)
            number = len(self.shards) + len(shards)
            shards.append(Shard(path, len(index.row_keys), len(index.file_keys), size))
            self._most_views = max(self._most_views, int(index.view.max(initial=0)))
            codes = np.zeros(len(index.file_keys), dtype=np.int32)
            for position, problem in index.problems.items():
                codes[position] = len(self._problems)
                self._problems.append(problem)
            rows.append((index.row_keys, {"view": index.view, **_places(number, len(index.row_keys))}))
            seen: dict[str, npt.NDArray[Any]] = {
                "size": index.size,
                "mtime_ns": index.mtime_ns,
                "digest": index.digest,
                "problem": codes,
            }
            files.append((index.file_keys, {**seen, **_places(number, len(index.file_keys))}))
        self.shards += shards  # all of them could be read
        for table, parts in ((self._rows, rows), (self._files, files)):
            if sum(len(keys) for keys, _ in parts):
                columns = {name: np.concatenate([part[name] for _, part in parts]) for name in parts[0][1]}
                table.append(KeyTable(np.concatenate([keys for keys, _ in parts]), columns))


def _places(shard: int, count: int) -> dict[str, npt.NDArray[Any]]:
    return {"shard": np.full(count, shard, dtype=np.int32), "row": np.arange(count, dtype=np.int32)}


class StoreWriter:
    """Collects rows and writes them as shards; made by :meth:`FeatureStore.writer`."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._files: dict[bytes, FileRecord] = {}
        self._features: dict[tuple[bytes, int], npt.NDArray[np.float32]] = {}

    @property
    def pending(self) -> int:
        """Rows that a crash would lose."""
        return max(len(self._files), len(self._features))

    def has(self, digest: bytes, view: int) -> bool:
        """Whether this feature is in the store, or about to be."""
        content = np.frombuffer(digest, dtype=np.uint8).reshape(1, 32)
        return (digest, view) in self._features or bool(self._store.has(content, view)[0])

    def add(
        self,
        path: bytes,
        record: FileRecord,
        feature: npt.NDArray[np.float32] | None = None,
        views: Sequence[int] = (0,),
    ) -> None:
        """Record a file and, where they are new to the store, features of its content.

        Args:
            path: the file's name, as bytes.
            record: what was seen of it.
            feature: (D,) or (V, D), unit length: one row per entry of ``views``.
            views: which views they are.
        """
        self._files[path] = record
        if feature is not None:
            self.add_features(record.digest, feature.reshape(len(views), -1), views)

    def add_features(self, digest: bytes, features: npt.NDArray[np.float32], views: Sequence[int]) -> None:
        """Features (V, D) of content that no file need be known for."""
        for view, feature in zip(views, features, strict=True):
            self._features.setdefault((digest, view), feature)

    def flush(self) -> None:
        """Write what was added as one shard. Raises StoreError if the disk does not take it."""
        if not self._files and not self._features:
            return
        digests = as_digests([digest for digest, _ in self._features])
        views = np.fromiter((view for _, view in self._features), np.uint16, len(self._features))
        vectors = np.asarray(list(self._features.values()), dtype=np.float32)
        new = np.ones(len(digests), dtype=bool)
        for view in np.unique(views):
            new[views == view] = ~self._store.has(digests[views == view], int(view))
        if not self._files and not new.any():  # imported once more
            self._features = {}
            return
        records = list(self._files.values())
        target = self._store.next_shard()
        write_shard(
            target,
            self._store.space,
            digests=digests[new],
            views=views[new],
            vectors=vectors.reshape(len(digests), self._store.space.dim)[new],
            paths=list(self._files),
            sizes=np.fromiter((r.size for r in records), np.int64, len(records)),
            mtimes=np.fromiter((r.mtime_ns for r in records), np.int64, len(records)),
            file_digests=as_digests([r.digest for r in records]),
            problems=[r.problem for r in records],
        )
        self._store.append(target)
        self._files, self._features = {}, {}


def as_digests(digests: Digests | Sequence[bytes]) -> Digests:
    """n digests of 32 bytes as an array (n, 32)."""
    if isinstance(digests, np.ndarray):
        return digests
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), 32)
