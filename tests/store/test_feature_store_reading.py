"""Reading the feature store: blocks in the order on disk, and shards that others compact or remove meanwhile."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import digests, make_space, unit_rows
from stored import DIM, fill, record, reopened

from deltaoe.errors import StoreError
from deltaoe.store import shard_tables as index_module
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.shards import read_vectors


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
