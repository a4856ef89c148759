"""A folder of good and broken image files, and what must come of each.

Pictures are of two colours: the quarter at the upper left has ``Case.colour`` where the picture stands upright, the
rest is blue (or one colour is everywhere), so that a turned or mirrored picture is told from an upright one.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from encoded import file_of, noise, png_chunk, png_header, with_png_chunk
from PIL import Image

Colour = tuple[int, int, int]
RED, WHITE, BLUE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 255), (0, 0, 0)
SIZE = (48, 32)


@dataclass(frozen=True)
class Case:
    """One file and its fate.

    Attributes:
        name: the file's name, surrogates for bytes that are no UTF-8.
        content: its bytes, or what makes it at a path.
        colour: mean RGB of the upright picture's upper left quarter; None: there is no picture.
        size: width and height of the upright picture.
        within: how far each of the colour's values may be off.
        reason: how the reason begins; None: there is a picture.
        found: whether a walk through the folder names the file.
        skip: why this machine cannot make it.
        path: where it lies, once it is written.
    """

    name: str
    content: bytes | Callable[[Path], None]
    colour: Colour | None = None
    size: tuple[int, int] = SIZE
    within: int = 0
    reason: str | None = None
    found: bool = True
    skip: str | None = None
    path: Path = Path()

    def write(self, folder: Path) -> Case:
        """The case with its file in the folder, or with why there can be none."""
        path = folder / self.name
        if self.skip is None:
            try:
                if isinstance(self.content, bytes):
                    path.write_bytes(self.content)
                else:
                    self.content(path)
            except (OSError, ValueError) as cause:
                return dataclasses.replace(self, path=path, skip=f"cannot be made here: {cause}")
        return dataclasses.replace(self, path=path)


def corpus(folder: Path) -> list[Case]:
    """All cases, written into the folder; those with ``skip`` are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    return [case.write(folder) for case in cases()]


def cases() -> list[Case]:
    """All cases, in the order of their kinds; every file's bytes are its own."""
    return [*_many_modes(), *_turned(), *_frames_and_sizes(), *_broken(), *_no_files(), *_odd_names()]


def _many_modes() -> Iterator[Case]:
    image = upright(RED)
    yield Case("colour.png", file_of(image, "PNG"), RED)
    yield Case("COLOUR.PPM", file_of(image, "PPM"), RED)
    yield Case("colour.jpg", file_of(image, "JPEG", quality=95), RED, within=4)
    yield Case("progressive.jpg", file_of(image, "JPEG", quality=95, progressive=True), RED, within=4)
    yield Case("a-png-named.jpeg", with_png_chunk(file_of(image, "PNG"), b"tEXt", b"Comment\0x"), RED)
    yield Case("grey-16-bit.png", file_of(_samples(32896), "PNG"), (128, 128, 128))  # 128 · 257
    yield Case("grey-16-bit-dark.tif", file_of(_samples(2570), "TIFF"), (10, 10, 10))
    yield Case("colour-16-bit.png", _png_of_16_bits((65535, 32896, 257)), (255, 128, 1), (2, 2))
    yield Case("one-bit.png", file_of(Image.new("1", SIZE, 1), "PNG"), WHITE)
    half = Image.new("RGBA", SIZE, (*RED, 51))  # a fifth of it is seen
    yield Case("transparent.png", file_of(half, "PNG"), (255, 204, 204), within=1)
    yield Case("invisible.png", file_of(Image.new("RGBA", SIZE, (*RED, 0)), "PNG"), WHITE)
    yield Case("grey-alpha.png", file_of(Image.new("LA", SIZE, (40, 0)), "PNG"), WHITE)
    palette = Image.new("P", SIZE, 1)
    palette.putpalette([*BLUE, *RED])
    yield Case("palette.png", file_of(palette, "PNG"), RED)
    yield Case("palette-see-through.png", file_of(palette, "PNG", transparency=1), WHITE)
    inks = Image.new("CMYK", SIZE, (0, 255, 255, 0))
    yield Case("inks.jpg", file_of(inks, "JPEG", quality=100), RED, within=4)


