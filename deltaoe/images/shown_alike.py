"""Which files ``DECODE_POLICY`` 1 and 2 show alike, told by their first bytes."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

_PNM = re.compile(rb"P([2356])(?:\s|#[^\n]*\n)+\d+(?:\s|#[^\n]*\n)+\d+(?:\s|#[^\n]*\n)+(\d+)")
_HEAD_BYTES = 512


def is_plain(path: str) -> bool:
    """Whether the first rule made the same pixels of a file that it could read; also if it is not there to be asked."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, ValueError):
        return True
    if head.startswith(b"\x89PNG"):
        return head[24:25] != b"\x10"
    if head[:2] in (b"II", b"MM"):
        return _is_plain_tiff(path)
    if found := _PNM.match(head):
        return int(found[2]) < 256
    return not head.startswith((b"Pf", b"PF", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51", b"IM", b"\x01\xda"))


def _is_plain_tiff(path: str) -> bool:
    try:
        with Image.open(path) as image:
            tags = image.tag_v2  # type: ignore[attr-defined]
            bits = tags.get(258, (1,))
            raw = 50706 in tags or 330 in tags
            return not raw and max(bits if isinstance(bits, tuple) else (bits,)) <= 8
    except Exception:  # whatever Pillow raises: read it again, to hear it in words
        return False
