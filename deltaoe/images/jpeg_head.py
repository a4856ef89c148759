"""What the first bytes of a JPEG say of it, and whether a device's decoder can be trusted with it."""

from __future__ import annotations

import struct
from typing import NamedTuple

from deltaoe.images.decode import MAX_MEGAPIXELS

_FRAMES = {0xC0: "baseline", 0xC2: "progressive"}
_OTHER_FRAMES = {0xC1, 0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)}
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
# Of brightness, in units of the colours': what nvJPEG names (4:4:4, 4:2:2, 4:2:0, 4:4:0, 4:1:1).
_SAMPLINGS = {(1, 1), (2, 1), (2, 2), (1, 2), (4, 1)}


class JpegHead(NamedTuple):
    """Of a JPEG.

    Attributes:
        size: width and height of the picture as it is stored.
        orientation: EXIF's, 1 to 8.
        grey: whether it has one component.
        unusual: why it should be decoded on the CPU, in a few words; empty if a device decodes the same picture.
    """

    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    grey: bool = False
    unusual: str = ""


def jpeg_head(data: bytes) -> JpegHead:
    """The head of a JPEG in the bytes of a file.

    Whatever is out of the ordinary counts as unusual, so that the CPU's decoder decides what it is: other formats,
    CMYK, more than 8 bits, rare samplings and codings, files that are cut off, orientations that are said oddly.

    Example:
        >>> jpeg_head(b"GIF89a").unusual
        'not JPEG'
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return JpegHead(unusual="not JPEG")
    try:
        return _head(data)
    except (struct.error, IndexError):
        return JpegHead(unusual="broken JPEG")


def _head(data: bytes) -> JpegHead:
    frame, orientation, adobe = b"", 1, None
    at = 2
    while True:
        if data[at] != 0xFF:
            return JpegHead(unusual="broken JPEG")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _ALONE:
            return JpegHead(unusual="broken JPEG")
        (length,) = struct.unpack_from(">H", data, at + 2)
        body = data[at + 4 : at + 2 + length]
        if marker in _FRAMES and not frame:
            frame = body
        elif marker in _FRAMES or marker in _OTHER_FRAMES:
            return JpegHead(unusual="JPEG of a rare coding")
        elif marker == 0xE1:
            found = _orientation(body)
            if found is None:
                return JpegHead(unusual="unclear orientation")
            orientation = found if orientation == 1 else orientation
        elif marker == 0xEE and body.startswith(b"Adobe"):
            adobe = body[11]
        at += 2 + length
        if marker == 0xDA:
            break
    return _judged(data, at, frame, orientation, adobe)


def _judged(data: bytes, scan: int, frame: bytes, orientation: int, adobe: int | None) -> JpegHead:
    """The head by a frame's body, where the first scan begins, and the colour transform that Adobe's mark names."""
    depth, height, width, count = struct.unpack_from(">BHHB", frame)
    parts = [(frame[i], frame[i + 1] >> 4, frame[i + 1] & 15) for i in range(6, 6 + 3 * count, 3)]
    head = JpegHead((width, height), orientation, count == 1)
    if depth != 8:
        return head._replace(unusual="JPEG of more than 8 bits")
    if count not in (1, 3):
        return head._replace(unusual="CMYK")
    if not width or not height or width * height > MAX_MEGAPIXELS * 1_000_000:
        return head._replace(unusual="JPEG of an unusual size")
    if count == 3:
        (first, *sampling), *colours = parts
        stored_as_rgb = adobe not in (None, 1) or (
            adobe is None and [first, colours[0][0], colours[1][0]] == [*b"RGB"]
        )
        if stored_as_rgb:
            return head._replace(unusual="JPEG stored as RGB")
        if tuple(sampling) not in _SAMPLINGS or any(one[1:] != (1, 1) for one in colours):
            return head._replace(unusual="JPEG of a rare sampling")
    # In coded data no FF is followed by D9 but at its end; one before, of an embedded preview, does not count.
    if data.find(b"\xff\xd9", scan) < 0:
        return head._replace(unusual="broken JPEG")
    return head


def _orientation(body: bytes) -> int | None:
    """The orientation that an APP1 segment says, 1 if it says none; None if that cannot be told for certain."""
    if not body.startswith(b"Exif\0\0"):
        # Pillow looks for it in XMP, too.
        return None if b"tiff:Orientation" in body else 1
    tiff = body[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return None
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    (entries,) = struct.unpack_from(order + "H", tiff, start)
    for i in range(entries):
        tag, kind, count = struct.unpack_from(order + "HHI", tiff, start + 2 + 12 * i)
        if tag == 0x0112:
            (value,) = struct.unpack_from(order + "H", tiff, start + 10 + 12 * i)
            return value if (kind, count) == (3, 1) and 1 <= value <= 8 else None
    return 1
