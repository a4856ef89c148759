"""Contact sheets of the demo's drawings, for inspection by eye."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from deltaoe.demo.catalogue import KINDS
from deltaoe.demo.patterns import PATTERNS
from deltaoe.demo.picture import draw, generators
from deltaoe.demo.styles import STYLES
from deltaoe.errors import ConfigError

_MARGIN, _EACH = 70, 3


def sheet(names: Sequence[str] = (), size: int = 96) -> Image.Image:
    """A row per name: an object three times in each style, or a pattern as often. All of them without names.

    Raises:
        ConfigError: there is no such object or pattern.
    """
    names = names or (*KINDS, *PATTERNS)
    columns = _EACH * len(STYLES)
    out = Image.new("RGB", (_MARGIN + columns * size, len(names) * size), "white")
    pen = ImageDraw.Draw(out)
    for row, name in enumerate(names):
        if name not in KINDS and name not in PATTERNS:
            raise ConfigError(
                f"nothing is called {name!r}", hint=f"there are {', '.join((*KINDS, *PATTERNS))}"
            )
        pen.text((2, row * size + size // 2 - 6), name, fill="black")
        for column in range(columns):
            style = list(STYLES)[column // _EACH]
            if name in KINDS:
                picture, _ = draw(name, style, size, "sheet", column % _EACH)
            else:
                picture = PATTERNS[name](size, *generators(name, "sheet", column))
            out.paste(picture, (_MARGIN + column * size, row * size))
    return out
