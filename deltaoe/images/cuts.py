"""Which part of a picture a model sees, and at what size: numbers alone, for whatever decodes and resizes it."""

from __future__ import annotations

import math
from typing import NamedTuple

# By which a JPEG's decoder divides both sides of a picture.
REDUCTIONS = (8, 4, 2)
# A reduced picture keeps at least so many times the pixels, per side, that it is then resized to. From there on the
# resizing filter decides what is seen, not the decoder's; see docs/explanation/pixels.md for what 1 would cost.
_RESERVE = 2


class Cut(NamedTuple):
    """What is resized, to what size, and what is kept of that.

    Attributes:
        part: left, top, right and bottom of the part of the picture, in its pixels.
        size: width and height that this part is resized to.
        window: left and top of the model's input in the resized part; below 0 where the input is larger, and padded.
        mirrored: whether left and right of the input are exchanged at last.
    """

    part: tuple[int, int, int, int]
    size: tuple[int, int]
    window: tuple[int, int] = (0, 0)
    mirrored: bool = False

    def reduction(self) -> int:
        """By how much a decoder may reduce the picture before: 8, 4, 2 or 1.

        Example:
            >>> Cut((0, 0, 3000, 2000), (336, 224)).reduction(), Cut((0, 0, 500, 400), (280, 224)).reduction()
            (4, 1)
        """
        left, top, right, bottom = self.part
        ratio = min((right - left) / self.size[0], (bottom - top) / self.size[1])
        return next((one for one in REDUCTIONS if ratio >= _RESERVE * one), 1)

    def window_in(
        self, part: tuple[float, float, float, float], size: tuple[int, int]
    ) -> tuple[float, float, float, float]:
        """The box that a window of some width and height comes from, if the part comes from this one.

        Example:
            >>> Cut((0, 0, 300, 200), (150, 100), window=(25, 0)).window_in((0, 0, 75, 50), (100, 100))
            (12.5, 0.0, 62.5, 50.0)
        """
        left, top, right, bottom = part
        across, down = (right - left) / self.size[0], (bottom - top) / self.size[1]
        x, y = left + self.window[0] * across, top + self.window[1] * down
        return x, y, min(x + size[0] * across, right), min(y + size[1] * down, bottom)


class Reduced(NamedTuple):
    """How a reduced picture lies in the whole one.

    Attributes:
        size: width and height of the whole picture.
        factor: by which both sides were divided, rounded up: 8, 4, 2, or 1 where it is whole.
        origin: x and y of the picture's corner in the reduced one. What was rounded up, part of a pixel, is at the
            right and the bottom, or on the other side if the picture was turned.
    """

    size: tuple[int, int]
    factor: int = 1
    origin: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def turned(cls, size: tuple[int, int], factor: int, orientation: int) -> Reduced:
        """Of a picture of a size, upright, whose file has this EXIF orientation."""
        spare = [(math.ceil(side / factor) * factor - side) / factor for side in size]
        x = spare[0] if orientation in {2, 3, 6, 7} else 0.0
        y = spare[1] if orientation in {3, 4, 7, 8} else 0.0
        return cls(size, factor, (x, y))

    def part(self, cut: Cut) -> tuple[tuple[int, int, int, int], tuple[float, float, float, float]]:
        """The part of a cut in the reduced picture: whole pixels that hold it, and the part in these.

        Example:
            >>> Reduced((1001, 500), 2).part(Cut((0, 101, 1001, 500), (448, 178)))
            ((0, 50, 501, 250), (0.0, 0.5, 500.5, 200.0))
        """
        x, y = self.origin
        left, top, right, bottom = (
            value / self.factor + start for value, start in zip(cut.part, (x, y, x, y), strict=True)
        )
        first, above, last, below = math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)
        return (first, above, last, below), (left - first, top - above, right - first, bottom - above)
