"""What a class of objects is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from deltaoe.demo.shapes import Color, Shape

PAINTS: dict[str, Color] = {
    "red": (0.80, 0.16, 0.14),
    "orange": (0.92, 0.50, 0.12),
    "yellow": (0.93, 0.79, 0.20),
    "green": (0.25, 0.58, 0.24),
    "blue": (0.17, 0.36, 0.74),
    "purple": (0.50, 0.25, 0.62),
    "pink": (0.91, 0.52, 0.65),
    "brown": (0.48, 0.30, 0.17),
    "grey": (0.52, 0.53, 0.55),
    "white": (0.92, 0.91, 0.88),
    "black": (0.17, 0.16, 0.18),
}
ANY = tuple(PAINTS)


@dataclass(frozen=True)
class Kind:
    """A class of objects.

    Attributes:
        name: the class name, as in captions and prompts.
        draw: makes one object of it in −1 … 1, varied by the generator, mainly of the colour given.
        paints: names of the colours it comes in.
        most_turn: how far it may be found turned to either side, in degrees.
    """

    name: str
    draw: Callable[[Random, Color], list[Shape]]
    paints: Sequence[str] = ANY
    most_turn: float = 12.0
