"""Shards of a feature store: HDF5 files that are written at once and read in parts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from deltaoe.errors import DamagedError, StoreError, UnreadableError
from deltaoe.images.decode_policy import DECODE_POLICY
from deltaoe.images.views import VIEW_POLICY
from deltaoe.store.atomic import replacing
from deltaoe.store.feature_space import FeatureSpace, canonical_json
from deltaoe.store.hdf5 import Digests, created, get_digests, get_strings, opened, put_digests, put_strings
from deltaoe.store.row_sums import key_sums, row_sums

NO_DIGEST = bytes(32)  # of a file that could not be read
PATH_KEY_BYTES = 16
COMPUTED, IMPORTED = "computed", "imported"  # where the features of a shard come from
FOREIGN_VIEW = 65535  # of augmented views that were drawn under another VIEW_POLICY
# Rows further apart than this are read one by one; nearer ones with what lies between them, at the speed of memory.
_GAP_ROWS = 128


class Shard(NamedTuple):
    """A shard that was indexed.

    Attributes:
        path: its file.
        features: number of features in it.
        files: number of observations of files in it.
        size: bytes of the file.
        decode_policy: the oldest rule by which pixels of its features were made.
        imported: whether its features were imported, not computed here.
        mtime_ns: time of the file's last modification when it was indexed, nanoseconds since 1970.
    """

    path: Path
    features: int
    files: int
    size: int
    imported: bool
    decode_policy: int = DECODE_POLICY
    mtime_ns: int = 0

    @property
    def rows(self) -> int:
        """Number of features or of observations of files, whichever are more."""
        return max(self.features, self.files)

    @property
    def number(self) -> int:
        """Its number in the order of writing."""
        return int(self.path.stem.partition("-")[2])


class ShardIndex(NamedTuple):
    """The columns of a shard with n features and m observations of files, without vectors and paths.

    Attributes:
        row_keys: (n, 34), digest and view of each feature.
        view: (n,), view of each feature.
        file_keys: (m, 16), key of each file's path.
        size: (m,), bytes of each file.
        mtime_ns: (m,), time of each file's last modification.
        ctime_ns: (m,), time of each file's last change of content or attributes; 0 where it is not known.
        inode: (m,), number of each file in its file system; 0 where it is not known.
        digest: (m, 32), content digest of each file.
        problems: row → why that file is no usable image.
        decode_policy: the oldest rule by which pixels were made.
        notes: content digest → what is to be said of that picture.
        imported: whether the features were imported, not computed here.
    """

    row_keys: npt.NDArray[np.uint8]
    view: npt.NDArray[np.uint16]
    file_keys: npt.NDArray[np.uint8]
    size: npt.NDArray[np.int64]
    mtime_ns: npt.NDArray[np.int64]
    ctime_ns: npt.NDArray[np.int64]
    inode: npt.NDArray[np.uint64]
    digest: Digests
    problems: dict[int, str]
    decode_policy: int
    notes: dict[bytes, str]
    imported: bool


def path_keys(paths: Sequence[bytes]) -> npt.NDArray[np.uint8]:
    """The key of each of n paths, (n, 16) uint8: BLAKE2b, so that a million names need not stay in memory."""
    blake2b, width = hashlib.blake2b, PATH_KEY_BYTES
    joined = b"".join([blake2b(path, digest_size=width).digest() for path in paths])
    return np.frombuffer(joined, dtype=np.uint8).reshape(len(paths), width)


def content_keys(digests: Digests, views: int | npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """The key of each of n features, (n, 34) uint8: its digest and its view.

    Args:
        digests: (n, 32).
        views: (n,), or one view for all.
    """
    keys = np.empty((len(digests), 34), dtype=np.uint8)
    keys[:, :32] = digests
    number = np.broadcast_to(np.asarray(views, dtype=">u2"), (len(digests),))
    keys[:, 32:] = np.ascontiguousarray(number).view(np.uint8).reshape(-1, 2)
    return keys


def write_shard(
    target: Path,
    space: FeatureSpace,
    *,
    digests: Digests,
    views: npt.NDArray[np.uint16],
    vectors: npt.NDArray[np.floating],
    paths: Sequence[bytes],
    sizes: npt.NDArray[np.int64],
    mtimes: npt.NDArray[np.int64],
    ctimes: npt.NDArray[np.int64],
    inodes: npt.NDArray[np.uint64],
    file_digests: Digests,
    problems: Sequence[str],
    decode_policy: int = DECODE_POLICY,
    notes: Mapping[bytes, str] | None = None,
    origin: str = COMPUTED,
) -> None:
    """Write n features and m observations of files as one shard, atomically.

    Args:
        target: the shard's file.
        space: the features' space.
        digests: (n, 32), content digest of each feature.
        views: (n,), view of each feature.
        vectors: (n, D), the features, unit rows.
        paths: m names that the files are recorded under.
        sizes: (m,), bytes of each file.
        mtimes: (m,), time of each file's last modification, nanoseconds since 1970.
        ctimes: (m,), time of each file's last change of content or attributes, likewise; 0 where it is not known.
        inodes: (m,), number of each file in its file system; 0 where it is not known.
        file_digests: (m, 32), content digest of each file.
        problems: m reasons why a file is no usable image; empty if it is one.
        decode_policy: the oldest rule by which pixels were made.
        notes: content digest → what is to be said of that picture.
        origin: where the features come from, ``COMPUTED`` or ``IMPORTED``.

    Raises:
        StoreError: the disk does not take it, or a feature is not finite.
    """
    if not np.isfinite(vectors).all():
        raise StoreError(
            "the model gave features that are not finite", hint="try --precision fp32, or another model"
        )
    with replacing(target) as temporary, created(temporary, "features") as out:
        out.attrs["space"] = space.id
        out.attrs["view_policy"] = VIEW_POLICY
        out.attrs["decode_policy"] = decode_policy
        out.attrs["origin"] = origin
        out.attrs["description"] = canonical_json(space.to_dict())  # space.json can be restored from it
        group = out.create_group("features")
        put_digests(group, "digest", digests)
        group.create_dataset("view", data=views.astype(np.uint16))
        rows = vectors.astype(space.dtype).reshape(len(digests), space.dim)
        # Before the vectors: of a file that was cut off, whole rows can be told from others.
        keys = content_keys(digests, views)
        sums = key_sums(keys, space.id, view_policy=VIEW_POLICY, decode_policy=decode_policy, origin=origin)
        group.create_dataset("key_sum", data=sums)
        group.create_dataset("vector_sum", data=row_sums(rows))
        group.create_dataset("vector", data=rows)
        group = out.create_group("files")
        put_strings(group, "path", paths)
        put_digests(group, "key", path_keys(paths))
        put_strings(group, "problem", [problem.encode("utf-8", "backslashreplace") for problem in problems])
        put_digests(group, "digest", file_digests)
        group.create_dataset("size", data=sizes)
        group.create_dataset("mtime_ns", data=mtimes)
        group.create_dataset("ctime_ns", data=ctimes)
        group.create_dataset("inode", data=inodes)
        if notes:
            group = out.create_group("notes")
            put_digests(group, "digest", np.frombuffer(b"".join(notes), np.uint8).reshape(-1, 32))
            put_strings(group, "note", [note.encode("utf-8", "backslashreplace") for note in notes.values()])


def read_index(file: h5py.File, space: FeatureSpace) -> ShardIndex:
    """The columns of an open shard, without vectors and paths.

    Raises:
        UnreadableError: it is of another space than ``space``.
        DamagedError: its parts do not fit together.
    """
    if not isinstance(home := file.attrs.get("space"), str):
        raise DamagedError("it does not say which space its features are of")
    if home != space.id:
        raise UnreadableError(
            f"it holds features of another space ({home})",
            hint="`deltaoe store verify` tells if it is damaged; "
            "if not, move it into the folder of that space, or away",
        )
    version = int(file.attrs["version"])
    old = version < 2
    group = file["features"]
    digests = get_digests(group, "digest")
    vectors = group["vector"]
    if vectors.shape != (len(digests), space.dim) or vectors.dtype != space.dtype:
        raise DamagedError("its features do not fit its digests")
    view = np.zeros(len(digests), dtype=np.uint16) if old else group["view"][()]
    group = file["files"]
    count = len(group["size"])
    keys = path_keys(get_strings(group, "path")) if old else get_digests(group, "key", PATH_KEY_BYTES)
    if not old and file.attrs["view_policy"] != VIEW_POLICY:
        # Augmented views of another policy are other pictures: nobody asks for this number.
        view = np.where(view == 0, 0, FOREIGN_VIEW).astype(np.uint16)
    index = ShardIndex(
        row_keys=content_keys(digests, view),
        view=view,
        file_keys=keys,
        size=group["size"][()],
        mtime_ns=group["mtime_ns"][()],
        ctime_ns=group["ctime_ns"][()] if version >= 3 else np.zeros(count, dtype=np.int64),
        inode=group["inode"][()] if version >= 3 else np.zeros(count, dtype=np.uint64),
        digest=get_digests(group, "digest"),
        problems=_problems(group, count),
        decode_policy=int(file.attrs.get("decode_policy", 1)),  # which older versions did not name
        notes=_notes(file),
        imported=origin_of(file, space) == IMPORTED,
    )
    columns = (index.size, index.mtime_ns, index.ctime_ns)
    fits = (
        view.shape == (len(digests),)
        and view.dtype == np.uint16
        and len(keys) == len(index.digest) == count
        and all(column.shape == (count,) and column.dtype == np.int64 for column in columns)
        and index.inode.shape == (count,)
        and index.inode.dtype == np.uint64
        and group["path_offsets"].shape == (count + 1,)
    )
    if not fits:
        raise DamagedError("its columns do not fit together")
    return index


def _notes(file: h5py.File) -> dict[bytes, str]:
    if "notes" not in file:
        return {}
    digests, notes = get_digests(file["notes"], "digest"), get_strings(file["notes"], "note")
    if len(digests) != len(notes):
        raise DamagedError("its columns do not fit together")
    pairs = zip(digests, notes, strict=True)
    return {digest.tobytes(): note.decode("utf-8", "replace") for digest, note in pairs}


def origin_of(file: h5py.File, space: FeatureSpace) -> str:
    """Where a shard's features come from: before version 3 nobody noted it, and only the space can tell."""
    origin = file.attrs.get("origin", IMPORTED if space.is_imported else COMPUTED)
    if origin not in (COMPUTED, IMPORTED):
        raise DamagedError(f"its features are of unknown origin: {origin!r}")
    return str(origin)


