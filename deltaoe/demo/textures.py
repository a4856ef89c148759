"""Fields of numbers from which textures are made, and textures such as nature and workshops make."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from deltaoe.demo.canvas import OVERSAMPLING, Pixels, finished, image_of, noise, rgb
from deltaoe.demo.shapes import Color, mix, shade

Whole = npt.NDArray[np.int32]
Field = npt.NDArray[np.floating[Any]]

# Fields


def plane(size: int, r: Random, low: float, high: float, turn: float = 180.0) -> tuple[Pixels, Pixels]:
    """Coordinates (u, v) of the pixels, turned by up to ``turn`` degrees; between ``low`` and ``high`` units across."""
    units, angle = r.uniform(low, high), math.radians(r.uniform(-turn, turn))
    steps = np.linspace(-units / 2, units / 2, size * OVERSAMPLING, dtype=np.float32)
    cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    x, y = steps[None, :], steps[:, None]
    return x * cosine + y * sine + np.float32(r.uniform(40, 80)), y * cosine - x * sine + np.float32(
        r.uniform(40, 80)
    )


def clouds(noises: np.random.Generator, edge: int, cells: int, octaves: int = 4) -> Pixels:
    """Noise with smaller bumps upon the bumps, around 0.5."""
    total = np.zeros((edge, edge), dtype=np.float32)
    for i in range(octaves):
        total += (noise(noises, edge, cells * 2**i) - 0.5) * 0.6**i
    return total + 0.5


def split(values: Field) -> tuple[Whole, Pixels]:
    """Whole and fractional parts."""
    whole = np.floor(values)
    return whole.astype(np.int32), np.asarray(values - whole, dtype=np.float32)


def lots(noises: np.random.Generator, column: Whole, row: Whole | int = 0) -> Pixels:
    """A number in 0 … 1 for every tile, the same all over the tile."""
    table = noises.random(4096, dtype=np.float32)
    return np.asarray(table[(row & 63) * 64 + (column & 63)])


def scattered(
    u: Pixels, v: Pixels, noises: np.random.Generator, jitter: float = 0.9
) -> tuple[Pixels, Pixels, Whole]:
    """Distances from the nearest and the second nearest of points strewn one per unit square, and which is nearest."""
    across, down = (noises.random((2, 4096), dtype=np.float32) - 0.5) * np.float32(jitter) + np.float32(0.5)
    (column, x), (row, y) = split(u), split(v)
    first = np.full(u.shape, 9, dtype=np.float32)
    second, which = first.copy(), np.zeros(u.shape, dtype=np.int32)
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            index = ((row + dy) & 63) * 64 + ((column + dx) & 63)
            distance = (across[index] + dx - x) ** 2 + (down[index] + dy - y) ** 2
            which = np.where(distance < first, index, which)
            np.minimum(second, np.maximum(distance, first), out=second)
            np.minimum(first, distance, out=first)
    return np.sqrt(first), np.sqrt(second), which


def ramp(values: Field, colors: Sequence[Color]) -> Pixels:
    """Values in 0 … 1 as colours on a way through the ones given: (H, W, 3)."""
    stops = np.linspace(0, 1, 256)
    ends = np.linspace(0, 1, len(colors))
    table = np.stack([np.interp(stops, ends, [color[i] for color in colors]) for i in range(3)], axis=1)
    return np.asarray(table.astype(np.float32)[(np.clip(values, 0, 1) * 255).astype(np.uint8)])


def palette(r: Random, count: int) -> list[Color]:
    """Colours that go together, dark to light or in any order."""
    hue, spread, vivid = r.random(), r.choice((0.05, 0.15, 0.3, 0.5)), r.uniform(0.15, 0.9)
    lights = [r.uniform(0.15, 0.45) + 0.55 * i / max(1, count - 1) for i in range(count)]
    if r.random() < 0.5:
        r.shuffle(lights)
    hues = ((hue + r.uniform(-spread, spread)) % 1 for _ in lights)
    return [
        colorsys.hsv_to_rgb(h, min(1, vivid * r.uniform(0.6, 1.2)), min(1, light))
        for h, light in zip(hues, lights, strict=True)
    ]


def picture(
    colors: Field, r: Random, noises: np.random.Generator, height: Field | None = None
) -> Image.Image:
    """Colours in light that comes from one side, over the relief ``height`` if there is one, with grain."""
    edge, angle = len(colors), r.uniform(0, 2 * math.pi)
    light = (math.cos(angle), math.sin(angle))
    steps = np.linspace(-1, 1, edge, dtype=np.float32)
    fall = 1 + np.float32(r.uniform(0, 0.3)) * (steps[None, :] * light[0] + steps[:, None] * light[1])
    if height is not None:
        down, right = np.gradient(height)
        slope = (right * np.float32(light[0]) + down * np.float32(light[1])) * np.float32(edge / 14)
        fall = fall * (1 + np.float32(r.uniform(0.3, 0.6)) * np.tanh(slope))
    fall = fall * (0.88 + 0.24 * noise(noises, edge, r.choice((3, 6, 40))))
    small = np.asarray(finished(image_of(colors * fall[..., None])), dtype=np.float32) / np.float32(255)
    grain = noises.normal(0, r.uniform(0.005, 0.03), (*small.shape[:2], 1)).astype(np.float32)
    return image_of(small + grain)


# Textures


def bricks(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """A wall of bricks, each burnt a little differently."""
    u, v = plane(size, r, 3, 8, turn=30)
    row, y = split(v * np.float32(r.uniform(1.5, 2.6)) + 0.1 * (noise(noises, len(u), 8) - 0.5))
    column, x = split(u + row % 2 * np.float32(0.5))
    gap = np.minimum(np.minimum(x, 1 - x) * 2, np.minimum(y, 1 - y))
    brick = ramp(lots(noises, column, row) * 0.7 + clouds(noises, len(u), 24, 2) * 0.4 - 0.05, palette(r, 3))
    inside = np.clip(gap * 12 - 0.7, 0, 1)
    mortar = np.array(mix(palette(r, 1)[0], (0.8, 0.78, 0.74), 0.7), dtype=np.float32)
    colors = brick * inside[..., None] + mortar * (1 - inside[..., None])
    return picture(colors, r, noises, inside * 0.12 + noise(noises, len(u), 50) * 0.05)


def wood(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Planks cut along the grain."""
    u, v = plane(size, r, 2, 4.5)
    plank, x = split(u)
    bend = clouds(noises, len(u), 3, 3) * 2.5
    _, grain = split(
        (x + lots(noises, plank) * 7 + bend * 0.35 + 0.15 * np.sin(v * 0.8)) * np.float32(r.uniform(5, 9))
    )
    fibre = np.sin(u * 60 + bend * 20) * 0.04
    brown = r.choice(((0.40, 0.24, 0.13), (0.62, 0.42, 0.24), (0.45, 0.40, 0.36), (0.36, 0.16, 0.10)))
    colors = ramp(
        0.25 + 0.5 * grain**2 + fibre + 0.3 * lots(noises, plank),
        [shade(brown, 1.35), brown, shade(brown, 0.5)],
    )
    seam = np.clip(np.minimum(x, 1 - x) * 40, 0.3, 1)
    return picture(colors * seam[..., None], r, noises, seam * 0.05)


