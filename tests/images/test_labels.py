"""Class names: from folders, from a CSV that renames them, from a list."""

from __future__ import annotations

import random

import pytest

from deltaoe.errors import ConfigError, DataError
from deltaoe.images.classes_file import ClassesFile
from deltaoe.images.labels import (
    label_paths,
    require_classes,
    tidy,
)
from deltaoe.images.layout_detection import detect_layout
from deltaoe.scoring.options import check_template


def paths(*folders: str, count: int = 2) -> list[str]:
    return [f"{folder}/{i}.png" for folder in folders for i in range(count)]


# Layout


@pytest.mark.parametrize(
    ("found", "layout"),
    [
        ([], "flat"),
        (["1.png", "2.png"], "flat"),
        (paths("cat", "dog"), "class"),
        (["1.png", *paths("cat", "dog")], "class"),
        (paths("cat"), "class"),
        # Sub-folders of classes, with names of their own
        (paths("cat/tabby", "cat/black", "dog/poodle", "dog/pug"), "class"),
        (paths("cat/tabby", "dog"), "class"),
        # Domains
        (paths("photo/cat", "photo/dog", "sketch/cat", "sketch/dog"), "domain/class"),
        (["readme.png", *paths("photo/cat", "photo/dog", "sketch/cat", "sketch/dog")], "domain/class"),
        (paths("photo/cat", "photo/dog", "sketch/cat"), "class"),  # half of the names are shared: not most
        (paths("photo/cat", "photo/dog", "photo/cow", "sketch/cat", "sketch/dog"), "domain/class"),
        (paths("photo/cat/a", "photo/dog/b", "sketch/cat/c", "sketch/dog/d"), "domain/class"),
        # A folder around everything
        (paths("pets/cat", "pets/dog"), "*/class"),
        (paths("pets/cat"), "class"),
    ],
)
def test_layout_is_recognised(found, layout):
    assert detect_layout(found) == layout
    random.Random(0).shuffle(found)
    assert detect_layout(iter(found)) == layout


# Labels


def test_classes_and_their_indices_are_sorted_by_name():
    found = label_paths(["dog/1.png", "Cat/1.png", "1.png", "cat/x/1.png", "dog/2.png"])
    assert found.layout == "class"
    assert found.class_names == ("Cat", "cat", "dog")
    assert found.class_of.tolist() == [2, 0, -1, 1, 2]
    assert found.domain_names == ()
    assert set(found.domain_of) == {-1}


def test_domains_and_classes():
    found = label_paths(["sketch/dog/1.png", "photo/cat/1.png", "photo/1.png", "1.png"], "domain/class")
    assert (found.class_names, found.class_of.tolist()) == (("cat", "dog"), [1, 0, -1, -1])
    assert (found.domain_names, found.domain_of.tolist()) == (("photo", "sketch"), [1, 0, -1, -1])


def test_a_layout_given_is_not_guessed_again():
    found = label_paths(paths("photo/cat", "sketch/cat", count=1), "class")
    assert found.class_names == ("photo", "sketch")
    assert label_paths(paths("cat", "dog"), "flat").class_names == ()
    assert label_paths([], None).class_names == ()


@pytest.mark.parametrize(
    ("folder", "name"),
    [("polar_bear", "polar bear"), (" a__b ", "a b"), ("___", "___"), ("crème", "crème"), ("a-b.c", "a-b.c")],
)
def test_folder_names_become_words(folder, name):
    assert tidy(folder) == name


def test_renaming_joins_folders_of_one_name():
    renames = {"n01": "tabby cat", "n02": "tabby cat"}
    found = label_paths(["n01/1.png", "n02/1.png", "big_dog/1.png"], None, renames)
    assert found.class_names == ("big dog", "tabby cat")
    assert found.class_of.tolist() == [1, 1, 0]


def test_a_file_of_names_for_folders():
    file = ClassesFile("names.csv", "folder;name\ncat;tabby_cat\nzebra;horse\n")
    found = label_paths(paths("cat", "big_dog"), None, file)
    assert found.class_names == ("big dog", "tabby cat")
    assert found.renames == {"cat": "tabby cat"}
    assert found.notes == ["names.csv: 1 row is of a folder without images: 'zebra'"]
    with pytest.raises(ConfigError, match="'catt'") as caught:
        label_paths(paths("cat", "dog"), None, ClassesFile("names.csv", "catt,cat\n"))
    assert "did you mean 'cat'" in caught.value.hint


def test_domains_are_no_folders_to_rename():
    with pytest.raises(ConfigError, match="no folder that holds images: 'photo'"):
        label_paths(paths("photo/cat", "sketch/cat"), "domain/class", ClassesFile("names.csv", "photo,x"))


@pytest.mark.parametrize("names", [(), ("cat",)])
def test_one_class_is_not_enough(names):
    with pytest.raises(DataError, match="needs at least two") as caught:
        require_classes(names, "pictures")
    assert "--layout" in caught.value.hint
    require_classes(("a", "b"), "pictures")


# Templates


@pytest.mark.parametrize("template", ["a photo of a {}.", "{}", "{} — on white"])
def test_templates(template):
    check_template(template)


@pytest.mark.parametrize(
    "template", ["", "a photo", "{} and {}", "{0}", "{name}", "{{}}", "{} }", "{", "{}{"]
)
def test_templates_with_no_single_place(template):
    with pytest.raises(ConfigError, match=r"must contain \{\} once"):
        check_template(template)
