"""The feature store: what is written comes back, later shards overrule, damage is named."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import digest, digests, make_space, unit_rows

from deltaoe.errors import StoreError
from deltaoe.functional.energy import delta_energy
from deltaoe.images.views import VIEW_POLICY
from deltaoe.store import store_index as index_module
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.hdf5 import check_checksum, opened
from deltaoe.store.shards import NO_DIGEST, path_keys, read_paths, read_vectors
from deltaoe.store.store_index import FileRecord

DIM = 16
FEATURES = Path(__file__).resolve().parents[3] / "shared" / "data" / "clip-features"


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


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "features" / "0123"


def reopened(folder: Path) -> FeatureStore:
    return FeatureStore(folder, make_space(DIM))


def test_an_empty_store(folder):
    store = reopened(folder)
    assert len(store) == 0
    assert store.file(b"1.png") is None
    assert digest(1) not in store
    assert store.features([]).shape == (0, DIM)
    assert list(store.blocks(digests([]))) == []
    assert store.has(digests(range(2))).tolist() == [False, False]
    seen = store.files([b"1.png", b"2.png"])
    assert seen.known.tolist() == [False, False]
    assert seen.problem == {}
    assert store.feature_rows == 0
    assert store.file_table() is store.feature_table() is None
    assert not folder.exists()


def test_round_trip(folder):
    rows = fill(reopened(folder), range(5))
    store = reopened(folder)
    assert len(store) == 5
    found = store.features([digest(i) for i in (3, 0, 3, 4)])
    assert found.dtype == np.float32
    assert np.abs(found - rows[[3, 0, 3, 4]]).max() < 2**-11
    for i in range(5):
        assert store.file(b"%d.png" % i) == record(i)
    assert json.loads((folder / "space.json").read_text()) == make_space(DIM).to_dict()


def test_features_are_those_of_half_precision_and_of_unit_length(folder):
    rows = fill(reopened(folder), range(50))
    found = reopened(folder).features([digest(i) for i in range(50)])
    halves = rows.astype(np.float16).astype(np.float64)
    wanted = halves / np.sqrt((halves**2).sum(axis=1, keepdims=True))
    assert np.abs(found - wanted).max() < 1e-7
    assert np.abs(np.linalg.norm(found.astype(np.float64), axis=1) - 1).max() < 1e-6


def test_the_writer_sees_what_it_flushed(folder):
    store = reopened(folder)
    rows = unit_rows(3, DIM)
    with store.writer() as writer:
        writer.add(b"0.png", record(0), rows[0])
        assert writer.pending == 1
        assert digest(0) not in store
        writer.flush()
        assert writer.pending == 0
        assert digest(0) in store
        writer.add(b"1.png", record(1), rows[1])
    assert len(store) == 2
    shards = sorted(folder.glob("shard-*.h5"))
    assert len(shards) == 2
    for shard in shards:  # each holds what was new
        with h5py.File(shard) as file:
            assert file["features/digest"].shape == (1, 32)
            assert file["files/size"].shape == (1,)
    assert store.features([digest(1), digest(0)]).shape == (2, DIM)


def test_nothing_added_is_no_shard(folder):
    with reopened(folder).writer() as writer:
        writer.flush()
    assert list(folder.glob("shard-*")) == []


def test_later_observations_overrule(folder):
    store = reopened(folder)
    with store.writer() as writer:
        writer.add(b"a.png", record(1), unit_rows(1, DIM)[0])
        writer.flush()
        writer.add(b"a.png", record(2, "broken image"))
        writer.add(b"b.png", record(1))
        writer.flush()
        writer.add(b"a.png", record(3), unit_rows(1, DIM, seed=3)[0])
    assert reopened(folder).file(b"a.png") == record(3)
    assert reopened(folder).file(b"b.png") == record(1)
    # Shards count beyond single digits in the order they were written.
    for i in range(4, 14):
        with reopened(folder).writer() as writer:
            writer.add(b"a.png", record(i), unit_rows(1, DIM, seed=i)[0])
    assert reopened(folder).file(b"a.png") == record(13)
    names = sorted(path.name for path in folder.glob("shard-*"))
    assert names == [f"shard-{i:08d}.h5" for i in range(1, 14)]


def test_a_feature_known_by_content_is_not_stored_again(folder):
    fill(reopened(folder), range(2))
    with reopened(folder).writer() as writer:
        writer.add(b"copy.png", record(1), unit_rows(1, DIM, seed=9)[0])
        writer.add(b"twin.png", record(7), unit_rows(1, DIM, seed=9)[0])
        writer.add(b"twin2.png", record(7), unit_rows(1, DIM, seed=9)[0])
    with h5py.File(folder / "shard-00000002.h5") as file:
        assert file["features/digest"].shape == (1, 32)
        assert file["files/size"].shape == (3,)
    assert len(reopened(folder)) == 3


def test_problems_are_kept(folder):
    with reopened(folder).writer() as writer:
        writer.add(b"bad.png", record(1, "broken image: größer\nals erlaubt"))
    store = reopened(folder)
    assert store.file(b"bad.png") == record(1, "broken image: größer\nals erlaubt")
    assert len(store) == 0


@pytest.mark.parametrize("problem", [os.fsdecode(b"no \xff\xe9"), "half a pair \ud83d", "\udfff", "a\0b"])
def test_problems_that_are_no_utf_8_are_kept_as_text(folder, problem):
    """Other libraries' messages quote names and numbers of any kind; one of them must not lose a shard."""
    with reopened(folder).writer() as writer:
        writer.add(b"bad.png", record(1, problem))
        writer.add(b"good.png", record(2), unit_rows(1, DIM)[0])
    store = reopened(folder)
    kept = store.file(b"bad.png").problem
    assert kept == problem.encode("utf-8", "backslashreplace").decode()
    assert store.file(b"good.png") == record(2)
    with h5py.File(folder / "shard-00000001.h5") as file:
        bytes(file["files/problem"][()]).decode("utf-8")  # as the format promises


