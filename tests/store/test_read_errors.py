"""Why a file of the store cannot be read: in use, not readable as things are, or damaged; only the last is repaired."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import h5py
import pytest
from samples import make_space
from stored import DIM, fill

from deltaoe.errors import DamagedError, InUseError, StoreError, UnreadableError
from deltaoe.store import hdf5
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.maintenance import verify
from deltaoe.store.workspace import Workspace

SPACE = make_space(DIM)


@pytest.fixture
def place(tmp_path):
    """A workspace with two shards of five images each."""
    workspace = Workspace(tmp_path / ".deltaoe")
    for start in (0, 5):
        fill(workspace.store(SPACE), range(start, start + 5))
    return workspace


def shard(place, number=1):
    return place.folder / "features" / SPACE.id / f"shard-{number:08d}.h5"


def contents(place):
    return {
        path: path.read_bytes() for path in place.folder.rglob("*") if path.is_file() and path.suffix == ".h5"
    }


REFUSALS = {
    errno.EACCES: (UnreadableError, "permission denied", "permissions"),
    errno.EIO: (UnreadableError, "input/output error", "check the disk"),
    errno.EMFILE: (UnreadableError, "too many open files", "ulimit -n"),
    errno.ENOMEM: (UnreadableError, "cannot allocate memory", "free some memory"),
    errno.ENOLCK: (UnreadableError, "no locks available", "HDF5_USE_FILE_LOCKING"),
    errno.ENOSYS: (UnreadableError, "function not implemented", "HDF5_USE_FILE_LOCKING"),
    errno.ESTALE: (UnreadableError, "stale file handle", "run the command again"),
    errno.EINTR: (UnreadableError, "interrupted system call", "run it again"),
    errno.EAGAIN: (InUseError, "another program has it open and locked", "wait for that program"),
    errno.EBUSY: (InUseError, "another program has it open and locked", "wait for that program"),
}


@pytest.mark.parametrize("inside", [False, True], ids=["opening", "reading"])
@pytest.mark.parametrize("code", REFUSALS, ids=errno.errorcode.get)
def test_what_the_system_refuses_is_never_set_aside(place, monkeypatch, code, inside):
    kind, says, hint = REFUSALS[code]
    before = contents(place)
    real = h5py.File

    def refusing(path, *arguments, **more):
        raise OSError(code, f"Unable to open file (errno = {code}, error message = '?')")

    def refused(self, *arguments):
        raise OSError(code, f"Can't read data (file read failed: errno = {code})")

    with monkeypatch.context() as patch:
        patch.setattr(hdf5.h5py, "File", refusing) if not inside else patch.setattr(
            h5py.Dataset, "__getitem__", refused
        )
        with pytest.raises(kind, match=rf"cannot read .*shard-00000001\.h5 as .*{says}") as caught:
            FeatureStore(shard(place).parent, SPACE)
        assert hint in caught.value.hint and "--repair" not in caught.value.hint
        done = verify(place, repair=True)
    assert h5py.File is real
    assert (
        not done.damage
        and not done.aside
        and [path for path, _ in done.unreadable]
        == [
            shard(place, 1),
            shard(place, 2),
        ]
    )
    assert all(isinstance(error, kind) for _, error in done.unreadable)
    assert contents(place) == before
    assert not verify(place).unreadable


def test_too_little_memory_is_no_damage(place, monkeypatch):
    def refused(self, *arguments):
        raise MemoryError("Unable to allocate 7 TiB")

    with monkeypatch.context() as patch:
        patch.setattr(h5py.Dataset, "__getitem__", refused)
        done = verify(place, repair=True)
    assert not done.damage and len(done.unreadable) == 2
    assert all("not enough memory" in str(error) for _, error in done.unreadable)


def test_a_data_set_that_declares_more_than_the_file_holds_is_damage(place):
    with h5py.File(shard(place), "r+") as file:
        del file["features/digest"]
        file.create_dataset("features/digest", (1 << 50, 32), dtype="u1")
    with pytest.raises(DamagedError):
        FeatureStore(shard(place).parent, SPACE)
    assert verify(place, repair=True).aside == [shard(place).parent / "damaged" / "shard-00000001.h5"]


@pytest.mark.skipif(os.name == "nt", reason="files that are open cannot be opened again there")
def test_reading_takes_no_lock_and_respects_who_asks_for_one(place):
    code = "import h5py, sys; file = h5py.File(sys.argv[1], 'r+'); print(flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(shard(place))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None and holder.stdout is not None
    try:
        holder.stdout.readline()
        done = verify(place, repair=True)
        assert (done.rows, done.damage, done.unreadable) == (10, [], [])
        # HDF5 reads this variable once per process.
        code = (
            "import sys; from pathlib import Path; from deltaoe.store.workspace import Workspace as W; "
            "from deltaoe.store.maintenance import verify; done = verify(W(Path(sys.argv[1])), repair=True); "
            "print(len(done.damage), len(done.aside), [type(e).__name__ for _, e in done.unreadable])"
        )
        told = subprocess.run(
            [sys.executable, "-c", code, str(place.folder)],
            env={**os.environ, "HDF5_USE_FILE_LOCKING": "TRUE"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout.strip() == "0 0 ['InUseError']"
    finally:
        holder.communicate(b"")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("what", ["pipe", "folder"])
@pytest.mark.parametrize("name", ["features/*/shard-00000001.h5", "features/*/space.json", "workspace.json"])
def test_what_is_no_file_is_never_waited_for_and_is_moved_away(place, what, name):
    place.remember(detector="x")
    (path,) = place.folder.glob(name)
    path.unlink()
    os.mkfifo(path) if what == "pipe" else path.mkdir()
    with pytest.raises(DamagedError, match="stands in its place"):
        place.state()
        [place.store(space) for space in place.spaces()]
    done = verify(place, repair=True)
    assert done.aside == [path.parent / "damaged" / path.name]
    left = verify(place)
    assert not left.damage and left.rows == (5 if "shard" in name else 10)


def test_a_link_that_leads_nowhere_is_left_alone(place, tmp_path):
    shard(place).rename(tmp_path / "elsewhere.h5")
    shard(place).symlink_to(tmp_path / "unplugged.h5")
    done = verify(place, repair=True)
    ((path, error),) = done.unreadable
    assert path == shard(place) and "a link that leads nowhere" in str(error) and not done.aside
    assert shard(place).is_symlink()


def test_a_folder_that_cannot_be_listed_does_not_look_empty(place, monkeypatch):
    def refused(path):
        raise PermissionError(errno.EACCES, "denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", refused)
        with pytest.raises(UnreadableError, match=r"cannot list .*features"):
            place.spaces()
        with pytest.raises(UnreadableError, match="cannot list"):
            FeatureStore(shard(place).parent, SPACE)
        done = verify(place, repair=True)
        assert done.unreadable and not done.damage and not done.aside
    assert verify(place).rows == 10


def test_every_kind_is_an_error_of_the_store():
    for kind in (UnreadableError, InUseError, DamagedError):
        assert issubclass(kind, StoreError)
    assert not issubclass(DamagedError, UnreadableError)
