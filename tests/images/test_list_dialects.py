"""The same list in every dialect that programs write it in, and what each column is taken for."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaoe.errors import ConfigError, DataError
from deltaoe.images.lists import Wanted, read_list

words = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=8)
named = st.tuples(words, words).map(" ".join).filter(lambda name: not re.fullmatch(r"[\d.\s+-]*", name))


@given(
    files=st.dictionaries(words.map(lambda w: f"a {w}/{w}.jpg"), named, min_size=2, max_size=8),
    separator=st.sampled_from(",;\t|"),
    suffix=st.sampled_from([".csv", ".tsv", ".txt"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    titles=st.sampled_from(
        [
            ("path", "class", "split"),
            ("File Name", "Category", "Subset"),
            ("img", "breed", "fold"),
            ("x1", "x2", "x3"),
        ]
    ),
    index=st.booleans(),
    order=st.permutations([0, 1, 2]),
)
@settings(deadline=None, max_examples=150)
def test_any_table_is_read_back(files, separator, suffix, encoding, end, quoting, titles, index, order):
    """As the csv module and pandas write it, with or without the column in which rows are counted."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting)
    splits = ["train" if place % 2 else "test" for place in range(len(files))]
    rows = [
        titles,
        *((path, label, split) for (path, label), split in zip(files.items(), splits, strict=True)),
    ]
    for place, row in enumerate(rows):
        writer.writerow([*([place - 1 if place else ""] if index else []), *(row[i] for i in order)])
    found = read_list("l", text.getvalue().encode(encoding), suffix)
    assert found.paths == list(files)
    assert found.classes == list(files.values())
    assert found.splits == splits


@pytest.mark.parametrize(
    "text",
    [
        "a b.jpg dog\nc.jpg tabby cat\n",
        "a b.jpg\tdog\nc.jpg\ttabby cat\n",
        "a b.jpg,dog\nc.jpg,tabby cat\n",
        "a b.jpg;dog;\nc.jpg;tabby cat;\n",
        "path,class\na b.jpg,dog\nc.jpg,tabby cat\n",
        "image;species;w;h\na b.jpg;dog;3;4\nc.jpg;tabby cat;3;4\n",
        "sep=|\r\nfile|label\r\na b.jpg|dog\r\nc.jpg|tabby cat\r\n",
        '"file","label"\n"1","a b.jpg","dog"\n"2","c.jpg","tabby cat"\n',
        'file, label\na b.jpg, dog\nc.jpg, "tabby cat"\n',
        "0\ta b.jpg\tdog\n1\tc.jpg\ttabby cat\n",
        "naam;soort\na b.jpg;dog\nc.jpg;tabby cat\n",
        "label,filename,label_name\n3,a b.jpg,dog\n1,c.jpg,tabby cat\n",
        "filename,label,what\na b.jpg,1,dog\nc.jpg,0,tabby cat\n",
        "image,dog,tabby cat\na b.jpg,1,0\nc.jpg,0.0,1.0\n",
        "path,url,class\na b.jpg,https://a.org/b.jpg,dog\nc.jpg,https://a.org/c.jpg,tabby cat\n",
        "\r\n\r\npath,class\r\na b.jpg,dog\r\n,\r\nc.jpg,tabby cat\r\n,\r\n",
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".txt"])
def test_dialects(text, suffix):
    if suffix == ".csv" and text.startswith("a b.jpg dog"):
        suffix = ".lst"
    found = read_list("l", text.encode(), suffix)
    assert (found.paths, found.classes) == (["a b.jpg", "c.jpg"], ["dog", "tabby cat"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,class,domain,split\na.jpg,dog,photo,test\n", []),
        ("filename,category\na.jpg,dog\n", ["paths from 'filename', classes from 'category'"]),
        (
            "path,class,width,height,note\na.jpg,dog,1,2,x\n",
            ["paths from 'path', classes from 'class'; not used: width, height, note"],
        ),
        ("path,width\na.jpg,1\n", ["paths from 'path', no classes (folders say them); not used: width"]),
        ("a.jpg,dog\nb.jpg,cat\n", ["no header; paths from 'column 1', classes from 'column 2'"]),
        (
            "path,fold\na.jpg,1\nb.jpg,2\n",
            ["paths from 'path', no classes (folders say them); not used: fold"],
        ),
    ],
)
def test_what_is_said(text, said):
    assert read_list("l.csv", text.encode(), ".csv").assumed == [f"l.csv: {one}" for one in said]


