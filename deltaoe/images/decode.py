"""From the bytes of an image file to RGB pixels.

Whoever changes the pixels of any file must change ``deltaoe.images.decode_policy``.
"""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

from deltaoe.errors import first_line, os_reason
from deltaoe.images.cuts import Reduced
from deltaoe.images.high_depth import (
    HighDepth,
    UnusualLayoutError,
    check_channels,
    high_depth,
    samples_held,
    tiff_samples,
    tiff_size,
)
from deltaoe.images.jpeg_reduction import Reduce, reduce_jpeg
from deltaoe.images.mended_files import cannot_hold, mended
from deltaoe.images.other_kinds import AVIF, HEAD_BYTES, HEIC, recognise
from deltaoe.images.range_names import AUTO, Range, fixed_range
from deltaoe.images.sample_range import find_range, to_8_bit

MAX_MEGAPIXELS = 178  # where Pillow itself begins to call a file a decompression bomb
MAX_FILE_BYTES = 2 * 2**30  # more than that many megapixels of 16-bit RGB take, unpacked
_LARGE_FILE_BYTES = 64 * 2**20  # of which the first bytes are looked at before the others
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow logs what it also raises, and Python prints what no handler takes.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class ImageError(Exception):
    """A file is no usable picture. The message is the reason, in a few words that fit into a table cell."""


class MissingSupportError(ImageError):
    """A file is a picture of a kind that another installation of this program reads."""


class Decoded(NamedTuple):
    """A picture, and what is to be said of it.

    Attributes:
        image: RGB.
        notes: what was assumed or mended, one short phrase each.
    """

    image: Image.Image
    notes: tuple[str, ...] = ()


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        ImageError: it cannot be read, or is too large to be. The first kind of reason (permissions, a disk that is not
            there) may pass and says nothing about the content.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > _LARGE_FILE_BYTES:
                head = file.read(HEAD_BYTES)
                check_large(size, head)
                return head + _at_most(file.read(MAX_FILE_BYTES + 1 - len(head)))
            return _at_most(file.read(MAX_FILE_BYTES + 1))
    except OSError as cause:
        raise ImageError(os_reason(cause)) from cause


