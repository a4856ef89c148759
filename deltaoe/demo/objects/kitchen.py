"""What stands and lies on a kitchen table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import numpy as np

from deltaoe.demo.objects.kind import PAINTS, Kind
from deltaoe.demo.shapes import (
    WHITE,
    Color,
    Point,
    Shape,
    arc,
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
    shade,
    smooth,
)

_CREAM: Color = (0.96, 0.90, 0.76)
_CHERRY: Color = (0.80, 0.08, 0.14)


def lathed(side: Sequence[Point], color: Color, *, rounded: bool = True) -> Shape:
    """What comes off a lathe or a potter's wheel: the right side from top to bottom, and its mirror image."""
    right = smooth(side, closed=False) if rounded else np.array(side, dtype=np.float64)
    return Shape(np.concatenate([right, right[::-1] * (-1.0, 1.0)]), color)


def flame(x: float, y: float, size: float) -> list[Shape]:
    """A candle's flame, with its foot at (x, y) and ``size`` tall."""
    outer, inner = (1.0, 0.60, 0.12), (1.0, 0.90, 0.40)
    drop = [(0.0, 0.0), (0.3, -0.22), (0.19, -0.6), (0.0, -1.0), (-0.15, -0.62), (-0.3, -0.22)]
    return [
        blob([(x + size * a, y + size * b) for a, b in drop], outer),
        marking(blob([(x + size * a * 0.5, y + size * b * 0.6) for a, b in drop], inner)),
    ]


def drum(half: float, top: float, bottom: float, tilt: float, color: Color, narrowing: float = 1.0) -> Shape:
    """The outline of an upright cylinder seen from above; ``tilt`` is the half-height of its round top."""
    above = arc(0, top, half, tilt, 180, 360)
    below = arc(0, bottom - tilt, half * narrowing, tilt, 0, 180)
    return Shape(np.concatenate([above, below]), color)


def mug(r: Random, paint: Color) -> list[Shape]:
    """A cup with straight sides, a handle, often something hot in it."""
    half, top, tilt = r.uniform(0.55, 0.66), r.uniform(-0.75, -0.5), r.uniform(0.13, 0.22)
    narrowing, dark = r.uniform(0.8, 1.0), shade(paint, 0.55)
    out = [ring(half * 0.9, 0.12, 0.4, r.uniform(0.34, 0.42), 0.15, paint)]
    out += [drum(half, top, 0.85, tilt, paint, narrowing), ellipse(0, top, half, tilt, shade(paint, 1.25))]
    drink = r.choice(((0.30, 0.17, 0.09), (0.55, 0.33, 0.15), dark))
    out.append(ellipse(0, top + 0.02, half - 0.09, tilt - 0.055, drink))
    pale = mix(paint, WHITE, 0.75) if sum(paint) < 2.3 else PAINTS["blue"]
    mark = r.randrange(4)
    if mark == 0:
        out += [marking(ellipse(x, 0.22, 0.09, 0.09, pale)) for x in (-0.28, 0, 0.28)]
    elif mark == 1:
        heart = [(0, 0.42), (-0.24, 0.16), (-0.14, 0.02), (0, 0.12), (0.14, 0.02), (0.24, 0.16)]
        out.append(marking(blob(heart, pale)))
    if r.random() < 0.5:
        for x in (-0.22, 0.12):
            out.append(
                marking(curve([(x, top - 0.1), (x + 0.1, -0.8), (x, -0.9), (x + 0.08, -1)], 0.06, WHITE))
            )
    return moved(out, -0.2, 0)


