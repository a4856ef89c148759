"""Lists of class names in the dialects that people have."""

from __future__ import annotations

import csv
import io
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltaoe.errors import ConfigError
from deltaoe.images.label_files import is_name_file
from deltaoe.images.labels import read_labels

LABELS = ("tabby cat", "dog", "ant, red")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.txt", "tabby cat\ndog\nant, red\n"),
        ("l.names", "\ufefftabby_cat \r\n\r\n dog\r\nant, red"),
        ("l", '"tabby cat"\n"dog"\n"ant, red"\n'),
        ("l.csv", 'tabby cat\ndog\n"ant, red"\n'),
        ("l.csv", 'label\ntabby cat\ndog\n"ant, red"\n'),
        ("l.csv", '0,tabby cat\n1,dog\n2,"ant, red"\n'),
        ("l.csv", '1,dog\n0,tabby cat\n2,"ant, red"\n'),
        ("l.csv", "class_id;class_name\n1;tabby cat\n2;dog\n3;ant, red\n"),
        ("l.csv", 'tabby cat,0\ndog,1\n"ant, red",2\n'),
        ("l.csv", 'name,supercategory,id\ntabby cat,animal,1\ndog,animal,2\n"ant, red",insect,3\n'),
        ("l.txt", "0 tabby cat\n1 dog\n2 ant, red\n"),
        ("l.txt", "0: tabby cat\n1: dog\n2: ant, red\n"),
        ("l.txt", "1. tabby cat\n2. dog\n3. ant, red\n"),
        ("l.tsv", "n02123045\ttabby cat\nn02084071\tdog\nn02219486\tant, red\n"),
        ("words.txt", "n02123045\ttabby cat\nn02084071\tdog\nn02219486\tant, red\n"),
        ("map.txt", "n02123045 tabby cat\nn02084071 dog\nn02219486 ant, red\n"),
        ("l.csv", 'path,class\na.jpg,tabby cat\nb.jpg,dog\nc.jpg,dog\nd.jpg,"ant, red"\n'),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_dialects(tmp_path, name, text, encoding):
    (tmp_path / name).write_bytes(text.encode(encoding))
    assert read_labels(tmp_path / name) == LABELS


words = st.text(st.characters(codec="utf-8", categories=("L",)), min_size=1, max_size=8)


@given(
    st.lists(st.tuples(words, words).map(" ".join), min_size=2, max_size=6, unique=True),
    st.sampled_from(",;\t|"),
    st.sampled_from([None, "id,name", "class_index,class_name"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    st.sampled_from([0, 1]),
)
@settings(deadline=None, max_examples=60)
def test_numbered_tables_are_read_back(tmp_path_factory, labels, separator, header, quoting, start):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, quoting=quoting)
    if header:
        writer.writerow(header.split(","))
    writer.writerows(enumerate(labels, start=start))
    path = tmp_path_factory.mktemp("labels") / "l.csv"
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    assert read_labels(path) == tuple(labels)


def test_labels_keep_the_order_of_the_file(tmp_path):
    (tmp_path / "l.txt").write_bytes("\ufeff zebra\r\n\r\nпёс\nant, red  \n7 up\n\n".encode())
    assert read_labels(tmp_path / "l.txt") == ("zebra", "пёс", "ant, red", "7 up")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("l.txt", "", "no labels"),
        ("l.txt", " \n\n", "no labels"),
        ("l.txt", "a\nb\n a\n", "'a' twice"),
        ("l.txt", "hot dog\nhot dog\n", "'hot dog' twice"),
        ("l.json", '["dog", "horse"]', "is a JSON file, not a list of names"),
        ("l.txt", '["dog", "horse"]', "is a JSON file"),
        ("l.txt", '{"dog": 0, "horse": 1}', "is a JSON file"),
        ("l.txt", "{0: 'tench, Tinca tinca',\n 1: 'goldfish'}", "a dictionary (JSON or Python)"),
        ("l.json", '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "dog"}]}', "COCO"),
        ("l.jsonl", '{"label": "dog"}\n{"label": "cat"}\n', "is a JSON file"),
        ("l.yaml", "names:\n  0: dog\n  1: horse\n", "YOLO's description"),
        ("l.yml", "classes: [dog, horse]\n", "is a YAML file"),
        ("l.txt", "- dog\n- horse\n", "is a YAML file"),
        ("l.txt", "nc: 2\nnames: [dog, horse]\n", "YOLO's description"),
        ("l.xml", "<annotation><object><name>dog</name></object></annotation>", "Pascal VOC"),
        ("l.pbtxt", "item {\n  id: 1\n  name: 'dog'\n}\n", "label map of TensorFlow"),
        ("l.txt", "item {\n  id: 1\n  name: 'dog'\n}\n", "label map of TensorFlow"),
        ("l.txt", "0 0.5 0.5 0.1 0.1\n1 0.2 0.2 0.1 0.3\n", "YOLO label file"),
        ("l.xlsx", "PK\x03\x04", "is a spreadsheet"),
        ("l.txt", "dog, horse, cat\n", "one line with commas"),
        ("l.csv", "dog\nant, red\n", "line 2: 2 cells"),
        ("l.csv", "dog,cat\nant,bee\n", "several columns"),
        ("l.csv", "0,1\n1,2\n", "no column could be the labels"),
    ],
)
def test_labels_that_make_no_sense(tmp_path, name, text, says):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        read_labels(tmp_path / name)
    assert caught.value.hint


def test_unreadable_files(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        read_labels(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="cannot read"):
        read_labels(tmp_path)
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_labels(tmp_path / "latin")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.txt")
        with pytest.raises(ConfigError, match="not a regular file"):
            read_labels(tmp_path / "pipe.txt")


def test_names_and_features_are_told_apart():
    assert all(map(is_name_file, ["words.txt", "w.csv", "w.json", "words"]))
    assert not any(map(is_name_file, ["w.npz", "w.h5", "w.parquet", "w.npy"]))
