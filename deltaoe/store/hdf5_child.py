"""The program of the child process that reads HDF5 files of others: see :mod:`deltaoe.store.foreign_hdf5`.

It answers each line of its standard input with messages: a line of JSON, followed by as many bytes as its ``bytes``
say. It imports h5py and NumPy, and nothing of this package but what says which datasets may be read.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sys
from typing import Any

import h5py
import numpy as np

from deltaoe.store.self_contained import MOST_ITEMS, reason_against

MEMORY_BYTES = 4 << 30
_ORPHAN_SECONDS = 120  # without progress; the calling process gives up earlier, unless it was killed
_BLOCK_BYTES = 8 << 20
_BLOCK_ROWS = 4096
_MAX_ATTRIBUTES = 100
_MAX_ROW_BYTES = 1 << 20
_MAX_TEXT_BYTES = 1 << 16  # of one name; no file system has longer paths


def serve() -> None:
    """Answer requests until the input ends: first the path of a file, then names of datasets at its root."""
    _limit_memory()
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints shall not end up among the answers
    _send(answers, {"ready": True})
    file = None
    for line in requests:
        request = json.loads(line)
        _set_alarm(_ORPHAN_SECONDS)
        try:
            if file is None:
                file = h5py.File(os.fsencode(request), "r", locking=False)
                _send(answers, {"attributes": _attributes(file), "datasets": _datasets(file)})
            else:
                _send_rows(answers, file, request)
        except MemoryError:
            _send(answers, {"error": f"it takes more than {MEMORY_BYTES >> 30} GiB of memory to read"})
        except Exception as cause:  # of libhdf5 and h5py, of any kind
            _send(answers, {"error": " ".join(f"{cause}".split())[:300] or type(cause).__name__})


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    for what, limit in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(OSError, ValueError):
            hard = resource.getrlimit(what)[1]
            resource.setrlimit(what, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _send(answers: Any, head: dict[str, Any], content: bytes = b"") -> None:
    _set_alarm(0)  # whoever reads may take its time
    answers.write(json.dumps({**head, "bytes": len(content)}).encode() + b"\n" + content)
    answers.flush()
    if "rows" in head:
        _set_alarm(_ORPHAN_SECONDS)


def _set_alarm(seconds: int) -> None:
    """Have the operating system end this process after so many seconds, deep in a library too; 0 for never."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)


def _attributes(file: h5py.File) -> dict[str, str | int | None]:
    """The root's attributes that are one string or one integer; None for any other, which is not read."""
    found: dict[str, str | int | None] = {}
    for name in list(file.attrs)[:_MAX_ATTRIBUTES]:
        found[name] = None
        with contextlib.suppress(Exception):  # of types that h5py does not know
            attribute = file.attrs.get_id(name)
            text = h5py.check_string_dtype(attribute.dtype) is not None
            if attribute.shape == () and (text or attribute.dtype.kind in "iu"):
                value = file.attrs[name]
                found[name] = (
                    value
                    if isinstance(value, str)
                    else value.decode("utf-8", "surrogateescape")
                    if isinstance(value, bytes)
                    else int(value)
                )
    return found


def _datasets(file: h5py.File) -> list[dict[str, Any]]:
    """Name, shape and type of what is at the root; ``why`` says why it is not read, and is empty if it is."""
    names = list(file.id)
    if len(names) > MOST_ITEMS:
        raise ValueError(f"it holds {len(names):,} datasets, and features are one of them, not many")
    found = []
    for name in names:
        one = {"name": name.decode("utf-8", "surrogateescape"), "shape": [], "dtype": "", "text": False}
        try:
            found.append(one | _described(file, name))
        except Exception as cause:  # of types that h5py does not know
            found.append(one | {"why": f"cannot be read: {' '.join(f'{cause}'.split())[:200]}"})
    return found


def _described(file: h5py.File, name: bytes) -> dict[str, Any]:
    why = reason_against(file.id, name)
    if why:
        return {"why": why}
    item = h5py.h5o.open(file.id, name)
    if not isinstance(item, h5py.h5d.DatasetID):
        return {"why": "is a group"}
    dtype, shape = item.dtype, item.shape
    text = h5py.check_string_dtype(dtype) is not None
    plain = dtype.kind == "b" or (dtype.kind in "fiu" and not dtype.metadata)
    if not shape or not (plain or (text and math.prod(shape[1:]) == 1)):
        why = "is one value" if plain or text else f"is of type {dtype}"
    elif math.prod(shape[1:]) * dtype.itemsize > _MAX_ROW_BYTES:
        why = "has rows that are wider than any feature"
    return {"shape": list(shape or ()), "dtype": dtype.str if plain else str(dtype), "text": text, "why": why}


def _send_rows(answers: Any, file: h5py.File, name: str) -> None:
    raw = name.encode("utf-8", "surrogateescape")
    about = _described(file, raw)
    if about["why"]:
        raise ValueError(f"{name!r} {about['why']}")
    data = h5py.Dataset(h5py.h5o.open(file.id, raw))
    row_bytes = math.prod(data.shape[1:]) * data.dtype.itemsize
    step = max(1, min(_BLOCK_ROWS, _BLOCK_BYTES // max(1, row_bytes)))
    for start in range(0, data.shape[0], step):
        block = data[start : start + step]
        if not about["text"]:
            _send(answers, {"rows": len(block)}, np.ascontiguousarray(block).tobytes())
            continue
        texts = [one if isinstance(one, bytes) else str(one).encode() for one in block.ravel().tolist()]
        lengths = [len(one) for one in texts]
        if max(lengths) > _MAX_TEXT_BYTES:
            raise ValueError(f"{name!r} holds a text of {max(lengths):,} bytes, which is no name")
        _send(answers, {"rows": len(block), "lengths": lengths}, b"".join(texts))
    _send(answers, {"end": True})
