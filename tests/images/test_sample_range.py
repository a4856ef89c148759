"""Samples of more than eight bits, in whatever file: shown as the 8-bit picture that they were made from."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from encoded import file_of, png_chunk
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from deltaoe.errors import ConfigError
from deltaoe.images.decode import ImageError, decode_noted
from deltaoe.images.range_names import canonical_range

pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")

HEIGHT, WIDTH = 24, 32


def picture(seed: int, channels: int = 1, darkest: int = 0, brightest: int = 255) -> np.ndarray:
    """A smooth 8-bit picture, (H, W) or (H, W, C), with the values given as its least and most."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((4, 5, channels))
    planes = [np.asarray(Image.fromarray(coarse[..., c]).resize((WIDTH, HEIGHT))) for c in range(channels)]
    values = np.stack(planes, axis=2)
    values = (values - values.min()) / (values.max() - values.min())
    out = np.rint(darkest + values * (brightest - darkest)).astype(np.uint8)
    return out[..., 0] if channels == 1 else out


def tiff(
    samples: np.ndarray, order: str = "<", predictor: int = 1, packed: bool = False, extra: dict | None = None
) -> bytes:
    """A TIFF of one strip, written here byte by byte: Pillow writes no 64-bit and no coloured floating-point ones."""
    samples = samples if samples.ndim == 3 else samples[..., None]
    height, width, channels = samples.shape
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    stored = samples
    if predictor == 2:
        stored = np.diff(samples, axis=1, prepend=np.zeros_like(samples[:, :1]))
    body = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    body = zlib.compress(body) if packed else body
    tags: dict[int, tuple[int, list[int]]] = {
        256: (3, [width]),
        257: (3, [height]),
        258: (3, [8 * samples.itemsize] * channels),
        259: (3, [8 if packed else 1]),
        262: (3, [2 if channels >= 3 else 1]),
        273: (4, [0]),
        277: (3, [channels]),
        278: (3, [height]),
        279: (4, [len(body)]),
        317: (3, [predictor]),
        339: (3, [kind] * channels),
        **{number: (3, [value]) for number, value in (extra or {}).items()},
    }
    if channels == 4:
        tags[338] = (3, [2])
    start = 8
    data_at = start + 2 + 12 * len(tags) + 4
    beyond, at = b"", data_at
    entries = b""
    tags[273] = (4, [0])
    sizes = {3: "H", 4: "I"}
    packed_values = {n: struct.pack(f"{order}{len(v)}{sizes[k]}", *v) for n, (k, v) in tags.items()}
    strip_at = data_at + sum(len(v) for v in packed_values.values() if len(v) > 4)
    packed_values[273] = struct.pack(f"{order}I", strip_at)
    for number in sorted(tags):
        value = packed_values[number]
        if len(value) > 4:
            beyond, value, at = beyond + value, struct.pack(f"{order}I", at), at + len(value)
        entries += struct.pack(f"{order}HHI", number, tags[number][0], len(tags[number][1])) + value.ljust(
            4, b"\0"
        )
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(f"{order}IH", 8, len(tags)) + entries + bytes(4)
    return head + beyond + body


def png16(samples: np.ndarray, significant: int = 0) -> bytes:
    """A 16-bit PNG of grey, grey and alpha, RGB or RGBA."""
    samples = samples if samples.ndim == 3 else samples[..., None]
    height, width, channels = samples.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    bits = png_chunk(b"sBIT", bytes([significant] * channels)) if significant else b""
    body = png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + bits + body


def ppm16(samples: np.ndarray) -> bytes:
    magic = b"P5" if samples.ndim == 2 else b"P6"
    return magic + b" %d %d 65535\n" % (samples.shape[1], samples.shape[0]) + samples.astype(">u2").tobytes()


def shown(data: bytes, sample_range: str = "auto") -> np.ndarray:
    image = decode_noted(data, sample_range).image
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def error(data: bytes, wanted: np.ndarray, sample_range: str = "auto") -> int:
    wanted = wanted if wanted.ndim == 3 else np.repeat(wanted[..., None], 3, axis=2)
    return int(np.abs(shown(data, sample_range) - wanted).max())


# 8 bits as samples of n bits: v · (2^n − 1) / 255, rounded.
def of_depth(wanted: np.ndarray, bits: int) -> np.ndarray:
    return np.rint(wanted.astype(np.float64) * (2**bits - 1) / 255)


