"""Animals."""

from __future__ import annotations

import math
from random import Random

from deltaoe.demo.objects.kind import PAINTS, Kind
from deltaoe.demo.shapes import (
    BLACK,
    WHITE,
    Color,
    Shape,
    arc,
    blob,
    curve,
    ellipse,
    line,
    marking,
    moved,
    polygon,
    rect,
    scaled,
    shade,
    turned,
)

_BEAKS: tuple[Color, ...] = (PAINTS["orange"], PAINTS["yellow"], (0.35, 0.33, 0.32))
_SKINS: tuple[Color, ...] = ((0.55, 0.62, 0.30), (0.68, 0.58, 0.38), (0.62, 0.56, 0.48), (0.70, 0.70, 0.55))
_PINK: Color = (0.93, 0.62, 0.64)
_FURS = ("white", "grey", "brown", "black", "orange")
_SHELLS = ("green", "brown", "orange", "yellow", "grey", "red", "purple")


def _contrast(paint: Color) -> Color:
    """A tone of the colour that shows on it."""
    return shade(paint, 0.55) if sum(paint) > 0.9 else shade(paint, 1.4)


def _eye(x: float, y: float, size: float) -> list[Shape]:
    """A round eye that looks a little to the right."""
    pupil = ellipse(x + size * 0.2, y, size * 0.58, size * 0.58, BLACK)
    return [ellipse(x, y, size, size, WHITE), marking(pupil)]


def _both(*shapes: Shape) -> list[Shape]:
    """The shapes and their mirror images."""
    return [*shapes, *scaled(shapes, -1, 1)]


def fish(r: Random, paint: Color) -> list[Shape]:
    """A fish from the side, slender or deep, plain, striped or spotted."""
    deep, span, fork = r.uniform(0.34, 0.6), r.uniform(0.4, 0.6), r.uniform(-0.85, -0.65)
    fin, dark, back = shade(paint, r.choice((0.7, 1.35))), _contrast(paint), r.uniform(-0.45, -0.25)
    upper = [(0.75, -deep * 0.55), (0.25, -deep), (-0.3, -deep * 0.62), (-0.6, -0.1)]
    out = [
        polygon([(-0.4, 0), (-1, -span), (fork, 0), (-1, span)], fin),
        polygon([(0.3, -deep * 0.8), (0, -deep - 0.32), (back, -deep - 0.2), (-0.35, -deep * 0.4)], fin),
        polygon([(0.1, deep * 0.8), (-0.1, deep + 0.25), (-0.35, deep + 0.1), (-0.3, deep * 0.5)], fin),
        blob([(0.97, 0.02), *upper, *[(x, -y) for x, y in reversed(upper)]], paint),
        marking(curve([(0.44, -deep * 0.6), (0.33, 0), (0.44, deep * 0.6)], 0.06, dark)),
        marking(line([(0.92, 0.1), (0.74, 0.15)], 0.06, dark)),
    ]
    pattern = r.randrange(3)
    for x in (-0.38, -0.14, 0.1) if pattern else ():
        half = deep * (0.81 + 0.5 * x)
        stripe = curve([(x, -half), (x + 0.06, 0), (x, half)], 0.1, dark)
        spot = ellipse(x, -half * r.uniform(0.1, 0.6), 0.09, 0.09, dark)
        out.append(marking(stripe if pattern == 1 else spot))
    return [*out, polygon([(0.25, 0.1), (-0.1, 0.05), (-0.12, 0.3)], fin), *_eye(0.66, -deep * 0.2, 0.13)]


