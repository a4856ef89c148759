"""Files that viewers show though some of their bytes are wrong or missing; and files that are pictures no more."""

from __future__ import annotations

import io
import random
import struct
import threading
import zlib

import numpy as np
import pytest
from encoded import file_of, noise, png_chunk, png_header, with_png_chunk, writes
from PIL import Image, ImageFile, PngImagePlugin

from deltaoe.images.decode import ImageError, MissingSupportError, decode_noted
from deltaoe.images.mended_files import MOST_ROWS

pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")

PIXELS = noise(100, 60)
PICTURE = Image.fromarray(PIXELS)
PNG = file_of(PICTURE, "PNG")


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def with_wrong_checksum(kind: bytes, body: bytes) -> bytes:
    chunk = bytearray(png_chunk(kind, body))
    chunk[-1] ^= 1
    return PNG[:33] + bytes(chunk) + PNG[33:]


METADATA = {
    "long profile": with_png_chunk(
        PNG, b"iCCP", b"i\0\0" + zlib.compress(random.Random(1).randbytes(2 << 20))
    ),
    "long text": with_png_chunk(PNG, b"zTXt", b"t\0\0" + zlib.compress(b"x" * (2 << 20))),
    "long international text": with_png_chunk(PNG, b"iTXt", b"t\0\1\0\0\0" + zlib.compress(b"x" * (2 << 20))),
    "broken profile": with_png_chunk(PNG, b"iCCP", b"i\0\0nonsense"),
    "text": with_wrong_checksum(b"tEXt", b"t\0x"),
    "time": with_wrong_checksum(b"tIME", bytes(7)),
    "resolution": with_wrong_checksum(b"pHYs", bytes(9)),
    "unknown": with_wrong_checksum(b"vpAg", bytes(9)),
    "EXIF": with_wrong_checksum(b"eXIf", b"MM\0*"),
    "gamma": with_wrong_checksum(b"gAMA", bytes(4)),
}


@pytest.mark.parametrize("damage", METADATA)
def test_metadata_of_a_png_costs_no_picture(damage):
    image, notes = decode_noted(METADATA[damage])
    assert (np.asarray(image) == PIXELS).all()
    assert notes in ((), ("damaged or very long metadata was left out",))


@pytest.mark.parametrize("kind", [b"IHDR", b"PLTE", b"IDAT"])
def test_what_pixels_depend_on_must_be_whole(kind):
    palette = file_of(PICTURE.quantize(16), "PNG")
    damaged = bytearray(palette)
    damaged[palette.index(kind) + 12] ^= 0x55
    with pytest.raises(ImageError):
        decode_noted(bytes(damaged))


def test_a_wrong_checksum_of_all_pixels_where_that_of_the_chunk_is_right():
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in PIXELS))[:-4] + bytes(4)
    data = PNG[:33] + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")
    assert (np.asarray(decode_noted(data).image) == PIXELS).all()


def test_a_transparent_colour_that_is_none():
    image, notes = decode_noted(with_png_chunk(PNG, b"tRNS", b"\0"))
    assert (np.asarray(image) == PIXELS).all()
    assert notes == ("damaged or very long metadata was left out",)


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("size", [0, -12, 100, 1 << 20])
def test_a_webp_with_another_size_in_its_header(lossless, size):
    data = file_of(PICTURE, "WEBP", lossless=lossless)
    wrong = data[:4] + struct.pack("<I", max(0, len(data) - 8 + size) if size else 0) + data[8:]
    image, notes = decode_noted(wrong)
    assert (np.asarray(image) == pixels(data)).all()
    assert notes == ("its header gives another size than it has",)


def test_a_png_of_apple_is_named():
    data = PNG[:8] + png_chunk(b"CgBI", bytes(4)) + PNG[8:]
    with pytest.raises(ImageError, match="CgBI"):
        decode_noted(data)


def test_pixels_whose_own_checksum_is_right():
    """zlib vouches for the data where only the chunk's checksum is wrong."""
    at = PNG.index(b"IEND") - 8
    damaged = PNG[:at] + bytes([PNG[at] ^ 1]) + PNG[at + 1 :]
    assert (np.asarray(decode_noted(damaged).image) == PIXELS).all()


LOSSLESS = {"WEBP": {"lossless": True}, "TIFF": {}}
KINDS = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "TGA", "MPO", "JPEG2000"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [1, 2])
def test_two_missing_bytes_cost_a_row_at_most(kind, missing):
    if not writes(kind):
        pytest.skip(f"this Pillow writes no {kind}")
    options = {"save_all": True, "append_images": [PICTURE]} if kind == "MPO" else LOSSLESS.get(kind, {})
    data = file_of(PICTURE, kind, **options)
    image = decode_noted(data[:-missing]).image
    assert image.width == 60 and image.height >= 99
    found, wanted = np.asarray(image), pixels(data)
    assert any((found == wanted[start : start + image.height]).all() for start in (0, 100 - image.height))


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 2}, {"restart_marker_rows": 1}]
)
def test_a_jpeg_without_its_end_mark_is_whole(options):
    data = file_of(PICTURE, "JPEG", **options)
    image, notes = decode_noted(data[:-2])
    assert (np.asarray(image) == pixels(data)).all()
    assert notes == ("the end of the file is missing, after the last pixel",)


