"""Inputs that are lists of files, and tables that name classes and domains too."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from named_files import contents, make, rows

from deltaoe.errors import ConfigError, DataError
from deltaoe.images.inputs import FileList, find_files

pytestmark = pytest.mark.usefixtures("here")


def table(text: str, name: str = "list.csv") -> FileList:
    Path(name).write_text(text, encoding="utf-8", newline="")
    return find_files([name])


# Lists


def test_a_list_is_relative_to_its_folder(here, monkeypatch):
    make("data/images/cat/1.jpg", "data/images/dog/2.jpg", "data/lists/all.txt", "elsewhere/x")
    Path("data/lists/all.txt").write_text("../images/cat/1.jpg\n../images/dog/2.jpg\n")
    assert rows(find_files(["data/lists/all.txt"])) == [
        ("data/images", "cat/1.jpg"),
        ("data/images", "dog/2.jpg"),
    ]
    monkeypatch.chdir("elsewhere")
    files = find_files([f"{here}/data/lists/all.txt"])
    assert rows(files) == [(f"{here}/data/images", "cat/1.jpg"), (f"{here}/data/images", "dog/2.jpg")]
    assert contents(files) == [b"data/images/cat/1.jpg", b"data/images/dog/2.jpg"]


@pytest.mark.parametrize("name", ["list.txt", "list.LST", "-"])
@pytest.mark.parametrize(
    "text",
    [
        "a b.jpg\nä.jpg\n",
        "\ufeffa b.jpg\r\n\r\nä.jpg",
        "\n  \n./a b.jpg\n\nä.jpg\n\n",
        "a b.jpg\0ä.jpg\0",
        "a b.jpg\0ä.jpg",
    ],
)
def test_ways_to_write_a_list(name, text):
    make("a b.jpg", "ä.jpg")
    if name != "-":
        Path(name).write_bytes(text.encode())
    files = find_files([name], stdin=io.BytesIO(text.encode()))
    assert rows(files) == [("", "a b.jpg"), ("", "ä.jpg")]
    assert files.classes is files.domains is None
    assert list(files.size) == [7, 7 - 1]
    assert list(files.mtime_ns) == [os.stat(n).st_mtime_ns for n in ("a b.jpg", "ä.jpg")]


def test_what_a_list_names_and_cannot_be_read_is_a_problem(here):
    make("images/1.jpg", "images/deep/2.jpg")
    lines = [
        "images/1.jpg",
        "images/gone.jpg",
        "images",
        "images/1.jpg/x",
        "images/deep/2.jpg",
        "imges/3.jpg",
    ]
    lines += [str(here / "images/4.jpg"), "n" * 300]
    if hasattr(os, "mkfifo"):
        os.mkfifo("pipe.jpg")
        lines.append("pipe.jpg")
    Path("list.txt").write_text("\n".join(lines))
    files = find_files(["list.txt"])
    named = dict(zip(rows(files), range(len(files)), strict=True))
    reasons = {name: files.problems.get(row) for name, row in named.items()}
    pipe = reasons.pop(("", "pipe.jpg"), "not a regular file")
    long = reasons.pop(next(name for name in reasons if len(name[1]) > 200))
    assert pipe == "not a regular file"
    assert "long" in long
    # A name that is wrong has no say in where the others lie: classes come from there.
    assert {("images", "1.jpg"), ("images", "deep/2.jpg")} == {
        name for name, why in reasons.items() if not why
    }
    paths = {
        files.path(row): why
        for (_, row), why in zip(named.items(), map(files.problems.get, named.values()), strict=True)
    }
    shown = {os.path.relpath(path): why for path, why in paths.items() if len(path) < 200}
    shown.pop("pipe.jpg", None)
    assert shown == {
        "images/1.jpg": None,
        "images/gone.jpg": "no such file or folder",
        "images": "a folder, not a file",
        "images/1.jpg/x": "not a directory",
        "images/deep/2.jpg": None,
        "imges/3.jpg": "no such file or folder",
        "images/4.jpg": "no such file or folder",
    }


def test_a_list_that_names_nothing_that_is_there():
    Path("list.txt").write_text("gone/1.jpg\ngone/2.jpg\n")
    files = find_files(["list.txt"])
    assert rows(files) == [("gone", "1.jpg"), ("gone", "2.jpg")]
    assert set(files.problems) == {0, 1}


def test_a_list_that_names_itself_is_a_file():
    Path("list.txt").write_text("list.txt\n.\n..\n")
    files = find_files(["list.txt"])
    assert rows(files)[0] == ("", "list.txt")
    assert files.problems == {1: "a folder, not a file", 2: "a folder, not a file"}


names = st.binary(min_size=1, max_size=30).filter(
    lambda name: not {b"/"[0], 0} & {*name} and name not in {b".", b".."}
)


@pytest.mark.skipif(os.sep != "/", reason="names of this system are no bytes")
@given(st.lists(names, min_size=1, max_size=8, unique=True), st.booleans())
@example([b"\xfe\xff"], True)  # with the NUL behind it, this could be UTF-16
@settings(deadline=None, max_examples=60)
def test_lists_bring_every_name_back(found, with_nul):
    if not with_nul:
        text = [os.fsdecode(name) for name in found]
        found = [n for n, t in zip(found, text, strict=True) if t.strip() and "\n" not in t and t[-1] != "\r"]
        found.sort(key=lambda name: name.startswith(b"\xef\xbb\xbf"))  # at the start, that is no name
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name in found:
                Path(folder, os.fsdecode(name)).touch()
        except OSError:
            return  # a file system with a taste of its own
        end = b"\0" if with_nul else b"\n"
        data = end.join([os.fsencode(folder) + b"/" + name for name in found] + [b""])
        if not found:
            with pytest.raises(DataError, match="names no files"):
                find_files(["-"], stdin=io.BytesIO(data))
            return
        files = find_files(["-"], stdin=io.BytesIO(data))
        assert [os.fsencode(name) for name in files.relative] == found
        assert files.roots == [folder]
        assert files.problems == {}
        relative = end.join([*found, b""])
        if with_nul or not relative.startswith(b"\xef\xbb\xbf"):
            before = os.getcwd()
            os.chdir(folder)
            try:
                again = find_files(["-"], stdin=io.BytesIO(relative))
            finally:
                os.chdir(before)
            assert [os.fsencode(name) for name in again.relative] == found


def test_progress_is_told():
    told: list[int] = []
    make("images/1.jpg")
    lines = "\n".join(f"{number}.jpg" for number in range(2499))
    assert len(find_files(["images", "-"], stdin=io.BytesIO(lines.encode()), on_found=told.append)) == 2500
    assert told == [1000, 2000]


def test_standard_input_is_read_once():
    make("1.jpg", "2.jpg")
    stdin = io.BytesIO(b"1.jpg\n")
    with pytest.raises(ConfigError, match="twice"):
        find_files(["-", "2.jpg", "-"], stdin=stdin)
    assert rows(find_files(["2.jpg", "-"], stdin=stdin)) == [("", "2.jpg"), ("", "1.jpg")]
    with pytest.raises(DataError, match="standard input names no files"):
        find_files(["-"], stdin=stdin)
    with pytest.raises(ConfigError, match="no standard input"):
        find_files(["-"])


@pytest.mark.parametrize("name", ["list.txt", "list.csv"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-16-le without a mark"])
def test_other_encodings(name, encoding):
    """PowerShell's ``>`` writes UTF-16, and so does Excel's "Unicode text"."""
    make("ä.jpg")
    text = "path\r\nä.jpg\r\n" if name.endswith("csv") else "ä.jpg\r\nä.jpg\r\n"
    text = "\ufeff" + text if encoding == "utf-16-be" else text
    Path(name).write_bytes(text.encode(encoding.split()[0]))
    assert find_files([name]).relative == ["ä.jpg"]


@pytest.mark.parametrize("content", [b"", b"\n\r\n  \n", b"\0\0", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["list.txt", "-"])
def test_an_empty_list(name, content):
    Path("list.txt").write_bytes(content)
    with pytest.raises(DataError, match="names no files") as caught:
        find_files([name], stdin=io.BytesIO(content))
    assert caught.value.hint


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_named_like_a_list_is_not_opened():
    os.mkfifo("list.txt")
    files = find_files(["list.txt"])
    assert (rows(files), files.problems) == ([("", "list.txt")], {0: "not a regular file"})


def test_a_list_that_cannot_be_read(monkeypatch):
    make("list.txt")

    def refuse(path, flags):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DataError, match=r"cannot read list\.txt: permission denied") as caught:
        find_files(["list.txt"])
    assert caught.value.hint


# Tables


@pytest.mark.parametrize("column", ["path", "File", "FILENAME", "filepath", "image", " image_path "])
@pytest.mark.parametrize("kind", ["class", "Class_Name", "label"])
def test_columns_by_any_of_their_names(column, kind):
    make("a/1.jpg", "b/2.jpg")
    files = table(f"split,{column},x,{kind},Domain\ntrain,a/1.jpg,0,tabby cat,photo\ntest,b/2.jpg,1, dog ,\n")
    assert rows(files) == [("", "a/1.jpg"), ("", "b/2.jpg")]
    assert (files.classes, files.domains) == (["tabby cat", "dog"], ["photo", ""])


def test_names_of_classes_are_preferred_to_numbers():
    make("1.jpg")
    assert table("label,path,class_name,image\n3,1.jpg,cat,-\n").classes == ["cat"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", "path,class\nx y.jpg,a\n"),
        ("list.CSV", "\ufeffpath;class\r\nx y.jpg;a\r\n;\r\n"),
        ("list.csv", '"path";"class"\n"x y.jpg";"a"\n'),
        ("list.csv", "path\tclass\nx y.jpg\ta\n"),
        ("list.tsv", "path\tclass\nx y.jpg\ta\n\n"),
        ("list.tsv", "path,class\nx y.jpg,a"),
        ("list.csv", '\n,\npath,class\n,\n"x y.jpg",a\n , \n'),
    ],
)
def test_separators_quotes_and_rows_of_nothing(name, text):
    make("x y.jpg")
    files = table(text, name)
    assert (files.relative, files.classes, files.domains) == (["x y.jpg"], ["a"], None)


@pytest.mark.skipif(os.sep != "/", reason="this system has no such names")
def test_hostile_names_in_a_table():
    hostile = [
        "two\nlines.jpg",
        'quote".jpg',
        "comma,.jpg",
        "caf\udce9.jpg",
        "<script>.jpg",
        " blank.jpg",
        "semi;.jpg",
    ]
    make(*hostile)
    cells = ['"' + name.replace('"', '""') + '"' for name in hostile]
    Path("list.csv").write_text("path\n" + "\n".join(cells), encoding="utf-8", errors="surrogateescape")
    files = find_files(["list.csv"])
    assert files.relative == hostile
    assert contents(files) == [os.fsencode(name) for name in hostile]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,class\n1,a\n", r"list\.csv, line 1: there is no column of paths \(only: name, class\)"),
        ("1,a\n2,b\n", r"line 1: there is no column of paths \(only: 1, a\)"),
        ("", r"line 1: there is no column of paths$"),
        ("path,class\n1.jpg,a\n2.jpg\n", r"list\.csv, line 3: 1 cells under a header of 2"),
        ("path,class\n1.jpg,a,b\n", r"line 2: 3 cells"),
        ('path,class\n"1\n.jpg",a\n"2.jpg,b\n', r"line 4: unexpected end of data"),
        ("path,class\n1.jpg,a\n,b\n", r"line 3: no path"),
        ("path,class\n", r"list\.csv names no files"),
        ("path\n" + "x" * 200_000, r"line 2: field larger"),
    ],
)
def test_wrong_tables(text, message):
    make("1.jpg", "2.jpg")
    with pytest.raises(DataError, match=message) as caught:
        table(text)
    assert caught.value.hint


def test_files_beside_a_table_have_no_class():
    make("1.jpg", "2.jpg", "images/3.jpg", "list.csv", "other.csv")
    Path("list.csv").write_text("path,class\n1.jpg,cat\ngone.jpg,dog\n")
    Path("other.csv").write_text("path,domain\n2.jpg,sketch\n")
    files = find_files(["images", "list.csv", "other.csv"])
    assert files.relative == ["3.jpg", "1.jpg", "gone.jpg", "2.jpg"]
    assert (files.classes, files.domains) == (["", "cat", "dog", ""], ["", "", "", "sketch"])
    assert files.problems == {2: "no such file or folder"}
    assert find_files(["images"]).classes is None
    assert table("path,class\n1.jpg,\n").classes == [""]


def test_a_path_with_a_nul_in_a_table():
    Path("list.csv").write_bytes(b"path,class\na\0b.jpg,x\n")
    files = find_files(["list.csv"])
    assert (files.problems, files.classes) == ({0: "not a possible file name"}, ["x"])
