"""Things that carry people."""

from __future__ import annotations

from random import Random

from deltaoe.demo.objects.kind import PAINTS, Kind
from deltaoe.demo.shapes import (
    BLACK,
    WHITE,
    Color,
    Point,
    Shape,
    blob,
    curve,
    ellipse,
    line,
    marking,
    moved,
    polygon,
    rect,
    ring,
    sector,
    shade,
    smooth,
    turned,
)

_GLASS: Color = (0.66, 0.82, 0.90)
_STEEL: Color = (0.72, 0.73, 0.75)
_LAMP: Color = (0.98, 0.88, 0.45)
_WOOD: Color = (0.45, 0.29, 0.17)


def _wheel(x: float, y: float, radius: float, hub: Color = _STEEL) -> list[Shape]:
    return [ellipse(x, y, radius, radius, BLACK), marking(ellipse(x, y, radius * 0.5, radius * 0.5, hub))]


def _second(color: Color) -> Color:
    """A colour to go with this one: white with most, red with what is nearly white."""
    return WHITE if sum(color) < 2.25 else PAINTS["red"]


def car(r: Random, paint: Color) -> list[Shape]:
    """A small car from its side, or at times from its front."""
    if r.random() < 0.2:
        return _car_front(r, paint)
    belt, roof, radius = r.uniform(-0.08, 0.0), r.uniform(-0.62, -0.5), r.uniform(0.2, 0.25)
    back, front = r.uniform(-0.9, -0.66), r.uniform(0.45, 0.62)
    slope, post = r.uniform(0.12, 0.25), r.uniform(-0.2, 0.0)
    rear, wind = back + slope * r.uniform(0.4, 1), front - slope * 1.5
    sill, lintel, a, b = belt - 0.03, roof + 0.12, post - 0.04, post + 0.04
    out = [
        blob([(back, 0.2), (back, belt), (rear, roof), (wind, roof), (front, belt), (front, 0.2)], paint),
        rect(-0.95, belt, 0.95, 0.42, paint, corner=r.uniform(0.1, 0.2)),
        polygon([(back + 0.12, sill), (rear + 0.09, lintel), (a, lintel), (a, sill)], _GLASS),
        polygon([(b, sill), (b, lintel), (wind - 0.06, lintel), (front - 0.1, sill)], _GLASS),
        marking(line([(post, belt + 0.04), (post, 0.36)], 0.035, shade(paint, 0.6))),
        marking(line([(post - 0.22, belt + 0.12), (post - 0.1, belt + 0.12)], 0.05, shade(paint, 0.5))),
        ellipse(0.88, belt + 0.17, 0.06, 0.08, _LAMP),
        rect(-0.95, belt + 0.1, -0.86, belt + 0.24, PAINTS["red"]),
        line([(-0.95, 0.4), (0.95, 0.4)], 0.08, _STEEL if r.random() < 0.5 else BLACK),
    ]
    return [*out, *_wheel(-0.55, 0.42, radius), *_wheel(0.56, 0.42, radius)]


def _car_front(r: Random, paint: Color) -> list[Shape]:
    half, roof = r.uniform(0.68, 0.78), r.uniform(-0.72, -0.58)
    top, lintel, grille = half * r.uniform(0.6, 0.72), roof + 0.12, r.uniform(0.2, 0.3)
    out = [rect(x - 0.13, 0.3, x + 0.13, 0.78, BLACK, corner=0.06) for x in (-half + 0.16, half - 0.16)]
    out += [
        polygon([(-half, 0.0), (-top, roof), (top, roof), (half, 0.0)], paint),
        polygon([(-half + 0.14, 0), (-top + 0.08, lintel), (top - 0.08, lintel), (half - 0.14, 0)], _GLASS),
        rect(-half - 0.1, -0.04, half + 0.1, 0.58, paint, corner=0.15),
        rect(-grille, 0.14, grille, 0.34, BLACK, corner=0.05),
        line([(-half - 0.06, 0.52), (half + 0.06, 0.52)], 0.1, _STEEL),
    ]
    out += [ellipse(x, 0.22, 0.14, 0.14, _LAMP) for x in (-half + 0.16, half - 0.16)]
    return out


