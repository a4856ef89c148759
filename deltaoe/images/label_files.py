"""Lists of class names (``--labels``, ``--vocabulary``, ``--background``), in the dialects that people have."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

from deltaoe.errors import ConfigError
from deltaoe.images.column_titles import CLASSES, FOLDERS, NAMES, NUMBERS, PATHS, title_word
from deltaoe.images.tables import BLANK, SEPARATORS, Table, is_regular, tables_of, width
from deltaoe.images.text_files import is_other_format, read_text, refuse_other_formats

_TABLES = frozenset({".csv", ".tsv", ".tab", ".psv"})
_NAME_FILES = frozenset({"", ".txt", ".lst", ".names", *_TABLES})
_NUMBERED = re.compile(r"(\d+)(?:[.:)]?[ \t]+|[:)])(\S.*)")
_NUMBER_LAST = re.compile(r"(.*\S)[ \t]+(\d+)")
_CODE = re.compile(r"[a-z]\d{8}", re.IGNORECASE)  # of WordNet
_TITLES = frozenset({*FOLDERS, *NAMES, *CLASSES, *PATHS, *NUMBERS, ""})


def read_label_names(path: Path) -> tuple[list[str], str]:
    """The labels of a file, in its order, and in words how it was read if that is not one label per line.

    A table gives the column of names, without the numbers or codes beside them; the rows of a list of images give its
    classes. Lines may begin with their number.

    Raises:
        ConfigError: it cannot be read, is empty or of another format, or several columns could be the labels.
    """
    text = read_text(path, error=ConfigError)
    suffix = path.suffix.lower()
    refuse_other_formats(str(path), suffix, text, images=False, error=ConfigError)
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("# ")]
    if not lines:
        raise ConfigError(f"{path} holds no labels", hint="one label per line")
    for table in tables_of(str(path), text, (*SEPARATORS, BLANK), ConfigError):
        if table.separator == BLANK and not all(_CODE.fullmatch(line.split(None, 1)[0]) for line in lines):
            continue
        rows = table.sample()
        if is_regular(rows) and (suffix in _TABLES or _is_labelled(rows)):
            return _label_column(table)
    if suffix in _TABLES:
        return _only_column(path, text)
    return _labels_of_lines(path, lines)


def _labels_of_lines(path: Path, lines: list[str]) -> tuple[list[str], str]:
    separator = next((one for one in ",;|\t" if one in lines[0].rstrip(one)), "")
    if len(lines) == 1 and separator and _unquoted(lines[0]) == lines[0]:
        raise ConfigError(
            f"{path} holds one line with {'commas' if separator == ',' else repr(separator)}; is each part a label?",
            hint="write one label per line (a label with a comma in it, if it is the only one, in double quotes)",
        )
    told = ""
    if len(lines) > 1 and all(line.endswith(",") for line in lines[:-1]):
        lines, told = [line.removesuffix(",").rstrip() for line in lines], "commas at the ends are left out"
    for pattern, number, name, how in (
        (_NUMBERED, 1, 2, "each line begins with its number"),
        (_NUMBER_LAST, 2, 1, "each line ends with its number"),
    ):
        found = [match for line in lines if (match := pattern.fullmatch(line))]
        labels = [match[name].strip() for match in found]
        if len(found) == len(lines) > 1 and len(set(labels)) == len(labels):
            numbers = [match[number] for match in found]
            if _counts(numbers) or (pattern is _NUMBERED and len(lines) > 2 and _increase(numbers)):
                return labels, how
    if all(len(line) > 2 and line[0] == line[-1] == "'" for line in lines):
        return [line[1:-1].strip() for line in lines], told
    return [_unquoted(line) for line in lines], told


def _increase(numbers: Sequence[str]) -> bool:
    """Whether numbers go up from line to line, as those of classes of which some are left out."""
    return all(int(one) < int(other) for one, other in itertools.pairwise(numbers))


def _is_labelled(rows: Sequence[Sequence[str]]) -> bool:
    """Whether rows of a text are those of a table: numbers or codes beside names, or a header with known titles."""
    words = [title_word(cell) for cell in rows[0]]
    if all(
        word in {*FOLDERS, *NAMES, *CLASSES, *PATHS, "index", "idx", "number", "no", ""} for word in words
    ):
        return True
    columns = list(zip(*(row[: len(rows[0])] for row in rows), strict=True))
    return any(
        _counts([cell.strip() for cell in column]) or all(_CODE.fullmatch(cell.strip()) for cell in column)
        for column in columns
    )


def _counts(cells: Sequence[str]) -> bool:
    """Whether cells are the whole numbers from 0 or 1 on, in any order."""
    if not all(cell.isdecimal() for cell in cells):
        return False
    numbers = sorted(map(int, cells))
    return numbers in (list(range(len(cells))), list(range(1, len(cells) + 1)))


def _label_column(table: Table) -> tuple[list[str], str]:
    rows = list(table.rows())
    columns = len(rows[0][1])
    for line, cells in rows:
        if len(cells) < columns or width(cells) > columns:
            raise ConfigError(
                f"{table.name}, line {line}: {len(cells)} cells where the first row has {columns}",
                hint=f"put a label with {table.separator!r} in it into double quotes",
            )
    words = [title_word(cell) for cell in rows[0][1]]
    numeric = [all(cells[i].strip().isdecimal() for _, cells in rows[1:]) for i in range(columns)]
    titles = [i for i in range(columns) if numeric[i] and not rows[0][1][i].strip().isdecimal()]
    has_header = _TITLES.issuperset(words) or (len(rows) > 1 and bool(titles))
    below = [cells for _, cells in (rows[1:] if has_header else rows)]
    found = [
        i
        for i in range(columns)
        if any(cells[i].strip() for cells in below)
        and not all(cells[i].strip().isdecimal() or _CODE.fullmatch(cells[i].strip()) for cells in below)
    ]
    paths = [
        i for i in found if has_header and words[i] in PATHS and len(found) > 1 and words[i] not in NAMES
    ]
    found = [i for i in found if i not in paths]
    if len(found) > 1 and has_header:
        ranked = [i for word in (*CLASSES, *NAMES) for i in found if words[i] == word]
        found = ranked[:1] or found
    if len(found) != 1:
        raise ConfigError(
            f"{table.name}: {'several columns' if found else 'no column'} could be the labels "
            f"({table.separator_name} between {columns} cells)",
            hint="keep the column of the names, one label per line",
        )
    place = found[0]
    labels = [cells[place].strip() for cells in below if cells[place].strip()]
    title = repr(rows[0][1][place].strip()) if has_header else f"column {place + 1}"
    order = [i for i in range(columns) if i != place and _counts([cells[i].strip() for cells in below])]
    if order and len(labels) == len(below):
        labels = [cells[place].strip() for cells in sorted(below, key=lambda cells: int(cells[order[0]]))]
    return (list(dict.fromkeys(labels)) if paths else labels), f"labels from {title}"


def _only_column(path: Path, text: str) -> tuple[list[str], str]:
    """The labels of a table with one column, perhaps with a title."""
    (table, *_) = tables_of(
        str(path), text, (",",) if path.suffix.lower() == ".csv" else ("\t",), ConfigError
    )
    labels = []
    for line, cells in table.rows():
        if width(cells) > 1:
            raise ConfigError(
                f"{path}, line {line}: {len(cells)} cells, where others have one",
                hint="put a label with a comma in it into double quotes, or write one label per line into a .txt",
            )
        labels.append(cells[0].strip())
    if len(labels) > 1 and title_word(labels[0]) in {*CLASSES, "name", "names"}:
        return labels[1:], f"the first row, {labels[0]!r}, is a title"
    return labels, ""


def _unquoted(line: str) -> str:
    inner = line[1:-1]
    return inner.strip() if len(line) > 2 and line[0] == line[-1] == '"' and '"' not in inner else line


def is_name_file(source: str) -> bool:
    """Whether a file that an option names holds names, by its suffix, rather than text features.

    Example:
        >>> [is_name_file(name) for name in ("words.txt", "words.csv", "words.json", "words", "words.npz")]
        [True, True, True, True, False]
    """
    suffix = os.path.splitext(source)[1].lower()
    return suffix in _NAME_FILES or (is_other_format(suffix) and suffix != ".parquet")
