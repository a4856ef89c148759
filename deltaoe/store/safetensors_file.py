"""Reading safetensors files with NumPy alone, as untrusted: where safetensors is not installed, and where it is.

The format is published (https://github.com/huggingface/safetensors, "Format"): eight bytes with the length of a header
in JSON, the header, and the bytes of all tensors without gaps, little-endian. Nothing in a file is executed, and no
array is larger than the file.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.errors import StoreError

_MOST_HEADER = 100_000_000  # bytes, as in safetensors itself
_METADATA = "__metadata__"
_TYPES = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
}


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, npt.NDArray[Any]]]:
    """The metadata and the tensors of a file, by name.

    Raises:
        StoreError: it is no safetensors file, or has a type that NumPy has not.
        OSError, ValueError, KeyError, TypeError, RecursionError: it cannot be read; damage may raise any of these.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        start = 8 + length
        if not 0 < length <= _MOST_HEADER or start > size:
            raise StoreError("it is no safetensors file")
        header = json.loads(file.read(length), object_pairs_hook=_without_repetitions)
        if not isinstance(header, dict):
            raise StoreError("it is no safetensors file")
        metadata = header.pop(_METADATA, {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise StoreError("its metadata are no texts by name")
        arrays, end = {}, 0
        for name, entry in sorted(header.items(), key=lambda item: tuple(item[1]["data_offsets"])):
            if entry["dtype"] not in _TYPES:
                raise StoreError(
                    f"its {name[:80]} has the type {str(entry['dtype'])[:20]}, which NumPy has not"
                )
            dtype, shape, (first, last) = (
                np.dtype(_TYPES[entry["dtype"]]),
                entry["shape"],
                entry["data_offsets"],
            )
            if not all(type(number) is int and number >= 0 for number in (*shape, first, last)):
                raise StoreError(f"its {name[:80]} has no usable shape or place")
            count = math.prod(shape)
            if first != end or last - first != count * dtype.itemsize or start + last > size:
                raise StoreError(f"the bytes of its {name[:80]} do not fit its shape")
            arrays[name] = np.fromfile(file, dtype, count).reshape(shape)
            end = last
        if start + end != size:
            raise StoreError("it has bytes that belong to no tensor")
    return metadata, arrays


def _without_repetitions(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise StoreError("its header names something twice")
    return found
