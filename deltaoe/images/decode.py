"""Image files: which suffixes they have, and what pixels a file means.

The decode policy is part of a feature space's identity (``DECODE_POLICY``): change what pixels come out for any
file, and the number must change with it.
"""

from __future__ import annotations

import errno
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from deltaoe.errors import first_line

DECODE_POLICY = 1
MAX_MEGAPIXELS = 178  # where Pillow itself begins to call a file a decompression bomb


class ImageError(Exception):
    """A file is no usable picture; the message is the reason, fit for a table cell."""


def read_bytes(path: Path) -> bytes:
    """The file's bytes.

    Raises:
        ImageError: it cannot be read; the reason may pass (permissions), so it is not worth remembering.
    """
    try:
        return path.read_bytes()
    except OSError as cause:
        raise ImageError(_reason(cause)) from cause


def decode(data: bytes) -> Image.Image:
    """The RGB picture that a viewer would show for these bytes.

    EXIF orientation is applied; 16-bit and floating grey is scaled to 8 bit; transparency is laid on white;
    palettes go through RGBA; CMYK and others are converted by Pillow; of an animation, the first frame.

    Raises:
        ImageError: with the reason in a few words.
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
    """A small WebP file of the picture, at most ``edge`` pixels on each side. Raises ImageError like decode."""
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
        return _grey(values / 257.0)  # 65535 → 255: both files' modes hold 16-bit samples in practice
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image).astype(np.float64), neginf=0.0)
        peak = values.max(initial=0.0)
        return _grey(values * 255.0 if peak <= 1 else values if peak <= 255 else values / 257.0)
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
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


def _reason(cause: OSError) -> str:
    if cause.errno == errno.ENOENT:
        return "no such file or folder"
    return (cause.strerror or str(cause)).lower()
