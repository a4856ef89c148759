"""One data set with its features in a single HDF5 file, to carry from one workspace to another."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from deltaoe.errors import DamagedError, StoreError
from deltaoe.images.views import VIEW_POLICY
from deltaoe.store.atomic import replacing
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.feature_store import BLOCK_ROWS
from deltaoe.store.hdf5 import (
    FORMAT_VERSION,
    Digests,
    get_digests,
    get_strings,
    opened,
    put_digests,
    put_strings,
)
from deltaoe.store.read_errors import UNLOCKED

_KIND = "archive"
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
        with h5py.File(temporary, "w", libver=("earliest", "v110"), **UNLOCKED) as out:
            out.attrs["format"] = f"deltaoe.{_KIND}"
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


def is_archive(path: Path) -> bool:
    """Whether a file is one that :func:`write_archive` wrote; False also if it cannot be read."""
    try:
        with h5py.File(path, "r", **UNLOCKED) as file:
            return str(file.attrs.get("format", "")) == f"deltaoe.{_KIND}"
    except OSError:
        return False


def read_archive(path: Path) -> tuple[DataSet, FeatureSpace]:
    """The data set of an archive and the space of its features. Raises StoreError if the archive is damaged."""
    with opened(path, _KIND) as file:
        head: dict[str, Any] = json.loads(file.attrs["head"])
        space = FeatureSpace.from_dict(json.loads(file.attrs["space"]))
        data = DataSet(
            root="",
            space_id=space.id,
            model=head["model"],
            layout=head["layout"],
            class_names=tuple(head["class_names"]),
            domain_names=tuple(head["domain_names"]),
            paths=[os.fsdecode(p) for p in get_strings(file, "path")],
            digests=get_digests(file, "path_digest"),
            class_of=file["class_of"][()],
            domain_of=file["domain_of"][()],
            split_names=tuple(head.get("split_names", ())),
            **({"split_of": file["split_of"][()]} if "split_of" in file else {}),
            name=head["name"],
            text_features=file["text_features"][()] if "text_features" in file else None,
        )
        data.check()
        digests, vectors = get_digests(file, "digest"), file["features"]
        if vectors.shape != (len(digests), space.dim) or file["view"].shape != (len(digests),):
            raise DamagedError("its features do not fit its digests")
    return data, space


def archive_rows(
    path: Path,
) -> Iterator[tuple[Digests, npt.NDArray[np.uint16], npt.NDArray[np.float32]]]:
    """Digests (b, 32), views (b,) and features (b, D) float32 of an archive, some thousand at a time.

    Augmented views that were drawn under another ``VIEW_POLICY`` are left out.

    Raises:
        StoreError: the archive is damaged.
    """
    with opened(path, _KIND) as file:
        count = len(file["view"])
        same_views = file.attrs["view_policy"] == VIEW_POLICY
        for start in range(0, count, BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            views = file["view"][part]
            use = np.ones(len(views), dtype=bool) if same_views else views == 0
            yield (
                file["digest"][part][use],
                views[use],
                file["features"][part][use].astype(np.float32),
            )
