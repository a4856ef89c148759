"""Houses and other things that people build."""

from __future__ import annotations

from random import Random

import numpy as np

from deltaoe.demo.objects.kind import PAINTS, Kind
from deltaoe.demo.shapes import (
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
    scaled,
    sector,
    shade,
    turned,
)

_ROOFS: tuple[Color, ...] = ((0.62, 0.24, 0.16), (0.35, 0.24, 0.20), (0.30, 0.33, 0.40), (0.45, 0.42, 0.38))
_GLASS: Color = (0.62, 0.78, 0.88)
_LAMP: Color = (0.98, 0.90, 0.50)
_WATER: Color = (0.36, 0.58, 0.74)
_CLOTH: tuple[Color, ...] = ((0.93, 0.88, 0.76), (0.93, 0.93, 0.91), (0.96, 0.90, 0.66))


def house(r: Random, paint: Color) -> list[Shape]:
    """A gabled house with a door, windows, and sometimes a chimney."""
    half, eaves = r.uniform(0.55, 0.8), r.uniform(-0.25, 0.05)
    ridge, over = eaves - r.uniform(0.4, 0.65), r.uniform(0.06, 0.16)
    roof = r.choice(_ROOFS)
    out: list[Shape] = []
    if r.random() < 0.7:
        x = r.choice((-1, 1)) * half * r.uniform(0.35, 0.6)
        out.append(rect(x - 0.09, ridge - 0.02, x + 0.09, eaves, shade(roof, 0.8)))
    out.append(rect(-half, eaves, half, 0.8, paint))
    inset = half * (r.uniform(0.2, 0.45) if r.random() < 0.5 else 1)  # 1: a gable, whose ridge is seen end on
    slopes = [(-half - over, eaves), (inset - half, ridge), (half - inset, ridge), (half + over, eaves)]
    out.append(polygon(slopes, roof))
    door = r.uniform(-0.5, 0.5) * half
    out.append(rect(door - 0.12, 0.32, door + 0.12, 0.8, mix(PAINTS["brown"], paint, 0.2)))
    places = [x for x in (-0.66 * half, 0.66 * half, 0.0) if abs(x - door) > 0.32]
    size = r.uniform(0.11, 0.15)
    for x in places:
        y = eaves + 0.34
        out.append(rect(x - size, y - size, x + size, y + size, _GLASS))
        out += [
            marking(line([(x, y - size), (x, y + size)], 0.035, shade(paint, 1.6))),
            marking(line([(x - size, y), (x + size, y)], 0.035, shade(paint, 1.6))),
        ]
    return out


def castle(r: Random, paint: Color) -> list[Shape]:
    """A wall with a gate between two towers, a keep behind; battlements or pointed roofs, and flags."""
    half, wall = r.uniform(0.2, 0.27), r.uniform(0.0, 0.25)
    top = wall - r.uniform(0.3, 0.45)
    roof, pointed = r.choice(_ROOFS), r.random() < 0.5
    flag = r.choice((PAINTS["red"], PAINTS["yellow"], PAINTS["blue"]))
    keep = r.uniform(-0.2, 0.2), half * r.uniform(1.0, 1.3), top - r.uniform(0.05, 0.25)
    out = _tower(*keep, shade(paint, 0.85), roof if r.random() < 0.4 else None, flag)
    out.append(_rampart(-0.75, wall, 0.75, 0.85, paint, r.randint(4, 6)))
    for x in (-0.7, 0.7):
        out += _tower(x, half, top, paint, roof if pointed else None, flag if r.random() < 0.5 else None)
    out.append(_arch(0, r.uniform(0.19, 0.25), 0.4, 0.85, shade(PAINTS["brown"], 0.55)))
    return scaled(moved(out, 0, 0.14), 0.88)


def _tower(
    x: float, half: float, top: float, paint: Color, roof: Color | None, flag: Color | None
) -> list[Shape]:
    head = half + 0.06
    out = [rect(x - half, top, x + half, 0.85, paint)]
    if roof:
        tip = top - 0.48
        out.append(polygon([(x - head - 0.03, top), (x, tip), (x + head + 0.03, top)], roof))
    else:
        tip = top - 0.2
        out.append(_rampart(x - head, top - 0.08, x + head, top + 0.18, paint, 3))
    if flag:
        pole = line([(x, tip + 0.1), (x, tip - 0.25)], 0.05, shade(PAINTS["brown"], 0.6))
        out = [pole, polygon([(x, tip - 0.28), (x + 0.26, tip - 0.17), (x, tip - 0.06)], flag), *out]
    out.append(_arch(x, 0.055, top + 0.26, top + 0.46, shade(paint, 0.3)))
    return out


def _rampart(left: float, top: float, right: float, foot: float, color: Color, teeth: int) -> Shape:
    step = (right - left) / (2 * teeth - 1)
    points: list[Point] = [(right, foot), (left, foot)]
    for i in range(2 * teeth - 1):
        y = top + 0.12 * (i % 2)
        points += [(left + i * step, y), (left + (i + 1) * step, y)]
    return polygon(points, color)


