"""Drawing shapes into pixels: operations that all styles share. Everything is drawn at twice the final size."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from deltaoe.demo.shapes import Color, Points, Shape

Pixels = npt.NDArray[np.float32]  # (H, W, 3) or (H, W), 0 … 1
OVERSAMPLING = 2


def rgb(color: Color) -> tuple[int, int, int]:
    """A colour as Pillow takes it, 0 to 255 each.

    Example:
        >>> rgb((1.0, 0.5, 0.0))
        (255, 128, 0)
    """
    red, green, blue = (max(0, min(255, round(255 * value))) for value in color)
    return red, green, blue


class Canvas:
    """An image of ``size``² pixels (before oversampling) over the scene's −1 … 1."""

    def __init__(self, size: int, color: Color | int, mode: str = "RGB") -> None:
        self.edge = size * OVERSAMPLING
        self.image = Image.new(mode, (self.edge, self.edge), color if isinstance(color, int) else rgb(color))
        self._draw = ImageDraw.Draw(self.image)

    def fill(self, shape: Shape, color: tuple[int, int, int] | int, grow: float = 0.0) -> None:
        """Draw a shape; ``grow`` widens it on every side, in scene units."""
        places = self._places(shape.points)
        if shape.width:
            self._line(places, shape.width + 2 * grow, color)
            return
        self._draw.polygon(places, fill=color)
        if grow:
            self._line([*places, places[0]], 2 * grow, color)

    def contour(self, shape: Shape, width: float, color: tuple[int, int, int] | int) -> None:
        """Draw a line around an area, or along a line, ``width`` wide whatever the shape's own."""
        places = self._places(shape.points)
        self._line(places if shape.width else [*places, places[0]], width, color)

    def _line(
        self, places: list[tuple[float, float]], width: float, color: tuple[int, int, int] | int
    ) -> None:
        pixels = max(1, round(width * self.edge / 2))
        self._draw.line(places, fill=color, width=pixels, joint="curve")
        if pixels > 2:  # Pillow's lines end square
            for x, y in (places[0], places[-1]):
                half = pixels / 2 - 0.5
                self._draw.ellipse((x - half, y - half, x + half, y + half), fill=color)

    def _places(self, points: Points) -> list[tuple[float, float]]:
        scaled = (points + 1) * (self.edge / 2)
        return [(x, y) for x, y in scaled.tolist()]

    def pixels(self) -> Pixels:
        """The image as numbers in 0 … 1."""
        return pixels_of(self.image)


def pixels_of(image: Image.Image) -> Pixels:
    """An image as numbers in 0 … 1."""
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def image_of(pixels: Pixels) -> Image.Image:
    """Numbers in 0 … 1 as an image."""
    return Image.fromarray((np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8))


def finished(image: Image.Image) -> Image.Image:
    """The image reduced from the size it was drawn at to its final size."""
    return image.reduce(OVERSAMPLING)


def blurred(image: Image.Image, radius: float) -> Image.Image:
    """The image blurred; the radius is a share of its width."""
    return image.filter(ImageFilter.GaussianBlur(radius * image.width))


def silhouette(shapes: Iterable[Shape], size: int) -> Image.Image:
    """Where any of the shapes is: an image in mode L, 255 inside."""
    canvas = Canvas(size, 0, "L")
    for shape in shapes:
        canvas.fill(shape, 255)
    return canvas.image


def noise(noises: np.random.Generator, edge: int, cells: int) -> Pixels:
    """Smooth noise (edge, edge) in 0 … 1 with about ``cells`` bumps from side to side.

    Example:
        >>> noise(np.random.default_rng(0), 8, 2).shape
        (8, 8)
    """
    coarse = noises.integers(0, 256, (cells + 1, cells + 1), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((edge, edge), Image.Resampling.BICUBIC)
    return pixels_of(image)


def rough(points: Points, amount: float, noises: np.random.Generator, *, closed: bool) -> Points:
    """The same outline drawn by a hand: more points, each off by up to about ``amount``, neighbours alike."""
    ring = np.concatenate([points, points[:1]]) if closed else points
    lengths = np.hypot(*np.diff(ring, axis=0).T)
    total = float(lengths.sum())
    if total == 0:
        return points
    count = max(4, min(60, int(total / 0.09)))
    at = np.concatenate([[0.0], lengths.cumsum()])
    where = np.unique(np.concatenate([np.linspace(0, total, count), at]))
    base = np.stack([np.interp(where, at, ring[:, axis]) for axis in (0, 1)], axis=1)
    knots = max(3, int(total / 0.35))
    wobble = noises.normal(0, amount, (2, knots))
    if closed:
        wobble[:, -1] = wobble[:, 0]
    steps = np.linspace(0, total, knots)
    offsets = np.stack([np.interp(where, steps, wobble[axis]) for axis in (0, 1)], axis=1)
    path: Points = base + offsets
    return path[:-1] if closed else path
