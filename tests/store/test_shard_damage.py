"""Damaged shards: named on opening, found by the checksum, and no loss to the others."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from samples import digest, unit_rows
from stored import DIM, fill, record, reopened

from deltaoe.errors import DamagedError, StoreError, UnreadableError
from deltaoe.store.hdf5 import FORMAT_VERSION, check_checksum, opened
from deltaoe.store.shards import read_paths


def test_every_cut_is_refused(folder):
    fill(reopened(folder), range(40))
    shard = folder / "shard-00000001.h5"
    whole = shard.read_bytes()
    for end in [*range(0, len(whole), max(1, len(whole) // 120)), len(whole) - 1]:
        shard.write_bytes(whole[:end])
        with pytest.raises(StoreError, match=r"cannot read .*shard-00000001\.h5"):
            reopened(folder)
    shard.write_bytes(whole)
    assert len(reopened(folder)) == 40


def test_a_shard_cut_or_gone_after_opening(folder):
    fill(reopened(folder), range(40))
    store, shard = reopened(folder), folder / "shard-00000001.h5"
    shard.write_bytes(shard.read_bytes()[:3000])
    with pytest.raises(StoreError, match=r"shard-00000001\.h5"):
        store.features([digest(3)])
    shard.unlink()
    with pytest.raises(StoreError, match=r"shard-00000001\.h5"):
        store.features([digest(3)])


def replaced(name, value):
    def change(file):
        del file[name]
        file.create_dataset(name, data=value)

    return change


DAMAGE = {
    "no vectors": lambda file: file.__delitem__("features/vector"),
    "vectors a group": lambda file: (
        file.__delitem__("features/vector"),
        file.create_group("features/vector"),
    ),
    "vectors short": replaced("features/vector", np.zeros((3, DIM), np.float16)),
    "vectors narrow": replaced("features/vector", np.zeros((4, DIM - 1), np.float16)),
    "vectors single": replaced("features/vector", np.zeros((4, DIM), np.float32)),
    "vectors text": replaced("features/vector", b"text"),
    "features a dataset": replaced("features", np.zeros(3)),
    "digests narrow": replaced("features/digest", np.zeros((8, 16), np.uint8)),
    "digests wide type": replaced("features/digest", np.zeros((1, 32), np.uint32)),
    "no files": lambda file: file.__delitem__("files"),
    "no mtimes": lambda file: file.__delitem__("files/mtime_ns"),
    "sizes short": replaced("files/size", np.zeros(3, np.int64)),
    "no view": lambda file: file.__delitem__("features/view"),
    "views short": replaced("features/view", np.zeros(3, np.uint16)),
    "views of floats": replaced("features/view", np.zeros(4)),
    "views a table": replaced("features/view", np.zeros((4, 1), np.uint16)),
    "no view policy": lambda file: file.attrs.__delitem__("view_policy"),
    "no keys": lambda file: file.__delitem__("files/key"),
    "keys short": replaced("files/key", np.zeros((3, 16), np.uint8)),
    "keys wide": replaced("files/key", np.zeros((4, 32), np.uint8)),
    "file digests short": replaced("files/digest", np.zeros((3, 32), np.uint8)),
    "mtimes of floats": replaced("files/mtime_ns", np.zeros(4)),
    "sizes a table": replaced("files/size", np.zeros((4, 1), np.int64)),
    "problem offsets": replaced("files/problem_offsets", np.array([0, 5, 3, 0, 0])),
    "no problem offsets": replaced("files/problem_offsets", np.zeros(0, np.int64)),
    "no offsets": replaced("files/path_offsets", np.zeros(0, np.int64)),
    "problems": replaced("files/problem", np.frombuffer(b"xyz", np.uint8)),
    "no space": lambda file: file.attrs.__delitem__("space"),
    "another kind": lambda file: file.attrs.__setitem__("format", "deltaoe.dataset"),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_inside_a_shard(folder, change):
    fill(reopened(folder), range(4))
    with h5py.File(folder / "shard-00000001.h5", "r+") as file:
        change(file)
    with pytest.raises(DamagedError, match=r"cannot read .*shard-00000001\.h5 as .*: \S") as caught:
        reopened(folder)
    assert "deltaoe store verify --repair" in caught.value.hint


def test_what_is_of_another_space_or_version_is_not_damaged(folder):
    fill(reopened(folder), range(4))
    for name, value, says in (
        ("space", "0" * 16, "move it into the folder of that space"),
        ("version", FORMAT_VERSION + 1, "upgrade deltaoe"),
    ):
        with h5py.File(folder / "shard-00000001.h5", "r+") as file:
            before, file.attrs[name] = file.attrs[name], value
        with pytest.raises(UnreadableError, match=r"cannot read .*shard-00000001\.h5 as .*: it ") as caught:
            reopened(folder)
        assert says in caught.value.hint
        with h5py.File(folder / "shard-00000001.h5", "r+") as file:
            file.attrs[name] = before
    assert len(reopened(folder)) == 4


def test_damage_among_the_paths_is_found_when_they_are_read(folder):
    fill(reopened(folder), range(4))
    shard = folder / "shard-00000001.h5"
    with h5py.File(shard, "r+") as file:
        replaced("files/path_offsets", np.array([0, 5, 3, 15, 20]))(file)
    assert len(reopened(folder)) == 4
    with pytest.raises(StoreError, match=r"shard-00000001\.h5 .*damaged string table"):
        read_paths(shard)


def checked(path: Path) -> None:
    with opened(path, "features") as file:
        check_checksum(file)


def test_one_flipped_bit_anywhere_is_found_by_the_checksum(folder):
    fill(reopened(folder), range(3), views=1)
    with reopened(folder).writer() as writer:
        writer.add(b"bad.png", record(7, "broken"))
        writer.add(b"x.png", record(8), unit_rows(1, DIM)[0])
    shard = folder / "shard-00000002.h5"
    checked(folder / "shard-00000001.h5")
    checked(shard)
    whole = shard.read_bytes()
    spans = []
    with h5py.File(shard) as file:
        file.visititems(lambda name, item: spans.append(item) if isinstance(item, h5py.Dataset) else None)
        spans = [(item.id.get_offset(), item.id.get_storage_size(), item.name) for item in spans]
    assert len(spans) == 15
    flips = 0
    for offset, length, _ in spans:
        for at in {0, length - 1, length // 2}:
            flipped = bytearray(whole)
            flipped[offset + at] ^= 1 << (at + flips) % 8
            shard.write_bytes(flipped)
            with pytest.raises(StoreError, match="content has changed since it was written"):
                checked(shard)
            flips += 1
    assert flips > 25
    shard.write_bytes(whole)
    checked(shard)


@pytest.mark.parametrize(
    "change",
    [
        replaced("features/vector", np.zeros((4, DIM), np.float16)),
        lambda file: file.__delitem__("files/key"),
        lambda file: file.create_dataset("files/more", data=np.zeros(3)),
        lambda file: file.move("files/size", "files/sizes"),
        lambda file: file.attrs.__delitem__("sha256"),
    ],
    ids=["values", "one fewer", "one more", "a name", "no checksum"],
)
def test_other_changes_that_the_checksum_finds(folder, change):
    fill(reopened(folder), range(4))
    with h5py.File(folder / "shard-00000001.h5", "r+") as file:
        change(file)
    with pytest.raises(StoreError, match="content has changed"):
        checked(folder / "shard-00000001.h5")


def test_without_the_damaged_shard_the_rest_is_there(folder):
    for start in (0, 10, 20):
        fill(reopened(folder), range(start, start + 10))
    (folder / "shard-00000002.h5").write_bytes(b"damaged")
    with pytest.raises(StoreError):
        reopened(folder)
    (folder / "shard-00000002.h5").unlink()
    store = reopened(folder)
    assert len(store) == 20
    assert store.file(b"15.png") is None
    assert store.features([digest(25), digest(5)]).shape == (2, DIM)
    fill(store, range(10, 20))
    assert (folder / "shard-00000004.h5").is_file()
    assert len(reopened(folder)) == 30