def _arch(x: float, half: float, top: float, foot: float, color: Color) -> Shape:
    round_top = arc(x, top + half, half, half, 180, 360)
    return Shape(np.concatenate([round_top, [(x + half, foot), (x - half, foot)]]), color)


def lighthouse(r: Random, paint: Color) -> list[Shape]:
    """A tapering banded tower with a gallery, a lantern under a dome, and often beams of light, on a rock."""
    foot, neck = r.uniform(0.3, 0.4), r.uniform(0.17, 0.23)
    top, bottom = r.uniform(-0.42, -0.3), 0.85
    bands, other = r.choice((3, 5, 5, 7)), PAINTS["white" if sum(paint) < 2.25 else "red"]
    roof = r.choice((paint, shade(paint, 0.6), _ROOFS[0]))
    out: list[Shape] = []
    if r.random() < 0.6:
        for side in r.choice(((-1,), (1,), (-1, 1))):
            ends = [(side * 0.95, top - 0.42), (side * 0.95, top + 0.08)]
            out.append(polygon([(0, top - 0.19), *ends], mix(_LAMP, (1, 1, 1), 0.35)))
    if r.random() < 0.7:
        rock = [(-0.8, 0.98), (-0.6, 0.78), (-0.2, 0.72), (0.3, 0.74), (0.65, 0.8), (0.85, 0.98)]
        out.append(blob(rock, r.choice(((0.45, 0.42, 0.40), (0.40, 0.46, 0.34)))))
    out.append(polygon([(-neck, top), (neck, top), (foot, bottom), (-foot, bottom)], paint))
    for i in range(1, bands, 2):
        y, z = (top + (bottom - top) * k / bands for k in (i, i + 1))
        a, b = (neck + (foot - neck) * k / bands for k in (i, i + 1))
        out.append(marking(polygon([(-a, y), (a, y), (b, z), (-b, z)], other)))
    out.append(_arch(0, 0.1, 0.58, bottom, shade(PAINTS["brown"], 0.6)))
    lamp = neck * 0.78
    out += [
        rect(-lamp, top - 0.32, lamp, top, _LAMP),
        marking(line([(0, top - 0.3), (0, top - 0.08)], 0.05, shade(paint, 0.4))),
        sector(0, top - 0.3, lamp + 0.07, r.uniform(0.2, 0.28), 180, 360, roof),
        rect(-neck - 0.1, top - 0.07, neck + 0.1, top + 0.03, shade(paint, 0.45)),
    ]
    return out


def windmill(r: Random, paint: Color) -> list[Shape]:
    """A tapering tower under a cap, with four big sails at any angle, often a gallery."""
    neck, foot = r.uniform(0.22, 0.3), r.uniform(0.38, 0.5)
    hub, long, wide = r.uniform(-0.32, -0.22), r.uniform(0.68, 0.76), r.uniform(0.17, 0.23)
    wood, cloth = shade(PAINTS["brown"], r.uniform(0.5, 0.9)), r.choice(_CLOTH)
    out = [
        polygon([(-neck, hub), (neck, hub), (foot, 0.95), (-foot, 0.95)], paint),
        sector(0, hub + 0.02, neck + 0.07, r.uniform(0.26, 0.36), 180, 360, r.choice(_ROOFS)),
        _arch(0, 0.11, 0.6, 0.95, wood),
    ]
    if r.random() < 0.5:
        out.append(rect(-foot - 0.1, 0.46, foot + 0.1, 0.54, wood))
    sail = [
        rect(0, -long, wide, -0.22, cloth),
        *(marking(line([(0.03, -y), (wide - 0.02, -y)], 0.04, wood)) for y in (0.36, 0.5, 0.64)),
        line([(0, 0), (0, -long - 0.04)], 0.07, wood),
    ]
    start = r.uniform(0, 90)
    for i in range(4):
        out += moved(turned(sail, start + 90 * i), 0, hub)
    out.append(ellipse(0, hub, 0.08, 0.08, shade(wood, 0.7)))
    return out


def tent(r: Random, paint: Color) -> list[Shape]:
    """A ridge tent with its flaps open and its ropes pegged down, or a tepee."""
    lining = shade(paint, 1.45) if sum(paint) < 2.3 else shade(paint, 0.7)
    return (_tepee if r.random() < 0.25 else _ridge_tent)(r, paint, lining)


