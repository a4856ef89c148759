"""Class names: from folders, from a CSV that renames folders, from a list of labels."""

from __future__ import annotations

import csv
import difflib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError, DataError
from deltaoe.images.layout import Layout

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Labelling:
    """Class and domain of each image, in the order of the paths given.

    ``class_of`` and ``domain_of`` (n,) are indices into the sorted ``class_names`` and ``domain_names``; −1 where a
    file has none (it lies above the class folders, or the layout has no domains).
    """

    layout: Layout
    class_names: tuple[str, ...]
    domain_names: tuple[str, ...]
    class_of: npt.NDArray[np.int64]
    domain_of: npt.NDArray[np.int64]


def detect_layout(paths: Iterable[str]) -> Layout:
    """Recognise ``<class>/…``, ``<domain>/<class>/…`` or a flat folder from relative paths with ``/``.

    Domains are recognised by their classes: every image lies at least two folders deep, and either most second
    level names occur under several top folders, or there is one top folder with several folders below.
    """
    tops: set[str] = set()
    homes: dict[str, set[str]] = defaultdict(set)
    deep = True
    for folder in {path.rpartition("/")[0] for path in paths}:
        parts = folder.split("/") if folder else []
        if parts:
            tops.add(parts[0])
        if len(parts) > 1:
            homes[parts[1]].add(parts[0])
        elif len(parts) == 1:
            deep = False
    if not tops:
        return "flat"
    if not deep or not homes:
        return "class"
    if len(tops) == 1:
        return "domain/class" if len(homes) > 1 else "class"
    shared = sum(len(home) > 1 for home in homes.values())
    return "domain/class" if 2 * shared > len(homes) else "class"


def label_paths(
    paths: Sequence[str], layout: Layout | None = None, renames: Mapping[str, str] | None = None
) -> Labelling:
    """Class and domain of each relative path.

    Args:
        paths: relative to the data set's folder, with ``/``.
        layout: None to recognise it with :func:`detect_layout`.
        renames: class folder → class name; folders not named keep theirs (underscores become spaces). Two
            folders with one name are one class.

    Raises:
        ConfigError: ``renames`` names a folder that is not there.
    """
    layout = layout or detect_layout(paths)
    level = {"flat": -1, "class": 0, "domain/class": 1}[layout]
    renames = renames or {}
    # A million images lie in a few thousand folders: all that is said of a path is said of its folder once.
    homes = [path.rpartition("/")[0] for path in paths]
    places = {home: _place(home.split("/") if home else [], level) for home in set(homes)}
    present = {folder for folder, _ in places.values() if folder is not None}
    for folder in renames:
        if folder not in present:
            close = difflib.get_close_matches(folder, present, n=1)
            raise ConfigError(
                f"the classes file names a folder that holds no images: {folder!r}",
                hint=f"did you mean {close[0]!r}?" if close else "its first column is the folder's name",
            )
    named = {
        home: (None if folder is None else renames.get(folder, tidy(folder)), domain)
        for home, (folder, domain) in places.items()
    }
    return _labelling(layout, homes, named)


def label_table(classes: Sequence[str], domains: Sequence[str] | None) -> Labelling:
    """Class and domain of each image as a table gives them; an empty cell is none."""
    pairs = list(zip(classes, domains if domains is not None else [""] * len(classes), strict=True))
    return _labelling("table", pairs, {pair: (pair[0] or None, pair[1] or None) for pair in set(pairs)})


def _place(parts: Sequence[str], level: int) -> tuple[str | None, str | None]:
    folder = parts[level] if 0 <= level < len(parts) else None
    return folder, parts[0] if level == 1 and len(parts) > 1 else None


def _labelling(
    layout: Layout, keys: Sequence[Key], named: Mapping[Key, tuple[str | None, str | None]]
) -> Labelling:
    class_names = tuple(sorted({name for name, _ in named.values() if name is not None}))
    domain_names = tuple(sorted({domain for _, domain in named.values() if domain is not None}))
    class_index: dict[str | None, int] = {name: i for i, name in enumerate(class_names)}
    domain_index: dict[str | None, int] = {name: i for i, name in enumerate(domain_names)}
    number = {key: i for i, key in enumerate(named)}
    classes = np.array([class_index.get(name, -1) for name, _ in named.values()], dtype=np.int64)
    domains = np.array([domain_index.get(domain, -1) for _, domain in named.values()], dtype=np.int64)
    place = np.fromiter(map(number.__getitem__, keys), dtype=np.int64, count=len(keys))
    return Labelling(layout, class_names, domain_names, classes[place], domains[place])


def tidy(folder: str) -> str:
    """A folder's name as words: underscores to spaces, runs of blanks to one; never empty."""
    return " ".join(folder.replace("_", " ").split()) or folder


def read_classes_csv(path: Path) -> dict[str, str]:
    """Read ``folder, name`` rows (UTF-8; a first row ``folder,name`` is a header; blank rows are skipped).

    Raises:
        ConfigError: unreadable, a row without exactly two non-empty cells, or a folder named twice.
    """
    reader = csv.reader(_text(path).splitlines(), strict=True)
    try:
        rows = list(reader)
    except csv.Error as cause:
        raise ConfigError(
            f"{path}, line {reader.line_num}: {cause}", hint="is a quotation mark left open?"
        ) from cause
    renames: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (number == 1 and [c.lower() for c in cells] == ["folder", "name"]):
            continue
        if len(cells) != 2 or not all(cells):
            raise ConfigError(
                f"{path}, row {number}: expected two cells, folder and name",
                hint="for example: n02123045,tabby cat",
            )
        if cells[0] in renames:
            raise ConfigError(
                f"{path}, row {number}: folder {cells[0]!r} is named twice", hint="keep one row"
            )
        renames[cells[0]] = cells[1]
    if not renames:
        raise ConfigError(f"{path} names no folder", hint="one row per folder: folder,name")
    return renames


def read_labels(path: Path) -> tuple[str, ...]:
    """Read one label per line (UTF-8; blank lines are skipped), in the file's order.

    Raises:
        ConfigError: unreadable, empty, or a label given twice.
    """
    labels = [line.strip() for line in _text(path).splitlines() if line.strip()]
    if not labels:
        raise ConfigError(f"{path} holds no labels", hint="one label per line")
    seen: set[str] = set()
    for label in labels:
        if label in seen:
            raise ConfigError(f"{path} holds the label {label!r} twice", hint="remove one of them")
        seen.add(label)
    return tuple(labels)


def check_name(name: str) -> None:
    """Raise ConfigError unless a data set can have this name (or none)."""
    if name and (not name.isprintable() or name.strip() != name or set(name) & set("/\\")):
        raise ConfigError(
            f"a data set cannot be named {name!r}", hint="use letters, digits, blanks inside, - and _"
        )


def require_classes(class_names: Sequence[str], what: str) -> None:
    """Raise DataError unless there are at least two classes to tell apart."""
    if len(class_names) < 2:
        found = f"one class only ({class_names[0]})" if class_names else "no classes"
        raise DataError(
            f"{what} has {found}; tuning needs at least two",
            hint="put images into one folder per class (images/<class>/…), or say the layout: "
            "deltaoe extract DIR --layout domain/class",
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as cause:
        raise ConfigError(
            f"cannot read {path}: {(cause.strerror or str(cause)).lower()}", hint="check the path"
        ) from cause
    except UnicodeDecodeError as cause:
        raise ConfigError(f"{path} is not UTF-8 text", hint="save it as UTF-8") from cause
