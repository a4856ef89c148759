"""Augmented views of a picture: which part of it each shows, by the content's digest alone."""

from __future__ import annotations

import hashlib
import math

import numpy as np

# Stored with augmented views: whoever changes the pixels of one must change this number.
VIEW_POLICY = 1
# CoOp's, which are torchvision's defaults: shares of the picture's area, and width : height.
_AREA = (0.08, 1.0)
_ASPECT = (3 / 4, 4 / 3)
_TRIES = 10


def random_part(size: tuple[int, int], digest: bytes, view: int) -> tuple[int, int, int, int, bool]:
    """The part of a picture that an augmented view shows.

    Args:
        size: width and height of the picture, pixels.
        digest: SHA-256 of the file's content, 32 bytes.
        view: the view's number, from 1.

    Returns:
        Left, top, width and height of the part in pixels, and whether it is mirrored.

    Example:
        >>> random_part((640, 480), bytes(32), view=1)
        (137, 47, 400, 367, False)
    """
    key = hashlib.blake2b(b"%d:%d:%b" % (VIEW_POLICY, view, digest), digest_size=16).digest()
    # NumPy keeps this stream of raw integers as it is, which it does not promise of what it derives from them.
    raw = np.random.Philox(key=int.from_bytes(key, "little")).random_raw

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * ((raw() >> 11) * 2.0**-53)

    def below(bound: int) -> int:
        return (raw() * bound) >> 64

    mirrored = below(2) == 1
    total_width, total_height = size
    for _ in range(_TRIES):
        area = total_width * total_height * uniform(*_AREA)
        ratio = math.exp(uniform(*(math.log(aspect) for aspect in _ASPECT)))
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < width <= total_width and 0 < height <= total_height:
            return below(total_width - width + 1), below(total_height - height + 1), width, height, mirrored
    # Pictures of an extreme shape hold no such part; then it is the largest in their middle.
    width = min(total_width, round(total_height * _ASPECT[1]))
    height = min(total_height, round(total_width / _ASPECT[0]))
    return (total_width - width) // 2, (total_height - height) // 2, width, height, mirrored
