"""The seal of an exported file: a line behind the HDF5 content with the SHA-256 of all that is before it.

HDF5 readers stop before it. It is compared before any HDF5 library sees the file, so that one changed bit, wherever
it is, can neither change what is read nor harm the library.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from deltaoe.errors import DataError, os_reason
from deltaoe.store.sealed import CHANGED

_START, _END = b"\ndeltaoe.archive sha256 ", b"\n"
_LENGTH = len(_START) + 64 + len(_END)
_CHUNK_BYTES = 8 << 20


def seal(path: Path) -> None:
    """Put the seal behind a file's content. Raises OSError."""
    line = _START + _digest(path, path.stat().st_size) + _END
    with path.open("ab") as file:
        file.write(line)


def is_sealed(path: Path) -> bool:
    """Compare a regular file with its seal.

    Returns:
        Whether it has one.

    Raises:
        DataError: its content is not what it was made of; the file cannot be read.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - _LENGTH))
            line = file.read(_LENGTH)
        if not (line.startswith(_START) and line.endswith(_END)):
            return False
        sound = line == _START + _digest(path, size - _LENGTH) + _END
    except OSError as cause:
        raise DataError(f"cannot read {path}: {os_reason(cause)}", hint="check the path") from cause
    if not sound:
        raise DataError(
            f"cannot read {path}: {CHANGED}",
            hint="copy it again, or export it again: deltaoe store export FILE.h5",
        )
    return True


def _digest(path: Path, size: int) -> bytes:
    """SHA-256, hexadecimal, of a file's first bytes."""
    digest, left = hashlib.sha256(), size
    with path.open("rb") as file:
        while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest().encode()
