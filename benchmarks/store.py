"""The feature store at a million rows: time, bytes and memory, beside one .npy file of the same rows, in one run.

Each part is a process of its own, so that its peak memory is its own; a process that only imports the same modules
gives what to subtract. Ours and its peers take turns. Files are in the system's cache, where writing left them.
Rates are compared, ours ÷ the peer's, by the clock and by CPU seconds: where others use the machine, the latter
say more.

    python benchmarks/store.py [--rows 1000000] [--dim 512] [--repeats 3] [--folder DIR] [--markdown FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from shown import show

# NumPy and the package are imported by the measured processes alone. Linux starts the ru_maxrss of a new process
# at its parent's memory: this one must stay smaller than any that it measures.
if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from deltaoe.data.features import FeatureStore
    from deltaoe.data.space import FeatureSpace
    from deltaoe.workflows.scoring import Scorer

BLOCK = 8192
PICKED = 10_000
LABELS = 1000
IMAGE_BLOCK = 2048
PATTERN = 256


class Place(NamedTuple):
    """What all processes agree on: where the files are, and how many rows of how many numbers."""

    folder: Path
    rows: int
    dim: int

    @property
    def store(self) -> Path:
        """The store's folder."""
        return self.folder / "store"

    @property
    def npy(self) -> Path:
        """The peer's file."""
        return self.folder / "features.npy"

    def sizes(self) -> Iterator[tuple[int, int]]:
        """Number and length of every block of rows."""
        for start in range(0, self.rows, BLOCK):
            yield start // BLOCK, min(BLOCK, self.rows - start)


class Spent(NamedTuple):
    """Seconds by the clock, and seconds of all threads on a CPU."""

    seconds: float
    cpu: float

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.seconds - other.seconds, self.cpu - other.cpu)

    def plus(self, other: Spent) -> Spent:
        """Both together."""
        return Spent(self.seconds + other.seconds, self.cpu + other.cpu)


def now() -> Spent:
    """Both clocks."""
    return Spent(time.perf_counter(), time.process_time())


def space(dim: int) -> FeatureSpace:
    """Any space will do: no model is asked."""
    from deltaoe.data.space import FeatureSpace

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
    """All of them, in the order in which they were written."""
    import numpy as np

    out = np.empty((place.rows, 32), dtype=np.uint8)
    for number, count in place.sizes():
        out[number * BLOCK : number * BLOCK + count] = digests(number, count)
    return out


def picked(place: Place) -> npt.NDArray[np.int64]:
    """Rows in random order."""
    import numpy as np

    return np.random.default_rng(3).permutation(place.rows)[:PICKED].astype(np.int64)


def opened(place: Place) -> FeatureStore:
    """The store that ``append`` wrote."""
    from deltaoe.data.features import FeatureStore

    store = FeatureStore(place.store, space(place.dim))
    assert len(store) == place.rows
    return store


def widened(half: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """What the store does with what it reads: float32, unit length again."""
    import numpy as np

    out = half.astype(np.float32)
    out /= np.sqrt(np.einsum("ij,ij->i", out, out))[:, None]
    return out


def import_store(place: Place) -> Spent:
    """Only imports."""
    import numpy as np  # noqa: F401

    import deltaoe.data.features  # noqa: F401

    return Spent(0.0, 0.0)


def import_scoring(place: Place) -> Spent:
    """Only imports, those of scoring."""
    import faiss  # noqa: F401

    import deltaoe.workflows.scoring  # noqa: F401

    return Spent(0.0, 0.0)


def append(place: Place) -> Spent:
    """Seconds of adding all rows, each with the record of a file, as extract does; a shard per 8192."""
    from deltaoe.data.features import FeatureStore, FileRecord

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
    """Seconds of writing the vectors alone to one .npy file, synced after every block or once."""
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
    """As durable as ours: synced after every block."""
    return append_npy(place, sync_blocks=True)


def append_npy_once(place: Place) -> Spent:
    """Synced at the end."""
    return append_npy(place, sync_blocks=False)


def open_store(place: Place) -> Spent:
    """Seconds until the store can answer."""
    import_store(place)
    start = now()
    opened(place)
    return now() - start


def read(place: Place) -> Spent:
    """Seconds of reading all rows in the order on disk."""
    store, keys = opened(place), all_digests(place)
    start, done = now(), 0
    for part, block in store.blocks(keys):
        done += len(part)
        assert block.shape == (len(part), place.dim)
    assert done == place.rows
    return now() - start


def read_npy(place: Place) -> Spent:
    """The same from the memory-mapped file, made float32 and unit length."""
    import numpy as np

    mapped = np.load(place.npy, mmap_mode="r")
    start = now()
    for first in range(0, place.rows, BLOCK):
        widened(mapped[first : first + BLOCK])
    return now() - start


def copy_npy(place: Place) -> Spent:
    """Seconds of copying the memory-mapped bytes, and nothing else."""
    import numpy as np

    mapped = np.load(place.npy, mmap_mode="r")
    start = now()
    for first in range(0, place.rows, BLOCK):
        np.array(mapped[first : first + BLOCK])
    return now() - start


def pick(place: Place) -> Spent:
    """Seconds of reading some rows in random order."""
    store, keys = opened(place), all_digests(place)[picked(place)]
    start = now()
    store.features(keys)
    return now() - start


def pick_npy(place: Place) -> Spent:
    """The same from the memory-mapped file."""
    import numpy as np

    mapped, rows = np.load(place.npy, mmap_mode="r"), picked(place)
    start = now()
    widened(mapped[rows])
    return now() - start


def scorer(dim: int) -> Scorer:
    """One for a thousand labels."""
    import numpy as np

    from deltaoe.data.detector import Detector
    from deltaoe.workflows.scoring import Scorer

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
    """Seconds of scoring all rows, reading included."""
    from deltaoe.workflows.scoring import score_stored

    store, keys, ready = opened(place), all_digests(place), scorer(place.dim)
    start = now()
    score_stored(ready, store, keys)
    return now() - start


def product(place: Place) -> Spent:
    """Seconds of the cosines alone, on one block over and over: what no exact score can do without."""
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
    """Fail unless store and file hold the same rows."""
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


def run(way: str, place: Place) -> int:
    """Do one thing in this process and print its seconds and its peak memory in bytes."""
    import resource

    seconds = WAYS[way](place)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps([*seconds, peak]))
    return 0


