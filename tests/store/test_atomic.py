"""Replacing a file: the old one or the new one, never half of one."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time

import pytest

from deltaoe.errors import StoreError
from deltaoe.store import atomic
from deltaoe.store.atomic import TEMPORARY_PREFIX, replacing, temporary_name, write_bytes, write_json


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_new_content_replaces_old(tmp_path):
    target = tmp_path / "deep" / "er" / "a.txt"
    for text in ("one", "two"):
        with replacing(target) as temporary:
            assert temporary.parent == target.parent
            assert temporary.name.startswith(TEMPORARY_PREFIX)
            assert temporary.suffix == ".txt"
            temporary.write_text(text)
        assert target.read_text() == text
        assert names(target.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError("x"), GeneratorExit])
def test_an_interruption_leaves_the_old_file_alone(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with (
        pytest.raises(type(error) if isinstance(error, Exception) else error),
        replacing(target) as temporary,
    ):
        temporary.write_text("half of the n")
        raise error
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failing_step_leaves_the_old_file_alone(tmp_path, monkeypatch, step, error):
    def fail(*arguments, **options):
        raise error

    target = tmp_path / "a.txt"
    target.write_text("old")
    monkeypatch.setattr(os, step, fail)
    wanted = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else StoreError
    with pytest.raises(wanted) as caught, replacing(target) as temporary:
        temporary.write_text("new")
    if wanted is StoreError:
        assert str(caught.value) == f"cannot write {target}: no space left on device"
        assert caught.value.hint
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_content_and_folder_reach_the_disk_in_this_order(tmp_path, monkeypatch):
    """The data before the rename, the rename before the caller goes on."""
    real, seen = os.fsync, []

    def fsync(descriptor):
        seen.append((os.path.isdir(f"/proc/self/fd/{descriptor}"), (tmp_path / "a.txt").exists()))
        real(descriptor)

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    monkeypatch.setattr(os, "fsync", fsync)
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert seen == [(False, False), (True, True)]


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot write"), replacing(tmp_path / "file" / "a.txt"):
        pytest.fail("nothing to write to")
    with pytest.raises(StoreError, match="cannot write"), replacing(tmp_path / "x" / ("n" * 300) / "a.txt"):
        pytest.fail("nothing to write to")


def test_a_folder_where_the_file_should_be(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(StoreError, match="cannot write"), replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="no such limits there")
def test_a_full_disk_in_earnest(tmp_path):
    """A limit on file size is the nearest thing to a full disk that needs no privileges."""
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from deltaoe.store.atomic import replacing\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "with replacing(Path(sys.argv[1])) as t: t.write_bytes(bytes(5000))\n"
    )
    (tmp_path / "a.bin").write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.bin"], capture_output=True, text=True)
    assert "StoreError: cannot write" in done.stderr
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_json_is_readable_and_ordered(tmp_path):
    write_json(tmp_path / "a.json", {"b": "ö", "a": [1]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"b": "ö", "a": [1]}
    assert text.index('"a"') < text.index('"b"')
    assert text.endswith("}\n")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_what_is_no_file_is_not_replaced(tmp_path):
    """A pipe stands there for somebody; and root could replace /dev/null."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to(os.devnull)
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "null", "folder"):
        before = (tmp_path / name).lstat()
        with pytest.raises(StoreError, match=f"cannot write .*{name}"):
            write_bytes(tmp_path / name, b"x")
        assert (tmp_path / name).lstat().st_ino == before.st_ino
    (tmp_path / "dangling").symlink_to("nowhere")
    write_bytes(tmp_path / "dangling", b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "folder", "null", "pipe"]


# What killed processes leave


@pytest.mark.skipif(os.name == "nt", reason="there it cannot be told whether a process runs")
def test_leftovers_of_killed_processes_are_cleared_and_those_of_running_ones_are_not(tmp_path, monkeypatch):
    name = "from deltaoe.store.atomic import temporary_name; print(temporary_name('.csv'))"
    dead = subprocess.run([sys.executable, "-c", name], capture_output=True, text=True).stdout.strip()
    elsewhere = dead.replace(f"{TEMPORARY_PREFIX}{atomic._here()}", f"{TEMPORARY_PREFIX}0123abcd")
    mine, unknown = temporary_name(".csv"), f"{TEMPORARY_PREFIX}77-ab.h5"
    assert len({dead, elsewhere, mine, unknown}) == 4
    for one in (dead, elsewhere, mine, unknown, "a.csv"):
        (tmp_path / one).write_text("half")
    write_bytes(tmp_path / "scores.csv", b"whole")
    assert set(names(tmp_path)) == {elsewhere, mine, unknown, "a.csv", "scores.csv"}
    monkeypatch.setattr(atomic, "_cleared", set())
    tomorrow = time.time() + 25 * 3600
    monkeypatch.setattr(atomic.time, "time", lambda: tomorrow)
    write_bytes(tmp_path / "scores.csv", b"whole")
    assert set(names(tmp_path)) == {"a.csv", "scores.csv"}
