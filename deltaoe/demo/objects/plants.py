"""Plants and fruit."""

from __future__ import annotations

import math
from random import Random

import numpy as np

from deltaoe.demo.objects.kind import Kind
from deltaoe.demo.shapes import (
    WHITE,
    Color,
    Point,
    Shape,
    blob,
    curve,
    ellipse,
    line,
    marking,
    mix,
    moved,
    polygon,
    rect,
    ring,
    scaled,
    shade,
    turned,
)

_LEAVES: tuple[Color, ...] = ((0.28, 0.56, 0.22), (0.20, 0.45, 0.24), (0.45, 0.60, 0.22))
_BARK: tuple[Color, ...] = ((0.42, 0.28, 0.18), (0.35, 0.27, 0.22), (0.52, 0.40, 0.30))
_CLAY: tuple[Color, ...] = ((0.74, 0.38, 0.24), (0.60, 0.50, 0.42), (0.40, 0.50, 0.62))
_CREAM: Color = (0.92, 0.86, 0.72)


def _even(half: list[Point]) -> list[Point]:
    """An outline with the right half given, from the top down."""
    return [*half, *[(-x, y) for x, y in reversed(half) if x > 0]]


def _leaf(foot: Point, length: float, half: float, angle: float, color: Color, jag: float = 0) -> list[Shape]:
    """A pointed leaf with a rib, from its foot towards an angle (0 is right, -90 is up); its edge may be jagged."""
    side = [
        (length * (t - jag * 0.12 * (i % 2)), half * math.sin(math.pi * t**0.8) * (1 - jag * (i % 2)))
        for i, t in enumerate(np.linspace(0, 1, 9).tolist())
    ]
    outline = polygon([*side, *[(x, -y) for x, y in reversed(side[1:-1])]], color)
    rib = marking(line([(0, 0), (length * 0.75, 0)], 0.05, shade(color, 0.7)))
    return moved(turned([outline, rib], angle), *foot)


def _crown(x: float, y: float, rx: float, ry: float, bumps: int, color: Color) -> list[Shape]:
    """A mass of leaves with a wavy edge and some shadow in it."""
    angles = np.linspace(0, 2 * math.pi, bumps * 7, endpoint=False)
    out = 0.84 + 0.16 * np.abs(np.sin(angles * bumps / 2))
    mass = Shape(np.stack([x + rx * out * np.cos(angles), y + ry * out * np.sin(angles)], axis=1), color)
    dark = shade(color, 0.75)
    places = ((-0.4, -0.3, 200), (0.25, 0.0, 20), (-0.3, 0.35, 30))
    return [
        mass,
        *[marking(ring(x + a * rx, y + b * ry, 0.17, 0.14, 0.06, dark, s, s + 130)) for a, b, s in places],
    ]


def tree(r: Random, paint: Color) -> list[Shape]:
    """A tree: a round or tall crown, several on branches, or a fir."""
    bark, thick, form = r.choice(_BARK), r.uniform(0.09, 0.15), r.randrange(4)
    trunk = polygon(_even([(thick * 0.7, -0.3), (thick, 0.85), (thick * 1.7, 1)]), bark)
    if form == 0:
        wide, tiers = r.uniform(0.5, 0.72), r.choice((3, 4))
        step = 1.35 / tiers
        return [
            trunk,
            *[
                polygon([(-half, foot), (0, foot - step * 1.5), (half, foot), (0, foot + 0.08)], paint)
                for half, foot in ((wide * (1 - 0.2 * i), 0.7 - step * i) for i in range(tiers))
            ],
        ]
    if form == 1:
        return [trunk, *_crown(0, -0.25, r.uniform(0.5, 0.64), 0.72, r.randint(7, 9), paint)]
    if form == 2:
        out = [line([(0, 0.35), (s * 0.45, r.uniform(-0.25, 0))], thick * 1.1, bark) for s in (-1, 1)]
        out.append(trunk)
        for x, y, size in ((-0.52, -0.2, 0.42), (0.52, -0.15, 0.42), (0, -0.48, 0.52)):
            out += _crown(x, y + r.uniform(-0.05, 0.05), size, size * 0.8, 8, paint)
        return out
    low = r.uniform(-0.35, -0.25)
    out = [line([(0, low + 0.7), (0.25, low + 0.4)], thick * 0.9, bark), trunk]
    return out + _crown(0, low, r.uniform(0.7, 0.95), r.uniform(0.6, 0.75), r.randint(8, 11), paint)


