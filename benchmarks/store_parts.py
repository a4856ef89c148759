"""The parts that benchmarks/store.py measures, each of which runs in a process of its own."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

# NumPy and the package are imported by the measured processes alone. Linux starts the ru_maxrss of a new process
# at its parent's memory: that one must stay smaller than any that it measures.
if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from deltaoe.scoring.scorer import Scorer
    from deltaoe.store.feature_space import FeatureSpace
    from deltaoe.store.feature_store import FeatureStore

BLOCK = 8192
PICKED = 10_000
LABELS = 1000
IMAGE_BLOCK = 2048
PATTERN = 256


class Place(NamedTuple):
    """The folder of the files, the number of rows, and the numbers per row: the same for all processes."""

    folder: Path
    rows: int
    dim: int

    @property
    def store(self) -> Path:
        """The store's folder."""
        return self.folder / "store"

    @property
    def npy(self) -> Path:
        """The .npy file that the store is compared with."""
        return self.folder / "features.npy"

    def sizes(self) -> Iterator[tuple[int, int]]:
        """Number and length of every block of rows."""
        for start in range(0, self.rows, BLOCK):
            yield start // BLOCK, min(BLOCK, self.rows - start)


class Spent(NamedTuple):
    """Wall seconds, and CPU seconds of all threads."""

    seconds: float
    cpu: float

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.seconds - other.seconds, self.cpu - other.cpu)

    def plus(self, other: Spent) -> Spent:
        """The sum of both times."""
        return Spent(self.seconds + other.seconds, self.cpu + other.cpu)


def now() -> Spent:
    """The current readings of both clocks."""
    return Spent(time.perf_counter(), time.process_time())


def space(dim: int) -> FeatureSpace:
    """A feature space of this dimension; no model is loaded, so that any will do."""
    from deltaoe.store.feature_space import FeatureSpace

    return FeatureSpace("benchmark", "w" * 64, "c" * 64, '{"size":224}', "fp32", 1, dim)