def _problems(group: h5py.Group, count: int) -> dict[int, str]:
    offsets = group["problem_offsets"][()]
    buffer = bytes(group["problem"][()])
    steps = np.diff(offsets)
    if offsets.shape != (count + 1,) or offsets[0] != 0 or offsets[-1] != len(buffer) or (steps < 0).any():
        raise DamagedError("damaged string table /files/problem")
    return {
        int(i): buffer[offsets[i] : offsets[i + 1]].decode("utf-8", "replace") for i in np.flatnonzero(steps)
    }


def read_vectors(path: Path, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.floating]:
    """Features of some rows of a shard, (n, D), in the number format on disk.

    Args:
        path: the shard's file.
        rows: (n,), ascending, perhaps repeated.

    Raises:
        StoreError: the shard cannot be read; DamagedError if a row is not what was written.
    """
    with opened(path, "features") as file:
        vectors = file["features/vector"]
        out = np.empty((len(rows), vectors.shape[1]), dtype=vectors.dtype)
        cuts = np.flatnonzero(np.diff(rows) > _GAP_ROWS) + 1
        start = 0
        for stop in [*cuts.tolist(), len(rows)]:
            if start < stop:
                first, last = int(rows[start]), int(rows[stop - 1])
                span = vectors[first : last + 1]
                # The number of rows does not tell: images of equal content ask for one row twice.
                gapless = bool((np.diff(rows[start:stop]) == 1).all())
                out[start:stop] = span if gapless else span[rows[start:stop] - first]
            start = stop
        if len(rows) and "vector_sum" in file["features"]:  # not in version 1 and 2
            first = int(rows[0])
            wrong = row_sums(out) != file["features/vector_sum"][first : int(rows[-1]) + 1][rows - first]
            if wrong.any():
                raise DamagedError(f"feature {rows[int(np.argmax(wrong))]} has changed since it was written")
        return out


def read_paths(path: Path) -> list[bytes]:
    """The paths of all observations of files in a shard, in its order. Raises StoreError if it cannot be read."""
    with opened(path, "features") as file:
        return get_strings(file["files"], "path")
