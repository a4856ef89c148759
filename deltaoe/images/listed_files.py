"""Where the files of a list lie: as it names them or, said in a sentence, under another spelling."""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence

from deltaoe.images.walk import is_folder, is_image, is_passed_over, reason

_TRIED = 1000  # names of a list that are looked for to find the folder that it is relative to
_LOOKED_THROUGH = 300_000  # entries of folders below a list
_BLANKS = "without the blanks around the name"
_SLASHES = "with / for \\"
_SPELLING = "under another spelling of the same letters (Unicode NFC or NFD)"
_SUFFIX = "with the suffix of an image"
_BELOW = "in folders below the list's"
_AROUND = "in folders beside the list's"
_SHOWN = 3  # files that could be meant, in a message


class ListedFiles:
    """Finds the files of one list.

    A name is looked for in the list's folder or, if none of the first thousand is there and some are below the current
    one, below that. A name that is not there is tried without blanks around it, with slashes for backslashes, in the
    other normal form of Unicode, with the suffix of an image (``00a3`` for ``00a3.jpg``), and anywhere below; or, if no
    images lie there, below the folder around the list's: each only where exactly one file fits.

    Args:
        title: the list's name, for sentences.
        folder: the folder that the list lies in; "" for the current one.
        names: its paths.
        exact: whether paths are written by a program for this folder: then only other normal forms are tried.
    """

    def __init__(self, title: str, folder: str, names: Sequence[str], *, exact: bool = False) -> None:
        self._title, self._exact = title, exact
        self._found: Counter[str] = Counter()
        self._example: dict[str, tuple[str, str]] = {}
        self._listings: dict[str, dict[str, list[str]]] = {}
        self._below: dict[str, list[str]] | None = None
        self._where = _BELOW
        first = names[:_TRIED]
        from_here = bool(folder) and not any(
            os.path.lexists(os.path.join(folder, name)) for name in map(_plain, first)
        )
        self._from_here = from_here and any(os.path.lexists(name) for name in map(_plain, first))
        self._folder = "" if self._from_here else folder

    def find(self, name: str) -> tuple[str, os.stat_result | None, str | None]:
        """The path of a file of the list, what the system knows of it, and else why there is none."""
        path = os.path.join(self._folder, name)
        try:
            return path, os.stat(path), None
        except (OSError, ValueError) as cause:
            problem = reason(cause)
            if isinstance(cause, ValueError) or os.path.lexists(path):
                return path, None, problem
        if self._exact:
            return self._one_of(self._spelled(path), _SPELLING, name, path, problem)
        for how, tried in ((_BLANKS, name.strip()), (_SLASHES, name.strip().replace("\\", "/"))):
            info = _stat(os.path.join(self._folder, tried)) if tried != name else None
            if info is not None:
                return self._take(how, name, os.path.join(self._folder, tried), info)
        plain = _plain(name)
        places, how = self._spelled(os.path.join(self._folder, plain)), _SPELLING
        if not places and not is_image(os.path.basename(plain)):
            places, how = self._suffixed(os.path.join(self._folder, plain)), _SUFFIX
        if not places and not plain.startswith(("/", "../")):
            places, how = self._anywhere(plain.removeprefix("./"))
        return self._one_of(places, how, name, path, problem)

    def _one_of(
        self, places: list[str], how: str, name: str, path: str, problem: str
    ) -> tuple[str, os.stat_result | None, str | None]:
        info = _stat(places[0]) if len(places) == 1 else None
        if info is not None:
            return self._take(how, name, places[0], info)
        if len(places) > 1:
            shown = ", ".join(sorted(places)[:_SHOWN]) + (" …" if len(places) > _SHOWN else "")
            problem = f"no such file, but {len(places)} could be meant: {shown}"
        return path, None, problem

    def notes(self) -> list[str]:
        """Sentences on the files that were found otherwise than as they are named."""
        said = []
        if self._from_here:
            said.append(f"{self._title}: its paths are relative to the current folder, not to the list's")
        for how, count in self._found.items():
            name, path = self._example[how]
            files = "1 file was" if count == 1 else f"{count:,} files were"
            said.append(f"{self._title}: {files} found {how}: {path} for {name}")
        return said

    def _take(
        self, how: str, name: str, path: str, info: os.stat_result
    ) -> tuple[str, os.stat_result | None, str | None]:
        self._found[how] += 1
        self._example.setdefault(how, (name, path))
        return path, info, None

    def _spelled(self, path: str) -> list[str]:
        """The paths that are equal to one in Unicode's normal form C; empty if that is plain ASCII."""
        if path.isascii():
            return []
        places = ["/" if path.startswith("/") else ""]
        for part in filter(None, path.split("/")):
            following = []
            for place in places:
                exact = os.path.join(place, part)
                if os.path.lexists(exact):
                    following.append(exact)
                    continue
                same = self._listing(place).get(normal(part), ())
                following += [os.path.join(place, name) for name in same if normal(name) == normal(part)]
            places = following
        return places

    def _suffixed(self, path: str) -> list[str]:
        folder, stem = os.path.split(path)
        same = self._listing(folder).get(normal(stem), ())
        return [
            os.path.join(folder, name)
            for name in same
            if is_image(name) and normal(_stem(name)) == normal(stem)
        ]

    def _listing(self, folder: str) -> dict[str, list[str]]:
        """The names in a folder, by their normal form, and those of images by that without the suffix, too."""
        if folder not in self._listings:
            found: dict[str, list[str]] = {}
            try:
                with os.scandir(folder or os.curdir) as listing:
                    for entry in listing:
                        found.setdefault(normal(entry.name), []).append(entry.name)
                        if is_image(entry.name):
                            found.setdefault(normal(_stem(entry.name)), []).append(entry.name)
            except OSError:
                found = {}
            self._listings[folder] = found
        return self._listings[folder]

    def _anywhere(self, name: str) -> tuple[list[str], str]:
        """The images below the list's folder of this name, or of this name with a suffix; and where they were found."""
        if self._below is None:
            self._below = _images_below(self._folder)
            if not self._below and self._folder:
                self._below, self._where = _images_below(os.path.dirname(self._folder)), _AROUND
        name = normal(name)
        ends = f"/{name}", f"/{name}."
        found = self._below.get(name.rpartition("/")[2], [])
        if "/" in name:
            found = [
                one
                for one in found
                if normal(one).endswith(ends[0]) or normal(_stem(one) + ".").endswith(ends[1])
            ]
        return found, self._where


def normal(name: str) -> str:
    """A name in Unicode's normal form C, by which names that look alike are compared.

    Example:
        >>> normal("cafe\\u0301") == "caf\\u00e9"
        True
    """
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _images_below(folder: str) -> dict[str, list[str]]:
    """Paths of the images below a folder by name and by name without suffix; empty where there are too many entries."""
    found: dict[str, list[str]] = {}
    left, number = [folder], itertools.count()
    while left:
        place = left.pop()
        try:
            with os.scandir(place or os.curdir) as listing:
                for entry in listing:
                    if next(number) > _LOOKED_THROUGH:
                        return {}
                    path = os.path.join(place, entry.name)
                    if is_passed_over(entry.name) or (is_folder(entry) and entry.is_symlink()):
                        continue
                    if is_folder(entry):
                        left.append(path)
                    elif is_image(entry.name):
                        for name in {normal(entry.name), normal(_stem(entry.name))}:
                            found.setdefault(name, []).append(path)
        except OSError:
            continue
    return found


def _plain(name: str) -> str:
    name = name.strip()
    return name if os.sep != "/" else name.replace("\\", "/")


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None