def bird(r: Random, paint: Color) -> list[Shape]:
    """A bird from the side: standing, or flying with its wings up."""
    wing, beak, belly = shade(paint, r.choice((0.65, 0.75, 1.3))), r.choice(_BEAKS), shade(paint, 1.45)
    if r.random() < 0.35:
        lift = r.uniform(0.85, 1.0)
        trunk = [(0.8, 0.08), (0.62, -0.16), (0.38, -0.06), (0, 0.05), (-0.5, 0.25), (-0.1, 0.54), (0.5, 0.5)]
        return [
            blob([(0.3, 0.2), (0.46, -0.4), (0.42, -lift), (0.1, -0.6), (-0.05, 0.1)], shade(wing, 0.8)),
            polygon([(-0.35, 0.16), (-1, 0.08), (-0.86, 0.3), (-0.98, 0.52), (-0.35, 0.45)], wing),
            polygon([(0.7, -0.04), (1, 0.12), (0.7, 0.24)], beak),
            blob(trunk, paint),
            blob([(0.25, 0.24), (0, -0.3), (-0.4, -lift), (-0.66, -0.6), (-0.55, -0.1), (-0.2, 0.32)], wing),
            *_eye(0.58, 0.04, 0.09),
        ]
    drop, foot = r.uniform(0.3, 0.6), shade(beak, 0.85)
    back = [(0.74, -0.5), (0.55, -0.86), (0.2, -0.8), (0.02, -0.45), (-0.35, -0.1), (-0.6, 0.25)]
    return [
        *[line([(x, 0.5), (x + 0.04, 0.95), (x + 0.22, 0.95)], 0.07, foot) for x in (-0.12, 0.14)],
        polygon([(-0.3, 0.05), (-1, drop - 0.18), (-0.95, drop + 0.12), (-0.35, 0.48)], wing),
        polygon([(0.62, -0.72), (1, -0.5), (0.64, -0.4)], beak),
        blob([*back, (-0.25, 0.58), (0.2, 0.62), (0.55, 0.35), (0.64, -0.05)], paint),
        marking(blob([(0.56, -0.1), (0.5, 0.32), (0.2, 0.54), (0.0, 0.5), (0.28, 0.25)], belly)),
        blob([(0.12, -0.22), (0.28, 0.1), (-0.05, 0.36), (-0.72, 0.42), (-0.35, 0.02)], wing),
        *_eye(0.45, -0.58, 0.1),
    ]


def _cat_head(r: Random, paint: Color) -> list[Shape]:
    """A cat's face of radius ½ around the origin."""
    ears = [(-0.5, -0.05), (-0.46, -0.62), (-0.17, -0.37), (0.17, -0.37), (0.46, -0.62), (0.5, -0.05)]
    iris = r.choice(((0.75, 0.80, 0.30), (0.45, 0.72, 0.45), (0.90, 0.70, 0.25)))
    details = [
        polygon([(0.41, -0.5), (0.42, -0.25), (0.26, -0.34)], _PINK),
        ellipse(0.2, -0.05, 0.11, 0.1, iris),
        ellipse(0.2, -0.05, 0.045, 0.09, BLACK),
        *[line([(0.25, 0.15), (0.68, y)], 0.05, _contrast(paint)) for y in (0.08, 0.26)],
        polygon([(0, 0.08), (0.09, 0.08), (0, 0.18)], _PINK),
    ]
    return [polygon(ears + arc(0, 0, 0.5, 0.42, 0, 180).tolist(), paint), *_both(*map(marking, details))]


def cat(r: Random, paint: Color) -> list[Shape]:
    """A cat that sits facing us or stands side on, plain or tabby."""
    stripe = _contrast(paint) if r.random() < 0.5 else paint
    head, end = _cat_head(r, paint), r.uniform(-0.4, 0.2)
    if r.random() < 0.5:
        wide = r.uniform(0.42, 0.55)
        band = [marking(line([(wide, y), (wide * 0.6, y - 0.06)], 0.07, stripe)) for y in (0.45, 0.65)]
        side = [(0.3, -0.05), (wide, 0.6), (0.35, 0.96)]
        return [
            curve([(0.3, 0.85), (0.7, 0.8), (0.85, 0.45), (0.72, end)], 0.17, paint),
            blob([*side, *[(-x, y) for x, y in reversed(side)]], paint),
            *_both(*band, rect(0.02, 0.35, 0.26, 0.97, paint, 0.1)),
            *moved(scaled(head, 1.05), 0, -0.3),
        ]
    return [
        curve([(-0.6, 0.1), (-0.85, -0.1), (-0.9, -0.5), (-0.7, end - 0.5)], 0.17, paint),
        *[rect(x - 0.1, 0.3, x + 0.1, 0.9, shade(paint, 0.75), 0.08) for x in (-0.33, 0.18)],
        *[rect(x - 0.1, 0.3, x + 0.1, 0.97, paint, 0.08) for x in (-0.55, 0.4)],
        rect(-0.7, -0.1, 0.55, 0.5, paint, 0.25),
        *[marking(line([(x, -0.04), (x + 0.04, 0.22)], 0.08, stripe)) for x in (-0.45, -0.22, 0)],
        *moved(scaled(head, 0.85), 0.5, -0.3),
    ]


