"""Repair: damaged files are set aside, whole rows stay, nothing wrong comes back, and descriptions are restored."""

from __future__ import annotations

import json
import shutil

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import digest, digests, make_space, unit_rows
from stored import DIM, fill

from deltaoe.errors import DamagedError
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.maintenance import compact, verify
from deltaoe.store.row_sums import row_sums
from deltaoe.store.sealed import to_bytes
from deltaoe.store.workspace import Workspace

SPACE = make_space(DIM)
MADE_ELSEWHERE = FeatureSpace.imported("their-clip", DIM, "float16")
COUNT = 200


def filled(folder, space=SPACE):
    """A workspace with one shard of images 0 … COUNT − 1 and one of three others; the first shard, its features."""
    place = Workspace(folder / ".deltaoe")
    store = place.store(space)
    with store.writer() as writer:
        rows = unit_rows(COUNT, DIM, seed=4)
        for i, row in enumerate(rows):
            writer.add_features(digest(i), row[None], [0])
    fill(place.store(space), range(1000, 1003))
    return place, store.shards[0].path, store.features(digests(range(COUNT)))


def listed(space, numbers, name="mine"):
    count = len(numbers)
    return DataSet(
        root="",
        space_id=space.id,
        model=space.model,
        layout="table",
        class_names=("a",),
        domain_names=(),
        paths=[f"{i}.png" for i in numbers],
        digests=digests(numbers),
        class_of=np.zeros(count, np.int64),
        domain_of=np.full(count, -1),
        name=name,
    )


def flip(path, offset, bit=0):
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << bit
    path.write_bytes(content)


def offset_of(path, name):
    with h5py.File(path) as file:
        return file[name].id.get_offset()


def test_a_changed_bit_is_found_when_its_row_is_read(tmp_path):
    place, shard, right = filled(tmp_path)
    flip(shard, offset_of(shard, "features/vector") + 7 * DIM * 2 + 5, bit=3)
    store = place.store(SPACE)
    others = [i for i in range(COUNT) if i != 7]
    assert np.array_equal(store.features(digests(others[:7])), right[:7])
    with pytest.raises(
        DamagedError, match=r"shard-00000001\.h5 .*feature 7 has changed since it was written"
    ) as told:
        store.features(digests(range(COUNT)))
    assert "verify --repair" in told.value.hint


def test_every_bit_of_a_row_counts():
    rows = np.random.default_rng(0).integers(0, 256, (1, 22), dtype=np.uint8)
    before = row_sums(rows)
    for byte in range(22):
        for bit in range(8):
            changed = rows.copy()
            changed[0, byte] ^= 1 << bit
            assert row_sums(changed) != before
    # Python's integers, word by word.
    words = [int.from_bytes(bytes(rows[0, i : i + 8]), "little") for i in (0, 8, 16)]
    weights = [(2 * j + 1) * 0x9E3779B97F4A7C15 for j in range(3)]
    assert int(before[0]) == sum(a * b for a, b in zip(words, weights, strict=True)) % (1 << 64)


@pytest.mark.parametrize("space", [SPACE, MADE_ELSEWHERE], ids=["own", "imported"])
def test_of_a_damaged_shard_the_whole_rows_stay(tmp_path, space):
    place, shard, right = filled(tmp_path, space)
    place.save_dataset(listed(space, range(COUNT)))
    before = shard.read_bytes()
    flip(shard, offset_of(shard, "features/vector") + 7 * DIM * 2)
    flip(shard, offset_of(shard, "features/digest") + 9 * 32 + 1)
    done = verify(place, repair=True)
    assert [path for path, _ in done.damage] == [shard]
    assert done.aside == [shard.parent / "damaged" / shard.name]
    assert any(f"{COUNT - 2} of its {COUNT} features are proven whole" in note for note in done.notes)
    assert (
        any("cannot be made anew here: import them again" in note for note in done.notes) == space.is_imported
    )
    assert not verify(place).damage
    store = place.store(space)
    kept = [i for i in range(COUNT) if i not in (7, 9)]
    assert np.array_equal(store.features(digests(kept)), right[kept])
    assert store.has(digests([7, 9])).tolist() == [False, False]
    # What was set aside comes back as it was, and fits in beside what was written since.
    fill(place.store(space), range(2000, 2003))
    done.aside[0].rename(shard)
    shard.write_bytes(before)
    assert not verify(place).damage
    assert np.array_equal(place.store(space).features(digests(range(COUNT))), right)


