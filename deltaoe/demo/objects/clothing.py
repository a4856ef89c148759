"""Things that people wear."""

from __future__ import annotations

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
    curve,
    ellipse,
    line,
    marking,
    mix,
    polygon,
    rect,
    ring,
    shade,
    smooth,
)

_GLASS: Color = (0.74, 0.86, 0.92)
_RUBBER: Color = (0.90, 0.89, 0.85)


def hat(r: Random, paint: Color) -> list[Shape]:
    """A hat with a crown and a brim all around: a top hat, a bowler, a fedora or a pointed hat."""
    half, low, brim = r.uniform(0.44, 0.54), r.uniform(0.3, 0.45), r.uniform(0.85, 1.0)
    flat = r.uniform(0.2, 0.3)
    right: list[Point]
    if (form := r.randrange(4)) == 0:
        right, brim = [(half * r.uniform(1.0, 1.18), -0.72)], brim * 0.88
    elif form == 1:
        right = [(half * 1.02, low - 0.3), (half * 0.85, -0.3), (half * 0.45, -0.5)]
    elif form == 2:
        right = [(half * 0.95, low - 0.3), (half * 0.8, -0.48), (half * 0.42, -0.62), (0, -0.48)]
    else:
        right = [(half * 0.62, low - 0.42), (half * 0.3, -0.4), (0.05, -0.95)]
    foot = arc(0, low, half, flat * 0.5, 0, 180).tolist()
    if form:
        right = [(x, y) for x, y in smooth([(half, low), *right], closed=False).tolist()]
    left = [(-x, y) for x, y in reversed(right)]
    crown = polygon([*left, *reversed([(x, y) for x, y in foot]), *right][::-1], paint)
    out = [ellipse(0, low + 0.06, brim, flat, shade(paint, 0.9)), crown]
    if form == 0:
        out.append(ellipse(0, -0.72, right[0][0], flat * 0.45, shade(paint, 1.12)))
    band = r.choice((BLACK, WHITE, (0.72, 0.15, 0.16), (0.16, 0.25, 0.5)))
    if abs(sum(band) - sum(paint)) < 0.4:
        band = (0.85, 0.66, 0.25)
    edge = half - (0.08 if form == 3 else 0.0)
    out.append(marking(ring(0, low - 0.09, edge, flat * 0.5, 0.15, band, 4, 176)))
    return out


def shoe(r: Random, paint: Color) -> list[Shape]:
    """A shoe from the side: a laced one with a flat sole or a heel, low or ankle-high, or a high-heeled one."""
    if r.random() < 0.15:
        return _pump(r, paint)
    collar = r.choice((r.uniform(-0.35, -0.2), r.uniform(-0.8, -0.65)))
    throat, toe = r.uniform(-0.22, -0.08), r.uniform(0.02, 0.12)
    top: list[Point] = [
        (-0.88, 0.5),
        (-0.9, 0.2),
        (-0.86, collar),
        (-0.6, collar + 0.06),
        (throat, collar - 0.1),
    ]
    top += [(throat + 0.16, collar * 0.5), (0.34, toe - 0.03), (0.72, toe + 0.04), (0.96, 0.3), (0.95, 0.5)]
    out = [ellipse((throat - 0.86) / 2, collar, (throat + 0.86) / 2, 0.1, shade(paint, 0.45))]
    out.append(polygon([(x, y) for x, y in smooth(top, closed=False).tolist()], paint))
    if sporty := r.random() < 0.6:
        sole = _RUBBER if sum(paint) < 2.5 else (0.3, 0.3, 0.33)
        out.append(rect(-0.96, 0.46, 1.0, 0.68, sole, 0.1))
        out.append(ring(0.95, 0.5, 0.32, 0.36, 0.06, sole, 185, 268))
        swoosh = mix(sole, paint, 0.1)
        out += [marking(line([(x, 0.36), (x + 0.16, -0.02)], 0.08, swoosh)) for x in (-0.6, -0.42)]
    else:
        dark = shade(paint, 0.4) if sum(paint) > 0.8 else (0.45, 0.28, 0.16)
        out += [rect(-0.9, 0.5, -0.38, 0.74, dark), rect(-0.92, 0.46, 1.0, 0.58, dark, 0.05)]
        out.append(marking(curve([(0.42, toe), (0.5, 0.2), (0.42, 0.44)], 0.05, dark)))
    lace = WHITE if sum(paint) < 2.2 else BLACK
    for i in range(4 if collar < -0.5 else 3):
        share = i / 3
        x, y = throat + 0.06 + share * (0.24 - throat), collar * 0.72 + share * (toe - 0.06 - collar * 0.72)
        out.append(line([(x - 0.13, y + 0.12), (x + 0.05, y)], 0.07 if sporty else 0.05, lace))
    return out


