"""Decoding jobs, their outcomes, and the messages in which they go to a decoder process and back.

A message is a head, JSON with its length in 4 bytes (little-endian) in front, followed by the raw bytes it announces.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from io import BufferedReader, BufferedWriter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from deltaoe.errors import first_line
from deltaoe.images.decode import ImageError, MissingSupportError
from deltaoe.images.geometry import Views

if TYPE_CHECKING:
    from deltaoe.clip.batching import Pixels

# From (bytes of a file, their SHA-256, indices of V views) to pixels (V, H, W, 3), perhaps with notes; or ImageError.
Decode = Callable[[bytes, bytes, tuple[int, ...]], NDArray[np.uint8] | Views]

_LONGEST_HEAD = 2**24  # bytes; four letters of text, read as a length, are more


class Job(Protocol):
    """A file to decode: its bytes, their SHA-256, and the indices of the views to make."""

    data: bytes
    digest: bytes
    views: tuple[int, ...]


class Outcome(NamedTuple):
    """The result of a job.

    Attributes:
        pixels: (V, H, W, 3) uint8, an array or a tensor on a device; None where there is a problem, or nothing was to
            be decoded.
        problem: why the file is no usable picture; empty otherwise.
        lasting: whether the problem lies in the bytes, so that another try would fail as well.
        notes: what is to be said of the picture, short phrases.
    """

    pixels: Pixels | None
    problem: str = ""
    lasting: bool = False
    notes: tuple[str, ...] = ()


def try_decode(decode: Decode, data: bytes, digest: bytes, views: tuple[int, ...]) -> Outcome:
    """The outcome of one call of ``decode``; its exceptions become problems.

    Example:
        >>> try_decode(lambda data, digest, views: 1 / 0, b"", b"", (0,)).problem
        'cannot be decoded: ZeroDivisionError: division by zero'
    """
    try:
        found = decode(data, digest, views)
        pixels, notes = found if isinstance(found, Views) else (found, ())
        return Outcome(pixels, notes=notes)
    except ImageError as cause:
        return Outcome(None, str(cause) or "not a usable picture", not isinstance(cause, MissingSupportError))
    except MemoryError:
        return Outcome(None, "too large for this machine's memory")
    except Exception as cause:
        return Outcome(None, f"cannot be decoded: {type(cause).__name__}: {first_line(cause)}")


def ignore_pillow_warnings() -> None:
    """Add a filter for Pillow's warnings, which are about metadata that pixels do not depend on."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def send(stream: BufferedWriter, head: object, *bodies: bytes | memoryview) -> None:
    """Write one message.

    Raises:
        OSError: the other end is closed.
    """
    text = json.dumps(head).encode()
    stream.write(len(text).to_bytes(4, "little") + text)
    for body in bodies:
        stream.write(body)
    stream.flush()


def receive(stream: BufferedReader) -> Any:
    """Read the head of the next message; its bodies are still to be read.

    Raises:
        EOFError: the other end was closed.
        ValueError: what comes is no message.
    """
    length = int.from_bytes(read_exactly(stream, 4), "little")
    if length > _LONGEST_HEAD:
        raise ValueError(f"{length} bytes are too many for a message head")
    return json.loads(read_exactly(stream, length))


def read_exactly(stream: BufferedReader, count: int) -> bytes:
    """Read ``count`` bytes.

    Raises:
        EOFError: the other end was closed before.
    """
    data = stream.read(count)
    if len(data) != count:
        raise EOFError
    return data
