"""The decode policy, by the pixels that come out."""

from __future__ import annotations

import io
import re
import struct
import zlib

import numpy as np
import pytest
from encoded import file_of, noise, png_chunk, png_header, with_jpeg_segment, with_png_chunk, writes
from PIL import EpsImagePlugin, Image

from deltaoe.images.decode import MAX_MEGAPIXELS, ImageError, decode, thumbnail

# Pillow warns of metadata that pixels do not depend on; the callers of decode() do not listen to it.
pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")

WHITE, RED, CYAN = (255, 255, 255), (255, 0, 0), (0, 255, 255)


def pixels(data: bytes) -> np.ndarray:
    image = decode(data)
    assert image.mode == "RGB"
    return np.asarray(image)


def grey(data: bytes) -> list[int]:
    """The one channel of a picture that must be grey, row by row."""
    found = pixels(data)
    assert (found == found[..., :1]).all()
    return found[..., 0].ravel().tolist()


# Plain colour


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TGA", "TIFF"])
def test_lossless_rgb_is_kept(kind):
    wanted = noise(5, 7)
    assert (pixels(file_of(Image.fromarray(wanted), kind)) == wanted).all()


def test_lossless_webp_is_kept():
    wanted = noise(5, 7)
    assert (pixels(file_of(Image.fromarray(wanted), "WEBP", lossless=True)) == wanted).all()


def test_grey_is_repeated_on_three_channels():
    wanted = np.arange(0, 256, 5, dtype=np.uint8).reshape(4, 13)
    assert grey(file_of(Image.fromarray(wanted), "PNG")) == wanted.ravel().tolist()


def test_one_bit_is_black_and_white():
    data = file_of(Image.fromarray(np.array([[True, False, True]])), "PNG")
    assert grey(data) == [255, 0, 255]


def test_opaque_palette_keeps_its_colours():
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([2, 0, 1])
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        assert pixels(file_of(image, kind)).tolist() == [[[70, 80, 90], [10, 20, 30], [40, 50, 60]]]


@pytest.mark.parametrize(
    ("inks", "wanted"),
    [((255, 0, 0, 0), CYAN), ((0, 0, 0, 255), (0, 0, 0)), ((0, 0, 0, 0), WHITE), ((0, 255, 255, 0), RED)],
)
def test_cmyk_inks_take_light_away(inks, wanted):
    image = Image.new("CMYK", (16, 16), inks)
    for data in (file_of(image, "JPEG", quality=100), file_of(image, "TIFF")):
        assert np.abs(pixels(data).astype(int) - wanted).max() <= 3


# More than eight bits

SIXTEEN = np.array([[0, 1, 128, 129, 256, 257], [12345, 32767, 32768, 65278, 65407, 65535]], dtype=np.uint16)
# In integers, by another route than a division by 257: v·255/65535, rounded.
EIGHT = [(int(v) * 255 * 2 + 65535) // (2 * 65535) for v in SIXTEEN.ravel()]


def test_16_bit_grey_is_scaled_not_clipped():
    assert EIGHT[-1] == 255 and EIGHT[1] == 0 and EIGHT[6] == 48
    for kind in ("PNG", "TIFF"):
        data = file_of(Image.fromarray(SIXTEEN), kind)
        assert Image.open(io.BytesIO(data)).mode == "I;16"
        assert grey(data) == EIGHT


def test_16_bit_big_endian_tiff():
    swapped = Image.frombytes("I;16B", (6, 2), SIXTEEN.astype(">u2").tobytes())
    assert grey(file_of(swapped, "TIFF")) == EIGHT


def test_32_bit_grey_holds_16_bit_samples():
    data = file_of(Image.fromarray(SIXTEEN.astype(np.int32)), "TIFF")
    assert Image.open(io.BytesIO(data)).mode == "I"
    assert grey(data) == EIGHT
    beyond = np.array([[-5, 70_000, 2**24 - 1]], dtype=np.int32)  # 24-bit samples
    assert grey(file_of(Image.fromarray(beyond), "TIFF")) == [0, 1, 255]


def test_pgm_with_its_own_maximum():
    samples = np.array([0, 512, 1023], dtype=">u2").tobytes()
    assert grey(b"P5 3 1 1023\n" + samples) == [0, 128, 255]


def test_16_bit_rgb_png_keeps_its_colours():
    head = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    row = b"\0" + np.array([65535, 0, 32896, 257, 514, 771], dtype=">u2").tobytes()
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + png_chunk(b"IDAT", zlib.compress(row))
    assert pixels(data + png_chunk(b"IEND", b"")).tolist() == [[[255, 0, 128], [1, 2, 3]]]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([0.0, 0.25, 0.5, 1.0], [0, 64, 128, 255]),
        ([0.0, 1.5, 99.6, 255.0], [0, 2, 100, 255]),
        ([0.0, 257.0, 32896.0, 65535.0], [0, 1, 128, 255]),
        ([-3.0, 0.5, float("nan"), 1.0], [0, 128, 0, 255]),
        ([float("-inf"), 0.2, 0.4, 1.0], [0, 51, 102, 255]),
        ([0.0, 0.0, 0.0, 0.0], [0, 0, 0, 0]),
        ([-9.0, -1.0, -1e30, -2.0], [0, 0, 0, 0]),
        ([0.0, 1.0, 2.0, float("inf")], [0, 128, 255, 255]),
    ],
)
def test_floating_grey_by_its_range(values, wanted):
    data = file_of(Image.fromarray(np.array([values], dtype=np.float32)), "TIFF")
    assert Image.open(io.BytesIO(data)).mode == "F"
    assert grey(data) == wanted


