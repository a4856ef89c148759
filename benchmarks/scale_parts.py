"""The parts that benchmarks/scale.py measures, each of which runs in a process of its own."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import store_parts
from store_parts import BLOCK, IMAGE_BLOCK, Place, Spent, digests, now, scorer, space

# As in store_parts, NumPy and the package are imported by the measured processes alone.
if TYPE_CHECKING:
    from deltaoe.store.feature_store import FeatureStore
    from deltaoe.store.workspace import Workspace

FEW = 1000
TOGETHER = 12  # blocks whose rows are looked up at once, as those of a folder of a hundred thousand
CHUNK = 8 << 20


class ScalePlace(Place):
    """A place whose store is that of a workspace, so that the commands on workspaces find it."""

    @property
    def store(self) -> Path:
        """The store's folder."""
        return self.folder / "project" / ".deltaoe" / "features" / space(self.dim).id

    @property
    def exported(self) -> Path:
        """The file of the export."""
        return self.folder / "exported.h5"

    @property
    def keys(self) -> Path:
        """The first eight bytes of all keys, ascending, as a .npy file."""
        return self.folder / "keys.npy"

    def workspace(self) -> Workspace:
        """The workspace."""
        from deltaoe.store.workspace import Workspace

        return Workspace(self.folder / "project" / ".deltaoe")

    def shards(self) -> Iterator[Path]:
        """The store's shards."""
        yield from sorted(self.store.glob("shard-*.h5"))


def name(row: int) -> bytes:
    """The name that the file of a row is recorded under, as ``store_parts.append`` makes it."""
    return b"images/class_%03d/img_%07d.jpg" % (row % BLOCK % 100, row)


def opened(place: Place) -> FeatureStore:
    """The store that ``append`` wrote."""
    from deltaoe.store.feature_store import FeatureStore

    return FeatureStore(place.store, space(place.dim))


def open_store(place: Place) -> Spent:
    """Time of opening the store."""
    store_parts.import_store(place)
    start = now()
    opened(place)
    return now() - start


def open_bare(place: ScalePlace) -> Spent:
    """Time of opening the store without its index files, as after somebody deleted them."""
    store_parts.import_store(place)
    index, aside = place.store / "index", place.folder / "index"
    if index.exists():
        index.rename(aside)
    start = now()
    opened(place)
    spent = now() - start
    if aside.exists():
        aside.rename(index)
    return spent


def find_all(place: Place) -> Spent:
    """Time of looking up every feature and every file, some blocks at a time, without opening."""
    import numpy as np

    store, spent = opened(place), Spent(0.0, 0.0)
    sizes = list(place.sizes())
    for first in range(0, len(sizes), TOGETHER):
        blocks = sizes[first : first + TOGETHER]
        keys = np.concatenate([digests(number, count) for number, count in blocks])
        names = [name(blocks[0][0] * BLOCK + i) for i in range(len(keys))]
        start = now()
        there, records = store.has(keys, computed=True), store.files(names)
        spent = spent.plus(now() - start)
        assert there.all() and records.known.all() and (records.digest == keys).all()
    return spent


def find_few(place: Place) -> Spent:
    """Time of opening and of looking up some features and files of one block, as a folder that is extracted again."""
    store_parts.import_store(place)
    keys, names = digests(0, FEW), [name(i) for i in range(FEW)]
    start = now()
    store = opened(place)
    there, records = store.has(keys, computed=True), store.files(names)
    spent = now() - start
    assert there.all() and records.known.all()
    return spent


def keys_npy(place: ScalePlace) -> Spent:
    """Time of sorting the first eight bytes of all keys, which ``find_npy`` searches in."""
    import numpy as np

    found = store_parts.all_digests(place)
    start = now()
    np.save(place.keys, np.sort(np.ascontiguousarray(found[:, :8]).view(np.uint64)[:, 0]))
    return now() - start


def find_npy(place: ScalePlace) -> Spent:
    """Time of np.load and np.searchsorted of all keys, in blocks, in the array of ``keys_npy``."""
    import numpy as np

    start = now()
    table, spent = np.load(place.keys), now() - start
    for number, count in place.sizes():
        keys = np.ascontiguousarray(digests(number, count)[:, :8]).view(np.uint64)[:, 0]
        start = now()
        at = np.searchsorted(table, keys)
        spent = spent.plus(now() - start)
        assert (table[at] == keys).all()
    return spent


