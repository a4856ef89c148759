"""Of an HDF5 file is read what lies in it, of our own files and of others, and nothing that it leads to elsewhere."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from foreign import LEADS_ELSEWHERE, SECRET, make_endless, make_secret
from stored import fill, reopened

from deltaoe.errors import DataError, StoreError
from deltaoe.store import foreign_hdf5
from deltaoe.store.foreign_hdf5 import ForeignHdf5

each_way = pytest.mark.parametrize(("put", "says"), LEADS_ELSEWHERE.values(), ids=LEADS_ELSEWHERE)


@each_way
@pytest.mark.parametrize("where", ["view", "files/size", "more", "files/more/deeper"])
def test_our_own_files_lead_nowhere(folder, put, says, where):
    fill(reopened(folder), range(4))
    secret = make_secret(folder)
    with h5py.File(folder / "shard-00000001.h5", "r+") as file:
        name = f"features/{where}" if where == "view" else where
        if name in file:
            del file[name]
        file.require_group(name.rpartition("/")[0] or "/")
        put(file, name, secret)
    if not says:  # a reference by itself leads nowhere: it is no column, and nothing follows it
        return
    with pytest.raises(StoreError, match=r"cannot read .*shard-00000001\.h5") as caught:
        reopened(folder)
    assert "features/target" in str(caught.value) or says in str(caught.value)


@pytest.mark.parametrize("change", ["circle", "deep", "many"])
def test_groups_without_end(folder, change):
    fill(reopened(folder), range(4))
    with h5py.File(folder / "shard-00000001.h5", "r+") as file:
        if change == "circle":
            file["files/again"] = file["files"]
        elif change == "deep":
            file.create_group("/".join("abcdefgh"))
        else:
            for i in range(1001):
                file.create_group(f"files/{i}")
    with pytest.raises(StoreError, match="more groups and datasets than any such file"):
        reopened(folder)


@each_way
def test_files_of_others(tmp_path, put, says):
    secret = make_secret(tmp_path)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["good"] = np.arange(3)
        put(file, "bad", secret)
    file = ForeignHdf5(tmp_path / "f.h5")
    assert says in file.datasets["bad"].why and file.datasets["bad"].why
    with pytest.raises(DataError, match="'bad'") as caught:
        file.read("bad")
    assert SECRET.decode().strip() not in str(caught.value)
    assert file.read("good").tolist() == [0, 1, 2]


def test_what_is_read_of_files_of_others(tmp_path):
    rng = np.random.default_rng(0)
    right = {
        "plain": rng.normal(size=(5000, 3)),
        "half": rng.normal(size=(7, 300)).astype(np.float16),
        "big": np.arange(9, dtype=">i4"),
        "cube": rng.normal(size=(4, 3, 2)).astype(np.float32),
        "none": np.zeros((0, 4), np.float32),
    }
    with h5py.File(tmp_path / "f.h5", "w") as made:
        for name, values in right.items():
            packed = {"compression": "gzip", "shuffle": True, "fletcher32": True} if len(values) else {}
            made.create_dataset(name, data=values, **packed)
        made["texts"] = ["ä", "", "c" * 300]
        made["bytes"] = np.array([b"x", b"\xff"])
        made.attrs["text"], made.attrs["number"], made.attrs["list"] = "ö", 3, [1, 2]
        made.attrs.create("time", 0, dtype=h5py.opaque_dtype(np.dtype("M8[s]")))
    file = ForeignHdf5(tmp_path / "f.h5")
    for name, values in right.items():
        found = file.read(name)
        assert (found.dtype.kind, found.dtype.itemsize) == (values.dtype.kind, values.dtype.itemsize)
        np.testing.assert_array_equal(found, values)
    assert file.read("texts").tolist() == ["ä".encode(), b"", b"c" * 300]
    assert file.read("bytes").tolist() == [b"x", b"\xff"]
    assert file.attributes == {"text": "ö", "number": 3, "list": None, "time": None}
    # Two at once, and one that was left halfway.
    next(file.blocks("plain"))
    np.testing.assert_array_equal(file.read("half"), right["half"])


def test_a_file_that_the_library_never_finishes(tmp_path, monkeypatch):
    path = make_endless(tmp_path / "endless.h5")
    file = ForeignHdf5(path)
    assert file.read("features").shape == (3, 3)
    monkeypatch.setattr(foreign_hdf5, "SECONDS", 1.5)
    with pytest.raises(DataError, match=r"endless\.h5: the HDF5 library got no further in 2 seconds"):
        file.read("class_names")


def test_a_file_that_crashes_the_library(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "f.h5", "w") as made:
        made["x"] = np.arange(3)
    crash = foreign_hdf5._PROGRAM.replace(
        "serve()", "import h5py, os; h5py.File = lambda *a, **k: os.abort(); serve()"
    )
    monkeypatch.setattr(foreign_hdf5, "_PROGRAM", crash)
    with pytest.raises(DataError, match=r"f\.h5: the HDF5 library crashed on it \(aborted\)"):
        ForeignHdf5(tmp_path / "f.h5")


def test_a_file_that_takes_too_much_memory(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "f.h5", "w") as made:
        made["x"] = np.arange(3)
    greedy = "import h5py; h5py.File = lambda *a, **k: bytearray(1 << 40); serve()"
    monkeypatch.setattr(foreign_hdf5, "_PROGRAM", foreign_hdf5._PROGRAM.replace("serve()", greedy))
    with pytest.raises(DataError, match=r"f\.h5: it takes more than 4 GiB of memory to read"):
        ForeignHdf5(tmp_path / "f.h5")


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n" + bytes(500)])
def test_no_hdf5_file(tmp_path, content):
    (tmp_path / "f.h5").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read .*f\.h5"):
        ForeignHdf5(tmp_path / "f.h5")
    with pytest.raises(DataError, match="no such file"):
        ForeignHdf5(tmp_path / "gone.h5")
