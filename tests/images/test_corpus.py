"""Every kind of file that folders hold, good or broken, through the walk, the decoder and the model's geometry."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from corpus import Case, cases, corpus

from deltaoe.errors import DataError
from deltaoe.images.decode import ImageError, decode, read_bytes
from deltaoe.images.geometry import Geometry
from deltaoe.images.inputs import FileList, find_files

pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")

CASES = cases()
PICTURES = [case for case in CASES if case.reason is None]
each_picture = pytest.mark.parametrize("case", PICTURES, ids=[ascii(case.name)[1:60] for case in PICTURES])


def written(case: Case, folder) -> Case:
    case = case.write(folder)
    if case.skip:
        pytest.skip(case.skip)
    return case


def quarter(pixels: np.ndarray) -> np.ndarray:
    """Mean colour at the upper left of (H, W, 3), short of the quarter's edge, where resizing mixes colours."""
    height, width = (max(1, side // 2 - side // 8) for side in pixels.shape[:2])
    return pixels[:height, :width].reshape(-1, 3).mean(axis=0)


@each_picture
def test_a_picture(case, tmp_path):
    case = written(case, tmp_path)
    image = decode(read_bytes(case.path))
    assert (image.mode, image.size) == ("RGB", case.size)
    assert np.abs(quarter(np.asarray(image)) - case.colour).max() <= case.within


@each_picture
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_what_a_model_sees_of_it(case, mode, tmp_path):
    case = written(case, tmp_path)
    pixels = Geometry(32, 32, resize_mode=mode).decode(read_bytes(case.path), bytes(32), (0, 1, 2))
    assert (pixels.dtype, pixels.shape) == (np.uint8, (3, 32, 32, 3))
    if mode == "squash":  # the others show another part, or a frame
        assert np.abs(quarter(pixels[0]) - case.colour).max() <= case.within + 1


def walked(folder: Path) -> FileList:
    try:
        return find_files([str(folder)])
    except DataError:  # nothing there that is called an image
        return FileList()


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.reason is not None],
    ids=[case.name for case in CASES if case.reason is not None],
)
def test_no_picture(case, tmp_path):
    case = written(case, tmp_path)
    problem = walked(tmp_path).problems.get(0)
    if problem is None:  # what the walk has a word against is never opened
        with pytest.raises(ImageError) as caught:
            decode(read_bytes(case.path))
        problem = str(caught.value)
    assert problem.startswith(case.reason)


def test_the_walk_finds_what_it_should(tmp_path):
    made = [case for case in corpus(tmp_path) if case.skip is None]
    found = walked(tmp_path)
    assert found.relative == sorted(case.name for case in made if case.found)
    assert (found.ignored.hidden, found.ignored.other_files) == (0, 0)
    assert {Path(found.path(i)) for i in range(len(found))} == {case.path for case in made if case.found}


def test_the_corpus_is_worth_its_name(tmp_path):
    made = [case for case in corpus(tmp_path) if case.skip is None]
    contents = [case.path.read_bytes() for case in made if isinstance(case.content, bytes)]
    assert len({hashlib.sha256(data).digest() for data in contents}) == len(contents)
    assert len({case.name for case in made}) == len(made)
    assert all((case.colour is None) == (case.reason is not None) for case in CASES)
    assert max(len(os.fsencode(case.name)) for case in CASES) == 255
    assert len(PICTURES) > 40
    assert len(CASES) - len(PICTURES) > 15