def _tepee(r: Random, paint: Color, lining: Color) -> list[Shape]:
    half, gap, y = r.uniform(0.6, 0.75), r.uniform(0.14, 0.2), r.uniform(-0.2, -0.05)
    poles = [line([(x, -0.3), (-x * 1.4, -0.95)], 0.06, PAINTS["brown"]) for x in (-0.2, -0.05, 0.12, 0.22)]
    low = y + r.uniform(0.08, 0.16)
    a, b = (half * (at + 0.68) / 1.48 for at in (y, low))
    return [
        *poles,
        polygon([(-0.07, -0.72), (0.07, -0.72), (half, 0.8), (-half, 0.8)], paint),
        marking(polygon([(-a, y), (a, y), (b, low), (-b, low)], lining)),
        polygon([(0, 0.2), (gap, 0.8), (-gap, 0.8)], shade(paint, 0.25)),
    ]


def _ridge_tent(r: Random, paint: Color, lining: Color) -> list[Shape]:
    inside, wood = shade(paint, 0.25), PAINTS["brown"]
    apex, half, foot = (r.uniform(-0.42, -0.3), r.uniform(-0.75, -0.55)), r.uniform(0.48, 0.56), 0.72
    depth, rise = r.uniform(0.75, 0.95), r.uniform(0.06, 0.22)
    left, right = (apex[0] - half, foot), (apex[0] + half, foot)
    back = (apex[0] + depth, apex[1] + rise * 0.6)
    gap, fold = half * r.uniform(0.4, 0.6), r.uniform(0.16, 0.24)
    x, y = apex
    return [
        line([back, (0.98, foot - rise - 0.05)], 0.05, wood),
        line([(x, y + 0.05), (x, y - 0.12)], 0.06, wood),
        polygon([apex, back, (min(0.95, right[0] + depth * 0.9), foot - rise), right], shade(paint, 0.8)),
        polygon([apex, right, left], paint),
        polygon([(x, y + 0.1), (x + gap, foot), (x - gap, foot)], inside),
        polygon([(x, y + 0.1), (x - gap, foot), (x - gap - fold * 0.5, foot - 0.35)], lining),
        polygon([(x, y + 0.1), (x + gap, foot), (x + gap + fold * 0.5, foot - 0.35)], lining),
    ]


def bridge(r: Random, paint: Color) -> list[Shape]:
    """A stone bridge of one to three arches, or one hung from two towers; mostly over water."""
    waves = [(-0.98, 0.62), (-0.5, 0.56), (0, 0.62), (0.5, 0.56), (0.98, 0.62), (0.9, 0.86), (-0.9, 0.86)]
    water = [blob(waves, _WATER)] if r.random() < 0.85 else []
    return water + (_hanging(r, paint) if r.random() < 0.4 else _arched(r, paint))


def _arched(r: Random, paint: Color) -> list[Shape]:
    count, hump = r.choice((1, 1, 2, 3)), r.uniform(0.1, 0.35)
    pier, deck, foot = r.uniform(0.12, 0.2), r.uniform(-0.32, -0.2), 0.7
    span = (1.86 - pier * (count + 1)) / count
    top = [(x, deck - hump * (1 - x * x)) for x in np.linspace(-1, 1, 13).tolist()]
    arcs, edges = [], []
    for i in reversed(range(count)):
        x = -0.93 + pier + span / 2 + i * (span + pier)
        high = foot - deck - 0.16 + hump * 0.8 * (1 - x * x)
        arcs.append(arc(x, foot, span / 2, high, 360, 180))
        rim = arc(x, foot, span / 2 + 0.04, high + 0.04, 180, 360)
        edges.append(marking(Shape(rim, shade(paint, 0.7), width=0.07)))
    body = np.concatenate([top, [(0.96, foot)], *arcs, [(-0.96, foot)]])
    return [Shape(body, paint), *edges, line(top, 0.11, shade(paint, 0.8))]


def _hanging(r: Random, paint: Color) -> list[Shape]:
    deck, top, at = r.uniform(0.2, 0.35), r.uniform(-0.8, -0.6), r.uniform(0.48, 0.58)
    sag = deck - 0.12 - top
    cable = [(at * t, top + sag * (1 - t * t)) for t in (-1, -0.6, -0.2, 0.2, 0.6, 1)]
    dark = shade(paint, 0.75)
    hangers = [(at * t, top + sag * (1 - t * t)) for t in (-0.66, -0.33, 0, 0.33, 0.66)]
    hangers += [(side * (at + (1 - at) * 0.45), top + (deck - top) * 0.45) for side in (-1, 1)]
    return [
        *(marking(line([(x, y), (x, deck)], 0.05, dark)) for x, y in hangers),
        curve(cable, 0.06, dark),
        *(line([(side * at, top), (side, deck)], 0.06, dark) for side in (-1, 1)),
        *(rect(side * at - 0.075, top - 0.08, side * at + 0.075, 0.78, paint) for side in (-1, 1)),
        rect(-1, deck, 1, deck + 0.13, paint),
    ]


KINDS = (
    Kind("house", house, most_turn=4),
    Kind("castle", castle, most_turn=4),
    Kind("lighthouse", lighthouse, most_turn=5),
    Kind("windmill", windmill, most_turn=5),
    Kind("tent", tent, most_turn=6),
    Kind("bridge", bridge, most_turn=5),
)
