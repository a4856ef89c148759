"""Contact sheets, to judge the pictures by eye: ``python -m deltaoe.demo.sheet OUT.png [NAME …]``."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw

from deltaoe.demo.catalogue import KINDS
from deltaoe.demo.picture import draw
from deltaoe.demo.styles import STYLES


def sheet(names: list[str], size: int = 96, each: int = 3) -> Image.Image:
    """One row per class, ``each`` pictures in each of the four styles."""
    out = Image.new("RGB", (70 + len(STYLES) * each * size, len(names) * size), "white")
    pen = ImageDraw.Draw(out)
    for row, name in enumerate(names):
        pen.text((2, row * size + size // 2 - 6), name, fill="black")
        for column, style in enumerate(STYLES):
            for i in range(each):
                picture, _ = draw(name, style, size, "sheet", i)
                out.paste(picture, (70 + (column * each + i) * size, row * size))
    return out


if __name__ == "__main__":
    sheet(sys.argv[2:] or list(KINDS)).save(Path(sys.argv[1]))
