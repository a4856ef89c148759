"""What inputs name: folders and single files, each file once, and what is said of inputs that name nothing."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from named_files import contents, link, make, rows

from deltaoe.errors import ConfigError, DataError
from deltaoe.images.inputs import Ignored, find_files
from deltaoe.images.walk import SUFFIXES

pytestmark = pytest.mark.usefixtures("here")

# Folders and single files


@pytest.mark.parametrize(
    ("folder", "root"),
    [
        ("images", "images"),
        ("images/", "images"),
        ("./images", "images"),
        ("images/.", "images"),
        ("images/../images//", "images"),
        ("images/cat/..", "images"),
    ],
)
def test_a_folder_is_the_root_of_its_files(folder, root):
    make("images/cat/1.jpg", "images/2.jpg")
    assert rows(find_files([folder])) == [(root, "2.jpg"), (root, "cat/1.jpg")]


def test_the_current_folder_and_others_relative_to_it(here, monkeypatch):
    make("images/cat/1.jpg")
    monkeypatch.chdir("images")
    assert rows(find_files(["."])) == [("", "cat/1.jpg")]
    assert rows(find_files(["./"])) == [("", "cat/1.jpg")]
    assert rows(find_files([".."])) == [("..", "images/cat/1.jpg")]
    assert rows(find_files(["../images"])) == [("../images", "cat/1.jpg")]
    assert rows(find_files([f"{here}/images/"])) == [(f"{here}/images", "cat/1.jpg")]
    for given_name in (".", "..", "../images", f"{here}/images/"):
        assert contents(find_files([given_name])) == [b"images/cat/1.jpg"]


@pytest.mark.skipif(os.sep != "/", reason="this system has several roots")
def test_the_root_of_all(here):
    """Its name is its slash."""
    make("1.jpg")
    if os.path.commonpath([here, os.__file__]) != "/":
        pytest.skip("there is no file outside the folder of this test's folder")
    files = find_files([f"{here}/1.jpg", os.__file__])
    assert rows(files) == [("/", f"{here}/1.jpg"[1:]), ("/", os.__file__[1:])]
    assert [files.path(0), files.path(1)] == [f"{here}/1.jpg", os.__file__]
    assert [f.path(0) for f in (files.part([1]), files.part([0]))] == [os.__file__, f"{here}/1.jpg"]


def test_single_files_have_the_deepest_common_folder():
    make("images/cat/1.jpg", "images/dog/2.png", "images/dog/scan.dat", "images/.hidden.jpg")
    assert rows(find_files(["images/cat/1.jpg"])) == [("images/cat", "1.jpg")]
    files = find_files(["images/dog/scan.dat", "./images/cat/1.jpg", "images/.hidden.jpg"])
    assert rows(files) == [("images", "dog/scan.dat"), ("images", "cat/1.jpg"), ("images", ".hidden.jpg")]
    assert files.problems == {}


def test_names_that_begin_alike_have_no_folder_in_common():
    make("images/cat/1.jpg", "images/cats/1.jpg", "image.jpg")
    assert find_files(["images/cat/1.jpg", "images/cats/1.jpg"]).roots == ["images"]
    assert find_files(["images/cat/1.jpg", "image.jpg"]).roots == [""]


def test_folders_above_and_absolute_paths_mix(here, monkeypatch):
    make("a/1.jpg", "b/2.jpg", "c/3.jpg")
    monkeypatch.chdir("b")
    above = find_files(["../a/1.jpg", "../c/3.jpg"])
    assert rows(above) == [("..", "a/1.jpg"), ("..", "c/3.jpg")]
    mixed = find_files(["../a/1.jpg", "2.jpg"])
    assert rows(mixed) == [(str(here), "a/1.jpg"), (str(here), "b/2.jpg")]
    assert rows(find_files(["2.jpg", f"{here}/c/3.jpg"])) == [(str(here), "b/2.jpg"), (str(here), "c/3.jpg")]
    assert contents(above) + contents(mixed) == [b"a/1.jpg", b"c/3.jpg", b"a/1.jpg", b"b/2.jpg"]


def test_dots_behind_a_link_mean_what_the_system_says():
    """ "link/../x.jpg" lies beside the link's target; by its letters it would be another file."""
    make("x.jpg", "far/away/folder/1.jpg", "far/away/x.jpg")
    link("link", "far/away/folder")
    files = find_files(["link/../x.jpg", "x.jpg"])
    assert contents(files) == [b"far/away/x.jpg", b"x.jpg"]
    assert [name for _, name in rows(files)] == ["far/away/x.jpg", "x.jpg"]
    assert contents(find_files(["link/.."])) == [b"far/away/folder/1.jpg", b"far/away/x.jpg"]


