"""Conventions of this package's HDF5 files: byte strings of any content, checksums, errors that name the file."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from deltaoe.errors import DamagedError, UnreadableError
from deltaoe.store.read_errors import check_regular, read_error, unlocked
from deltaoe.store.self_contained import check_self_contained

FORMAT_VERSION = 3
Digests = npt.NDArray[np.uint8]  # (n, 32), a SHA-256 digest per row
_CHECKSUM = "sha256"
_CHUNK_BYTES = 8 << 20


def encoded(paths: Sequence[str]) -> list[bytes]:
    """The bytes of each of n file names, as ``os.fsencode`` gives them, ten times as fast."""
    # Joined by NULs they are encoded at once. No file has one in its name, but a table may claim it.
    joined = os.fsencode("\0".join(paths)).split(b"\0")
    return joined if len(joined) == len(paths) else [os.fsencode(path) for path in paths]


def put_strings(group: h5py.Group, name: str, values: Sequence[bytes]) -> None:
    """Store n byte strings of any content as one buffer and n + 1 offsets into it."""
    offsets = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, values), dtype=np.int64, count=len(values)), out=offsets[1:])
    group.create_dataset(name, data=np.frombuffer(b"".join(values), dtype=np.uint8))
    group.create_dataset(f"{name}_offsets", data=offsets)


def get_strings(group: h5py.Group, name: str) -> list[bytes]:
    """The n byte strings of :func:`put_strings`. Raises DamagedError if the offsets do not fit the buffer."""
    buffer = bytes(group[name][()])
    table = group[f"{name}_offsets"][()]
    ascending = table.ndim == 1 and len(table) > 0 and bool((np.diff(table) >= 0).all())
    if not ascending or table[0] != 0 or table[-1] != len(buffer):
        raise DamagedError(f"damaged string table {group.name}/{name}")
    return [buffer[a:b] for a, b in itertools.pairwise(table.tolist())]


def put_digests(group: h5py.Group, name: str, digests: Digests) -> None:
    """Store (n, W) uint8, n digests of W bytes."""
    group.create_dataset(name, data=np.ascontiguousarray(digests, dtype=np.uint8))


def get_digests(group: h5py.Group, name: str, width: int = 32) -> Digests:
    """The (n, W) digests of :func:`put_digests`. Raises DamagedError if the data set is not of that shape."""
    table: Digests = group[name][()]
    if table.dtype != np.uint8 or table.ndim != 2 or table.shape[1] != width:
        raise DamagedError(f"damaged digest table {group.name}/{name}")
    return table


@contextlib.contextmanager
def opened(path: Path, kind: str) -> Iterator[h5py.File]:
    """Open a file of this package for reading, without a lock, and check its ``format`` and ``version``.

    Args:
        path: the file.
        kind: ``features``, ``dataset`` or ``archive``.

    Raises:
        UnreadableError: it cannot be read as things are, here or inside the ``with`` block; InUseError if another
            process holds it. The message names the file.
        DamagedError: it is cut off, of another kind, or its parts do not fit, though all its bytes can be read.
    """
    try:
        check_regular(path)
        with h5py.File(path, "r", **unlocked()) as file:
            if file.attrs.get("format") != f"deltaoe.{kind}":
                raise DamagedError("it is no such file")
            if int(file.attrs.get("version", 0)) > FORMAT_VERSION:
                raise UnreadableError("it was written by a newer deltaoe", hint="upgrade deltaoe to read it")
            check_self_contained(file)
            yield file
    except Exception as cause:  # h5py and the readers built on it meet damage with exceptions of any kind
        raise read_error(path, cause, f"cannot read {path} as a deltaoe {kind} file") from cause


@contextlib.contextmanager
def created(path: Path, kind: str) -> Iterator[h5py.File]:
    """Create a file of this package; it is written, with its checksum, at the end of the ``with`` block.

    It is put together in memory and written at once: if a disk is full, HDF5 itself would crash the process.

    Args:
        path: a temporary path, from :func:`deltaoe.store.atomic.replacing`.
        kind: ``features``, ``dataset`` or ``archive``.
    """
    with h5py.File(path, "w", driver="core", backing_store=False, libver=("earliest", "v110")) as file:
        file.attrs["format"] = f"deltaoe.{kind}"
        file.attrs["version"] = FORMAT_VERSION
        # Its place is kept: an attribute that comes late would move the root's entries to the end of the file, and
        # nothing could be kept of one that was cut off.
        file.attrs[_CHECKSUM] = "0" * 64
        yield file
        file.attrs.modify(_CHECKSUM, checksum(file))
        file.flush()
        content = file.id.get_file_image()
    path.write_bytes(content)


def checksum(file: h5py.File) -> str:
    """SHA-256, in hexadecimal, over all datasets and all attributes but itself, each in the order of their names."""
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    digest = hashlib.sha256()
    for name in sorted(set(file.attrs) - {_CHECKSUM}):
        digest.update(f"{name}\0{file.attrs[name]}\0".encode())
    for name in sorted(names):
        data = file[name]
        digest.update(f"{name}\0{data.dtype.str}\0{data.shape}\0".encode())
        step = max(1, _CHUNK_BYTES // max(1, data.dtype.itemsize * int(np.prod(data.shape[1:]))))
        for start in range(0, data.shape[0] if data.shape else 0, step):
            digest.update(np.ascontiguousarray(data[start : start + step]).view(np.uint8).data)
    return digest.hexdigest()


def check_checksum(file: h5py.File) -> None:
    """Raise DamagedError unless the file has the content that its checksum was made of; version 1 had none."""
    written = file.attrs.get(_CHECKSUM)
    if written is None and int(file.attrs["version"]) == 1:
        return
    if written != checksum(file):
        raise DamagedError("its content has changed since it was written")