@pytest.mark.parametrize("part", [0.999, 0.8, 0.5, 0.3])
def test_of_a_shard_that_was_cut_off_the_rows_before_the_cut_stay(tmp_path, part):
    place, shard, right = filled(tmp_path)
    size = shard.stat().st_size
    start = offset_of(shard, "features/vector")
    end = max(int(size * part), start + 64)
    shard.write_bytes(shard.read_bytes()[:end])
    verify(place, repair=True)
    whole = min(COUNT, (end - start) // (2 * DIM))
    found = place.store(SPACE).has(digests(range(COUNT)))
    assert found[:whole].all() and int(found.sum()) == whole
    assert np.array_equal(place.store(SPACE).features(digests(range(whole))), right[:whole])


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("sound"))


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_bytes_change_no_wrong_feature_stays(sound, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("mutated")
    shutil.copytree(sound[0].folder, folder / ".deltaoe")
    place = Workspace(folder / ".deltaoe")
    shard = place.folder / "features" / SPACE.id / sound[1].name
    content = bytearray(shard.read_bytes())
    # Version and space are told apart from damage: those files are not touched.
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(1, 40))] = data.draw(st.binary(min_size=1, max_size=40))
    shard.write_bytes(content)
    done = verify(place, repair=True)
    if done.unreadable:
        assert shard.exists()
        return
    assert not verify(place).damage
    store = place.store(SPACE)
    there = np.flatnonzero(store.has(digests(range(COUNT))))
    assert np.array_equal(store.features(digests(there.tolist())), sound[2][there])
    assert len(store.features(digests(range(1000, 1003)))) == 3
    shutil.rmtree(folder)


def test_rows_without_checksums_cannot_be_proven(tmp_path):
    place, shard, _ = filled(tmp_path, MADE_ELSEWHERE)
    with h5py.File(shard, "r+") as file:
        del file["features/vector_sum"], file["features/key_sum"]
    done = verify(place, repair=True)
    assert any("none of its 200 features can be proven whole" in note for note in done.notes)
    assert any("were imported, and cannot be made anew here" in note for note in done.notes)
    assert len(place.store(MADE_ELSEWHERE)) == 3


def test_of_an_empty_shard_nobody_knows_whether_it_was_imported(tmp_path):
    place, shard, _ = filled(tmp_path)
    shard.write_bytes(b"")
    notes = verify(place, repair=True).notes
    assert any("if features in it were imported, import them again" in note for note in notes)
    assert not any("cannot be made anew here" in note for note in notes)


def test_what_was_replaced_meanwhile_is_left_alone(tmp_path, monkeypatch):
    place, shard, _ = filled(tmp_path)
    right = shard.read_bytes()
    shard.write_bytes(b"damaged")
    from deltaoe.store import maintenance

    real = maintenance.repair_findings

    def after_restoring(workspace, findings):
        shard.write_bytes(right)
        return real(workspace, findings)

    monkeypatch.setattr(maintenance, "repair_findings", after_restoring)
    done = verify(place, repair=True)
    assert not done.aside and "was replaced meanwhile" in done.notes[0]
    assert shard.read_bytes() == right


def test_compact_keeps_imported_features_whose_data_set_is_damaged(tmp_path):
    place, _, _ = filled(tmp_path, MADE_ELSEWHERE)
    place.save_dataset(listed(MADE_ELSEWHERE, range(COUNT)))
    (listing,) = place.listings()
    content = listing.read_bytes()
    listing.write_bytes(content[:-20])
    done = verify(place, repair=True)
    assert any("its features are kept" in note for note in done.notes)
    compact(place)
    done.aside[0].rename(listing)
    listing.write_bytes(content)
    data = place.dataset("data:mine")
    assert len(place.features_of(data).features(data.digests)) == COUNT


DESCRIPTIONS = {
    "gone": None,
    "cut": b'{"model": "Vi',
    "binary": b"\0\xff" * 40,
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "a type": lambda values: values | {"dtype": "banana"},
    "object": lambda values: values | {"dtype": "object"},
    "a number": lambda values: values | {"dim": "16"},
    "one field less": lambda values: {k: v for k, v in values.items() if k != "weights"},
    "other weights": lambda values: values | {"weights": "0" * 64},
}


@pytest.mark.parametrize("source", ["shards", "detector", "data set"])
@pytest.mark.parametrize("damage", DESCRIPTIONS.values(), ids=DESCRIPTIONS.keys())
def test_a_description_is_restored(tmp_path, damage, source):
    space = MADE_ELSEWHERE if source == "data set" else SPACE
    place, shard, right = filled(tmp_path, space)
    place.save_dataset(listed(space, range(COUNT)))
    if source != "shards":  # as earlier versions wrote them
        for one in shard.parent.glob("shard-*.h5"):
            with h5py.File(one, "r+") as file:
                del file.attrs["description"]
    if source == "detector":
        place.detector_file("mine").parent.mkdir()
        place.detector_file("mine").write_bytes(to_bytes("deltaoe", {"space": SPACE.to_dict()}, {}))
    path = shard.parent / "space.json"
    values = json.loads(path.read_text())
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage if isinstance(damage, bytes) else json.dumps(damage(values)).encode())
    done = verify(place, repair=True)
    assert any(note == f"{path}: restored" for note in done.notes)
    assert json.loads(path.read_text()) == values
    assert np.array_equal(place.store(*place.spaces()).features(digests(range(COUNT))), right)


def test_a_description_of_no_possible_space_is_moved_away(tmp_path):
    """As a detector or an archive with such a space once left it: every command met it from then on."""
    place, _, _ = filled(tmp_path)
    impossible = make_space(DIM, dtype="banana")
    folder = place.folder / "features" / impossible.id
    folder.mkdir()
    (folder / "space.json").write_text(json.dumps(impossible.to_dict()))
    done = verify(place, repair=True)
    if done.damage:  # which a reader that checks all fields finds
        assert done.aside == [folder / "damaged" / "space.json"]
    compact(place)
