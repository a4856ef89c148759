"""Which files a walk finds, in which order, and what it says about the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deltaoe.data.images import SUFFIXES, Ignored, ImageError, find_images, read_bytes
from deltaoe.errors import DataError


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def found(root: Path, ignored: Ignored | None = None) -> list[str]:
    return [file.relative for file in find_images(root, ignored)]


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
    (file,) = find_images(tmp_path)
    assert file.path == tmp_path / "cat/1.png"
    assert (file.relative, file.size, file.problem) == ("cat/1.png", len("cat/1.png"), None)
    assert file.mtime_ns == (tmp_path / "cat/1.png").stat().st_mtime_ns


def test_suffixes_count_in_any_case(tmp_path):
    names = sorted(f"{i}{suffix}" for i, suffix in enumerate(sorted(SUFFIXES)))
    make(tmp_path, *names, *(f"up{name}".upper() for name in names))
    assert len(found(tmp_path)) == 2 * len(SUFFIXES)
    make(tmp_path, "x.JpEg")
    assert "x.JpEg" in found(tmp_path)


def test_everything_else_is_counted(tmp_path):
    make(tmp_path, "a.png", "notes.txt", "archive.png.zip", "png", "c/.DS_Store", ".hidden.png", ".git/x.png")
    make(tmp_path, "__MACOSX/a.png", "c/@eaDir/b.png", "c/Thumbs.db", ".png")
    ignored = Ignored()
    assert found(tmp_path, ignored) == ["a.png"]
    assert ignored == Ignored(hidden=6, other_files=4)


def test_a_folder_named_like_a_picture_is_a_folder(tmp_path):
    make(tmp_path, "x.jpg/1.png")
    (tmp_path / "empty.png").mkdir()
    assert found(tmp_path) == ["x.jpg/1.png"]


def test_a_single_file_counts_whatever_its_suffix(tmp_path):
    make(tmp_path, "scan.dat")
    (file,) = find_images(tmp_path / "scan.dat")
    assert (file.path, file.relative) == (tmp_path / "scan.dat", "scan.dat")


@pytest.mark.parametrize("name", ["nowhere", "file.png/below"])
def test_a_root_that_is_not_there(tmp_path, name):
    make(tmp_path, "file.png")
    with pytest.raises(DataError, match="cannot read"):
        found(tmp_path / name)


# Links


@pytest.mark.usefixtures("needs_links")
def test_links_to_files_and_class_folders_are_followed(tmp_path):
    make(tmp_path, "elsewhere/cats/1.png", "elsewhere/2.png")
    root = tmp_path / "root"
    root.mkdir()
    (root / "cat").symlink_to(tmp_path / "elsewhere/cats", target_is_directory=True)
    (root / "again").symlink_to(tmp_path / "elsewhere/cats", target_is_directory=True)
    (root / "z.png").symlink_to(tmp_path / "elsewhere/2.png")
    files = list(find_images(root))
    assert [file.relative for file in files] == ["again/1.png", "cat/1.png", "z.png"]
    assert files[2].size == len("elsewhere/2.png")  # the target's, not the link's
    (tmp_path / "link").symlink_to(root, target_is_directory=True)
    assert len(found(tmp_path / "link")) == 3


@pytest.mark.usefixtures("needs_links")
def test_a_broken_link_to_a_picture_is_reported(tmp_path):
    make(tmp_path, "a.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "gone.txt").symlink_to("nowhere.txt")
    ignored = Ignored()
    files = list(find_images(tmp_path, ignored))
    assert [(file.relative, file.problem) for file in files] == [
        ("a.png", None),
        ("gone.png", "no such file or folder"),
    ]
    assert ignored == Ignored(other_files=1)


@pytest.mark.usefixtures("needs_links")
def test_loops_end(tmp_path):
    make(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a" / "up").symlink_to("..", target_is_directory=True)
    (tmp_path / "a" / "other").symlink_to("../b", target_is_directory=True)
    (tmp_path / "b" / "other").symlink_to("../a", target_is_directory=True)
    (tmp_path / "self").symlink_to("self", target_is_directory=True)
    (tmp_path / "self.png").symlink_to("self.png")
    files = list(find_images(tmp_path))
    assert [file.relative for file in files if file.problem is None] == [
        "a/1.png",
        "a/other/2.png",
        "b/2.png",
        "b/other/1.png",
    ]
    (loop,) = (file for file in files if file.problem is not None)
    assert loop.relative == "self.png"
    assert "link" in loop.problem


# What cannot be read


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.usefixtures("needs_links")
def test_pipes_and_devices_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    files = [(file.relative, file.problem) for file in find_images(tmp_path)]
    assert files == [("pipe.png", "not a regular file"), ("zero.png", "not a regular file")]


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), FileNotFoundError(2, "No such file")]
)
def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch, error):
    """Leaving a folder out without a word would be worse; simulated, because root can list anything."""
    make(tmp_path, "a/1.png", "locked/2.png", "z/3.png")
    real = os.scandir

    def scandir(folder):
        if str(folder).endswith("locked"):
            error.filename = folder
            raise error
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"cannot list .*locked") as caught:
        found(tmp_path)
    assert caught.value.hint


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root can list every folder")
def test_a_folder_without_permissions(tmp_path):
    make(tmp_path, "locked/2.png")
    (tmp_path / "locked").chmod(0)
    try:
        with pytest.raises(DataError, match=r"cannot list .*locked: permission denied"):
            found(tmp_path)
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
    files = list(find_images(tmp_path))
    assert {os.fsencode(file.relative) for file in files} == set(names)
    for file in files:
        assert read_bytes(file.path) == os.fsencode(file.relative)