def test_hostile_paths(folder):
    paths = [
        b"n" * 255,
        b"d/" * 2000 + b"x.png",
        b"caf\xe9\xff\x80.png",
        "猫\n\t.png".encode(),
        b"",
        b"a\0b",
        b"a\0",
    ]
    paths += [b"a", b"<script>\"'.png", b"\xed\xa0\x80.png"]
    with reopened(folder).writer() as writer:
        for i, path in enumerate(paths):
            writer.add(path, record(i, f"problem {i}"))
    store = reopened(folder)
    for i, path in enumerate(paths):
        assert store.file(path) == record(i, f"problem {i}")
    assert read_paths(folder / "shard-00000001.h5") == paths


def test_many_files_at_once(folder):
    fill(reopened(folder), range(3))
    with reopened(folder).writer() as writer:
        writer.add(b"bad.png", record(7, "broken"))
        writer.add(b"1.png", record(9))
    seen = reopened(folder).files([b"2.png", b"x", b"bad.png", b"1.png", b"2.png"])
    assert seen.known.tolist() == [True, False, True, True, True]
    assert seen.size.tolist() == [1002, 0, 1007, 1009, 1002]
    assert seen.mtime_ns.tolist() == [10**18 + 2, 0, 10**18 + 7, 10**18 + 9, 10**18 + 2]
    assert [row.tobytes() for row in seen.digest] == [digest(2), NO_DIGEST, NO_DIGEST, digest(9), digest(2)]
    assert seen.problem == {2: "broken"}
    assert (seen.size.dtype, seen.mtime_ns.dtype, seen.digest.dtype) == (np.int64, np.int64, np.uint8)


def test_a_file_that_was_broken_and_is_not_any_more(folder):
    with reopened(folder).writer() as writer:
        writer.add(b"1.png", record(1, "broken"))
    fill(reopened(folder), range(1, 2))
    assert reopened(folder).files([b"1.png"]).problem == {}


def test_the_key_of_a_path_never_changes():
    """Shards on users' disks are looked up by it."""
    assert path_keys([b"a/1.png"]).tobytes().hex() == hashlib.blake2b(b"a/1.png", digest_size=16).hexdigest()
    assert path_keys([]).shape == (0, 16)