def test_files_are_in_the_order_named():
    make("b/2.jpg", "b/1.jpg", "z.jpg", "a.jpg", "list.txt")
    Path("list.txt").write_text("b/2.jpg\n")
    files = find_files(["z.jpg", "b", "a.jpg"])
    assert rows(files) == [("", "z.jpg"), ("b", "1.jpg"), ("b", "2.jpg"), ("", "a.jpg")]


# Once each


def test_what_several_inputs_name_counts_once(here):
    make("images/cat/1.jpg", "images/dog/2.jpg", "other/3.jpg", "list.txt", "images-b/4.jpg")
    Path("list.txt").write_text(
        "images/dog/2.jpg\nother/3.jpg\nother/3.jpg\nother/../other/3.jpg\ngone.jpg\ngone.jpg"
    )
    files = find_files(
        ["images/cat", f"{here}/images", "images/cat/1.jpg", "list.txt", "images-b", "*/3.jpg", "images"]
    )
    assert rows(files) == [
        ("images/cat", "1.jpg"),
        (f"{here}/images", "dog/2.jpg"),
        ("", "other/3.jpg"),
        ("", "gone.jpg"),
        ("images-b", "4.jpg"),
    ]
    assert files.problems == {3: "no such file or folder"}
    assert files.ignored.repeated == 1 + 1 + 1 + 2 + 1 + 1 + 2
    assert len(files.size) == len(files.mtime_ns) == 5


def test_overlaps_of_any_two_inputs():
    make("images/cat/1.jpg", "images/2.jpg", "images2/3.jpg")
    assert rows(find_files(["images/cat", "images"])) == [("images/cat", "1.jpg"), ("images", "2.jpg")]
    assert rows(find_files(["images", "images/cat"])) == [("images", "2.jpg"), ("images", "cat/1.jpg")]
    assert rows(find_files(["images/2.jpg", "images2", "images/2.jpg"])) == [
        ("images", "2.jpg"),
        ("images2", "3.jpg"),
    ]
    Path("list.txt").write_text("images/2.jpg\nimages/2.jpg\n")
    files = find_files(["list.txt"])
    assert (rows(files), files.ignored) == ([("images", "2.jpg")], Ignored(repeated=1))


@pytest.mark.skipif(os.sep != "/", reason="two slashes begin a network's name")
def test_slashes_at_the_start_are_one(here):
    make("images/1.jpg")
    files = find_files([f"/{here}/images/1.jpg", f"{here}/images//1.jpg", f"//{here}/images"])
    assert rows(files) == [(f"{here}/images", "1.jpg")]
    assert files.ignored.repeated == 2


def test_what_several_rows_say_of_a_file():
    """An empty cell says nothing; two classes cancel out."""
    make("1.jpg", "2.jpg", "3.jpg", "a.csv", "b.csv")
    Path("a.csv").write_text("path,class,split\n2.jpg,hot_dog,train\n3.jpg,,\n1.jpg,dog,train\n")
    Path("b.csv").write_text("path,domain,class\n2.jpg,sketch,dog\n1.jpg,photo,dog\n3.jpg,,cat\n1.jpg,,dog\n")
    files = find_files(["a.csv", "b.csv"])
    assert files.relative == ["2.jpg", "3.jpg", "1.jpg"]
    assert (files.classes, files.domains) == (["", "cat", "dog"], ["sketch", "", "photo"])
    assert files.splits == ["", "", "train"]
    assert files.ignored.repeated == 4
    assert files.notes == [
        "1 file is listed under several classes and counts for none: 2.jpg (hot dog, dog)",
        "no image is left of the classes hot dog",
    ]
    assert files.ignored.contradicted == {"2.jpg"}


def test_a_link_is_a_name_of_its_own():
    make("a/1.jpg")
    link("b", "a")
    assert rows(find_files(["a", "b"])) == [("a", "1.jpg"), ("b", "1.jpg")]


# Roots


steps = st.sampled_from(["a", "b", "cc", "..", "."])


