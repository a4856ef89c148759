"""More ways in which people and programs write names for folders, and labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltaoe.errors import ConfigError
from deltaoe.images.classes_file import ClassesFile
from deltaoe.images.label_files import read_label_names

FOLDERS = ("n02084071", "n02374451")
NAMES = {"n02084071": "dog", "n02374451": "horse"}


def among(text: str, folders: tuple[str, ...] = FOLDERS) -> tuple[dict[str, str], list[str]]:
    return ClassesFile("names.txt", text).among(folders)


@pytest.mark.parametrize("sign", ["=", " = ", " -> ", "->", " => ", " → "])
def test_signs_between_folders_and_names(sign):
    assert among(f"n02084071{sign}dog\nn02374451{sign}horse\n") == (NAMES, [])
    assert among(f"0{sign}dog, tame\n1{sign}horse\n", ("0", "1")) == ({"0": "dog, tame", "1": "horse"}, [])


def test_numbers_between_folders_and_names():
    names, notes = among("n02084071 1 dog\nn02374451 2 horse\n")
    assert names == NAMES
    assert notes == ["names.txt: names without the numbers in front (dog for 1 dog)"]
    # Where not every name has a number of its own, they belong to the names.
    assert among("a 2 euro\nb 2 pounds\n", ("a", "b"))[0] == {"a": "2 euro", "b": "2 pounds"}


def test_titles_of_any_words():
    names, notes = among("ClassId;SignName\n0;stop\n1;yield\n", ("0", "1"))
    assert names == {"0": "stop", "1": "yield"}
    assert "first row taken for titles (ClassId, SignName)" in notes[0]


@pytest.mark.parametrize(
    ("given", "folder"),
    [("0", "00000"), ("07", "7"), ("hot dog", "hot_dog"), ("Hot_Dog", "hot_dog"), ("hot_dog/", "hot_dog")],
)
def test_folders_that_are_spelled_nearly_so(given, folder):
    names, notes = among(f"{given},one\nother,two\n", (folder, "other"))
    assert names == {folder: "one", "other": "two"}
    assert notes == [f"names.txt: 1 folder was found under another spelling: {folder!r} for {given!r}"]


def test_several_folders_that_are_spelled_nearly_so():
    names, notes = among("hot dog,one\nother,two\n", ("Hot_dog", "hot_dog", "other"))
    assert names == {"other": "two"}
    assert "1 row is of a folder without images: 'hot dog'" in notes[0]


@pytest.mark.parametrize(
    ("text", "labels", "told"),
    [
        ('"dog",\n"ice, cream",\n', ["dog", "ice, cream"], "commas at the ends are left out"),
        ("dog,\nhorse\n", ["dog", "horse"], "commas at the ends are left out"),
        ("'dog'\n'horse'\n", ["dog", "horse"], ""),
        ("'dog'\nhorse's\n", ["'dog'", "horse's"], ""),
        ("1 person\n2 bicycle\n13 stop sign\n", ["person", "bicycle", "stop sign"], "begins with its number"),
        (
            "1: person\n3: bicycle\n13: stop sign\n",
            ["person", "bicycle", "stop sign"],
            "begins with its number",
        ),
        ("airfield 0\nice rink 1\n", ["airfield", "ice rink"], "ends with its number"),
        ("5 euro\n10 euro\n20 euro\n", ["5 euro", "10 euro", "20 euro"], ""),
        ("type 1\ntype 2\n", ["type 1", "type 2"], ""),
        ("boeing 707\nairbus 320\n", ["boeing 707", "airbus 320"], ""),
        (
            "| id | name |\n|---:|:-----|\n| 0 | dog |\n| 1 | horse |\n",
            ["dog", "horse"],
            "labels from 'name'",
        ),
        ('"tench, Tinca tinca"\n', ["tench, Tinca tinca"], ""),
    ],
)
def test_dialects_of_labels(tmp_path: Path, text, labels, told):
    (tmp_path / "labels.txt").write_text(text)
    found, said = read_label_names(tmp_path / "labels.txt")
    assert found == labels
    assert told in said if told else not said


@pytest.mark.parametrize("separator", [", ", ";", " | ", "\t"])
def test_one_line_of_several_labels_is_refused(tmp_path: Path, separator):
    (tmp_path / "labels.txt").write_text(separator.join(["dog", "horse"]))
    with pytest.raises(ConfigError, match="is each part a label"):
        read_label_names(tmp_path / "labels.txt")