def test_a_missing_feature_is_named(folder):
    fill(reopened(folder), range(2))
    with pytest.raises(StoreError, match=digest(77).hex()[:12]) as caught:
        reopened(folder).features([digest(0), digest(77)])
    assert "extract" in caught.value.hint


# Views


def test_views_lie_beside_the_picture(folder):
    rows = fill(reopened(folder), range(3), views=2)
    fill(reopened(folder), range(3, 5))
    store = reopened(folder)
    assert (len(store), store.feature_rows) == (5, 11)
    for view in range(3):
        found = store.features(digests([2, 0, 2]), view)
        assert np.abs(found - rows[[2, 0, 2], view]).max() < 2**-11
    assert store.has(digests(range(6))).tolist() == [True] * 5 + [False]
    assert store.has(digests(range(6)), 2).tolist() == [True] * 3 + [False] * 3
    assert store.has(digests([0]), 3).tolist() == [False]
    assert digest(4) in store
    assert [store.views(digests(numbers)) for numbers in ([0, 1, 2], [1], [0, 3], [9], [])] == [2, 2, 0, 0, 0]


def test_views_that_come_later_are_all_that_is_written(folder):
    rows = fill(reopened(folder), range(2))
    more = unit_rows(3, DIM, seed=8)
    with reopened(folder).writer() as writer:
        assert writer.has(digest(0), 0)
        assert not writer.has(digest(0), 1)
        writer.add(b"0.png", record(0), more, (0, 1, 2))
        assert writer.has(digest(0), 2)
        writer.add_features(digest(1), more[:1], (1,))
        assert writer.pending == 4
    store = reopened(folder)
    with h5py.File(folder / "shard-00000002.h5") as file:
        assert file["features/view"][()].tolist() == [1, 2, 1]
        assert file["files/size"].shape == (1,)
    assert np.abs(store.features([digest(0)])[0] - rows[0]).max() < 2**-11  # what was there first stays
    assert np.abs(store.features([digest(0)], 2)[0] - more[2]).max() < 2**-11
    assert store.views(digests([0])) == 2
    assert store.views(digests([0, 1])) == 1


def test_a_view_without_the_picture_is_no_image(folder):
    with reopened(folder).writer() as writer:
        writer.add_features(digest(0), unit_rows(1, DIM), (1,))
    store = reopened(folder)
    assert (len(store), store.feature_rows) == (0, 1)
    assert digest(0) not in store


def test_a_missing_view_is_named(folder):
    fill(reopened(folder), range(2), views=1)
    with pytest.raises(StoreError, match=f"view 2 of image {digest(1).hex()[:12]}") as caught:
        reopened(folder).features([digest(1)], view=2)
    assert caught.value.hint.endswith("--views 2")


def test_views_of_another_policy_are_out_of_the_way(folder):
    rows = fill(reopened(folder), range(3), views=2)
    with h5py.File(folder / "shard-00000001.h5", "r+") as file:
        assert file.attrs["view_policy"] == VIEW_POLICY
        file.attrs["view_policy"] = VIEW_POLICY + 1
    store = reopened(folder)
    assert len(store) == 3
    assert np.abs(store.features(digests(range(3))) - rows[:, 0]).max() < 2**-11
    assert store.views(digests(range(3))) == 0
    assert not store.has(digests(range(3)), 1).any()
    with pytest.raises(StoreError, match="view 1 of image"):
        store.features(digests([0]), 1)
    new = unit_rows(3, DIM, seed=77)
    with store.writer() as writer:
        writer.add(b"0.png", record(0), new, (0, 1, 2))
    store = reopened(folder)
    assert store.views(digests([0])) == 2
    assert np.abs(store.features([digest(0)], 1)[0] - new[1]).max() < 2**-11
    assert np.abs(store.features([digest(0)], 0)[0] - rows[0, 0]).max() < 2**-11


# How they are kept and read


def test_single_precision_is_kept_to_the_bit(folder):
    space = make_space(DIM, dtype="float32")
    rows = unit_rows(40, DIM)
    with FeatureStore(folder, space).writer() as writer:
        for i, row in enumerate(rows):
            writer.add(b"%d" % i, record(i), row)
    found = FeatureStore(folder, space).features(digests(range(40)))
    assert found.dtype == np.float32
    assert found.tobytes() == rows.tobytes()