def unit_rows(count: int, dim: int, seed: int) -> npt.NDArray[np.float32]:
    """(count, dim) random unit rows."""
    import numpy as np

    rows = np.random.default_rng(seed).standard_normal((count, dim), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def features(number: int, count: int, dim: int) -> npt.NDArray[np.float32]:
    """Block ``number`` of the rows: a few random ones in turns, shifted by the block's number.

    A fresh draw of each row would take longer than writing it, and say nothing more about the disk.
    """
    import numpy as np

    few = np.roll(unit_rows(PATTERN, dim, seed=1), number, axis=1)
    return np.tile(few, (-(-count // PATTERN), 1))[:count]


def digests(number: int, count: int) -> npt.NDArray[np.uint8]:
    """Digests (count, 32) of block ``number``: each one is different."""
    import numpy as np

    raw = np.random.default_rng([2, number]).bytes(32 * count)
    return np.frombuffer(raw, dtype=np.uint8).reshape(count, 32)


def all_digests(place: Place) -> npt.NDArray[np.uint8]:
    """Digests (rows, 32) of all rows, in the order in which they were written."""
    import numpy as np

    out = np.empty((place.rows, 32), dtype=np.uint8)
    for number, count in place.sizes():
        out[number * BLOCK : number * BLOCK + count] = digests(number, count)
    return out


def picked(place: Place) -> npt.NDArray[np.int64]:
    """Row numbers in random order."""
    import numpy as np

    return np.random.default_rng(3).permutation(place.rows)[:PICKED].astype(np.int64)


def opened(place: Place) -> FeatureStore:
    """The store that ``append`` wrote."""
    from deltaoe.store.feature_store import FeatureStore

    store = FeatureStore(place.store, space(place.dim))
    assert len(store) == place.rows
    return store


def widened(half: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """Rows as the store returns them: converted to float32 and scaled to unit length again."""
    import numpy as np

    out = half.astype(np.float32)
    out /= np.sqrt(np.einsum("ij,ij->i", out, out))[:, None]
    return out


def import_store(place: Place) -> Spent:
    """No time: the process only imports the store, for its memory."""
    import numpy as np  # noqa: F401

    import deltaoe.store.feature_store  # noqa: F401

    return Spent(0.0, 0.0)


def import_scoring(place: Place) -> Spent:
    """No time: the process only imports scoring, for its memory."""
    import faiss  # noqa: F401

    import deltaoe.scoring.scorer  # noqa: F401

    return Spent(0.0, 0.0)


def append(place: Place) -> Spent:
    """Time of adding all rows, each with the record of a file, as extract does; one shard per 8,192 rows."""
    from deltaoe.store.feature_store import FeatureStore
    from deltaoe.store.store_index import FileRecord

    shutil.rmtree(place.store, ignore_errors=True)
    store, seconds = FeatureStore(place.store, space(place.dim)), Spent(0.0, 0.0)
    with store.writer() as writer:
        for number, count in place.sizes():
            block, keys = features(number, count, place.dim), digests(number, count).tobytes()
            names = [f"images/class_{i % 100:03d}/img_{number * BLOCK + i:07d}.jpg" for i in range(count)]
            paths = list(map(str.encode, names))
            start = now()
            for i, path in enumerate(paths):
                writer.add(
                    path, FileRecord(100_000 + i, 10**18 + i, keys[32 * i : 32 * i + 32], ""), block[i]
                )
            writer.flush()
            seconds = seconds.plus(now() - start)
    return seconds


def append_npy(place: Place, *, sync_blocks: bool) -> Spent:
    """Time of writing the vectors alone to one .npy file, synced after every block or once."""
    import numpy as np

    place.npy.unlink(missing_ok=True)
    seconds = Spent(0.0, 0.0)
    with place.npy.open("wb") as out:
        head = {"descr": "<f2", "fortran_order": False, "shape": (place.rows, place.dim)}
        np.lib.format.write_array_header_1_0(out, head)
        for number, count in place.sizes():
            block = features(number, count, place.dim)
            start = now()
            block.astype(np.float16).tofile(out)
            if sync_blocks:
                os.fsync(out.fileno())
            seconds = seconds.plus(now() - start)
        start = now()
        os.fsync(out.fileno())
    return seconds.plus(now() - start)


def append_npy_blocks(place: Place) -> Spent:
    """Time of writing the .npy file, synced after every block as the store is."""
    return append_npy(place, sync_blocks=True)


def append_npy_once(place: Place) -> Spent:
    """Time of writing the .npy file, synced once at the end."""
    return append_npy(place, sync_blocks=False)


def open_store(place: Place) -> Spent:
    """Time of opening the store."""
    from deltaoe.store.feature_store import FeatureStore

    start = now()
    store = FeatureStore(place.store, space(place.dim))
    spent = now() - start
    assert len(store) == place.rows  # which looks at every row
    return spent


def read(place: Place) -> Spent:
    """Time of reading all rows in the order on disk."""
    store, keys = opened(place), all_digests(place)
    start, done = now(), 0
    for part, block in store.blocks(keys):
        done += len(part)
        assert block.shape == (len(part), place.dim)
    assert done == place.rows
    return now() - start


def read_npy(place: Place) -> Spent:
    """Time of reading all rows from the memory-mapped file, as float32 rows of unit length."""
    import numpy as np

    mapped = np.load(place.npy, mmap_mode="r")
    start = now()
    for first in range(0, place.rows, BLOCK):
        widened(mapped[first : first + BLOCK])
    return now() - start


def copy_npy(place: Place) -> Spent:
    """Time of copying the memory-mapped bytes, without conversion."""
    import numpy as np

    mapped = np.load(place.npy, mmap_mode="r")
    start = now()
    for first in range(0, place.rows, BLOCK):
        np.array(mapped[first : first + BLOCK])
    return now() - start


def pick(place: Place) -> Spent:
    """Time of reading the rows of :func:`picked`."""
    store, keys = opened(place), all_digests(place)[picked(place)]
    start = now()
    store.features(keys)
    return now() - start


def pick_npy(place: Place) -> Spent:
    """Time of reading the rows of :func:`picked` from the memory-mapped file, as float32 rows of unit length."""
    import numpy as np

    mapped, rows = np.load(place.npy, mmap_mode="r"), picked(place)
    start = now()
    widened(mapped[rows])
    return now() - start


def scorer(dim: int) -> Scorer:
    """A scorer for ``LABELS`` labels."""
    import numpy as np

    from deltaoe.scoring.detector import Detector
    from deltaoe.scoring.scorer import Scorer

    return Scorer(
        Detector(
            class_names=tuple(f"class {i}" for i in range(LABELS)),
            text_features=unit_rows(LABELS, dim, seed=4),
            temperature=0.1,
            top_c=2,
            calibration=np.zeros(40),
            space=space(dim),
            logit_scale=100.0,
        )
    )


def score(place: Place) -> Spent:
    """Time of scoring all rows, reading included."""
    from deltaoe.scoring.scorer import score_stored

    store, keys, ready = opened(place), all_digests(place), scorer(place.dim)
    start = now()
    score_stored(ready, store, keys)
    return now() - start


def product(place: Place) -> Spent:
    """Time of the matrix product alone, which every exact score needs, on the same block again and again."""
    import torch

    labels = torch.from_numpy(unit_rows(LABELS, place.dim, seed=4)).T
    block = torch.from_numpy(features(0, IMAGE_BLOCK, place.dim))
    out = torch.empty(IMAGE_BLOCK, LABELS)
    torch.mm(block, labels, out=out)
    start = now()
    for _ in range(place.rows // IMAGE_BLOCK):
        torch.mm(block, labels, out=out)
    spent, done = now() - start, place.rows // IMAGE_BLOCK * IMAGE_BLOCK
    return Spent(spent.seconds * place.rows / done, spent.cpu * place.rows / done)


def check(place: Place) -> Spent:
    """No time: fails unless the store and the file hold the same rows."""
    import numpy as np

    rows = picked(place)
    ours = opened(place).features(all_digests(place)[rows])
    assert np.array_equal(ours, widened(np.load(place.npy, mmap_mode="r")[rows]))
    return Spent(0.0, 0.0)


WAYS: dict[str, Callable[[Place], Spent]] = {
    way.__name__: way
    for way in (import_store, import_scoring, append, append_npy_blocks, append_npy_once, check, open_store)
}
WAYS |= {way.__name__: way for way in (read, read_npy, copy_npy, pick, pick_npy, score, product)}
MEASURED_ABOVE = {
    "append": "import_store",
    "open_store": "import_store",
    "read": "import_store",
    "pick": "import_store",
    "score": "import_scoring",
}
