"""Runs of the decoding over files whose words say what a decoder does with them: see ``decoders.py``."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

import decoders
import pytest
from decoders import value_of

from deltaoe.extraction.decoding import pictures
from deltaoe.extraction.decoding_window import Picture
from deltaoe.images.walk import Observed, observed

PATIENCE = 120  # seconds, on a busy machine; a test that reaches it has found a hang

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to look")
either = pytest.mark.parametrize("workers", [0, 1], ids=["threads", "processes"])


class Files:
    """Files of given words, and what a run asked for and said."""

    def __init__(self, folder: Path, words: Sequence[str]) -> None:
        self.paths = [folder / f"{i:04d}.jpg" for i in range(len(words))]
        for i, (path, word) in enumerate(zip(self.paths, words, strict=True)):
            path.write_text(word if " " in word else f"{word} {i}", encoding="utf-8")
        self.asked: list[int] = []
        self.said: list[str] = []
        self.known: set[bytes] = set()

    def path(self, i: int) -> str:
        self.asked.append(i)
        return str(self.paths[i])

    def digest(self, i: int) -> bytes:
        return hashlib.sha256(self.paths[i].read_bytes()).digest()

    def seen(self, i: int) -> Observed:
        return observed(os.stat(self.paths[i]))

    def wanted(self, digest: bytes) -> tuple[int, ...]:
        return () if digest in self.known else (0,)

    def stream(self, *, workers: int, ahead: int = 16, decode=decoders.decode, wanted=None, seconds=None):
        return pictures(
            range(len(self.paths)),
            self.path,
            wanted or self.wanted,
            decode,
            workers=workers,
            ahead=ahead,
            seconds=seconds,
            notify=self.said.append,
        )

    def run(self, **options) -> list[Picture]:
        """All pictures; a hang is a failure."""
        result = in_time(lambda: list(self.stream(**options)))
        assert [picture.item for picture in result] == list(range(len(self.paths)))
        assert not [t.name for t in threading.enumerate() if t.name.startswith("deltaoe-")]
        return result


def in_time(work):
    done: Future = Future()

    def run():
        try:
            done.set_result(work())
        except Exception as cause:
            done.set_exception(cause)

    threading.Thread(target=run, daemon=True).start()  # pytest could not end beside another that hangs
    return done.result(PATIENCE)


def children(parent: int | None = None) -> list[int]:
    """Processes that decode, as the system lists them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, ppid = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if (
            int(ppid) == (parent or os.getpid())
            and state != "Z"
            and b"deltaoe.extraction.decoder_processes" in command
        ):
            found.append(int(folder.name))
    return found


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def assert_good(result: Sequence[Picture], numbers: Sequence[int]) -> None:
    for i in numbers:
        picture = result[i]
        assert (picture.problem, picture.lasting, picture.views) == ("", False, (0,))
        assert value_of(picture.pixels) == i


def crashed(how: str) -> tuple[str, bool]:
    return f"the decoder crashed on this file ({how})", True


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
