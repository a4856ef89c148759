"""Photographs of some megapixels, made from small ones: each enlarged, or many of them side by side.

An enlarged photograph has fewer fine details than a camera's of that size, and a mosaic of small ones has more: what is
measured on both brackets what is to be expected.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

QUALITY = 90


def made(files: Sequence[Path], megapixels: float, count: int) -> Iterator[tuple[str, bytes]]:
    """Name and JPEG bytes of ``count`` photographs of 3:2, enlarged ones and mosaics by turns.

    Args:
        files: the small photographs.
        megapixels: of each.
        count: how many different ones there are.
    """
    turns = [(list(files[i % len(files) :]) + list(files), megapixels, i % 2 == 1) for i in range(count)]
    with ProcessPoolExecutor() as pool:
        for i, data in enumerate(pool.map(_one, turns, chunksize=4)):
            yield f"{'mosaic' if i % 2 else 'enlarged'}-{i}.jpg", data


def _one(turn: tuple[Sequence[Path], float, bool]) -> bytes:
    from PIL import Image

    files, megapixels, mosaic = turn
    # A little more than 3:2 exactly: sides that no reduction divides evenly.
    height = round((megapixels * 1e6 / 1.5) ** 0.5) + 1
    width = round(height * 1.5) + 1
    picture = Image.open(files[0]).convert("RGB")
    if mosaic:
        edge = max(picture.size)
        picture = Image.new("RGB", (width, height))
        places = itertools.product(range(0, height, edge), range(0, width, edge))
        for file, (y, x) in zip(itertools.cycle(files), places, strict=False):
            picture.paste(Image.open(file).convert("RGB").resize((edge, edge)), (x, y))
    else:
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def numbered(data: bytes, number: int) -> bytes:
    """A JPEG of other content and the same pixels: with a number in a comment."""
    text = b"%d" % number
    return data[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + data[2:]
