"""Small conventions on top of h5py: byte strings of any content, and errors that name the file."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from deltaoe.errors import StoreError, first_line

FORMAT_VERSION = 1


def put_strings(group: h5py.Group, name: str, values: Sequence[bytes]) -> None:
    """Store byte strings as one buffer and n + 1 offsets: no truncation, no encoding, NUL and all."""
    lengths = np.fromiter((len(value) for value in values), dtype=np.int64, count=len(values))
    group.create_dataset(name, data=np.frombuffer(b"".join(values), dtype=np.uint8))
    group.create_dataset(f"{name}_offsets", data=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def get_strings(group: h5py.Group, name: str) -> list[bytes]:
    """The inverse of :func:`put_strings`. Raises StoreError if the offsets do not fit the buffer."""
    buffer = bytes(group[name][()])
    offsets = group[f"{name}_offsets"][()].tolist()
    if not offsets or offsets[0] != 0 or offsets[-1] != len(buffer) or sorted(offsets) != offsets:
        raise StoreError(f"damaged string table {group.name}/{name}")
    return [buffer[a:b] for a, b in itertools.pairwise(offsets)]


def put_digests(group: h5py.Group, name: str, digests: Sequence[bytes]) -> None:
    """Store n content digests of 32 bytes as an (n, 32) array of bytes."""
    table = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), 32)
    group.create_dataset(name, data=table)


def get_digests(group: h5py.Group, name: str) -> list[bytes]:
    """The inverse of :func:`put_digests`. Raises StoreError if it is no such array."""
    table: npt.NDArray[np.uint8] = group[name][()]
    if table.dtype != np.uint8 or table.shape[1:] != (32,):
        raise StoreError(f"damaged digest table {group.name}/{name}")
    raw = table.tobytes()
    return [raw[i : i + 32] for i in range(0, len(raw), 32)]


@contextlib.contextmanager
def opened(path: Path, kind: str) -> Iterator[h5py.File]:
    """Open a file of ours for reading and check its ``format`` and ``version``.

    Raises:
        StoreError: unreadable, cut off, of another kind, or written by a newer version; names the file.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != f"deltaoe.{kind}":
                raise StoreError("it is no such file")
            if int(file.attrs.get("version", 0)) > FORMAT_VERSION:
                raise StoreError("it was written by a newer deltaoe")
            yield file
    except Exception as cause:  # h5py and the readers built on it meet damage with exceptions of any kind
        raise StoreError(
            f"cannot read {path} as a deltaoe {kind} file: {first_line(cause)}",
            hint="move that file away and run the same `deltaoe extract` again: only what it held is computed anew",
        ) from cause


@contextlib.contextmanager
def created(path: Path, kind: str) -> Iterator[h5py.File]:
    """Create a file of ours at ``path`` (a temporary one: see :func:`deltaoe.data.files.replacing`).

    It is put together in memory and written in one go: where a disk is full, HDF5 itself would crash the process.
    """
    with h5py.File(path, "w", driver="core", backing_store=False, libver=("earliest", "v110")) as file:
        file.attrs["format"] = f"deltaoe.{kind}"
        file.attrs["version"] = FORMAT_VERSION
        yield file
        file.flush()
        content = file.id.get_file_image()
    path.write_bytes(content)
