"""Decoding under hardship: tight bounds that stall nothing, processes killed again and again, an odd Python."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from deadly import Decoder, number_in

from deltaoe.extraction import decoding, decoding_window, reading
from deltaoe.extraction.decoding import pictures
from deltaoe.extraction.decoding_window import Picture
from deltaoe.images.decode import read_bytes

needs_proc = pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc to find processes")
both_ways = pytest.mark.parametrize("workers", [0, 2], ids=["threads", "processes"])


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """What hangs is an error, and an interrupted generator still closes; again and again, should that hang too."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def late(number: int, frame: object) -> None:
        raise TimeoutError("this test hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 120, 10)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


class Files:
    """A folder of files, and what was read and decoded of them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.decoder = Decoder(folder / "log")
        self.paths: list[str] = []
        self.read = 0
        self._folder, self._lock = folder, threading.Lock()
        monkeypatch.setattr(reading, "read_bytes", self._read)

    def _read(self, path: Path) -> bytes:
        with self._lock:
            self.read += 1
        return read_bytes(path)

    def write(self, contents: Sequence[str]) -> None:
        for i, content in enumerate(contents):
            (self._folder / f"{i:04d}").write_text(content)
            self.paths.append(str(self._folder / f"{i:04d}"))

    def noted(self, what: str) -> list[str]:
        """Files whose decoding began, or ended, in that order."""
        if not self.decoder.log.exists():
            return []
        lines = [line.split() for line in self.decoder.log.read_text().splitlines()]
        return [word for kind, word in lines if kind == what]

    def stream(self, *, views: tuple[int, ...] = (0,), workers: int = 2, ahead: int = 32, **rest):
        paths, decoder = self.paths, self.decoder
        return pictures(
            range(len(paths)),
            paths.__getitem__,
            lambda digest: views,
            decoder,
            workers=workers,
            ahead=ahead,
            **rest,
        )


@pytest.fixture
def files(tmp_path, monkeypatch) -> Files:
    return Files(tmp_path, monkeypatch)


def numbers(found: Sequence[Picture]) -> list[int | str]:
    """The number in each picture, or its problem."""
    return [p.problem if p.pixels is None else number_in(p.pixels[0]) for p in found]


def settled(count: Callable[[], int]) -> int:
    """A number, when it has stopped growing."""
    last = -1
    while (now := count()) != last or not now:
        last = now
        time.sleep(0.1)
    return last


# Bounds


@both_ways
@pytest.mark.parametrize("ahead", [1, 3, 20])
def test_exactly_as_many_files_are_read_ahead_as_asked_for(files, workers, ahead):
    files.write([str(i) for i in range(60)])
    most = 0
    for yielded, _ in enumerate(files.stream(workers=workers, ahead=ahead)):
        most = max(most, (settled(lambda: files.read) if yielded < 3 else files.read) - yielded)
    assert files.read == 60
    assert most == ahead


@both_ways
def test_no_more_bytes_wait_to_be_decoded_than_allowed(files, monkeypatch, workers):
    monkeypatch.setattr(decoding_window, "_MAX_FILE_BYTES", 3500)
    files.write([f"{i} gated {'x' * 980}" for i in range(40)])
    early = []

    def open_the_gate() -> None:
        early.append(settled(lambda: files.read))
        files.decoder.gate.touch()

    thread = threading.Thread(target=open_the_gate)
    thread.start()
    found = list(files.stream(workers=workers, ahead=100))
    thread.join()
    assert early == [3]
    assert numbers(found) == list(range(40))


@both_ways
def test_no_more_pixels_wait_for_the_caller_than_allowed(files, monkeypatch, workers):
    files.decoder.edge = 32
    one = 32 * 32 * 3
    monkeypatch.setattr(decoding_window, "_MAX_PIXEL_BYTES", 5 * one)
    monkeypatch.setattr(decoding_window, "_EXPECTED_VIEW_BYTES", one)
    files.write([str(i) for i in range(60)])
    found, most = [], 0
    for picture in files.stream(workers=workers, ahead=100):
        found.append(picture)
        if len(found) < 5:
            most = max(most, settled(lambda: len(files.noted("end"))) - len(found) + 1)
    assert numbers(found) == list(range(60))
    assert 2 <= most <= 5


@both_ways
@pytest.mark.parametrize("bound", ["_MAX_FILE_BYTES", "_MAX_PIXEL_BYTES"])
def test_what_is_larger_than_all_bounds_goes_alone(files, monkeypatch, workers, bound):
    monkeypatch.setattr(decoding_window, bound, 1)
    files.write(["7", "7", "no number", "", *map(str, range(4, 16)), "7"])
    Path(files.paths[3]).unlink()
    found = list(files.stream(workers=workers, views=(0, 1, 2)))
    assert [p.item for p in found] == list(range(17))
    assert [number_in(p.pixels[2]) for p in found[4:16] if p.item != 7] == [
        2 + i for i in range(4, 16) if i != 7
    ]
    assert [p.item for p in found if p.problem] == [2, 3]


@both_ways
def test_a_file_that_grows_after_it_was_listed_upsets_no_account(files, monkeypatch, workers):
    monkeypatch.setattr(decoding_window, "_MAX_FILE_BYTES", 100)
    monkeypatch.setattr(decoding_window, "_size", lambda path: 1)
    files.write([f"{i} {'x' * 70}" for i in range(40)])
    assert numbers(list(files.stream(workers=workers))) == list(range(40))


@both_ways
def test_pixels_are_the_callers_own(files, workers):
    files.write([str(i) for i in range(20)])
    for picture in files.stream(workers=workers):
        picture.pixels[:] = 0  # neither read-only nor anybody else's


# Processes


@needs_proc
def test_a_process_loads_little(files):
    import torch  # noqa: F401 - in this one it is

    files.write(["loaded torch open_clip h5py faiss sklearn scipy deltaoe.extraction.ingest numpy"])
    assert numbers(list(files.stream())) == [2**7]  # NumPy alone


def children() -> set[int]:
    """This process's own children, those that ended and were not waited for included."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdigit()
                and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid()
            ):
                found.add(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


@needs_proc
@pytest.mark.parametrize("whom", ["one", "all"])
def test_killing_processes_again_and_again_loses_nothing_and_blames_nobody(files, whom):
    files.write([str(i) for i in range(240)])
    before, found, killed = children(), [], 0
    for picture in files.stream(ahead=24):
        found.append(picture)
        if picture.item % 40 == 0:
            helpers = sorted(children() - before)
            for pid in helpers if whom == "all" else helpers[:1]:
                os.kill(pid, signal.SIGKILL)
                killed += 1
    assert numbers(found) == list(range(240))
    assert killed >= 6
    assert len(children() - before) <= 1  # which is kept for the next run


@needs_proc
def test_killing_those_that_have_nothing_to_do_too_blames_nobody(files, monkeypatch):
    """As by an administrator: a file whose process was killed must not be tried in one that was killed with it."""
    monkeypatch.setattr(decoding, "_CHUNK_FILES", 1)
    files.write(["sleepy", *map(str, range(1, 8))])
    before = children()

    def kill() -> None:
        while len(files.noted("end")) < 7:
            time.sleep(0.05)
        time.sleep(0.2)  # now only the first file is being decoded
        for pid in children() - before:
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    found = list(files.stream(workers=4))
    killer.join()
    assert numbers(found) == list(range(8))
    assert files.noted("begin").count("sleepy") == 2


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_threads_take_over_at_once_where_python_prints_when_it_starts(files, tmp_path, monkeypatch):
    """As a sitecustomize.py may; what it prints is no answer, and nobody waits for the rest of it."""
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\necho Welcome to Python\nexec '{sys.executable}' \"$@\"\n")
    script.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(script))
    files.write([str(i) for i in range(40)])
    told: list[str] = []
    assert numbers(list(files.stream(notify=told.append))) == list(range(40))
    (sentence,) = told
    assert "prints something when it starts" in sentence