def bus(r: Random, paint: Color) -> list[Shape]:
    """A long box on wheels with a row of windows, or two rows, and a door at the front."""
    decks, count = r.choice((1, 1, 2)), r.randint(4, 5)
    step, top = 1.4 / count, (-0.52, -0.85)[decks - 1]
    out = [rect(-0.97, top, 0.97, 0.48, paint, corner=0.12)]
    for deck in range(decks):
        y = top + 0.14 + 0.52 * deck
        for i in range(count):
            out.append(rect(-0.88 + step * i, y, -0.96 + step * (i + 1), y + 0.32, _GLASS))
        if decks > deck + 1:
            out.append(rect(0.56, y, 0.88, y + 0.32, _GLASS))
    y = top + 0.14 + 0.52 * (decks - 1)
    out += [
        rect(0.55, y, 0.78, 0.44, shade(_GLASS, 0.85)),
        marking(line([(0.665, y), (0.665, 0.44)], 0.05, shade(paint, 0.5))),
        rect(0.85, y, 0.97, y + 0.36, _GLASS),
        marking(rect(-0.95, y + 0.4, 0.5, y + 0.48, _second(paint))),
        ellipse(0.92, 0.3, 0.05, 0.07, _LAMP),
    ]
    radius = r.uniform(0.19, 0.22)
    return [*out, *_wheel(-0.55, 0.5, radius), *_wheel(0.32, 0.5, radius)]


def boat(r: Random, paint: Color) -> list[Shape]:
    """A sailing boat: a hull, a mast, a mainsail and mostly a jib, a pennant."""
    deck, keel, mast = r.uniform(0.3, 0.42), r.uniform(0.72, 0.88), r.uniform(-0.1, 0.12)
    top, boom = r.uniform(-0.98, -0.85), r.uniform(-0.82, -0.65)
    sail, gaff = r.choice((WHITE, (0.93, 0.87, 0.74), paint, shade(paint, 1.2))), r.uniform(0, 0.3)
    low, luff = deck - 0.16, mast - 0.06
    edge = [(luff - gaff, top + 0.02), (boom * 0.55 - gaff * 0.4, -0.25), (boom, low)]
    leech = smooth(edge, closed=False).tolist()
    out = [line([(mast, deck + 0.05), (mast, top - 0.04)], 0.07, _WOOD)]
    out.append(polygon([(luff, low), (luff, top + 0.08 + gaff * 0.6), *leech], sail))
    if r.random() < 0.8:
        stay = mast + 0.07
        out.append(polygon([(stay, top + r.uniform(0.1, 0.4)), (0.82, deck - 0.08), (stay, low)], sail))
    out.append(line([(mast, low + 0.03), (boom - 0.02, low + 0.03)], 0.06, _WOOD))
    if r.random() < 0.6:
        pennant = [(mast, top - 0.06), (mast + 0.25, top + 0.01), (mast, top + 0.08)]
        out.append(polygon(pennant, PAINTS["red"]))
    bow = smooth([(0.97, deck - 0.06), (0.8, deck + 0.25), (0.55, keel)], closed=False)
    hull = polygon([(-0.85, deck), *bow.tolist(), (r.uniform(-0.75, -0.6), keel)], paint)
    stripe = line([(-0.78, deck + 0.11), (0.84, deck + 0.08)], 0.06, _second(paint))
    return [*out, hull, marking(stripe)]


