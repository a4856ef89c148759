"""Where the weights of an ONNX file lie: the few fields of its protocol buffers that can name other files.

A tensor may be stored in another file, at a path in the ONNX file. Whoever wrote that could name any file that this
process may read. The field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from deltaoe.errors import DataError

# Kind of message → field number → kind of the message in that field, of those that can hold a tensor.
_FIELDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_DEPTH = 64  # of graphs in attributes of graphs
_KEY, _VALUE = 1, 2  # fields of an entry
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def external_files(path: Path) -> set[str]:
    """The paths in an ONNX file at which tensors are stored; empty if all lie in the file itself.

    Raises:
        DataError: it is no ONNX file.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if not file.seek(0, 2):
            raise DataError("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return set(_locations(data, 0, len(data), "model", 0))


def _locations(data: mmap.mmap, start: int, stop: int, kind: str, depth: int) -> Iterator[str]:
    if depth > _DEPTH:
        raise DataError("its graphs are nested deeper than those of any model")
    key = value = b""
    for number, first, last in _fields(data, start, stop):
        if kind == "entry":
            key = data[first:last] if number == _KEY else key
            value = data[first:last] if number == _VALUE else value
        elif inner := _FIELDS[kind].get(number):
            yield from _locations(data, first, last, inner, depth + 1)
    if kind == "entry" and key == b"location":
        yield value.decode("utf-8", "replace")


def _fields(data: mmap.mmap, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Number, beginning and end of each field of a message that has a length."""
    at = start
    while at < stop:
        tag, at = _varint(data, at, stop)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _varint(data, at, stop)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        elif kind == _BYTES:
            length, at = _varint(data, at, stop)
            if length > stop - at:
                raise DataError("it ends before its content does")
            yield tag >> 3, at, at + length
            at += length
        else:
            raise DataError("it is no ONNX file")
    if at != stop:
        raise DataError("it ends before its content does")


def _varint(data: mmap.mmap, at: int, stop: int) -> tuple[int, int]:
    value = shift = 0
    while at < stop and shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise DataError("it ends before its content does")
