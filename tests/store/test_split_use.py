"""Splits of a data set: which are learned from, which are held out, which are left for evaluate."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest
from samples import digests, make_space

from deltaoe.errors import ConfigError, DataError, StoreError
from deltaoe.store.archive import write_archive
from deltaoe.store.archive_reading import open_archive
from deltaoe.store.dataset import DataSet
from deltaoe.store.split_use import (
    SplitUse,
    counts_by_split,
    learning_rows,
    rows_of_splits,
    split_use,
    without_evaluated,
)


def make_data(splits: str, classes: str = "", **changes: object) -> DataSet:
    """A data set of one image per letter: r(train), v(al), t(est) or - for no split; classes are a, b or -."""
    classes = classes or "ab" * len(splits)
    names = tuple(name for letter, name in (("r", "train"), ("v", "val"), ("t", "test")) if letter in splits)
    index = {"r": "train", "v": "val", "t": "test"}
    count = len(splits)
    values = {
        "root": "",
        "space_id": make_space().id,
        "model": "m",
        "layout": "split/class",
        "class_names": ("a", "b"),
        "domain_names": (),
        "paths": tuple(f"{i}.png" for i in range(count)),
        "digests": digests(range(count)),
        "class_of": np.array(["ab".find(one) for one in classes[:count]], dtype=np.int64),
        "domain_of": np.full(count, -1, dtype=np.int64),
        "split_names": names,
        "split_of": np.array(
            [names.index(index[one]) if one in index else -1 for one in splits], dtype=np.int64
        ),
    }
    return DataSet(**(values | changes))


@pytest.mark.parametrize(
    ("splits", "learned", "held_out", "evaluated"),
    [
        ("rrtt", "train", "", "test"),
        ("rvt", "train", "val", "test"),
        ("rv", "train", "", "val"),
        ("vt", "val", "", "test"),
        ("r", "train", "", ""),
        ("v", "val", "", ""),
        ("t", "", "", "test"),
        ("--", "", "", ""),
    ],
)
def test_uses(splits, learned, held_out, evaluated):
    expected = SplitUse(*(tuple(filter(None, [name])) for name in (learned, held_out, evaluated)))
    assert split_use(make_data(splits)) == expected


def test_a_split_without_labelled_images_has_no_use():
    assert split_use(make_data("rrvt", "ab--")) == SplitUse(("train",))


def test_splits_that_are_asked_for():
    data = make_data("rvt")
    assert split_use(data, ["test"]) == SplitUse(("test",), (), ("train", "val"))
    assert rows_of_splits(data, ["val", "test"]).tolist() == [False, True, True]
    with pytest.raises(ConfigError, match="no split 'dev'") as caught:
        split_use(data, ["dev"])
    assert "train, val, test" in caught.value.hint
    with pytest.raises(ConfigError):
        rows_of_splits(make_data("--"), ["train"])


def test_images_that_are_also_left_for_evaluate_are_not_learned_from():
    data = make_data("rrvvt", digests=digests([0, 4, 2, 4, 4]))
    learned, held_out = learning_rows(data, split_use(data))
    assert learned.tolist() == [True, False, False, False, False]
    assert held_out.tolist() == [False, False, True, False, False]
    assert without_evaluated(data).class_of.tolist() == [0, -1, 0, -1, -1]


def test_without_splits_everything_is_learned_from():
    data = make_data("---")
    learned, held_out = learning_rows(data, split_use(data))
    assert learned.all() and not held_out.any()
    assert without_evaluated(data) is data
    assert counts_by_split(data) == {}


def test_nothing_but_test_images():
    data = make_data("tt")
    with pytest.raises(DataError, match="left for evaluate") as caught:
        learning_rows(data, split_use(data))
    assert "--split test" in caught.value.hint
    assert (without_evaluated(data).class_of == -1).all()


def test_sentences():
    assert SplitUse().sentence() == ""
    assert "val is left" in split_use(make_data("rv")).sentence()
    assert "the rest of train" in split_use(make_data("rvt")).sentence(enough=False)


def test_splits_are_saved(tmp_path):
    data = make_data("rt-v")
    data.save(tmp_path / "d.h5")
    loaded = DataSet.load(tmp_path / "d.h5")
    assert loaded.split_names == ("train", "val", "test")
    assert loaded.split_of.tolist() == [0, 2, -1, 1]
    assert counts_by_split(loaded) == {"train": 1, "val": 1, "test": 1}
    assert loaded.part(np.array([1, 3])).split_of.tolist() == [2, 1]
    assert "splits train, val, test" in repr(loaded)


def test_a_listing_without_splits_has_no_column_of_them(tmp_path):
    make_data("--").save(tmp_path / "d.h5")
    with h5py.File(tmp_path / "d.h5") as file:
        assert "split_of" not in file
    assert DataSet.load(tmp_path / "d.h5").split_of.tolist() == [-1, -1]


def test_archives_keep_splits(tmp_path):
    data, space = make_data("rt"), make_space(dim=4)
    vectors = np.eye(2, 4, dtype=np.float32)
    write_archive(tmp_path / "a.h5", data, space, data.digests, np.zeros(2, dtype=np.uint16), [vectors])
    archive = open_archive(tmp_path / "a.h5")
    assert archive is not None
    assert (archive.data.split_names, archive.data.split_of.tolist()) == (("train", "test"), [0, 1])


@pytest.mark.parametrize(
    "changes",
    [
        {"split_of": np.array([0, 2])},
        {"split_of": np.array([0])},
        {"split_names": ("test", "train")},
        {"split_names": ("train", "dev")},
        {"split_names": ()},
    ],
)
def test_splits_that_do_not_fit(changes):
    with pytest.raises(StoreError):
        dataclasses.replace(make_data("rt"), **changes).check()
