"""Four ways to show the same scene: a photograph, a painting, a cartoon and a sketch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from deltaoe.demo.canvas import (
    Canvas,
    Pixels,
    blurred,
    finished,
    image_of,
    noise,
    pixels_of,
    rgb,
    rough,
    silhouette,
)
from deltaoe.demo.shapes import Color, Shape, mix, shade


@dataclass(frozen=True)
class Scene:
    """What is shown, in −1 … 1 of the picture: ground colour, what lies behind, the object, what is in front."""

    ground: Color
    behind: Sequence[Shape]
    thing: Sequence[Shape]
    front: Sequence[Shape] = ()


def photograph(scene: Scene, size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Light from one side, relief, a soft shadow, an unsharp background, grain."""
    backdrop = Canvas(size, scene.ground)
    for shape in scene.behind:
        backdrop.fill(shape, rgb(shape.color))
    edge = backdrop.edge
    pixels = pixels_of(blurred(backdrop.image, r.uniform(0.004, 0.02)))
    pixels = pixels * (0.86 + 0.28 * noise(noises, edge, r.choice((5, 9, 30))))[..., None]
    angle = r.uniform(math.pi * 0.15, math.pi * 0.85) + math.pi  # from above
    light = (math.cos(angle), math.sin(angle))
    mask = silhouette(scene.thing, size)
    shadow = ImageChops.offset(mask, int(-light[0] * 0.05 * edge), int(0.035 * edge))
    pixels *= 1 - r.uniform(0.3, 0.55) * pixels_of(blurred(shadow, 0.025))[..., None]
    pixels = _lit(pixels, scene.thing, mask, size, light, r, noises)
    if scene.front:
        pixels = _lit(pixels, scene.front, silhouette(scene.front, size), size, light, r, noises)
    ramp = np.linspace(-1, 1, edge, dtype=np.float32)
    pixels *= (1 + r.uniform(0, 0.22) * (ramp[None, :] * light[0] + ramp[:, None] * light[1]))[..., None]
    warmth = r.uniform(-0.07, 0.07)
    pixels *= np.array([1 + warmth, 1, 1 - warmth], dtype=np.float32) * r.uniform(0.85, 1.12)
    image = finished(blurred(image_of(pixels), r.uniform(0.001, 0.003)))
    grain = noises.normal(0, r.uniform(0.008, 0.035), (size, size, 1)).astype(np.float32)
    return image_of(pixels_of(image) + grain)


def _lit(
    pixels: Pixels,
    shapes: Sequence[Shape],
    mask: Image.Image,
    size: int,
    light: tuple[float, float],
    r: Random,
    noises: np.random.Generator,
) -> Pixels:
    """Shapes with light and texture, laid over the pixels."""
    flat, relief = Canvas(size, (0, 0, 0)), Canvas(size, 0, "L")
    for i, shape in enumerate(shapes):
        flat.fill(shape, rgb(shape.color))
        if shape.height:
            relief.fill(shape, min(255, int(90 + 55 * shape.height + 14 * (i % 5))))
    edge = flat.edge
    bumps = 0.9 * pixels_of(blurred(relief.image, 0.008)) + 2.6 * pixels_of(blurred(mask, 0.05))
    down, right = _slopes(bumps * np.float32(edge / 22))
    facing = -(right * np.float32(light[0]) + down * np.float32(light[1]))
    brightness = 0.86 + 0.42 * np.tanh(facing * 1.1)
    gloss = np.clip(facing - 0.45, 0, 1) ** 2 * np.float32(r.uniform(0, 0.7))
    texture = 0.9 + 0.2 * noise(noises, edge, r.choice((8, 20, 60)))
    color = pixels_of(flat.image) * (brightness * texture)[..., None] + gloss[..., None]
    cover = pixels_of(mask)[..., None]
    return np.asarray(pixels * (1 - cover) + color * cover, dtype=np.float32)