def bicycle(r: Random, paint: Color) -> list[Shape]:
    """Two wheels with spokes, a frame, a saddle, handlebars and pedals."""
    radius, ground = r.uniform(0.38, 0.42), r.uniform(0.18, 0.28)
    rear, front = (-0.55, ground), (0.56, ground)
    crank, seat, head = (-0.1, ground + 0.04), (-0.24, -0.34), (r.uniform(0.3, 0.38), -0.38)
    step = seat[0], r.choice((seat[1], seat[1], 0.0))  # a frame that is easy to mount has a low top tube
    stem = head[0] - 0.06, -0.62
    out: list[Shape] = []
    for x, y in (rear, front):
        out.append(marking(ring(x, y, radius, radius, 0.095, BLACK)))
        start = r.uniform(0, 60)
        spoke = marking(line([(-radius + 0.05, 0), (radius - 0.05, 0)], 0.035, _STEEL))
        for i in range(3):
            out += moved(turned([spoke], start + 60 * i), x, y)
    frame: list[Point] = [front, head, (step[0] + 0.04, step[1]), seat, rear, crank, seat, crank, head, stem]
    out.append(line(frame, 0.085, paint))
    upright, racing = ((-0.16, 0), (0.14, -0.08)), ((0, 0), (0.2, -0.02), (0.22, 0.14), (0.1, 0.18))
    bar = r.choice((upright, racing))
    pedals = turned([marking(line([(-0.16, 0), (0.16, 0)], 0.08, BLACK))], r.uniform(0, 180))
    out += [
        *moved([marking(curve(bar, 0.09, BLACK))], *stem),
        marking(line([seat, (seat[0] - 0.03, -0.46)], 0.08, BLACK)),
        blob([(-0.44, -0.53), (-0.3, -0.52), (-0.12, -0.48), (-0.26, -0.42), (-0.42, -0.44)], BLACK),
        *moved([*pedals, ellipse(0, 0, 0.09, 0.09, _STEEL)], *crank),
    ]
    return moved(out, 0, 0.05)


def airplane(r: Random, paint: Color) -> list[Shape]:
    """An airliner from its side as it climbs, or from above."""
    if r.random() < 0.35:
        return _airplane_above(r, paint)
    fat, long, fin = r.uniform(0.14, 0.19), r.uniform(0.5, 0.72), r.uniform(0.42, 0.55)
    wing, dark = shade(paint, 0.8), shade(paint, 0.6)
    nose = [(0.98, 0.04), (0.82, -fat * 0.7), (0.5, -fat), (-0.5, -fat * 0.9), (-0.98, -fat)]
    out = [
        polygon([(0.3, -0.1), (-0.02, -0.1), (-0.32, -long * 0.75), (-0.14, -long * 0.75)], dark),
        polygon([(-0.94, -fat * 0.7), (-1.0, -fat - fin), (-0.78, -fat - fin), (-0.45, -fat * 0.6)], wing),
        blob([*nose, (-0.6, fat * 0.5), (-0.1, fat), (0.5, fat), (0.84, fat * 0.8)], paint),
        *(marking(ellipse(-0.45 + 0.2 * i, -0.05, 0.055, 0.055, shade(_GLASS, 0.7))) for i in range(6)),
        polygon([(0.72, -fat * 0.75), (0.78, -0.01), (0.95, -0.01), (0.84, -fat * 0.6)], _GLASS),
        polygon([(-0.6, -0.06), (-0.84, -0.06), (-1.05, 0.16), (-0.9, 0.16)], wing),
    ]
    if r.random() < 0.6:
        out.append(rect(-0.02, 0.2, 0.32, 0.38, dark, corner=0.08))
    out.append(polygon([(0.36, 0.06), (-0.05, 0.06), (-0.45, long), (-0.22, long)], wing))
    return turned(out, r.uniform(-22, 0))


def _airplane_above(r: Random, paint: Color) -> list[Shape]:
    fat, sweep, wing = r.uniform(0.11, 0.15), r.uniform(0.2, 0.4), shade(paint, 0.85)
    out: list[Shape] = []
    for side in (-1, 1):
        out += [
            rect(side * 0.45 - 0.06, -0.2, side * 0.45 + 0.06, 0.1, shade(paint, 0.6), corner=0.05),
            polygon([(0, -0.3), (side * 0.95, sweep), (side * 0.95, sweep + 0.15), (0, 0.2)], wing),
            polygon([(0, 0.6), (side * 0.36, 0.8), (side * 0.36, 0.92), (0, 0.88)], wing),
        ]
    body = [(0, -0.97), (fat * 0.8, -0.8), (fat, -0.4), (fat, 0.3), (0.04, 0.95)]
    out += [
        blob([*body, *((-x, y) for x, y in reversed(body[1:]))], paint),
        marking(sector(0, -0.68, fat * 0.65, 0.12, 180, 360, BLACK)),
        line([(0, 0.68), (0, 0.92)], 0.06, shade(paint, 0.6)),
    ]
    return turned(out, r.choice((0, 45, 45, 90)))


