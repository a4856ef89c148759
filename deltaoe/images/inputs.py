"""What the inputs of a command name: folders, image files, globs and lists, as one list of files."""

from __future__ import annotations

import difflib
import errno
import itertools
import os
import re
import stat
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from deltaoe.errors import ConfigError, DataError
from deltaoe.images.lists import LIST_SUFFIXES, Listed, read_list
from deltaoe.images.walk import SUFFIXES, FileList, Gathering, Ignored, Pattern, is_pattern, reason

__all__ = ["FileList", "Ignored", "find_files"]

_STDIN = "standard input"
_UNTIDY = re.compile(r"(?:^|/)\.{1,2}(?:/|$)|//|./$")


def _silent(number: int) -> None:
    return


def find_files(
    inputs: Sequence[str], *, stdin: BinaryIO | None = None, on_found: Callable[[int], None] = _silent
) -> FileList:
    """All image files that the inputs name, in that order, each once.

    An input is one of:

    - ``-``: a list of paths on ``stdin``, relative to the current folder;
    - a folder, walked as :meth:`Gathering.walk` says;
    - a list, ``.txt`` or ``.lst`` with a path per line, or ``.csv`` or ``.tsv`` with a column ``path`` and perhaps
      ``class`` and ``domain``; paths are relative to the list's folder, and one that is not there is a problem;
    - any other file, whatever its suffix;
    - a glob, if there is no file of that name.

    Each folder is a root. The files of a list, those of a glob, and all single files together have the deepest
    folder that holds them for a root. Listed files that are not there do not count for this, and get one of their
    own where they lie beside it.

    Args:
        inputs: as the user wrote them; bytes that are no UTF-8 are lone surrogates.
        stdin: read for ``-``.
        on_found: told the number of files so far, at every thousandth.

    Raises:
        ConfigError: there are no inputs, or ``-`` cannot be read, or not twice.
        DataError: an input does not exist, cannot be read or listed, or there are no images at all.
    """
    if not inputs:
        raise ConfigError("no images are named", hint="name folders, image files, or lists of them")
    if list(inputs).count("-") > 1:
        raise ConfigError("- is named twice", hint="standard input can be read once")
    finder = _Finder(on_found)
    for given in inputs:
        if given == "-":
            if stdin is None:
                raise ConfigError("there is no standard input to read a list from", hint="name a list's file")
            finder.take_list(read_list(_STDIN, _read(_STDIN, stdin.read)), "")
        else:
            finder.take(given)
    files = finder.settled()
    if not len(files):
        raise _no_images(inputs, files.ignored)
    return files


class _Finder:
    """Takes one input after the other; paths of loose files stay whole until all of their group are known."""

    def __init__(self, on_found: Callable[[int], None]) -> None:
        self._gathering = Gathering(on_found)
        self._files = self._gathering.files
        self._loose: set[int] = set()
        self._singles: int | None = None

    def take(self, given: str) -> None:
        """A folder, list, file or glob. Raises DataError."""
        try:
            info = os.stat(given)
        except (OSError, ValueError) as cause:
            if not is_pattern(given):
                raise _missing(given, cause) from cause
            self._take_glob(given)
            return
        suffix = os.path.splitext(given)[1].lower()
        if stat.S_ISDIR(info.st_mode):
            root = _tidy(given, info)
            self._files.roots.append("" if root == os.curdir else root)
            self._gathering.walk(len(self._files.roots) - 1, root)
        elif stat.S_ISREG(info.st_mode) and suffix in LIST_SUFFIXES:
            listed = read_list(given, _read(given, Path(given).read_bytes), suffix)
            self.take_list(listed, os.path.dirname(given))
        else:
            if self._singles is None:
                self._singles = self._loose_group()
            self._gathering.add(self._singles, _tidy(given, info), info)

    def take_list(self, listed: Listed, folder: str) -> None:
        """Paths relative to a folder."""
        files, group, before = self._files, self._loose_group(), len(self._files)
        for path in listed.paths:
            path = os.path.join(folder, path)
            info = problem = None
            try:
                info = os.stat(path)
            except (OSError, ValueError) as cause:
                problem = reason(cause)
            self._gathering.add(group, _tidy(path, info), info, problem)
        if listed.classes is not None:
            files.classes = _filled(files.classes, before)
            files.classes += listed.classes
        if listed.domains is not None:
            files.domains = _filled(files.domains, before)
            files.domains += listed.domains

    def _take_glob(self, given: str) -> None:
        glob = _slashes(given)
        # "photos [2024]/*.jpg": what is there by that name is meant by it.
        cuts = [place + 1 for place, character in enumerate(glob) if character == "/"]
        base = next((glob[:cut] for cut in reversed(cuts) if os.path.isdir(glob[:cut])), "")
        folder = _tidy(base or os.curdir, os.stat(base or os.curdir))
        prefix = "" if folder == os.curdir else folder.removesuffix("/") + "/"
        matched = self._gathering.walk(self._loose_group(), folder, prefix, Pattern.of(glob[len(base) :]))
        if not matched:
            raise DataError(
                f"nothing matches {given}", hint="** stands for folders of any depth, as in photos/**/*.jpg"
            )

    def _loose_group(self) -> int:
        self._files.roots.append("")
        self._loose.add(len(self._files.roots) - 1)
        return len(self._files.roots) - 1

    def settled(self) -> FileList:
        """All files, below roots and without repetitions."""
        files = self._files
        files.classes = files.classes and _filled(files.classes, len(files))
        files.domains = files.domains and _filled(files.domains, len(files))
        rows = {group: (array("q"), array("q")) for group in self._loose}
        for row, group in enumerate(files.root_of if rows else ()):
            if group in rows:
                rows[group][row in files.problems].append(row)
        for group, (good, bad) in rows.items():
            strays = self._settle(group, good or bad, bad if good else ())
            if strays:
                self._settle(self._loose_group(), strays)
        return _once(files, self._loose)

    def _settle(self, group: int, rows: Sequence[int], others: Iterable[int] = ()) -> list[int]:
        """Find the group's root by some rows, put others below it too; those that lie elsewhere are returned."""
        files = self._files
        if not rows:
            return []
        paths = [files.relative[row] for row in rows]
        start = _folder_of(paths)
        # Neither of "../a.jpg" and "b.jpg" leads to a folder that holds both, nor of "/c.jpg" and "d.jpg".
        if not all(_lies_in(start, path) for path in paths):
            paths = [_absolute(path) for path in paths]
            start = _folder_of(paths)
        files.roots[group] = start if start == "/" or start.endswith(":/") else start[:-1]
        for row, path in zip(rows, paths, strict=True):
            files.root_of[row] = group
            files.relative[row] = path[len(start) :]
        strays = []
        for row in others:
            if _lies_in(start, files.relative[row]):
                files.relative[row] = files.relative[row][len(start) :]
            else:
                strays.append(row)
        return strays


