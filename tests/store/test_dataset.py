"""The listing of an extracted folder: what is saved comes back, and damage is refused."""

from __future__ import annotations

import dataclasses
import json
import os

import h5py
import numpy as np
import pytest

from deltaoe.errors import ConfigError, StoreError
from deltaoe.store.dataset import DataSet
from deltaoe.store.hdf5 import FORMAT_VERSION, check_checksum, encoded, opened


def make_dataset(**changes: object) -> DataSet:
    values = {
        "root": "images",
        "space_id": "0123456789abcdef",
        "model": "ViT-B-16/openai",
        "layout": "domain/class",
        "class_names": ("cat", "dög"),
        "domain_names": ("photo", "sketch"),
        "paths": ("photo/cat/1.png", "sketch/dög/2.png", "3.png", os.fsdecode(b"photo/cat/\xff\n.png")),
        "digests": np.arange(4, dtype=np.uint8)[:, None].repeat(32, axis=1),
        "class_of": np.array([0, 1, -1, 0]),
        "domain_of": np.array([0, 1, -1, 0]),
        "inputs": ("images",),
    }
    return DataSet(**(values | changes))


def assert_equal(a: DataSet, b: DataSet) -> None:
    for field in dataclasses.fields(DataSet):
        mine, theirs = getattr(a, field.name), getattr(b, field.name)
        if isinstance(mine, np.ndarray):
            assert mine.dtype == theirs.dtype
            assert mine.shape == theirs.shape
            assert (mine == theirs).all()
        else:
            assert mine == theirs, field.name


@pytest.fixture
def saved(tmp_path):
    make_dataset().save(tmp_path / "d.h5")
    return tmp_path / "d.h5"


def test_round_trip(saved):
    assert_equal(DataSet.load(saved), make_dataset())
    assert os.fsencode(DataSet.load(saved).paths[3]).endswith(b"\xff\n.png")


def test_equal_listings_are_equal_files(saved, tmp_path):
    make_dataset().save(tmp_path / "again.h5")
    assert saved.read_bytes() == (tmp_path / "again.h5").read_bytes()


def test_an_empty_listing(tmp_path):
    none = np.empty(0, dtype=np.int64)
    no_digests = np.empty((0, 32), dtype=np.uint8)
    empty = make_dataset(
        paths=(), digests=no_digests, class_of=none, domain_of=none, class_names=(), domain_names=()
    )
    empty.save(tmp_path / "d.h5")
    assert_equal(DataSet.load(tmp_path / "d.h5"), empty)
    assert not empty.labelled
    assert len(empty) == 0


def test_names_inputs_and_text_features(tmp_path):
    texts = np.random.default_rng(0).standard_normal((2, 5)).astype(np.float32)
    inputs = ("a", os.fsdecode(b"/abs/\xff\n"), "", "list.txt")
    data = make_dataset(name="my pets", root="", inputs=inputs, layout="table", text_features=texts)
    data.save(tmp_path / "d.h5")
    assert_equal(DataSet.load(tmp_path / "d.h5"), data)
    assert make_dataset(inputs=()).inputs == ()
    make_dataset(inputs=()).save(tmp_path / "d.h5")
    assert DataSet.load(tmp_path / "d.h5").inputs == ()


@pytest.mark.parametrize("names", [(), ("",), ("a.png",), ("", "é\udcff.png", ""), ("a\0b", "c"), ("\0",)])
def test_names_become_bytes(names):
    assert encoded(names) == [os.fsencode(name) for name in names]


def test_what_it_is_called():
    assert make_dataset().title == "images"
    assert make_dataset(inputs=("a", "b")).title == "a, b"
    assert make_dataset(inputs=()).title == "images"
    assert make_dataset(name="pets").title == "data:pets"


def test_digests_as_byte_strings():
    assert make_dataset().keys() == [bytes([i]) * 32 for i in range(4)]


def test_the_checksum_covers_it(saved):
    with opened(saved, "dataset") as file:
        check_checksum(file)
    with h5py.File(saved, "r+") as file:
        file["class_of"][1] = 0
    with pytest.raises(StoreError, match=r"d\.h5 .*content has changed"), opened(saved, "dataset") as file:
        check_checksum(file)


