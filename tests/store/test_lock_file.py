"""Locks on disks without locks: a lock file that one process creates, keeps alive, and that no dead process holds."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
import warnings

import pytest

from deltaoe.errors import ConfigError, InUseError, StoreWarning, UnreadableError
from deltaoe.store import lock_file as module
from deltaoe.store.lock import in_turn, writing
from deltaoe.store.lock_file import NAME, STALE_SECONDS, lock_file

fcntl = pytest.importorskip("fcntl")

HOLD = """
import sys, time
from pathlib import Path
from deltaoe.store.lock import writing
with writing(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture(params=[errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS], ids=errno.errorcode.get)
def no_locks(monkeypatch, request):
    """A file system without locks."""

    def refused(descriptor, operation):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refused)


def holder(folder, **env):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **env},
    )
    assert process.stdout is not None and process.stdout.readline().strip() == b"held"
    return process


def test_without_locks_a_lock_file_is_used_and_said(folder, no_locks):
    with pytest.warns(StoreWarning, match="has no file locks .*lock files are used instead"), writing(folder):
        assert (folder / NAME).exists()
        with pytest.raises(InUseError, match=r"is writing to .*process \d+ on ") as caught, writing(folder):
            pass
        assert f"delete {folder / NAME}" in caught.value.hint
    assert not (folder / NAME).exists()


def test_the_variable_decides(folder, monkeypatch):
    monkeypatch.setenv("DELTAOE_LOCKS", "file")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with writing(folder):
            assert (folder / NAME).exists()
    monkeypatch.setenv("DELTAOE_LOCKS", "none")
    with pytest.raises(ConfigError, match="DELTAOE_LOCKS is 'none'"), writing(folder):
        pass
    monkeypatch.setenv("DELTAOE_LOCKS", "")
    with writing(folder):
        assert not (folder / NAME).exists()


def test_who_wants_the_systems_locks_is_refused_without_them(folder, no_locks, monkeypatch):
    monkeypatch.setenv("DELTAOE_LOCKS", "system")
    with pytest.raises(UnreadableError, match="cannot lock") as caught, writing(folder):
        pass
    assert "DELTAOE_LOCKS" in caught.value.hint


@pytest.mark.parametrize("mine", ["file", "system"])
def test_a_live_process_keeps_it_and_a_killed_one_does_not(folder, monkeypatch, mine):
    monkeypatch.setenv("DELTAOE_LOCKS", mine)
    process = holder(folder, DELTAOE_LOCKS="file")
    with pytest.raises(InUseError), writing(folder):
        pass
    process.kill()
    process.communicate()
    if not os.path.exists("/proc/self/ns/pid"):
        pytest.skip("whether a process is gone cannot be told here")
    assert (folder / NAME).exists()
    with writing(folder):
        pass
    assert not (folder / NAME).exists()


def left(folder, age, **changes):
    """A lock file that was last touched ``age`` seconds ago, by default by another machine's process."""
    folder.mkdir(exist_ok=True)
    said = {"token": "t", "machine": "another", "process": "1@1"} | changes
    (folder / NAME).write_text(json.dumps(said))
    os.utime(folder / NAME, (time.time() - age,) * 2)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"token": 1}', "\0" * 100, "x" * 10_000])
def test_one_that_names_nobody_counts_until_it_is_old(folder, text):
    left(folder, 0)
    (folder / NAME).write_text(text)
    with pytest.raises(InUseError), lock_file(folder, 0):
        pass
    os.utime(folder / NAME, (time.time() - 2 * STALE_SECONDS,) * 2)
    with lock_file(folder, 0):
        pass


def test_of_another_machine_only_time_tells(folder):
    left(folder, STALE_SECONDS / 2)
    with pytest.raises(InUseError), lock_file(folder, 0):
        pass
    left(folder, 2 * STALE_SECONDS)
    with lock_file(folder, 0):
        pass


def test_of_this_machine_a_live_process_keeps_it_however_old(folder):
    if not os.path.exists("/proc/self/ns/pid"):
        pytest.skip("whether a process is gone cannot be told here")
    mine = {"machine": module._machine(), "process": module._process(os.getpid())}
    left(folder, 100 * STALE_SECONDS, **mine)
    with pytest.raises(InUseError), lock_file(folder, 0):
        pass
    number = mine["process"].partition("@")[0]
    left(folder, 0, machine=mine["machine"], process=f"{number}@1")  # an earlier process of this number
    with lock_file(folder, 0):
        pass


def test_it_is_kept_alive(folder, monkeypatch):
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.05)
    folder.mkdir()
    with lock_file(folder, 0):
        os.utime(folder / NAME, (0, 0))
        end = time.monotonic() + 30
        while (folder / NAME).stat().st_mtime == 0 and time.monotonic() < end:
            time.sleep(0.02)
        assert (folder / NAME).stat().st_mtime > 0


def test_one_that_somebody_else_has_taken_is_not_removed(folder):
    folder.mkdir()
    with lock_file(folder, 0):
        left(folder, 0)
    assert (folder / NAME).exists()


@pytest.mark.parametrize("dead", [False, True], ids=["free", "left by a dead process"])
def test_only_one_of_many_has_it(folder, monkeypatch, dead):
    monkeypatch.setenv("DELTAOE_LOCKS", "file")
    folder.mkdir()
    inside, most, errors = [0], [0], []

    def work():
        try:
            for _ in range(5):
                with in_turn(folder):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    time.sleep(0.002)
                    inside[0] -= 1
                if dead:
                    time.sleep(0.001)
        except BaseException as cause:
            errors.append(cause)

    if dead:
        left(folder, 2 * STALE_SECONDS)
    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and most == [1]
