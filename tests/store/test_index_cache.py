"""Files of label indexes: what was written is read, and nothing else is."""

from __future__ import annotations

import os

import numpy as np
import pytest

from deltaoe.errors import StoreError
from deltaoe.store.index_cache import SUFFIX, index_file, load_arrays, save_arrays, save_file, unsealed

ARRAYS = {
    "codes": np.arange(33, dtype=np.int8).reshape(11, 3),
    "steps": np.array([0.25]),
    "norms": np.linspace(0, 1, 11, dtype=np.float32),
}
LAYOUT = {"codes": ("|i1", (11, 3)), "steps": ("<f8", (1,)), "norms": ("<f4", (11,))}


@pytest.fixture
def path(tmp_path):
    save_arrays(tmp_path / f"a{SUFFIX}", ARRAYS)
    return tmp_path / f"a{SUFFIX}"


def test_arrays_are_what_they_were(path):
    found = load_arrays(path, LAYOUT)
    assert {name: (array.dtype, array.tolist()) for name, array in found.items()} == {
        name: (array.dtype, array.tolist()) for name, array in ARRAYS.items()
    }
    assert all(isinstance(array, np.memmap) for array in found.values())
    found["codes"][:] = 0
    assert load_arrays(path, LAYOUT)["codes"].any()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_any_changed_byte_is_noticed(path):
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(StoreError, match="changed"):
            load_arrays(path, LAYOUT)
    for size in (0, 1, 31, 32, 33, 40, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(StoreError):
            load_arrays(path, LAYOUT)
    path.write_bytes(whole + b"\0")
    with pytest.raises(StoreError):
        load_arrays(path, LAYOUT)


def test_other_arrays_are_refused(path):
    for other in ({**LAYOUT, "steps": ("<f8", (2,))}, {"codes": LAYOUT["codes"]}, {}):
        with pytest.raises(StoreError, match="other arrays"):
            load_arrays(path, other)
    save_file(path, lambda to: to.write_bytes(b"payload"), ["a kind"])
    assert unsealed(path) == ["a kind"]
    with pytest.raises(StoreError, match="other arrays"):
        load_arrays(path, LAYOUT)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        unsealed(tmp_path / "gone")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError):
        unsealed(tmp_path / "folder")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(StoreError):
            unsealed(tmp_path / "pipe")


def test_a_name_says_all_that_an_index_depends_on(tmp_path):
    rows = np.eye(4, dtype=np.float32)
    names = {
        index_file(tmp_path, rows, "hnsw", "1"),
        index_file(tmp_path, rows, "hnsw", "2"),
        index_file(tmp_path, rows, "ivf", "1"),
        index_file(tmp_path, rows[::-1].copy(), "hnsw", "1"),
        index_file(tmp_path, rows.reshape(2, 8), "hnsw", "1"),
    }
    assert len(names) == 5
    assert index_file(tmp_path, rows.copy(), "hnsw", "1") in names


def test_the_files_written_last_are_kept(tmp_path):
    for number in range(11):
        path = tmp_path / f"{number}{SUFFIX}"
        save_arrays(path, ARRAYS)
        os.utime(path, (number, number))
    assert {int(file.stem) for file in tmp_path.iterdir()} == set(range(3, 11))


def test_a_write_that_fails_leaves_nothing(tmp_path):
    def half(to):
        to.write_bytes(b"half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        save_file(tmp_path / "a", half, None)
    assert not list(tmp_path.iterdir())
