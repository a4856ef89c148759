"""Whether a file is an image by its first bytes: for files whose names say nothing."""

from __future__ import annotations

import os
import re
import stat

_HEAD = 32
_STARTS = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"\0\0\0\x0cjP  \r\n\x87\n",
)
_BRANDS = frozenset([b"avif", b"avis", b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"])
_PNM = re.compile(rb"P[1-6]\s+[\d#]")


def starts_like_image(head: bytes) -> bool:
    """Whether a file with these first bytes, 32 or all, is of a kind of image that is read by its suffix otherwise.

    Example:
        >>> [starts_like_image(head) for head in (b"GIF89a....", b"P6\\n640 480\\n255\\n", b"BMI and other topics")]
        [True, True, False]
    """
    bmp = head[:2] == b"BM" and head[6:10] == bytes(4) and len(head) >= 26
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    heif = head[4:8] == b"ftyp" and head[8:12] in _BRANDS
    return head.startswith(_STARTS) or bmp or webp or heif or _PNM.match(head) is not None


def is_image_by_content(path: str) -> bool:
    """Whether a path is a regular file that starts like an image; False if it cannot be read."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # reading a pipe may never end
            return False
        with open(path, "rb") as file:
            return starts_like_image(file.read(_HEAD))
    except (OSError, ValueError):
        return False