INTEGERS = [np.uint16, np.int16, np.uint32, np.int32]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.sampled_from([8, 10, 12]),
    dtype=st.sampled_from(INTEGERS),
    order=st.sampled_from("<>"),
    channels=st.sampled_from([1, 3]),
    packed=st.booleans(),
    predictor=st.sampled_from([1, 2]),
)
def test_samples_of_fewer_bits_than_their_tiff(seed, bits, dtype, order, channels, packed, predictor):
    wanted = picture(seed, channels)
    data = tiff(of_depth(wanted, bits).astype(dtype), order, predictor if packed else 1, packed)
    assert error(data, wanted) <= 1
    (note,) = decode_noted(data).notes
    assert note.startswith(f"{bits}-bit samples in a file of {8 * np.dtype(dtype).itemsize}")


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.sampled_from([8, 10, 12]),
    channels=st.sampled_from([1, 2, 3, 4]),
)
def test_samples_of_fewer_bits_than_their_png(seed, bits, channels):
    colours = 3 if channels > 2 else 1
    wanted = picture(seed, colours).reshape(HEIGHT, WIDTH, colours)
    samples = of_depth(wanted, bits)
    if channels in (2, 4):  # opaque
        samples = np.concatenate([samples, np.full((HEIGHT, WIDTH, 1), 2**bits - 1)], axis=2)
    assert error(png16(samples), np.repeat(wanted, 3 // colours, axis=2)) <= 1


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("channels", [1, 3])
def test_samples_of_fewer_bits_than_their_ppm(bits, channels):
    wanted = picture(3, channels)
    assert error(ppm16(of_depth(wanted, bits)), wanted) <= 1


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    darkest=st.integers(0, 80),
    brightest=st.integers(110, 255),
    channels=st.sampled_from([1, 3]),
    kind=st.sampled_from(["png", "tiff", "ppm"]),
)
def test_a_photograph_of_16_bits_is_left_as_it_is(seed, darkest, brightest, channels, kind):
    wanted = picture(seed, channels, darkest, brightest)
    samples = wanted.astype(np.uint16) * 257
    data = {"png": png16, "tiff": tiff, "ppm": ppm16}[kind](samples)
    assert error(data, wanted) == 0
    assert decode_noted(data).notes == ()


@pytest.mark.parametrize("brightest", [18, 40, 60])
def test_a_dark_photograph_stays_dark_and_is_named(brightest):
    wanted = picture(5, 1, 0, brightest)
    data = png16(wanted.astype(np.uint16) * 257)
    assert error(data, wanted) == 0
    assert decode_noted(data).notes == ("a small part of the 16-bit range is used",)


def test_14_bits_are_named_and_shown_by_the_option():
    wanted = picture(6)
    data = png16(of_depth(wanted, 14))
    assert decode_noted(data).notes == ("a small part of the 16-bit range is used",)
    assert error(data, wanted, canonical_range("bits:14")) <= 1


def test_a_significant_depth_that_is_declared():
    wanted = picture(7, 1, 0, 50)  # too dark to tell 14 from 12 bits
    data = png16(of_depth(wanted, 14), significant=14)
    assert error(data, wanted) <= 1
    left_aligned = picture(7).astype(np.uint16) * 257  # as the standard says: scaled to 16 bits
    assert error(png16(left_aligned, significant=12), picture(7)) == 0


def test_a_largest_sample_that_tiff_declares():
    wanted = picture(8, 1, 0, 50)
    assert error(tiff(of_depth(wanted, 14).astype(np.uint16), extra={281: 16383}), wanted) <= 1
    photograph = wanted.astype(np.uint16) * 257  # here it is only the largest that occurs
    assert error(tiff(photograph, extra={281: int(photograph.max())}), wanted) == 0


def test_zero_is_white():
    wanted = picture(9)
    assert error(tiff(255 - wanted.astype(np.uint16), extra={262: 0}), wanted) <= 1


def test_outliers_have_no_part_in_it():
    wanted = picture(10)
    for value, count in ((65535, 1), (65535, WIDTH), (20_000, 1)):
        samples = of_depth(wanted, 12).astype(np.uint16)
        samples[:1, :count] = value
        assert np.abs(shown(png16(samples))[1:, :, 0] - wanted[1:]).max() <= 1


# Floating point

SCALES = [1.0, 255.0, 1023.0, 4095.0, 65535.0]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from(SCALES),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    channels=st.sampled_from([1, 3]),
    order=st.sampled_from("<>"),
    packed=st.booleans(),
)
def test_floating_point_of_a_usual_range(seed, scale, dtype, channels, order, packed):
    if scale > 4095 and dtype == np.float16:
        scale = 255.0
    wanted = picture(seed, channels)
    data = tiff((wanted / 255 * scale).astype(dtype), order, packed=packed)
    assert error(data, wanted) <= 1


BAD = [np.inf, -np.inf, np.nan, -9999.0, -32768.0, 1e38, -3.4e38, 65535.0]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    bad=st.lists(st.sampled_from(BAD), min_size=1, max_size=2, unique=True),
    rows=st.integers(0, HEIGHT // 2),
)
@example(seed=0, bad=[-9999.0, 65535.0], rows=1)
def test_missing_and_infinite_values_change_no_other_pixel(seed, bad, rows):
    wanted = picture(seed)
    values = (wanted / 255).astype(np.float32)
    values[:rows] = bad[0]
    values[-1, 0] = bad[-1]
    found = shown(file_of(Image.fromarray(values), "TIFF"))[rows:-1, :, 0]
    assert np.abs(found - wanted[rows:-1]).max() <= 1