def bytes_hashed(place: ScalePlace) -> Spent:
    """Time of reading every byte of all shards and of its SHA-256."""
    start = now()
    for path in place.shards():
        with path.open("rb", buffering=0) as file:
            hashlib.file_digest(file, "sha256")
    return now() - start


def bytes_copied(place: ScalePlace) -> Spent:
    """Time of reading every byte of all shards and writing it to one file, which is removed."""
    import os

    target, buffer = place.folder / "copied", bytearray(CHUNK)
    start = now()
    with target.open("wb", buffering=0) as out:
        for path in place.shards():
            with path.open("rb", buffering=0) as file:
                while count := file.readinto(buffer):
                    out.write(memoryview(buffer)[:count])
        os.fsync(out.fileno())
    spent = now() - start
    target.unlink()
    return spent


def verify(place: ScalePlace) -> Spent:
    """Time of `deltaoe store verify`."""
    from deltaoe.store.maintenance import verify as verified

    start = now()
    done = verified(place.workspace())
    spent = now() - start
    assert done.rows == place.rows and not done.damage and not done.unreadable
    return spent


def listing(place: ScalePlace) -> Spent:
    """Time of writing the data set that lists all rows, which ``export`` needs."""
    import numpy as np

    from deltaoe.store.dataset import DataSet

    none = np.full(place.rows, -1, dtype=np.int64)
    names = [name(i).decode() for i in range(place.rows)]
    data = DataSet(
        root="",
        space_id=space(place.dim).id,
        model="benchmark",
        layout="flat",
        class_names=(),
        domain_names=(),
        paths=names,
        digests=store_parts.all_digests(place),
        class_of=none,
        domain_of=none,
        name="all",
    )
    start = now()
    place.workspace().save_dataset(data)
    return now() - start


def export(place: ScalePlace) -> Spent:
    """Time of `deltaoe store export FILE.h5` of all rows."""
    from deltaoe.interchange.import_export import export_features

    start = now()
    export_features(place.exported, place.workspace(), "data:all")
    spent = now() - start
    place.exported.unlink()
    return spent


def score(place: ScalePlace) -> Spent:
    """Time of scoring all rows against some labels."""
    from deltaoe.scoring.scorer import score_stored

    store, keys, ready = opened(place), store_parts.all_digests(place), scorer(place.dim)
    start = now()
    score_stored(ready, store, keys)
    return now() - start


def compact(place: ScalePlace) -> Spent:
    """Time of `deltaoe store compact`, which drops nothing here."""
    from deltaoe.store.maintenance import compact as compacted

    start = now()
    ((_, done),) = compacted(place.workspace())
    spent = now() - start
    assert done.dropped_features == done.dropped_files == 0
    return spent


def list_shards(place: Place) -> Spent:
    """Time of listing a folder of as many (empty) files as ``rows``, under names of shards, and of looking at each."""
    import os

    from deltaoe.store.read_errors import listed

    folder = place.folder / "listed"
    folder.mkdir()
    for number in range(place.rows):
        (folder / f"shard-{number:08d}.h5").touch()
    start = now()
    sizes = [os.stat(path).st_size for path in listed(folder, "shard-*.h5")]
    spent = now() - start
    assert len(sizes) == place.rows
    shutil.rmtree(folder)
    return spent


def import_maintenance(place: Place) -> Spent:
    """No time: the process only imports what the commands on workspaces import, for its memory."""
    import deltaoe.interchange.import_export
    import deltaoe.store.maintenance  # noqa: F401

    return Spent(0.0, 0.0)


def import_scorer(place: Place) -> Spent:
    """No time: the process only makes a scorer and scores one block, for its memory."""
    scorer(place.dim)(store_parts.unit_rows(IMAGE_BLOCK, place.dim, seed=5))
    return Spent(0.0, 0.0)


_WAYS: tuple[Callable[[ScalePlace], Spent], ...] = (
    store_parts.import_store,
    import_scorer,
    import_maintenance,
    store_parts.append,
    open_store,
    open_bare,
    find_few,
    find_all,
    keys_npy,
    find_npy,
    bytes_hashed,
    bytes_copied,
    verify,
    listing,
    export,
    score,
    store_parts.product,
    compact,
)
APART = {"list_shards": list_shards}
WAYS: dict[str, Callable[[ScalePlace], Spent]] = {way.__name__: way for way in _WAYS}
AGAIN = ("open_store", "find_few", "find_all")  # measured once more after the compaction
