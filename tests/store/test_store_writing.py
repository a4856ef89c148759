"""Writing to the store: whatever stops a writer, readers see whole shards and nothing finished is lost."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from samples import digest, digests, make_space, unit_rows

from deltaoe.errors import StoreError
from deltaoe.store import feature_store as features_module
from deltaoe.store.atomic import TEMPORARY_PREFIX
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.store_index import FileRecord

DIM = 16
SUPPORT = Path(__file__).parents[1] / "support"

WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from samples import digest, make_space, unit_rows
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.store_index import FileRecord
rows = unit_rows(200, 16)
with FeatureStore(Path(sys.argv[1]), make_space(16)).writer() as writer:
    print("writing", flush=True)
    for shard in range(int(sys.argv[2])):
        for i, row in enumerate(rows):
            writer.add(b"%d/%d.png" % (shard, i), FileRecord(1, 2, digest(1000 * shard + i), ""), row)
        writer.flush()
    if shard == 0:
        time.sleep(600)
"""


def add(writer, numbers) -> None:
    for i in numbers:
        writer.add(b"%d.png" % i, FileRecord(1, 2, digest(i), ""), unit_rows(1, DIM, seed=i)[0])


def contents(folder: Path) -> dict[str, bytes]:
    """All files but those that say who is writing."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.stem != "writer"}


@pytest.fixture
def store(tmp_path):
    store = FeatureStore(tmp_path / "f", make_space(DIM))
    with store.writer() as writer:
        add(writer, range(3))
    return store


# A step fails

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
STEPS = {
    "make the temporary file": (Path, "touch"),
    "start HDF5": (h5py, "File"),
    "write an array": (h5py.Group, "create_dataset"),
    "write the bytes": (Path, "write_bytes"),
    "sync": (os, "fsync"),
    "rename": (os, "replace"),
}


@pytest.mark.parametrize("error", [NO_SPACE, KeyboardInterrupt()], ids=["disk full", "Ctrl-C"])
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS.keys())
def test_a_failed_flush_loses_nothing_and_leaves_nothing(store, monkeypatch, step, error):
    def fail(*arguments, **options):
        raise error

    before = contents(store.folder)
    with store.writer() as writer:
        add(writer, range(3, 6))
        with monkeypatch.context() as patch:
            patch.setattr(*step, fail)
            with pytest.raises(StoreError if error is NO_SPACE else KeyboardInterrupt) as caught:
                writer.flush()
        if error is NO_SPACE:
            assert "no space left on device" in str(caught.value)
            assert caught.value.hint
        assert contents(store.folder) == before
        assert writer.pending == 3
        assert digest(4) not in store
    again = FeatureStore(store.folder, store.space)
    assert len(again) == len(store) == 6
    assert again.features([digest(4)]).shape == (1, DIM)


def test_a_folder_that_fails_to_sync_after_the_rename(store, monkeypatch):
    """The shard is there already; writing it again must not lose it or count it twice."""
    real = os.fsync

    def fsync(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    with store.writer() as writer:
        add(writer, range(3, 6))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            with pytest.raises(StoreError, match="input/output error"):
                writer.flush()
        assert writer.pending == 3
    again = FeatureStore(store.folder, store.space)
    assert len(again) == 6
    assert len(list(store.folder.glob("shard-*"))) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_was_added_is_written_when_the_work_is_interrupted(store, error):
    with pytest.raises(error), store.writer() as writer:
        add(writer, range(3, 5))
        raise error
    assert len(FeatureStore(store.folder, store.space)) == 5


@pytest.mark.skipif(os.name == "nt", reason="no such limits there")
@pytest.mark.parametrize("limit", [2000, 20_000, 100_000])
def test_a_full_disk_in_earnest(tmp_path, limit):
    """HDF5 itself crashes the process when a write fails; a limit on file size stands for the full disk."""
    code = (
        f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        + WRITER.replace("200, 16", "5000, 16")
    )
    command = [sys.executable, "-c", code, tmp_path / "f", "1", SUPPORT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "StoreError: cannot write" in done.stderr
    assert "file too large" in done.stderr
    left = {path.name for path in (tmp_path / "f").iterdir()}
    assert left == {"writer.lock", "space.json"}


# Killed


@pytest.mark.skipif(os.name == "nt", reason="no such signal there")
@pytest.mark.parametrize("delay", [0.02, 0.11, 0.23])
def test_a_killed_writer_leaves_whole_shards(tmp_path, delay):
    command = [sys.executable, "-c", WRITER, tmp_path / "f", "100000", SUPPORT]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"writing\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
    store = FeatureStore(tmp_path / "f", make_space(DIM))
    shards = len(list(store.folder.glob("shard-*.h5")))
    assert len(store) == 200 * shards
    assert len(list(store.folder.glob(f"{TEMPORARY_PREFIX}*"))) <= 1
    rows = unit_rows(200, DIM)
    for shard in range(0, shards, max(1, shards // 5)):
        found = store.features([digest(shard * 1000 + i) for i in range(200)])
        assert np.abs(found - rows).max() < 2**-11
    with store.writer() as writer:  # its lock died with it
        add(writer, [999_999])
    assert not list(store.folder.glob(f"{TEMPORARY_PREFIX}*"))
    assert len(FeatureStore(store.folder, store.space)) == 200 * shards + 1


def test_leftovers_of_a_killed_writer_go(store):
    leftover = store.folder / f"{TEMPORARY_PREFIX}123-abc.h5"
    leftover.write_bytes(b"half a shard")
    assert len(FeatureStore(store.folder, store.space)) == 3
    assert leftover.exists()  # a reader touches nothing
    with store.writer():
        pass
    assert not leftover.exists()


# Two writers


def test_a_second_writer_is_refused_and_the_first_goes_on(store):
    second = FeatureStore(store.folder, store.space)
    with store.writer() as writer:
        add(writer, [10])
        with pytest.raises(StoreError, match="another deltaoe process is writing") as caught, second.writer():
            pytest.fail("two writers")
        assert caught.value.hint
        writer.flush()
        add(writer, [11])
    with second.writer() as writer:
        add(writer, [12])
    assert len(FeatureStore(store.folder, store.space)) == 6


@pytest.mark.skipif(os.name == "nt", reason="no such signal there")
def test_a_writer_in_another_process_is_named_and_its_death_frees_the_lock(tmp_path):
    command = [sys.executable, "-c", WRITER, tmp_path / "f", "1", SUPPORT]
    note, leftover = tmp_path / "f" / "writer.json", tmp_path / "f" / f"{TEMPORARY_PREFIX}77-ab.h5"
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"writing\n"
        store = FeatureStore(tmp_path / "f", make_space(DIM))
        host = re.escape(platform.node())
        owner = rf"writing to .*f \(process {process.pid} on {host}, for \d+ seconds\)"
        with pytest.raises(StoreError, match=owner) as caught, store.writer():
            pytest.fail("two writers")
        assert "wait for it, or stop it" in caught.value.hint
        leftover.write_bytes(b"half a shard")
        process.send_signal(signal.SIGKILL)
    assert json.loads(note.read_text())["pid"] == process.pid  # it had no time to tidy up
    with store.writer() as writer:
        assert not leftover.exists()
        assert json.loads(note.read_text())["pid"] == os.getpid()
        add(writer, [999_999])
    assert not note.exists()
    assert digest(999_999) in FeatureStore(store.folder, store.space)


def test_how_long_the_other_has_been_writing(store):
    with store.writer():
        note = store.folder / "writer.json"
        owner = json.loads(note.read_text())
        assert owner["pid"] == os.getpid()
        assert abs(owner["since"] - time.time()) < 60
        note.write_text(json.dumps({"pid": 5, "host": "h", "since": time.time() - 7 * 3600 - 20}))
        with pytest.raises(StoreError, match=r"\(process 5 on h, for 420 minutes\)"), store.writer():
            pytest.fail("two writers")
        note.write_text(json.dumps({"pid": 5, "host": "h", "since": time.time() + 3600}))
        with pytest.raises(StoreError, match="for 0 seconds"), store.writer():  # a clock that was set back
            pytest.fail("two writers")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff",
        b'{"pid": 1, "host": "h", "since": "x"}',
        b'{"pid": [], "host": "h", "since": 1}',
        b'{"pid": Infinity, "host": "h", "since": 1}',
        b"[" * 100_000,
        None,
    ],
)
def test_a_note_that_says_nothing_is_no_obstacle(store, content):
    note = store.folder / "writer.json"
    with store.writer():
        note.unlink()
        if content is not None:
            note.write_bytes(content)
        with pytest.raises(StoreError, match=r"another deltaoe process is writing to \S+$"), store.writer():
            pytest.fail("two writers")
    with store.writer() as writer:  # nor is one that was left behind
        add(writer, [10])
    assert not note.exists()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused(store, bad):
    before = contents(store.folder)
    rows = unit_rows(2, DIM)
    rows[1, 3] = bad
    with pytest.raises(StoreError, match="not finite") as caught, store.writer() as writer:
        writer.add(b"a.png", FileRecord(1, 2, digest(50), ""), rows[0])
        writer.add(b"b.png", FileRecord(1, 2, digest(51), ""), rows[1])
    assert "--precision fp32" in caught.value.hint
    assert contents(store.folder) == before
    again = FeatureStore(store.folder, store.space)
    assert again.has(digests([50, 51])).tolist() == [False, False]
    assert again.file(b"b.png") is None
    with again.writer() as writer:
        add(writer, [50])


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_was_made_read_only(store):
    store.folder.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="cannot write"), store.writer():
            pytest.fail("nowhere to write")
    finally:
        store.folder.chmod(0o700)


def test_a_writer_sees_what_another_finished_before_it(store):
    """Between reading the folder and taking the lock, somebody else may have written."""
    late = FeatureStore(store.folder, store.space)
    with store.writer() as writer:
        add(writer, [3, 4])
    assert len(late) == 3
    with late.writer() as writer:
        add(writer, [5])
    assert len(late) == len(FeatureStore(store.folder, store.space)) == 6
    assert sorted(path.name for path in store.folder.glob("shard-*")) == [
        f"shard-{i:08d}.h5" for i in (1, 2, 3)
    ]


def test_a_reader_needs_no_lock(store):
    with store.writer() as writer:
        add(writer, [3])
        assert len(FeatureStore(store.folder, store.space)) == 3
        writer.flush()
        assert len(FeatureStore(store.folder, store.space)) == 4


def test_the_lock_is_released_after_an_error(store, monkeypatch):
    def fail(*arguments):
        raise StoreError("no")

    monkeypatch.setattr(features_module, "write_json", fail)
    (store.folder / "space.json").unlink()
    with pytest.raises(StoreError, match="no"), store.writer():
        pytest.fail("nothing is prepared")
    monkeypatch.undo()
    with store.writer() as writer:
        add(writer, [3])
    assert (store.folder / "space.json").is_file()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    store = FeatureStore(tmp_path / "file" / "f", make_space(DIM))
    with pytest.raises(StoreError, match="cannot write"), store.writer():
        pytest.fail("nowhere to write")
