"""What lies in a workspace, read back; and folders that cannot be written."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np

from deltaoe.store.workspace import Workspace


def only(folder: Path, pattern: str) -> Path:
    """The one file of the workspace in this folder that fits."""
    (found,) = (folder / ".deltaoe").glob(pattern)
    return found


def shards(folder: Path) -> list[Path]:
    """All shards of the workspace in this folder, in the order of their names."""
    return sorted((folder / ".deltaoe").glob("features/*/shard-*.h5"))


def set_mode(folder: Path, mode: int) -> None:
    """Change the permissions of a folder and of all folders in it."""
    for where, _, _ in os.walk(folder):
        Path(where).chmod(mode)


def vectors(paths: list[Path]) -> dict[tuple[bytes, int], np.ndarray]:
    """Every feature of some shards by digest and view, as it is kept: read by h5py alone."""
    found = {}
    for path in paths:
        with h5py.File(path) as file:
            group = file["features"]
            digests, views, rows = group["digest"][()], group["view"][()], group["vector"][()]
        for digest, view, row in zip(digests, views.tolist(), rows, strict=True):
            assert (digest.tobytes(), view) not in found, "one feature lies in two shards"
            found[digest.tobytes(), view] = row
    return found


def features(folder: Path, name: str) -> np.ndarray:
    """The features of a data set in this folder's workspace, (n, D) in its order."""
    place = Workspace(folder / ".deltaoe")
    data = place.dataset(name)
    assert data is not None
    space = place.known_space(data.space_id)
    assert space is not None
    return place.store(space).features(data.digests)
