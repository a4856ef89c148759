"""Files in the current folder by their names, and what a list of files says of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deltaoe.images.inputs import FileList


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
