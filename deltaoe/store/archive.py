"""One data set with its features in a single HDF5 file, to carry from one workspace to another."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from deltaoe.errors import StoreError
from deltaoe.images.views import VIEW_POLICY
from deltaoe.store.archive_seal import seal
from deltaoe.store.atomic import replacing
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.hdf5 import (
    FORMAT_VERSION,
    Digests,
    put_digests,
    put_strings,
)
from deltaoe.store.read_errors import unlocked

_COLUMNS = ("class_of", "domain_of")
_HEAD = ("model", "layout", "class_names", "domain_names", "split_names", "name")


def write_archive(
    target: Path,
    data: DataSet,
    space: FeatureSpace,
    digests: Digests,
    views: npt.NDArray[np.uint16],
    blocks: Iterable[npt.NDArray[np.float32]],
) -> None:
    """Write a data set and its n features as one file, atomically.

    Args:
        target: the file.
        data: the data set.
        space: the features' space.
        digests: (n, 32), content digest of each feature.
        views: (n,), view of each feature.
        blocks: the features in that order, (b, D) at a time.

    Raises:
        StoreError: the disk has not enough room, or the file cannot be written.
    """
    row_bytes = space.dim * np.dtype(space.dtype).itemsize + 34
    needed = len(digests) * row_bytes + sum(map(len, data.paths)) + 64 * len(data) + (1 << 20)
    with replacing(target) as temporary:
        # HDF5 crashes the process where a disk is full, and this file may be too large to put together in memory.
        if shutil.disk_usage(temporary.parent).free < needed:
            raise StoreError(
                f"cannot write {target}: it needs {needed / 1e6:.0f} MB, more than is free",
                hint="free some space, or export to another disk",
            )
        with h5py.File(temporary, "w", libver=("earliest", "v110"), **unlocked()) as out:
            out.attrs["format"] = "deltaoe.archive"
            out.attrs["version"] = FORMAT_VERSION
            out.attrs["view_policy"] = VIEW_POLICY
            out.attrs["space"] = json.dumps(space.to_dict())
            out.attrs["head"] = json.dumps({name: getattr(data, name) for name in _HEAD})
            put_strings(out, "path", [os.fsencode(path) for path in data.paths])
            put_digests(out, "path_digest", data.digests)
            for name in _COLUMNS:
                out.create_dataset(name, data=getattr(data, name))
            if data.split_names:
                out.create_dataset("split_of", data=data.split_of)
            if data.text_features is not None:
                out.create_dataset("text_features", data=data.text_features)
            put_digests(out, "digest", digests)
            out.create_dataset("view", data=views)
            vectors = out.create_dataset("features", (len(digests), space.dim), dtype=space.dtype)
            start = 0
            for block in blocks:
                vectors[start : start + len(block)] = block.astype(space.dtype)
                start += len(block)
        seal(temporary)
