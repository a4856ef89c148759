"""Things that make music."""

from __future__ import annotations

import math
from random import Random

from deltaoe.demo.objects.kind import Kind
from deltaoe.demo.shapes import (
    BLACK,
    WHITE,
    Color,
    Point,
    Shape,
    arc,
    blob,
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
    turned,
)

_WOOD: Color = (0.36, 0.22, 0.13)
_PALE_WOOD: Color = (0.82, 0.64, 0.42)
_SKIN: Color = (0.93, 0.90, 0.82)
_GOLD: Color = (0.86, 0.68, 0.25)


def guitar(r: Random, paint: Color) -> list[Shape]:
    """An acoustic guitar with a round hole, or an electric one with horns."""
    half = r.uniform(0.5, 0.62)
    wood = mix(_WOOD, BLACK, r.uniform(0, 0.5))
    neck, strings = r.uniform(0.085, 0.11), mix(WHITE, wood, 0.2)
    out = [ellipse(side * (neck + 0.12), y, 0.08, 0.05, WHITE) for side in (-1, 1) for y in (-0.93, -0.79)]
    out.append(polygon([(-neck, -0.66), (-0.17, -0.99), (0.17, -0.99), (neck, -0.66)], mix(wood, paint, 0.3)))
    if r.random() < 0.6:
        out.append(_acoustic(half, half * r.uniform(0.72, 0.82), half * r.uniform(0.5, 0.58), paint))
        hole = half * r.uniform(0.28, 0.34)
        out += [ellipse(0, 0.26, hole, hole, BLACK), rect(-0.24, 0.62, 0.24, 0.71, wood)]
        out.append(rect(-neck, -0.7, neck, 0.12, wood))
    else:
        out.append(_electric(half, paint))
        out.append(rect(-neck, -0.7, neck, 0.16, wood))
        out += [rect(-0.2, y, 0.2, y + 0.1, BLACK if paint[1] > 0.3 else WHITE) for y in (0.24, 0.42)]
        out.append(rect(-0.18, 0.62, 0.18, 0.7, (0.75, 0.76, 0.78)))
        out += [ellipse(x * half, y, 0.065, 0.065, WHITE) for x, y in ((0.52, 0.5), (0.6, 0.68))]
    frets = [marking(line([(-neck, y), (neck, y)], 0.03, strings)) for y in (-0.55, -0.38, -0.21, -0.05)]
    return out + frets + [marking(line([(x, -0.9), (x, 0.64)], 0.03, strings)) for x in (-0.04, 0.04)]


def _acoustic(lower: float, upper: float, waist: float, paint: Color) -> Shape:
    right = [(0.22, -0.12), (upper * 0.85, -0.02), (upper, 0.14), (waist + 0.04, 0.33), (waist + 0.06, 0.42)]
    right += [(lower * 0.93, 0.55), (lower, 0.74), (lower * 0.72, 0.95)]
    return blob([*right, (0, 1.0), *_mirrored(right)], paint)


def _electric(half: float, paint: Color) -> Shape:
    right = [(0.14, 0.12), (half * 0.5, 0.06), (half * 0.68, -0.2), (half * 0.95, -0.14), (half * 0.9, 0.1)]
    right += [(half * 0.74, 0.36), (half, 0.62), (half * 0.8, 0.92), (half * 0.35, 1.0)]
    left = [(x, y - 0.12 if y < 0 else y) for x, y in _mirrored(right)]
    return blob([*right, *left], paint)


def _mirrored(points: list[Point]) -> list[Point]:
    return [(-x, y) for x, y in reversed(points)]


def drum(r: Random, paint: Color) -> list[Shape]:
    """A drum with hoops and zigzag cords, with two sticks on it or above it."""
    half, flat = r.uniform(0.66, 0.85), r.uniform(0.2, 0.3)
    top, bottom = r.uniform(-0.35, -0.15), r.uniform(0.5, 0.68)
    hoop = r.choice((_GOLD, WHITE, shade(paint, 0.5)))
    cord = r.choice((WHITE, _GOLD)) if sum(paint) < 2 else _WOOD
    side = [(half, top), *((x, y) for x, y in arc(0, bottom, half, flat, 0, 180).tolist()), (-half, top)]
    out = [polygon(side, paint)]
    count = r.choice((6, 8))
    zigzag = [
        (
            half * math.cos(math.pi * i / count),
            (bottom if i % 2 else top) + flat * math.sin(math.pi * i / count),
        )
        for i in range(count + 1)
    ]
    out.append(marking(line(zigzag, 0.06, cord)))
    out += [ring(0, bottom, half, flat, 0.12, hoop, 0, 180), ring(0, top, half, flat, 0.12, hoop, 0, 180)]
    out += [ellipse(0, top, half + 0.05, flat + 0.05, hoop), ellipse(0, top, half - 0.05, flat - 0.03, _SKIN)]
    spread, stick = r.uniform(0.1, 0.3), r.choice((_PALE_WOOD, _WOOD))
    for sign in (-1, 1):
        tip = (-sign * spread, top + r.uniform(-0.06, 0.04))
        end = (sign * r.uniform(0.7, 0.95), top - r.uniform(0.5, 0.65))
        out += [line([end, tip], 0.08, stick), ellipse(*tip, 0.1, 0.08, stick)]
    return turned(moved(out, 0, 0.1), r.uniform(-8, 8))