def flower(r: Random, paint: Color) -> list[Shape]:
    """A flower on its stem: petals about a heart, or a tulip."""
    green, bend = r.choice(_LEAVES), r.uniform(-0.18, 0.18)
    out = [curve([(0, -0.35), (bend, 0.3), (0, 0.98)], 0.1, green)]
    for side in r.choice(((-1, 1), (-1, 1), (1,))):
        foot = (bend * 0.6, r.uniform(0.6, 0.8))
        out += _leaf(foot, r.uniform(0.5, 0.65), 0.14, -90 + side * r.uniform(35, 60), green)
    if r.random() < 0.3:
        cup, tall = r.uniform(0.3, 0.42), r.uniform(-1, -0.85)
        outer = [(cup * 1.1, tall), (cup * 1.2, -0.45), (cup * 0.7, -0.1), (0, -0.04), (0.05, -0.5)]
        side_petal = blob(outer, shade(paint, 0.85))
        petal = blob(_even([(0, tall + 0.1), (cup * 0.5, -0.55), (cup * 0.35, -0.15), (0, -0.06)]), paint)
        return [*out, side_petal, *scaled([side_petal], -1, 1), petal]
    count, reach = r.choice((5, 6, 8, 10)), r.uniform(0.56, 0.64)
    half = reach * min(0.42, 2.2 / count)
    petal = ellipse(0, -reach * 0.6, half, reach * 0.42, paint)
    petals = [shape for i in range(count) for shape in turned([petal], 360 * (i + 0.3) / count)]
    heart = (0.45, 0.28, 0.14) if paint[2] < 0.45 < paint[1] else (0.95, 0.78, 0.22)
    size = r.uniform(0.19, 0.25)
    return [*out, *moved([*petals, ellipse(0, 0, size, size, heart)], 0, -0.36)]


def _one_mushroom(r: Random, paint: Color) -> list[Shape]:
    """A mushroom with a domed, flat or pointed cap, plain or spotted."""
    half, thick, brim = r.uniform(0.72, 0.95), r.uniform(0.17, 0.26), r.uniform(-0.05, 0.1)
    top, sharp = r.uniform(-1, -0.7), r.uniform(0.5, 0.85)
    stem = [(thick, brim), (thick, 0.5), (thick * 1.5, 0.85), (0, 0.97)]
    cap = [(0, top), (half * sharp, top + (brim - top) * 0.3), (half, brim), (half * 0.55, brim + 0.13)]
    out = [blob(_even(stem), _CREAM)]
    if r.random() < 0.5:
        out.append(polygon(_even([(thick, brim + 0.2), (thick + 0.14, brim + 0.38)]), WHITE))
    out.append(blob(_even(cap), paint))
    spot = WHITE if sum(paint) < 2.2 else shade(paint, 0.6)
    places = ((0.05, 0.72, 0.15), (-0.45, 0.4, 0.13), (0.5, 0.35, 0.12), (0.0, 0.22, 0.11))
    for x, y, size in places if r.random() < 0.75 else ():
        x = x * half + r.uniform(-0.05, 0.05)
        out.append(marking(ellipse(x, brim - y * (brim - top), size, size * 0.85, spot)))
    return out


def mushroom(r: Random, paint: Color) -> list[Shape]:
    """A mushroom, sometimes with a small one beside it."""
    if r.random() < 0.7:
        return _one_mushroom(r, paint)
    small = moved(scaled(_one_mushroom(r, paint), 0.42), 0.58, 0.56)
    return [*moved(scaled(_one_mushroom(r, paint), 0.85, 0.97), -0.15, 0), *small]


def cactus(r: Random, paint: Color) -> list[Shape]:
    """A cactus with upright arms, in the ground or in a pot."""
    potted, dark = r.random() < 0.5, shade(paint, 0.6)
    foot, thick = (0.5, 0.36) if potted else (0.85, 0.42)
    top = r.uniform(-0.75, -0.6)
    out: list[Shape] = []
    for side in r.choice(((-1, 1), (-1, 1), (1,))):
        y, tip, far = r.uniform(-0.05, 0.2), r.uniform(-0.55, -0.3), side * r.uniform(0.58, 0.7)
        out.append(line([(0, y), (far * 0.75, y), (far, y - 0.2), (far, tip)], thick * 0.6, paint))
        out.append(marking(line([(far, y - 0.2), (far, tip)], 0.05, dark)))
    out.append(line([(0, foot), (0, top)], thick, paint))
    out += [marking(line([(x, foot), (x, top + 0.02)], 0.05, dark)) for x in (-thick * 0.2, thick * 0.2)]
    spine = mix(paint, WHITE, 0.75)
    for y in (top + 0.1, top + 0.38, top + 0.66, top + 0.94):
        spines = [line([(s * thick * 0.4, y), (s * thick * 0.72, y - 0.07)], 0.05, spine) for s in (-1, 1)]
        out += map(marking, spines)
    if potted:
        clay = r.choice(_CLAY)
        out.append(polygon(_even([(0.38, 0.5), (0.28, 0.98)]), clay))
        out.append(rect(-0.46, 0.42, 0.46, 0.58, clay))
    elif r.random() < 0.5:
        out.append(ellipse(0, 0.92, 0.7, 0.12, (0.80, 0.68, 0.45)))
    return out


