"""Classes and domains of images, from folders, tables and lists, and the rules for names and templates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError, DataError
from deltaoe.images.classes_file import ClassesFile, applied
from deltaoe.images.label_files import read_label_names
from deltaoe.images.layout import Layout
from deltaoe.images.layout_detection import detect_layout, folder_of, places
from deltaoe.images.splits import SPLITS

Key = TypeVar("Key", bound=Hashable)
Named = tuple[str | None, str | None, str | None]  # class, domain and split


@dataclass(frozen=True)
class Labelling:
    """Class, domain and split of each of n images, in the order of the paths given.

    Attributes:
        layout: where they come from.
        class_names: K names, sorted.
        domain_names: sorted; empty if the layout has no domains.
        class_of: (n,) int64, index into ``class_names``; −1 for a file above the class folders.
        domain_of: (n,) int64, index into ``domain_names``; −1 for a file without one.
        split_names: those of ``train``, ``val`` and ``test`` that there are, in this order; empty without splits.
        split_of: (n,) int64, index into ``split_names``; −1 for a file of no split.
        renames: class folder → class name, of the folders that a classes file names.
        notes: sentences on how that file was read.
    """

    layout: Layout
    class_names: tuple[str, ...]
    domain_names: tuple[str, ...]
    class_of: npt.NDArray[np.int64]
    domain_of: npt.NDArray[np.int64]
    split_names: tuple[str, ...]
    split_of: npt.NDArray[np.int64]
    renames: Mapping[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def label_paths(
    paths: Sequence[str],
    layout: Layout | None = None,
    renames: ClassesFile | Mapping[str, str] | None = None,
) -> Labelling:
    """Class, domain and split of each image by the folders that it lies in.

    Args:
        paths: n paths relative to the data set's folder, with ``/``.
        layout: any but ``table``; None to recognise it with :func:`~deltaoe.images.layout_detection.detect_layout`.
        renames: a file that names class folders, or class folder → class name; any other folder's name is its own.
            Names are written as :func:`tidy` does. Two folders with one name are one class.

    Raises:
        ConfigError: the file names no folder that holds images, or makes no sense.

    Example:
        >>> labelling = label_paths(["dog/1.jpg", "tabby_cat/2.jpg", "3.jpg"], "class")
        >>> labelling.class_names, labelling.class_of.tolist()
        (('dog', 'tabby cat'), [0, 1, -1])
    """
    layout = layout or detect_layout(paths)
    # A million images lie in a few thousand folders: class and domain are found once per folder.
    folders = list(map(folder_of, paths))
    said = places(set(folders), layout)
    given, notes = applied(renames, {place.folder for place in said.values() if place.folder is not None})
    names = {folder: tidy(name) for folder, name in given.items()}
    named: dict[str, Named] = {
        path: (
            None if one.folder is None else names.get(one.folder) or tidy(one.folder),
            one.domain,
            one.split,
        )
        for path, one in said.items()
    }
    return replace(_labelling(layout, folders, named), renames=names, notes=notes)


def label_table(
    classes: Sequence[str], domains: Sequence[str] | None, splits: Sequence[str] | None = None
) -> Labelling:
    """Class, domain and split of each of n images as a table gives them; an empty cell is none.

    Args:
        classes: n cells.
        domains: n cells; None if the table has no such column.
        splits: n cells, ``train``, ``val`` or ``test`` each; None if the table has no such column.

    Example:
        >>> label_table(["dog", "", "cat"], None).class_of.tolist()
        [1, -1, 0]
        >>> label_table(["dog", "cat"], None, ["test", "train"]).split_of.tolist()
        [1, 0]
    """
    none = [""] * len(classes)
    cells = list(
        zip(classes, none if domains is None else domains, none if splits is None else splits, strict=True)
    )
    return _labelling(
        "table", cells, {row: (row[0] or None, row[1] or None, row[2] or None) for row in set(cells)}
    )


def _labelling(layout: Layout, keys: Sequence[Key], named: Mapping[Key, Named]) -> Labelling:
    """The labelling of n images by their keys; ``named`` holds class, domain and split of each distinct key."""
    number = {key: i for i, key in enumerate(named)}
    index = np.fromiter(map(number.__getitem__, keys), dtype=np.int64, count=len(keys))
    columns = list(zip(*named.values(), strict=True)) or [(), (), ()]
    names = [tuple(sorted({cell for cell in column if cell is not None})) for column in columns]
    names[2] = tuple(split for split in SPLITS if split in names[2])
    rows = []
    for known, column in zip(names, columns, strict=True):
        place: dict[str | None, int] = {name: i for i, name in enumerate(known)}
        rows.append(np.array([place.get(cell, -1) for cell in column], dtype=np.int64)[index])
    classes, domains, splits = rows
    return Labelling(layout, names[0], names[1], classes, domains, names[2], splits)


def tidy(folder: str) -> str:
    """A folder's name as words: underscores become spaces, several blanks become one; never empty.

    Example:
        >>> tidy("n02123045_tabby__cat")
        'n02123045 tabby cat'
    """
    return " ".join(folder.replace("_", " ").split()) or folder


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels of a file, as :func:`~deltaoe.images.label_files.read_label_names` reads and :func:`tidy` writes them.

    Labels that would be one by that, such as ``hot_dog`` and ``hot dog``, stay as they are.

    Raises:
        ConfigError: it cannot be read, is empty or of another format, or has a label twice.
    """
    given = read_label_names(path)[0]
    counts = Counter(map(tidy, given))
    labels = tuple(tidy(label) if counts[tidy(label)] == 1 else label for label in given)
    seen: set[str] = set()
    for label in labels:
        if label in seen:
            raise ConfigError(f"{path} holds the label {label!r} twice", hint="remove one of them")
        seen.add(label)
    return labels


def check_name(name: str) -> None:
    """Raise ConfigError unless this can be a data set's name; empty is no name, which is fine."""
    if name and (not name.isprintable() or name.strip() != name or set(name) & set("/\\")):
        raise ConfigError(
            f"a data set cannot be named {name!r}", hint="use letters, digits, blanks inside, - and _"
        )


def require_classes(class_names: Sequence[str], what: str) -> None:
    """Raise DataError unless there are at least two classes.

    Args:
        class_names: of the data set.
        what: the data set's name in the message.
    """
    if len(class_names) < 2:
        found = f"one class only ({class_names[0]})" if class_names else "no classes"
        raise DataError(
            f"{what} has {found}; tuning needs at least two",
            hint="put images into one folder per class (images/<class>/…), or say the layout: "
            "deltaoe extract DIR --layout domain/class",
        )
