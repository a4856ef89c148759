"""Where things are seen: what lies behind them and about them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from deltaoe.demo.shapes import Color, Shape, blob, ellipse, line, marking, mix, polygon, rect, shade

Backdrop = tuple[Color, list[Shape]]  # the ground colour, and what is drawn on it


def _tone(r: Random, *colors: Color, spread: float = 0.06) -> Color:
    red, green, blue = r.choice(colors)
    return red + r.gauss(0, spread), green + r.gauss(0, spread), blue + r.gauss(0, spread)


def _hills(r: Random, y: float, height: float, color: Color) -> Shape:
    xs = [-1.3, -0.8, -0.3, 0.2, 0.7, 1.3]
    return blob([(-1.6, 2.0), *[(x, y - r.uniform(0, height)) for x in xs], (1.6, 2.0)], color)


def field(r: Random) -> Backdrop:
    """Grass, hills, clouds."""
    sky = _tone(r, (0.58, 0.76, 0.92), (0.75, 0.83, 0.9), (0.93, 0.80, 0.66))
    grass = _tone(r, (0.42, 0.60, 0.28), (0.55, 0.62, 0.30), (0.66, 0.62, 0.36))
    y = r.uniform(0.0, 0.5)
    out = [_hills(r, y, 0.4, mix(grass, sky, 0.45))] if r.random() < 0.6 else []
    out.append(polygon([(-2, y), (2, y + r.uniform(-0.1, 0.1)), (2, 2), (-2, 2)], grass))
    for _ in range(r.randint(0, 3)):
        x, top = r.uniform(-1, 1), r.uniform(-1, -0.4)
        cloud = mix(sky, (1, 1, 1), 0.7)
        out += [
            marking(ellipse(x + d, top + r.uniform(-0.04, 0.04), 0.2, 0.1, cloud)) for d in (-0.16, 0, 0.15)
        ]
    for _ in range(r.randint(0, 8)):
        x, foot = r.uniform(-1, 1), r.uniform(y, 1)
        out.append(line([(x, foot), (x + r.uniform(-0.05, 0.05), foot - 0.1)], 0.025, shade(grass, 0.75)))
    return sky, out


def lake(r: Random) -> Backdrop:
    """Water under a sky, with waves."""
    sky = _tone(r, (0.66, 0.80, 0.93), (0.94, 0.78, 0.62), (0.75, 0.78, 0.82))
    water = _tone(r, (0.24, 0.45, 0.62), (0.30, 0.55, 0.60), (0.35, 0.42, 0.52))
    y = r.uniform(-0.2, 0.4)
    out = [_hills(r, y, 0.3, mix(sky, (0.35, 0.42, 0.40), 0.6))] if r.random() < 0.5 else []
    out.append(rect(-2, y, 2, 2, water))
    for _ in range(r.randint(4, 12)):
        x, at, half = r.uniform(-1, 1), r.uniform(y + 0.05, 1), r.uniform(0.05, 0.25)
        out.append(marking(line([(x - half, at), (x + half, at)], 0.02, mix(water, sky, 0.5))))
    return sky, out


def street(r: Random) -> Backdrop:
    """Pavement before a row of walls."""
    wall = _tone(r, (0.70, 0.62, 0.55), (0.60, 0.60, 0.62), (0.78, 0.70, 0.58))
    road = _tone(r, (0.42, 0.42, 0.44), (0.52, 0.50, 0.48))
    y = r.uniform(0.2, 0.6)
    out: list[Shape] = []
    x = -1.1
    while x < 1:
        width = r.uniform(0.4, 0.8)
        front = _tone(r, wall, spread=0.1)
        out.append(rect(x, r.uniform(-1.2, -0.5), x + width, y, front))
        out += [
            rect(x + width * at - 0.06, top, x + width * at + 0.06, top + 0.18, shade(front, 0.65))
            for at in (0.3, 0.7)
            for top in (-0.45, -0.05)
        ]
        x += width
    out.append(rect(-2, y, 2, 2, road))
    if r.random() < 0.5:
        out.append(marking(rect(-2, y + 0.3, 2, y + 0.34, mix(road, (1, 1, 1), 0.5))))
    return _tone(r, (0.72, 0.80, 0.88)), out


def table(r: Random) -> Backdrop:
    """A table top before a wall."""
    wall = _tone(r, (0.80, 0.76, 0.70), (0.62, 0.70, 0.72), (0.72, 0.60, 0.56), (0.45, 0.48, 0.50))
    wood = _tone(r, (0.58, 0.42, 0.28), (0.74, 0.62, 0.48), (0.40, 0.30, 0.24), (0.85, 0.85, 0.83))
    y = r.uniform(0.1, 0.6)
    out = [rect(-2, y, 2, 2, wood)]
    out += [
        marking(line([(-1.2, at), (1.2, at + r.uniform(-0.05, 0.05))], 0.015, shade(wood, 0.85)))
        for at in (r.uniform(y, 1) for _ in range(r.randint(0, 4)))
    ]
    return wall, out


def room(r: Random) -> Backdrop:
    """A wall with paper, perhaps a frame or a window, and a floor."""
    wall = _tone(r, (0.84, 0.78, 0.66), (0.66, 0.74, 0.66), (0.76, 0.66, 0.70), (0.60, 0.66, 0.76))
    floor = _tone(r, (0.50, 0.36, 0.24), (0.62, 0.54, 0.46), (0.42, 0.40, 0.42))
    y = r.uniform(0.3, 0.7)
    out: list[Shape] = []
    if r.random() < 0.5:
        step = r.uniform(0.2, 0.5)
        stripes = [-1 + step * i for i in range(int(2 / step) + 1)]
        out += [marking(rect(x, -1.2, x + step * 0.4, y, shade(wall, 0.9))) for x in stripes]
    if r.random() < 0.5:
        x, top = r.uniform(-0.9, 0.4), r.uniform(-0.95, -0.5)
        out += [
            rect(x, top, x + 0.5, top + 0.4, shade(wall, 0.5)),
            marking(
                rect(x + 0.05, top + 0.05, x + 0.45, top + 0.35, _tone(r, (0.7, 0.8, 0.85), (0.6, 0.5, 0.4)))
            ),
        ]
    out += [rect(-2, y, 2, 2, floor), rect(-2, y - 0.05, 2, y, shade(wall, 0.75))]
    return wall, out


def snow(r: Random) -> Backdrop:
    """Snow, and flakes in the air."""
    sky = _tone(r, (0.72, 0.77, 0.84), (0.55, 0.62, 0.72))
    out = [_hills(r, r.uniform(0.1, 0.6), 0.3, (0.93, 0.94, 0.97))]
    for _ in range(r.randint(6, 24)):
        size = r.uniform(0.015, 0.04)
        out.append(marking(ellipse(r.uniform(-1, 1), r.uniform(-1, 1), size, size, (0.97, 0.97, 0.98))))
    return sky, out


def sky(r: Random) -> Backdrop:
    """Nothing but sky and clouds."""
    blue = _tone(r, (0.50, 0.70, 0.92), (0.65, 0.78, 0.92), (0.95, 0.72, 0.58), (0.22, 0.26, 0.42))
    out = []
    for _ in range(r.randint(1, 5)):
        x, y, wide = r.uniform(-1, 1), r.uniform(-1, 1), r.uniform(0.15, 0.3)
        out += [
            marking(
                ellipse(x + d * wide, y + r.uniform(-0.05, 0.05), wide, wide * 0.5, mix(blue, (1, 1, 1), 0.6))
            )
            for d in (-0.8, 0, 0.8)
        ]
    return blue, out


def plain(r: Random) -> Backdrop:
    """One colour, perhaps with spots of another."""
    color = _tone(
        r, (0.85, 0.85, 0.84), (0.55, 0.60, 0.62), (0.80, 0.72, 0.58), (0.60, 0.74, 0.70), (0.3, 0.3, 0.34)
    )
    out = []
    if r.random() < 0.5:
        other = shade(color, r.choice((0.85, 1.15)))
        for _ in range(r.randint(3, 12)):
            size = r.uniform(0.05, 0.25)
            out.append(
                marking(ellipse(r.uniform(-1, 1), r.uniform(-1, 1), size, size * r.uniform(0.5, 1), other))
            )
    return color, out


# The words are those of captions: "a red house by a lake".
PLACES: dict[str, Callable[[Random], Backdrop]] = {
    "in a field": field,
    "by a lake": lake,
    "in the street": street,
    "on a table": table,
    "in a room": room,
    "in the snow": snow,
    "in the sky": sky,
    "on a plain background": plain,
}


def clutter(r: Random, count: int) -> list[Shape]:
    """Things of no name that lie about: pebbles, sticks, boxes, leaves."""
    out: list[Shape] = []
    for _ in range(count):
        x, y, size = r.uniform(-1, 1), r.uniform(-0.9, 1), r.uniform(0.05, 0.16)
        color = (r.uniform(0.1, 0.9), r.uniform(0.1, 0.9), r.uniform(0.1, 0.9))
        kind = r.randrange(4)
        if kind == 0:
            out.append(ellipse(x, y, size, size * r.uniform(0.5, 1), color, tilt=r.uniform(0, 180)))
        elif kind == 1:
            dx, dy = r.uniform(-0.25, 0.25), r.uniform(-0.25, 0.25)
            out.append(line([(x, y), (x + dx, y + dy)], r.uniform(0.02, 0.06), color))
        elif kind == 2:
            out.append(rect(x - size, y - size * 0.7, x + size, y + size * 0.7, color))
        else:
            out.append(
                polygon(
                    [(x + r.uniform(-size, size) * 1.4, y + r.uniform(-size, size) * 1.4) for _ in range(3)],
                    color,
                )
            )
    return out
