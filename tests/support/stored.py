"""A feature store with made-up features of known images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from samples import digest, make_space, unit_rows

from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.shards import NO_DIGEST
from deltaoe.store.store_index import FileRecord

DIM = 16


def record(i: int, problem: str = "") -> FileRecord:
    return FileRecord(1000 + i, 10**18 + i, NO_DIGEST if problem else digest(i), problem)


def fill(store: FeatureStore, numbers: range, views: int = 0) -> np.ndarray:
    """One shard with these images and so many augmented views of each; features (n, D), or (n, 1 + views, D)."""
    rows = unit_rows(len(numbers) * (1 + views), DIM, seed=numbers.start).reshape(
        len(numbers), 1 + views, DIM
    )
    with store.writer() as writer:
        for i, of_image in zip(numbers, rows, strict=True):
            writer.add(b"%d.png" % i, record(i), of_image, range(1 + views))
    return rows if views else rows[:, 0]


def reopened(folder: Path) -> FeatureStore:
    return FeatureStore(folder, make_space(DIM))
