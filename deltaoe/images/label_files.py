"""Lists of class names (``--labels``, ``--vocabulary``, ``--background``), in the dialects that people have."""

from __future__ import annotations

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
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if all(numbered) and len(lines) > 1 and _counts([one[1] for one in numbered if one]):
        return [one[2].strip() for one in numbered if one], "each line begins with its number"
    if len(lines) == 1 and len(lines[0].split(",")) > 2:
        raise ConfigError(
            f"{path} holds one line with commas; is each part a label?", hint="write one label per line"
        )
    return [_unquoted(line) for line in lines], ""


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