def test_splits_by_any_usual_name():
    text = "path,class,Partition\na.jpg,x,Training\nb.jpg,x,dev\nc.jpg,x,held-out\nd.jpg,x,\ne.jpg,x,other\n"
    found = read_list("l.csv", text.encode(), ".csv")
    assert found.splits == ["train", "val", "test", "", ""]
    assert "no split is meant by 'other' in 'Partition'" in found.notes[-1]


def test_the_user_says_which_column():
    text = b"path,colour,shape\na.jpg,red,round\nb.jpg,blue,square\nc.jpg,red,square\n"
    with pytest.raises(DataError, match=r"could be the classes: colour \(red, blue\); shape") as caught:
        read_list("l.csv", text, ".csv")
    assert "--label-column colour" in caught.value.hint
    assert read_list("l.csv", text, ".csv", Wanted(label_column="Shape")).classes == [
        "round",
        "square",
        "square",
    ]
    assert read_list("l.csv", text, ".csv", Wanted(label_column="none")).classes is None
    assert read_list("l.csv", text, ".csv", Wanted(labels=False)).classes is None
    with pytest.raises(ConfigError, match="no column 'size'"):
        read_list("l.csv", text, ".csv", Wanted(label_column="size"))


@pytest.mark.parametrize(
    "columns", ["class,order,family,genus,species", "genus,species", "species,breed", "label,target"]
)
def test_several_columns_of_names_are_asked_about(columns):
    width = columns.count(",") + 1
    rows = [f"{i}.jpg," + ",".join(f"{'ab'[(i >> k) % 2]}{k}" for k in range(width)) for i in range(8)]
    with pytest.raises(DataError, match="several columns could be the classes"):
        read_list("l.csv", "\n".join([f"path,{columns}", *rows]).encode(), ".csv")


@pytest.mark.parametrize(
    ("suffix", "text", "kind"),
    [
        (".txt", "0 0.5 0.5 0.1 0.1\n", "a YOLO label file"),
        (".txt", "1 0.1 0.2 0.3 0.4 0.5 0.6\n0 .1 .2 .3 .4 .5 .6\n", "a YOLO label file"),
        (".txt", "2007_000027 -1\n2007_000032  1\n", "an image set of Pascal VOC"),
        (".txt", '{"a.jpg": "dog"}', "a JSON file"),
        (".csv", '[{"file": "a.jpg", "label": "dog"}]', "a JSON file"),
        (".txt", "<annotation><filename>a.jpg</filename></annotation>", "annotations by Pascal VOC"),
        (".csv", "<!DOCTYPE html><html></html>", "a web page"),
        (".txt", "train: ../train\nval: ../val\nnc: 2\nnames: [dog, cat]\n", "YOLO's description"),
    ],
)
def test_other_formats_by_name(suffix, text, kind):
    with pytest.raises(DataError, match=kind) as caught:
        read_list("l", text.encode(), suffix)
    assert caught.value.hint


@pytest.mark.parametrize(
    "lines",
    [
        ["[2024] a.jpg", "[2024] b.jpg"],
        ["{x}.jpg"],
        ["<script>.jpg"],
        ["a,b.jpg", "c,d.jpg"],
        ["path.jpg", "class.jpg"],
        ["- a.jpg", "b.jpg"],
        ["a.jpg copy.jpg", "b.jpg"],
        ["no suffix", "a b"],
    ],
)
def test_paths_that_look_like_something_else(lines):
    found = read_list("l", "\n".join(lines).encode(), ".txt")
    assert (found.paths, found.classes, found.is_table) == (lines, None, False)


def test_a_line_that_is_a_file_is_no_row():
    text = b"a.jpg dog\nb.jpg cat\n"
    assert read_list("l", text, ".txt").is_table
    assert read_list("l", text, ".txt", exists=lambda path: path == "b.jpg cat").paths == [
        "a.jpg dog",
        "b.jpg cat",
    ]


pieces = b"path class , ; | \" ' a.jpg 0.5 { [ < -1 : names ---".split(b" ")
pieces += [b" ", b"\t", b"\n", b"\r", b"\xff", b"\xff\xfe", b"\0", b"sep=;\n"]
damaged = st.lists(st.sampled_from(pieces), max_size=40).map(b"".join)


@given(damaged, st.sampled_from([".csv", ".tsv", ".txt", ".lst", ""]))
@settings(deadline=None, max_examples=400)
def test_any_bytes_are_read_or_refused(data, suffix):
    try:
        found = read_list("l", data, suffix)
    except (DataError, ConfigError) as error:
        assert error.hint
    else:
        assert found.paths
        for column in (found.classes, found.domains, found.splits):
            assert column is None or len(column) == len(found.paths)
