"""JPEGs that their decoder reduces: almost the same pixels as from the whole picture, and the same problems."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from encoded import file_of, noise
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deltaoe.images.cuts import Cut
from deltaoe.images.decode import ImageError
from deltaoe.images.geometry import Geometry

DIGEST = bytes(range(32))
SIDE = 32
EXACT = Geometry(SIDE, SIDE)
CLOSE = 1.5  # of 255, on average; a shift by part of a pixel of the reduced picture makes 8


def scene(width: int, height: int) -> Image.Image:
    """Blurred noise: details at the scale that a model's input of 32 pixels shows."""
    coarse = Image.fromarray(noise(-(-height // 12), -(-width // 12)))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def fast(geometry: Geometry) -> Geometry:
    return dataclasses.replace(geometry, decode_mode="fast")


def difference(data: bytes, geometry: Geometry = EXACT, views: tuple[int, ...] = (0,)) -> float:
    """Mean difference of what fast and exact decoding show, which is not quite nothing: the decoder did reduce."""
    found, wanted = (one.decode(data, DIGEST, views) for one in (fast(geometry), geometry))
    assert found.shape == wanted.shape and not np.array_equal(found, wanted)
    return float(np.abs(found.astype(int) - wanted).mean())


@pytest.mark.parametrize("size", [(521, 347), (347, 521), (260, 260), (1003, 201)])
@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
def test_a_reduced_picture_looks_like_the_whole_one(size, resize_mode):
    data = file_of(scene(*size), "JPEG", quality=92)
    geometry = dataclasses.replace(EXACT, resize_mode=resize_mode, fill_color=(9, 99, 199))
    assert difference(data, geometry) < CLOSE
    assert difference(data, dataclasses.replace(geometry, width=48)) < CLOSE


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_pictures_of_sides_that_no_reduction_divides(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    assert difference(file_of(scene(263, 331), "JPEG", quality=95, exif=exif)) < CLOSE


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("L", {}),
        ("CMYK", {}),
        ("RGB", {"progressive": True}),
        ("RGB", {"subsampling": 0}),
        ("RGB", {"kind": "MPO"}),
    ],
)
def test_kinds_of_jpeg(mode, options: dict[str, Any]):
    kind = options.pop("kind", "JPEG")
    assert difference(file_of(scene(500, 400).convert(mode), kind, quality=92, **options)) < CLOSE


def test_a_view_is_reduced_as_if_it_were_alone():
    data = file_of(scene(640, 480), "JPEG", quality=92)
    views = (0, 1, 2, 3, 4, 5)
    together = fast(EXACT).decode(data, DIGEST, views)
    for slot, view in enumerate(views):
        assert np.array_equal(together[slot : slot + 1], fast(EXACT).decode(data, DIGEST, (view,)))
    assert np.array_equal(together[::-1], fast(EXACT).decode(data, DIGEST, views[::-1]))
    assert difference(data, views=views) < CLOSE


@given(
    st.tuples(*[st.integers(1, 5000)] * 2),
    st.tuples(*[st.integers(1, 400)] * 2),
)
def test_twice_what_is_needed_is_left_at_least(part, size):
    factor = Cut((7, 5, 7 + part[0], 5 + part[1]), size).reduction()
    left = [side / factor / wanted for side, wanted in zip(part, size, strict=True)]
    assert factor in {1, 2, 4, 8}
    assert factor == 1 or min(left) >= 2
    assert factor == 8 or min(left) < 4  # and no more than it has to be


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_other_formats_are_decoded_exactly(kind):
    data = file_of(scene(400, 300), kind)
    assert np.array_equal(fast(EXACT).decode(data, DIGEST, (0, 1)), EXACT.decode(data, DIGEST, (0, 1)))


def test_a_small_jpeg_is_decoded_exactly():
    data = file_of(scene(127, 300), "JPEG")
    assert np.array_equal(fast(EXACT).decode(data, DIGEST, (0,)), EXACT.decode(data, DIGEST, (0,)))


JPEG = file_of(scene(300, 400), "JPEG", quality=90)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, len(JPEG) - 1), st.sampled_from([b"", b"\0", b"\xff\xd9"]))
def test_damaged_files_have_the_same_problem_or_the_same_pixels(kept, tail):
    found = []
    for geometry in (EXACT, fast(EXACT)):
        try:
            found.append(geometry.decode_noted(JPEG[:kept] + tail, DIGEST, (0,)))
        except ImageError as cause:
            found.append(str(cause))
    exact, reduced = found
    if isinstance(exact, str) or exact.notes:
        assert isinstance(reduced, str) == isinstance(exact, str)
        assert str(reduced) == str(exact) if isinstance(exact, str) else np.array_equal(reduced[0], exact[0])
    else:  # what a decoder completes with grey is reduced, too
        assert reduced.notes == ()


def test_one_colour_is_seen_in_a_reduced_picture_too():
    data = file_of(Image.new("RGB", (300, 300), "navy"), "JPEG")
    assert fast(EXACT).decode_noted(data, DIGEST, (0,)).notes == ("one single colour",)
    assert fast(EXACT).decode_noted(data, DIGEST, ()).notes == ("one single colour",)