def test_the_overshoot_of_a_filter_is_white():
    sharp = np.where(picture(11) > 127, 255, 0).astype(np.float32)
    for scale in (1.0, 255.0):
        values = np.asarray(Image.fromarray(sharp / 255 * scale).resize((90, 70), Image.Resampling.BICUBIC))
        assert values.max() > 1.02 * scale and values.min() < 0
        wanted = np.clip(np.rint(values / scale * 255), 0, 255)
        assert error(file_of(Image.fromarray(values), "TIFF"), wanted) <= 1


@pytest.mark.parametrize(
    ("low", "high"), [(-1.0, 1.0), (300.0, 310.0), (-40.0, 60.0), (0.0, 1e6), (0.0, 0.01)]
)
def test_values_without_a_usual_range_are_spread(low, high):
    wanted = picture(12)
    data = file_of(Image.fromarray((low + wanted / 255 * (high - low)).astype(np.float32)), "TIFF")
    assert error(data, wanted) <= 3  # from quantile to quantile
    assert "quantiles" in decode_noted(data).notes[0]
    assert error(data, wanted, canonical_range(f"{low}..{high}")) <= 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nothing_but_missing_values(value):
    data = file_of(Image.fromarray(np.full((4, 4), value, np.float32)), "TIFF")
    assert decode_noted(data).notes == ("no finite samples",)


@pytest.mark.parametrize("channels", [2, 5])
def test_channels_that_are_no_colours(channels):
    data = tiff(np.zeros((4, 4, channels), np.uint16), extra={262: 2 if channels == 5 else 1, 338: 0})
    if channels == 2:
        assert shown(data).max() == 0
    else:
        with pytest.raises(ImageError, match="5 channels: neither grey nor RGB"):
            decode_noted(data)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("predictor", [1, 2, 3])
@pytest.mark.parametrize("scale", [1.0, 800.0])
def test_floating_point_as_libtiff_packs_it(compression, predictor, scale):
    wanted = picture(15)
    out = io.BytesIO()
    options = {"compression": compression, "tiffinfo": {317: predictor}}
    Image.fromarray((wanted / 255 * scale).astype(np.float32)).save(out, "TIFF", **options)
    assert error(out.getvalue(), wanted, "0..1" if scale == 1 else "0..800") <= 1


def test_many_channels_of_eight_bits_are_named(tmp_path):
    data = tiff(np.zeros((4, 4, 13), np.uint8), extra={262: 1, 338: 0})
    with pytest.raises(ImageError, match="13 channels: neither grey nor RGB"):
        decode_noted(data)
    # And nothing is printed of what Pillow logs. In a process of its own: here pytest takes the logs.
    (tmp_path / "image.tif").write_bytes(data)
    program = (
        "import pathlib, sys; from deltaoe.images.decode import ImageError, decode\n"
        "try: decode(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "except ImageError: pass"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "image.tif"], capture_output=True, check=True
    )
    assert found.stderr == b""


@pytest.mark.parametrize("most", [255, 65535])
def test_opacity_in_any_unit(most):
    samples = np.full((4, 4, 4), most, np.uint16)
    samples[..., :3] = np.array([0, 21845, 43690, 65535])[:, None]
    assert shown(tiff(samples))[0, :, 0].tolist() == [0, 85, 170, 255]


def test_transparency_of_fewer_bits():
    samples = np.full((4, 4, 4), 4095)
    samples[..., 1:3] = 0
    samples[:, 2:, 3] = 0
    samples[0, 0, :3] = 1  # not one colour: nothing would tell the bits
    found = shown(png16(samples))
    assert found[2, 0].tolist() == [255, 0, 0]
    assert found[2, 3].tolist() == [255, 255, 255]


# The option


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("auto", "auto"),
        ("bits:8", "0..255"),
        ("bits:16", "0..65535"),
        ("-1..1", "-1..1"),
        ("0..1e3", "0..1000"),
    ],
)
def test_ways_to_say_a_range(text, wanted):
    assert canonical_range(text) == wanted
    assert canonical_range(wanted) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12",
        "bits:",
        "bits:0",
        "1..1",
        "2..1",
        "a..b",
        "0..",
        "..1",
        "nan..1",
        "0..1e999",
        "1.2.3..4",
        "AUTO",
    ],
)
def test_what_is_no_range(text):
    with pytest.raises(ConfigError, match="is not a range"):
        canonical_range(text)


def test_a_fixed_range_leaves_8_bit_files_alone():
    wanted = picture(13, 3)
    assert error(file_of(Image.fromarray(wanted), "PNG"), wanted, "0..100") == 0


def test_eight_bits_in_a_tiff_of_eight_have_no_range():
    wanted = picture(14)
    data = file_of(Image.fromarray(wanted), "TIFF")
    assert Image.open(io.BytesIO(data)).mode == "L"
    assert error(data, wanted) == 0 and decode_noted(data).notes == ()
