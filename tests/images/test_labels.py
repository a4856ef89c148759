"""Class names: from folders, from a CSV that renames them, from a list."""

from __future__ import annotations

import random

import pytest

from deltaoe.errors import ConfigError, DataError
from deltaoe.images.detection import detect_layout
from deltaoe.images.labels import (
    label_paths,
    read_classes_csv,
    read_labels,
    require_classes,
    tidy,
)
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


def test_renaming_a_folder_that_is_not_there():
    with pytest.raises(ConfigError, match="'catt'") as caught:
        label_paths(paths("cat", "dog"), None, {"catt": "cat"})
    assert "did you mean 'cat'" in caught.value.hint
    with pytest.raises(ConfigError) as caught:
        label_paths(paths("cat", "dog"), None, {"zebra": "cat"})
    assert "first column" in caught.value.hint


def test_domains_are_no_folders_to_rename():
    with pytest.raises(ConfigError):
        label_paths(paths("photo/cat", "sketch/cat"), "domain/class", {"photo": "x"})


@pytest.mark.parametrize("names", [(), ("cat",)])
def test_one_class_is_not_enough(names):
    with pytest.raises(DataError, match="needs at least two") as caught:
        require_classes(names, "pictures")
    assert "--layout" in caught.value.hint
    require_classes(("a", "b"), "pictures")


# The CSV that renames


@pytest.mark.parametrize(
    "text",
    [
        "n01,tabby cat\nn02,dog\n",
        "folder,name\nn01,tabby cat\nn02,dog",
        "\ufeffFolder, Name\r\n\r\n n01 , tabby cat \r\nn02,dog\r\n , \r\n",
        '"n01","tabby cat"\n"n02",dog\n',
    ],
)
def test_classes_csv(tmp_path, text):
    (tmp_path / "c.csv").write_bytes(text.encode())
    assert read_classes_csv(tmp_path / "c.csv") == {"n01": "tabby cat", "n02": "dog"}


def test_a_name_with_a_comma_and_a_late_header(tmp_path):
    (tmp_path / "c.csv").write_text('n01,"cat, tabby"\nfolder,name\n', encoding="utf-8")
    assert read_classes_csv(tmp_path / "c.csv") == {"n01": "cat, tabby", "folder": "name"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\nn01\n", "row 2: expected two cells"),
        ("n01,cat,extra\n", "row 1"),
        ("n01;cat\n", "row 1"),
        ("n01,\n", "row 1"),
        (",cat\n", "row 1"),
        ("a,b\n\na,c\n", "row 3: folder 'a' is named twice"),
        ("", "names no folder"),
        ("folder,name\n\n", "names no folder"),
        ('a,"tabby cat\nb,dog\n', "line 2"),
        ('a,"b" c\n', "line 1"),
        ("a," + "x" * 200_000, "line 1"),
    ],
)
def test_classes_csv_that_makes_no_sense(tmp_path, text, says):
    path = tmp_path / "c.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_classes_csv(path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("read", [read_classes_csv, read_labels])
def test_unreadable_files(tmp_path, read):
    with pytest.raises(ConfigError, match="no such file"):
        read(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="cannot read"):
        read(tmp_path)
    (tmp_path / "latin").write_bytes(b"caf\xe9,x\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read(tmp_path / "latin")


# The list of labels


def test_labels_keep_the_order_of_the_file(tmp_path):
    (tmp_path / "l.txt").write_bytes("\ufeff zebra\r\n\r\nпёс\nant, red  \n\n".encode())
    assert read_labels(tmp_path / "l.txt") == ("zebra", "пёс", "ant, red")


@pytest.mark.parametrize(
    ("text", "says"), [("", "no labels"), (" \n\n", "no labels"), ("a\nb\n a\n", "'a' twice")]
)
def test_labels_that_make_no_sense(tmp_path, text, says):
    (tmp_path / "l.txt").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=says):
        read_labels(tmp_path / "l.txt")


@pytest.mark.parametrize("template", ["a photo of a {}.", "{}", "{} — on white"])
def test_templates(template):
    check_template(template)


@pytest.mark.parametrize(
    "template", ["", "a photo", "{} and {}", "{0}", "{name}", "{{}}", "{} }", "{", "{}{"]
)
def test_templates_with_no_single_place(template):
    with pytest.raises(ConfigError, match=r"must contain \{\} once"):
        check_template(template)