def painting(scene: Scene, size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Brush strokes in an uneven palette, on canvas."""
    tint, strength = (r.random(), r.random(), r.random()), r.uniform(0.05, 0.18)

    def paint(color: Color) -> tuple[int, int, int]:
        uneven = (color[0] + r.gauss(0, 0.05), color[1] + r.gauss(0, 0.05), color[2] + r.gauss(0, 0.05))
        return rgb(mix(uneven, tint, strength))

    canvas = Canvas(size, mix(scene.ground, tint, strength))
    for shape in scene.behind:
        canvas.fill(_by_hand(shape, 0.03, noises), paint(shape.color))
    _strokes(canvas.image, 420, 0.13, 0.040, noises)
    for shape in (*scene.thing, *scene.front):
        hand = _by_hand(shape, 0.014, noises)
        if shape.outlined and r.random() < 0.5:
            canvas.fill(hand, paint(shade(shape.color, 0.6)), grow=0.012)
        canvas.fill(hand, paint(shape.color))
    _strokes(canvas.image, 700, 0.07, 0.022, noises)
    weave = 0.94 + 0.12 * noises.random((canvas.edge, canvas.edge, 1), dtype=np.float32)
    return finished(image_of(canvas.pixels() * weave))


def _strokes(
    image: Image.Image, count: int, length: float, width: float, noises: np.random.Generator
) -> None:
    """Go over the image with strokes that take up its colours and follow its forms."""
    edge = image.width
    soft = blurred(image, 0.012)
    pixels = np.asarray(soft)
    down, right = _slopes(np.asarray(blurred(soft.convert("L"), 0.02), dtype=np.float32))
    across = int(math.sqrt(count))
    cell = edge / across
    ys, xs = np.divmod(np.arange(across * across), across)
    x, y = ((axis + noises.random(len(axis))) * cell for axis in (xs, ys))
    order = noises.permutation(len(x))
    x, y = x[order], y[order]
    row, column = (np.clip(axis.astype(int), 0, edge - 1) for axis in (y, x))
    sway = noise(noises, edge, 3)[row, column] * math.pi * 1.5
    gx, gy = right[row, column], down[row, column]
    angle = np.where(np.hypot(gx, gy) > 1.0, np.arctan2(gx, -gy), sway) + noises.normal(0, 0.2, len(x))
    half = edge * length * noises.uniform(0.25, 0.6, len(x))
    dx, dy = np.cos(angle) * half, np.sin(angle) * half
    colors = np.clip(
        pixels[row, column] + noises.normal(0, 9, (len(x), 1)) + noises.normal(0, 4, (len(x), 3)), 0, 255
    )
    ends = np.stack([x - dx, y - dy, x + dx, y + dy], axis=1).tolist()
    draw, wide = ImageDraw.Draw(image), max(1, round(edge * width))
    for place, color in zip(ends, colors.astype(int).tolist(), strict=True):
        draw.line(place, fill=(color[0], color[1], color[2]), width=wide)


def cartoon(scene: Scene, size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Flat loud colours, thick dark contours, one tone of shadow."""
    ink = rgb(r.choice(((0.08, 0.07, 0.10), (0.16, 0.09, 0.09), (0.07, 0.10, 0.20))))
    width = r.uniform(0.022, 0.042)
    canvas = Canvas(size, mix(_loud(scene.ground), (1, 1, 1), 0.35))
    for shape in scene.behind:
        color = rgb(mix(_loud(shape.color), (1, 1, 1), 0.3))
        if shape.outlined:
            canvas.fill(shape, rgb(shade(_loud(shape.color), 0.7)), grow=width * 0.3)
        canvas.fill(shape, color)
    for shapes in (scene.thing, scene.front):
        over = Canvas(size, (1, 1, 1))
        for shape in shapes:
            if shape.outlined:
                over.fill(shape, ink, grow=width)
            over.fill(shape, rgb(_loud(shape.color)))
        whole = silhouette(shapes, size)
        step = int(0.045 * over.edge)
        lit = ImageChops.offset(whole, -step, -step)
        dark = ImageChops.subtract(whole, lit)
        over.image.paste(over.image.point([int(v * 0.78) for v in range(256)] * 3), mask=dark)
        outer = Canvas(size, 0, "L")
        for shape in shapes:
            outer.fill(shape, 255, grow=width if shape.outlined else 0.0)
        canvas.image.paste(over.image, mask=outer.image)
    return finished(canvas.image)


def _loud(color: Color) -> Color:
    grey = sum(color) / 3
    red, green, blue = (max(0.0, min(1.0, grey + (value - grey) * 1.5 + 0.04)) for value in color)
    return red, green, blue


def sketch(scene: Scene, size: int, r: Random, noises: np.random.Generator) -> Image.Image:
    """Pencil on paper: contours drawn twice, hatching where it is dark."""
    paper = mix((0.98, 0.97, 0.93), (0.9, 0.86, 0.76), r.random() ** 2)
    lead = rgb(mix((0.12, 0.12, 0.14), (0.35, 0.3, 0.28), r.random()))
    width, shake = r.uniform(0.012, 0.022), r.uniform(0.006, 0.016)
    canvas = Canvas(size, paper)
    faint = rgb(mix(paper, (0.4, 0.4, 0.42), 0.5))
    tone = Canvas(size, 255, "L")
    if r.random() < 0.75:  # many draw the thing alone
        for shape in scene.behind:
            if shape.outlined:
                canvas.contour(_by_hand(shape, shake * 1.5, noises), width * 0.7, faint)
    for shape in (*scene.thing, *scene.front):
        grey = int(
            255 * (0.35 + 0.65 * (0.3 * shape.color[0] + 0.59 * shape.color[1] + 0.11 * shape.color[2]))
        )
        tone.fill(shape, grey)
        if not shape.width:
            canvas.fill(shape, rgb(paper))
        elif shape.width > 3 * width:
            canvas.fill(shape, lead)
            canvas.fill(dataclasses.replace(shape, width=shape.width - 2 * width), rgb(paper))
            continue
        passes = 2 if shape.outlined and not shape.width else 1
        for _ in range(passes):
            canvas.contour(_by_hand(shape, shake, noises), width, lead)
    pixels, dark = canvas.pixels(), tone.pixels()
    rows, columns = np.mgrid[: canvas.edge, : canvas.edge].astype(np.float32)
    waves = 3 * noise(noises, canvas.edge, 4)
    slant = r.uniform(0.5, 1.4) * r.choice((-1, 1))
    period = r.uniform(0.022, 0.034) * canvas.edge
    one = (rows + slant * columns) / period + waves
    two = (rows - slant * columns) / period + waves
    hatch = (one % 1 < 0.32) & (dark < 0.72) | (two % 1 < 0.32) & (dark < 0.5)
    ink = np.array(lead, dtype=np.float32) / 255
    pixels = np.where(hatch[..., None], pixels * 0.35 + ink * 0.65, pixels)
    pixels *= 0.97 + 0.06 * noises.random((canvas.edge, canvas.edge, 1), dtype=np.float32)
    return finished(image_of(pixels))


def _by_hand(shape: Shape, amount: float, noises: np.random.Generator) -> Shape:
    return dataclasses.replace(shape, points=rough(shape.points, amount, noises, closed=not shape.width))


def _slopes(heights: Pixels) -> tuple[Pixels, Pixels]:
    return np.gradient(heights, axis=0), np.gradient(heights, axis=1)


Style = Callable[[Scene, int, Random, np.random.Generator], Image.Image]
STYLES: dict[str, Style] = {
    "photo": photograph,
    "painting": painting,
    "cartoon": cartoon,
    "sketch": sketch,
}
