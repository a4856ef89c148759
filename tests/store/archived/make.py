"""Writes the little store that the tests read, with the code as it is: ``python make.py`` after a new format version.

What an earlier version wrote stays as it is: its folder is the proof that users' old stores can still be read.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.hdf5 import FORMAT_VERSION
from deltaoe.store.store_index import FileRecord

HERE = Path(__file__).parent
SPACE = FeatureSpace(
    model="ViT-B-16/openai",
    weights="a" * 64,
    config="b" * 64,
    preprocess='{"size":224}',
    precision="fp32",
    decode_policy=1,
    dim=8,
)


def digest(number: int) -> bytes:
    return hashlib.sha256(b"image %d" % number).digest()


def make(folder: Path) -> None:
    """One shard: three images, the first with two views; a copy, a failure and a name that is no UTF-8."""
    rows = np.random.default_rng(2).standard_normal((5, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with FeatureStore(folder, SPACE).writer() as writer:
        writer.add(
            b"images/cat/1.jpg",
            FileRecord(100, 10**18, digest(0), "", 10**18 + 7, 2**64 - 1),
            rows[:3],
            (0, 1, 2),
        )
        writer.add(
            "images/dog/猫\n.png".encode(), FileRecord(101, 10**18 + 1, digest(1), "", -3, 12), rows[3]
        )
        writer.add(b"/abs/caf\xe9\xff.jpg", FileRecord(102, -1, digest(5), ""), rows[4])
        writer.add(b"images/dog/copy.jpg", FileRecord(100, 10**18, digest(0), ""))
        writer.add(b"images/bad.jpg", FileRecord(7, 5, digest(7), "zu groß", 6, 13))
    (folder / "writer.lock").unlink(missing_ok=True)


if __name__ == "__main__":
    make(HERE / f"version-{FORMAT_VERSION}" / SPACE.id)
