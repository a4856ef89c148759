"""Lists of image files, written by a user or printed by a program: a path per line, or a table with classes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from deltaoe.errors import DataError
from deltaoe.images.class_cells import settled
from deltaoe.images.column_titles import CLASS_NUMBERS, CLASSES, NAMES, PATHS, known_titles, title_word
from deltaoe.images.columns import Roles, is_header, roles_of
from deltaoe.images.splits import canonical_split
from deltaoe.images.tables import SEPARATORS, Table, body, interned, is_regular, tables_of, width
from deltaoe.images.text_files import decoded, refuse_other_formats
from deltaoe.images.walk import SUFFIXES, is_image

# The user's separator first; spreadsheets in half of Europe write ";" into a .csv.
_TABLES = {".csv": ",;\t|", ".tsv": "\t,;|", ".tab": "\t,;|", ".psv": "|,;\t"}
TABLE_SUFFIXES = frozenset(_TABLES)
LIST_SUFFIXES = frozenset({".txt", ".lst", *_TABLES})
# What stands behind the last suffix of an image in a line: "a b.jpg 3".
_BEHIND = re.compile(
    rf"(.*?(?:{'|'.join(map(re.escape, sorted(SUFFIXES, key=len, reverse=True)))}))[ \t]+(\S.*)", re.I
)
_VOC = re.compile(r"\S+ +-?[01]")


@dataclass(frozen=True)
class Listed:
    """The n rows of a list of image files.

    Attributes:
        paths: as they stand in the list.
        classes: the class of each, "" where there is none; None if the list has no such column.
        domains: the domain of each, likewise.
        splits: ``train``, ``val`` or ``test`` of each, likewise.
        assumed: how the columns were understood, in a sentence; none if their titles say it.
        notes: sentences on cells that make no sense.
        is_table: whether the list has columns.
    """

    paths: list[str]
    classes: list[str] | None = None
    domains: list[str] | None = None
    splits: list[str] | None = None
    assumed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_table: bool = False


@dataclass(frozen=True)
class Wanted:
    """What is to be read from a table beside the paths.

    Attributes:
        labels: whether classes are looked for.
        label_column: title of the column of classes, or ``none``, as a user says it.
        only: titles that the column of classes can have, where no other will do.
    """

    labels: bool = True
    label_column: str | None = None
    only: tuple[str, ...] | None = None


def _nowhere(path: str) -> bool:
    return False


def read_list(
    name: str,
    data: bytes,
    suffix: str = "",
    wanted: Wanted | None = None,
    exists: Callable[[str], bool] = _nowhere,
) -> Listed:
    """The content of a list: one path per line, or a table.

    With the suffixes of tables, such as ``.csv``, a list is a table. Other files are one if their lines are made like
    rows: a header with a known title of paths, or an image and something else in each row. Standard input is none.

    Text is UTF-8, or UTF-16 with a byte order mark; in UTF-8, other bytes become lone surrogates, as in file names.
    Lines may end with CR LF; blank ones are skipped. If there is a NUL, paths end with NULs instead
    (``find -print0``).

    Args:
        name: the list's name, for messages.
        data: its bytes.
        suffix: the file's, in lower case; empty for standard input.
        wanted: what is read beside the paths; None for classes wherever they may be.
        exists: whether there is such a file. A line of a ``.txt`` that is a file's name is no row of a table.

    Raises:
        DataError: it is of another format (JSON, YAML, XML, label files), or names no files; or the table has no column
            of paths, several that could be the classes, or is ragged.
        ConfigError: there is no such column as the user says.

    Example:
        >>> listed = read_list("photos.csv", b"path,class\\na.jpg,cat\\nb.jpg,\\n", ".csv")
        >>> listed.paths, listed.classes, listed.domains
        (['a.jpg', 'b.jpg'], ['cat', ''], None)
    """
    wanted = wanted or Wanted()
    table = None
    # What find prints may begin with a name like a mark of UTF-16 or UTF-8.
    text = decoded(name, data) if suffix else data.decode("utf-8", "surrogateescape")
    if suffix in _TABLES or (suffix and "\0" not in text):
        refuse_other_formats(name, suffix, text, images=True)
        table = _table(name, text, suffix) if suffix in _TABLES else _table_in_lines(name, text, exists)
    if table is not None:
        listed = _columns(table, wanted)
    elif "\0" in text:
        listed = Listed([path for path in text.split("\0") if path])
    else:
        lines = (line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n"))
        listed = Listed([line for line in lines if line.strip()])
    if not listed.paths:
        raise DataError(f"{name} names no files", hint="one path per line, relative to where the list is")
    return listed


def _table(name: str, text: str, suffix: str) -> Table:
    """The text with the separator that gives the most known titles, or else a regular table."""
    tables = tables_of(name, text, _TABLES[suffix])
    samples = [table.sample() for table in tables]

    def worth(place: int) -> tuple[int, bool, bool]:
        rows = samples[place]
        if not rows:
            return 0, False, False
        return known_titles(rows[0]), is_regular(rows), any(map(_is_image, rows[0]))

    return tables[max(range(len(tables)), key=worth)]


def _table_in_lines(name: str, text: str, exists: Callable[[str], bool]) -> Table | None:
    """The table that a file with a suffix of texts holds; None if it is a list with a path per line."""
    lines = list(itertools.islice((line for line in text.splitlines() if line.strip()), 1000))
    if not lines or exists(lines[0].strip()) or exists(lines[-1].strip()):
        return None
    for table in tables_of(name, text, SEPARATORS):
        rows = table.sample()
        if not rows or all(map(_is_image, lines)):
            continue
        first, *others = rows
        as_rows = is_regular(rows) or (len(first) > 1 and _has_row_names(first, others))
        columns = zip(*rows, strict=False)
        if as_rows and (is_header(first, others) or any(all(map(_is_image, column)) for column in columns)):
            return table
    if all(map(_VOC.fullmatch, lines)) and any(line.split()[1] == "-1" for line in lines):
        raise DataError(
            f"{name} is an image set of Pascal VOC (1 and -1 for one class), not a list of images",
            hint="write a .csv with the columns path,class from it",
        )
    return _blank_separated(name, text, lines)


def _blank_separated(name: str, text: str, lines: Sequence[str]) -> Table | None:
    """A table with blanks between its cells, written with tabs: ``a b.jpg 3``, or ``1 a.jpg``."""
    if all(map(_BEHIND.fullmatch, lines)) and not any(map(_is_image, lines)):
        cells: Callable[[str], Sequence[str]] = _behind
    else:
        rows = [line.split() for line in lines]
        columns = len(rows[0])
        numbered = columns > 1 and all(len(row) == columns and row[0].isdecimal() for row in rows)
        if not numbered or not any(all(_is_image(row[i]) for row in rows) for i in range(1, columns)):
            return None
        cells = str.split
    whole = (line for line in text.splitlines() if line.strip())
    joined = "\n".join(
        "\t".join('"' + cell.replace('"', '""') + '"' for cell in cells(line)) for line in whole
    )
    return Table(name, joined, "\t")


def _behind(line: str) -> Sequence[str]:
    found = _BEHIND.fullmatch(line.strip())
    return [line.strip()] if found is None else found.groups()


def _is_image(cell: str) -> bool:
    name = cell.strip().replace("\\", "/").rpartition("/")[2]
    return name != "" and is_image(name)


def _columns(table: Table, wanted: Wanted) -> Listed:
    """The columns of a table that are used."""
    rows = [cells for _, cells in itertools.islice(table.rows(), 200)]
    if not rows:
        raise DataError(
            f"{table.name}, line 1: there is no column of paths",
            hint="its first line must name one of the columns path; class, domain and split may follow",
        )
    header = rows[0] if is_header(rows[0], rows[1:]) else None
    if header is not None and _has_row_names(header, rows[1:]):
        header = ["", *header]
    columns = len(rows[0] if header is None else header)
    roles = roles_of(
        table,
        header,
        columns,
        labels=wanted.labels,
        label_column=wanted.label_column,
        only=wanted.only,
    )
    return _read(table, header is not None, columns, roles)


def read_table(name: str, text: str, wanted: Wanted) -> Listed:
    """A table that a program has made, with titles and with tabs between the cells, as :func:`read_list` reads one."""
    listed = _columns(Table(name, text, "\t"), wanted)
    if not listed.paths:
        raise DataError(f"{name} names no files", hint="it needs a row for each image")
    return listed


def read_columns(name: str, text: str, wanted: Wanted, roles: Roles | None = None) -> tuple[Listed, Roles]:
    """A table that a program has made of what it knows of images, and what its columns are.

    Args:
        name: for messages.
        text: with tabs between the cells and titles in its first row, of which ``path`` is the first.
        wanted: what is read beside the paths.
        roles: what the columns are; None for finding that.

    Raises:
        DataError, ConfigError: as for :func:`read_list`.
    """
    table = Table(name, text, "\t")
    header = next(table.rows())[1]
    if roles is None:
        roles = roles_of(table, header, len(header), labels=wanted.labels, label_column=wanted.label_column)
    listed = _read(table, True, len(header), roles)
    said = [sentence.replace(f"paths from {header[0]!r}, ", "") for sentence in listed.assumed]
    return replace(listed, assumed=said), roles


def _has_row_names(header: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether R has written the table: its rows begin with numbers that no title stands above."""
    return bool(rows) and all(len(row) == len(header) + 1 and row[0].strip().isdecimal() for row in rows)


