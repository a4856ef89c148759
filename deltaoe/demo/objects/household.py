"""What is found about the house: furniture, light and tools."""

from __future__ import annotations

import itertools
import math
from random import Random

import numpy as np

from deltaoe.demo.objects.kind import PAINTS, Kind
from deltaoe.demo.objects.kitchen import drum, flame, lathed
from deltaoe.demo.shapes import (
    BLACK,
    WHITE,
    Color,
    Point,
    Shape,
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
    sector,
    shade,
    smooth,
    turned,
)

_STEEL: Color = (0.74, 0.77, 0.80)
_GLOW: Color = (1.0, 0.92, 0.55)


def umbrella(r: Random, paint: Color) -> list[Shape]:
    """An open umbrella with a scalloped edge and a crook."""
    half, top, rim = r.uniform(0.85, 0.98), -0.86, r.uniform(-0.22, -0.05)
    wood, crook = r.choice([PAINTS["brown"], BLACK, PAINTS["grey"]]), r.uniform(0.13, 0.17)
    down = [(0.0, -0.98), (0.0, 0.78)]
    hook = [(crook + crook * math.cos(a), 0.78 + 0.18 * math.sin(a)) for a in np.linspace(math.pi, 0, 8)]
    out = [line([*down, *hook, (2 * crook, 0.7)], 0.1, wood)]
    count = r.choice((4, 5, 6))
    ends = [-half * math.cos(math.pi * i / count) for i in range(count + 1)]
    other = r.choice((shade(paint, 0.85), paint, mix(paint, WHITE, 0.75)))

    def rib(x: float) -> list[Point]:
        return [(x * math.sin(t), rim + (top - rim) * math.cos(t)) for t in np.linspace(0, math.pi / 2, 9)]

    for i, (a, b) in enumerate(itertools.pairwise(ends)):
        scallop = smooth([(b, rim), ((a + b) / 2, rim - 0.09), (a, rim)], closed=False)
        panel = np.concatenate([np.array(rib(b)), scallop, np.array(rib(a))[::-1]])
        out.append(Shape(panel, other if i % 2 else paint))
    return out


def key(r: Random, paint: Color) -> list[Shape]:
    """A key: an old one with a ring and a bit, or a flat one with a notched edge."""
    if r.random() < 0.35:
        stem = [(-0.1, -0.2), (0.6, -0.2), (0.98, 0.0), (0.82, 0.16), (0.7, 0.04), (0.56, 0.2), (0.42, 0.06)]
        stem += [(0.28, 0.2), (0.14, 0.2), (-0.1, 0.2)]
        bow = ring(-0.5, 0, 0.33, r.uniform(0.32, 0.42), 0.26, paint)
        return [polygon(stem, paint), bow]
    half, teeth = 0.085, r.choice((2, 3))
    start = 0.86 - 0.26 * teeth
    below: list[Point] = []
    for i in range(teeth):
        left, deep = start + 0.3 * i, half + r.uniform(0.22, 0.38)
        below += [(left, half), (left, deep), (left + 0.15, deep), (left + 0.15, half)]
    tip = below[-1][0] + r.choice((0.0, 0.1))
    shaft = [(-0.3, half), *below, (tip, half), (tip, -half), (-0.3, -half)]
    out = [polygon(shaft, paint)]
    if r.random() < 0.3:  # a bow like a clover leaf
        out += [ring(x, y, 0.2, 0.2, 0.12, paint) for x, y in ((-0.42, -0.27), (-0.42, 0.27), (-0.76, 0.0))]
    else:
        out.append(ring(-0.58, 0, 0.32, r.uniform(0.28, 0.42), 0.17, paint))
    out.append(rect(-0.2, -half - 0.08, -0.08, half + 0.08, paint))
    return out


