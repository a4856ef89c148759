"""Functions for tests of decoding, which other processes must be able to import; what they do, a file's bytes say."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from deltaoe.data.images import ImageError


class Decoder:
    """Turns the first word of a file, a number, into pixels; other words do harm, or tell what the process is like.

    Args:
        log: a file that gets a line per call as it begins, and one as it ends: ``begin <bytes>``, ``end <bytes>``.
        edge: H and W of the pixels.
    """

    def __init__(self, log: Path, edge: int = 2) -> None:
        self.log, self.edge, self.parent = log, edge, os.getpid()

    def __call__(self, data: bytes, digest: bytes, views: tuple[int, ...]) -> np.ndarray:
        self._note("begin", data)
        value = self._value(data.decode().split())
        self._note("end", data)
        return np.stack([pixels_of(value + view, self.edge) for view in views])

    def _value(self, words: list[str]) -> int:
        if words[0] in DEADLY:
            assert os.getpid() != self.parent, "a deadly file must not be decoded in the caller's own process"
            DEADLY[words[0]]()
        if words[0] == "broken":
            raise ImageError(" ".join(words[1:]))
        if words[0] == "odd":
            raise ZeroDivisionError("a bug of ours")
        if words[0] == "memory":
            raise MemoryError
        if words[0] == "slow":
            time.sleep(float(words[1]))
            return 0
        if words[0] == "sleepy":  # but for the first time
            again = self.log.read_text().count("begin sleepy") > 1
            time.sleep(0 if again else 60)
            return 0
        if words[0] == "pid":
            return os.getpid()
        if words[0] == "prints":
            os.write(1, b"libtiff: odd directory\n")
            return 1
        if words[0] == "loaded":
            return sum(2**bit for bit, name in enumerate(words[1:]) if name in sys.modules)
        return int(words[0])

    def _note(self, what: str, data: bytes) -> None:
        with self.log.open("ab", buffering=0) as file:
            file.write(what.encode() + b" " + data + b"\n")


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _exit() -> None:
    os._exit(3)


DEADLY = {"kill": _kill, "exit": _exit, "segv": faulthandler._sigsegv}


def pixels_of(value: int, edge: int = 2) -> np.ndarray:
    """(edge, edge, 3) pixels that are a number below 2^24."""
    return np.broadcast_to(np.array([value >> 16, value >> 8 & 255, value & 255], np.uint8), (edge, edge, 3))


def number_in(pixels: np.ndarray) -> int:
    """The inverse of ``pixels_of``."""
    red, green, blue = map(int, pixels[0, 0])
    return (red << 16) + (green << 8) + blue
