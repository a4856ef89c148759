"""Lists of file names, class names and labels, from files of their own or from an array."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError, DataError
from deltaoe.interchange.arrays import Column, npy_column, reading

Labels = npt.NDArray[np.int64]
Values = list[str] | Labels
_NO_PICKLE = (
    "pickles can run programs and are not read; save strings as np.array(list_of_str), which has dtype <U"
)
_NO_CLASS = -1


def read_list(path: Path) -> Values:
    """The n strings of a .txt file, one per line, or the n strings or integers of a .json list or an .npy array.

    Text is UTF-8; other bytes become lone surrogates, as in file names. Lines end with a line feed alone or with a
    carriage return before it.

    Raises:
        ConfigError: the file's name ends otherwise.
        DataError: the file cannot be read, or is no list of strings or integers.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        column = npy_column(path)
        if len(column.shape) == 1 or column.kind == "pickle":
            return values_of(path, column)
        raise DataError(f"{path} is {column.shape}, no list", hint="it must be (n,), strings or integers")
    with reading(path):
        if suffix == ".json":
            found = json.loads(path.read_bytes())
            strings = isinstance(found, list) and all(isinstance(value, str) for value in found)
            if strings:
                return list(found)
            if not (isinstance(found, list) and all(type(value) is int for value in found)):
                raise DataError(
                    f"{path} is no list of strings or of integers", hint='for example ["a.jpg", "b.jpg"]'
                )
            return np.array(found, dtype=np.int64)
        if suffix == ".txt":
            text = path.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
            return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []
    raise ConfigError(f"cannot tell how to read {path} as a list", hint="give a .txt, .json or .npy file")


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

    The lines of a .txt file are integers if all of them that are not empty are, unless all are among ``names``.

    Raises:
        ConfigError, DataError: as :func:`read_list` does.
    """
    values = read_list(path)
    if path.suffix.lower() != ".txt" or not isinstance(values, list) or {*values} <= {"", *(names or ())}:
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
