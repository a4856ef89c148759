"""Inputs that are URLs: folders and objects of a bucket or web server, lists there, and lists of URLs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from urllib.parse import unquote

from deltaoe.errors import DataError
from deltaoe.files import SMALL_BYTES
from deltaoe.images.file_list import FileList
from deltaoe.images.file_rows import add_observed
from deltaoe.images.glob_pattern import is_pattern
from deltaoe.images.lists import LIST_SUFFIXES
from deltaoe.images.location_text import is_url, without_secrets
from deltaoe.images.remote import check_known, find_objects, is_web, observe_all, read_bounded
from deltaoe.images.remote_errors import RemoteError, scheme_of
from deltaoe.images.walk import CONTAINER_SUFFIXES, FileCollector, Observed, is_image, is_passed_over
from deltaoe.short_repr import counted

_DOWNLOAD = "download it, and name the file"
_ARCHIVE = re.compile(r"\.(?:tar|tar\.\w+|tgz|tbz2?|txz|tzst|zip|parquet)$", re.IGNORECASE)


def local_path(url: str) -> str | None:
    """The path of a ``file://`` URL; None for others."""
    from urllib.request import url2pathname  # it loads HTTP and TLS

    if scheme_of(url) not in ("file", "local"):
        return None
    rest = url.partition("://")[2]
    return url2pathname(rest.removeprefix("localhost") if rest.startswith("localhost/") else rest)


def suffix_of(url: str) -> str:
    """The suffix of what a URL names, in lower case, without its query."""
    return os.path.splitext(_path(url))[1].lower()


def is_remote_list(url: str) -> bool:
    """Whether a URL names a list by its suffix."""
    return suffix_of(url) in LIST_SUFFIXES


def read_remote_list(url: str) -> bytes:
    """The bytes of a list. Raises DataError, ConfigError."""
    try:
        return read_bounded(url, SMALL_BYTES)
    except RemoteError as cause:
        raise DataError(f"cannot read {without_secrets(url)}: {cause}", hint="check the address") from cause


def beside(url: str, name: str) -> str:
    """A path of a list as a URL, if the list is at one: beside the list, unless it is a URL itself."""
    if is_url(name) or not is_url(url):
        return name
    return f"{url.partition('?')[0].rpartition('/')[0]}/{name.strip().removeprefix('./')}"


class RemoteRows:
    """Puts URLs into a list of files; how they are observed is asked for all at once.

    Args:
        collector: has the list.
    """

    def __init__(self, collector: FileCollector) -> None:
        self._collector = collector
        self._asked: list[tuple[int, str]] = []

    def add(self, group: int, url: str, start: int = 0, seen: Observed | None = None) -> None:
        """Add a row for one object.

        Args:
            group: its root.
            url: its URL.
            start: number of characters of the root, and of the slash behind it.
            seen: how it is observed; None if that is to be asked for.
        """
        files = self._collector.files
        row, shown = len(files), without_secrets(url)
        add_observed(self._collector, group, shown[start:], seen or (0, 0, 0, 0))
        if shown != url:
            files.secrets[row] = url
        if seen is None:
            self._asked.append((row, url))

    def observe(self) -> None:
        """Ask for all that were added. Raises DataError, ConfigError as :func:`deltaoe.images.remote.observe_all`."""
        asked, self._asked = self._asked, []
        files = self._collector.files
        for (row, _), seen in zip(asked, observe_all([url for _, url in asked]), strict=True):
            if isinstance(seen, RemoteError):
                files.problems[row] = str(seen)
            else:
                files.size[row], files.mtime_ns[row], files.ctime_ns[row], _ = seen


def take_url(collector: FileCollector, rows: RemoteRows, group_of: Callable[[str], int], url: str) -> None:
    """Add the image that a URL names, those below it, or those that match it.

    Args:
        collector: has the list.
        rows: take the objects.
        group_of: the root of a single object, which is found at the end.
        url: as the user wrote it.

    Raises:
        DataError: there is nothing, or an archive, which is not read from there.
        ConfigError: its kind of URL is not known, or a package for it is not installed.
    """
    files, shown = collector.files, without_secrets(url)
    check_known(url)
    if _ARCHIVE.search(_path(url)):
        raise DataError(f"{shown}: tar, ZIP and Parquet files are not read from a URL", hint=_DOWNLOAD)
    glob = not is_web(url) and is_pattern(url)
    if not glob and is_image(_path(url)):
        rows.add(group_of(url), url)
        return
    found = find_objects(url, glob=glob)
    if not found:
        raise DataError(f"nothing is at {shown}", hint="check the address; that of a folder ends with /")
    if [one.rstrip("/") for one, _ in found] == [url.rstrip("/")]:
        rows.add(group_of(url), url)
        return
    root = shown.rstrip("/")
    if not glob:
        files.roots.append(root)
        group, start = len(files.roots) - 1, len(root) + 1
    archives = 0
    for one, seen in found:
        below = _path(without_secrets(one))[0 if glob else len(root) :].strip("/")
        if not glob and any(part and is_passed_over(part) for part in below.split("/")):
            files.ignored.hidden += 1
        elif not is_image(_path(one)):
            archives += _path(one).lower().endswith(CONTAINER_SUFFIXES)
            files.ignored.other_files += 1
        elif glob:
            rows.add(group_of(one), one, 0, seen)
        else:
            rows.add(group, one, start, seen)
    if archives:
        number = counted(archives, "tar or Parquet file")
        files.notes.append(f"{number} below {shown} passed over: they are not read from a URL; download them")


def _path(url: str) -> str:
    return url.partition("?")[0] if is_web(url) else url


def as_read(files: FileList, paths: Sequence[str]) -> Sequence[str]:
    """Paths as folders are read: of addresses on the web, ``cr%C3%A8me`` is ``crème``."""
    web = [is_url(root) and is_web(root) for root in files.roots]
    if not any(web):
        return paths
    pairs = zip(files.root_of, paths, strict=True)
    return [unquote(path, errors="surrogateescape") if web[root] else path for root, path in pairs]
