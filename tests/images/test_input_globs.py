"""Inputs that are patterns."""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from named_files import link, make, rows

from deltaoe.errors import DataError
from deltaoe.images.inputs import Ignored, find_files

pytestmark = pytest.mark.usefixtures("here")


def test_globs_take_images_and_walk_folders():
    make("images/cat/1.jpg", "images/cat/deep/2.jpg", "images/dog/3.JPG", "images/4.png", "images/notes.txt")
    make("images/.hidden/5.jpg", "images/._6.jpg", "images/__MACOSX/7.jpg", "image.jpg")
    everything = ["4.png", "cat/1.jpg", "cat/deep/2.jpg", "dog/3.JPG"]
    for pattern in (
        "images/*",
        "images/**",
        "images/**/*",
        "./images/[!x]*",
        "imag?s",
        "images/../images/*",
        "image*s/",
    ):
        assert rows(find_files([pattern])) == [("images", name) for name in everything], pattern
    assert find_files(["images/*"]).ignored == Ignored(hidden=3, other_files=1)
    assert rows(find_files(["images/*/*.jpg"])) == [("images/cat", "1.jpg")]
    assert rows(find_files(["images/**/*.jpg"])) == [("images/cat", "1.jpg"), ("images/cat", "deep/2.jpg")]
    assert rows(find_files(["images/*/**"])) == [("images", name) for name in everything[1:]]
    assert rows(find_files(["images/*/"])) == [("images", name) for name in everything[1:]]
    assert rows(find_files(["*/.hidden/*"])) == [("images/.hidden", "5.jpg")]
    assert rows(find_files(["images/._*"])) == [("images", "._6.jpg")]
    assert find_files(["images/**/*.jpg"]).ignored == Ignored(hidden=3)


def test_a_glob_that_matches_a_folder_of_nothing():
    Path("bare").mkdir()
    for pattern in ("b*", "b*/**", "**"):
        with pytest.raises(DataError, match=r"no images in .*\*: it is empty"):
            find_files([pattern])


def test_a_name_that_is_there_is_no_pattern():
    make("photo [1].jpg", "photo 1.jpg", "year [2024]/1.jpg", "year 2/x.jpg")
    assert find_files(["photo [1].jpg"]).relative == ["photo [1].jpg"]
    assert rows(find_files(["year [2024]/*.jpg"])) == [("year [2024]", "1.jpg")]
    assert rows(find_files(["year [2]/*.jpg"])) == [("year 2", "x.jpg")]


@pytest.mark.parametrize(
    "pattern", ["*.webp", "nowhere/*.jpg", "1.jpg/*", "[.jpg", "sub/*/1.jpg", "*\0", "\ud800*"]
)
def test_a_pattern_that_nothing_matches(pattern):
    make("1.jpg", "sub/1.jpg")
    with pytest.raises(DataError, match="nothing matches") as caught:
        find_files([pattern])
    assert caught.value.hint


def test_a_glob_goes_round_no_loop():
    make("a/1.jpg", "a/b/2.jpg")
    link("a/up", "..")
    link("a/b/top", "../..")
    files = find_files(["**/*.jpg"])
    assert rows(files) == [("a", "1.jpg"), ("a", "b/2.jpg")]


def test_a_glob_into_a_folder_that_cannot_be_listed(monkeypatch):
    make("a/1.jpg", "locked/2.jpg")
    real = os.scandir

    def scandir(folder):
        if str(folder).endswith("locked"):
            raise PermissionError(13, "Permission denied", folder)
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    files = find_files(["**/*.jpg"])
    assert rows(files) == [("a", "1.jpg")]
    assert [(one.path.split("/")[-2], one.reason) for one in files.unlisted] == [
        ("locked", "cannot be listed: permission denied")
    ]


part = st.sampled_from(["a", "b", "ab", "1.jpg", "2.jpg", "b.jpg", "x.txt"])
wild = st.sampled_from(["*", "**", "a*", "?", "*.jpg", "[ab]", "[!a]*", "a", "b", "1.jpg", "ab"])


@given(
    st.sets(st.lists(part, min_size=1, max_size=4).map("/".join), max_size=12),
    st.lists(wild, min_size=1, max_size=4),
)
@settings(deadline=None, max_examples=70)
def test_globs_are_those_of_python(tree, parts):
    """In trees without hidden files, links and locked folders."""
    pattern = "/".join(parts)
    assume(any(map(glob.has_magic, parts)))
    with tempfile.TemporaryDirectory() as folder:
        for name in sorted(tree):
            path = Path(folder, name)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch(exist_ok=True)
            except OSError:
                continue  # a folder of that name, or a file in its way
        matches = glob.glob(os.path.join(folder, pattern), recursive=True)
        wanted = {path for match in matches for path in below(match) if path.endswith(".jpg")}
        try:
            files = find_files([os.path.join(folder, pattern)])
        except DataError:
            assert not wanted
        else:
            assert sorted(map(files.path, range(len(files)))) == sorted(wanted)


def below(path: str) -> Iterator[str]:
    if os.path.isfile(path):
        yield path
    for folder, _, files in os.walk(path):
        yield from (os.path.normpath(os.path.join(folder, name)) for name in files)