def marble(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Polished stone with veins."""
    u, v = plane(size, r, 3, 8)
    fog = clouds(noises, len(u), r.choice((2, 3)), 5)
    veins = 1 - np.abs(np.sin(u * 0.5 + 9 * fog))
    fine = 1 - np.abs(np.sin(v * 0.9 + 14 * clouds(noises, len(u), 3, 5)))
    stone, vein = palette(r, 2)
    if r.random() < 0.5:
        stone, vein = mix(stone, (0.93, 0.92, 0.9), 0.8), mix(vein, (0.3, 0.3, 0.32), 0.6)
    return picture(
        ramp(veins**5 * 0.8 + fine**8 * 0.35 + 0.3 * (fog - 0.3), [stone, mix(stone, vein, 0.4), vein]),
        r,
        noises,
    )


def cloth(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Plain weave of two yarns."""
    u, v = plane(size, r, 8, 22)
    sway = clouds(noises, len(u), 3, 2)
    (column, x), (row, y) = split(u + sway), split(v + sway)
    over = (column + row) % 2 == 0
    across, along = np.where(over, x, y), np.where(over, y, x)
    height = np.sin(np.pi * across) ** 0.7 * (0.55 + 0.45 * np.sin(np.pi * along))
    one, two = palette(r, 2)
    warp = ramp(lots(noises, column), [shade(one, 0.8), shade(one, 1.15)])
    weft = ramp(lots(noises, row), [shade(two, 0.8), shade(two, 1.15)])
    colors = np.where(over[..., None], warp, weft) * (0.35 + 0.65 * height[..., None])
    return picture(colors, r, noises, height * 0.1)


def water(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Rippled water with glints."""
    u, v = plane(size, r, 5, 14, turn=25)
    swell = clouds(noises, len(u), 4, 4)
    waves = np.sin(v * 2.2 + 5 * swell + 0.5 * np.sin(u * 0.7)) + 0.6 * np.sin(v * 4.1 + u * 0.9 + 9 * swell)
    level = 0.5 + 0.3 * waves
    hue = r.uniform(0.45, 0.65)
    deep, bright = (
        colorsys.hsv_to_rgb(hue, 0.75, r.uniform(0.2, 0.45)),
        colorsys.hsv_to_rgb(hue - 0.04, 0.4, 0.85),
    )
    return picture(ramp(level, [deep, mix(deep, bright, 0.35), bright, (0.97, 0.98, 1.0)]), r, noises)


def pebbles(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Rounded stones lying close together."""
    u, v = plane(size, r, 5, 13)
    warp = clouds(noises, len(u), 8, 2)
    first, second, which = scattered(u + warp * 0.4, v - warp * 0.4, noises)
    dome = np.clip((second - first) * 2.2, 0, 1)
    colors = ramp(
        lots(noises, which & 63, which >> 6) * 0.8 + 0.3 * clouds(noises, len(u), 30, 2) - 0.05, palette(r, 4)
    )
    grey = r.uniform(0.2, 0.8)
    colors = colors * (1 - grey) + colors.mean(axis=2, keepdims=True) * grey
    return picture(colors * (0.25 + 0.75 * dome[..., None] ** 0.6), r, noises, np.sqrt(dome) * 0.3)


def cracks(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Dried mud."""
    u, v = plane(size, r, 3.5, 8)
    warp = clouds(noises, len(u), 6, 4)
    first, second, which = scattered(u + warp * 0.7, v - warp * 0.7, noises, 1.0)
    inside = np.clip((second - first) * r.uniform(8, 16) - 0.4, 0, 1)
    earth = mix(palette(r, 1)[0], r.choice(((0.6, 0.47, 0.33), (0.7, 0.66, 0.6), (0.5, 0.3, 0.2))), 0.7)
    tone = lots(noises, which & 63, which >> 6) * 0.4 + clouds(noises, len(u), 16, 4) * 0.6
    colors = ramp(tone, [shade(earth, 0.65), earth, shade(earth, 1.3)]) * (0.15 + 0.85 * inside[..., None])
    return picture(colors, r, noises, inside * 0.15 + clouds(noises, len(u), 30, 2) * 0.08)


def leaves(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Foliage: leaves upon leaves, the upper ones lighter."""
    edge, count, hue = size * OVERSAMPLING, r.randrange(250, 500), r.choice((0.3, 0.24, 0.36, 0.09, 0.02))
    image = Image.new("RGB", (edge, edge), rgb(colorsys.hsv_to_rgb(hue, 0.7, 0.12)))
    pen, length = ImageDraw.Draw(image), edge * 1.1 / math.sqrt(count)
    for i in range(count):
        x, y, angle, long = (
            r.random() * edge,
            r.random() * edge,
            r.uniform(0, 6.28),
            length * r.uniform(0.6, 1.4),
        )
        dx, dy = math.cos(angle) * long, math.sin(angle) * long
        color = colorsys.hsv_to_rgb(
            (hue + r.gauss(0, 0.025)) % 1, r.uniform(0.5, 0.85), 0.2 + 0.65 * i / count * r.uniform(0.6, 1)
        )
        side = (x - dy * 0.4, y + dx * 0.4), (x + dy * 0.4, y - dx * 0.4)
        pen.polygon([(x - dx, y - dy), side[0], (x + dx, y + dy), side[1]], fill=rgb(color))
    return picture(np.asarray(image, dtype=np.float32) / np.float32(255), r, noises)


def grass(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Blades of grass, straw or fur, all leaning much the same way."""
    edge, hue, lean = size * OVERSAMPLING, r.choice((0.27, 0.31, 0.14, 0.08, 0.6)), r.uniform(0, 6.28)
    image = Image.new("RGB", (edge, edge), rgb(colorsys.hsv_to_rgb(hue, 0.6, 0.2)))
    pen, long, wide = ImageDraw.Draw(image), edge * r.uniform(0.06, 0.16), r.choice((3, 4, 5))
    sway, vivid = noise(noises, edge, 3), r.uniform(0.2, 0.7)
    for i in range(600):
        x, y = r.random() * edge, r.random() * edge
        angle = lean + 2.5 * float(sway[int(y), int(x)]) + r.gauss(0, 0.2)
        color = colorsys.hsv_to_rgb(
            hue + r.gauss(0, 0.02), vivid, (0.3 + 0.5 * i / 600) * r.uniform(0.7, 1.15)
        )
        pen.line(
            [(x, y), (x + math.cos(angle) * long, y + math.sin(angle) * long)], fill=rgb(color), width=wide
        )
    return picture(np.asarray(image, dtype=np.float32) / np.float32(255), r, noises)


def granite(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Stone speckled with grains of several minerals."""
    u, v = plane(size, r, 28, 50)
    warp = noise(noises, len(u), 30)
    _, _, which = scattered(u + warp, v - warp, noises, 1.0)
    pick = lots(noises, which & 63, which >> 6) * 0.75 + 0.5 * (clouds(noises, len(u), 4, 3) - 0.25)
    base = palette(r, 1)[0]
    minerals = [(0.12, 0.12, 0.13), (0.45, 0.43, 0.42), mix(base, (0.6, 0.55, 0.52), 0.4), (0.85, 0.83, 0.8)]
    return picture(ramp(np.round(pick * 6) / 6, minerals), r, noises)


def sand(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Ripples that wind has left in sand or snow."""
    u, v = plane(size, r, 5, 12)
    _, wave = split(v + 1.6 * clouds(noises, len(u), 3, 3) + 0.2 * np.sin(u * 0.8))
    height = np.where(wave < 0.7, wave / 0.7, (1 - wave) / 0.3)
    ground = r.choice(((0.83, 0.70, 0.48), (0.90, 0.92, 0.96), (0.72, 0.45, 0.28), (0.55, 0.53, 0.50)))
    colors = ramp(
        height * 0.7 + 0.3 * clouds(noises, len(u), 6), [shade(ground, 0.6), ground, shade(ground, 1.3)]
    )
    return picture(colors, r, noises, height * 0.12 + noise(noises, len(u), 90) * 0.06)


def rust(size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Paint that peels off corroded metal."""
    edge = size * OVERSAMPLING
    patches = clouds(noises, edge, r.choice((3, 5)), 5)
    left = np.clip((patches - r.uniform(0.4, 0.55)) * 22, 0, 1)
    metal = ramp(clouds(noises, edge, 14, 3), [(0.2, 0.1, 0.07), (0.48, 0.22, 0.1), (0.72, 0.42, 0.2)])
    coat = ramp(noise(noises, edge, 6), palette(r, 2))
    return picture(
        coat * left[..., None] + metal * (1 - left[..., None]), r, noises, left * 0.1 + patches * 0.1
    )