def bell(r: Random, paint: Color) -> list[Shape]:
    """A bell with its clapper, that hangs from a loop or has a handle."""
    shoulder, lip = r.uniform(0.36, 0.46), r.uniform(0.7, 0.84)
    right = [(0.1, -0.6), (shoulder * 0.75, -0.5), (shoulder, -0.25), (shoulder * 1.12, 0.1)]
    right += [(shoulder * 1.3, 0.32), (lip, 0.55)]
    sway, deep = r.uniform(-0.2, 0.2), r.uniform(0.13, 0.22)
    dark = shade(paint, 0.6)
    if r.random() < 0.4:
        top = [rect(-0.1, -0.98, 0.1, -0.55, _WOOD, 0.09), ellipse(0, -0.58, 0.17, 0.07, dark)]
    else:
        top = [ring(0, -0.74, 0.16, 0.17, 0.1, dark)]
    body = [tuple(p) for p in smooth(right, closed=False).tolist()]
    clapper = ellipse(sway, 0.57 + deep, 0.17, 0.16, r.choice((_GOLD, dark, _WOOD)))
    outline = [*body, *((x, y) for x, y in arc(0, 0.55, lip, deep, 0, 180).tolist()), *_mirrored(body)]
    out = [*top, clapper, polygon(outline, paint)]
    if r.random() < 0.5:  # seen from below
        mouth = ellipse(0, 0.55, lip, deep, shade(paint, 0.4))
        out = [
            *top,
            polygon(outline, paint),
            mouth,
            line([(0, 0.5), (sway, 0.55 + deep)], 0.07, dark),
            clapper,
        ]
    bands = [(0.34, shoulder * 1.33)] if r.random() < 0.7 else [(-0.28, shoulder), (0.34, shoulder * 1.33)]
    out[len(top) + 2 :] += [
        marking(ring(0, y - 0.04, x - 0.03, deep * 0.6, 0.06, dark, 5, 175)) for y, x in bands
    ]
    gleam = [(-shoulder * 0.45, -0.35), (-shoulder * 0.6, -0.1), (-shoulder * 0.65, 0.12)]
    return [*out, marking(line(gleam, 0.09, shade(paint, 1.45)))]


def trumpet(r: Random, paint: Color) -> list[Shape]:
    """A trumpet from the side: mouthpiece, loop of tube, three valves, wide bell."""
    tube, mouth = r.uniform(0.09, 0.11), r.uniform(0.44, 0.56)
    low, right = r.uniform(0.42, 0.52), r.uniform(0.36, 0.44)
    dark = shade(paint, 0.65)
    loop = [*arc(right, low / 2, 0.22, low / 2, -90, 90).tolist()]
    loop += arc(-0.45, low / 2, 0.22, low / 2, 90, 270).tolist()
    out = [line([*((x, y) for x, y in loop), (right, 0)], tube, paint)]
    out.append(line([(-0.9, 0), (-0.4, 0)], tube * 0.8, paint))
    cup = [(-1.0, 0.13), (-0.96, 0.13), (-0.84, 0.04)]
    out.append(polygon([*cup, *((x, -y) for x, y in reversed(cup))], dark))
    flare = [(-0.35, tube / 2), (0.3, tube * 0.75), (0.62, mouth * 0.3), (0.82, mouth * 0.58), (0.95, mouth)]
    edge = [(x, y) for x, y in smooth(flare, closed=False).tolist()]
    out += [
        polygon([*edge, *((x, -y) for x, y in reversed(edge))], paint),
        ellipse(0.94, 0, 0.09, mouth, dark),
    ]
    for x in (-0.32, -0.08, 0.16):
        out.append(line([(x, -0.38), (x, -0.1)], 0.05, dark))
        out.append(rect(x - 0.07, -0.44, x + 0.07, -0.36, WHITE))
        out.append(rect(x - 0.065, -0.2, x + 0.065, low + 0.14, mix(paint, WHITE, 0.2), 0.03))
    return moved(out, 0, -0.06)


KINDS = (
    Kind("guitar", guitar, most_turn=50),
    Kind("drum", drum, most_turn=8),
    Kind("bell", bell, most_turn=18),
    Kind("trumpet", trumpet, ("yellow", "orange", "grey", "brown", "red", "blue", "black"), most_turn=25),
)
