"""Lists of image files, written by a user or printed by a program: a path per line, or a table with classes."""

from __future__ import annotations

import csv
import io
import itertools
import sys
from dataclasses import dataclass

from deltaoe.errors import DataError
from deltaoe.images.cells import cell_text

# The user's separator first; spreadsheets in half of Europe write ";" into a .csv.
_TABLES = {".csv": ",;\t", ".tsv": "\t,;"}
_PATH = ("path", "file", "filename", "filepath", "image", "image_path")
_CLASS = ("class", "class_name", "label")  # where there are several, a label is more often a number
_DOMAIN = ("domain",)
LIST_SUFFIXES = frozenset({".txt", ".lst", *_TABLES})


@dataclass(frozen=True)
class Listed:
    """The n rows of a list of image files.

    Attributes:
        paths: as they stand in the list.
        classes: the class of each, "" where there is none; None if the list has no such column.
        domains: the domain of each, likewise.
    """

    paths: list[str]
    classes: list[str] | None = None
    domains: list[str] | None = None


def read_list(name: str, data: bytes, suffix: str = "", classes: tuple[str, ...] = _CLASS) -> Listed:
    """The content of a list: one path per line or, with the suffixes ``.csv`` and ``.tsv``, a table with a header.

    Text is UTF-8, with or without a byte order mark; other bytes become lone surrogates, as in file names. Lines may
    end with CR LF; blank ones are skipped. If there is a NUL, paths end with NULs instead (``find -print0``).

    Args:
        name: the list's name, for error messages.
        data: its bytes.
        suffix: the file's, in lower case; empty for standard input.
        classes: names of a table's column of classes, the first that is there.

    Raises:
        DataError: it is UTF-16, or names no files, or the table has no column of paths or is ragged.

    Example:
        >>> read_list("photos.csv", b"path,class\\na.jpg,cat\\nb.jpg,\\n", ".csv")
        Listed(paths=['a.jpg', 'b.jpg'], classes=['cat', ''], domains=None)
    """
    # Files only: what find prints may begin with a name of these bytes.
    if suffix and data[:2] in {b"\xff\xfe", b"\xfe\xff"} and b"\0" in data:
        raise DataError(
            f"{name} is UTF-16 text",
            hint="save it as UTF-8; in PowerShell: ... | Out-File -Encoding utf8 FILE",
        )
    if suffix in _TABLES:
        listed = _table(name, _text(data), _TABLES[suffix], classes)
    elif b"\0" in data:
        listed = Listed([path for path in data.decode("utf-8", "surrogateescape").split("\0") if path])
    else:
        lines = (line.removesuffix("\r") for line in _text(data).split("\n"))
        listed = Listed([line for line in lines if line.strip()])
    if not listed.paths:
        raise DataError(f"{name} names no files", hint="one path per line, relative to where the list is")
    return listed


def _text(data: bytes) -> str:
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def _table(name: str, text: str, delimiters: str, class_names: tuple[str, ...]) -> Listed:
    for delimiter in delimiters:
        header = _header(text, delimiter)
        column = _column(header, _PATH)
        if column is not None:
            break
    else:
        first = ", ".join(_header(text, delimiters[0])[:8])
        raise DataError(
            f"{name}, line 1: there is no column of paths" + (f" (only: {first})" if first else ""),
            hint="its first line must name one of the columns path; class and domain may follow",
        )
    class_column, domain_column = _column(header, class_names), _column(header, _DOMAIN)
    paths: list[str] = []
    classes: list[str] = []
    domains: list[str] = []
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in itertools.islice(filter(_has_content, rows), 1, None):
            if len(row) != len(header):
                raise DataError(
                    f"{name}, line {rows.line_num}: {len(row)} cells under a header of {len(header)}",
                    hint=f"put a path with {delimiter!r} in it into double quotes",
                )
            if not row[column]:
                raise DataError(
                    f"{name}, line {rows.line_num}: no path", hint="fill it in, or remove the line"
                )
            paths.append(row[column])
            if class_column is not None:
                classes.append(sys.intern(cell_text(row[class_column].strip())))
            if domain_column is not None:
                domains.append(sys.intern(cell_text(row[domain_column].strip())))
    except csv.Error as cause:
        raise DataError(
            f"{name}, line {rows.line_num}: {cause}", hint="is a quotation mark left open?"
        ) from cause
    return Listed(
        paths, None if class_column is None else classes, None if domain_column is None else domains
    )


def _header(text: str, delimiter: str) -> list[str]:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        return next(filter(_has_content, rows), [])
    except csv.Error:  # quotes that make sense with another delimiter only
        return []


def _has_content(row: list[str]) -> bool:
    return any(map(str.strip, row))  # spreadsheets end in rows of nothing but separators


def _column(header: list[str], names: tuple[str, ...]) -> int | None:
    cells = [cell.strip().lower() for cell in header]
    return next((cells.index(name) for name in names if name in cells), None)
