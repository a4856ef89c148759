"""Tables in text: rows of cells with a separator between, read twice rather than held, for a million rows are usual.

The first reading describes the columns (:func:`described`); :mod:`~deltaoe.images.columns` says from that what each is.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from deltaoe.errors import DataError, DeltaoeError
from deltaoe.images.column_titles import PATHS, title_word
from deltaoe.images.csv_cells import cell_text
from deltaoe.images.location_text import is_url
from deltaoe.images.walk import is_image

BLANK = " "  # the separator of a table whose first cell has no blanks: n01440764 tench, Tinca tinca
SEPARATORS = (",", ";", "\t", "|")
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", BLANK: "blanks"}
_SAMPLE = 200  # rows by which a separator is chosen
_BLOCK = 10_000  # rows that are looked at together
_MAX_VALUES = 10_000  # distinct values of a column that are looked at
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|nan", re.IGNORECASE)
_RULE = re.compile(r"(?::?-{3,}:?)?")  # of Markdown's tables, below the titles
_SEP_LINE = re.compile(r'"?sep=(.)"?[ \t]*\r?\n', re.IGNORECASE)  # what Excel reads and writes

Row = tuple[int, list[str]]


@dataclass(frozen=True)
class Table:
    """A text as rows of cells.

    Attributes:
        name: the file's, for messages.
        text: without the lines in front of the table.
        separator: a comma, semicolon, tab or bar, or :data:`BLANK`.
        skipped: number of lines in front.
        error: what is raised for a row that cannot be read.
    """

    name: str
    text: str
    separator: str
    skipped: int = 0
    error: type[DeltaoeError] = DataError

    @property
    def separator_name(self) -> str:
        """The separator in words, such as ``semicolons``."""
        return _NAMES[self.separator]

    def rows(self) -> Iterator[Row]:
        """Line number, counted from 1, and cells of each row that is not blank. Raises ``error``."""
        if self.separator == BLANK:
            for number, line in enumerate(self.text.splitlines(), start=self.skipped + 1):
                if line.strip():
                    yield number, [cell.strip() for cell in line.split(None, 1)]
            return
        reader = csv.reader(
            io.StringIO(self.text, newline=""), strict=True, **_style(self.text, self.separator)
        )
        try:
            as_written = "'" in self.text  # whether a cell may be text that a spreadsheet would else run
            for row in reader:
                if self.separator == "|" and all(_RULE.fullmatch(cell.strip()) for cell in row):
                    continue
                if any(map(str.strip, row)):  # spreadsheets end in rows of nothing but separators
                    yield reader.line_num + self.skipped, list(map(cell_text, row)) if as_written else row
        except csv.Error as cause:
            raise self.error(
                f"{self.name}, line {reader.line_num + self.skipped}: {cause}",
                hint="is a quotation mark left open?",
            ) from cause

    def sample(self) -> list[list[str]]:
        """The first rows; empty if one of them cannot be read."""
        try:
            return [row for _, row in itertools.islice(self.rows(), _SAMPLE)]
        except DeltaoeError:
            return []


def tables_of(
    name: str, text: str, separators: Sequence[str] = SEPARATORS, error: type[DeltaoeError] = DataError
) -> list[Table]:
    """The text as a table with each of the separators; with the one that a first line ``sep=;`` names, if it does.

    Lines in front that begin with ``# `` are comments, unless they hold the titles.
    """
    skipped = 0
    while text.startswith("# ") and "\n" in text:
        line, _, rest = text.partition("\n")
        if any(
            title_word(cell) in PATHS for cell in re.split(r"[,;\t|]", line[2:])
        ):  # as np.savetxt writes it
            text = text[2:]
        else:
            text, skipped = rest, skipped + 1
    if (named := _SEP_LINE.match(text)) and named[1] in SEPARATORS:
        text, separators, skipped = text[named.end() :], (named[1],), skipped + 1
    return [Table(name, text, separator, skipped, error) for separator in separators]


def is_regular(rows: Sequence[Sequence[str]]) -> bool:
    """Whether there are two or more columns, and as many cells in each row; blank ones at its end do not count."""
    columns = len(rows[0]) if rows else 0
    return columns > 1 and all(len(row) >= columns >= width(row) for row in rows)


def width(row: Sequence[str]) -> int:
    """Number of cells of a row up to its last that is not blank."""
    return next((i for i in range(len(row), 0, -1) if row[i - 1].strip()), 0)


@dataclass
class Column:
    """What a column holds.

    Attributes:
        title: its header, or ``column 2``.
        place: its index.
        filled: number of cells that are not blank.
        values: its distinct values in their order, the first few thousand.
        numbers: whether all cells that are not blank are numbers.
        images: number of distinct values that end like a name of an image.
        addresses: whether its first value is an address on the web.
    """

    title: str
    place: int
    filled: int = 0
    values: dict[str, None] = field(default_factory=dict)
    numbers: bool = True
    images: int = 0

    def add(self, cells: Sequence[str]) -> None:
        """Take some of its cells into account."""
        self.filled += len(cells)
        for cell in dict.fromkeys(cells):
            value = cell.strip()
            if not value:
                self.filled -= cells.count(cell)
            elif value not in self.values and len(self.values) < _MAX_VALUES:
                self.values[value] = None
                self.numbers = self.numbers and _NUMBER.fullmatch(value) is not None
                self.images += is_image(value.replace("\\", "/").rpartition("/")[2])

    @property
    def is_text(self) -> bool:
        """Whether it has values, and they are no numbers."""
        return bool(self.values) and not self.numbers

    @property
    def names_images(self) -> bool:
        """Whether most of its values end like names of images."""
        return 2 * self.images > len(self.values)

    @property
    def repeats(self) -> bool:
        """Whether values come again, as names of classes do; always said of few rows."""
        return len(self.values) < self.filled or self.filled <= 10

    @property
    def counts_rows(self) -> bool:
        """Whether it holds 0, 1, 2 … or 1, 2, 3 …, the numbers of rows."""
        first = next(iter(self.values), "")
        start = int(first) if first in ("0", "1") else -1
        counted = (str(start + i) == value for i, value in enumerate(self.values))
        return start >= 0 and len(self.values) == min(self.filled, _MAX_VALUES) and all(counted)

    @property
    def addresses(self) -> bool:
        """Whether its values are addresses on the web or in a bucket."""
        return is_url(next(iter(self.values), ""))

    def examples(self, shown: int = 3) -> str:
        """Its first values, for messages."""
        more = ", …" if len(self.values) > shown else ""
        return ", ".join(itertools.islice(self.values, shown)) + more


def described(table: Table, header: Sequence[str] | None, width_: int) -> list[Column]:
    """The columns of a table.

    Args:
        table: read once.
        header: the cells of its first row, if that is one.
        width_: number of columns.

    Raises:
        DeltaoeError: a row has another number of cells, or cannot be read.
    """
    titles = (
        [f"column {i + 1}" for i in range(width_)] if header is None else [cell.strip() for cell in header]
    )
    columns = [Column(title, place) for place, title in enumerate(titles)]
    rows = body(table, header is not None, width_)
    while block := [cells for _, cells in itertools.islice(rows, _BLOCK)]:
        for column, cells in zip(columns, zip(*block, strict=True), strict=True):
            column.add(cells)
    return columns


def body(table: Table, has_header: bool, width_: int) -> Iterator[Row]:
    """Line number and cells of each row below the header, all ``width_`` long.

    Raises:
        DeltaoeError: a row has fewer cells, or more that are not blank.
    """
    for line, cells in itertools.islice(table.rows(), 1 if has_header else 0, None):
        if len(cells) != width_:
            if len(cells) < width_ or width(cells) > width_:
                under = f"under a header of {width_}" if has_header else f"where the first row has {width_}"
                raise table.error(
                    f"{table.name}, line {line}: {len(cells)} cells {under}",
                    hint=f"put a cell with {table.separator!r} in it into double quotes",
                )
            cells = cells[:width_]
        yield line, cells


def interned(cell: str) -> str:
    """A cell without blanks around it; equal ones are one object, for a million rows have few classes."""
    return sys.intern(cell.strip())


def _style(text: str, separator: str) -> dict[str, Any]:
    """How a table is quoted: blanks between separator and quotation mark, or single quotation marks."""
    start = text[: 1 << 16]
    single = start.startswith("'") and f"'{separator}'" in start.split("\n", 1)[0]
    spaced = not single and re.search(f'(?:{re.escape(separator)}) +"', start) is not None
    return {"delimiter": separator, "quotechar": "'" if single else '"', "skipinitialspace": spaced}
