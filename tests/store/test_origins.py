"""Features that were imported are kept apart from those that were computed here, and never stand in for them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from samples import digest, digests, make_space, unit_rows
from stored import DIM, fill, record, reopened

from deltaoe.errors import StoreError
from deltaoe.store.compaction import compact_store
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.key_table import prefixes
from deltaoe.store.shards import IMPORTED


def take_in(store: FeatureStore, numbers: range, views: int = 0) -> np.ndarray:
    """One shard of imported features of these images: (n, 1 + views, D)."""
    rows = unit_rows(len(numbers) * (1 + views), DIM, seed=99).reshape(len(numbers), 1 + views, DIM)
    with store.writer(origin=IMPORTED) as writer:
        for i, of_image in zip(numbers, rows, strict=True):
            writer.add_features(digest(i), of_image, range(1 + views))
    return rows


def near(rows: np.ndarray, right: np.ndarray) -> None:
    np.testing.assert_allclose(rows, right, atol=2e-3)


def origins(folder: Path) -> list[str]:
    found = []
    for path in sorted(folder.glob("shard-*.h5")):
        with h5py.File(path) as file:
            found.append(file.attrs["origin"])
    return found


@pytest.mark.parametrize("first", ["computed", "imported"])
def test_computed_features_overrule_imported_ones_in_either_order(folder, first):
    if first == "computed":
        mine = fill(reopened(folder), range(10))
        theirs = take_in(reopened(folder), range(5, 15))[:, 0]
    else:
        theirs = take_in(reopened(folder), range(5, 15))[:, 0]
        mine = fill(reopened(folder), range(10))
    store = reopened(folder)
    assert (len(store), store.feature_rows) == (15, 15)
    near(store.features(digests(range(10))), mine)
    near(store.features(digests(range(10, 15))), theirs[5:])
    assert store.has(digests(range(20))).tolist() == [True] * 15 + [False] * 5
    assert store.has(digests(range(20)), computed=True).tolist() == [True] * 10 + [False] * 10
    # In one question, mixed and repeated.
    order = [12, 3, 7, 12, 14, 0]
    near(store.features(digests(order)), np.stack([mine[i] if i < 10 else theirs[i - 5] for i in order]))


def test_what_is_imported_is_not_written_twice_and_what_is_computed_is_written_once_more(folder):
    take_in(reopened(folder), range(4))
    take_in(reopened(folder), range(4))
    assert origins(folder) == ["imported"]
    store = reopened(folder)
    with store.writer() as writer:
        assert not writer.has(digest(1), 0)
        writer.add(b"1.png", record(1), unit_rows(1, DIM, seed=5)[0])
        assert writer.has(digest(1), 0)
    with store.writer(origin=IMPORTED) as writer:
        assert writer.has(digest(1), 0) and writer.has(digest(2), 0) and not writer.has(digest(9), 0)
    assert origins(folder) == ["imported", "computed"]


def test_an_image_encoded_here_gets_no_augmented_views_of_somebody_else(folder):
    take_in(reopened(folder), range(4), views=2)
    store = reopened(folder)
    assert store.views(digests(range(4))) == 2
    fill(store, range(2))
    assert store.has(digests(range(4)), 1).tolist() == [False, False, True, True]
    assert store.views(digests(range(4))) == 0
    fill(store, range(2), views=1)
    assert store.views(digests(range(4))) == 1


@pytest.mark.parametrize("rows", [3, 100])
def test_compaction_keeps_the_two_apart(folder, rows, monkeypatch):
    monkeypatch.setattr("deltaoe.store.compaction._ROWS", rows)
    theirs = take_in(reopened(folder), range(5, 15))[:, 0]
    mine = fill(reopened(folder), range(10))
    take_in(reopened(folder), range(20, 23))
    compact_store(
        reopened(folder), [prefixes(digests(range(15)))], b"/nowhere", False, lambda done, total: None
    )
    store = reopened(folder)
    assert sorted(set(origins(folder))) == ["computed", "imported"]
    assert store.feature_rows == 15  # overruled rows are gone, and those that nothing lists
    assert store.has(digests(range(15)), computed=True).tolist() == [True] * 10 + [False] * 5
    near(store.features(digests(range(15))), np.concatenate([mine, theirs[5:]]))
    assert store.file(b"3.png") == record(3)


def test_files_of_an_imported_shard_are_not_known(folder):
    fill(reopened(folder), range(3))
    shard = folder / "shard-00000001.h5"
    assert reopened(folder).file(b"1.png") == record(1)
    with h5py.File(shard, "r+") as file:
        file.attrs["origin"] = "imported"
    store = reopened(folder)
    assert store.file(b"1.png") is None and digest(1) in store


def test_shards_of_earlier_versions_say_nothing(tmp_path):
    for space, is_known in ((make_space(DIM), True), (make_space(DIM, decode_policy=0), False)):
        folder = tmp_path / space.id
        store = FeatureStore(folder, space)
        fill(store, range(3))
        with h5py.File(folder / "shard-00000001.h5", "r+") as file:
            del file.attrs["origin"]
        store = FeatureStore(folder, space)
        assert store.has(digests(range(3))).all()
        assert store.has(digests(range(3)), computed=True).all() == is_known
    with h5py.File(folder / "shard-00000001.h5", "r+") as file:
        file.attrs["origin"] = "guessed"
    with pytest.raises(StoreError, match="unknown origin"):
        FeatureStore(folder, space)
