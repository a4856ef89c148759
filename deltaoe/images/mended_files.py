"""Image files that viewers show though their bytes are not all as they should be.

A PNG's metadata may be damaged or large, and of any file the last bytes may be missing. A picture is read if at least
``MOST_ROWS`` of its rows (or columns) are certainly there, and cut down to them. Nothing of Pillow's own settings is
changed: they are the whole process's.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

MOST_ROWS = 0.95  # a file cut off sooner is refused

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*")
_JP2, _J2K = b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"
_PNG_KEPT = frozenset({b"PLTE", b"tRNS", b"sBIT", b"eXIf"})  # what pixels depend on, beside header and data
_PNG_KEPT_BYTES = 2**20
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# (first column, first row, columns, rows between two pixels) of Adam7's passes.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_SLACK = 4096  # bytes put behind a file that ends too soon, and more for a large one
_FEW_BYTES = 16  # that may be missing at the end of a file that does not say which pixels are there
_PIXELS_PER_BYTE = 400  # of a JPEG of one colour; a file that declares more does not hold its picture
_END_MISSING = "the end of the file is missing, after the last pixel"

Decode = Callable[[bytes], Image.Image]


def mended(data: bytes, decode: Decode) -> tuple[Image.Image, str] | None:
    """The picture in a file that could not be decoded, and a note on what was wrong; None if it is lost.

    Args:
        data: the file's bytes.
        decode: from the bytes of a file to its picture; raises some exception if that cannot be.
    """
    if data.startswith(_PNG):
        found = _mended_png(data)
        return None if found is None else (decode(found[0]), found[1])
    if data.startswith(b"\xff\xd8\xff"):
        if not _holds_whole_scans(data):
            return None
        return _without_end(data, b"", _noise(_SLACK), b"\xff\xd9", decode)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        right = _webp_of_its_size(data)
        if right is not None:
            return decode(right), "its header gives another size than it has"
        missing = int.from_bytes(data[4:8], "little") + 8 - len(data)
        if not 0 < missing <= len(data) // 16 + 16:
            return None
        try:
            return _without_end(data, bytes(missing), _noise(missing), b"", decode)
        except Exception:
            return _with_zeros(data, missing, decode) if missing <= _FEW_BYTES else None
    if data[:4] in _TIFF or data[:2] in (b"BM", b"P5", b"P6"):
        slack = _SLACK + len(data) // 16
        try:
            return _without_end(data, bytes(slack), _noise(slack), b"", decode)
        except Exception:
            return _with_zeros(data, _FEW_BYTES, decode) if data[:4] in _TIFF else None
    if data.startswith(b"GIF8"):
        return _without_end(data, bytes(300), _noise(300), bytes(300) + b";", decode)
    if data[:12] == _JP2 or data.startswith(_J2K):
        tail = b"\xd9" if data.endswith(b"\xff") else b"\xff\xd9"
        return decode(data + tail), _END_MISSING  # OpenJPEG misses any byte but those of this mark
    return None


def _with_zeros(data: bytes, count: int, decode: Decode) -> tuple[Image.Image, str]:
    """The picture with zeros in place of a few missing bytes, on which one block of pixels depends at most."""
    return decode(data + bytes(count)), f"its last bytes are missing: at most {count}"


def _without_end(
    data: bytes, one: bytes, other: bytes, tail: bytes, decode: Decode
) -> tuple[Image.Image, str] | None:
    """The part of a picture that does not depend on which bytes are put in place of those missing."""
    first, second = decode(data + one + tail), decode(data + other + tail)
    if first.size != second.size:
        return None
    differs = np.asarray(first) != np.asarray(second)
    box = _largest_rest(differs.any(axis=2))
    width, height = first.size
    if box is None:
        return None
    if box == (0, 0, width, height):
        return first, _END_MISSING
    rows = f"{box[3] - box[1]} of {height} rows" if box[2] - box[0] == width else ""
    return first.crop(box), f"cut off: {rows or f'{box[2] - box[0]} of {width} columns'} are there"


def _largest_rest(
    differs: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
) -> tuple[int, int, int, int] | None:
    """The box left of (H, W) without the rows or columns at one side that differ; None if it is too small.

    Pictures are stored from the top or from the bottom, and may have been turned.
    """
    height, width = differs.shape
    rows, columns = (np.flatnonzero(differs.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return 0, 0, width, height
    boxes = (
        (0, 0, width, int(rows[0])),
        (0, int(rows[-1]) + 1, width, height),
        (0, 0, int(columns[0]), height),
        (int(columns[-1]) + 1, 0, width, height),
    )
    best = max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
    share = (best[2] - best[0]) * (best[3] - best[1]) / (width * height)
    return best if share >= MOST_ROWS else None


def _noise(count: int) -> bytes:
    """Bytes that no decoder takes for a mark of its own; the same ones each time."""
    return bytes(random.Random(0).choices(range(1, 255), k=count))  # noqa: S311 - nothing secret


def _webp_of_its_size(data: bytes) -> bytes | None:
    """A still WebP up to the end of its pixels, and with that as its size; None if they are not all there."""
    at = 12
    while at + 8 <= len(data):
        kind, end = data[at : at + 4], at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        if kind in (b"VP8 ", b"VP8L"):
            size = struct.pack("<I", end + end % 2 - 8)
            whole = end <= len(data) and size != data[4:8]
            return data[:4] + size + data[8:end] + bytes(end % 2) if whole else None
        at = end + end % 2
    return None


# JPEG


def _holds_whole_scans(data: bytes) -> bool:
    """Whether a JPEG holds, at least in part, the last scan that its coefficients need.

    Of a progressive file that is cut off all rows are there, and none is sharp.
    """
    components: dict[int, int] = {}  # 64 bits: coefficients that are known to the last bit
    for marker, body in _segments(data):
        if marker in {0xC0, 0xC1, 0xC2} and len(body) >= 6:
            height, width, count = struct.unpack(">HHB", body[1:6])
            if width * height > _PIXELS_PER_BYTE * len(data):
                return False
            components = dict.fromkeys(body[6 : 6 + 3 * count : 3], 0)
        elif marker == 0xDA and body and len(body) >= 4 + 2 * body[0]:
            first, last, low = body[-3], min(body[-2], 63), body[-1] & 15
            for component in body[1 : 1 + 2 * body[0] : 2]:
                if low == 0 and component in components:
                    components[component] |= (1 << last + 1) - (1 << first)
    return bool(components) and all(known == 2**64 - 1 for known in components.values())


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and body of each segment of a JPEG, up to its end or to what is no segment."""
    at = 2
    while (at := data.find(b"\xff", at)) >= 0 and at + 4 <= len(data):
        marker = data[at + 1]
        if marker in {0x00, 0xFF} or 0xD0 <= marker <= 0xD8:  # coded data, filling, restarts
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            return
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + length