def clock(r: Random, paint: Color) -> list[Shape]:
    """A clock for the wall, or one with bells to wake up by."""
    face, alarm = r.choice((WHITE, WHITE, mix(paint, WHITE, 0.8))), r.random() < 0.5
    radius, y = (0.7, 0.12) if alarm else (r.uniform(0.85, 0.95), 0.0)
    out: list[Shape] = []
    if alarm:
        for side in (-1, 1):
            out.append(line([(side * 0.3, y + 0.4), (side * 0.58, 0.95)], 0.16, shade(paint, 0.7)))
            out += turned([sector(0, -0.78, 0.32, 0.27, 180, 360, paint)], side * 38, (0, y))
        out.append(line([(0, y - radius), (0, -0.86)], 0.1, shade(paint, 0.7)))
    if alarm or r.random() < 0.7:
        out.append(ellipse(0, y, radius, radius, paint))
    else:
        out.append(rect(-radius, -radius, radius, radius, paint, corner=r.choice((0.0, 0.25))))
    inner = radius * r.uniform(0.72, 0.78)
    out.append(ellipse(0, y, inner, inner, face))
    for hour in range(0, 12, r.choice((1, 3))):
        a, near = math.radians(30 * hour), 0.74 if hour % 3 == 0 else 0.82
        ends = [(inner * q * math.cos(a), y + inner * q * math.sin(a)) for q in (near, 0.9)]
        out.append(marking(line(ends, 0.06, BLACK)))
    now = r.uniform(0, 12)
    for turn, length, width in ((now / 12, 0.5, 0.1), (now % 1, 0.74, 0.07)):
        a = math.tau * turn
        end = (inner * length * math.sin(a), y - inner * length * math.cos(a))
        out.append(marking(line([(0, y), end], width, BLACK)))
    return out


def lamp(r: Random, paint: Color) -> list[Shape]:
    """A table lamp with a cloth shade, or a desk lamp with a jointed arm."""
    if r.random() < 0.3:
        return _desk_lamp(r, paint)
    wide, narrow, rim = r.uniform(0.66, 0.8), r.uniform(0.3, 0.42), r.uniform(-0.12, 0.02)
    foot = r.choice([PAINTS["brown"], _STEEL, shade(paint, 0.6)])
    out: list[Shape] = []
    if r.random() < 0.5:  # a vase for a foot
        belly = r.uniform(0.28, 0.36)
        out.append(rect(-0.07, rim - 0.1, 0.07, 0.4, foot))
        side = [(0.09, 0.2), (0.14, 0.26), (belly, 0.5), (belly * 0.8, 0.76), (0.2, 0.88), (0.26, 0.97)]
        out.append(lathed(side, foot))
    else:
        out += [rect(-0.07, rim - 0.1, 0.07, 0.88, foot), sector(0, 0.97, 0.45, 0.18, 180, 360, foot)]
    if r.random() < 0.6:
        out += [line([(0.3, rim), (0.3, 0.22)], 0.05, foot), ellipse(0.3, 0.26, 0.07, 0.07, foot)]
    return [*out, *_cloth_shade(r, paint, wide, narrow, rim)]


def _cloth_shade(r: Random, paint: Color, wide: float, narrow: float, rim: float) -> list[Shape]:
    """The shade of a table lamp, from the top of the box down to ``rim``, sometimes with light shining through."""
    top, bulge = -0.93, r.uniform(0.06, 0.12)

    def zone(high: float, low: float, color: Color) -> Shape:
        edges = []
        for q, side in ((low, 1), (high, -1)):
            half, y = narrow + (wide - narrow) * q, top + (rim - top) * q
            middle = bulge * (q if q else -0.6)  # one looks at the shade's middle: its top is seen from below
            edges.append(smooth([(side * half, y), (0, y + middle), (-side * half, y)], closed=False))
        return Shape(np.concatenate(edges), color)

    out = [zone(0, 1, paint)]
    if r.random() < 0.6:
        out.append(marking(zone(0.8, 0.92, mix(paint, _GLOW, 0.6))))
    return out


def _desk_lamp(r: Random, paint: Color) -> list[Shape]:
    """A lamp with an arm that bends, its head turned down."""
    elbow, neck = (-0.55, r.uniform(-0.12, 0.05)), (0.05, r.uniform(-0.75, -0.6))
    dark = shade(paint, 0.7)
    out = [line([(-0.1, 0.8), elbow, neck], 0.11, dark), ellipse(*elbow, 0.11, 0.11, paint)]
    out.append(sector(-0.1, 0.92, 0.5, 0.22, 180, 360, paint))
    hood = [(-0.16, -0.16), (0.16, -0.16), (0.2, 0.06), (0.46, 0.48), (-0.46, 0.48), (-0.2, 0.06)]
    bulb = sector(0, 0.44, 0.24, 0.24, 0, 180, _GLOW)
    head = [bulb, polygon(hood, paint)]
    return out + turned(moved(head, *neck), -r.uniform(25, 45), neck)


