"""Lists of file names, class names and labels, from files of their own or from an array."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError, DataError
from deltaoe.files import check_regular_file, read_small_file
from deltaoe.images.label_files import read_label_names
from deltaoe.images.lists import TABLE_SUFFIXES, Wanted, only_column
from deltaoe.images.lists import read_list as read_table
from deltaoe.images.text_files import decoded, refuse_other_formats
from deltaoe.interchange.arrays import Column, npy_column, reading

Labels = npt.NDArray[np.int64]
Values = list[str] | Labels
What = Literal["paths", "labels", "names"]  # of images, of images, and of classes
_NO_PICKLE = (
    "pickles can run programs and are not read; save strings as np.array(list_of_str), which has dtype <U"
)
_NO_CLASS = -1


def read_list(path: Path, what: What = "paths") -> Values:
    """The n strings of a .txt file, one per line, of a column of a table, or the n strings or integers of an array.

    Arrays are .json lists and .npy files. Text is UTF-8, or UTF-16 with a byte order mark; in UTF-8, other bytes become
    lone surrogates, as in file names. Lines end with a line feed alone or with a carriage return before it. Of a table
    (.csv, .tsv), ``what`` says which column is taken, as in a list of images; it may be the only one.

    Raises:
        ConfigError: the file's name ends otherwise, or the names of classes cannot be told from other columns.
        DataError: the file cannot be read, is no regular file, or is no list of strings or integers.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        check_regular_file(path)
        column = npy_column(path)
        if len(column.shape) == 1 or column.kind == "pickle":
            return values_of(path, column)
        raise DataError(f"{path} is {column.shape}, no list", hint="it must be (n,), strings or integers")
    if suffix not in {".json", ".txt", *TABLE_SUFFIXES}:
        raise ConfigError(
            f"cannot tell how to read {path} as a list", hint="give a .txt, .csv, .json or .npy file"
        )
    data = read_small_file(path)
    with reading(path):
        if suffix == ".json":
            found = json.loads(data)
            strings = isinstance(found, list) and all(isinstance(value, str) for value in found)
            if strings:
                return list(found)
            if not (isinstance(found, list) and all(type(value) is int for value in found)):
                raise DataError(
                    f"{path} is no list of strings or of integers", hint='for example ["a.jpg", "b.jpg"]'
                )
            return np.array(found, dtype=np.int64)
        if what == "names" or suffix != ".txt":
            return read_label_names(path)[0] if what == "names" else _column(path, data, what)
        text = decoded(str(path), data)
        refuse_other_formats(str(path), suffix, text, images=what == "paths")
        return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def _column(path: Path, data: bytes, what: What) -> list[str]:
    """The paths or labels of a table."""
    name, suffix = str(path), path.suffix.lower()
    if only := only_column(name, decoded(name, data), what):
        return only
    listed = read_table(name, data, suffix, Wanted(labels=what == "labels"))
    if what == "paths":
        return listed.paths
    if listed.classes is None:
        raise DataError(f"{path} has no column of labels", hint="give it the title label")
    return listed.classes


def values_of(path: Path, column: Column) -> Values:
    """A column (n,) or (n, 1) as n strings or n integers; floats must be whole numbers, NaN and nulls become −1.

    Raises:
        DataError: it holds pickled objects, numbers that are not whole, or neither numbers nor text.
    """
    if column.kind == "text":
        return [_text(value) for block in column.blocks() for value in block.ravel().tolist()]
    check_no_pickle(path, column)
    if column.kind == "other":
        raise DataError(
            f"{path}: the array {column.name!r} is {column.dtype}", hint="it must be integers or strings"
        )
    blocks = [_integers(path, column.name, block.ravel()) for block in column.blocks()]
    return np.concatenate(blocks) if blocks else np.empty(0, dtype=np.int64)


def check_no_pickle(path: Path, column: Column) -> None:
    """Raise DataError for an array of Python objects: unpickling them could run a program."""
    if column.kind == "pickle":
        raise DataError(f"{path}: the array {column.name!r} holds pickled Python objects", hint=_NO_PICKLE)


def strings(values: Values) -> list[str]:
    """The list as names; integers are written in decimal."""
    return values if isinstance(values, list) else [str(value) for value in values.tolist()]


