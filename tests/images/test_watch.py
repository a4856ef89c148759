"""Folders that are watched: each file once it is whole."""

from __future__ import annotations

import os
import shutil

import pytest

from deltaoe.errors import DataError
from deltaoe.images.watch import FolderWatch

OLD = 1_600_000_000


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    return tmp_path / "in"


def write(path, content: bytes, when: int | None = None) -> None:
    path.write_bytes(content)
    if when is not None:
        os.utime(path, (when, when))


def looked(watch: FolderWatch) -> list[str]:
    return [os.path.basename(path) for path in watch.look()]


def test_old_files_are_told_at_once_and_each_only_once(folder):
    write(folder / "b.jpg", b"1", OLD)
    write(folder / "deep" / "a.png", b"1", OLD)
    watch = FolderWatch([str(folder)])
    assert watch.look() == [str(folder / "b.jpg"), str(folder / "deep" / "a.png")]
    assert watch.look() == []


def test_a_file_that_grows_is_told_when_it_is_whole(folder):
    watch = FolderWatch([str(folder)])
    assert looked(watch) == []
    for size in (1, 2, 3):
        write(folder / "a.jpg", b"x" * size)
        assert looked(watch) == []
    assert looked(watch) == ["a.jpg"]
    assert looked(watch) == []


def test_a_young_file_is_not_trusted_at_the_first_look(folder):
    write(folder / "a.jpg", b"half")
    watch = FolderWatch([str(folder)])
    assert looked(watch) == []
    write(folder / "a.jpg", b"half and half")
    assert looked(watch) == []
    assert looked(watch) == ["a.jpg"]


def test_a_changed_file_is_told_again(folder):
    write(folder / "a.jpg", b"1", OLD)
    watch = FolderWatch([str(folder)])
    assert looked(watch) == ["a.jpg"]
    write(folder / "a.jpg", b"2", OLD + 1)  # of the same size
    assert [looked(watch), looked(watch), looked(watch)] == [[], ["a.jpg"], []]


def test_a_removed_file_that_comes_back_is_new(folder):
    write(folder / "a.jpg", b"1", OLD)
    watch = FolderWatch([str(folder)])
    assert looked(watch) == ["a.jpg"]
    os.remove(folder / "a.jpg")
    assert looked(watch) == []
    write(folder / "a.jpg", b"1", OLD)
    assert [looked(watch), looked(watch)] == [[], ["a.jpg"]]


def test_hidden_and_other_files_are_left_out(folder):
    for name in (".a.jpg.Xy12", ".b.jpg", "notes.txt"):
        write(folder / name, b"1", OLD)
    assert FolderWatch([str(folder)]).look() == []


def test_a_folder_that_goes_is_said_and_what_was_told_is_not_told_again(folder):
    write(folder / "a.jpg", b"1", OLD)
    watch = FolderWatch([str(folder)])
    assert looked(watch) == ["a.jpg"]
    shutil.move(folder, folder.parent / "away")
    with pytest.raises(DataError, match="cannot list"):
        watch.look()
    shutil.move(folder.parent / "away", folder)
    assert looked(watch) == []


def test_a_file_is_no_folder(folder):
    write(folder / "a.jpg", b"1")
    for wrong in ("a.jpg", "missing"):
        with pytest.raises(DataError, match="no folder"):
            FolderWatch([str(folder / wrong)])