def strings(file, name, values):
    """Byte strings as the format's description says: one buffer, and where each begins."""
    file[name] = np.frombuffer(b"".join(values), dtype=np.uint8)
    file[f"{name}_offsets"] = np.cumsum([0, *map(len, values)], dtype=np.int64)


def test_a_file_of_version_1(tmp_path):
    head = {"space_id": "5a894de7ef734334", "model": "ViT-B-16/openai", "layout": "class"}
    head |= {"class_names": ["cat", "dog"], "domain_names": []}
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file.attrs["format"], file.attrs["version"] = "deltaoe.dataset", 1
        file.attrs["head"] = json.dumps(head)
        strings(file, "root", ["bilder/größe".encode()])
        strings(file, "path", [b"cat/1.png", b"dog/\xff.png", b"3.png"])
        file["digest"] = np.arange(96, dtype=np.uint8).reshape(3, 32)
        file["class_of"] = np.array([0, 1, -1])
        file["domain_of"] = np.array([-1, -1, -1])
    data = DataSet.load(tmp_path / "d.h5")
    assert data.root == "bilder/größe"
    assert data.inputs == ("bilder/größe",)
    assert (data.name, data.text_features, data.model) == ("", None, "ViT-B-16/openai")
    assert (data.space_id, data.layout) == ("5a894de7ef734334", "class")
    assert (data.class_names, data.domain_names) == (("cat", "dog"), ())
    assert data.paths == ("cat/1.png", os.fsdecode(b"dog/\xff.png"), "3.png")
    assert data.keys() == [bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))]
    assert (data.class_of.tolist(), data.domain_of.tolist()) == ([0, 1, -1], [-1, -1, -1])
    with opened(tmp_path / "d.h5", "dataset") as file:
        check_checksum(file)
    data.save(tmp_path / "new.h5")
    assert_equal(DataSet.load(tmp_path / "new.h5"), data)


def test_many_classes_with_long_names(tmp_path):
    """The names live in an attribute, and those of HDF5 have limits."""
    names = tuple(sorted(f"{i:05d} " + "long name " * 8 for i in range(20_000)))
    make_dataset(class_names=names).save(tmp_path / "d.h5")
    assert DataSet.load(tmp_path / "d.h5").class_names == names


def test_rows_of_domains():
    data = make_dataset()
    assert data.rows_in([]).tolist() == [True] * 4
    assert data.rows_in(["sketch"]).tolist() == [False, True, False, False]
    assert data.rows_in(["sketch", "photo"]).tolist() == [True, True, False, True]
    with pytest.raises(ConfigError, match="no domain 'Photo'") as caught:
        data.rows_in(["photo", "Photo"])
    assert "photo, sketch" in caught.value.hint
    with pytest.raises(ConfigError) as caught:
        make_dataset(domain_names=(), layout="class").rows_in(["photo"])
    assert "--domain" in caught.value.hint


def test_distinct_rows_count_each_image_once_and_no_image_of_two_classes():
    # Rows 0 and 1 are one image, row 3 and 4 one of two classes, 5 has no class, 6 and 7 are one with a class once.
    images, classes = np.array([0, 0, 1, 2, 2, 3, 4, 4]), np.array([0, 0, 1, 0, 1, -1, -1, 0])
    data = make_dataset(
        paths=tuple(f"{i}.png" for i in range(8)),
        digests=images.astype(np.uint8)[:, None].repeat(32, axis=1),
        class_of=classes,
        domain_of=np.full(8, -1),
    )
    rows = data.distinct_rows()
    assert rows.dtype == np.int64
    assert rows.tolist() == [0, 2, 7]


def test_a_listing_without_classes_has_no_distinct_rows():
    data = make_dataset(class_names=(), class_of=np.full(4, -1), layout="flat")
    assert data.distinct_rows().shape == (0,)
    assert data.distinct_rows().dtype == np.int64


