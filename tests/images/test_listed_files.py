"""Where the files of a list are found when they do not lie exactly where it says."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from named_files import contents, make

from deltaoe.errors import ConfigError, DataError
from deltaoe.images.inputs import find_files
from deltaoe.images.lists import Wanted

pytestmark = [
    pytest.mark.usefixtures("here"),
    pytest.mark.skipif(os.sep != "/", reason="names and separators of POSIX"),
]


def listed(text: str, name: str = "list.csv"):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, encoding="utf-8", newline="")
    return find_files([name])


def test_ids_without_a_suffix():
    """As Kaggle lists dog breeds; next to the list or below."""
    make(
        "data/000bec.jpg",
        "data/train/0123.PNG",
        "data/train/deep/0456.jpeg",
        "data/twice/7.jpg",
        "data/twice/7.png",
    )
    files = listed(
        "id,breed\n000bec,a\n0123,b\n0456,c\ntrain/0123,b\ntwice/7,d\n7,d\n8,e\n", "data/labels.csv"
    )
    found = [row for row in range(len(files)) if row not in files.problems]
    assert [files.path(row) for row in found] == [
        "data/000bec.jpg",
        "data/train/0123.PNG",
        "data/train/deep/0456.jpeg",
    ]
    assert [files.classes[row] for row in found] == ["a", "b", "c"]
    assert sorted(files.problems.values()) == [
        "no such file or folder",
        "no such file, but 2 could be meant: data/twice/7.jpg, data/twice/7.png",
        "no such file, but 2 could be meant: data/twice/7.jpg, data/twice/7.png",
    ]
    assert any(
        "2 files were found with the suffix of an image: data/000bec.jpg for 000bec" in n for n in files.notes
    )
    assert any("2 files were found in folders below the list's" in note for note in files.notes)


def test_a_file_of_exactly_that_name_comes_first():
    make("7", "7.jpg", "a.jpg", "deep/a.jpg")
    files = listed("id,label\n7,x\na.jpg,y\n")
    assert contents(files) == [b"7", b"a.jpg"]
    assert not [note for note in files.notes if "found" in note]


def test_paths_from_the_current_folder():
    make("images/cat/1.jpg", "images/dog/2.jpg", "lists/gone.jpg")
    files = listed("path,class\nimages/cat/1.jpg,cat\nimages/dog/2.jpg,dog\n", "lists/all.csv")
    assert contents(files) == [b"images/cat/1.jpg", b"images/dog/2.jpg"]
    assert files.notes == ["lists/all.csv: its paths are relative to the current folder, not to the list's"]
    # One that lies beside the list is enough for all to be looked for there.
    make("lists/images/cat/1.jpg")
    files = listed("path,class\nimages/cat/1.jpg,cat\nimages/dog/2.jpg,dog\n", "lists/all.csv")
    assert (contents(files), list(files.problems)) == ([b"lists/images/cat/1.jpg"], [1])


def test_backslashes_and_blanks():
    make("train/dog/1.jpg", "train/dog/2.jpg", "a\\b.jpg")
    files = listed("path,class\ntrain\\dog\\1.jpg,dog\n train/dog/2.jpg ,dog\na\\b.jpg,cat\n")
    assert contents(files) == [b"train/dog/1.jpg", b"train/dog/2.jpg", b"a\\b.jpg"]
    assert len([note for note in files.notes if "found with" in note]) == 2


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("name", ["list.csv", "list.txt"])
def test_other_normal_forms(form, name):
    def there(text: str) -> str:
        return unicodedata.normalize(form, text)

    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    make(there("café/été.jpg"), there("naïve.jpg"))
    lines = ["café/été.jpg", "naïve.jpg"]
    text = "\n".join([*(["path"] if name.endswith("csv") else []), *lines])
    files = listed(unicodedata.normalize(other, text), name)
    assert files.problems == {}
    assert contents(files) == [os.fsencode(there(line)) for line in lines]
    assert "2 files were found under another spelling" in files.notes[0]


def test_two_folders_of_either_normal_form_stay_two():
    nfc, nfd = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    make(f"{nfc}/1.jpg", f"{nfd}/1.jpg")
    files = listed(f"path,class\n{nfc}/1.jpg,a\n{nfd}/1.jpg,b\n")
    assert files.classes == ["a", "b"]
    assert contents(files) == [os.fsencode(f"{nfc}/1.jpg"), os.fsencode(f"{nfd}/1.jpg")]
    mixed = unicodedata.normalize("NFD", "éé").replace("e\u0301", "é", 1)  # neither
    make(f"{nfc}{nfc}.jpg", f"{nfd}{nfd}.jpg")
    files = listed(f"path\n{mixed}.jpg\n")
    assert "2 could be meant" in files.problems[0]


def test_underscores_are_blanks_as_in_folders():
    make("1.jpg", "2.jpg")
    assert listed("path,class\n1.jpg,hot_dog\n2.jpg,hot  dog\n").classes == ["hot dog", "hot dog"]


def test_formats_that_are_no_lists():
    Path("coco.json").write_text('{"images": [], "annotations": [], "categories": []}')
    Path("data.yaml").write_text("names: [a]\nnc: 1\n")
    Path("a.xlsx").write_bytes(b"PK\x03\x04")
    for name, kind in (("coco.json", "COCO"), ("data.yaml", "YOLO"), ("a.xlsx", "spreadsheet")):
        with pytest.raises(DataError, match=f"{name} is .*{kind}") as caught:
            find_files([name])
        assert caught.value.hint


def test_a_column_needs_a_table():
    make("images/1.jpg")
    with pytest.raises(ConfigError, match="no input is a table"):
        find_files(["images"], wanted=Wanted(label_column="class"))
