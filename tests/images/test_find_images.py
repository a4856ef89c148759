"""Which files a walk finds, in which order, and what it says about the others."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from deltaoe.errors import DataError
from deltaoe.images.decode import ImageError, read_bytes
from deltaoe.images.inputs import FileList, Ignored, find_files
from deltaoe.images.walk import SUFFIXES


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def listed(root: Path) -> FileList:
    return find_files([str(root)])


def found(root: Path) -> list[str]:
    return listed(root).relative


def fates(files: FileList) -> list[tuple[str, str | None]]:
    return [(relative, files.problems.get(row)) for row, relative in enumerate(files.relative)]


@pytest.fixture
def needs_links(tmp_path: Path) -> None:
    try:
        (tmp_path / "probe").symlink_to("nowhere")
    except OSError:
        pytest.skip("this system makes no symbolic links")
    (tmp_path / "probe").unlink()


def test_order_is_by_name_depth_first(tmp_path):
    make(tmp_path, "b/2.png", "c.png", "b.png", "B/1.png", "b/10.png", "a/z/1.png", "a/b.png", "ä.png")
    wanted = ["B/1.png", "a/b.png", "a/z/1.png", "b/10.png", "b/2.png", "b.png", "c.png", "ä.png"]
    assert found(tmp_path) == wanted


def test_order_does_not_depend_on_the_disk(tmp_path, monkeypatch):
    make(tmp_path, *(f"{i}/{j}.png" for i in range(5) for j in range(5)))
    first, real = found(tmp_path), os.scandir

    class Backwards:
        def __init__(self, folder):
            with real(folder) as listing:
                self._entries = sorted(listing, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return iter(self._entries)

        def __exit__(self, *details):
            return None

    monkeypatch.setattr(os, "scandir", Backwards)
    assert found(tmp_path) == first == sorted(first)


def test_a_file_is_described_as_it_is(tmp_path):
    make(tmp_path, "cat/1.png")
    os.utime(tmp_path / "cat/1.png", ns=(1, 1_700_000_000_123_456_789))
    files = listed(tmp_path)
    assert len(files) == 1
    assert files.roots == [str(tmp_path)]
    assert files.path(0) == str(tmp_path / "cat/1.png")
    assert (files.relative, list(files.size), files.problems) == (["cat/1.png"], [len("cat/1.png")], {})
    assert list(files.mtime_ns) == [(tmp_path / "cat/1.png").stat().st_mtime_ns]


def test_times_beyond_64_bits_of_nanoseconds_differ_still(tmp_path):
    """They end in the year 2262; a camera with a broken clock, or a file system, does not."""
    make(tmp_path, "1.png", "2.png")
    late = [2**63 + 10**9, 2**63 + 2 * 10**9]
    for name, when in zip(("1.png", "2.png"), late, strict=True):
        os.utime(tmp_path / name, ns=(0, when))
        if (tmp_path / name).stat().st_mtime_ns != when:
            pytest.skip("this file system's time ends earlier")
    assert [when % 2**64 for when in listed(tmp_path).mtime_ns] == late


def test_suffixes_count_in_any_case(tmp_path):
    names = sorted(f"{i}{suffix}" for i, suffix in enumerate(sorted(SUFFIXES)))
    make(tmp_path, *names, *(f"up{name}".upper() for name in names))
    assert len(found(tmp_path)) == 2 * len(SUFFIXES)
    make(tmp_path, "x.JpEg")
    assert "x.JpEg" in found(tmp_path)


def test_everything_else_is_counted(tmp_path):
    make(tmp_path, "a.png", "notes.txt", "archive.png.zip", "png", "c/.DS_Store", ".hidden.png", ".git/x.png")
    make(tmp_path, "__MACOSX/a.png", "c/@eaDir/b.png", "c/Thumbs.db", ".png")
    assert found(tmp_path) == ["a.png"]
    assert listed(tmp_path).ignored == Ignored(hidden=6, other_files=4)
    make(tmp_path, "System Volume Information/a.png", "c/lost+found/b.png", "$RECYCLE.BIN/a.png", "._a.png")
    make(tmp_path, ".thumbnails/a.png")
    assert found(tmp_path) == ["a.png"]
    assert listed(tmp_path).ignored == Ignored(hidden=11, other_files=4)


def test_a_folder_named_like_a_picture_is_a_folder(tmp_path):
    make(tmp_path, "x.jpg/1.png")
    (tmp_path / "empty.png").mkdir()
    assert found(tmp_path) == ["x.jpg/1.png"]


def test_a_folder_deeper_than_the_recursion_limit(tmp_path, monkeypatch):
    assert sys.getrecursionlimit() < 1200
    monkeypatch.chdir(tmp_path)
    depth = 0
    try:
        try:
            for _ in range(1200):  # step by step: the time for a path grows with its length
                os.mkdir("d")
                os.chdir("d")
                depth += 1
            Path("1.png").touch()
            os.stat(tmp_path.joinpath(*["d"] * depth, "1.png"))
        except OSError as cause:
            pytest.skip(f"this system has shorter paths: {cause}")
        os.chdir(tmp_path)
        files = find_files(["."])
        assert files.roots == [""]
        assert files.relative == ["d/" * depth + "1.png"]
        assert os.path.isfile(files.path(0))
    finally:  # pytest's own clean-up recurses
        os.chdir(tmp_path.joinpath(*["d"] * depth))
        Path("1.png").unlink(missing_ok=True)
        for _ in range(depth):
            os.chdir("..")
            os.rmdir("d")


# Links


@pytest.mark.usefixtures("needs_links")
def test_links_to_files_and_class_folders_are_followed(tmp_path):
    make(tmp_path, "elsewhere/cats/1.png", "elsewhere/2.png")
    root = tmp_path / "root"
    root.mkdir()
    (root / "cat").symlink_to(tmp_path / "elsewhere/cats", target_is_directory=True)
    (root / "again").symlink_to(tmp_path / "elsewhere/cats", target_is_directory=True)
    (root / "z.png").symlink_to(tmp_path / "elsewhere/2.png")
    files = listed(root)
    assert files.relative == ["again/1.png", "cat/1.png", "z.png"]
    assert files.size[2] == len("elsewhere/2.png")  # the target's, not the link's
    (tmp_path / "link").symlink_to(root, target_is_directory=True)
    assert len(found(tmp_path / "link")) == 3


@pytest.mark.usefixtures("needs_links")
def test_a_broken_link_to_a_picture_is_reported(tmp_path):
    make(tmp_path, "a.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "gone.txt").symlink_to("nowhere.txt")
    files = listed(tmp_path)
    assert fates(files) == [("a.png", None), ("gone.png", "no such file or folder")]
    assert files.ignored == Ignored(other_files=1)


@pytest.mark.usefixtures("needs_links")
def test_loops_end(tmp_path):
    make(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a" / "up").symlink_to("..", target_is_directory=True)
    (tmp_path / "a" / "other").symlink_to("../b", target_is_directory=True)
    (tmp_path / "b" / "other").symlink_to("../a", target_is_directory=True)
    (tmp_path / "self").symlink_to("self", target_is_directory=True)
    (tmp_path / "self.png").symlink_to("self.png")
    files = listed(tmp_path)
    good = ["a/1.png", "a/other/2.png", "b/2.png", "b/other/1.png"]
    assert files.relative == [*good, "self.png"]
    assert "link" in files.problems.pop(4)
    assert not files.problems
    # a/up, a/other/other, b/other/up, b/other/other lead to where we are; "self" leads nowhere.
    assert files.ignored == Ignored(other_files=1, repeated=4)


# What cannot be read


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.usefixtures("needs_links")
def test_pipes_and_devices_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    wanted = [("pipe.png", "not a regular file"), ("zero.png", "not a regular file")]
    assert fates(listed(tmp_path)) == wanted


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied"),
        FileNotFoundError(2, "No such file"),
        OSError(5, "Input/output error"),
        OSError(36, "File name too long"),
    ],
)
def test_a_folder_that_cannot_be_listed_costs_itself(tmp_path, monkeypatch, error):
    """Simulated, because root can list anything."""
    make(tmp_path, "a/1.png", "locked/2.png", "z/3.png")
    real = os.scandir

    def scandir(folder):
        if str(folder).endswith("locked"):
            error.filename = folder
            raise error
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    files = listed(tmp_path)
    assert files.relative == ["a/1.png", "z/3.png"]
    ((path, relative, reason),) = files.unlisted
    assert (path, relative) == (f"{tmp_path}/locked/", "locked/")
    assert reason.startswith("cannot be listed: ")
    assert files.part([1]).unlisted == files.unlisted
    with pytest.raises(DataError, match=r"cannot list .*locked") as caught:
        found(tmp_path / "locked")
    assert caught.value.hint


def test_too_many_open_files_are_no_fault_of_a_folder(tmp_path, monkeypatch):
    make(tmp_path, "a/1.png", "b/2.png")
    real = os.scandir

    def scandir(folder):
        if str(folder).endswith("b"):
            raise OSError(24, "Too many open files", folder)
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match="cannot list"):
        found(tmp_path)


def test_no_images_but_a_folder_that_nobody_can_look_into(tmp_path, monkeypatch):
    make(tmp_path, "locked/2.png")
    real = os.scandir
    monkeypatch.setattr(
        os,
        "scandir",
        lambda folder: real("/no/such/folder" if str(folder).endswith("locked") else folder),
    )
    with pytest.raises(DataError, match="locked/ cannot be listed: no such file or folder"):
        found(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root can list every folder")
def test_a_folder_without_permissions(tmp_path):
    make(tmp_path, "locked/2.png")
    (tmp_path / "locked").chmod(0)
    make(tmp_path, "1.png")
    try:
        assert listed(tmp_path).unlisted[0].reason == "cannot be listed: permission denied"
    finally:
        (tmp_path / "locked").chmod(0o700)


def test_a_file_that_cannot_be_read_has_a_reason(tmp_path):
    with pytest.raises(ImageError, match="no such file or folder"):
        read_bytes(tmp_path / "gone.png")
    with pytest.raises(ImageError, match="directory"):
        read_bytes(tmp_path)


# Names


def test_hostile_names(tmp_path):
    names = [
        b"caf\xe9.png",
        b"two\nlines.png",
        b" blank.png",
        b"-rf.png",
        b"quote\"'<b>.png",
        b"a%20{}*?.png",
    ]
    names += ["猫/🐈.png".encode(), b"\xff\xfe/\x80.png", b"n" * 251 + b".png"]
    try:
        for name in names:
            path = os.path.join(os.fsencode(tmp_path), name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(name)
    except OSError as cause:
        pytest.skip(f"this file system does not take such names: {cause}")
    files = listed(tmp_path)
    assert {os.fsencode(relative) for relative in files.relative} == set(names)
    for row, relative in enumerate(files.relative):
        with open(files.path(row), "rb") as file:
            assert file.read() == os.fsencode(relative)
