"""The drawings: the same for the same key, different for others, and something to be seen in each."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from random import Random

import numpy as np
import pytest
from PIL import Image

from deltaoe.demo.canvas import silhouette
from deltaoe.demo.captions import caption, vocabulary
from deltaoe.demo.catalogue import KINDS
from deltaoe.demo.objects.kind import PAINTS
from deltaoe.demo.patterns import PATTERNS
from deltaoe.demo.picture import draw, generators
from deltaoe.demo.scenery import PLACES
from deltaoe.demo.shapes import ellipse, polygon, rect, ring, scaled, shade, smooth, turned
from deltaoe.demo.sheet import sheet
from deltaoe.demo.styles import STYLES
from deltaoe.errors import ConfigError


def test_the_world_is_rich_enough() -> None:
    assert len(KINDS) >= 40 and len(PATTERNS) >= 24 and len(PLACES) >= 8
    assert list(STYLES) == ["photo", "painting", "cartoon", "sketch"]
    assert all(kind.name == name and set(kind.paints) <= set(PAINTS) for name, kind in KINDS.items())


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", KINDS)
def test_every_object_in_every_style(name: str, style: str) -> None:
    image, subject = draw(name, style, 32, "test", 0)
    assert (image.mode, image.size) == ("RGB", (32, 32))
    assert (subject.kind, subject.style) == (name, style)
    assert subject.paint in KINDS[name].paints and subject.place in PLACES
    pixels = np.asarray(image, dtype=float)
    assert pixels.std() > 4  # something is there
    again, _ = draw(name, style, 32, "test", 0)
    assert again.tobytes() == image.tobytes()
    other, _ = draw(name, style, 32, "test", 1)
    assert other.tobytes() != image.tobytes()


@pytest.mark.parametrize("name", KINDS)
def test_objects_fill_their_box_and_vary(name: str) -> None:
    covers, outlines = [], set()
    for number in range(25):
        r, _ = generators(name, "shape", number)
        kind = KINDS[name]
        shapes = kind.draw(r, PAINTS[kind.paints[0]])
        reach = max(float(np.abs(shape.points).max()) for shape in shapes)
        assert 0.6 <= reach <= 1.35
        # Drawn at half size, so that nothing falls outside: a quarter of the picture is the whole box.
        mask = np.asarray(silhouette(scaled(shapes, 0.5), 48)) > 0
        covers.append(4 * mask.mean())
        outlines.add(mask.tobytes())
    assert min(covers) > 0.06 and max(covers) < 0.98
    assert len(outlines) >= 8  # a clock is always round, a bus always a box


@pytest.mark.parametrize("name", PATTERNS)
def test_every_pattern(name: str) -> None:
    pictures = [PATTERNS[name](40, *generators(name, key)) for key in (0, 0, 1)]
    assert all((image.mode, image.size) == ("RGB", (40, 40)) for image in pictures)
    first, again, other = (image.tobytes() for image in pictures)
    assert first == again != other
    assert np.asarray(pictures[0], dtype=float).std() > 2


def test_another_process_draws_the_same() -> None:
    code = (
        "import hashlib; from deltaoe.demo.picture import draw;"
        "print(*(hashlib.sha256(draw(k, s, 40, 1)[0].tobytes()).hexdigest()"
        " for k in ('fish', 'house') for s in ('photo', 'painting', 'cartoon', 'sketch')))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    here = [
        hashlib.sha256(draw(kind, style, 40, 1)[0].tobytes()).hexdigest()
        for kind in ("fish", "house")
        for style in ("photo", "painting", "cartoon", "sketch")
    ]
    assert told == here


def test_the_paint_of_the_caption_is_the_paint_of_the_object() -> None:
    """In cartoons, which have no light, the named colour is nearer to the object's than the others on the whole."""
    hits = []
    for number in range(60):
        for name in ("house", "mug", "umbrella", "car"):
            image, subject = draw(name, "cartoon", 48, "paint", number, mess=0.0)
            named = np.array(PAINTS[subject.paint])
            pixels = np.asarray(image, dtype=float).reshape(-1, 3) / 255
            share = {
                paint: (np.linalg.norm(pixels - np.array(color), axis=1) < 0.3).mean()
                for paint, color in PAINTS.items()
            }
            hits.append(share[subject.paint] > 0.03 or named.std() < 0.05)
    assert np.mean(hits) > 0.8


def test_every_caption_is_in_the_vocabulary() -> None:
    from deltaoe.demo.contrastive import Vocabulary

    known = Vocabulary(vocabulary(list(KINDS)))
    words = Random(0)
    said = set()
    for number in range(400):
        name = list(KINDS)[number % len(KINDS)]
        _, subject = draw(name, "sketch", 8, "caption", number)
        text = caption(subject, words, vague=0.15)
        assert known.rows([text])[0][-1] == len(known.tokens) - 1  # EOT: the largest, and last
        said.add(text)
    assert len(said) > 300
    assert "a an umbrella" not in " ".join(said) and "a umbrella" not in " ".join(said)


def test_vague_captions_name_nothing() -> None:
    words = Random(1)
    _, subject = draw("guitar", "photo", 8, 0)
    assert not any("guitar" in caption(subject, words, vague=1.0) for _ in range(100))
    assert all("guitar" in caption(subject, words, vague=0.0) for _ in range(100))


def test_shapes() -> None:
    square = rect(-1, -2, 1, 2, (0, 0, 0))
    (quarter,) = turned([square], 90)
    np.testing.assert_allclose(np.abs(quarter.points).max(axis=0), [2, 1])
    (point,) = turned([polygon([(1, 0)], (0, 0, 0))], 90)
    np.testing.assert_allclose(point.points, [[0, 1]], atol=1e-12)  # clockwise: from right to down
    (about,) = turned([polygon([(3, 1)], (0, 0, 0))], 180, about=(1, 1))
    np.testing.assert_allclose(about.points, [[-1, 1]], atol=1e-12)
    (small,) = scaled([ring(0, 0, 1, 1, 0.4, (0, 0, 0))], 0.5)
    assert small.width == pytest.approx(0.2)
    radius = np.hypot(*(ellipse(2, 3, 0.5, 0.5, (0, 0, 0)).points - (2, 3)).T)
    np.testing.assert_allclose(radius, 0.5)
    path = smooth([(0, 0), (1, 0), (2, 0)], closed=False)
    np.testing.assert_allclose(path[:, 1], 0, atol=1e-12)
    assert (path[0] == (0, 0)).all() and (path[-1] == (2, 0)).all()
    assert shade((0.5, 0.5, 0.5), 2) == (1, 1, 1) and shade((0.5, 0.4, 0.2), 0.5) == (0.25, 0.2, 0.1)


def test_a_contact_sheet() -> None:
    image = sheet(["fish", "tartan"], size=16)
    assert isinstance(image, Image.Image) and image.height == 32
    with pytest.raises(ConfigError, match="nothing is called 'unicorn'"):
        sheet(["unicorn"])