def test_a_grey_and_an_ink_jpeg_without_end_marks():
    for mode in ("L", "CMYK"):
        data = file_of(PICTURE.convert(mode), "JPEG")
        assert (np.asarray(decode_noted(data[:-2]).image) == np.asarray(decode_noted(data).image)).all()


def test_where_a_jpeg_is_too_short():
    """Each length gives either the rows that are certainly there, of which most are, or nothing."""
    data, wanted = file_of(PICTURE, "JPEG"), pixels(file_of(PICTURE, "JPEG"))
    read = refused = 0
    for length in range(len(data) - 2, len(data) * 3 // 4, -37):
        try:
            image, notes = decode_noted(data[:length])
        except ImageError:
            refused += 1
            continue
        read += 1
        assert image.height >= MOST_ROWS * 100
        # The last row of a block borders on what is not there: upsampling of colours mixes it in.
        assert (np.asarray(image)[:-1] == wanted[: image.height - 1]).all()
        assert notes[0].startswith(("cut off: ", "the end of the file"))
    assert read > 2 and refused > 10


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8, 0.93])
@pytest.mark.parametrize("kind", [*KINDS[:5], *KINDS[5:7]])
def test_half_a_picture_is_none(kind, share):
    data = file_of(PICTURE, kind, **LOSSLESS.get(kind, {}))
    with pytest.raises(ImageError):
        decode_noted(data[: int(len(data) * share)])


def test_the_rows_of_a_png_that_are_there():
    image, notes = decode_noted(PNG[: int(len(PNG) * 0.97)])
    assert 95 <= image.height < 100
    assert (np.asarray(image) == PIXELS[: image.height]).all()
    assert notes == (f"cut off: {image.height} of 100 rows are there",)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_bytes_behind_the_end_are_nothing(kind):
    data = file_of(PICTURE, kind)
    found = decode_noted(data + b"\0\r\nbehind the end" * 9)
    assert (np.asarray(found.image) == pixels(data)).all() and found.notes == ()


def test_pillows_own_settings_are_left_alone():
    """They are the whole process's: a program that uses this library has its own."""
    seen = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            seen.add((ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK))

    looking = threading.Thread(target=look)
    looking.start()
    for data in (METADATA["long text"], file_of(PICTURE, "JPEG")[:-2]):
        decode_noted(data)
    stop.set()
    looking.join()
    assert seen == {(False, PngImagePlugin.MAX_TEXT_CHUNK)}


def test_more_pixels_are_declared_than_the_file_can_hold():
    with pytest.raises(ImageError, match="declares 13000×13000 pixels, more than its"):
        decode_noted(png_header(13_000, 13_000))


# Not pictures, or not here

OTHERS = {
    "not an image, but a ZIP archive": b"PK\x03\x04" + bytes(60),
    "not an image, but an archive": b"7z\xbc\xaf\x27\x1c" + bytes(60),
    "not an image, but a PDF": b"%PDF-1.7\n" + bytes(60),
    "not an image, but an SVG drawing": b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>",
    "not an image, but a web page": b"\n<!DOCTYPE html><html><body><svg/></body></html>",
    "not an image, but a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
    "not an image, but a video": struct.pack(">I", 24) + b"ftypmp42" + bytes(60),
    "not an image, but an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(60),
    "not an image, but a Parquet table": b"PAR1" + bytes(60),
    "a JPEG XL picture": b"\xff\x0a" + bytes(60),
    "a camera's raw file": b"II*\0\x10\0\0\0CR\2\0" + bytes(60),
    "a DICOM file": bytes(128) + b"DICM" + bytes(60),
    "not an image, or of an unknown kind": b"\xff\xd8\xff" + bytes(9),
}


@pytest.mark.parametrize("reason", OTHERS)
def test_what_else_it_is(reason):
    with pytest.raises(ImageError) as caught:
        decode_noted(OTHERS[reason])
    assert str(caught.value).startswith(reason)
    assert not isinstance(caught.value, MissingSupportError)


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"msf1", b"hevc"])
def test_heic_without_its_reader(brand, monkeypatch):
    monkeypatch.setattr(Image, "registered_extensions", dict)
    data = struct.pack(">I", 24) + b"ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(500)
    with pytest.raises(MissingSupportError, match=r"^a HEIC picture: pip install 'deltaoe\[heic\]'$"):
        decode_noted(data)
