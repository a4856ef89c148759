"""Paths of inputs: with one spelling, below the deepest folder that holds them, and each once."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Sequence

from deltaoe.errors import DataError
from deltaoe.images.file_list import FileList
from deltaoe.images.location_text import is_url
from deltaoe.images.repeated_rows import RepeatedRows
from deltaoe.images.walk import reason

_UNTIDY = re.compile(r"(?:^|/)\.{1,2}(?:/|$)|//|./$")


def deepest_folder(paths: Sequence[str]) -> str:
    """The longest start of all paths that ends with a slash; "" if there is none."""
    first, last = min(paths), max(paths)
    shared = next((i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), None)
    return first[: first.rfind("/", 0, shared) + 1]


def lies_in(start: str, path: str) -> bool:
    """Whether a path lies in the folder that it starts with."""
    below = path[len(start) :]
    outside = below == ".." or below.startswith("../") or (not start and os.path.isabs(path))
    return path.startswith(start) and not outside


def without_repetitions(files: FileList, rootless: set[int]) -> FileList:
    """The list without files that were named before, by absolute path, and without roots that hold no files."""
    starts = [os.path.join(absolute(root), "").replace(os.sep, "/") for root in files.roots]
    # A walk finds no path twice. So the files of a folder are looked at only if another root lies in it.
    check, outer = set(rootless), None
    for root in sorted(range(len(starts)), key=starts.__getitem__):
        if outer is not None and starts[root].startswith(starts[outer]):
            if root not in files.containers:  # these were found once each
                check |= {root, outer}
        else:
            outer = root
    for root in files.containers:  # of which a list may name members
        if any(
            starts[one].startswith(starts[root]) or starts[root].startswith(starts[one]) for one in rootless
        ):
            check.add(root)
    first_row: dict[str, int] = {}
    rows = array("q")
    repeated = RepeatedRows(files)
    for row, root in enumerate(files.root_of if check else ()):
        if root in check:
            first = first_row.setdefault(starts[root] + files.relative[row], row)
            if first != row:
                repeated.join(first, row)
                continue
        rows.append(row)
    if check and len(rows) < len(files):
        repeated.settle(rows)
        files.ignored.repeated += len(files) - len(rows)
        return files.part(rows)
    return files if len(set(files.root_of)) == len(files.roots) else files.part(range(len(files)))


def tidy_path(path: str, info: os.stat_result | None) -> str:
    """The path with ``/``, without ``.``, ``..`` and double slashes; as the user wrote it, if it has none."""
    path = slashes(path)
    if not _UNTIDY.search(path):
        return path
    short = slashes(os.path.normpath(path))
    short = short[1:] if short.startswith("//") and os.sep == "/" else short
    # Behind a link to a folder, ".." is not the folder that the link lies in.
    if ".." in path and short != path and info is not None and not _is(short, info):
        folder, name = os.path.split(path.rstrip("/"))
        whole = name in {os.curdir, os.pardir}
        short = slashes(os.path.realpath(path) if whole else os.path.join(os.path.realpath(folder), name))
    return short


def _is(path: str, info: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), info)
    except OSError:
        return False


def slashes(path: str) -> str:
    """A path with ``/``."""
    return path if os.sep == "/" else path.replace(os.sep, "/")


def absolute(path: str) -> str:
    """The absolute path, with ``/``; a URL as it is. Raises DataError if the current folder is gone."""
    try:
        return path if is_url(path) else slashes(os.path.abspath(path))
    except OSError as cause:
        raise DataError(
            f"the current folder is gone: {reason(cause)}", hint="change to another one"
        ) from cause
