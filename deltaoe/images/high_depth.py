"""The samples of image files with more than eight bits per sample, as they are stored: Pillow keeps eight of colours.

Pillow gives 16-bit grey whole and the high byte of 16-bit colours, and opens no TIFF of 64-bit or coloured
floating-point samples. What it does not give is had by asking it for other bytes of the same data: the low bytes of a
PNG; and for TIFF the rows as plain bytes, in the file's own compression.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile

from deltaoe.images.sample_range import Samples, Values

_ORIENTATION = 274
_PLAIN_COMPRESSIONS = frozenset({1, 5, 8, 32773, 32946, 34925, 50000})  # of bytes, whatever they mean
_DIFFERENCED = _PLAIN_COMPRESSIONS - {1, 32773}  # which heed a predictor
_KINDS = {1: "u", 2: "i", 3: "f", 4: "u"}  # SampleFormat
_DECLARED_DEPTHS = frozenset({8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 31, 32})


@dataclass(frozen=True)
class HighDepth:
    """A picture of more than eight bits per sample.

    Attributes:
        samples: colours or grey.
        alpha: (H, W) opacity in the same units; None for an opaque picture.
        inverted: whether zero is white.
        orientation: EXIF's number of how it is to be turned; None: what Pillow says of the file holds.
    """

    samples: Samples
    alpha: Values | None = None
    inverted: bool = False
    orientation: int | None = None


class UnusualLayoutError(Exception):
    """A TIFF whose samples are no grey or RGB picture; the message says what they are."""


def high_depth(image: Image.Image, data: bytes) -> HighDepth | None:
    """The samples of an opened file; None if they have eight bits, or if Pillow's eight are all that can be had.

    Args:
        image: opened from ``data``, and not yet loaded.
        data: the file's bytes.

    Raises:
        UnusualLayoutError: see there.
        Exception: whatever a decoder raises for broken data.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        found = tiff_samples(data)
        if found is not None or image.mode not in {"I", "F", "I;16", "I;16B", "I;16L"}:
            return found
        bits = max(image.tag_v2.get(258) or (16,))
        white = 2**bits - 1
        declared = (0.0, float(white)) if bits < 16 else None
        return HighDepth(Samples(np.asarray(image), white, declared))
    if isinstance(image, PngImageFile) and image.tile and str(image.tile[0].args).endswith(";16B"):
        return _of_png(image, data)
    if isinstance(image, PpmImageFile) and image.mode != "F":
        return _of_ppm(image, data)
    if image.mode == "F" or image.mode == "I" or image.mode.startswith("I;16"):
        return samples_held(image)
    return None


def samples_held(image: Image.Image) -> HighDepth:
    """The samples that Pillow holds of a picture of mode ``I``, ``F`` or ``I;16``."""
    values = np.asarray(image)
    white = 65535 if image.mode != "I" or int(values.max(initial=0)) <= 65535 else 2**31 - 1
    return HighDepth(Samples(values, white))


def _of_png(image: PngImageFile, data: bytes) -> HighDepth:
    args = str(image.tile[0].args)
    depth = _significant_bits(data)
    if args == "I;16B":
        values, alpha = np.asarray(image), None
    else:
        if args == "LA;16B":  # 32 bits per pixel: as four bytes, high and low in turn
            pairs = _with_rawmode(data, "RGBA").astype(np.uint16)
            values, alpha = (pairs[..., at] << 8 | pairs[..., at + 1] for at in (0, 2))
        else:
            low = _with_rawmode(data, args[:-1] + "L")
            both = np.asarray(image).astype(np.uint16) << 8 | low
            values, alpha = (both, None) if both.shape[2] == 3 else (both[..., :3], both[..., 3])
    declared = None
    if (
        depth < 16 and int(values.max(initial=0)) < 2**depth
    ):  # not scaled to 16 bits, as the standard wants it
        declared = 0.0, 2.0**depth - 1
    return HighDepth(Samples(values, 65535, declared), alpha)


def _with_rawmode(data: bytes, rawmode: str) -> NDArray[np.uint8]:
    """The pixels of a PNG, read in another order of bytes with as many bits per pixel."""
    with Image.open(io.BytesIO(data)) as image:
        image.tile = [tile._replace(args=rawmode) for tile in image.tile]
        return np.asarray(image)


