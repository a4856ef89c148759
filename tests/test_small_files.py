"""Small files that a user names: whole, and never a wait for what is no file."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from deltaoe.errors import ConfigError, DataError
from deltaoe.files import read_small_file


def test_a_file_is_read_whole(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff\0\r\n")
    (tmp_path / "link").symlink_to("a")
    assert read_small_file(tmp_path / "a") == read_small_file(str(tmp_path / "link")) == b"\xff\0\r\n"
    assert read_small_file(tmp_path / "a", limit=4) == b"\xff\0\r\n"


def test_what_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match=re.escape("1,099,511,627,776 bytes are more than")):
        read_small_file(tmp_path / "huge")
    (tmp_path / "five").write_bytes(b"12345")
    with pytest.raises(DataError, match=r"5 bytes are more than such a file can have \(4\)"):
        read_small_file(tmp_path / "five", limit=4)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("absent", "no such file or folder"),
        ("folder", "it is a folder"),
        ("a\0b", "not a possible file name"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, reason):
    (tmp_path / "folder").mkdir()
    for kind in (DataError, ConfigError):
        with pytest.raises(kind, match=f"cannot read .*{name}: {reason}"):
            read_small_file(os.path.join(tmp_path, name), error=kind)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("what", ["pipe", "/dev/zero"])
def test_pipes_and_devices_are_refused_at_once(tmp_path, what):
    path = what if what.startswith("/") else str(tmp_path / what)
    if path != what:
        os.mkfifo(path)
    code = "import sys; from deltaoe.files import read_small_file as read; read(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60)
    assert "not a regular file" in done.stderr