def teapot(r: Random, paint: Color) -> list[Shape]:
    """A bulging pot with a spout, a handle and a lid with a knob."""
    wide, high = r.uniform(0.52, 0.62), r.uniform(0.46, 0.56)
    middle, accent = 0.22, r.choice((paint, shade(paint, 0.65), shade(paint, 1.4)))
    out = [ring(wide - 0.06, middle - 0.04, 0.38, 0.36, 0.14, accent)]
    lip = r.uniform(-0.36, -0.22)
    spout = [
        (-wide * 0.7, 0.05),
        (-wide - 0.06, -0.02),
        (-wide - 0.16, lip + 0.04),
        (-wide - 0.24, lip - 0.06),
    ]
    under = [(-wide - 0.42, lip + 0.02), (-wide - 0.3, lip + 0.14), (-wide - 0.18, 0.3), (-wide * 0.6, 0.56)]
    out.append(Shape(np.concatenate([smooth(spout, closed=False), smooth(under, closed=False)]), paint))
    out.append(rect(-0.3, middle + high - 0.12, 0.3, middle + high + 0.1, accent, corner=0.05))
    out.append(ellipse(0, middle, wide, high, paint))
    top = middle - high
    out.append(ellipse(0, top - 0.17, 0.11, 0.12, accent))
    lid = [(0.0, top - 0.12), (0.2, top - 0.08), (0.34, top + 0.08), (0.36, top + 0.14)]
    out.append(lathed(lid, accent if r.random() < 0.5 else paint))
    mark, pale = r.randrange(3), mix(paint, WHITE, 0.7) if sum(paint) < 2.3 else PAINTS["blue"]
    if mark == 0:
        out += [marking(ellipse(x, middle + 0.08, 0.08, 0.08, pale)) for x in (-0.3, 0, 0.3)]
    elif mark == 1:
        out += [marking(ellipse(0.13 * a, middle + 0.06 + 0.13 * b, 0.09, 0.09, pale)) for a, b in _AROUND]
    return out


_AROUND = tuple((math.cos(math.tau * i / 5), math.sin(math.tau * i / 5)) for i in range(5))


def bottle(r: Random, paint: Color) -> list[Shape]:
    """A bottle with square or sloping shoulders, a cap or a cork, mostly with a label."""
    half, neck = r.uniform(0.3, 0.4), r.uniform(0.11, 0.14)
    shoulder = r.uniform(-0.3, -0.05)
    rise = r.uniform(0.12, 0.4)  # how gently the neck opens out
    side = [(neck, -0.86), (neck, -0.6), (neck, shoulder - rise - 0.05), (half * 0.9, shoulder - 0.06)]
    side += [(half, shoulder + 0.1), (half, 0.5), (half, 0.88), (half * 0.94, 0.97), (half * 0.8, 0.98)]
    out: list[Shape] = []
    if r.random() < 0.5:
        out.append(rect(-neck * 0.8, -0.99, neck * 0.8, -0.7, (0.76, 0.58, 0.38)))
        out += [lathed(side, paint), rect(-neck - 0.05, -0.86, neck + 0.05, -0.74, paint, corner=0.03)]
    else:
        cap = r.choice([PAINTS["red"], PAINTS["white"], PAINTS["yellow"], shade(paint, 0.5)])
        out += [lathed(side, paint), rect(-neck - 0.04, -1.0, neck + 0.04, -0.78, cap, corner=0.03)]
    if r.random() < 0.75:
        top = shoulder + r.uniform(0.18, 0.28)
        bottom = top + r.uniform(0.3, 0.42)
        out.append(rect(-half, top, half, bottom, _CREAM if sum(paint) < 2.3 else PAINTS["blue"]))
        out.append(marking(ellipse(0, (top + bottom) / 2, 0.11, 0.09, shade(paint, 0.8))))
    if r.random() < 0.6:
        x = -half + 0.12
        out.append(marking(line([(x, shoulder + 0.08), (x, 0.75)], 0.06, shade(paint, 1.45))))
    return out


def fork(r: Random, paint: Color) -> list[Shape]:
    """A fork, all of one piece."""
    count = r.choice((3, 4, 4))
    tine, gap = (0.13, 0.15) if count == 3 else (0.11, 0.13)
    half = (count * tine + (count - 1) * gap) / 2
    root, neck = r.uniform(-0.5, -0.4), r.uniform(0.06, 0.08)
    teeth: list[Point] = []
    for i in range(count):
        left = -half + i * (tine + gap)
        teeth += [(left, root), (left + 0.02, -0.96), (left + 0.05, -1.0), (left + tine - 0.05, -1.0)]
        teeth += [(left + tine - 0.02, -0.96), (left + tine, root)]
    throat, end = root + r.uniform(0.36, 0.46), r.uniform(0.09, 0.14)
    right = [(half, root), (half * 0.97, root + 0.16), (half * 0.6, root + 0.32), (neck, throat)]
    right += [(neck, 0.4), (end, 0.72), (end * 0.97, 0.92), (0.0, 1.0)]
    side = smooth(right, closed=False)
    return [Shape(np.concatenate([np.array(teeth), side, side[::-1] * (-1.0, 1.0)]), paint)]


