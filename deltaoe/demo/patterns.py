"""Pictures that show no object, textures and abstract patterns: as far from any class as pictures get."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from deltaoe.demo import textures
from deltaoe.demo.canvas import OVERSAMPLING, Pixels, blurred, noise, rgb
from deltaoe.demo.shapes import mix, shade
from deltaoe.demo.textures import clouds, lots, palette, picture, plane, ramp, scattered, split

Pattern = Callable[[int, Random, np.random.Generator], Image.Image]


def stripes(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Stripes of several widths, straight or wavy."""
    u, v = plane(size, r, 4, 14)
    stripe, x = split(u + r.choice((0, 0.3, 0.8)) * np.sin(v * np.float32(r.uniform(0.5, 1.5))))
    colors = palette(r, 4)
    narrow = x < lots(noises, stripe % r.choice((2, 3, 5))) * 0.8
    return picture(ramp(lots(noises, stripe % 5 + 7 * narrow), colors), r, noises)


def checks(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """A chequerboard of uneven squares."""
    u, v = plane(size, r, 4, 12)
    (column, _), (row, _) = split(u), split(v)
    dark, light = palette(r, 2)
    tone = 0.75 * ((column + row) % 2) + 0.25 * lots(noises, column, row)
    return picture(ramp(tone, [shade(dark, 0.6), mix(dark, light, 0.5), shade(light, 1.3)]), r, noises)


def tartan(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Coloured bands of yarn crossing each other, in twill."""
    u, v = plane(size, r, 10, 22)
    (column, _), (row, _) = split(u), split(v)
    colors, period = palette(r, 4), r.choice((7, 9, 11))
    bands = noises.random(period, dtype=np.float32)
    warp, weft = ramp(bands[column % period], colors), ramp(bands[row % period], colors)
    over = 0.25 + 0.5 * (np.floor((u + v) * 3) % 2)
    return picture(warp * over[..., None] + weft * (1 - over[..., None]), r, noises)


def dots(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Dots in rows, of one size or of many."""
    u, v = plane(size, r, 4, 12)
    row, y = split(v)
    column, x = split(u + row % 2 * np.float32(0.5))
    radius = 0.3 + r.choice((0, 0.25)) * (lots(noises, column, row) - 0.5)
    inside = np.clip((radius - np.hypot(x - 0.5, y - 0.5)) * 16, 0, 1)[..., None]
    ground, *others = palette(r, 4)
    colors = ramp(lots(noises, column, row), others)
    return picture(colors * inside + np.array(ground, dtype=np.float32) * (1 - inside), r, noises)


def honeycomb(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Hexagons, hollow or filled."""
    u, v = plane(size, r, 4, 11)
    tall = np.float32(math.sqrt(3))
    grids = []
    for shift in (0, 1):
        (column, x), (row, y) = split(u - np.float32(shift / 2)), split(v / tall - np.float32(shift / 2))
        grids.append((x - np.float32(0.5), (y - np.float32(0.5)) * tall, column, 2 * row + shift))
    (x, y, *tile), (x2, y2, *tile2) = grids
    second = x2**2 + y2**2 < x**2 + y**2
    x, y = np.abs(np.where(second, x2, x)), np.abs(np.where(second, y2, y))
    inside = np.clip((0.5 - np.maximum(x, x / 2 + y * tall / 2)) * r.uniform(6, 14), 0, 1)
    chance = lots(noises, np.where(second, tile2[0], tile[0]), np.where(second, tile2[1], tile[1]))
    wall, *fill = palette(r, 4)
    colors = ramp(chance, fill) * inside[..., None] + np.array(wall, dtype=np.float32) * (
        1 - inside[..., None]
    )
    return picture(colors, r, noises, inside * r.choice((-0.12, 0.12)))


def knitting(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Rows of V-shaped stitches, with a worked-in pattern."""
    u, v = plane(size, r, 7, 14, turn=40)
    sway = clouds(noises, len(u), 3, 2) * 0.5
    column, x = split(u + sway)
    row, y = split(v * 1.2 + sway + 1.1 * np.abs(x - 0.5))
    _, leg = split(2 * x)
    height = np.sin(np.pi * leg) ** 0.6 * np.sin(np.pi * y) ** 0.5
    yarn = lots(noises, column % r.choice((1, 4, 6)), row % r.choice((2, 5, 8)))
    fuzz = 0.15 * (noise(noises, len(u), 90) - 0.5)
    return picture(
        ramp(np.round(yarn * 2) / 2 + fuzz, palette(r, 3)) * (0.3 + 0.7 * height[..., None]),
        r,
        noises,
        height * 0.1,
    )


def spiral(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Rings or spiral arms around a point."""
    u, v = plane(size, r, 1.5, 3)
    x, y = u - u.mean() - np.float32(r.uniform(-0.5, 0.5)), v - v.mean() - np.float32(r.uniform(-0.5, 0.5))
    arms = r.choice((0, 1, 2, 3, 5, 8)) * r.choice((-1, 1))
    radius = np.hypot(x, y) + 0.12 * (clouds(noises, len(u), 4) - 0.5)
    _, turn = split(
        radius * np.float32(r.uniform(2, 6)) + np.arctan2(y, x) * np.float32(arms / (2 * math.pi))
    )
    first, *others = palette(r, r.choice((2, 3, 4)))
    return picture(ramp(turn, [first, *others, first]), r, noises)


def triangles(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """A mosaic of triangles."""
    u, v = plane(size, r, 4, 10)
    bend = clouds(noises, len(u), 2, 1) * r.choice((0, 1.5))
    (column, x), (row, y) = (
        split(u - v * np.float32(1 / math.sqrt(3)) + bend),
        split(v * np.float32(1.155) + bend),
    )
    tone = lots(noises, 2 * column + (x + y > 1), row) + 0.2 * (clouds(noises, len(u), 20) - 0.5)
    gap = np.minimum(np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y)), np.abs(x + y - 1) * 0.7)
    return picture(ramp(tone, palette(r, 4)) * np.clip(gap * 22, 0.35, 1)[..., None], r, noises)


def zigzag(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Chevrons, one colour after another."""
    u, v = plane(size, r, 3, 8)
    _, x = split(u)
    row, _ = split(2.2 * (v + np.float32(r.uniform(0.5, 1.2)) * np.abs(x - 0.5)))
    colors = ramp(lots(noises, row % r.choice((2, 3, 4, 6))), palette(r, 4))
    return picture(colors, r, noises, clouds(noises, len(u), 40, 2) * 0.1)


def glass(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Pieces of coloured glass in lead."""
    u, v = plane(size, r, 4, 9)
    first, second, which = scattered(u, v, noises)
    tone = lots(noises, which & 63, which >> 6)
    colors = ramp(tone, palette(r, 6)) * (0.75 + 0.5 * clouds(noises, len(u), 10)[..., None])
    return picture(colors * np.clip((second - first) * 14 - 0.3, 0.1, 1)[..., None], r, noises)


def fog(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Soft clouds of colour that run into each other."""
    field = clouds(noises, size * OVERSAMPLING, r.choice((2, 3, 4)), r.choice((2, 5)))
    return picture(ramp((field - 0.5) * 1.4 + 0.5, palette(r, 5)), r, noises)


def contours(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Lines of equal height over tinted levels."""
    field = clouds(noises, size * OVERSAMPLING, r.choice((2, 3, 4)), 2) * np.float32(r.uniform(6, 12))
    level, at = split(field)
    edge = np.clip(np.minimum(at, 1 - at) * 9, r.uniform(0, 0.6), 1)
    return picture(ramp(level / 10, palette(r, 4)) * edge[..., None], r, noises)


def shingles(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Round shingles that overlap row upon row."""
    u, v = plane(size, r, 5, 11)
    row, y = split(v * 2)
    (under, _), (column, x) = (split(u + (row + i) % 2 * np.float32(0.5)) for i in (1, 0))
    far = (np.abs(2 * x - 1) ** 3 + y**3) ** np.float32(1 / 3)  # rounder than a circle
    over = far < 1
    inside = np.where(over, far, 0.5 * (1 - y))
    tone = lots(noises, np.where(over, column, under), np.where(over, row, row + 1))
    colors = ramp(tone, palette(r, 3)) * (1 - 0.65 * inside[..., None] ** 6)
    return picture(colors, r, noises, inside * 0.08)


def ripples(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Waves from several places that run through one another."""
    u, v = plane(size, r, 6, 14)
    total = np.zeros_like(u)
    for _ in range(r.choice((2, 3, 4))):
        x, y = u - u.mean() + np.float32(r.gauss(0, 3)), v - v.mean() + np.float32(r.gauss(0, 3))
        total += np.sin(np.hypot(x, y) * np.float32(r.uniform(2.5, 5)))
    return picture(ramp(0.5 + total * 0.2, palette(r, 4)), r, noises)


def scribble(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Long loose lines over one another."""
    ground, *colors = palette(r, 5)
    edge = size * OVERSAMPLING
    image = Image.new("RGB", (edge, edge), rgb(ground))
    pen, wide = ImageDraw.Draw(image), r.choice((2, 4, 7))
    for _ in range(r.randrange(14, 40)):
        heading = noises.normal(0, 0.5, 60).cumsum() + r.uniform(0, 6.28)
        path = np.stack([np.cos(heading), np.sin(heading)], axis=1).cumsum(axis=0) * edge / 22
        places = (path + noises.uniform(-0.2, 1.2, 2) * edge).tolist()
        pen.line([(x, y) for x, y in places], fill=rgb(r.choice(colors)), width=wide, joint="curve")
    return picture(_pixels(image), r, noises)


def splashes(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Drops of paint of every size, thrown at a canvas."""
    ground, *colors = palette(r, 5)
    edge = size * OVERSAMPLING
    image = Image.new("RGB", (edge, edge), rgb(ground))
    pen = ImageDraw.Draw(image)
    for _ in range(r.randrange(150, 450)):
        x, y, radius = r.random() * edge, r.random() * edge, edge * min(0.12, 0.006 / (r.random() + 0.02))
        wide, high = radius * r.uniform(0.6, 1.3), radius * r.uniform(0.6, 1.3)
        pen.ellipse((x - wide, y - high, x + wide, y + high), fill=rgb(r.choice(colors)))
    return picture(_pixels(image), r, noises)


def lights(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Lamps far out of focus."""
    edge, colors = size * OVERSAMPLING, palette(r, 5)
    image = Image.new("RGB", (edge, edge), rgb(shade(colors[0], 0.3)))
    for _ in range(3):
        layer = Image.new("RGB", (edge, edge))
        pen, radius = ImageDraw.Draw(layer), edge * r.uniform(0.03, 0.1)
        for _ in range(r.randrange(6, 16)):
            x, y = r.random() * edge, r.random() * edge
            pen.ellipse(
                (x - radius, y - radius, x + radius, y + radius),
                fill=rgb(mix(r.choice(colors), (1, 0.9, 0.7), 0.3)),
            )
        image = Image.blend(image, layer, 0.35)
    return picture(_pixels(blurred(image, 0.006)) * np.float32(1.7), r, noises)


def static(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """A mosaic of small squares at random."""
    u, v = plane(size, r, 10, 40)
    (column, _), (row, _) = split(u), split(v)
    tone = 0.6 * lots(noises, column, row) + 0.6 * clouds(noises, len(u), 4) - 0.1
    return picture(ramp(tone, palette(r, r.choice((2, 4)))), r, noises)


def _pixels(image: Image.Image) -> Pixels:
    return np.asarray(image, dtype=np.float32) / np.float32(255)


PATTERNS: dict[str, Pattern] = {
    pattern.__name__: pattern
    for pattern in (
        textures.bricks,
        textures.wood,
        textures.marble,
        textures.cloth,
        textures.water,
        textures.pebbles,
        textures.cracks,
        textures.leaves,
        textures.grass,
        textures.granite,
        textures.sand,
        textures.rust,
        stripes,
        checks,
        tartan,
        dots,
        honeycomb,
        knitting,
        spiral,
        triangles,
        zigzag,
        glass,
        fog,
        contours,
        shingles,
        ripples,
        scribble,
        splashes,
        lights,
        static,
    )
}
