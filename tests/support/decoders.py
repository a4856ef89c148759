"""A decoder that other processes can import: a file's first word says what happens to it (see ``decoded.py``).

The second word tells files apart and is the value of all pixels.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from deltaoe.images.decode import ImageError

SIDE = 2


def decode(data: bytes, digest: bytes, views: tuple[int, ...]) -> np.ndarray:
    word, value, *rest = data.decode().split()
    where = Path(rest[0]) if rest else Path()
    match word:
        case "broken":
            raise ImageError("broken image: on purpose")
        case "wordless":
            raise ImageError
        case "bug":
            raise ZeroDivisionError("a bug\nin two lines")
        case "large":
            raise MemoryError
        case "segv" | "kill" | "abrt":
            os.kill(os.getpid(), getattr(signal, f"SIG{word.upper()}"))
            time.sleep(60)
        case "exit":
            os._exit(3)
        case "once" if not where.exists():
            where.touch()
            os._exit(3)
        case "sleep":
            if rest:
                where.touch()
            time.sleep(600)
        case "slow":
            time.sleep(0.05)
        case "chatty":
            os.write(1, b"a C library says hello\n")
            print("and so does a Python one", flush=True)  # noqa: T201
            warnings.warn_explicit("odd metadata", UserWarning, "Image.py", 1, module="PIL.Image")
        case "torch":
            value = str(int("torch" in sys.modules))
        case "score":
            value = Path("/proc/self/oom_score_adj").read_text()
        case "here":
            value = str(os.getpid())
        case "wide":
            return np.full((len(views), 512, 512, 3), int(value) % 256, np.uint8)
    pixels = np.frombuffer(int(value).to_bytes(4, "little") * 3, np.uint8).reshape(1, 2, 2, 3)
    return np.concatenate([pixels + np.uint8(view) for view in views])


def value_of(pixels: np.ndarray) -> int:
    """The file's second word, from view 0."""
    return int.from_bytes(pixels[0].tobytes()[:4], "little")
