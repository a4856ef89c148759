"""From a picture to the pixels that a model is given, with Pillow and NumPy alone.

Worker processes import this module, and PyTorch would cost each of them seconds and hundreds of megabytes. So the
resizing and cropping of open_clip's preprocessing is done here, equal to the bit; its arithmetic on the numbers
(scaling to 0…1, mean, deviation) is left to the process that holds the model.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deltaoe.errors import ConfigError, ModelError
from deltaoe.images.cuts import Cut, Reduced
from deltaoe.images.decode import Decoded, ImageError, decode_reduced
from deltaoe.images.decode_policy import DECODE_MODES, EXACT, FAST
from deltaoe.images.range_names import AUTO
from deltaoe.images.views import random_part

# Pictures of a more extreme aspect are cropped to this one around their centre before they are resized: the centre crop
# that follows leaves 1:1 of it, and resizing the shorter side of a 1×20000 strip to 224 would take gigabytes.
_MOST_EXTREME_ASPECT = 16

_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_RESIZE_MODES = ("shortest", "longest", "squash")
_SETTINGS = frozenset({"size", "mode", "mean", "std", "interpolation", "resize_mode", "fill_color"})


ONE_COLOUR = "one single colour"


class Views(NamedTuple):
    """Views of a picture, and what is to be said of it.

    Attributes:
        pixels: (V, H, W, 3) uint8.
        notes: short phrases; what follows a colon is of this picture alone.
    """

    pixels: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Geometry:
    """How a model wants its pictures resized and cropped, and how samples of more than eight bits are shown to it.

    Attributes:
        height: H, rows of pixels.
        width: W, columns of pixels.
        interpolation: ``bicubic`` or ``bilinear``.
        resize_mode: ``shortest`` covers H × W and crops the rest, ``longest`` fits into it and pads, ``squash``
            stretches.
        fill_color: what ``longest`` pads with: 0…255 for all of red, green and blue, or one number for each.
        sample_range: ``auto`` or ``LOW..HIGH``, of samples of more than eight bits.
        decode_mode: ``exact``; ``fast``, where a JPEG's decoder reduces it before it is resized; or ``gpu``, where this
            decodes exactly what the device does not.

    Raises:
        ModelError: one of them has no usable value.
    """

    height: int
    width: int
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill_color: int | tuple[int, int, int] = 0
    sample_range: str = AUTO
    decode_mode: str = EXACT

    def __post_init__(self) -> None:
        fill = self.fill_color if isinstance(self.fill_color, tuple) else (self.fill_color,) * 3
        sides = (self.height, self.width)
        for name, value, usable in (
            ("size", sides, all(type(side) is int and side >= 1 for side in sides)),
            ("interpolation", self.interpolation, self.interpolation in list(_RESAMPLING)),
            ("resize_mode", self.resize_mode, self.resize_mode in _RESIZE_MODES),
            ("decode", self.decode_mode, self.decode_mode in DECODE_MODES),
            ("fill_color", fill, len(fill) == 3 and all(type(v) is int and 0 <= v <= 255 for v in fill)),
        ):
            if not usable:
                raise _unusable(f"{name} {value!r}")

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Geometry:
        """The geometry of an open_clip ``preprocess_cfg``, with open_clip's own defaults.

        Raises:
            ModelError: it has a value that open_clip does not take, or a setting that this version does not know.

        Example:
            >>> Geometry.of({"size": 224, "resize_mode": "squash"}).resize_mode
            'squash'
        """
        for name in settings:
            if name not in _SETTINGS:
                raise _unusable(f"a setting {name!r} that this version does not know")
        if settings.get("mode", "RGB") != "RGB":
            raise _unusable(f"mode {settings['mode']!r}")
        size, fill = settings.get("size", 224), settings.get("fill_color") or 0
        sides = size if isinstance(size, list | tuple) else (size, size)
        if len(sides) != 2:
            raise _unusable(f"size {size!r}")
        height, width = sides
        resize_mode = settings.get("resize_mode") or "shortest"
        interpolation = settings.get("interpolation") or "bicubic"
        # open_clip draws among several in training, means bicubic otherwise, and does not pass on what the
        # settings say where the shorter side is to cover an oblong.
        if interpolation == "random" or (
            resize_mode == "shortest" and height != width and interpolation == "bilinear"
        ):
            interpolation = "bicubic"
        if isinstance(fill, list | tuple):
            fill = tuple(fill) * 3 if len(fill) == 1 else tuple(fill)
        return cls(height, width, interpolation, resize_mode, fill)

    def centred(self, image: Image.Image) -> NDArray[np.uint8]:
        """View 0 of an RGB picture, (H, W, 3) uint8: the output of open_clip's transform for inference, as bytes.

        Only strips differ: those of more than 16:1 are cropped to that first (``shortest``), and their shorter side
        has one pixel at least, where open_clip fails because it has none (``longest``).
        """
        return self._shown(image, self.cut(image.size, b"", 0))

    def augmented(self, image: Image.Image, digest: bytes, view: int) -> NDArray[np.uint8]:
        """View 1, 2, … of an RGB picture, (H, W, 3) uint8: a random part of it, resized, and mirrored half the time.

        The part has 8 to 100 % of the area and an aspect of 3:4 to 4:3, as in CoOp's training **[source]**. It depends
        on the content's digest and the view's number alone: it is the same on every machine and in any order.

        Raises:
            ConfigError: the view's number is not positive.
        """
        if view < 1:
            raise ConfigError(f"augmented views are numbered from 1, not {view}")
        return self._shown(image, self.cut(image.size, digest, view))

    def views(self, image: Image.Image, digest: bytes, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Several views of an RGB picture, (V, H, W, 3) uint8, for V indices: 0 is centred, 1, 2, … are augmented."""
        out = np.empty((len(indices), self.height, self.width, 3), dtype=np.uint8)
        for slot, view in enumerate(indices):
            out[slot] = self.centred(image) if view == 0 else self.augmented(image, digest, view)
        return out

    def decode(self, data: bytes, digest: bytes, indices: Sequence[int]) -> NDArray[np.uint8]:
        """The pixels of :meth:`decode_noted`, (V, H, W, 3) uint8. Raises ImageError and ConfigError likewise."""
        return self.decode_noted(data, digest, indices).pixels

    def decode_noted(self, data: bytes, digest: bytes, indices: Sequence[int]) -> Views:
        """Views of the picture in the bytes of an image file: what worker processes compute.

        Args:
            data: the file's bytes.
            digest: their SHA-256, 32 bytes; decides what the augmented views show.
            indices: V of them, 0 for the centred view, 1 and above for augmented ones.

        Raises:
            ImageError: it is no usable picture.
            ConfigError: an index is negative.
        """
        if any(view < 0 for view in indices):
            raise ConfigError(f"views are numbered from 0, not {min(indices)}")
        wanted = tuple(indices) or (0,)
        pictures: dict[int, tuple[Decoded, Reduced]] = {}  # by how much the decoder was asked to reduce them
        pixels = np.empty((len(wanted), self.height, self.width, 3), dtype=np.uint8)
        notes: tuple[str, ...] = ()
        try:
            for slot, view in enumerate(wanted):
                # Each view is reduced as if it were alone: what it shows must not depend on the others.
                reduce = functools.partial(self._reduction, digest, view)
                size = next((known.size for _, known in pictures.values()), None)
                factor = 1 if size is None else reduce(size)
                if factor not in pictures:
                    found = decode_reduced(
                        data, self.sample_range, reduce if self.decode_mode == FAST else None
                    )
                    factor = reduce(found[1].size)
                    pictures[factor] = found
                picture, reduced = pictures[factor]
                notes = picture.notes
                pixels[slot] = self._shown(picture.image, self.cut(reduced.size, digest, view), reduced)
        except MemoryError as cause:
            raise ImageError("too large for this machine's memory") from cause
        if (pixels[0] == pixels[0, 0, 0]).all():
            notes += (ONE_COLOUR,)
        return Views(pixels[: len(indices)], notes)

    def cut(self, size: tuple[int, int], digest: bytes, view: int) -> Cut:
        """What a view shows of a picture of some width and height.

        Args:
            size: width and height of the picture, in pixels.
            digest: of the file's content; has no part in view 0.
            view: 0 for the centred view, 1 and above for augmented ones.
        """
        if view > 0:
            left, top, width, height, mirrored = random_part(size, digest, view)
            part = (left, top, left + width, top + height)
            return Cut(part, (self.width, self.height), mirrored=mirrored)
        if self.resize_mode == "squash":
            return Cut((0, 0, *size), (self.width, self.height))
        return self._fitted(size) if self.resize_mode == "longest" else self._covering(size)

    def _reduction(self, digest: bytes, view: int, size: tuple[int, int]) -> int:
        """By how much the decoder may reduce a picture of this size for a view."""
        return self.cut(size, digest, view).reduction() if self.decode_mode == FAST else 1

    def _shown(self, image: Image.Image, cut: Cut, reduced: Reduced | None = None) -> NDArray[np.uint8]:
        """What a cut shows of an RGB picture, (H, W, 3) uint8; ``reduced`` if the picture is."""
        box, inner, size = cut.part, None, cut.size
        if reduced is not None and reduced.factor > 1:
            box, inner = reduced.part(cut)
            if self.resize_mode == "shortest":  # the same pixels, without those outside the window
                size = (self.width, self.height)
                inner = cut.window_in(inner, size)
        part = image if box == (0, 0, *image.size) else image.crop(box)
        resized = part.resize(size, _RESAMPLING[self.interpolation], box=inner)
        if size != (self.width, self.height):
            resized = self._window(resized, *cut.window)
        pixels = np.array(resized)
        return np.ascontiguousarray(pixels[:, ::-1]) if cut.mirrored else pixels

    def _window(self, image: Image.Image, left: int, top: int) -> Image.Image:
        if self.resize_mode == "shortest":
            return image.crop((left, top, left + self.width, top + self.height))
        fill = self.fill_color
        padded = Image.new("RGB", (self.width, self.height), (fill,) * 3 if isinstance(fill, int) else fill)
        padded.paste(image, (-left, -top))
        return padded

    def _covering(self, size: tuple[int, int]) -> Cut:
        part = _less_extreme(size)
        w, h = part[2] - part[0], part[3] - part[1]
        if self.height == self.width:
            # torchvision's arithmetic for squares: the longer side is truncated, not rounded.
            short, long = sorted((w, h))
            longer = int(self.width * long / short)
            width, height = (self.width, longer) if w <= h else (longer, self.height)
        else:
            ratio = min(h / self.height, w / self.width)
            width, height = round(w / ratio), round(h / ratio)
        return Cut(
            part, (width, height), (round((width - self.width) / 2), round((height - self.height) / 2))
        )

    def _fitted(self, size: tuple[int, int]) -> Cut:
        ratio = max(size[1] / self.height, size[0] / self.width)
        # One pixel at least: the shorter side of a very long strip would be rounded to nothing.
        width, height = (max(1, round(side / ratio)) for side in size)
        return Cut(
            (0, 0, *size), (width, height), (-((self.width - width) // 2), -((self.height - height) // 2))
        )


def _less_extreme(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part of a picture, around its centre, whose aspect is at most 16:1."""
    short, long = sorted(size)
    if long <= _MOST_EXTREME_ASPECT * short:
        return (0, 0, *size)
    width, height = (min(side, _MOST_EXTREME_ASPECT * short) for side in size)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return left, top, left + width, top + height


def _unusable(what: str) -> ModelError:
    return ModelError(
        f"the model's preprocessing has {what[:200]}, which cannot be used",
        hint="check preprocess_cfg in the model's open_clip_config.json",
    )
