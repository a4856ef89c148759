"""Maintenance of a workspace's features: describing, verifying, repairing and compacting them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deltaoe.errors import StoreError
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.store.compaction import Compacted, compact_store
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.key_table import prefixes
from deltaoe.store.read_errors import listed
from deltaoe.store.repair import Repaired
from deltaoe.store.repair import repair as repair_findings
from deltaoe.store.shard_tables import ASIDE
from deltaoe.store.shards import read_paths
from deltaoe.store.verification import check_workspace
from deltaoe.store.workspace import Workspace


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
        index_size: bytes of the files in use that say where their rows lie; 0 without such files.
    """

    space: FeatureSpace
    images: int
    features: int
    files: int
    failed: dict[str, str]
    shards: int
    size: int
    index_size: int


@dataclass(frozen=True)
class Verified:
    """The result of a verification.

    Attributes:
        shards: number of shards that were read.
        rows: number of features in the sound ones.
        damage: damaged files, and what is wrong with each.
        unreadable: files that cannot be read as things are, and why; they may be sound, and are left alone.
        aside: where damaged files were moved to; empty without ``repair``.
        notes: sentences on what the repair kept, and on what is lost.
    """

    shards: int
    rows: int
    damage: list[tuple[Path, str]]
    unreadable: list[tuple[Path, StoreError]] = field(default_factory=list)
    aside: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def info(workspace: Workspace) -> list[SpaceInfo]:
    """Descriptions of all feature stores of a workspace. Raises StoreError if one cannot be read."""
    return [_describe(workspace.store(space)) for space in workspace.spaces()]


def _describe(store: FeatureStore) -> SpaceInfo:
    return store.soundly(lambda: _described(store))


def _described(store: FeatureStore) -> SpaceInfo:
    files = images = features = 0
    broken: list[npt.NDArray[np.int32]] = []  # shard, row and code of the problem, (3, n)
    for part in store.file_ranges():
        files += len(part)
        columns = [part.columns[name] for name in ("shard", "row", "problem")]
        broken.append(np.stack(columns)[:, columns[-1] != 0])
    shard, row, code = np.concatenate([np.zeros((3, 0), np.int32), *broken], axis=1)
    failed = zip(_names(store, shard, row), map(store.problem, code.tolist()), strict=True)
    for part in store.feature_ranges():
        features += len(part)
        images += int(np.count_nonzero(part.columns["view"] == 0))
    return SpaceInfo(
        space=store.space,
        images=images,
        features=features,
        files=files,
        failed=dict(sorted((os.fsdecode(name), problem) for name, problem in failed)),
        shards=len(store.shards),
        size=sum(shard.size for shard in store.shards),
        index_size=store.index_size,
    )


def _names(store: FeatureStore, shard: npt.NDArray[np.generic], row: npt.NDArray[np.generic]) -> list[bytes]:
    paths = {int(number): read_paths(store.shards[int(number)].path) for number in np.unique(shard)}
    return [paths[int(number)][int(i)] for number, i in zip(shard, row, strict=True)]


def verify(workspace: Workspace, *, repair: bool = False, on: OnEvent = silent) -> Verified:
    """Check every file of a workspace: structure, checksums, lengths of features, paths that fit their keys.

    Args:
        workspace: the workspace to check.
        repair: whether to move damaged files into a folder ``damaged`` beside them, keep their rows that are proven
            whole, and restore descriptions; nothing is deleted. The next ``extract`` computes the rest anew.
        on: receives progress.

    Raises:
        StoreError: with ``repair``, another process is writing or a file cannot be moved.
    """
    found = check_workspace(workspace, on)
    done = repair_findings(workspace, found.findings) if repair else Repaired()
    return Verified(
        shards=found.shards,
        rows=found.rows,
        damage=[(one.path, str(one.error)) for one in found.findings if one.damaged],
        unreadable=[(one.path, one.error) for one in found.findings if not one.damaged],
        aside=done.aside,
        notes=done.notes,
    )


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
    named: dict[str, list[npt.NDArray[np.uint64]]] = {}
    for path in workspace.listings():
        data = workspace.load_listing(path)
        named.setdefault(data.space_id, []).append(prefixes(data.digests))
    lost = bool(listed(workspace.folder / "datasets" / ASIDE, "*.h5"))
    done = []
    for space in workspace.spaces():
        store = workspace.store(space)
        # A damaged data set may list imported features, which nobody can make anew.
        wanted = None if lost and space.is_imported else named.get(space.id, [])

        def progress(rows: int, total: int) -> None:
            on(Event("Compacting", rows, total))

        base = os.fsencode(os.path.dirname(workspace.folder))
        done.append((space, compact_store(store, wanted, base, drop_missing_folders, progress)))
    return done