def _significant_bits(data: bytes) -> int:
    """The bits per sample that a PNG's ``sBIT`` declares; 16 without it."""
    at, end = 8, len(data)
    while at + 12 <= end:
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind == b"sBIT" and 1 <= length <= 4:
            bits = max(data[at + 8 : at + 8 + length])
            return bits if bits in _DECLARED_DEPTHS else 16
        if kind in {b"IDAT", b"IEND"}:
            break
        at += 12 + length
    return 16


def _of_ppm(image: PpmImageFile, data: bytes) -> HighDepth | None:
    tile = image.tile[0]
    channels = len(image.getbands())
    largest = tile.args[-1] if isinstance(tile.args, tuple) else 65535 if image.mode == "I" else 255
    if largest != 65535:  # Pillow scales by what the file declares
        if image.mode == "I":
            return HighDepth(Samples(np.asarray(image), 65535, (0.0, 65535.0)))
        return None
    if tile.codec_name == "ppm_plain":
        return HighDepth(Samples(np.asarray(image), 65535)) if channels == 1 else None
    count = image.width * image.height * channels
    values = np.frombuffer(data, ">u2", count, tile.offset).astype(np.uint16)
    shape = (image.height, image.width) if channels == 1 else (image.height, image.width, channels)
    return HighDepth(Samples(values.reshape(shape), 65535))


# TIFF


def tiff_size(data: bytes) -> tuple[int, int]:
    """Width and height by a TIFF's first directory; (0, 0) if it has none."""
    tags = _tags(data)
    return int(tags.get(256) or 0), int(tags.get(257) or 0)


def check_channels(data: bytes) -> None:
    """Raise UnusualLayoutError if a TIFF has more channels than any picture, as of a satellite."""
    count = int(_tags(data).get(277, 1))
    if count > 5:
        raise UnusualLayoutError(f"{count} channels: neither grey nor RGB")


def tiff_samples(data: bytes) -> HighDepth | None:
    """The samples of a TIFF's first picture; None if they have eight bits, or are in no layout that is read here.

    Raises:
        UnusualLayoutError: see there.
        Exception: what Pillow raises for broken data.
    """
    tags = _tags(data)
    bits, formats = _all(tags.get(258, 1)), _all(tags.get(339, 1))
    count, photometric = int(tags.get(277, len(bits))), tags.get(262, 2 if len(bits) > 2 else 1)
    kind = _KINDS.get(formats[0])
    if (
        len({*bits}) != 1
        or len({*formats}) != 1
        or kind is None
        or tags.get(259, 1) not in _PLAIN_COMPRESSIONS
    ):
        return None
    if bits[0] not in ((16, 32, 64) if kind != "i" else (8, 16, 32, 64)) or photometric not in (0, 1, 2):
        return None
    extra = _all(tags.get(338, ()))
    colours = 3 if photometric == 2 or count in (3, 4) else 1
    if not colours <= count <= colours + 1 and not (colours == 3 and count - 3 == len(extra)):
        raise UnusualLayoutError(f"{count} channels: neither grey nor RGB")
    dtype = np.dtype(("<" if data[:2] == b"II" else ">") + kind + str(bits[0] // 8))
    values = _tiff_array(data, tags, dtype, count)
    if kind != "f" and bits[0] == 64:
        values = values.astype(np.float64)
    alpha = values[..., colours] if extra and extra[0] in (1, 2) else None
    values = values[..., 0] if colours == 1 else values[..., :3]
    white = 2 ** (bits[0] - (kind == "i")) - 1
    samples = Samples(values, white, _declared(tags, kind), _missing(tags))
    return HighDepth(samples, alpha, photometric == 0, int(tags.get(_ORIENTATION, 1)))


def _tags(data: bytes) -> TiffImagePlugin.ImageFileDirectory_v2:
    big = 43 in data[2:4]
    tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if big else 8])
    stream = io.BytesIO(data)
    stream.seek(tags.next)
    tags.load(stream)
    return tags


