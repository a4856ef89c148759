"""Shapes that pictures are made of, and ways to arrange them. What they look like is up to a style.

Coordinates are those of the object, x to the right and y *down*, and an object fills about −1 … 1 in both. Shapes
are painted in the order of their list, later ones on top.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Color = tuple[float, float, float]  # red, green, blue, each 0 … 1
Point = tuple[float, float]
Points = npt.NDArray[np.float64]  # (n, 2)

BLACK: Color = (0.12, 0.11, 0.12)
WHITE: Color = (0.95, 0.95, 0.93)
_ROUND = 28  # corners of a whole ellipse: none is seen at the sizes drawn here


@dataclass(frozen=True)
class Shape:
    """A filled area, or a line.

    Attributes:
        points: (n, 2) corners of the area, or places along the line.
        color: of the material, without light.
        width: of the line; 0 for an area, which is closed by itself.
        outlined: whether styles that draw contours draw one here. False for markings on a surface (a stripe, a
            patch of light), whose edge is no edge of a thing.
        height: how far it stands out from what lies beneath, for shading; 0 for what is painted on.
    """

    points: Points
    color: Color
    width: float = 0.0
    outlined: bool = True
    height: float = 1.0


def marking(shape: Shape) -> Shape:
    """The same shape as something painted on a surface: no contour, no height."""
    return dataclasses.replace(shape, outlined=False, height=0.0)


# Areas


def polygon(points: Iterable[Point], color: Color) -> Shape:
    """An area with straight edges."""
    return Shape(np.array(list(points), dtype=np.float64), color)


def rect(left: float, top: float, right: float, bottom: float, color: Color, corner: float = 0.0) -> Shape:
    """A rectangle; ``corner`` is the radius of its rounded corners."""
    if corner <= 0:
        return polygon([(left, top), (right, top), (right, bottom), (left, bottom)], color)
    corner = min(corner, abs(right - left) / 2, abs(bottom - top) / 2)
    arcs = [
        arc(x, y, corner, corner, start, start + 90)
        for x, y, start in (
            (right - corner, bottom - corner, 0),
            (left + corner, bottom - corner, 90),
            (left + corner, top + corner, 180),
            (right - corner, top + corner, 270),
        )
    ]
    return Shape(np.concatenate(arcs), color)


def ellipse(x: float, y: float, rx: float, ry: float, color: Color, tilt: float = 0.0) -> Shape:
    """An ellipse around (x, y), turned clockwise by ``tilt`` degrees."""
    outline = arc(0, 0, rx, ry, 0, 360)
    return Shape(_turn(outline, tilt) + np.array((x, y)), color)


def sector(x: float, y: float, rx: float, ry: float, start: float, end: float, color: Color) -> Shape:
    """The part of an ellipse cut off by the chord between two angles (0 is right, 90 is down)."""
    return Shape(arc(x, y, rx, ry, start, end), color)


def blob(points: Sequence[Point], color: Color) -> Shape:
    """A smooth closed area through the points, in order."""
    return Shape(smooth(points, closed=True), color)


# Lines


def line(points: Iterable[Point], width: float, color: Color) -> Shape:
    """A line with straight pieces and round ends."""
    return Shape(np.array(list(points), dtype=np.float64), color, width=width)


def curve(points: Sequence[Point], width: float, color: Color) -> Shape:
    """A smooth line through the points, with round ends."""
    return Shape(smooth(points, closed=False), color, width=width)


def ring(
    x: float,
    y: float,
    rx: float,
    ry: float,
    width: float,
    color: Color,
    start: float = 0.0,
    end: float = 360.0,
) -> Shape:
    """A line along an ellipse, or along its part between two angles."""
    return Shape(arc(x, y, rx, ry, start, end), color, width=width)


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> Points:
    """Points (n, 2) along an ellipse from one angle to another, in degrees (0 is right, 90 is down)."""
    count = max(3, round(_ROUND * abs(end - start) / 360) + 1)
    angles = np.radians(np.linspace(start, end, count))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def smooth(points: Sequence[Point], *, closed: bool) -> Points:
    """Points (n, 2) along a Catmull–Rom spline through the given ones."""
    given = np.array(points, dtype=np.float64)
    if closed:
        knots = np.concatenate([given[-1:], given, given[:2]])
    else:
        knots = np.concatenate([2 * given[:1] - given[1:2], given, 2 * given[-1:] - given[-2:-1]])
    t = np.linspace(0, 1, 8, endpoint=False)[:, None, None]
    a, b, c, d = (knots[i : len(knots) - 3 + i] for i in range(4))
    pieces = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    path = pieces.transpose(1, 0, 2).reshape(-1, 2)
    return path if closed else np.concatenate([path, given[-1:]])


# Arranging


def moved(shapes: Iterable[Shape], dx: float, dy: float) -> list[Shape]:
    """Shapes shifted by (dx, dy)."""
    return [dataclasses.replace(s, points=s.points + np.array((dx, dy))) for s in shapes]


def turned(shapes: Iterable[Shape], degrees: float, about: Point = (0.0, 0.0)) -> list[Shape]:
    """Shapes turned clockwise about a point."""
    return [dataclasses.replace(s, points=_turn(s.points - about, degrees) + about) for s in shapes]


def scaled(shapes: Iterable[Shape], x: float, y: float | None = None) -> list[Shape]:
    """Shapes stretched about the origin; line widths follow the mean of both factors. Negative mirrors."""
    y = x if y is None else y
    thicker = math.sqrt(abs(x * y))
    return [dataclasses.replace(s, points=s.points * (x, y), width=s.width * thicker) for s in shapes]


def sheared(shapes: Iterable[Shape], x: float) -> list[Shape]:
    """Shapes leaning to the right by ``x`` per unit of height."""
    return [dataclasses.replace(s, points=s.points @ np.array([[1.0, 0.0], [-x, 1.0]])) for s in shapes]


def _turn(points: Points, degrees: float) -> Points:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turned: Points = points @ np.array([[cosine, sine], [-sine, cosine]])
    return turned


# Colours


def shade(color: Color, factor: float) -> Color:
    """The colour darkened (factor < 1) or lightened towards white (> 1)."""
    if factor <= 1:
        return (color[0] * factor, color[1] * factor, color[2] * factor)
    return mix(color, (1.0, 1.0, 1.0), min(1.0, factor - 1))


def mix(a: Color, b: Color, share: float) -> Color:
    """The first colour with ``share`` of the second mixed in.

    Example:
        >>> mix((0.0, 0.0, 0.0), (1.0, 0.5, 0.0), 0.5)
        (0.5, 0.25, 0.0)
    """
    return (
        a[0] + (b[0] - a[0]) * share,
        a[1] + (b[1] - a[1]) * share,
        a[2] + (b[2] - a[2]) * share,
    )
