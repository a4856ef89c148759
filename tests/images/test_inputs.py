"""What inputs of every kind name: lists, tables, globs, single files, and what is said of those that name nothing."""

from __future__ import annotations

import glob
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from deltaoe.errors import ConfigError, DataError
from deltaoe.images.inputs import FileList, Ignored, find_files
from deltaoe.images.walk import SUFFIXES


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(os.fsencode(name))


def link(name: str, target: str) -> None:
    try:
        os.symlink(target, name, target_is_directory=os.path.isdir(target))
    except OSError:
        pytest.skip("this system makes no symbolic links")


def rows(files: FileList) -> list[tuple[str, str]]:
    """(root, relative) of each file."""
    return [(files.roots[root], name) for root, name in zip(files.root_of, files.relative, strict=True)]


def contents(files: FileList) -> list[bytes]:
    return [Path(files.path(row)).read_bytes() for row in range(len(files)) if row not in files.problems]


def table(text: str, name: str = "list.csv") -> FileList:
    Path(name).write_text(text, encoding="utf-8", newline="")
    return find_files([name])


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


def test_a_class_goes_with_the_first_naming():
    make("1.jpg", "2.jpg", "a.csv", "b.csv")
    Path("a.csv").write_text("path,class\n2.jpg,cat\n")
    Path("b.csv").write_text("path,domain,class\n2.jpg,sketch,dog\n1.jpg,photo,dog\n")
    files = find_files(["a.csv", "b.csv"])
    assert (files.relative, files.classes, files.domains) == (
        ["2.jpg", "1.jpg"],
        ["cat", "dog"],
        ["", "photo"],
    )
    assert files.ignored.repeated == 1


def test_a_link_is_a_name_of_its_own():
    make("a/1.jpg")
    link("b", "a")
    assert rows(find_files(["a", "b"])) == [("a", "1.jpg"), ("b", "1.jpg")]


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
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf_16_is_named(name, encoding):
    """PowerShell's ``>`` writes it."""
    text = "path\na.jpg\n" if encoding == "utf-16" else "\ufeffpath\na.jpg\n"
    Path(name).write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match=f"{name} is UTF-16") as caught:
        find_files([name])
    assert "UTF-8" in caught.value.hint


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

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
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
        ("name,class\n1.jpg,a\n", r"list\.csv, line 1: there is no column of paths \(only: name, class\)"),
        ("1.jpg,a\n2.jpg,b\n", r"line 1: there is no column of paths"),
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


# Globs


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
    with pytest.raises(DataError, match=r"cannot list .*locked: permission denied"):
        find_files(["**/*.jpg"])


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
    with pytest.raises(DataError, match=r"no images in empty \(2 other files, 1 hidden entries\)") as caught:
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