def butterfly(r: Random, paint: Color) -> list[Shape]:
    """A butterfly with its wings spread, seen from above."""
    reach, tip, tail = r.uniform(0.8, 1.0), r.uniform(-0.95, -0.7), r.uniform(0.65, 0.95)
    spot = shade(paint, 0.3) if sum(paint) > 0.9 else shade(paint, 1.5)
    lower = [(0.04, 0.0), (0.6, 0.02), (reach * 0.8, 0.35), (reach * 0.55, tail), (0.2, 0.6)]
    upper = [(0.04, -0.1), (0.3, tip + 0.25), (reach * 0.85, tip), (reach, tip + 0.4), (0.65, 0.02)]
    spots = [(0.68, tip + 0.38, 0.14), (0.52, 0.36, 0.12), (0.4, tip + 0.5, 0.06), (0.85, tip + 0.18, 0.06)]
    return [
        *_both(
            blob(lower, shade(paint, r.choice((0.8, 1.0, 1.25)))),
            blob([*upper, (0.04, 0.08)], paint),
            *[marking(ellipse(reach * x, y, s, s, spot)) for x, y, s in spots[: r.choice((2, 4))]],
            marking(curve([(0.03, -0.45), (0.1, -0.75), (0.24, -0.92)], 0.06, BLACK)),
        ),
        ellipse(0, 0.12, 0.09, 0.45, BLACK),
        ellipse(0, -0.38, 0.11, 0.11, BLACK),
    ]


def _plate(x: float, y: float, rx: float, ry: float, color: Color) -> Shape:
    """A six-sided plate of a shell."""
    return marking(polygon(arc(x, y, rx, ry, 0, 300)[::4].tolist(), color))


def turtle(r: Random, paint: Color) -> list[Shape]:
    """A turtle from the side, or a swimming one from above."""
    skin, dark = r.choice(_SKINS), _contrast(paint)
    if r.random() < 0.4:
        wide, swim = r.uniform(0.48, 0.62), r.uniform(-15, 15)
        fore = ellipse(0.42, wide + 0.12, 0.16, 0.4, skin, tilt=-40 + swim)
        limbs = [fore, ellipse(-0.5, wide, 0.14, 0.3, skin, tilt=40 + swim)]
        ring = [(0.42 * x, 0.68 * wide * y) for x, y in arc(0, 0, 1, 1, 30, 330)[::5].tolist()]
        return [
            *limbs,
            *scaled(limbs, 1, -1),
            polygon([(-0.6, -0.1), (-0.95, 0), (-0.6, 0.1)], skin),
            blob([(0.5, -0.12), (0.8, -0.19), (1, 0), (0.8, 0.19), (0.5, 0.12)], skin),
            *[marking(ellipse(0.84, y, 0.05, 0.05, BLACK)) for y in (-0.1, 0.1)],
            ellipse(0, 0, 0.7, wide, paint),
            *[_plate(x, y, 0.15, 0.15, dark) for x, y in [*ring, (0, 0)]],
        ]
    top, lift = r.uniform(0.75, 1.05), r.uniform(-0.2, 0.05)
    face = [(0.6, lift), (0.72, lift - 0.25), (0.95, lift - 0.22), (0.98, lift), (0.82, lift + 0.15)]
    plates = ((-0.5, 0.35), (-0.08, 0.6), (0.34, 0.35))
    return [
        polygon([(-0.6, 0.35), (-1, 0.6), (-0.55, 0.55)], skin),
        blob([(0.45, 0.3), *face, (0.75, 0.42), (0.55, 0.55)], skin),
        marking(ellipse(0.84, lift - 0.08, 0.06, 0.06, BLACK)),
        *[rect(x - 0.15, 0.4, x + 0.15, 0.9, skin, 0.12) for x in (-0.45, 0.35)],
        polygon(arc(-0.08, 0.4, 0.72, top, 180, 360).tolist(), paint),
        *[_plate(x, 0.4 - top * y, 0.17, top * 0.2, dark) for x, y in plates],
        rect(-0.85, 0.36, 0.7, 0.52, shade(paint, 0.8), 0.08),
    ]