# Transparency is laid on white


def on_white(colour: tuple[int, int, int], alpha: int) -> np.ndarray:
    return np.array([c * alpha / 255 + 255 * (1 - alpha / 255) for c in colour])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("alpha", [0, 1, 100, 128, 255])
def test_rgba(kind, alpha):
    image = Image.new("RGBA", (4, 4), (200, 30, 90, alpha))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    found = pixels(file_of(image, kind, **options))
    assert np.abs(found - on_white((200, 30, 90), alpha)).max() <= 1


def test_grey_with_alpha():
    image = Image.new("LA", (2, 1))
    image.putdata([(40, 0), (40, 255)])
    for kind in ("PNG", "TIFF"):
        assert grey(file_of(image, kind)) == [255, 40]


def test_palette_with_alpha_channel():
    image = Image.new("PA", (3, 1))
    image.putpalette([*RED, *CYAN])
    image.putdata([(0, 0), (0, 255), (1, 51)])
    data = file_of(image, "TIFF")
    assert Image.open(io.BytesIO(data)).mode == "PA"
    found = pixels(data)[0]
    assert found[:2].tolist() == [list(WHITE), list(RED)]
    assert np.abs(found[2] - on_white(CYAN, 51)).max() <= 1


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 128])])
def test_palette_with_transparent_entries(transparency):
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *CYAN, 0, 0, 0])
    image.putdata([0, 1, 2])
    data = file_of(image, "PNG", transparency=transparency)
    assert "transparency" in Image.open(io.BytesIO(data)).info
    third = 0 if transparency == 1 else 127
    assert pixels(data).tolist() == [[list(RED), list(WHITE), [third] * 3]]


def test_gif_with_transparent_entry():
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *CYAN])
    image.putdata([0, 1])
    assert pixels(file_of(image, "GIF", transparency=0)).tolist() == [[list(WHITE), list(CYAN)]]


def test_one_transparent_colour_of_rgb_and_grey():
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), CYAN)
    assert pixels(file_of(image, "PNG", transparency=RED)).tolist() == [[list(WHITE), list(CYAN)]]
    assert grey(file_of(Image.new("L", (1, 1), 9), "PNG", transparency=9)) == [255]
    assert grey(file_of(Image.new("L", (1, 1), 8), "PNG", transparency=9)) == [8]


# Orientation

TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),  # clockwise
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", TURNED)
def test_exif_orientation(kind, orientation):
    stored = np.array([[RED, CYAN, (0, 0, 255)], [WHITE, (0, 0, 0), (0, 255, 0)]], dtype=np.uint8)
    stored = stored.repeat(16, axis=0).repeat(16, axis=1)  # one JPEG block per colour
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    options |= {"tiffinfo": {0x0112: orientation}} if kind == "TIFF" else {"exif": exif}
    found = pixels(file_of(Image.fromarray(stored), kind, **options))
    wanted = TURNED[orientation](stored)
    assert found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted).max() <= (4 if kind == "JPEG" else 0)


