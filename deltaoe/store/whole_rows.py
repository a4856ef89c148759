"""What of a damaged shard is whole: the rows whose checksums are right, also of a file that was cut off."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from deltaoe.errors import DamagedError
from deltaoe.images.decode_policy import DECODE_POLICY
from deltaoe.images.views import VIEW_POLICY
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.hdf5 import Digests
from deltaoe.store.read_errors import check_regular
from deltaoe.store.row_sums import key_sums, row_sums
from deltaoe.store.self_contained import reason_against
from deltaoe.store.shards import COMPUTED, IMPORTED, content_keys

_SUPERBLOCK_END = 40  # offset of the end-of-file address in HDF5's superblock, version 0
_LARGEST = 2 << 30  # bytes of a shard; an address beyond is damaged itself


class WholeRows:
    """The features of a damaged shard that are proven whole by their checksums, k of n.

    Attributes:
        total: n, or None if that cannot be read.
        digests, views, vectors: (k, 32), (k,) and (k, D).
        origin: ``COMPUTED`` or ``IMPORTED``, as their checksums prove it; the latter where there are none.
        decode_policy: the oldest rule by which their pixels were made, as their checksums prove it.
    """

    def __init__(self) -> None:
        self.total: int | None = None
        self.digests: Digests = np.zeros((0, 32), np.uint8)
        self.views = np.zeros(0, np.uint16)
        self.vectors: npt.NDArray[Any] = np.zeros((0, 0), np.float32)
        self.origin = IMPORTED
        self.decode_policy = 0


def whole_rows(path: Path, space: FeatureSpace) -> WholeRows:
    """The whole rows of a shard; none if it was written before there were checksums of rows.

    Args:
        path: the damaged file.
        space: its feature space.
    """
    whole = WholeRows()
    try:
        check_regular(path)
        if os.path.getsize(path) <= _LARGEST:
            with h5py.File(io.BytesIO(_filled_up(path.read_bytes())), "r") as file:
                _read(file, space, whole)
    except Exception:  # noqa: S110 - damage shows in any way: then nothing can be proven
        pass
    return whole


def _read(file: h5py.File, space: FeatureSpace, whole: WholeRows) -> None:
    digests = _column(file, "digest")
    whole.total = len(digests)
    views, vectors, of_keys = (_column(file, name) for name in ("view", "vector", "key_sum"))
    if vectors.shape != (len(digests), space.dim) or vectors.dtype != space.dtype:
        return
    right = (row_sums(vectors) == _column(file, "vector_sum")) & np.isfinite(vectors).all(axis=1)
    keys = content_keys(digests, views)
    # The checksums prove these as well, whose attributes may be lost.
    proven = {
        (origin, drawn, decoded): key_sums(
            keys, space.id, view_policy=drawn, decode_policy=decoded, origin=origin
        )
        == of_keys
        for origin in (COMPUTED, IMPORTED)
        for drawn in range(VIEW_POLICY + 1)
        for decoded in range(DECODE_POLICY + 1)
    }
    (origin, drawn, decoded), known = max(proven.items(), key=lambda item: int(np.count_nonzero(item[1])))
    right &= known & ((views == 0) | (drawn == VIEW_POLICY))  # nobody asks for views by another rule
    if right.any():
        whole.origin, whole.decode_policy = origin, decoded
    whole.digests, whole.views, whole.vectors = digests[right], views[right], vectors[right]


def _column(file: h5py.File, name: str) -> npt.NDArray[Any]:
    """One column of a shard's features. Raises DamagedError if it does not lie in the file itself."""
    if reason_against(file.id, b"features") or (why := reason_against(file["features"].id, name.encode())):
        raise DamagedError(f"its {name} cannot be read: {why}")
    column: npt.NDArray[Any] = file["features"][name][()]
    return column


def _filled_up(content: bytes) -> bytes:
    """An HDF5 file that was cut off, with zeros where the rest was, so that HDF5 opens it."""
    end = int.from_bytes(content[_SUPERBLOCK_END : _SUPERBLOCK_END + 8], "little")
    return content + bytes(end - len(content)) if len(content) < end <= _LARGEST else content