def snail(r: Random, paint: Color) -> list[Shape]:
    """A snail with a coiled shell and its feelers out."""
    skin, size = r.choice(_SKINS), r.uniform(0.55, 0.66)
    turns, neck = r.uniform(10, 14), r.uniform(-0.25, 0.0)
    x, y, steps = -0.15, 0.7 - size, [i / 40 for i in range(41)]
    coil = [(size * (0.95 - 0.85 * t), 0.9 - turns * t) for t in steps]
    back = [(-1, 0.92), (-0.5, 0.6), (0.3, 0.55), (0.5, 0.3), (0.55, neck), (0.72, neck - 0.16)]
    tips = [(0.62 + lean, neck - r.uniform(0.5, 0.65)) for lean in (0.0, 0.32)]
    return [
        *[line([(0.4 + tip[0] * 0.42, neck), tip], 0.07, skin) for tip in tips],
        *[ellipse(*tip, 0.08, 0.08, shade(skin, 0.5)) for tip in tips],
        blob([*back, (0.94, neck), (0.92, neck + 0.25), (0.8, 0.6), (0.75, 0.92), (0, 0.96)], skin),
        marking(line([(0.92, neck + 0.2), (0.78, neck + 0.24)], 0.05, shade(skin, 0.5))),
        ellipse(x, y, size, size, paint),
        marking(line([(x + d * math.cos(a), y + d * math.sin(a)) for d, a in coil], 0.08, _contrast(paint))),
    ]


def rabbit(r: Random, paint: Color) -> list[Shape]:
    """A rabbit that crouches side on or sits facing us."""
    long, spread = r.uniform(0.3, 0.38), r.uniform(4, 18)
    ear = [ellipse(0, -long, 0.14, long + 0.1, paint), marking(ellipse(0, -long, 0.06, long * 0.8, _PINK))]
    if r.random() < 0.5:
        back = [(-0.75, 0.5), (-0.55, 0.05), (-0.1, -0.15), (0.35, -0.2)]
        return [
            ellipse(-0.78, 0.45, 0.19, 0.19, WHITE),
            *[rect(x, 0.2, x + 0.2, 0.94, shade(paint, tone), 0.1) for x, tone in ((0.36, 0.8), (0.2, 1))],
            blob([*back, (0.5, 0.3), (0.3, 0.75), (-0.4, 0.85)], paint),
            ellipse(-0.32, 0.5, 0.36, 0.34, paint),
            rect(-0.5, 0.74, 0.12, 0.95, paint, 0.1),
            *moved(turned(ear[:1], -spread - 16), 0.38, -0.42),
            *moved(turned(ear, spread - 12), 0.46, -0.45),
            ellipse(0.48, -0.3, 0.34, 0.27, paint, tilt=15),
            ellipse(0.8, -0.24, 0.06, 0.06, _PINK),
            *_eye(0.55, -0.38, 0.085),
        ]
    side = [(0.3, 0.1), (0.5, 0.6), (0.3, 0.95)]
    return [
        blob([*side, *[(-x, y) for x, y in reversed(side)]], paint),
        marking(ellipse(0, 0.55, 0.25, 0.3, shade(paint, 1.5))),
        *_both(ellipse(0.34, 0.86, 0.26, 0.13, paint), *moved(turned(ear, spread), 0.2, -0.35)),
        ellipse(0, -0.15, 0.46, 0.38, paint),
        *_both(ellipse(0.19, -0.22, 0.1, 0.1, WHITE), marking(ellipse(0.18, -0.21, 0.065, 0.065, BLACK))),
        polygon([(-0.1, -0.06), (0.1, -0.06), (0, 0.04)], _PINK),
        marking(line([(-0.12, 0.12), (0, 0.04), (0.12, 0.12)], 0.05, _contrast(paint))),
    ]


KINDS = (
    Kind("fish", fish, most_turn=25),
    Kind("bird", bird, most_turn=10),
    Kind("cat", cat, paints=_FURS, most_turn=5),
    Kind("butterfly", butterfly, most_turn=40),
    Kind("turtle", turtle, paints=_SHELLS, most_turn=8),
    Kind("snail", snail, paints=_SHELLS, most_turn=8),
    Kind("rabbit", rabbit, paints=_FURS, most_turn=6),
)
