"""The feature store: what is written comes back, and later shards overrule."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from samples import digest, digests, make_space, unit_rows
from stored import DIM, fill, record, reopened

from deltaoe.errors import StoreError
from deltaoe.functional.energy import delta_energy
from deltaoe.images.views import VIEW_POLICY
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.shards import NO_DIGEST, path_keys, read_paths

FEATURES = Path(__file__).resolve().parents[3] / "shared" / "data" / "clip-features"


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
