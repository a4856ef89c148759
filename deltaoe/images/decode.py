"""From the bytes of an image file to RGB pixels.

``DECODE_POLICY`` is part of a feature space's identity: whoever changes the pixels of any file must change that number.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from deltaoe.errors import first_line, os_reason

DECODE_POLICY = 1
MAX_MEGAPIXELS = 178  # where Pillow itself begins to call a file a decompression bomb


class ImageError(Exception):
    """A file is no usable picture. The message is the reason, in a few words that fit into a table cell."""


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        ImageError: it cannot be read. Such a reason (permissions, a disk that is not there) may pass and says nothing
            about the content.
    """
    try:
        return path.read_bytes()
    except OSError as cause:
        raise ImageError(os_reason(cause)) from cause


def decode(data: bytes) -> Image.Image:
    """The RGB picture that a viewer would show for the bytes of an image file.

    EXIF orientation is applied; 16-bit and floating-point grey is scaled to 8 bit; transparency is laid on white;
    palettes go through RGBA; CMYK and others are converted by Pillow; an animation is its first frame.

    Raises:
        ImageError: it is no picture, a broken one, or one of more than ``MAX_MEGAPIXELS``.
    """
    if not data:
        raise ImageError("empty file")
    _register_heif()
    try:
        image = Image.open(io.BytesIO(data))
        if image.width * image.height > MAX_MEGAPIXELS * 1_000_000:
            raise ImageError(
                f"{image.width}×{image.height} pixels, over the limit of {MAX_MEGAPIXELS} megapixels"
            )
        if image.format == "EPS":  # Pillow would run Ghostscript on it
            raise ImageError("PostScript is a program, not a picture")
        image.load()
        return _to_rgb(_upright(image))
    except UnidentifiedImageError as cause:
        raise ImageError("not an image, or of an unknown kind") from cause
    except Image.DecompressionBombError as cause:
        raise ImageError(f"over the limit of {MAX_MEGAPIXELS} megapixels") from cause
    except MemoryError as cause:
        raise ImageError("too large for this machine's memory") from cause
    except ImageError:
        raise
    except Exception as cause:  # decoders meet hostile bytes with whatever their arithmetic raises
        raise ImageError(f"broken image: {first_line(cause, 120)}") from cause


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
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # broken EXIF is no reason to lose the picture
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.float64)
        return _grey(values / 257.0)  # 65535 → 255: files of both modes hold 16-bit samples in practice
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image).astype(np.float64), neginf=0.0)
        largest = values.max(initial=0.0)
        return _grey(values * 255.0 if largest <= 1 else values if largest <= 255 else values / 257.0)
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        transparent = image.convert("RGBA")
        white = Image.new("RGBA", transparent.size, "white")
        return Image.alpha_composite(white, transparent).convert("RGB")
    return image.convert("RGB")


def _grey(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8)).convert("RGB")


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