def train(r: Random, paint: Color) -> list[Shape]:
    """A steam locomotive: boiler, chimney with smoke, cab, big driving wheels with a rod."""
    boiler, roof = r.uniform(-0.25, -0.15), r.uniform(-0.7, -0.6)
    chimney, flare = r.uniform(-0.62, -0.5), r.uniform(0.02, 0.1)
    iron, trim = shade(paint, 0.45), r.choice((_LAMP, _STEEL))
    puffs = r.choice((((0.3, -0.88), (0.55, -0.78)), ((0.1, -0.9), (0.33, -0.84), (0.58, -0.76)), ()))
    out = [ellipse(x, y, 0.16, 0.12, shade(WHITE, 0.9)) for x, y in puffs]
    out += [
        polygon([(0.54, -0.1), (0.54 - flare, chimney), (0.74 + flare, chimney), (0.74, -0.1)], iron),
        sector(0.14, boiler + 0.03, 0.13, 0.22, 180, 360, trim),
        rect(-0.35, boiler, 0.85, 0.28, paint, corner=0.08),
        rect(0.5, boiler - 0.03, 0.86, 0.28, iron, corner=0.05),
        *(marking(line([(x, boiler + 0.03), (x, 0.24)], 0.05, trim)) for x in (-0.1, 0.2)),
        rect(-0.88, roof + 0.1, -0.3, 0.28, paint),
        rect(-0.74, roof + 0.22, -0.44, roof + 0.5, _GLASS),
        rect(-0.98, roof, -0.2, roof + 0.12, iron, corner=0.05),
        polygon([(0.82, 0.3), (0.82, 0.76), (1.04, 0.76)], iron),
        rect(-0.94, 0.26, 0.94, 0.38, iron),
    ]
    big, small, spot = r.uniform(0.26, 0.29), r.uniform(0.15, 0.17), r.choice((trim, PAINTS["red"]))
    for x, radius in ((-0.6, big), (0.0, big), (0.42, small), (0.74, small)):
        out += _wheel(x, 0.8 - radius, radius, spot)
    y = 0.8 - big + r.uniform(-0.08, 0.08)
    out += [line([(-0.6, y), (0.0, y)], 0.07, _STEEL), ellipse(0.9, boiler + 0.08, 0.07, 0.08, _LAMP)]
    return out


def balloon(r: Random, paint: Color) -> list[Shape]:
    """A hot-air balloon: a striped envelope, and a basket on ropes."""
    wide, neck = r.uniform(0.66, 0.78), r.uniform(0.42, 0.5)
    right = [(0.0, -0.98), (wide * 0.62, -0.84), (wide, -0.38), (wide * 0.8, 0.05), (0.2, neck)]
    basket, other = r.uniform(0.13, 0.17), r.choice((_second(paint), shade(paint, 0.65), shade(paint, 1.5)))
    inner, outer = r.choice(((0.0, 0.28), (0.3, 0.68), (0.25, 0.6)))
    out = [line([(side * 0.17, neck), (side * basket, 0.78)], 0.05, _WOOD) for side in (-1, 1)]
    out += [
        rect(-basket, 0.74, basket, 0.98, shade(_WOOD, 1.25), corner=0.04),
        marking(line([(-basket + 0.03, 0.86), (basket - 0.03, 0.86)], 0.05, shade(_WOOD, 0.7))),
    ]
    edges = [smooth([(side * x, y) for x, y in right], closed=False) for side in (1, -1)]
    out.append(polygon([*edges[0].tolist(), *reversed(edges[1].tolist())], paint))
    for side in (1, -1):
        near, far = edges[0] * (side * inner, 1), edges[0] * (side * outer, 1)
        out.append(marking(polygon([*near.tolist(), *reversed(far.tolist())], other)))
    return out


KINDS = (
    Kind("car", car, most_turn=5),
    Kind("bus", bus, most_turn=5),
    Kind("boat", boat, most_turn=10),
    Kind("bicycle", bicycle, most_turn=6),
    Kind("airplane", airplane, most_turn=15),
    Kind("train", train, most_turn=4),
    Kind("balloon", balloon, most_turn=10),
)