def measure(place: Place, repeats: int) -> tuple[dict[str, Spent], dict[str, float]]:
    """Best seconds and highest peak memory of everything, in turns."""
    spent: dict[str, list[Spent]] = {way: [] for way in WAYS}
    peaks: dict[str, list[float]] = {way: [] for way in WAYS}
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}  # as the command sets it
    for _ in range(repeats):
        for way in WAYS:
            command = [sys.executable, __file__, "--way", way, "--folder", str(place.folder)]
            command += ["--rows", str(place.rows), "--dim", str(place.dim)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
            seconds, cpu, peak = json.loads(done.stdout)
            spent[way].append(Spent(seconds, cpu))
            peaks[way].append(peak)
    return (
        {way: Spent(*map(min, zip(*values, strict=True))) for way, values in spent.items()},
        {way: max(values) for way, values in peaks.items()},
    )


def time_rows(place: Place, spent: dict[str, Spent]) -> list[list[str]]:
    """Every time of ours beside its peers'."""
    picks = min(PICKED, place.rows)
    plan = (
        ("append with file records", "append", place.rows, "rows/s"),
        (".npy, fsync per 8192 rows", "append_npy_blocks", place.rows, "rows/s"),
        (".npy, one fsync", "append_npy_once", place.rows, "rows/s"),
        ("open", "open_store", place.rows, "rows/s"),
        ("read all in order", "read", place.rows, "rows/s"),
        ("mapped .npy, widened", "read_npy", place.rows, "rows/s"),
        ("mapped .npy, copied", "copy_npy", place.rows, "rows/s"),
        (f"read {picks:,} in random order", "pick", picks, "rows/s"),
        ("mapped .npy, widened", "pick_npy", picks, "rows/s"),
        (f"score against {LABELS:,} labels", "score", place.rows, "images/s"),
        ("cosines alone", "product", place.rows, "images/s"),
    )
    table: list[list[str]] = []
    ours = Spent(0.0, 0.0)
    for label, way, count, unit in plan:
        is_peer = "npy" in way or way == "product"
        took = spent[way]
        ours = ours if is_peer else took
        rate = count / took.seconds
        width = f"{rate * place.dim * 2 / 1e9:.2f}" if way != "open_store" else ""
        ratios = [f"{took.seconds / ours.seconds:.2f}", f"{took.cpu / ours.cpu:.2f}"] if is_peer else ["", ""]
        name = f"  {label}" if is_peer else label
        table.append(
            [
                name,
                f"{took.seconds:.3f}",
                f"{rate:,.0f} {unit}",
                width,
                ratios[0],
                f"{took.cpu:.3f}",
                ratios[1],
            ]
        )
    return table


def memory_rows(place: Place, peaks: dict[str, float]) -> list[list[str]]:
    """Peak memory above imports, and sizes on disk and of what is never held."""
    sizes = [
        (f"{way.removesuffix('_store')}: peak above imports", peaks[way] - peaks[floor])
        for way, floor in MEASURED_ABOVE.items()
    ]
    stored = sum(path.stat().st_size for path in place.store.rglob("*") if path.is_file())
    sizes += [
        ("on disk, with file records", stored),
        ("on disk, float16 vectors alone", place.rows * place.dim * 2),
        (f"never held: images × {LABELS:,} labels, float32", place.rows * LABELS * 4),
    ]
    return [[label, f"{size / 1e6:,.1f}", f"{size / place.rows:,.1f}"] for label, size in sizes]


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to put the files, which are removed at the end")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rows < IMAGE_BLOCK or options.dim < 1 or options.repeats < 1:
        parser.error(f"--rows must be at least {IMAGE_BLOCK}, --dim and --repeats at least 1")
    if options.way:
        return run(options.way, Place(options.folder, options.rows, options.dim))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        place = Place(Path(folder), options.rows, options.dim)
        needed, free = 3 * place.rows * place.dim * 2, shutil.disk_usage(folder).free
        if free < needed:
            print(f"{needed / 1e9:.1f} GB are needed in {folder}: pass --folder DIR", file=sys.stderr)
            return 2
        spent, peaks = measure(place, options.repeats)
        title = f"{place.rows:,} rows of {place.dim} float16, best of {options.repeats}, files cached"
        times, memory = time_rows(place, spent), memory_rows(place, peaks)
    show(title, ["seconds", "rate", "GB/s", "ours ÷", "CPU", "ours ÷"], times, options.markdown)
    above = options.markdown.read_text(encoding="utf-8") if options.markdown else ""
    show("memory and disk", ["MB", "bytes per row"], memory, options.markdown)
    if options.markdown:
        below = options.markdown.read_text(encoding="utf-8")
        options.markdown.write_text(f"{above}\n{below}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
