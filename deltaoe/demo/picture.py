"""One picture: which object, where, how; drawn the same for the same key on every run."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image

from deltaoe.demo.catalogue import KINDS
from deltaoe.demo.objects.kind import PAINTS
from deltaoe.demo.scenery import PLACES, Backdrop, clutter
from deltaoe.demo.shapes import Color, Shape, moved, scaled, sheared, turned
from deltaoe.demo.styles import STYLES, Scene

_APART, _TRIES = (
    0.33,
    4,
)  # distance of red, green and blue by which an object stands out; places tried for that


@dataclass(frozen=True)
class Subject:
    """What a picture shows, in the words of a caption. A pattern has a name and nothing else."""

    kind: str
    style: str = ""
    paint: str = ""
    place: str = ""


def draw(
    kind: str, style: str, size: int, *key: object, mess: float = 1.0, reach: float = 1.0
) -> tuple[Image.Image, Subject]:
    """A picture of ``size``² pixels of an object in a style, and what it shows.

    Args:
        kind: name of a class in the catalogue.
        style: photo, painting, cartoon or sketch.
        size: width and height in pixels.
        key: whatever tells this picture from others (a seed, a number …): same key, same picture.
        mess: how much clutter lies about; 1 is usual, about 3 the most.
        reach: how large the object is; 1 is usual.

    Example:
        >>> image, subject = draw("mug", "photo", 32, "a key")
        >>> image.size, subject.kind
        ((32, 32), 'mug')
    """
    r, noises = generators(kind, style, *key)
    thing = KINDS[kind]
    paint = r.choice(thing.paints)
    color = _varied(r, PAINTS[paint])
    place, (ground, behind) = _setting(r, color)
    behind = behind + clutter(r, _count(r, 2.5 * mess))
    shapes, y = _posed(thing.draw(r, color), r, thing.most_turn, reach)
    front = clutter(r, _count(r, 0.6 * mess))
    front = [
        s for s in front if abs(float(s.points[:, 0].mean())) > 0.45 or float(s.points[:, 1].mean()) > y + 0.3
    ]
    scene = Scene(ground, behind, shapes, front)
    return STYLES[style](scene, size, r, noises), Subject(kind, style, paint, place)


def generators(*key: object) -> tuple[Random, np.random.Generator]:
    """Random generators for shapes and for pixels, seeded by the key alone."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return (
        Random(int.from_bytes(digest[:16], "big")),  # noqa: S311 - pictures, not secrets
        np.random.Generator(np.random.PCG64(int.from_bytes(digest[16:], "big"))),
    )


def _setting(r: Random, color: Color) -> tuple[str, Backdrop]:
    """A place against which this colour can be seen: of a few tried, the first that will do, else the best."""
    tried = []
    for _ in range(_TRIES):
        place = r.choice(list(PLACES))
        ground, behind = PLACES[place](r)
        areas = [ground, *(shape.color for shape in behind if shape.outlined and not shape.width)]
        apart = min(math.dist(color, area) for area in areas)
        if apart >= _APART:
            return place, (ground, behind)
        tried.append((apart, place, (ground, behind)))
    _, place, setting = max(tried, key=lambda found: found[0])
    return place, setting


def _posed(shapes: list[Shape], r: Random, most_turn: float, reach: float) -> tuple[list[Shape], float]:
    """The object near the middle of the picture, turned, stretched, mirrored; and the height of its middle."""
    size = reach * r.uniform(0.48, 0.86)
    stretch = r.uniform(0.88, 1.14)
    shapes = scaled(shapes, size * stretch * r.choice((-1, 1)), size / stretch)
    shapes = turned(sheared(shapes, r.uniform(-0.12, 0.12)), max(-1, min(1, r.gauss(0, 0.5))) * most_turn)
    room = 1.02 - size
    x, y = r.uniform(-room, room), r.uniform(-room, room)
    return moved(shapes, x, y), y


def _varied(r: Random, color: Color) -> Color:
    light = r.uniform(-0.07, 0.07)
    red, green, blue = (min(0.97, max(0.05, value + light + r.gauss(0, 0.035))) for value in color)
    return red, green, blue


def _count(r: Random, mean: float) -> int:
    """A small number of things with this mean (of a Poisson law, cut off)."""
    return sum(r.random() < mean / 8 for _ in range(8))