@given(st.lists(st.tuples(st.booleans(), st.lists(steps, max_size=6)), min_size=1, max_size=5))
@settings(deadline=None, max_examples=50)
def test_roots_are_the_deepest_folders_that_hold_all(walks):
    """Any way to write a path leads to the file, and the root is what ``os.path.commonpath`` says."""
    with tempfile.TemporaryDirectory() as top:
        top = os.path.realpath(top)
        work = f"{top}/w/x/y/z/u/v"
        os.makedirs(work)
        lines = []
        for number, (absolute, way) in enumerate(walks):
            folder = os.path.join(work, *way)
            at = work
            for step in way:
                at = os.path.join(at, step)
                os.makedirs(os.path.normpath(at), exist_ok=True)
            Path(folder, f"{number}.jpg").write_text(str(number))
            lines.append("/".join([*([work] if absolute else []), *way, f"{number}.jpg"]))
        before = os.getcwd()
        os.chdir(work)
        try:
            files = find_files(["-"], stdin=io.BytesIO("\n".join(lines).encode()))
            assert contents(files) == [str(number).encode() for number in range(len(walks))]
            assert len(files.roots) == 1
            folders = [os.path.dirname(os.path.abspath(line)) for line in lines]
            assert os.path.abspath(files.roots[0]) == os.path.commonpath(folders)
            assert not any({".", "..", ""} & {*name.split("/")} for name in files.relative)
            assert files.roots[0] == "/" or not files.roots[0].endswith("/")
        finally:
            os.chdir(before)


# Parts


def test_a_part_of_the_list():
    make("a/1.jpg", "b/2.jpg", "list.csv")
    Path("list.csv").write_text("path,class,domain\nb/2.jpg,x,u\ngone/3.jpg,y,v\n")
    files = find_files(["a", "list.csv"])
    assert len(files.roots) == 3
    some = files.part(np.array([2, 1]))
    assert [some.path(row) for row in range(len(some))] == ["gone/3.jpg", "b/2.jpg"]
    assert (some.classes, some.domains, some.problems) == (
        ["y", "x"],
        ["v", "u"],
        {0: "no such file or folder"},
    )
    assert (list(some.size), some.mtime_ns[1]) == ([0, 7], os.stat("b/2.jpg").st_mtime_ns)
    assert len(some.roots) == 2
    assert some.ignored is files.ignored
    assert files.part(range(3)) == files
    assert len(files.part([])) == 0


# Nothing to find


def test_no_inputs():
    with pytest.raises(ConfigError) as caught:
        find_files([])
    assert caught.value.hint


@pytest.mark.parametrize(
    ("given_name", "message", "hint"),
    [
        ("imags", "no such file or folder: imags", "did you mean images?"),
        ("images/cta.jpg", r"no such file or folder: images/cta\.jpg", "did you mean images/cat.jpg?"),
        ("images/dgo/", "no such file or folder: images/dgo/", "did you mean images/dog?"),
        ("nowhere/x.jpg", "no such file or folder", "check the path"),
        ("images/cat.jpg/", "cannot read images/cat.jpg/: not a directory", ""),
        ("images/cat.jpg/x", "cannot read images/cat.jpg/x: not a directory", ""),
        ("n" * 300, "cannot read n*: .*long", ""),
        ("", "empty name", "variable"),
        ("a\0b", "not a possible file name", ""),
        ("\ud800", "not a possible file name", ""),
        ("gone", "no such file or folder: gone", "it is a link to nowhere"),
    ],
)
def test_an_input_that_is_not_there(given_name, message, hint):
    make("images/cat.jpg", "images/dog/1.jpg")
    if given_name == "gone":
        link("gone", "nowhere")
    with pytest.raises(DataError, match=message) as caught:
        find_files(["images", given_name])
    assert hint in caught.value.hint
    assert caught.value.hint


def test_no_images_at_all():
    make("empty/.hidden", "empty/sub/notes.txt", "empty/sub/1.zip")
    Path("bare").mkdir()
    with pytest.raises(DataError, match=r"no images in empty \(2 other files, 1 hidden entry\)") as caught:
        find_files(["empty"])
    assert all(suffix in caught.value.hint for suffix in SUFFIXES)
    with pytest.raises(DataError, match="no images in bare: it is empty"):
        find_files(["bare"])
    with pytest.raises(DataError, match="no images in bare, bare, bare and 1 more inputs: they are empty"):
        find_files(["bare"] * 4)
    make("images/1.jpg")
    assert find_files(["bare", "images", "empty"]).roots == ["images"]


@pytest.mark.skipif(os.name == "nt", reason="this system keeps the current folder")
def test_a_current_folder_that_is_gone(monkeypatch):
    make("away/1.jpg", "images/1.jpg")
    images = str(Path("images").absolute())
    monkeypatch.chdir("away")
    os.remove("1.jpg")
    os.rmdir("../away")
    assert len(find_files([images])) == 1
    with pytest.raises(DataError):
        find_files(["."])
    with pytest.raises(DataError):
        find_files(["*.jpg"])
