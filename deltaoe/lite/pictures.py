"""From what a caller has of an image to the pixels that the model is given: as ``deltaoe score`` reads it."""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from deltaoe.errors import ConfigError
from deltaoe.extraction.decoding_jobs import try_decode
from deltaoe.extraction.reading import read_file
from deltaoe.images.decode import ImageError, show
from deltaoe.images.geometry import Geometry
from deltaoe.images.one_by_one import one_by_one

ImageInput = str | os.PathLike[str] | bytes | bytearray | memoryview | Image.Image


class Pixels(NamedTuple):
    """What is known of one image.

    Attributes:
        path: as it was given; None for bytes and pictures.
        pixels: (H, W, 3) uint8; None where there is a problem.
        problem: why it is no usable image; empty otherwise.
    """

    path: str | None
    pixels: npt.NDArray[np.uint8] | None
    problem: str = ""


def pixels_of(image: ImageInput, geometry: Geometry) -> Pixels:
    """The pixels of an image: a path, the bytes of a file, or a picture of Pillow's.

    Raises:
        ConfigError: it is none of these.
    """
    if isinstance(image, Image.Image):
        try:
            return Pixels(None, geometry.centred(show(image, geometry.sample_range)))
        except ImageError as cause:
            return Pixels(None, None, str(cause))
        except MemoryError:
            return Pixels(None, None, "too large for this machine's memory")
    if isinstance(image, bytes | bytearray | memoryview):
        return _decoded(None, bytes(image), geometry)
    if isinstance(image, str | os.PathLike) and isinstance(path := os.fspath(image), str):
        if problem := one_by_one([path]).problems.get(0):
            return Pixels(path, None, problem)
        content = read_file(path)
        return (
            Pixels(path, None, content.problem) if content.problem else _decoded(path, content.data, geometry)
        )
    raise ConfigError(
        f"an image cannot be of type {type(image).__name__}", hint="give a path, bytes or a PIL image"
    )


def _decoded(path: str | None, data: bytes, geometry: Geometry) -> Pixels:
    outcome = try_decode(geometry.decode_noted, data, hashlib.sha256(data).digest(), (0,))
    if outcome.pixels is None:
        return Pixels(path, None, outcome.problem)
    return Pixels(path, np.asarray(outcome.pixels)[0])
