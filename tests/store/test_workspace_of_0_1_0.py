"""A whole workspace and an export that version 0.1.0 wrote are read as they were. They stay as they are."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import h5py
import pytest

from deltaoe.interchange.import_export import import_features
from deltaoe.store.maintenance import verify
from deltaoe.store.workspace import Workspace

STORES = Path(__file__).parent / "archived"
SPACE_ID = "5a894de7ef734334"
PATHS = ["cat/1.jpg", "dog/猫\n.png", "dog/copy.jpg"]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    folder = tmp_path / ".deltaoe"
    shutil.copytree(STORES / "workspace-0.1.0", folder)
    shutil.copytree(STORES / "version-2", folder / "features")
    return Workspace(folder)


def contents(*numbers: int) -> bytes:
    return b"".join(hashlib.sha256(b"image %d" % number).digest() for number in numbers)


def test_its_last_data_set_and_its_features(workspace: Workspace) -> None:
    data = workspace.dataset()
    assert data is not None
    assert (data.name, data.class_names, data.domain_names) == ("pets", ("cat", "dog"), ())
    assert (data.split_names, len(data.split_of)) == ((), 3)
    assert data.root == os.path.join(workspace.folder.parent, "images")
    assert list(data.paths) == PATHS
    assert data.class_of.tolist() == [0, 1, 1]
    assert data.digests.tobytes() == contents(0, 1, 0)
    assert workspace.features_of(data).space.id == SPACE_ID == data.space_id


def test_nothing_in_it_is_damaged(workspace: Workspace) -> None:
    assert not verify(workspace).damage


def test_its_export_is_imported(tmp_path: Path) -> None:
    export = STORES / "export-0.1.0.h5"
    import_features(export, Workspace(tmp_path / ".deltaoe"))
    data = Workspace(tmp_path / ".deltaoe").dataset()
    assert data is not None
    assert (list(data.paths), data.class_of.tolist(), data.name) == (PATHS, [0, 1, 1], "pets")
    store = Workspace(tmp_path / ".deltaoe").features_of(data)
    with h5py.File(export) as file:
        written = file["features"][()]  # of the first image with two views, then of the second
    assert store.features(data.digests) == pytest.approx(written[[0, 3, 0]], abs=1e-3)
    assert store.features(data.digests[:1], view=2) == pytest.approx(written[[2]], abs=1e-3)
