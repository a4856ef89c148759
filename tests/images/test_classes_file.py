"""Files of names for class folders, in the dialects that people have."""

from __future__ import annotations

import csv
import io
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaoe.errors import ConfigError
from deltaoe.images.classes_file import ClassesFile

FOLDERS = {"n01", "n02", "n03"}
NAMES = {"n01": "tabby cat", "n02": "dog"}


def read(data: bytes, folders=FOLDERS, name="c.csv", tmp_path=None):
    (tmp_path / name).write_bytes(data)
    return ClassesFile.read(tmp_path / name).among(folders)


@pytest.mark.parametrize("name", ["c.csv", "c.txt", "c.tsv", "c"])
@pytest.mark.parametrize(
    "text",
    [
        "n01,tabby cat\nn02,dog\n",
        "folder,name\nn01,tabby cat\nn02,dog",
        "\ufeffFolder, Name\r\n\r\n n01 , tabby cat \r\nn02,dog\r\n , \r\n",
        '"n01","tabby cat"\n"n02",dog\n',
        "folder;name\r\nn01;tabby cat\r\nn02;dog\r\n",
        "n01\ttabby cat\nn02\tdog\n",
        "class|label\nn01|tabby cat\nn02|dog\n",
        "n01 tabby cat\nn02 dog\n",
        "n01\t tabby cat\r\rn02\t dog\r",
        "sep=;\r\nn01;tabby cat\r\nn02;dog\r\n",
        "n01,tabby cat,\nn02,dog,\n",
        "wnid;id;words\nn01;1;tabby cat\nn02;2;dog\n",
        "name,folder\ntabby cat,n01\ndog,n02\n",
        "tabby cat,n01\ndog,n02\n",
        "n01,tabby cat\nn01,tabby cat\nn02,dog\n",
        "n01,tabby cat\nn02,dog\nn09,absent\n",
        "'n01','tabby cat'\n'n02','dog'\n",
        'n01, "tabby cat"\nn02, "dog"\n',
    ],
)
def test_dialects(tmp_path, text, name):
    assert read(text.encode(), name=name, tmp_path=tmp_path)[0] == NAMES


def test_a_synset_mapping_keeps_its_commas(tmp_path):
    text = "n01 tench, Tinca tinca\nn02 goldfish, Carassius auratus\nn03 crane, a bird\n"
    found, notes = read(text.encode(), name="LOC_synset_mapping.txt", tmp_path=tmp_path)
    assert found == {
        "n01": "tench, Tinca tinca",
        "n02": "goldfish, Carassius auratus",
        "n03": "crane, a bird",
    }
    assert notes == []


def test_a_name_with_a_comma_and_a_late_header(tmp_path):
    found, _ = read(b'n01,"cat, tabby"\nfolder,name\n', {"n01", "folder"}, tmp_path=tmp_path)
    assert found == {"n01": "cat, tabby", "folder": "name"}


def test_what_is_said(tmp_path):
    _, notes = read(b"tabby cat,n01\ndog,n02\nwolf,n22\n", tmp_path=tmp_path)
    assert notes == [
        f"{tmp_path / 'c.csv'}: folders in column 2, names in column 1",
        f"{tmp_path / 'c.csv'}: 1 row is of a folder without images: 'n22' (did you mean 'n03'?)",
    ] or notes[1].startswith(f"{tmp_path / 'c.csv'}: 1 row is of a folder without images: 'n22'")


cells = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), min_size=1, max_size=12
)


@given(
    st.dictionaries(
        cells.map(lambda cell: f"f{cell}"), cells.map(lambda cell: f"a {cell} b"), min_size=2, max_size=6
    ),
    st.sampled_from(",;\t|"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
@settings(deadline=None, max_examples=80)
def test_any_table_by_the_csv_module_is_read_back(names, separator, encoding, end, header, quoting):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writerows([["folder", "name"]] if header else [])
    writer.writerows(names.items())
    from deltaoe.images.text_files import decoded

    found, notes = ClassesFile("c", decoded("c", text.getvalue().encode(encoding))).among(names)
    assert found == {folder: name.strip() for folder, name in names.items()}
    assert notes == []


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_folders_in_another_normal_form(tmp_path, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    there = unicodedata.normalize(form, "café")
    text = unicodedata.normalize(other, "café,coffee house\n").encode()
    assert read(text, {there, "bar"}, tmp_path=tmp_path)[0] == {there: "coffee house"}
    both = {unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")}
    exact = unicodedata.normalize(other, "café")
    assert read(text, both, tmp_path=tmp_path)[0] == {exact: "coffee house"}  # never both


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("n01,tabby cat\nn02\n", "line 2: expected two cells"),
        ("n02,cat\nn01,cat,extra\n", "line 2: expected two cells, folder and name, and found 3 cells"),
        ("n01,\n", "line 1: expected two cells"),
        (",cat\n", "line 1: expected two cells"),
        ("n01,b\n\nn01,c\n", "line 3: folder 'n01' is named twice"),
        ("", "names no folder"),
        ("folder,name\n\n", "names no folder"),
        ('n01,"tabby cat\nn02,dog\n', "line 2"),
        ("n01," + "x" * 200_000, "line 1"),
        (
            "x,cat\ny,dog\n",
            "names no folder that holds images: 'x', 'y' (read with commas between the cells)",
        ),
        ("n0,n01\n", "names no folder that holds images: 'n0'"),
        ('{"n01": "tabby cat"}', "is a JSON file"),
        ('{"0": ["n01440764", "tench"]}', "is a JSON file"),
        ("n01: tabby cat\nn02: dog\n", ""),
        ("---\nn01: tabby cat\n", "is a YAML file"),
        ("names:\n  0: dog\nnc: 1\n", "is YOLO's"),
        ("<annotations><meta/></annotations>", "annotations by CVAT"),
    ],
)
def test_what_makes_no_sense(tmp_path, text, says):
    with pytest.raises(ConfigError) as caught:
        read(text.encode(), tmp_path=tmp_path)
    assert str(tmp_path / "c.csv") in str(caught.value)
    assert says in str(caught.value)
    assert caught.value.hint


def test_unreadable_files(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        ClassesFile.read(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="cannot read"):
        ClassesFile.read(tmp_path)
    (tmp_path / "latin").write_bytes(b"caf\xe9,x\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        ClassesFile.read(tmp_path / "latin")