def chair(r: Random, paint: Color) -> list[Shape]:
    """A chair seen from the front and a little from above, turned to one side."""
    yaw, above = math.radians(r.uniform(20, 55)), r.uniform(0.28, 0.4)
    half, deep, back, thick = r.uniform(0.46, 0.54), r.uniform(0.42, 0.5), r.uniform(0.85, 1.05), 0.12
    lean, dark = r.uniform(0.0, 0.12), shade(paint, 0.8)

    def at(x: float, height: float, z: float) -> Point:
        away = z * math.cos(yaw) + x * math.sin(yaw)
        return x * math.cos(yaw) - z * math.sin(yaw), 0.1 - height - above * away

    def upright(x: float, q: float) -> Point:
        return at(x, back * q, deep + lean * q)

    leg = 0.72
    out = [line([at(x, -leg, deep), at(x, 0, deep), upright(x, 1)], 0.12, dark) for x in (-half, half)]
    corners = [upright(-half, 0.98), upright(half, 0.98)]
    if r.random() < 0.35:
        out.append(polygon([*corners, upright(half, 0.3), upright(-half, 0.3)], paint))
    elif r.random() < 0.5:
        out += [line([upright(x, 0), upright(x, 0.9)], 0.09, dark) for x in (-half / 3, half / 3)]
        out.append(polygon([*corners, upright(half, 0.72), upright(-half, 0.72)], paint))
    else:
        for q in (0.95, 0.5):
            out.append(polygon([upright(s * half, q - d) for s, d in _CROSSED], paint))
    out += [line([at(x, -leg, -deep), at(x, -0.1, -deep)], 0.12, dark) for x in (-half, half)]
    a, b, c, d = (at(x, 0, z) for x, z in ((-half, deep), (half, deep), (half, -deep), (-half, -deep)))
    grown = [(1.08 * x, y) for x, y in (a, b, c, d)]
    (ax, ay), _, (cx, cy), (dx, dy) = grown
    skirt = [(ax, ay), (dx, dy), (cx, cy), (cx, cy + thick), (dx, dy + thick), (ax, ay + thick)]
    return moved(scaled([*out, polygon(skirt, dark), polygon(grown, paint)], 0.88), 0, 0.02)


_CROSSED = ((-1, 0.0), (1, 0.0), (1, 0.24), (-1, 0.24))


def scissors(r: Random, paint: Color) -> list[Shape]:
    """Scissors, more or less open, with coloured handles."""
    angle, pivot = r.uniform(13, 26), (0.0, 0.02)
    rx, ry = r.uniform(0.21, 0.25), r.uniform(0.27, 0.31)
    out: list[Shape] = []
    for side in (-1, 1):
        blade = [
            (side * x, y) for x, y in ((-0.1, 0.2), (-0.1, -0.45), (-0.04, -0.98), (0.11, 0.0), (0.1, 0.2))
        ]
        arm = [(0.0, 0.18), (-side * 0.02, 0.36), (-side * 0.06, 0.46)]
        loop = ellipse(-side * 0.1, 0.66, rx, ry, paint, tilt=side * 8)
        grip = Shape(np.concatenate([loop.points, loop.points[:1]]), paint, width=0.15)
        out += turned([polygon(blade, _STEEL), curve(arm, 0.2, paint), grip], side * angle, pivot)
    return [*out, ellipse(*pivot, 0.07, 0.07, shade(_STEEL, 0.5))]


def candle(r: Random, paint: Color) -> list[Shape]:
    """A burning candle, run with wax, by itself or in a holder with a handle."""
    half, top, tall = r.uniform(0.2, 0.3), r.uniform(-0.4, -0.15), r.uniform(0.46, 0.56)
    brass, bottom = r.choice([(0.80, 0.62, 0.22), _STEEL, shade(paint, 0.6)]), 0.78
    out: list[Shape] = []
    if r.random() < 0.6:
        out.append(ring(0.62, 0.68, 0.2, 0.2, 0.11, brass))
        out += [sector(0, 0.72, 0.66, 0.26, 0, 180, brass), ellipse(0, 0.72, 0.66, 0.12, shade(brass, 1.2))]
    else:
        half, bottom = half * 1.35, 0.97
    tilt = half * 0.28
    out += [drum(half, top, bottom, tilt, paint), ellipse(0, top, half, tilt, shade(paint, 1.35))]
    for x in r.sample((-0.8, -0.3, 0.35, 0.8), 2):
        low = top + r.uniform(0.25, 0.5)
        out.append(marking(line([(x * half, top + tilt * 0.6), (x * half, low)], 0.11, shade(paint, 1.3))))
    out.append(line([(0, top), (0, top - 0.14)], 0.06, BLACK))
    return [*out, *flame(0, top - 0.08, tall)]


KINDS = (
    Kind("umbrella", umbrella, most_turn=20),
    Kind("key", key, most_turn=60),
    Kind("clock", clock, most_turn=6),
    Kind("lamp", lamp, most_turn=5),
    Kind("chair", chair, most_turn=5),
    Kind("scissors", scissors, most_turn=60),
    Kind("candle", candle, most_turn=5),
)
