"""Files of label indexes, which are kept between runs: a digest of all bytes is compared before any of them is used.

A file holds a payload, a JSON description of it, the description's length in 8 bytes, and the SHA-256 of all before.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from deltaoe.errors import StoreError, os_reason
from deltaoe.files import check_regular_file
from deltaoe.store.atomic import replacing

_ALIGNED = 64  # bytes
_DIGEST, _LENGTH = 32, 8  # bytes
_CHUNK = 1 << 20
_KEPT = 8  # files per folder: those written last
SUFFIX = ".labels"

Arrays = Mapping[str, npt.NDArray[Any]]


def index_file(folder: Path, rows: npt.NDArray[np.float32], *made_by: str) -> Path:
    """The file of an index of label features.

    Args:
        folder: folder of indexes.
        rows: (K, D) the features, C order.
        made_by: kind of index, its parameters and the version of the library that built it.
    """
    digest = hashlib.sha256(json.dumps([*made_by, list(rows.shape)]).encode())
    digest.update(rows.reshape(-1).view(np.uint8).data)
    return folder / f"{digest.hexdigest()[:32]}{SUFFIX}"


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Write arrays to a file, atomically. Raises StoreError if that fails."""
    with replacing(path) as temporary:
        listed = {}
        with temporary.open("wb") as file:
            for name, array in arrays.items():
                file.write(bytes(-file.tell() % _ALIGNED))
                listed[name] = [array.dtype.str, list(array.shape), file.tell()]
                file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        seal(temporary, listed)
    _drop_old(path.parent)


def load_arrays(
    path: Path, expected: Mapping[str, tuple[str, tuple[int, ...]]]
) -> dict[str, npt.NDArray[Any]]:
    """Arrays of a file, mapped into memory; what is written to them does not reach the file.

    Args:
        path: the file.
        expected: type and shape of each array.

    Raises:
        FileNotFoundError: there is no such file.
        StoreError: it cannot be read, is damaged, or holds other arrays.
    """
    listed = unsealed(path)
    if not isinstance(listed, dict) or {
        name: (one[0], tuple(one[1])) for name, one in listed.items()
    } != dict(expected):
        raise StoreError("it holds other arrays than expected")
    return {
        name: np.memmap(path, mode="c", dtype=kind, shape=tuple(shape), offset=offset)
        for name, (kind, shape, offset) in listed.items()
    }


def seal(path: Path, description: object) -> None:
    """Append a description, and the digest of payload and description, to a file that holds a payload."""
    said = json.dumps(description).encode()
    with path.open("r+b") as file:
        digest = hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        end = said + len(said).to_bytes(_LENGTH, "little")
        digest.update(end)
        file.write(end + digest.digest())


def unsealed(path: Path) -> Any:
    """The description of a file, once its digest was found to be right.

    Raises:
        FileNotFoundError: there is no such file.
        StoreError: it cannot be read or is damaged.
    """
    if not os.path.lexists(path):
        raise FileNotFoundError(path)
    check_regular_file(path, error=StoreError)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size - _DIGEST
            digest = hashlib.sha256()
            for chunk in _chunks(file, max(size, 0)):
                digest.update(chunk)
            if size < _LENGTH or file.read(_DIGEST + 1) != digest.digest():
                raise StoreError("its content has changed since it was written")
            file.seek(size - _LENGTH)
            length = int.from_bytes(file.read(_LENGTH), "little")
            file.seek(size - _LENGTH - length)
            return json.loads(file.read(length))
    except (OSError, ValueError) as cause:
        raise StoreError(os_reason(cause) if isinstance(cause, OSError) else "it is no index") from cause


def save_file(path: Path, write: Callable[[Path], None], description: object) -> None:
    """Write a file whose payload ``write`` writes to a path, atomically. Raises StoreError if that fails."""
    with replacing(path) as temporary:
        write(temporary)
        seal(temporary, description)
    _drop_old(path.parent)


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The first ``size`` bytes of a file, or fewer if it is shorter."""
    while size and (chunk := file.read(min(_CHUNK, size))):
        size -= len(chunk)
        yield chunk


def _drop_old(folder: Path) -> None:
    """Remove all indexes of a folder but those written last; they are made again when they are needed."""
    with contextlib.suppress(OSError):
        files = sorted(folder.glob(f"*{SUFFIX}"), key=lambda file: file.lstat().st_mtime_ns, reverse=True)
        for file in files[_KEPT:]:
            file.unlink()
