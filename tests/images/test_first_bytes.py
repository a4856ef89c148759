"""Files without a suffix are images if they start like one, and folders without images are remembered."""

from __future__ import annotations

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deltaoe.images.first_bytes import is_image_by_content, starts_like_image
from deltaoe.images.inputs import find_files


def picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"])
def test_images_are_known_by_their_first_bytes(kind):
    assert starts_like_image(picture(kind)[:32])


@given(st.text(max_size=40))
def test_text_is_no_image(text):
    assert not starts_like_image(text.encode()[:32]) or text[:1] in {"P", "G"}


@pytest.mark.parametrize(
    "head", [b"", b"BMI and other things to know about bodies", b"PNG files", b"RIFF\0\0\0\0WAVE", b"P7 "]
)
def test_other_files(head):
    assert not starts_like_image(head)


def test_files_without_a_suffix_are_found(tmp_path):
    for name in ("cat/0001", "cat/0002", "dog/1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture("JPEG"))
    (tmp_path / "cat" / "README").write_text("PNG pictures of cats")
    (tmp_path / "cat" / "photo.jpg_large").write_bytes(picture("JPEG"))
    os.mkfifo(tmp_path / "cat" / "pipe")
    files = find_files([str(tmp_path)])
    assert files.relative == ["cat/0001", "cat/0002", "dog/1.jpg"]
    assert (files.unsuffixed, files.ignored.other_files) == (["cat/0001", "cat/0002"], 3)
    assert find_files([f"{tmp_path}/cat/*"]).relative == ["0001", "0002"]


def test_a_path_that_is_no_file(tmp_path):
    assert not is_image_by_content(str(tmp_path))
    assert not is_image_by_content(str(tmp_path / "missing"))
    assert not is_image_by_content("a\0b")


def test_folders_without_images_are_remembered(tmp_path):
    for name in ("dog/1.jpg", "cat/notes.txt", "cat/deep/more.txt", "owl/deep/1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".hidden").mkdir()
    found = find_files([str(tmp_path)]).without_images
    assert {folder: others.files for (_, folder), others in found.items()} == {
        "": 0,
        "cat": 1,
        "cat/deep": 1,
        "empty": 0,
        "owl": 0,
    }
    assert found[0, "cat"].example == str(tmp_path / "cat" / "notes.txt")