def _fruit(r: Random, half: list[Point], dip: float, paint: Color) -> list[Shape]:
    """A fruit with the right half of its outline given (from the top down), a stalk, perhaps a leaf, a light."""
    outline = [(x * r.uniform(0.94, 1.04), y) for x, y in _even(half)]
    tip = (r.uniform(-0.15, 0.15), dip - 0.42)
    out = [blob(outline, paint), curve([(0, dip), (tip[0] * 0.3, dip - 0.2), tip], 0.1, r.choice(_BARK))]
    if r.random() < 0.7:
        out += _leaf((0.03, dip - 0.18), r.uniform(0.45, 0.6), 0.14, r.uniform(-40, -5), r.choice(_LEAVES))
    return out


def apple(r: Random, paint: Color) -> list[Shape]:
    """An apple with its stalk in a hollow."""
    wide, low = r.uniform(0.74, 0.86), r.uniform(0.8, 0.95)
    top = [(0, -0.42), (0.28, -0.6), (wide * 0.8, -0.48)]
    half = [*top, (wide, -0.05), (wide * 0.84, 0.55), (wide * 0.42, low), (0, low - 0.12)]
    gleam = marking(ellipse(-wide * 0.55, -0.1, 0.1, 0.2, shade(paint, 1.6), tilt=20))
    hollow = marking(ring(0, -0.52, 0.24, 0.16, 0.06, shade(paint, 0.55), 10, 170))
    fruit = _fruit(r, half, -0.4, paint)
    return [fruit[0], hollow, *fruit[1:], gleam]


def pear(r: Random, paint: Color) -> list[Shape]:
    """A pear, slim or stout, perhaps with freckles."""
    neck, wide, hip = r.uniform(0.18, 0.26), r.uniform(0.52, 0.64), r.uniform(0.38, 0.5)
    top = [(0, -0.62), (neck * 0.8, -0.56), (neck * 1.15, -0.25)]
    half = [*top, (wide * 0.8, 0.1), (wide, hip), (wide * 0.65, 0.86), (0, 0.94)]
    out = _fruit(r, half, -0.58, paint)
    for _ in range(r.choice((0, 5, 8))):
        x, y = r.uniform(-0.6, 0.6) * wide, r.uniform(0.1, 0.75)
        out.append(marking(ellipse(x, y, 0.03, 0.03, shade(paint, 0.6))))
    return [*out, marking(ellipse(-wide * 0.5, hip - 0.1, 0.09, 0.2, shade(paint, 1.6), tilt=15))]


def carrot(r: Random, paint: Color) -> list[Shape]:
    """A carrot with its leaves on."""
    half, top, green = r.uniform(0.22, 0.31), r.uniform(-0.3, -0.15), r.choice(_LEAVES)
    bow, count = r.uniform(-0.1, 0.1), r.choice((3, 5))
    out: list[Shape] = []
    for i in sorted(range(count), key=lambda i: -abs(i - count // 2)):
        lean = (i - count // 2) * r.uniform(16, 24)
        out += _leaf((lean * 0.002, top), r.uniform(0.65, 0.78), 0.2, -90 + lean, green, jag=0.4)
    right = [(half * 0.6, top - 0.06), (half, top + 0.12), (half * 0.72 + bow, 0.35), (0.07, 0.95)]
    left = [(-0.02, 0.97), (-half * 0.72 + bow, 0.35), (-half, top + 0.12), (-half * 0.6, top - 0.06)]
    out.append(blob(right + left, paint))
    for i, y in enumerate((top + 0.25, top + 0.45, top + 0.65, top + 0.85)):
        edge = half * (0.95 - 0.8 * (y - top)) * (1 if i % 2 else -1)
        ends = [(edge + bow * 0.6, y), (edge * 0.2 + bow * 0.6, y + 0.03)]
        out.append(marking(line(ends, 0.06, shade(paint, 0.62))))
    return out


_BRIGHT = ("red", "orange", "yellow", "purple", "white")
KINDS = (
    Kind("tree", tree, paints=("green", "orange", "yellow", "red", "pink"), most_turn=4),
    Kind("flower", flower, paints=(*_BRIGHT, "blue", "pink"), most_turn=12),
    Kind("mushroom", mushroom, paints=(*_BRIGHT, "brown", "grey"), most_turn=8),
    Kind("cactus", cactus, paints=("green",), most_turn=5),
    Kind("apple", apple, paints=("red", "green", "yellow"), most_turn=20),
    Kind("pear", pear, paints=("green", "yellow", "brown"), most_turn=25),
    Kind("carrot", carrot, paints=("orange", "yellow", "purple"), most_turn=60),
)
