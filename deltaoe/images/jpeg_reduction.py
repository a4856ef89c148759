"""JPEGs that their decoder reduces: it leaves out each block's high frequencies, and most of the work with them."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from deltaoe.images.cuts import Reduced

# From the width and height of a whole picture, upright, to the divisor of both: 8, 4, 2 or 1.
Reduce = Callable[[tuple[int, int]], int]

_JPEG = ("JPEG", "MPO")
_LYING = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


def reduce_jpeg(image: Image.Image, orientation: int, reduce: Reduce) -> Reduced | None:
    """Let the decoder of a picture that is not loaded yet reduce it, if it is a JPEG's.

    Pillow offers no decoder's reduction for WebP (libwebp's own comes after decoding, and saves little time).

    Args:
        image: as Pillow opened it.
        orientation: EXIF's, 1 to 8; others turn nothing.
        reduce: what to divide both sides by.

    Returns:
        How the picture will lie in the whole one, once it is loaded and turned upright; None if it stays whole.
    """
    if image.format not in _JPEG:
        return None
    width, height = image.size
    size = (height, width) if orientation in _LYING else (width, height)
    factor = reduce(size)
    if factor > 1:
        # Pillow takes the largest of 8, 4 and 2 that leaves at least this size.
        image.draft(None, (width // factor, height // factor))
    if image.size == (width, height) or factor == 1:
        return None
    return Reduced.turned(size, factor, orientation)
