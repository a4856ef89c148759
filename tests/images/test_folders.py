"""A fingerprint of folders: it changes when entries come or go, and for nothing that a walk would pass over."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from deltaoe.images.folders import fingerprint, fingerprint_of_walk
from deltaoe.images.inputs import find_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("cats/old", "dogs", ".hidden"):
        (tmp_path / "project" / "images" / name).mkdir(parents=True)
        (tmp_path / "project" / "images" / name / "a.png").write_bytes(b"a")
    for folder in (tmp_path / "project" / "images").rglob("**/"):
        os.utime(folder, (1000, 1000))  # long ago, whatever the resolution of the clock
    return tmp_path / "project" / "images"


CHANGES = {
    "a file": lambda root: (root / "cats" / "new.png").touch(),
    "a deep file": lambda root: (root / "cats" / "old" / "b.png").touch(),
    "a file less": lambda root: (root / "dogs" / "a.png").unlink(),
    "a folder": lambda root: (root / "fish").mkdir(),
    "a folder less": lambda root: shutil.rmtree(root / "dogs"),
    "a renamed file": lambda root: (root / "dogs" / "a.png").rename(root / "dogs" / "b.png"),
    "a link to a folder": lambda root: (root / "more").symlink_to(root.parent),
    "an older folder, as rsync leaves it": lambda root: os.utime(root / "dogs", (500, 500)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_it_changes_with(name, root):
    before = fingerprint([str(root)])
    assert fingerprint([str(root)]) == before
    CHANGES[name](root)
    assert fingerprint([str(root)]) != before


def test_it_does_not_change_with(root):
    before = fingerprint([str(root)])
    (root / ".hidden" / "b.png").touch()
    (root / "cats" / "old" / "a.png").write_bytes(b"other content")
    assert fingerprint([str(root)]) == before
    root.parent.rename(moved := root.parent.with_name("moved"))
    assert fingerprint([str(moved / root.name)]) == before


def test_files_in_a_linked_folder_count(root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    before = fingerprint([str(root)])
    os.utime(tmp_path / "elsewhere", (2000, 2000))
    assert fingerprint([str(root)]) != before


def test_circles_and_folders_that_are_not_there(root):
    (root / "cats" / "again").symlink_to(root)
    assert fingerprint([str(root)]) == fingerprint([str(root)])
    assert fingerprint([str(root), "/no/such/folder"]) != fingerprint([str(root)])


@pytest.mark.parametrize("circle", [False, True])
def test_a_walk_sees_the_same(root, tmp_path, circle):
    """Of several inputs, with a folder named like an image, linked twice, and one that contains itself."""
    (root / "dogs" / "poodle.png").mkdir()
    (root / "dogs" / "notes").mkdir()
    (root / "fish").symlink_to(root / "cats")
    if circle:
        (root / "cats" / "again").symlink_to(root)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "b.png").touch()
    inputs = [str(root), str(tmp_path / "more")]
    walked = find_files(inputs)
    assert len(walked.folders) == 9  # two of them, cats and what is in it, by two paths
    assert fingerprint_of_walk(walked.folders) == fingerprint(inputs)
    (root / "dogs" / "notes" / "new.txt").touch()
    os.utime(root / "dogs" / "notes", (1500, 1500))
    assert fingerprint_of_walk(walked.folders) != fingerprint(inputs)
    assert fingerprint_of_walk(find_files(inputs).folders) == fingerprint(inputs)
