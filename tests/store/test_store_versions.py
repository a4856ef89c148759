"""Stores that earlier versions wrote are read as they were; those of later ones are refused."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from samples import digest, digests

from deltaoe.errors import StoreError
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.hdf5 import FORMAT_VERSION, check_checksum, opened
from deltaoe.store.shards import NO_DIGEST, read_paths
from deltaoe.store.store_index import FileRecord
from deltaoe.store.workspace import Workspace

STORES = Path(__file__).parent / "archived"
MAKE = runpy.run_path(str(STORES / "make.py"))
SPACE = MAKE["SPACE"]
SPACE_ID = "5a894de7ef734334"
SECOND = 10**18

FEATURES = {
    1: {
        (0, 0): [0.16772, 0.39868, 0.16040, -0.63232, 0.43921, 0.21655, -0.26050, 0.28198],
        (1, 0): [0.28125, 0.22693, 0.02193, 0.42188, -0.56837, -0.12573, -0.37207, 0.46216],
        (2, 0): [0.02115, -0.15564, -0.41626, -0.13696, 0.00433, -0.14673, 0.68896, 0.53613],
        (3, 0): [-0.65869, -0.45898, -0.04245, -0.10260, 0.05191, 0.05280, 0.51465, -0.27026],
        (4, 0): [-0.13196, 0.71387, 0.22595, 0.23169, -0.17957, -0.57568, 0.05850, 0.03809],
    },
    2: {
        (0, 0): [0.05530, -0.15283, -0.12079, -0.71387, 0.52637, 0.33472, -0.09515, 0.22632],
        (0, 1): [0.18188, -0.35815, 0.63232, -0.20093, -0.21265, -0.51221, 0.29419, -0.06415],
        (0, 2): [0.34497, -0.38403, 0.08020, -0.56445, 0.53223, 0.11896, 0.20911, 0.25977],
        (1, 0): [-0.26514, 0.20544, 0.53955, -0.42993, -0.45361, -0.39478, 0.22070, 0.03378],
        (5, 0): [0.53613, 0.35913, 0.10468, 0.14124, -0.08441, 0.43164, -0.56152, -0.20972],
    },
}
FEATURES[3] = FEATURES[2]
FILES = {
    1: {
        b"images/cat/1.jpg": FileRecord(104, SECOND + 4, digest(4), ""),
        b"images/cat/new\nline.png": FileRecord(101, SECOND + 1, digest(1), ""),
        "images/dog/猫.png".encode(): FileRecord(102, SECOND + 2, digest(2), ""),
        b"images/bad.jpg": FileRecord(7, 5, NO_DIGEST, "empty file"),
        b"/abs/caf\xe9\xff.jpg": FileRecord(103, SECOND + 3, digest(3), ""),
        b"images/dog/copy.jpg": FileRecord(100, SECOND, digest(0), ""),
    },
    2: {
        b"images/cat/1.jpg": FileRecord(100, SECOND, digest(0), ""),
        "images/dog/猫\n.png".encode(): FileRecord(101, SECOND + 1, digest(1), ""),
        b"/abs/caf\xe9\xff.jpg": FileRecord(102, -1, digest(5), ""),
        b"images/dog/copy.jpg": FileRecord(100, SECOND, digest(0), ""),
        b"images/bad.jpg": FileRecord(7, 5, NO_DIGEST, "zu groß"),
    },
    3: {
        b"images/cat/1.jpg": FileRecord(100, SECOND, digest(0), "", SECOND + 7, 2**64 - 1),
        "images/dog/猫\n.png".encode(): FileRecord(101, SECOND + 1, digest(1), "", -3, 12),
        b"/abs/caf\xe9\xff.jpg": FileRecord(102, -1, digest(5), ""),
        b"images/dog/copy.jpg": FileRecord(100, SECOND, digest(0), ""),
        b"images/bad.jpg": FileRecord(7, 5, digest(7), "zu groß", 6, 13),
    },
}
each_version = pytest.mark.parametrize("version", FEATURES)


def folder_of(version: int) -> Path:
    return STORES / f"version-{version}" / SPACE_ID


@pytest.fixture
def copy(tmp_path, version):
    """The store in a workspace that may be written."""
    folder = tmp_path / ".deltaoe" / "features" / SPACE_ID
    shutil.copytree(folder_of(version), folder)
    return folder


def check(store: FeatureStore, version: int) -> None:
    for (number, view), row in FEATURES[version].items():
        found = store.features([digest(number)], view)[0]
        assert np.abs(found - row).max() < 2e-4  # they are rounded here, and made unit length there
        assert abs(np.linalg.norm(found.astype(np.float64)) - 1) < 1e-6
    for path, record in FILES[version].items():
        assert store.file(path) == record


@each_version
def test_rows_files_and_problems(version):
    store = FeatureStore(folder_of(version), SPACE)
    assert store.feature_rows == 5
    assert len(store) == (5 if version == 1 else 3)
    assert store.has(digests([0]), 1).tolist() == [version > 1]
    assert store.views(digests([0])) == (0 if version == 1 else 2)
    check(store, version)
    assert store.file(b"images/cat/2.jpg") is None
    assert not (folder_of(version) / "writer.lock").exists()  # a reader leaves nothing behind
    paths = {path for shard in store.shards for path in read_paths(shard.path)}
    assert paths == set(FILES[version])
    for shard in store.shards:
        with opened(shard.path, "features") as file:
            assert ("sha256" in file.attrs) == (version > 1)
            check_checksum(file)


@each_version
def test_the_space_is_found_by_its_folder(copy, version):
    workspace = Workspace(copy.parents[1])
    assert workspace.known_space(SPACE_ID) == SPACE
    assert [space.id for space in workspace.spaces()] == [SPACE_ID]
    check(workspace.store(SPACE), version)


@each_version
def test_it_can_be_appended_to(copy, version):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    rows = np.eye(8, dtype=np.float32)[:3]
    with FeatureStore(copy, SPACE).writer() as writer:
        writer.add(b"images/new.jpg", FileRecord(1, 2, digest(9), ""), rows, (0, 1, 2))
        writer.add(b"images/bad.jpg", FileRecord(8, 6, digest(1), ""), rows[0])
    store = FeatureStore(copy, SPACE)
    assert store.feature_rows == 8
    assert (store.features([digest(9)], 2)[0] == rows[2]).all()
    assert store.file(b"images/bad.jpg") == FileRecord(8, 6, digest(1), "")
    assert {name: (copy / name).read_bytes() for name in before} == before  # not a byte of what was there
    with h5py.File(store.shards[-1].path) as file:
        assert file.attrs["version"] == FORMAT_VERSION
    again = {name: value for name, value in FILES[version].items() if name != b"images/bad.jpg"}
    assert {name: store.file(name) for name in again} == again
    for number, view in FEATURES[version]:
        assert (
            np.abs(store.features([digest(number)], view)[0] - FEATURES[version][number, view]).max() < 2e-4
        )


@each_version
def test_a_store_of_a_later_version_is_refused(copy, version):
    with h5py.File(copy / "shard-00000001.h5", "r+") as file:
        file.attrs["version"] = FORMAT_VERSION + 1
    with pytest.raises(StoreError, match=r"shard-00000001\.h5 .*newer deltaoe"):
        FeatureStore(copy, SPACE)


def test_the_script_writes_what_lies_here(tmp_path):
    """Whoever changes what is written must raise the version, and keep what the old one wrote."""
    MAKE["make"](tmp_path / SPACE_ID)
    mine, theirs = contents(tmp_path / SPACE_ID), contents(folder_of(FORMAT_VERSION))
    assert mine == theirs


def contents(folder: Path) -> dict[str, object]:
    """Everything in a store, as plain values; HDF5 itself may lay it out in another way tomorrow."""
    found: dict[str, object] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix != ".h5":
            found[path.name] = path.read_text()
            continue
        with h5py.File(path) as file:
            found[path.name] = dict(file.attrs)

            def take(name: str, item: object, at: str = path.name) -> None:
                if isinstance(item, h5py.Dataset):
                    found[f"{at}/{name}"] = item.dtype.str, item[()].tolist()

            file.visititems(take)
    return found
