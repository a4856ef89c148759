"""Whatever the bytes, decode() returns an RGB picture or raises ImageError."""

from __future__ import annotations

import random
import warnings
from collections import Counter

import numpy as np
import pytest
from encoded import file_of, noise, writes
from PIL import Image

from deltaoe.images.decode import ImageError, decode

CASES = 900


def seeds() -> list[bytes]:
    """Small files of many kinds, with metadata and frames for a decoder to trip over."""
    image, exif = Image.fromarray(noise(24, 32)), Image.Exif()
    exif[0x0112] = 6
    turned = [image.rotate(90), image.rotate(180)]
    kinds = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "AVIF", "JPEG2000", "ICO", "PCX"]
    kinds += ["SGI", "DDS", "EPS", "ICNS", "IM"]
    files = [file_of(image, kind) for kind in kinds if writes(kind)]
    files += [file_of(image, kind, exif=exif) for kind in ("JPEG", "PNG", "WEBP")]
    files += [
        file_of(image, kind, save_all=True, append_images=turned) for kind in ("GIF", "PNG", "WEBP", "MPO")
    ]
    files += [file_of(image, "TIFF", compression=way) for way in ("tiff_lzw", "tiff_deflate", "jpeg")]
    files += [file_of(image.convert("P"), kind) for kind in ("PNG", "TIFF")]
    files += [file_of(image.convert("RGBA"), "PNG"), file_of(image.convert("CMYK"), "JPEG")]
    files += [file_of(image.convert("F"), "TIFF"), file_of(image.convert("I"), "TIFF")]
    files += [file_of(image, "JPEG", progressive=True)]
    return files


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The file with flipped bits or wild bytes, mostly in its head, and sometimes cut or grown."""
    out = bytearray(data)
    reach = min(len(out), 200) if rng.random() < 0.6 else len(out)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        place = rng.randrange(reach)
        out[place] = rng.choice([0, 255, 128, rng.randrange(256), out[place] ^ (1 << rng.randrange(8))])
    kind = rng.random()
    if kind < 0.2:
        del out[rng.randrange(len(out)) :]
    elif kind < 0.3:
        place = rng.randrange(len(out))
        out[place:place] = rng.randbytes(rng.randrange(64))
    return bytes(out)


@pytest.mark.usefixtures("capfd")  # libtiff writes to the terminal by itself
def test_damaged_files_raise_nothing_but_image_error():
    rng = random.Random(2026)
    files, outcomes = seeds(), Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(CASES):
            outcomes[outcome(damaged(rng.choice(files), rng))] += 1
    # The corpus is worth something only if it holds both kinds.
    assert outcomes["picture"] > CASES / 10
    assert outcomes["refused"] > CASES / 10


@pytest.mark.usefixtures("capfd")
def test_random_bytes_raise_nothing_but_image_error():
    rng = random.Random(7)
    starts = [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe1",
        b"GIF89a",
        b"BM",
        b"II*\0",
        b"MM\0*",
        b"P6 ",
        b"\0\0\1\0",
    ]
    starts += [
        b"RIFF\x20\0\0\0WEBPVP8L",
        b"\0\0\0\x1cftypavif",
        b"\0\0\0\x0cjP  \r\n\x87\n",
        b"8BPS\0\1",
        b"icns",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(400):
            outcome(rng.choice(starts) + rng.randbytes(rng.choice([0, 3, 20, 100, 600])))


def test_an_unforeseen_exception_of_a_decoder_is_a_broken_image(monkeypatch):
    class Odd(Exception):
        pass

    def load(self):
        raise Odd

    data = file_of(Image.new("RGB", (4, 4)), "PNG")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(ImageError, match="broken image: Odd"):
        decode(data)


def outcome(data: bytes) -> str:
    try:
        image = decode(data)
    except ImageError as cause:
        message = str(cause)
        assert message
        assert "\n" not in message
        assert len(message) < 200
        return "refused"
    assert image.mode == "RGB"
    assert np.asarray(image).shape == (image.height, image.width, 3)
    return "picture"
