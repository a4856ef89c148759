"""What lies where in the shards of one feature space: an index in memory, built from the shards at every opening.

It cannot be out of date with them, and nothing of it is written. Later shards overrule earlier ones.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.errors import StoreError
from deltaoe.images.decode_policy import DECODE_POLICY
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.hdf5 import Digests, opened
from deltaoe.store.key_table import GrowingTable, Keys, KeyTable
from deltaoe.store.shards import Shard, content_keys, path_keys, read_index

_SHARDS = f"shard-{'[0-9]' * 8}.h5"  # and no copy that a file manager made

_Columns = dict[str, npt.NDArray[Any]]


class FileRecord(NamedTuple):
    """One observation of a file.

    Attributes:
        size: bytes.
        mtime_ns: time of the last change, nanoseconds since 1970, modulo 2^64.
        digest: SHA-256 of its content, 32 bytes; zeros where it could not be read.
        problem: why it is no usable image; empty if it is one.
    """

    size: int
    mtime_ns: int
    digest: bytes
    problem: str


class FileRecords(NamedTuple):
    """The latest observation of each of n files, column by column.

    Attributes:
        known: (n,) whether there is one; where there is none, the other columns hold zeros.
        size: (n,) bytes.
        mtime_ns: (n,) nanoseconds since 1970, modulo 2^64.
        digest: (n, 32) SHA-256 of the content.
        problem: position → why that file is no usable image.
    """

    known: npt.NDArray[np.bool_]
    size: npt.NDArray[np.int64]
    mtime_ns: npt.NDArray[np.int64]
    digest: Digests
    problem: dict[int, str]

    def unchanged(self, sizes: npt.ArrayLike, mtimes_ns: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """(n,) whether a file now of this size (n,) and modification time (n,) is the one that was observed."""
        same: npt.NDArray[np.bool_] = (
            self.known & (self.size == np.asarray(sizes)) & (self.mtime_ns == np.asarray(mtimes_ns))
        )
        return same

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
        self._features = GrowingTable()
        self._problems: list[str] = [""]
        self._most_views = 0
        self._notes: dict[bytes, str] = {}

    def refresh(self) -> None:
        """Read the shards that other processes have written, or compacted, since the last time.

        Raises:
            StoreError: a shard cannot be read.
        """
        present = sorted(self.folder.glob(_SHARDS))
        indexed = {shard.path for shard in self.shards}
        if not indexed <= set(present):
            self._clear()
            indexed = set()
        new = [path for path in present if path not in indexed]
        try:
            self.append(new)
        except StoreError:
            if all(path.exists() for path in new):
                raise
            self._clear()
            self.refresh()  # one was compacted away since we looked: what it held lies elsewhere now

    def append(self, paths: Sequence[Path]) -> None:
        """Add shards that lie under their final names, in the order of writing; all of them or none.

        Raises:
            StoreError: one of them cannot be read.
        """
        features: list[tuple[Keys, _Columns]] = []
        files: list[tuple[Keys, _Columns]] = []
        shards: list[Shard] = []
        for path in paths:
            with opened(path, "features") as file:
                index = read_index(file, self.space)
                size = os.path.getsize(path)
            number = len(self.shards) + len(shards)
            shards.append(Shard(path, len(index.row_keys), len(index.file_keys), size, index.decode_policy))
            self._notes |= index.notes
            self._most_views = max(self._most_views, int(index.view.max(initial=0)))
            codes = np.zeros(len(index.file_keys), dtype=np.int32)
            for position, problem in index.problems.items():
                codes[position] = len(self._problems)
                self._problems.append(problem)
            features.append((index.row_keys, {"view": index.view, **_places(number, len(index.row_keys))}))
            observed: _Columns = {
                "size": index.size,
                "mtime_ns": index.mtime_ns,
                "digest": index.digest,
                "problem": codes,
            }
            files.append((index.file_keys, {**observed, **_places(number, len(index.file_keys))}))
        self.shards += shards  # all of them could be read
        for table, parts in ((self._features, features), (self._files, files)):
            if sum(len(keys) for keys, _ in parts):
                columns = {name: np.concatenate([part[name] for _, part in parts]) for name in parts[0][1]}
                table.append(KeyTable(np.concatenate([keys for keys, _ in parts]), columns))

    def next_shard(self) -> Path:
        """The name of the shard that comes after all others."""
        number = 1 + max((shard.number for shard in self.shards), default=0)
        return self.folder / f"shard-{number:08d}.h5"

    def __len__(self) -> int:
        """Number of distinct images with a feature of view 0."""
        table = self._features.whole()
        return 0 if table is None else int(np.count_nonzero(table.columns["view"] == 0))

    @property
    def feature_rows(self) -> int:
        """Number of features: each view of an image is one."""
        table = self._features.whole()
        return 0 if table is None else len(table)

    def files(self, paths: Sequence[bytes]) -> FileRecords:
        """The latest observation of each of n files, by the name it was recorded under."""
        known, columns = self._files.find(path_keys(paths))
        if not columns:
            empty = np.zeros(len(paths), dtype=np.int64)
            return FileRecords(known, empty, empty, np.zeros((len(paths), 32), np.uint8), {})
        codes = columns["problem"]
        return FileRecords(
            known=known,
            size=columns["size"].astype(np.int64, copy=False),
            mtime_ns=columns["mtime_ns"].astype(np.int64, copy=False),
            digest=columns["digest"].astype(np.uint8, copy=False),
            problem={int(i): self._problems[int(codes[i])] for i in np.flatnonzero(codes)},
        )

    def file(self, path: bytes) -> FileRecord | None:
        """The latest observation of one file, by the name it was recorded under; None if there is none."""
        one = self.files([path])
        if not one.known[0]:
            return None
        return FileRecord(
            int(one.size[0]), int(one.mtime_ns[0]), one.digest[0].tobytes(), one.problem.get(0, "")
        )

    def has(self, digests: Digests, view: int = 0) -> npt.NDArray[np.bool_]:
        """(n,) whether there is a feature of this view for each of (n, 32) digests."""
        return self._features.find(content_keys(digests, view))[0]

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

    def notes(self, digests: Digests) -> dict[int, tuple[str, ...]]:
        """What is to be said of some of n pictures, (n, 32) digests: position → short phrases."""
        if not self._notes:
            return {}
        noted = KeyTable(as_digests(list(self._notes)), {"at": np.arange(len(self._notes))})
        texts = list(self._notes.values())
        rows = noted.find(digests)
        at = noted.columns["at"]
        return {int(i): tuple(texts[int(at[rows[i]])].split("\n")) for i in np.flatnonzero(rows >= 0)}

    def all_notes(self) -> dict[bytes, str]:
        """The notes of all pictures, as shards hold them, by content digest."""
        return dict(self._notes)

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

        Columns: ``size``, ``mtime_ns``, ``digest``, ``problem`` (a code), and ``shard`` and ``row``: index into
        ``shards`` and row in that shard.
        """
        return self._files.whole()

    def feature_table(self) -> KeyTable | None:
        """Every feature once, by digest and view; None if there are none.

        Columns: ``view``, and ``shard`` and ``row``: index into ``shards`` and row in that shard.
        """
        return self._features.whole()


def as_digests(digests: Digests | Sequence[bytes]) -> Digests:
    """n digests of 32 bytes as an array (n, 32)."""
    if isinstance(digests, np.ndarray):
        return digests
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), 32)


def _places(shard: int, count: int) -> _Columns:
    return {"shard": np.full(count, shard, dtype=np.int32), "row": np.arange(count, dtype=np.int32)}