def test_every_cut_is_refused(saved, tmp_path):
    whole, cut = saved.read_bytes(), tmp_path / "cut.h5"
    for end in [*range(0, len(whole), max(1, len(whole) // 60)), len(whole) - 1]:
        cut.write_bytes(whole[:end])
        with pytest.raises(StoreError, match=r"cannot read .*cut\.h5"):
            DataSet.load(cut)


def retyped(name, value):
    def change(file):
        del file[name]
        file.create_dataset(name, data=value)

    return change


def head(text):
    return lambda file: file.attrs.__setitem__("head", text)


DAMAGE = {
    "no head": lambda file: file.attrs.__delitem__("head"),
    "head no JSON": head("{"),
    "head a list": head("[]"),
    "head nested": head("[" * 100_000),
    "layout": head(
        '{"space_id":"x","model":"m","layout":"x","class_names":["a","b"],"domain_names":["c","d"]}'
    ),
    "class names": head(
        '{"space_id":"x","model":"m","layout":"class","class_names":[1,2],"domain_names":["c","d"]}'
    ),
    "fewer classes": head(
        '{"space_id":"x","model":"m","layout":"class","class_names":["a"],"domain_names":["c","d"]}'
    ),
    "a name of numbers": head(
        '{"space_id":"x","model":"m","layout":"class","class_names":["a","b"],"domain_names":["c","d"],"name":5}'
    ),
    "inputs a group": lambda file: (file.__delitem__("inputs"), file.create_group("inputs")),
    "inputs without offsets": lambda file: file.__delitem__("inputs_offsets"),
    "texts of three classes": lambda file: file.create_dataset("text_features", data=np.zeros((3, 4), "f4")),
    "texts in double": lambda file: file.create_dataset("text_features", data=np.zeros((2, 4))),
    "texts a row": lambda file: file.create_dataset("text_features", data=np.zeros(2, "f4")),
    "no paths": lambda file: file.__delitem__("path"),
    "no root": retyped("root_offsets", np.array([0])),
    "paths a group": lambda file: (file.__delitem__("path"), file.create_group("path")),
    "offsets beyond": retyped("path_offsets", np.array([0, 1, 2, 3, 9999])),
    "offsets backwards": retyped("path_offsets", np.array([0, 30, 20, 40, 53])),
    "one path fewer": retyped("path_offsets", np.array([0, 15, 15 + 17])),
    "digests of 31": retyped("digest", np.zeros((4, 31), np.uint8)),
    "digests of text": retyped("digest", b"text"),
    "three digests": retyped("digest", np.zeros((3, 32), np.uint8)),
    "classes too short": retyped("class_of", np.zeros(3, np.int64)),
    "classes beyond": retyped("class_of", np.array([0, 1, 2, 0])),
    "classes below": retyped("class_of", np.array([0, 1, -2, 0])),
    "classes of floats": retyped("class_of", np.zeros(4)),
    "domains of text": retyped("domain_of", b"text"),
    "another format": lambda file: file.attrs.__setitem__("format", "deltaoe.features"),
    "no format": lambda file: file.attrs.__delitem__("format"),
    "version of text": lambda file: file.attrs.__setitem__("version", "one"),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_refused_with_the_file_s_name(saved, change):
    with h5py.File(saved, "r+") as file:
        change(file)
    with pytest.raises(StoreError, match=r"cannot read .*d\.h5 as a deltaoe dataset file: \S") as caught:
        DataSet.load(saved)
    assert "extract" in caught.value.hint


def test_a_newer_version_says_so(saved):
    with h5py.File(saved, "r+") as file:
        file.attrs["version"] = FORMAT_VERSION + 1
    with pytest.raises(StoreError, match="newer deltaoe"):
        DataSet.load(saved)


@pytest.mark.parametrize("content", [b"", b"not HDF5 at all", b"\x89HDF\r\n\x1a\n" + bytes(200)])
def test_other_files(tmp_path, content):
    (tmp_path / "d.h5").write_bytes(content)
    with pytest.raises(StoreError, match=r"d\.h5"):
        DataSet.load(tmp_path / "d.h5")
    with pytest.raises(StoreError, match="nowhere"):
        DataSet.load(tmp_path / "nowhere.h5")