def _all(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _declared(tags: TiffImagePlugin.ImageFileDirectory_v2, kind: str) -> tuple[float, float] | None:
    """The range that MaxSampleValue or SMaxSampleValue declares.

    Many programs write the largest value that occurs there, which says nothing of white: of integers only a whole
    number of bits is believed.
    """
    high, low = (tags.get(new, tags.get(old)) for new, old in ((341, 281), (340, 280)))
    if high is None:
        return None
    top, bottom = float(max(_all(high))), float(min(_all(low if low is not None else 0)))
    if not np.isfinite([top, bottom]).all() or not bottom < top:
        return None
    if kind == "f":
        return (bottom, top) if low is not None and (bottom, top) in {(0.0, 1.0), (0.0, 255.0)} else None
    depth = int(top + 1).bit_length() - 1
    usual = top + 1 == 2**depth and depth in _DECLARED_DEPTHS and depth < 16
    return (0.0, top) if usual else None


def _missing(tags: TiffImagePlugin.ImageFileDirectory_v2) -> float | None:
    """GDAL's mark of missing data."""
    try:
        return float(str(tags.get(42113, "")).strip("\0 "))
    except ValueError:
        return None


def _tiff_array(
    data: bytes, tags: TiffImagePlugin.ImageFileDirectory_v2, dtype: np.dtype[Any], count: int
) -> Values:
    """The samples (H, W, C) of a TIFF's strips or tiles."""
    width, height = int(tags[256]), int(tags[257])
    tiled = 322 in tags
    part_width = int(tags[322]) if tiled else width
    part_height = int(tags[323]) if tiled else min(int(tags.get(278, height)), height)
    offsets, sizes = (_all(tags[number]) for number in ((324, 325) if tiled else (273, 279)))
    planes = count if tags.get(284, 1) == 2 else 1
    channels = count // planes
    predictor = int(tags.get(317, 1)) if tags.get(259, 1) in _DIFFERENCED else 1
    parts = len(offsets) // planes
    across = -(-width // part_width)
    found = []
    for plane in range(planes):
        part = slice(plane * parts, (plane + 1) * parts)
        row_bytes = part_width * channels * dtype.itemsize
        shape = (across * row_bytes, height, row_bytes, part_height)
        rows = _as_bytes(data, tags, shape, tiled, offsets[part], sizes[part])
        pieces = rows.reshape(height, across, row_bytes)
        found.append(
            _undifferenced(pieces, dtype, channels, predictor).reshape(height, across * part_width, channels)[
                :, :width
            ]
        )
    return found[0] if planes == 1 else np.concatenate(found, axis=2)


def _as_bytes(
    data: bytes,
    tags: TiffImagePlugin.ImageFileDirectory_v2,
    shape: tuple[int, int, int, int],
    tiled: bool,
    offsets: Sequence[int],
    sizes: Sequence[int],
) -> NDArray[np.uint8]:
    """Unpacked strips or tiles as (H, bytes per row): by a directory that calls every byte a pixel."""
    width, height, part_width, part_height = shape
    entries: dict[int, Sequence[int]] = {
        256: [width],
        257: [height],
        258: [8],
        259: [tags.get(259, 1)],
        262: [1],
        266: [tags.get(266, 1)],
        277: [1],
    }
    entries |= (
        {322: [part_width], 323: [part_height], 324: offsets, 325: sizes}
        if tiled
        else {273: offsets, 278: [part_height], 279: sizes}
    )
    body = data[8:] + b"\0" * (len(data) % 2)
    long_lists, start = b"", 8 + len(body)
    head = struct.pack("<H", len(entries))
    after = start + 2 + 12 * len(entries) + 4
    for number in sorted(entries):
        numbers = entries[number]
        packed = struct.pack(f"<{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            packed, long_lists = struct.pack("<I", after + len(long_lists)), long_lists + packed
        head += struct.pack("<HHI", number, 4, len(numbers)) + packed
    file = b"II*\0" + struct.pack("<I", start) + body + head + bytes(4) + long_lists
    with TiffImagePlugin.TiffImageFile(io.BytesIO(file)) as image:
        return np.asarray(image)


def _undifferenced(pieces: NDArray[np.uint8], dtype: np.dtype[Any], channels: int, predictor: int) -> Values:
    """Rows of strips or tiles, (H, across, bytes), as samples (H, across, pixels, channels)."""
    height, across, row_bytes = pieces.shape
    shape = (height, across, row_bytes // (channels * dtype.itemsize), channels)
    if predictor == 3:
        steps = pieces.reshape(height, across, row_bytes // channels, channels)
        planes = np.cumsum(steps, axis=2, dtype=np.uint8).reshape(height, across, dtype.itemsize, -1)
        bytes_first = np.ascontiguousarray(planes.swapaxes(2, 3))
        return bytes_first.view(dtype.newbyteorder(">")).astype(dtype.newbyteorder("=")).reshape(shape)
    whole = dtype.newbyteorder("=")
    values = np.ascontiguousarray(pieces).view(dtype).reshape(shape).astype(whole)
    if predictor != 2:
        return values
    numbers = np.dtype(f"u{dtype.itemsize}")  # differences of the bits, also of floating-point numbers
    return np.cumsum(values.view(numbers), axis=2, dtype=numbers).view(whole)