def _read(table: Table, has_header: bool, columns: int, roles: Roles) -> Listed:
    paths: list[str] = []
    classes: list[str] = []
    domains: list[str] = []
    splits: list[str] = []
    place = roles.path.place
    for line, cells in body(table, has_header, columns):
        if not cells[place].strip():
            raise DataError(f"{table.name}, line {line}: no path", hint="fill it in, or remove the line")
        paths.append(cells[place])
        if roles.label is not None:
            classes.append(interned(cells[roles.label.place]))
        for column in roles.one_hot:
            if float(cells[column.place].strip() or 0):
                classes.append(column.title)
        if roles.domain is not None:
            domains.append(interned(cells[roles.domain.place]))
        if roles.split is not None:
            cell = cells[roles.split.place].strip()
            splits.append(roles.flags.get(cell.casefold()) or canonical_split(cell) or "")
    classes, notes = settled(table.name, classes)
    return Listed(
        paths,
        None if roles.label is None and not roles.one_hot else classes,
        None if roles.domain is None else domains,
        None if roles.split is None else splits,
        roles.assumed,
        [*roles.notes, *notes],
        is_table=True,
    )


def only_column(name: str, text: str, what: Literal["paths", "labels", "names"]) -> list[str]:
    """The cells of a table with one column, without a title of what is looked for; empty if it has several columns.

    Raises:
        DataError: a row cannot be read.
    """
    (table, *_) = tables_of(name, text, (",",))
    if any(is_regular(one.sample()) for one in tables_of(name, text)) or not table.sample():
        return []
    rows = [cells for _, cells in table.rows()]
    if any(width(row) > 1 for row in rows):
        return []
    titles = PATHS if what == "paths" else (*CLASSES, *CLASS_NUMBERS, *NAMES)
    return [row[0].strip() for row in rows[1 if title_word(rows[0][0]) in titles else 0 :]]