def lies_at(folder: Path) -> dict[bytes, tuple[int, int]]:
    """Where HDF5 finds each picture's feature: number of the shard, row."""
    places = {}
    for number, path in enumerate(sorted(folder.glob("shard-*"))):
        with h5py.File(path) as file:
            for row, (content, view) in enumerate(
                zip(file["features/digest"], file["features/view"], strict=True)
            ):
                if view == 0:
                    places[content.tobytes()] = number, row
    return places


def test_blocks_cover_everything_once_in_the_order_on_disk(folder):
    rows = np.concatenate([fill(reopened(folder), range(start, start + 50)) for start in (0, 50, 100)])
    asked = np.random.default_rng(3).integers(0, 150, 400)
    wanted = digests(asked)
    blocks = list(reopened(folder).blocks(wanted, rows=64))
    assert [len(positions) for positions, _ in blocks] == [64] * 6 + [16]
    covered = np.concatenate([positions for positions, _ in blocks])
    assert sorted(covered.tolist()) == list(range(400))
    places = lies_at(folder)
    order = [places[wanted[position].tobytes()] for position in covered]
    assert order == sorted(order)
    for positions, block in blocks:
        assert block.dtype == np.float32
        assert np.abs(block - rows[asked[positions]]).max() < 2**-11


@pytest.mark.parametrize("asked", [[0, 0, 2], [1, 1, 1, 4], [3, 3, 5, 5, 9], [0, 9, 9, 9], [2, 0, 0]])
def test_images_with_equal_content_beside_each_other(folder, asked):
    rows = fill(reopened(folder), range(10))
    assert np.abs(reopened(folder).features(digests(asked)) - rows[asked]).max() < 2**-11


@pytest.fixture(scope="module")
def long_shard(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    fill(reopened(folder), range(500))
    with h5py.File(folder / "shard-00000001.h5") as file:
        return folder / "shard-00000001.h5", file["features/vector"][()]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.integers(0, 499), st.integers(0, 7), st.integers(300, 304)), max_size=12))
def test_rows_of_a_shard_are_those_that_numpy_takes(long_shard, asked):
    path, vectors = long_shard
    rows = np.array(sorted(asked), dtype=np.int64)
    found = read_vectors(path, rows)
    assert found.dtype == np.float16
    assert found.tobytes() == vectors[rows].tobytes()


# Compacted or gone under a reader


def compacted_elsewhere(folder: Path, order: list[int]) -> None:
    """As another process leaves it: all rows in one shard of a later number, the old shards gone."""
    old = sorted(folder.glob("shard-*"))
    rows = reopened(folder).features(digests(order))
    with FeatureStore(folder / "new", make_space(DIM)).writer() as writer:
        for i, row in zip(order, rows, strict=True):
            writer.add(b"%d.png" % i, record(i), row)
    (folder / "new" / "shard-00000001.h5").replace(folder / f"shard-{len(old) + 1:08d}.h5")
    for path in old:
        path.unlink()


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_a_reader_follows_a_compaction(folder, seed):
    rows = np.concatenate([fill(reopened(folder), range(start, start + 20)) for start in (0, 20)])
    store = reopened(folder)
    order = np.arange(40) if seed is None else np.random.default_rng(seed).permutation(40)
    compacted_elsewhere(folder, order.tolist())
    asked = [39, 0, 5, 5, 21, 7, 19, 20]
    assert np.abs(store.features(digests(asked)) - rows[asked]).max() < 2**-10
    assert len(store) == 40
    assert store.file(b"33.png") == record(33)


def test_a_compaction_between_two_blocks(folder):
    rows = np.concatenate([fill(reopened(folder), range(start, start + 20)) for start in (0, 20)])
    store, asked = reopened(folder), np.arange(40)[::-3]
    first, second = (store.blocks(digests(asked), rows=5) for _ in range(2))
    out = np.zeros((2, len(asked), DIM), dtype=np.float32)
    for k, blocks in enumerate((first, second)):
        positions, block = next(blocks)
        out[k, positions] = block
    compacted_elsewhere(folder, np.random.default_rng(0).permutation(40).tolist())
    for k, blocks in enumerate(
        (first, second)
    ):  # the second goes on where the first has looked around already
        for positions, block in blocks:
            out[k, positions] = block
    assert np.abs(out - rows[asked]).max() < 2**-10


