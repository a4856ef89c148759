"""A decoder that keeps a log, in a module that other processes can import, for test_decoding_hardships.py."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np


class Decoder:
    """Turns a file that is a number into pixels of that number.

    Args:
        log: gets a line per file as its decoding begins, and one as it ends: ``begin 17``, ``end 17``. Files with
            ``gated`` behind their number wait for a file ``gate`` beside it.
        edge: H and W of the pixels.
    """

    def __init__(self, log: Path, edge: int = 2) -> None:
        self.log, self.gate, self.edge = log, log.with_name("gate"), edge

    def __call__(self, data: bytes, digest: bytes, views: tuple[int, ...]) -> np.ndarray:
        word, *rest = data.decode().split()
        self._note("begin", word)
        value = self._value(word, rest)
        self._note("end", word)
        return np.stack([pixels_of(value + view, self.edge) for view in views])

    def _value(self, word: str, rest: list[str]) -> int:
        if word == "sleepy":  # but for the first time
            again = self.log.read_text().count("begin sleepy") > 1
            time.sleep(0 if again else 60)
            return 0
        while rest[:1] == ["gated"] and not self.gate.exists():
            time.sleep(0.02)
        if word == "loaded":
            return sum(2**bit for bit, name in enumerate(rest) if name in sys.modules)
        return int(word)

    def _note(self, what: str, word: str) -> None:
        with self.log.open("ab", buffering=0) as file:
            file.write(f"{what} {word}\n".encode())


def pixels_of(value: int, edge: int) -> np.ndarray:
    """(edge, edge, 3) pixels that are a number below 2^24."""
    return np.broadcast_to(np.array([value >> 16, value >> 8 & 255, value & 255], np.uint8), (edge, edge, 3))


def number_in(pixels: np.ndarray) -> int:
    """The inverse of ``pixels_of``."""
    red, green, blue = map(int, pixels[0, 0])
    return (red << 16) + (green << 8) + blue
