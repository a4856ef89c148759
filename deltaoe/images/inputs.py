"""One list of image files from the inputs of a command: folders, image files, globs and lists."""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO

from deltaoe.errors import ConfigError, DataError
from deltaoe.files import read_small_file
from deltaoe.images.containers import (
    Found,
    add_containers,
    containers_of,
    listed_in_parquet,
    refuse_compressed,
)
from deltaoe.images.file_list import FileList
from deltaoe.images.file_rows import add_observed
from deltaoe.images.glob_pattern import Pattern, is_pattern
from deltaoe.images.input_errors import missing, no_images
from deltaoe.images.input_paths import (
    absolute,
    deepest_folder,
    lies_in,
    slashes,
    tidy_path,
    without_repetitions,
)
from deltaoe.images.labels import tidy
from deltaoe.images.listed_files import ListedFiles
from deltaoe.images.lists import LIST_SUFFIXES, Listed, Wanted, read_list, read_table
from deltaoe.images.location_text import PARQUET, inside, is_url, without_secrets
from deltaoe.images.one_by_one import observed_member
from deltaoe.images.other_kinds import check_is_image
from deltaoe.images.passed_over import Ignored
from deltaoe.images.remote_errors import host_of
from deltaoe.images.remote_inputs import (
    RemoteRows,
    beside,
    is_remote_list,
    local_path,
    read_remote_list,
    suffix_of,
    take_url,
)
from deltaoe.images.text_files import is_other_format, refuse_other_formats
from deltaoe.images.walk import CONTAINER_SUFFIXES, FileCollector, reason

__all__ = ["FileList", "Ignored", "find_files"]

_STDIN = "standard input"


def _silent(number: int) -> None:
    return


def find_files(
    inputs: Sequence[str],
    *,
    stdin: BinaryIO | None = None,
    on_found: Callable[[int], None] = _silent,
    wanted: Wanted | None = None,
) -> FileList:
    """All image files that the inputs name, in their order, each once.

    An input is one of:

    - ``-``: a list of paths on ``stdin``, relative to the current folder;
    - a folder, walked as :meth:`FileCollector.walk` says; tar and Parquet files in it are read like folders;
    - a tar or Parquet file, read like a folder (:mod:`deltaoe.images.containers`);
    - a list, ``.txt`` or ``.lst`` with a path per line, or a table (``.csv``, ``.tsv``) with a column of paths and
      perhaps of classes, domains and splits, as :mod:`~deltaoe.images.columns` finds them; a missing file is a problem
      of its row, and :class:`~deltaoe.images.listed_files.ListedFiles` says where files are looked for;
    - any other file, whatever its suffix;
    - a glob, if there is no file of that name;
    - a URL (:mod:`deltaoe.images.remote_inputs`) of an image, a list, or a folder of a bucket or web server.

    Each folder is a root. The root of a list's files, of a glob's files, and of all single files together is the
    deepest folder that holds them. A list's missing files do not count for this; those that do not lie below get a
    root of their own.

    Args:
        inputs: as the user wrote them; bytes that are no UTF-8 are lone surrogates.
        stdin: read for ``-``.
        on_found: called with the number of files so far, after every thousandth.
        wanted: what is read from tables; None for classes wherever they may be.

    Raises:
        ConfigError: there are no inputs, ``-`` is named twice or cannot be read, or there is no such column.
    DataError: an input does not exist, cannot be read or listed, or there are no images at all. A folder below an
        input that cannot be listed is no error, but in the list's ``unlisted``.
    """
    if not inputs:
        raise ConfigError("no images are named", hint="name folders, image files, or lists of them")
    if list(inputs).count("-") > 1:
        raise ConfigError("- is named twice", hint="standard input can be read once")
    reader = _InputReader(on_found, wanted or Wanted())
    for given in inputs:
        if given == "-":
            if stdin is None:
                raise ConfigError("there is no standard input to read a list from", hint="name a list's file")
            reader.take_list(_STDIN, read_list(_STDIN, _read(_STDIN, stdin.read)), "")
        else:
            reader.take(given)
    files = reader.finished()
    if not len(files):
        raise no_images(inputs, files)
    return files