def read_label_list(path: Path, names: Sequence[str] | None) -> Values:
    """The labels of a list file: n class names or n integers, as :func:`read_list` reads them.

    The lines of a .txt file and the cells of a table are integers if all of them that are not empty are, unless all are
    among ``names``.

    Raises:
        ConfigError, DataError: as :func:`read_list` does.
    """
    values = read_list(path, "labels")
    if not isinstance(values, list) or path.suffix.lower() not in {".txt", *TABLE_SUFFIXES}:
        return values
    if {*values} <= {"", *(names or ())}:
        return values
    if not all(re.fullmatch(r"-?[0-9]{1,18}|", value) for value in values):
        return values
    return np.array([int(value or _NO_CLASS) for value in values], dtype=np.int64)


def check_names(where: Path | str, what: str, names: Iterable[str]) -> None:
    """Check names of files or classes: not empty, without NUL, lone surrogates only for bytes as in ``os.fsdecode``.

    Args:
        where: the file, for messages.
        what: what one of them is, for messages: ``path``, ``class name``.
        names: the names.

    Raises:
        DataError: one is no name; says which and why.
    """
    for row, name in enumerate(names):
        wrong = "is empty" if not name else "holds a NUL character" if "\0" in name else ""
        if not wrong and not name.isascii() and not _is_text(name):
            wrong = f"is no text: {name!r}"
        if wrong:
            raise DataError(f"{where}: {what} {row:,} {wrong}", hint="they count from 0; each needs a name")


def class_names(where: Path | str, values: Values) -> tuple[str, ...]:
    """The K class names of a list. Raises DataError for none, for two equal ones, and for what is no name."""
    names = tuple(strings(values))
    check_names(where, "class name", names)
    if not names:
        raise DataError(f"{where} names no class", hint="one name per class")
    first: dict[str, int] = {}
    for number, name in enumerate(names):
        if first.setdefault(name, number) != number:
            raise DataError(
                f"{where} names the classes {first[name]} and {number} alike: {name!r}",
                hint="rename or join them: one name, one class",
            )
    return names


def label_indices(
    where: Path | str, values: Values, names: Sequence[str] | None
) -> tuple[Labels, tuple[str, ...] | None]:
    """Labels as indices into class names, and these names.

    Args:
        where: the file, for messages.
        values: n class names, the empty string for no class, or n integers, −1 for no class.
        names: the K class names; None if the file has none. Strings then make them, sorted; integers stay unnamed.

    Returns:
        (n,) int64 indices into the class names, −1 for no class; and the class names, None where nobody named them.

    Raises:
        DataError: a label is none of the classes.
    """
    if isinstance(values, list):
        if names is None:
            names = sorted({*values} - {""})
        names = class_names(where, list(names)) if names else ()
        index = {name: number for number, name in enumerate(names)} | {"": _NO_CLASS}
        for row, value in enumerate(values):
            if value not in index:
                raise DataError(
                    f"{where}: row {row:,} is of the class {value!r}, which is none of the {len(names):,} named",
                    hint="add it to the class names",
                )
        return np.fromiter((index[value] for value in values), np.int64, len(values)), names or None
    limit = np.iinfo(np.int64).max if names is None else len(names) - 1
    wrong = np.flatnonzero((values < _NO_CLASS) | (values > limit))
    if len(wrong):
        among = "" if names is None else f" of {len(names):,} classes"
        raise DataError(
            f"{where}: the label in row {wrong[0]:,} is {values[wrong[0]]}, which is none{among}",
            hint="labels count from 0, and −1 is no class; subtract 1 from labels that count from 1",
        )
    return values, None if names is None else tuple(names)


def _integers(path: Path, name: str, block: npt.NDArray[Any]) -> Labels:
    if block.dtype.kind == "f":  # what pandas makes of integers of which some are missing
        block = np.where(np.isnan(block), _NO_CLASS, block)
    integers = block.astype(np.int64) if block.dtype.kind != "f" or (np.abs(block) < 2**62).all() else None
    if integers is None or (integers != block).any():
        raise DataError(
            f"{path}: the labels {name!r} are no whole numbers", hint="give integers or class names"
        )
    return integers


def _is_text(name: str) -> bool:
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == name
    except UnicodeEncodeError:
        return False


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
