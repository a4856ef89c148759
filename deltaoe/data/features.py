"""The feature store: immutable HDF5 shards, one folder per feature space.

Truth is the set of shards. Each is written under a temporary name, synced, and renamed, so a reader sees whole
shards only, whatever kills a writer. A shard holds new features, keyed by content digest, and what was observed
of files: path, size, mtime and the digest found, or why there is none. Later shards overrule earlier ones.
The format is specified in ``docs/reference/store-format.md``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from deltaoe.data.files import TEMPORARY_PREFIX, cannot_write, replacing, write_json
from deltaoe.data.hdf5 import created, get_digests, get_strings, opened, put_digests, put_strings
from deltaoe.data.space import FeatureSpace
from deltaoe.errors import StoreError

Features = npt.NDArray[np.float32]
NO_DIGEST = bytes(32)
_SHARDS = f"shard-{'[0-9]' * 8}.h5"  # and no copy that a file manager made


class FileRecord(NamedTuple):
    """What is known of a file of this size and mtime: its content digest, or why it is no usable image."""

    size: int
    mtime_ns: int
    digest: bytes
    problem: str


class FeatureStore:
    """Features of one feature space, by content digest, and the files they came from.

    Readers never lock. One process writes at a time: see :meth:`writer`.
    """

    def __init__(self, folder: Path, space: FeatureSpace) -> None:
        self.folder = folder
        self.space = space
        self._files: dict[str, FileRecord] = {}
        self._rows: dict[bytes, tuple[int, int]] = {}
        self._shards: list[Path] = []
        for path in sorted(folder.glob(_SHARDS)):
            self._index(path)

    def __len__(self) -> int:
        """Number of distinct images with a feature."""
        return len(self._rows)

    def file(self, path: str) -> FileRecord | None:
        """The latest observation of a file, by the key it was recorded under."""
        return self._files.get(path)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._rows

    def features(self, digests: Sequence[bytes]) -> Features:
        """Features of these images, (n, D) float32 unit rows, in the order asked.

        Raises:
            StoreError: one of them is not in the store, or a shard cannot be read.
        """
        out = np.empty((len(digests), self.space.dim), dtype=np.float32)
        wanted: dict[int, list[tuple[int, int]]] = {}
        for position, digest in enumerate(digests):
            if digest not in self._rows:
                raise StoreError(
                    f"the store has no feature for image {digest.hex()[:12]}",
                    hint="run `deltaoe extract` on its folder again",
                )
            shard, row = self._rows[digest]
            wanted.setdefault(shard, []).append((position, row))
        for shard, pairs in wanted.items():
            with opened(self._shards[shard], "features") as file:
                block: npt.NDArray[np.float16] = file["features/vector"][()]
            positions, rows = (np.asarray(column) for column in zip(*pairs, strict=True))
            out[positions] = block[rows]
        # Rounding to half precision moves the length by about 1e-4; cosines are meant between unit vectors.
        out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return out

    @contextlib.contextmanager
    def writer(self) -> Iterator[StoreWriter]:
        """Become the one writer. What was added is flushed at the end, also on Ctrl-C or an error.

        Raises:
            StoreError: another process is writing, or the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / "writer.lock")
            lock.acquire(timeout=0)
        except Timeout:
            raise StoreError(
                f"another deltaoe process is writing to {self.folder}",
                hint="wait for it, or stop it; what it has finished is kept",
            ) from None
        except OSError as cause:
            raise cannot_write(self.folder, cause) from cause
        try:
            self._prepare()
            writer = StoreWriter(self)
            try:
                yield writer
            finally:
                writer.flush()
        finally:
            lock.release()

    def _prepare(self) -> None:
        # Under the lock, a temporary file can only be a killed writer's.
        for leftover in self.folder.glob(f"{TEMPORARY_PREFIX}*"):
            leftover.unlink(missing_ok=True)
        # Another writer may have finished between our reading and our lock.
        for path in sorted(self.folder.glob(_SHARDS)):
            if path not in self._shards:
                self._index(path)
        if not (self.folder / "space.json").exists():
            write_json(self.folder / "space.json", self.space.to_dict())

    def _append(self, files: dict[str, FileRecord], features: dict[bytes, npt.NDArray[np.float32]]) -> None:
        number = 1 + max((int(path.stem.partition("-")[2]) for path in self._shards), default=0)
        target = self.folder / f"shard-{number:08d}.h5"
        with replacing(target) as temporary, created(temporary, "features") as out:
            out.attrs["space"] = self.space.id
            group = out.create_group("features")
            put_digests(group, "digest", list(features))
            vectors = np.asarray(list(features.values()), dtype=self.space.dtype)
            group.create_dataset("vector", data=vectors.reshape(len(features), self.space.dim))
            group = out.create_group("files")
            put_strings(group, "path", [os.fsencode(path) for path in files])
            put_strings(group, "problem", [record.problem.encode() for record in files.values()])
            put_digests(group, "digest", [record.digest for record in files.values()])
            for name in ("size", "mtime_ns"):
                values = np.fromiter((getattr(r, name) for r in files.values()), np.int64, len(files))
                group.create_dataset(name, data=values)
        self._index(target)

    def _index(self, path: Path) -> None:
        with opened(path, "features") as file:
            if file.attrs.get("space") != self.space.id:
                raise StoreError(f"it holds features of another space ({file.attrs.get('space')})")
            digests = get_digests(file["features"], "digest")
            vectors = file["features/vector"]
            if vectors.shape != (len(digests), self.space.dim) or vectors.dtype != self.space.dtype:
                raise StoreError("its features do not fit its digests")
            group = file["files"]
            paths = get_strings(group, "path")
            problems = [problem.decode("utf-8", "replace") for problem in get_strings(group, "problem")]
            sizes, mtimes = group["size"][()].tolist(), group["mtime_ns"][()].tolist()
            columns = (sizes, mtimes, get_digests(group, "digest"), problems)
            records = [FileRecord(*values) for values in zip(*columns, strict=True)]
        shard = len(self._shards)
        self._shards.append(path)
        self._rows.update((digest, (shard, row)) for row, digest in enumerate(digests))
        self._files.update(zip((os.fsdecode(p) for p in paths), records, strict=True))


class StoreWriter:
    """Collects rows and writes them as shards; made by :meth:`FeatureStore.writer`."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._files: dict[str, FileRecord] = {}
        self._features: dict[bytes, npt.NDArray[np.float32]] = {}

    @property
    def pending(self) -> int:
        """Rows that a crash would lose."""
        return len(self._files)

    def add(self, path: str, record: FileRecord, feature: npt.NDArray[np.float32] | None = None) -> None:
        """Record a file and, where its content is new to the store, its feature: (D,) unit length."""
        self._files[path] = record
        if feature is not None and record.digest not in self._store:
            self._features[record.digest] = feature

    def flush(self) -> None:
        """Write what was added as one shard. Raises StoreError if the disk does not take it."""
        if self._files:
            self._store._append(self._files, self._features)
            self._files, self._features = {}, {}
