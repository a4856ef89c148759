"""Only files of ours are replaced, whatever else their name or content has in common with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltaoe.errors import ConfigError, StoreError
from deltaoe_cli.targets import check_folder, check_replaceable

MARK = "path,verdict"


@pytest.mark.parametrize("content", [b"", b"path,verdict\n", b"path,verdict,class\na,known,cat\n"])
def test_ours_and_empty_files_are_replaced(tmp_path: Path, content: bytes) -> None:
    check_replaceable(tmp_path / "absent.csv", MARK)
    (tmp_path / "scores.csv").write_bytes(content)
    check_replaceable(tmp_path / "scores.csv", MARK)


@pytest.mark.parametrize("content", [b"mine\n", b"notes on\npath,verdict\n", b"\xff\xfe", b" path,verdict"])
def test_other_files_are_not(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "scores.csv").write_bytes(content)
    with pytest.raises(StoreError, match="was not written by deltaoe"):
        check_replaceable(tmp_path / "scores.csv", MARK)


def test_a_page_says_soon_who_made_it(tmp_path: Path) -> None:
    page, mark = tmp_path / "report.html", '<meta name="generator" content="deltaoe'
    page.write_text(f'<!doctype html><head>{mark} 0.1.0">', encoding="utf-8")
    check_replaceable(page, mark)
    page.write_text("<!doctype html>" + " " * 5000 + mark, encoding="utf-8")
    with pytest.raises(StoreError, match="was not written by deltaoe"):
        check_replaceable(page, mark)


def test_a_folder_in_the_way_and_a_file_as_folder(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").mkdir()
    with pytest.raises(StoreError, match="cannot write"):
        check_replaceable(tmp_path / "scores.csv", MARK)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file, not a folder"):
        check_folder(tmp_path / "file")
    check_folder(tmp_path / "absent")