def _folder_of(paths: Sequence[str]) -> str:
    """The longest start of all paths that ends with a slash; "" if there is none."""
    first, last = min(paths), max(paths)
    shared = next((i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), None)
    return first[: first.rfind("/", 0, shared) + 1]


def _lies_in(start: str, path: str) -> bool:
    below = path[len(start) :]
    outside = below == ".." or below.startswith("../") or (not start and os.path.isabs(path))
    return path.startswith(start) and not outside


def _once(files: FileList, loose: set[int]) -> FileList:
    """Without the files that were named before, by absolute path, and without roots of nothing."""
    starts = [os.path.join(_absolute(root), "").replace(os.sep, "/") for root in files.roots]
    # A walk finds no path twice. So folders need no look at each file unless another root lies in theirs.
    check, outer = set(loose), None
    for root in sorted(range(len(starts)), key=starts.__getitem__):
        if outer is not None and starts[root].startswith(starts[outer]):
            check |= {root, outer}
        else:
            outer = root
    seen: set[str] = set()
    rows = array("q")
    for row, root in enumerate(files.root_of if check else ()):
        if root in check:
            path = starts[root] + files.relative[row]
            if path in seen:
                continue
            seen.add(path)
        rows.append(row)
    if check and len(rows) < len(files):
        files.ignored.repeated += len(files) - len(rows)
        return files.part(rows)
    return files if len(set(files.root_of)) == len(files.roots) else files.part(range(len(files)))


def _tidy(path: str, info: os.stat_result | None) -> str:
    """The path with ``/``, without needless parts: as the user wrote it, if nothing is needless."""
    path = _slashes(path)
    if not _UNTIDY.search(path):
        return path
    short = _slashes(os.path.normpath(path))
    short = short[1:] if short.startswith("//") and os.sep == "/" else short
    # Behind a link to a folder, ".." is not the folder that the link lies in.
    if ".." in path and short != path and info is not None and not _is(short, info):
        folder, name = os.path.split(path.rstrip("/"))
        whole = name in {os.curdir, os.pardir}
        short = _slashes(os.path.realpath(path) if whole else os.path.join(os.path.realpath(folder), name))
    return short


def _is(path: str, info: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), info)
    except OSError:
        return False


def _slashes(path: str) -> str:
    return path if os.sep == "/" else path.replace(os.sep, "/")


def _absolute(path: str) -> str:
    try:
        return _slashes(os.path.abspath(path))
    except OSError as cause:
        raise DataError(
            f"the current folder is gone: {reason(cause)}", hint="change to another one"
        ) from cause


def _filled(names: list[str] | None, length: int) -> list[str]:
    names = names or []
    names += [""] * (length - len(names))
    return names


def _read(name: str, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except OSError as cause:
        raise DataError(
            f"cannot read {name}: {reason(cause)}", hint="check that it is a readable file"
        ) from cause


def _missing(given: str, cause: OSError | ValueError) -> DataError:
    if not given:
        return DataError("one of the inputs is an empty name", hint="is a variable of the shell not set?")
    if not isinstance(cause, OSError) or cause.errno != errno.ENOENT:
        return DataError(f"cannot read {given}: {reason(cause)}", hint="check the path and its permissions")
    if os.path.islink(given):
        return DataError(
            f"no such file or folder: {given}",
            hint=f"it is a link to {os.readlink(given)}, which is not there",
        )
    folder, name = os.path.split(given.rstrip("/" + os.sep))
    try:
        with os.scandir(folder or os.curdir) as listing:
            # A part of a huge folder will do: the answer should come at once.
            names = [entry.name for entry in itertools.islice(listing, 10_000)]
    except OSError:
        names = []
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {os.path.join(folder, close[0])}?" if close else "check the path"
    return DataError(f"no such file or folder: {given}", hint=hint)


def _no_images(inputs: Sequence[str], ignored: Ignored) -> DataError:
    shown = ", ".join(inputs[:3]) + (f" and {len(inputs) - 3} more inputs" if len(inputs) > 3 else "")
    kinds = ((ignored.other_files, "other files"), (ignored.hidden, "hidden entries"))
    beside = ", ".join(f"{count} {what}" for count, what in kinds if count)
    nothing = "it is empty" if len(inputs) == 1 else "they are empty"
    return DataError(
        f"no images in {shown}" + (f" ({beside})" if beside else f": {nothing}"),
        hint=f"images are files ending in {', '.join(sorted(SUFFIXES))}",
    )