def _pump(r: Random, paint: Color) -> list[Shape]:
    lift = r.uniform(-0.2, -0.05)
    sole: list[Point] = [(0.98, 0.62), (0.6, 0.68), (0.25, 0.55), (-0.2, 0.25), (-0.6, lift + 0.2)]
    top: list[Point] = [
        (-0.85, lift),
        (-0.88, lift - 0.4),
        (-0.6, lift - 0.22),
        (-0.1, 0.1),
        (0.3, 0.3),
        (0.6, 0.28),
    ]
    heel = [(-0.9, lift - 0.05), (-0.5, lift + 0.25), (-0.72, 0.68), (-0.86, 0.68)]
    opening = [
        (-0.86, lift - 0.38),
        (-0.4, lift - 0.18),
        (0.05, 0.1),
        (0.4, 0.3),
        (-0.3, 0.15),
        (-0.75, lift),
    ]
    inside = blob(opening, shade(paint, 0.5))
    return [inside, polygon(heel, shade(paint, 0.6)), blob([*sole, *top], paint)]


def glasses(r: Random, paint: Color) -> list[Shape]:
    """Spectacles or sunglasses from the front, their arms going back."""
    wide, high = r.uniform(0.38, 0.43), r.uniform(0.28, 0.4)
    middle, frame = 0.53, r.uniform(0.07, 0.1)
    lens = r.choice((_GLASS, shade(mix(paint, BLACK, 0.4), 0.6)))
    form = r.randrange(3)
    rise, reach = r.uniform(0.45, 0.65), r.uniform(0.05, 0.25)
    out: list[Shape] = []
    for side in (-1, 1):
        end = side * (middle + wide)
        tip = (end - side * (reach + 0.12), -rise + 0.06)
        back = [(end - side * 0.02, -high * 0.4), (end - side * reach, -rise), tip]
        out.append(line(back, 0.09, shade(paint, 0.75)))
    out.append(curve([(-0.2, -0.02), (0, -0.12), (0.2, -0.02)], 0.11, paint))
    for side in (-1, 1):
        for grow, color in ((0.0, paint), (-frame, lens)):
            out.append(_lens(form, side, middle, wide + grow, high + grow, color))
        gleam = [(side * middle - 0.16, high * 0.3), (side * middle + 0.04, -high * 0.4)]
        out.append(marking(line(gleam, 0.06, mix(lens, WHITE, 0.6))))
    return out


def _lens(form: int, side: int, middle: float, wide: float, high: float, color: Color) -> Shape:
    if form == 0:
        return ellipse(side * middle, 0, wide, max(high, wide * 0.85), color)
    if form == 1:
        return rect(side * middle - wide, -high, side * middle + wide, high, color, high * 0.45)
    teardrop = [(-0.9, -0.75), (0, -0.95), (1, -0.95), (0.95, 0.05), (0.45, 0.9), (-0.3, 0.95), (-0.85, 0.3)]
    return blob([(side * (middle + wide * x), high * 1.1 * y) for x, y in teardrop], color)


def shirt(r: Random, paint: Color) -> list[Shape]:
    """A T-shirt or a shirt with long sleeves, with a round neck or with collar and buttons."""
    half, hem, neck = r.uniform(0.46, 0.56), r.uniform(0.8, 0.95), r.uniform(0.2, 0.25)
    pit = (half * 0.96, r.uniform(-0.3, -0.2))
    sleeve: list[Point]
    if r.random() < 0.6:
        sleeve = [(0.98, r.uniform(-0.3, -0.2)), (0.78, r.uniform(-0.06, 0.04))]
    else:
        sleeve = [(0.86, -0.1), (0.97, 0.58), (0.76, 0.62), (0.66, 0.1)]
    right = [(half * 0.95, -0.72), *sleeve, pit, (half, hem)]
    left = [(-x, y) for x, y in reversed(right)]
    scoop = [(x, y) for x, y in arc(0, -0.83, neck, 0.2, 180, 0).tolist()]
    dark = shade(paint, 0.6)
    out = [ellipse(0, -0.83, neck, 0.07, dark), polygon([*scoop, *right, *left], paint)]
    other = WHITE if sum(paint) < 1.9 else r.choice(((0.2, 0.25, 0.45), (0.7, 0.2, 0.2)))
    out += [
        marking(line([(side * pit[0], pit[1]), (side * pit[0] * 0.93, -0.66)], 0.05, dark))
        for side in (-1, 1)
    ]
    if r.random() < 0.4:
        out.append(marking(line([(0, -0.6), (0, hem)], 0.05, dark)))
        out += [marking(ellipse(0.08, y, 0.05, 0.05, other)) for y in (-0.4, -0.05, 0.3, 0.65)]
        flap = [(neck, -0.9), (0.02, -0.6), (neck + 0.04, -0.45), (neck + 0.12, -0.8)]
        out += [polygon([(side * x, y) for x, y in flap], shade(paint, 1.15)) for side in (-1, 1)]
        return out
    out.append(marking(ring(0, -0.83, neck, 0.2, 0.08, other if r.random() < 0.5 else dark, 0, 180)))
    if (print_ := r.random()) < 0.4:
        out += [marking(rect(0.02 - half, y, half - 0.02, y + 0.1, other)) for y in (-0.1, 0.15, 0.4)]
    elif print_ < 0.65:
        out.append(marking(ellipse(0, 0.0, 0.2, 0.2, other)))
    return out


KINDS = (
    Kind("hat", hat, most_turn=12),
    Kind("shoe", shoe, most_turn=12),
    Kind("glasses", glasses, most_turn=18),
    Kind("shirt", shirt, most_turn=10),
)