def _icing(half: float, top: float, tilt: float, drip: float, r: Random, color: Color) -> list[Shape]:
    """Icing on the top of a drum, run down its side in drops."""
    edge: list[Point] = []
    count = max(4, round(half * 9))
    for i in range(2 * count + 1):
        x = half * math.cos(math.pi * i / (2 * count))
        hang = drip * r.uniform(0.8, 1.3) if i % 2 else drip * 0.25
        edge.append((x, top + tilt * math.sin(math.pi * i / (2 * count)) + hang))
    rim = arc(0, top, half, tilt, 180, 360)
    return [Shape(np.concatenate([rim, smooth(edge, closed=False)]), color)]


def _tier(half: float, top: float, bottom: float, r: Random, paint: Color, icing: Color) -> list[Shape]:
    """One storey of a cake."""
    tilt = half * 0.22
    return [
        drum(half, top, bottom + tilt, tilt, paint),
        *_icing(half, top, tilt, (bottom - top) * 0.3, r, icing),
    ]


def cake(r: Random, paint: Color) -> list[Shape]:
    """A cake with icing: of one or two storeys with cherries or candles, or a slice with layers."""
    icing = (
        r.choice((_CREAM, WHITE, mix(paint, WHITE, 0.6)))
        if sum(paint) < 2.2
        else mix(paint, PAINTS["pink"], 0.35)
    )
    if r.random() < 0.25:
        return _slice(r, paint, _CREAM if sum(paint) < 1.7 else (0.62, 0.42, 0.26))
    out = [ellipse(0, 0.72, 0.98, 0.24, WHITE)]
    if r.random() < 0.5:
        out += _tier(0.8, 0.08, 0.62, r, paint, icing) + _tier(0.5, -0.42, 0.02, r, paint, icing)
        half, top = 0.5, -0.42
    else:
        half, top = 0.78, r.uniform(-0.3, -0.15)
        out += _tier(half, top, 0.6, r, paint, icing)
    if r.random() < 0.6:
        color = r.choice([PAINTS["red"], PAINTS["blue"], PAINTS["pink"]])
        for x in (-0.6, 0.0, 0.6):
            out.append(line([(x * half, top + 0.02), (x * half, top - 0.26)], 0.1, color))
            out += flame(x * half, top - 0.29, 0.26)
    else:
        out += [ellipse(x * half, top - 0.06, 0.12, 0.12, _CHERRY) for x in (-0.62, 0.0, 0.62)]
    return out


def _slice(r: Random, icing: Color, sponge: Color) -> list[Shape]:
    """A wedge of cake, seen from its cut side."""
    top, bottom, tip, back = r.uniform(-0.3, -0.15), 0.62, -0.9, 0.72
    cut = rect(tip, top, back, bottom, sponge)
    out = [ellipse(0, 0.66, 1.0, 0.22, WHITE), cut]
    out.append(polygon([(tip, top), (back - 0.25, top - 0.42), (0.95, top - 0.2), (back, top)], icing))
    out.append(polygon([(back, top), (0.95, top - 0.2), (0.95, bottom - 0.18), (back, bottom)], icing))
    third = (bottom - top) / 3
    out += [rect(tip, top + third * k - 0.06, back, top + third * k + 0.06, icing) for k in (1, 2)]
    out.append(ellipse(0.45, top - 0.3, 0.16, 0.16, _CHERRY))
    return out


KINDS = (
    Kind("mug", mug, most_turn=8),
    Kind("teapot", teapot, most_turn=8),
    Kind("bottle", bottle, most_turn=15),
    Kind("fork", fork, most_turn=50),
    Kind("cake", cake, most_turn=4),
)