def read_part(file: BinaryIO, size: int) -> bytes:
    """The next ``size`` bytes of a file, an image file by themselves; fewer if it ends before.

    Raises:
        ImageError: they are too many, or no picture, by the first of them.
        OSError: they cannot be read.
    """
    parts = [file.read(HEAD_BYTES)] if size > _LARGE_FILE_BYTES else []
    if parts:
        check_large(size, parts[0])
    left = size - sum(map(len, parts))
    while left > 0 and (part := file.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def check_large(size: int, head: bytes) -> None:
    """Refuse a large file that is no picture or too large for one, before it is read. Raises ImageError."""
    kind = recognise(head)
    if kind is not None and kind.group != "picture":
        raise ImageError(kind.reason)
    if size > MAX_FILE_BYTES:
        raise ImageError(
            f"{size / 2**30:.1f} GiB, over the limit of {MAX_FILE_BYTES // 2**30} GiB for one image file"
        )
    if not head.strip(b"\0"):
        raise ImageError("not an image, or of an unknown kind")


def _at_most(data: bytes) -> bytes:
    if len(data) > MAX_FILE_BYTES:  # it grew, or tells no size
        raise ImageError(f"over the limit of {MAX_FILE_BYTES // 2**30} GiB for one image file")
    return data


def decode(data: bytes) -> Image.Image:
    """The picture of :func:`decode_noted`, without its notes. Raises ImageError likewise."""
    return decode_noted(data).image


def decode_noted(data: bytes, sample_range: str = AUTO) -> Decoded:
    """The RGB picture that a viewer would show for the bytes of an image file.

    EXIF orientation is applied; samples of more than eight bits are shown in a range that is found per file or given;
    transparency is laid on white; palettes go through RGBA; CMYK and others are converted by Pillow; an animation is
    its first frame. A file with damaged metadata or without its last bytes is read as
    :mod:`deltaoe.images.mended_files` says.

    Args:
        data: the file's bytes.
        sample_range: as :func:`~deltaoe.images.range_names.canonical_range` writes it.

    Raises:
        ImageError: it is no picture, a broken one, or one of more than ``MAX_MEGAPIXELS``.
    """
    return decode_reduced(data, sample_range, None)[0]


def decode_reduced(data: bytes, sample_range: str, reduce: Reduce | None) -> tuple[Decoded, Reduced]:
    """As :func:`decode_noted`, but a JPEG's decoder may reduce the picture; also how the result lies in the whole one.

    Args:
        data: the file's bytes.
        sample_range: as :func:`~deltaoe.images.range_names.canonical_range` writes it.
        reduce: from the picture's width and height, upright, to the divisor (8, 4, 2 or 1) by which its decoder may
            reduce both. Other kinds of files, and damaged ones, give the whole picture; so does None.

    Raises:
        ImageError: as :func:`decode_noted`.
    """
    if not data:
        raise ImageError("empty file")
    _register_heif()
    shown = fixed_range(sample_range)
    try:
        picture, reduced = _decoded(data, shown, reduce)
        return picture, reduced or Reduced(picture.image.size)
    except (ImageError, Image.DecompressionBombError, MemoryError) as cause:
        raise _as_image_error(cause, data) from cause
    except Exception as cause:  # decoders meet hostile bytes with whatever their arithmetic raises
        try:
            found = mended(data, lambda repaired: _decoded(repaired, shown, None)[0].image)
        except Exception:
            found = None
        if found is None:
            raise _as_image_error(cause, data) from cause
        return Decoded(found[0], (found[1],)), Reduced(found[0].size)


def show(image: Image.Image, sample_range: str = AUTO) -> Image.Image:
    """The RGB picture that a viewer would show for one that Pillow holds, by the rules of :func:`decode_noted`.

    Of 16-bit colours Pillow holds the high bytes alone; a file that Pillow has opened shows no more.

    Raises:
        ImageError: it is too large, or its file is broken.
    """
    try:
        _check_size(*image.size)
        if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
            return _from_samples(samples_held(image), fixed_range(sample_range), image).image
        image.load()
        return _to_rgb(_upright(image))
    except Exception as cause:  # as of the bytes of a file, which may be read only now
        raise _as_image_error(cause, b"") from cause


def _as_image_error(cause: BaseException, data: bytes) -> ImageError:
    if isinstance(cause, ImageError):
        return cause
    if isinstance(cause, Image.DecompressionBombError):
        return ImageError(f"over the limit of {MAX_MEGAPIXELS} megapixels")
    if isinstance(cause, MemoryError):
        return ImageError("too large for this machine's memory")
    if isinstance(cause, UnusualLayoutError):
        return ImageError(str(cause))
    kind = recognise(data[:HEAD_BYTES])
    if kind is not None and kind not in (
        HEIC,
        AVIF,
    ):  # also a raw file that Pillow opens as the TIFF it is in
        return ImageError(kind.reason)
    if isinstance(cause, UnidentifiedImageError):
        if kind is None:
            return ImageError("not an image, or of an unknown kind")
        if ".heic" in Image.registered_extensions() if kind == HEIC else features.check("avif"):
            return ImageError(f"broken image: {kind.name} that cannot be opened")
        return MissingSupportError(kind.reason)
    return ImageError(f"broken image: {first_line(cause, 120)}")


def _decoded(data: bytes, shown: Range | None, reduce: Reduce | None) -> tuple[Decoded, Reduced | None]:
    """The picture in a file, and how it lies in the whole one if it is reduced.

    Raises ImageError, or whatever Pillow raises.
    """
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        if data[:4] not in _TIFF:
            raise
        _check_size(*tiff_size(data))
        found = tiff_samples(data)  # of kinds that Pillow does not know
        if found is None:
            check_channels(data)
            raise
        return _from_samples(found, shown, None), None
    _check_size(*image.size)
    if image.format == "PNG" and data[12:16] == b"CgBI":
        raise ImageError("a PNG in Apple's own form (CgBI): convert it to a usual PNG")
    if image.format == "EPS":  # Pillow would run Ghostscript on it
        raise ImageError("PostScript is a program, not a picture")
    if image.format == "TIFF" and (kind := _raw_kind(image)):
        raise ImageError(kind)
    if cannot_hold(image, data):
        raise ImageError(
            f"declares {image.width}×{image.height} pixels, more than its {len(data)} bytes can hold"
        )
    found = high_depth(image, data)
    if found is not None:
        return _from_samples(found, shown, image), None
    reduced = None if reduce is None else reduce_jpeg(image, _orientation(image), reduce)
    image.load()
    return Decoded(_to_rgb(_upright(image))), reduced


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise ImageError(f"{width}×{height} pixels, over the limit of {MAX_MEGAPIXELS} megapixels")


def _raw_kind(image: Image.Image) -> str:
    """Why a TIFF is no picture but a camera's raw file, whose first directory is a stamp-sized preview; else empty."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    preview = int(tags.get(254) or 0) & 1 and 330 in tags and 271 in tags
    return "a camera's raw file: develop it to JPEG, PNG or TIFF" if preview or 50706 in tags else ""


def _from_samples(found: HighDepth, shown: Range | None, image: Image.Image | None) -> Decoded:
    """The picture of samples of more than eight bits; ``image`` is the same file, if Pillow knows it."""
    samples = found.samples
    used = find_range(samples) if shown is None else shown
    notes = (used.note,) if used.note else ()
    whole = (used.low, used.high) == (0, 65535) and samples.white == 65535
    most = 65535.0 if found.alpha is None else float(np.nan_to_num(found.alpha).max(initial=0))
    if image is not None and whole and samples.values.ndim == 3 and most > 255:
        image.load()  # the high bytes, which Pillow keeps
        return Decoded(_to_rgb(_upright(image)), notes)
    levels = to_8_bit(samples.values, used)
    picture = Image.fromarray(255 - levels if found.inverted else levels).convert("RGB")
    if found.alpha is not None:
        usual = (1.0, 255.0, used.high, float(samples.white))  # GDAL writes 255 in files of any depth
        opaque = next((one for one in usual if most <= one), most)
        picture.putalpha(Image.fromarray(to_8_bit(found.alpha, Range(0.0, opaque))))
    orientation = found.orientation
    if orientation is None and image is not None:
        orientation = _orientation(image)
    if orientation in _TURNS:
        picture = picture.transpose(_TURNS[orientation])
    return Decoded(_to_rgb(picture), notes)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(274, 1))
    except Exception:  # broken EXIF is no reason to lose the picture
        return 1


def thumbnail(data: bytes, edge: int = 128) -> bytes:
    """The picture in the bytes of an image file as a WebP file, at most ``edge`` pixels on each side.

    Raises:
        ImageError: as :func:`decode`.
    """
    image = decode(data)
    image.thumbnail((edge, edge))
    out = io.BytesIO()
    image.save(out, "WEBP", quality=72, method=4)
    return out.getvalue()


def _upright(image: Image.Image) -> Image.Image:
    if _orientation(image) not in _TURNS:
        return image  # and not a copy of it
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # broken EXIF is no reason to lose the picture
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        transparent = image.convert("RGBA")
        white = Image.new("RGBA", transparent.size, "white")
        return Image.alpha_composite(white, transparent).convert("RGB")
    return image.convert("RGB")


def _register_heif() -> None:
    global _heif_registered
    if not _heif_registered:
        _heif_registered = True
        try:
            import pillow_heif
        except ImportError:
            return
        pillow_heif.register_heif_opener()


_heif_registered = False
