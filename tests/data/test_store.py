"""The feature store: what is written comes back, later shards overrule, damage is named."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from samples import make_space, unit_rows

from deltaoe.data.features import NO_DIGEST, FeatureStore, FileRecord
from deltaoe.errors import StoreError
from deltaoe.functional.energy import delta_energy

DIM = 16
FEATURES = Path(__file__).resolve().parents[3] / "shared" / "data" / "clip-features"


def digest(i: int) -> bytes:
    return i.to_bytes(32, "big")


def record(i: int, problem: str = "") -> FileRecord:
    return FileRecord(1000 + i, 10**18 + i, NO_DIGEST if problem else digest(i), problem)


def fill(store: FeatureStore, numbers: range) -> np.ndarray:
    """One shard with these images; their features."""
    rows = unit_rows(len(numbers), DIM, seed=numbers.start)
    with store.writer() as writer:
        for i, row in zip(numbers, rows, strict=True):
            writer.add(f"{i}.png", record(i), row)
    return rows


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "features" / "0123"


def reopened(folder: Path) -> FeatureStore:
    return FeatureStore(folder, make_space(DIM))


def test_an_empty_store(folder):
    store = reopened(folder)
    assert len(store) == 0
    assert store.file("1.png") is None
    assert digest(1) not in store
    assert store.features([]).shape == (0, DIM)
    assert not folder.exists()


def test_round_trip(folder):
    rows = fill(reopened(folder), range(5))
    store = reopened(folder)
    assert len(store) == 5
    found = store.features([digest(i) for i in (3, 0, 3, 4)])
    assert found.dtype == np.float32
    assert np.abs(found - rows[[3, 0, 3, 4]]).max() < 2**-11
    for i in range(5):
        assert store.file(f"{i}.png") == record(i)
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
        writer.add("0.png", record(0), rows[0])
        assert writer.pending == 1
        assert digest(0) not in store
        writer.flush()
        assert writer.pending == 0
        assert digest(0) in store
        writer.add("1.png", record(1), rows[1])
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
        writer.add("a.png", record(1), unit_rows(1, DIM)[0])
        writer.flush()
        writer.add("a.png", record(2, "broken image"))
        writer.add("b.png", record(1))
        writer.flush()
        writer.add("a.png", record(3), unit_rows(1, DIM, seed=3)[0])
    assert reopened(folder).file("a.png") == record(3)
    assert reopened(folder).file("b.png") == record(1)
    # Shards count beyond single digits in the order they were written.
    for i in range(4, 14):
        with reopened(folder).writer() as writer:
            writer.add("a.png", record(i), unit_rows(1, DIM, seed=i)[0])
    assert reopened(folder).file("a.png") == record(13)
    names = sorted(path.name for path in folder.glob("shard-*"))
    assert names == [f"shard-{i:08d}.h5" for i in range(1, 14)]


def test_a_feature_known_by_content_is_not_stored_again(folder):
    fill(reopened(folder), range(2))
    with reopened(folder).writer() as writer:
        writer.add("copy.png", record(1), unit_rows(1, DIM, seed=9)[0])
        writer.add("twin.png", record(7), unit_rows(1, DIM, seed=9)[0])
        writer.add("twin2.png", record(7), unit_rows(1, DIM, seed=9)[0])
    with h5py.File(folder / "shard-00000002.h5") as file:
        assert file["features/digest"].shape == (1, 32)
        assert file["files/size"].shape == (3,)
    assert len(reopened(folder)) == 3


def test_problems_are_kept(folder):
    with reopened(folder).writer() as writer:
        writer.add("bad.png", record(1, "broken image: größer\nals erlaubt"))
    store = reopened(folder)
    assert store.file("bad.png") == record(1, "broken image: größer\nals erlaubt")
    assert len(store) == 0


def test_hostile_paths(folder):
    paths = ["n" * 255, "d/" * 2000 + "x.png", os.fsdecode(b"caf\xe9\xff\x80.png"), "猫\n\t.png", "", "a\0b"]
    with reopened(folder).writer() as writer:
        for i, path in enumerate(paths):
            writer.add(path, record(i, os.fsdecode(b"x")))
    store = reopened(folder)
    for i, path in enumerate(paths):
        assert store.file(path) == record(i, "x")


def test_a_missing_feature_is_named(folder):
    fill(reopened(folder), range(2))
    with pytest.raises(StoreError, match=digest(77).hex()[:12]) as caught:
        reopened(folder).features([digest(0), digest(77)])
    assert "extract" in caught.value.hint


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
    "offsets": replaced("files/path_offsets", np.array([0, 5, 3, 15, 20])),
    "no offsets": replaced("files/path_offsets", np.zeros(0, np.int64)),
    "problems": replaced("files/problem", np.frombuffer(b"xyz", np.uint8)),
    "no space": lambda file: file.attrs.__delitem__("space"),
    "another space": lambda file: file.attrs.__setitem__("space", "0" * 16),
    "another kind": lambda file: file.attrs.__setitem__("format", "deltaoe.dataset"),
    "newer": lambda file: file.attrs.__setitem__("version", 2),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_inside_a_shard(folder, change):
    fill(reopened(folder), range(4))
    with h5py.File(folder / "shard-00000001.h5", "r+") as file:
        change(file)
    with pytest.raises(StoreError, match=r"cannot read .*shard-00000001\.h5 as .*: \S") as caught:
        reopened(folder)
    assert "move that file away" in caught.value.hint


def test_without_the_damaged_shard_the_rest_is_there(folder):
    for start in (0, 10, 20):
        fill(reopened(folder), range(start, start + 10))
    (folder / "shard-00000002.h5").write_bytes(b"damaged")
    with pytest.raises(StoreError):
        reopened(folder)
    (folder / "shard-00000002.h5").unlink()
    store = reopened(folder)
    assert len(store) == 20
    assert store.file("15.png") is None
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
            writer.add(str(i), record(i), row)
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