class _InputReader:
    """Takes one input after the other. Files get their root, and paths below it, when all of their group are known."""

    def __init__(self, on_found: Callable[[int], None], wanted: Wanted) -> None:
        self._wanted = wanted
        self._tables = 0
        self._collector = FileCollector(on_found)
        self._files = self._collector.files
        self._containers: list[Found] = []
        self._remote = RemoteRows(self._collector)
        self._hosts: dict[str, int] = {}  # group by host
        self._rootless: set[int] = set()  # groups whose root is found at the end
        self._singles: int | None = None  # the group of single files

    def take(self, given: str) -> None:
        """Add a folder, list, file, glob or URL. Raises DataError."""
        if is_url(given):
            path = local_path(given)
            if path is None:
                self._take_url(given)
                return
            given = path
        try:
            info = os.stat(given)
        except (OSError, ValueError) as cause:
            if not is_pattern(given):
                raise missing(given, cause) from cause
            self._take_glob(given)
            return
        suffix = os.path.splitext(given)[1].lower()
        if stat.S_ISDIR(info.st_mode):
            root = tidy_path(given, info)
            self._files.roots.append("" if root == os.curdir else root)
            self._collector.walk(len(self._files.roots) - 1, root)
        elif stat.S_ISREG(info.st_mode) and suffix in LIST_SUFFIXES:
            folder = os.path.dirname(given)
            data = read_small_file(given)
            listed = read_list(
                given, data, suffix, self._wanted, lambda path: os.path.lexists(os.path.join(folder, path))
            )
            self.take_list(given, listed, folder)
        elif stat.S_ISREG(info.st_mode) and suffix in CONTAINER_SUFFIXES:
            table = listed_in_parquet(given) if suffix == PARQUET else None
            if table is not None:
                self.take_list(given, read_table(given, table, self._wanted), os.path.dirname(given))
                return
            path = tidy_path(given, info)
            self._containers.append(Found(os.path.dirname(path), path, named=True))
        elif stat.S_ISREG(info.st_mode) and is_other_format(suffix):
            refuse_other_formats(given, suffix, _start(given), images=True)
        else:
            refuse_compressed(given)
            check_is_image(given)
            if self._singles is None:
                self._singles = self._new_group()
            self._collector.add(self._singles, tidy_path(given, info), info)

    def _take_url(self, given: str) -> None:
        if is_remote_list(given):
            title = without_secrets(given)
            listed = read_list(title, read_remote_list(given), suffix_of(given), self._wanted)
            self.take_list(title, listed, given)
        else:
            take_url(self._collector, self._remote, self._group_of_host, given)

    def _group_of_host(self, url: str) -> int:
        host = host_of(url)
        if host not in self._hosts:
            self._hosts[host] = self._new_group()
        return self._hosts[host]

    def take_list(self, title: str, listed: Listed, folder: str) -> None:
        """Add the files of a list, whose paths are relative to a folder or, of a list at a URL, lie beside that.

        Class names become words, as of folders.
        """
        files, group, before = self._files, self._new_group(), len(self._files)
        finder = ListedFiles(title, "" if is_url(folder) else folder, listed.paths, exact=title == _STDIN)
        for name in listed.paths:
            if is_url(url := beside(folder, name)):
                if (local := local_path(url)) is None:
                    self._remote.add(self._group_of_host(url), url)
                    continue
                name = local
            member = next((one for one in (os.path.join(folder, name), name) if inside(one)), None)
            if member is not None:
                seen, why = observed_member(member)
                add_observed(self._collector, group, tidy_path(member, None), seen)
                if why:
                    files.problems[len(files) - 1] = why
                continue
            path, info, problem = finder.find(name)
            self._collector.add(group, tidy_path(path, info), info, problem)
        self._tables += listed.is_table
        files.assumed += listed.assumed
        files.notes += listed.notes + finder.notes()
        if listed.classes is not None:
            words = {name: name and tidy(name) for name in set(listed.classes)}
            files.classes = _filled(files.classes, before)
            files.classes += [words[name] for name in listed.classes]
        if listed.domains is not None:
            files.domains = _filled(files.domains, before)
            files.domains += listed.domains
        if listed.splits is not None:
            files.splits = _filled(files.splits, before)
            files.splits += listed.splits

    def _take_glob(self, given: str) -> None:
        glob = slashes(given)
        # "photos [2024]/*.jpg": a folder of that name is taken literally.
        cuts = [place + 1 for place, character in enumerate(glob) if character == "/"]
        base = next((glob[:cut] for cut in reversed(cuts) if os.path.isdir(glob[:cut])), "")
        folder = tidy_path(base or os.curdir, os.stat(base or os.curdir))
        prefix = "" if folder == os.curdir else folder.removesuffix("/") + "/"
        matched = self._collector.walk(self._new_group(), folder, prefix, Pattern.of(glob[len(base) :]))
        if not matched:
            raise DataError(
                f"nothing matches {given}", hint="** stands for folders of any depth, as in photos/**/*.jpg"
            )

    def _new_group(self) -> int:
        self._files.roots.append("")
        self._rootless.add(len(self._files.roots) - 1)
        return len(self._files.roots) - 1

    def finished(self) -> FileList:
        """All files, below their roots, each once; those of containers behind the others."""
        files = self._files
        self._remote.observe()
        containers = [*self._containers, *containers_of(self._collector)]
        self._tables += add_containers(self._collector, containers, self._wanted)
        if self._wanted.label_column is not None and not self._tables:
            raise ConfigError(
                "--label-column names a column, and no input is a table", hint="name a list, such as a .csv"
            )
        files.classes = files.classes and _filled(files.classes, len(files))
        files.domains = files.domains and _filled(files.domains, len(files))
        files.splits = files.splits and _filled(files.splits, len(files))
        rows = {group: (array("q"), array("q")) for group in self._rootless}
        for row, group in enumerate(files.root_of if rows else ()):
            if group in rows:
                rows[group][row in files.problems].append(row)
        for group, (good, bad) in rows.items():
            outside = self._set_root(group, good or bad, bad if good else ())
            if outside:
                self._set_root(self._new_group(), outside)
        return without_repetitions(files, self._rootless)

    def _set_root(self, group: int, rows: Sequence[int], others: Iterable[int] = ()) -> list[int]:
        """Find a group's root by some of its rows and put the others below it; rows that lie elsewhere are returned."""
        files = self._files
        if not rows:
            return []
        paths = [files.relative[row] for row in rows]
        start = deepest_folder(paths)
        # Neither of "../a.jpg" and "b.jpg" leads to a folder that holds both, nor of "/c.jpg" and "d.jpg".
        if not all(lies_in(start, path) for path in paths):
            paths = [absolute(path) for path in paths]
            start = deepest_folder(paths)
        files.roots[group] = start if start == "/" or start.endswith(":/") else start[:-1]
        for row, path in zip(rows, paths, strict=True):
            files.root_of[row] = group
            files.relative[row] = path[len(start) :]
        outside = []
        for row in others:
            if lies_in(start, files.relative[row]):
                files.relative[row] = files.relative[row][len(start) :]
            else:
                outside.append(row)
        return outside


def _filled(names: list[str] | None, length: int) -> list[str]:
    names = names or []
    names += [""] * (length - len(names))
    return names


def _start(path: str) -> str:
    """The first characters of a regular file."""
    try:
        with open(path, "rb") as file:
            return file.read(1 << 16).decode("utf-8-sig", "replace")
    except OSError as cause:
        raise DataError(f"cannot read {path}: {reason(cause)}", hint="check its permissions") from cause


def _read(name: str, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except OSError as cause:
        raise DataError(
            f"cannot read {name}: {reason(cause)}", hint="check that it is a readable file"
        ) from cause
