"""Maintenance of a workspace's features: describing, verifying, repairing and compacting them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deltaoe.errors import StoreError, os_reason
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.store.compaction import Compacted, compact_store
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.feature_store import BLOCK_ROWS, FeatureStore
from deltaoe.store.hdf5 import check_checksum, opened
from deltaoe.store.lock import writing
from deltaoe.store.shards import path_keys, read_index, read_paths
from deltaoe.store.workspace import Workspace

ASIDE = "damaged"


@dataclass(frozen=True)
class SpaceInfo:
    """A description of one feature store.

    Attributes:
        space: its feature space.
        images: number of distinct images with a feature.
        features: number of features; each view of an image is one.
        files: number of files on record.
        failed: path → why that file is no usable image.
        shards: number of shards.
        size: bytes of all shards.
    """

    space: FeatureSpace
    images: int
    features: int
    files: int
    failed: dict[str, str]
    shards: int
    size: int


@dataclass(frozen=True)
class Verified:
    """The result of a verification.

    Attributes:
        shards: number of shards that were read.
        rows: number of features in the sound ones.
        damage: damaged files, and what is wrong with each.
        aside: where damaged files were moved to; empty without ``repair``.
    """

    shards: int
    rows: int
    damage: list[tuple[Path, str]]
    aside: list[Path] = field(default_factory=list)


def info(workspace: Workspace) -> list[SpaceInfo]:
    """Descriptions of all feature stores of a workspace. Raises StoreError if one cannot be read."""
    return [_describe(workspace.store(space)) for space in workspace.spaces()]


def _describe(store: FeatureStore) -> SpaceInfo:
    files = store.file_table()
    failed: dict[str, str] = {}
    if files is not None:
        broken = np.flatnonzero(files.columns["problem"])
        names = _names(store, files.columns["shard"][broken], files.columns["row"][broken])
        failed = {
            os.fsdecode(name): store.problem(int(files.columns["problem"][i]))
            for name, i in zip(names, broken, strict=True)
        }
    return SpaceInfo(
        space=store.space,
        images=len(store),
        features=store.feature_rows,
        files=0 if files is None else len(files),
        failed=dict(sorted(failed.items())),
        shards=len(store.shards),
        size=sum(shard.size for shard in store.shards),
    )


def _names(store: FeatureStore, shard: npt.NDArray[np.generic], row: npt.NDArray[np.generic]) -> list[bytes]:
    paths = {int(number): read_paths(store.shards[int(number)].path) for number in np.unique(shard)}
    return [paths[int(number)][int(i)] for number, i in zip(shard, row, strict=True)]


def verify(workspace: Workspace, *, repair: bool = False, on: OnEvent = silent) -> Verified:
    """Check every shard and data set: structure, checksums, lengths of features, paths that fit their keys.

    Args:
        workspace: the workspace to check.
        repair: whether to move damaged files into a folder ``damaged`` beside them; nothing is deleted. The next
            ``extract`` computes what they held anew.
        on: receives progress.

    Raises:
        StoreError: with ``repair``, another process is writing or a file cannot be moved.
    """
    damage: list[tuple[Path, str]] = []
    shards = rows = 0
    every = [(space, path) for space in _spaces(workspace, damage) for path in _shard_files(workspace, space)]
    for done, (space, path) in enumerate(every, start=1):
        shards += 1
        try:
            rows += _check_shard(path, space)
        except StoreError as error:
            damage.append((path, str(error)))
        on(Event("Verifying", done, len(every)))
    for path in workspace.listings():
        try:
            with opened(path, "dataset") as file:
                check_checksum(file)
            DataSet.load(path)
        except StoreError as error:
            damage.append((path, str(error)))
    aside = _set_aside([path for path, _ in damage]) if repair else []
    return Verified(shards, rows, damage, aside)


def _spaces(workspace: Workspace, damage: list[tuple[Path, str]]) -> list[FeatureSpace]:
    spaces = []
    for folder in sorted((workspace.folder / "features").glob("*")):
        try:
            space = workspace.known_space(folder.name)
        except StoreError as error:
            damage.append((folder / "space.json", str(error)))
            continue
        if space is not None:
            spaces.append(space)
        elif any(folder.glob("shard-*.h5")):
            damage.append(
                (folder, "its space.json is gone; `deltaoe extract` with its model writes it again")
            )
    return spaces


def _shard_files(workspace: Workspace, space: FeatureSpace) -> list[Path]:
    return sorted((workspace.folder / "features" / space.id).glob("shard-*.h5"))


def _check_shard(path: Path, space: FeatureSpace) -> int:
    """Number of features in a shard. Raises StoreError if it is damaged."""
    with opened(path, "features") as file:
        check_checksum(file)
        index = read_index(file, space)
        vectors = file["features/vector"]
        for start in range(0, len(vectors), BLOCK_ROWS):
            block = vectors[start : start + BLOCK_ROWS].astype(np.float32)
            length = np.sqrt(np.einsum("ij,ij->i", block, block))
            wrong = ~(np.abs(length - 1) < 0.01)  # NaN is not less either
            if wrong.any():
                row = start + int(np.argmax(wrong))
                raise StoreError(f"feature {row} has length {length[row - start]:g}, not 1")
    if not np.array_equal(path_keys(read_paths(path)), index.file_keys):
        raise StoreError(f"{path}: its paths do not fit their keys")
    return len(index.row_keys)


def _set_aside(paths: list[Path]) -> list[Path]:
    moved = []
    for path in paths:
        if not path.is_file():
            continue
        with writing(path.parent):
            try:
                target = path.parent / ASIDE / path.name
                target.parent.mkdir(exist_ok=True)
                number = 1
                while target.exists():
                    number += 1
                    target = target.with_name(f"{path.stem}-{number}{path.suffix}")
                path.replace(target)
            except OSError as cause:
                raise StoreError(
                    f"cannot move {path}: {os_reason(cause)}", hint="check permissions"
                ) from cause
        moved.append(target)
    return moved


def compact(
    workspace: Workspace, *, drop_missing_folders: bool = False, on: OnEvent = silent
) -> list[tuple[FeatureSpace, Compacted]]:
    """Rewrite every store into few large shards, without features that no data set lists and no file has any more.

    Args:
        workspace: the workspace to compact.
        drop_missing_folders: whether to drop files whose whole folder is not there. By default they stay, because an
            unplugged disk looks like a deleted folder.
        on: receives progress.

    Returns:
        Each store's feature space and the result of its compaction.

    Raises:
        StoreError: a shard cannot be read, another process is writing, or the disk is full; nothing is lost then.
    """
    listed: dict[str, list[npt.NDArray[np.uint8]]] = {}
    for data in workspace.datasets():
        listed.setdefault(data.space_id, []).append(data.digests)
    done = []
    for space in workspace.spaces():
        store = workspace.store(space)
        digests = np.concatenate([*listed.get(space.id, []), np.zeros((0, 32), dtype=np.uint8)])

        def progress(rows: int, total: int) -> None:
            on(Event("Compacting", rows, total))

        base = os.fsencode(os.path.dirname(workspace.folder))
        done.append((space, compact_store(store, digests, base, drop_missing_folders, progress)))
    return done