def test_a_compaction_while_the_index_is_read(folder, monkeypatch):
    rows = np.concatenate([fill(reopened(folder), range(start, start + 20)) for start in (0, 20)])
    real = index_module.opened

    @contextlib.contextmanager
    def slow(path, kind):
        if path.name == "shard-00000002.h5" and path.exists():
            monkeypatch.undo()
            compacted_elsewhere(folder, list(range(40)))
        with real(path, kind) as file:
            yield file

    monkeypatch.setattr(index_module, "opened", slow)
    store = reopened(folder)
    assert [shard.path.name for shard in store.shards] == ["shard-00000003.h5"]
    assert np.abs(store.features(digests(range(40))) - rows).max() < 2**-10


def test_a_refresh_takes_in_what_others_wrote(folder):
    fill(reopened(folder), range(3))
    store = reopened(folder)
    fill(reopened(folder), range(3, 6))
    assert not store.has(digests([4])).any()
    store.refresh()
    assert len(store) == 6
    assert store.file(b"4.png") == record(4)
    compacted_elsewhere(folder, list(range(1, 6)))
    store.refresh()
    assert len(store) == 5
    assert store.file(b"0.png") is None


def test_another_space_is_refused(folder):
    fill(reopened(folder), range(2))
    other = make_space(DIM, weights="v" * 64)
    with pytest.raises(StoreError, match=r"shard-00000001\.h5.*another space"):
        FeatureStore(folder, other)


def test_copies_that_a_file_manager_made_do_not_count(folder):
    fill(reopened(folder), range(2))
    for name in (
        "shard-00000001 (copy).h5",
        "shard-copy.h5",
        "shard-.h5",
        "shard-00000001.h5~",
        "shard-1.h5",
    ):
        shutil.copy(folder / "shard-00000001.h5", folder / name)
    fill(reopened(folder), range(2, 4))
    assert (folder / "shard-00000002.h5").is_file()
    assert len(reopened(folder)) == 4


# Damage


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
    "another space": lambda file: file.attrs.__setitem__("space", "0" * 16),
    "another kind": lambda file: file.attrs.__setitem__("format", "deltaoe.dataset"),
    "newer": lambda file: file.attrs.__setitem__("version", 3),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_inside_a_shard(folder, change):
    fill(reopened(folder), range(4))
    with h5py.File(folder / "shard-00000001.h5", "r+") as file:
        change(file)
    with pytest.raises(StoreError, match=r"cannot read .*shard-00000001\.h5 as .*: \S") as caught:
        reopened(folder)
    assert "deltaoe store verify --repair" in caught.value.hint


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
    assert len(spans) == 11
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


# What half precision costs


@pytest.mark.skipif(not FEATURES.is_dir(), reason=f"no features in {FEATURES}")
def test_half_precision_moves_delta_energy_less_than_this(tmp_path):
    """On real features, turned by a random rotation: they are published in half precision, and would not round."""
    data = np.load(FEATURES / "caltech52-id.npz")
    images, texts = (data[name].astype(np.float64) for name in ("features", "text_features"))
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((512, 512)))
    images, texts = (rows / np.linalg.norm(rows, axis=1, keepdims=True) @ turn for rows in (images, texts))
    store = FeatureStore(tmp_path, make_space(512))
    with store.writer() as writer:
        for i, row in enumerate(images.astype(np.float32)):
            writer.add(b"%d" % i, record(i), row)
    stored = store.features([digest(i) for i in range(len(images))]).astype(np.float64)
    assert np.abs(stored - images).max() > 1e-6  # the rounding is there
    for temperature, bound in ((0.01, 3e-5), (0.1, 4e-6), (1.0, 4e-6)):
        for top_c in (1, 2, 5):
            exact, ours = (
                delta_energy(torch.from_numpy(rows @ texts.T), temperature, top_c)
                for rows in (images, stored)
            )
            worst = float((exact - ours).abs().max())
            assert worst < bound
            assert worst < 0.002 * float(exact.std())