# PNG


def _mended_png(data: bytes) -> tuple[bytes, str] | None:
    """The PNG without metadata, and with as many rows as it holds; None if pixels are damaged or too few."""
    head, kept, pixels, checked, ended = b"", b"", [], True, False
    for kind, body, right, whole in _chunks(data):
        if kind == b"IHDR" and right and len(body) == 13 and not head:
            head = body
        elif kind == b"IDAT":
            pixels.append(body)
            checked = checked and (right or not whole)
        elif kind == b"IEND":
            ended = True
            break
        elif kind == b"tRNS" and len(body) < {0: 2, 2: 6}.get(head[9] if head else 3, 1):
            continue
        elif kind in _PNG_KEPT and right and len(body) <= _PNG_KEPT_BYTES:
            kept += _chunk(kind, body)
        elif kind[:1].isupper():  # critical, and damaged or unknown
            return None
    if not head or not pixels:
        return None
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head)
    bits = depth * _CHANNELS.get(colour, 0)
    if not (width and height and bits and interlaced in (0, 1)):
        return None
    sizes = [(1 + -(-w * bits // 8)) * h for w, h in _passes(width, height, interlaced)]
    expected = sum(sizes)
    packed = b"".join(pixels)
    if expected > 1040 * len(packed) + 1024:  # more than deflate can hold
        return None
    unpacked = _unpacked(packed, expected + 1, checked)
    if unpacked is None:
        return None
    raw, right = unpacked
    if not checked and not right:  # neither of two checksums says that these are the pixels
        return None
    if len(raw) >= expected:
        note = "damaged or very long metadata was left out" if ended else _END_MISSING
    else:
        rows = len(raw) // (1 + -(-width * bits // 8))
        if interlaced or rows < MOST_ROWS * height:
            return None
        note = f"cut off: {rows} of {height} rows are there"
        height, expected = rows, rows * (1 + -(-width * bits // 8))
    head = struct.pack(">II", width, height) + head[8:]
    body = _chunk(b"IDAT", zlib.compress(raw[:expected], 1))
    return _PNG + _chunk(b"IHDR", head) + kept + body + _chunk(b"IEND", b""), note


def _unpacked(packed: bytes, most: int, checked: bool) -> tuple[bytes, bool] | None:
    """At most so many bytes of zlib's stream, and whether it has ended with the right checksum; None if it is broken.

    A wrong checksum does not count where the chunks' own are right, as ``checked`` says.
    """
    unpacker = zlib.decompressobj()
    try:
        return unpacker.decompress(packed, most), unpacker.eof
    except zlib.error:
        try:
            return (zlib.decompressobj(-15).decompress(packed[2:], most), False) if checked else None
        except zlib.error:
            return None


def _passes(width: int, height: int, interlaced: int) -> list[tuple[int, int]]:
    """Width and height of each pass over a PNG's pixels, without empty ones."""
    if not interlaced:
        return [(width, height)]
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in _ADAM7]
    return [(w, h) for w, h in sizes if w > 0 and h > 0]


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool, bool]]:
    """Kind and body of each chunk, whether its checksum is right, and whether it is all there."""
    at = len(_PNG)
    while at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body, check = data[at + 8 : at + 8 + length], data[at + 8 + length : at + 12 + length]
        whole = len(check) == 4
        yield kind, body, whole and int.from_bytes(check, "big") == zlib.crc32(kind + body), whole
        at += 12 + length


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def cannot_hold(image: Image.Image, data: bytes) -> bool:
    """Whether a PNG declares more pixels than its bytes can hold, however well they are packed."""
    if image.format != "PNG":
        return False
    head = struct.unpack(">IIBB", data[16:26])
    row = 1 + head[0] * head[2] * _CHANNELS.get(head[3], 1) // 8
    return bool(row * head[1] > 1040 * len(data) + 1024)