def _turned() -> Iterator[Case]:
    """Stored so that the orientation given makes them upright again."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # to be turned by 270
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    for orientation in range(1, 9):
        exif, stored = Image.Exif(), upright(RED)
        exif[0x0112] = orientation
        if orientation in undo:
            stored = stored.transpose(undo[orientation])
        data = file_of(stored, "JPEG", quality=100, subsampling=0, exif=exif)
        yield Case(f"orientation-{orientation}.jpg", data, RED, within=4)


def _frames_and_sizes() -> Iterator[Case]:
    first, others = upright(RED), [Image.new("RGB", SIZE, colour) for colour in (WHITE, BLACK)]
    yield Case("moving.gif", file_of(first, "GIF", save_all=True, append_images=others, duration=40), RED)
    options = {"save_all": True, "append_images": others, "lossless": True}
    yield Case("moving.webp", file_of(first, "WEBP", **options), RED)
    yield Case("pixel.png", file_of(Image.new("RGB", (1, 1), RED), "PNG"), RED, (1, 1))
    yield Case("strip.png", file_of(Image.new("RGB", (1, 5000), RED), "PNG"), RED, (1, 5000))
    yield Case("ribbon.png", file_of(Image.new("RGB", (5000, 1), RED), "PNG"), RED, (5000, 1))
    heif = importlib.util.find_spec("pillow_heif") is not None
    skip = None if heif else "pillow_heif is not installed"
    yield Case("photo.heic", _write_heic, RED, within=6, skip=skip)


def _broken() -> Iterator[Case]:
    picture = Image.fromarray(noise(64, 64))
    png, jpeg = file_of(picture, "PNG"), file_of(picture, "JPEG")
    progressive = file_of(picture, "JPEG", progressive=True)
    frame = jpeg.index(b"\xff\xc0")  # baseline; other marks promise other codings of what follows
    for name, data in {
        "cut.png": png[: len(png) // 2],
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "cut-progressive.jpg": progressive[: len(progressive) // 2],
        "arithmetic-junk.jpg": jpeg[:frame] + b"\xff\xca" + jpeg[frame + 2 :],
        "hierarchical-junk.jpg": jpeg[:frame] + b"\xff\xc5" + jpeg[frame + 2 :],
        "flipped-bits.png": png[:60] + bytes(byte ^ 255 for byte in png[60:70]) + png[70:],
    }.items():
        yield Case(name, data, reason="broken image")
    screen = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0x80, 0, 0) + bytes(6)
    for name, data in {
        "text.jpg": b"This is a note about pictures.\n" * 20,
        "drawing.png": b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
        "no-frames.gif": screen + b";",
        "zeros.webp": bytes(4096),
        "head-only.jpg": jpeg[:4],
    }.items():
        yield Case(name, data, reason="not an image")
    yield Case("empty.jpg", b"", reason="empty file")
    yield Case("bomb.png", png_header(30_000, 30_000), reason="over the limit of 178 megapixels")
    yield Case("too-large.png", png_header(17_850, 10_000), reason="17850×10000 pixels, over the limit")
    yield Case("program.tif", file_of(Image.new("RGB", (4, 4)), "EPS"), reason="PostScript")


def _no_files() -> Iterator[Case]:
    def folder(path: Path) -> None:
        path.mkdir()

    def broken_link(path: Path) -> None:
        path.symlink_to("nowhere.png")

    def unreadable(path: Path) -> None:
        path.write_bytes(file_of(upright((1, 2, 3)), "PNG"))
        path.chmod(0)
        if os.access(path, os.R_OK):
            path.unlink()
            raise OSError("this user may read everything")

    def pipe(path: Path) -> None:
        if not hasattr(os, "mkfifo"):
            raise OSError("no pipes in folders")
        os.mkfifo(path)

    yield Case("folder.jpg", folder, reason="is a directory", found=False)
    yield Case("broken-link.png", broken_link, reason="no such file or folder")
    yield Case("unreadable.png", unreadable, reason="permission denied")
    yield Case("pipe.png", pipe, reason="not a regular file")


def _odd_names() -> Iterator[Case]:
    names = [
        "new\nline.png",
        "carriage\rreturn.png",
        "quote'and\".png",
        "<script>alert(1)<&>.png",
        "comma, semicolon; and = sum(A1).png",
        "=1+1.png",
        "-rf.png",
        "--help.png",
        "\x1b[31mred\x1b[0m.png",
        " spaces .png",
        "%s{0}$HOME`id`.png",
        "[a-z]*.png",
        "right\u202eto-left.png",
        "na\u0308ive-\U0001f600.png",
        os.fsdecode(b"caf\xe9-\xff.png"),
        "l" * 251 + ".png",
    ]
    for i, name in enumerate(names):
        colour = (200 - i, 10 * i, 30)
        yield Case(name, file_of(upright(colour), "PNG"), colour)


def upright(colour: Colour) -> Image.Image:
    """Blue, with a quarter of another colour at the upper left."""
    image = Image.new("RGB", SIZE, BLUE)
    image.paste(colour, (0, 0, SIZE[0] // 2, SIZE[1] // 2))
    return image


def _samples(value: int) -> Image.Image:
    return Image.fromarray(np.full((SIZE[1], SIZE[0]), value, dtype=np.uint16))


def _png_of_16_bits(colour: tuple[int, int, int]) -> bytes:
    row = b"\0" + np.array([*colour, *colour], dtype=">u2").tobytes()
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + png_chunk(b"IDAT", zlib.compress(row * 2)) + png_chunk(b"IEND", b"")


def _write_heic(path: Path) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    path.write_bytes(file_of(upright(RED), "HEIF", quality=95))