@pytest.mark.parametrize("orientation", [0, 9, 6000])
def test_an_orientation_that_does_not_exist_is_ignored(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    wanted = noise(3, 5)
    assert (pixels(file_of(Image.fromarray(wanted), "PNG", exif=exif)) == wanted).all()


@pytest.mark.parametrize(
    "garbage",
    [b"", b"MM\0*", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12" * 9, b"\0" * 64],
)
def test_broken_exif_costs_no_picture(garbage):
    wanted = noise(16, 24)
    png = with_png_chunk(file_of(Image.fromarray(wanted), "PNG"), b"eXIf", garbage)
    assert (pixels(png) == wanted).all()
    plain = file_of(Image.fromarray(wanted), "JPEG")
    jpeg = with_jpeg_segment(plain, 0xE1, b"Exif\0\0" + garbage)
    assert (pixels(jpeg) == pixels(plain)).all()


# Several frames, odd sizes


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_of_an_animation_the_first_frame(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (CYAN, RED, WHITE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = file_of(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(data)) as opened:
        if opened.format != kind:
            pytest.skip(f"this Pillow wrote no {kind} of such small frames")
        assert opened.n_frames == 3
    assert np.abs(pixels(data).astype(int) - CYAN).max() <= (3 if kind == "MPO" else 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (20_000, 1), (3, 2)])
def test_size_is_kept(size):
    assert decode(file_of(Image.new("RGB", size, RED), "PNG")).size == size


# No pictures


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"\0" * 1000, "not an image"),
        (b"This is a note about pictures.\n" * 20, "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"%PDF-1.7\n", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "not an image"),
        (b"\xff\xd8\xff\xe0", "not an image"),
        (b"GIF89a", "not an image"),
    ],
)
def test_no_picture_at_all(data, reason):
    with pytest.raises(ImageError, match=re.escape(reason)):
        decode(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF"])
def test_a_truncated_file_is_refused(kind):
    if not writes(kind):
        pytest.skip(f"this Pillow writes no {kind}")
    data = file_of(Image.fromarray(noise(64, 64)), kind)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(ImageError):
            decode(data[: int(len(data) * share)])


def test_a_decompression_bomb_is_named_before_it_is_unpacked():
    with pytest.raises(ImageError, match=f"over the limit of {MAX_MEGAPIXELS} megapixels"):
        decode(png_header(100_000, 100_000))


def test_our_own_limit_names_the_size():
    with pytest.raises(ImageError, match=r"17850×10000 pixels, over the limit of 178"):
        decode(png_header(17_850, 10_000))


def test_postscript_is_never_run(monkeypatch):
    def run(*arguments, **options):
        raise AssertionError("Ghostscript was called")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)
    data = file_of(Image.new("RGB", (4, 4)), "EPS")
    assert Image.open(io.BytesIO(data)).format == "EPS"
    with pytest.raises(ImageError, match="PostScript"):
        decode(data)


def test_too_little_memory_is_a_reason(monkeypatch):
    def load(self):
        raise MemoryError

    data = file_of(Image.new("RGB", (4, 4)), "BMP")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(ImageError, match="too large for this machine's memory"):
        decode(data)


# Thumbnails


@pytest.mark.parametrize(
    ("size", "wanted"), [((400, 200), (128, 64)), ((200, 400), (64, 128)), ((90, 40), (90, 40))]
)
def test_a_thumbnail_is_a_small_webp(size, wanted):
    data = thumbnail(file_of(Image.new("RGB", size, RED), "PNG"))
    picture = Image.open(io.BytesIO(data))
    assert (picture.format, picture.size) == ("WEBP", wanted)
    assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - RED).max() <= 8
    assert len(data) < 2000


def test_a_thumbnail_of_a_strip():
    assert Image.open(io.BytesIO(thumbnail(file_of(Image.new("L", (9000, 3)), "PNG")))).size == (128, 1)


def test_a_thumbnail_stands_upright_and_tells_nothing_else():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "where it was taken " * 200
    image = Image.fromarray(noise(40, 80))
    data = thumbnail(file_of(image, "JPEG", exif=exif, icc_profile=b"profile" * 2000))
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (40, 80)
        assert not {"exif", "icc_profile", "xmp"} & set(picture.info)
    assert b"taken" not in data


def test_a_thumbnail_of_no_picture():
    with pytest.raises(ImageError):
        thumbnail(b"nothing")
