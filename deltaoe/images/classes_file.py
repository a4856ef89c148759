"""Files of names for class folders (``--classes``), in the dialects that people have."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deltaoe.errors import ConfigError
from deltaoe.images.column_titles import CLASSES, FOLDERS, NAMES, SURE_FOLDERS, title_word
from deltaoe.images.listed_files import normal
from deltaoe.images.tables import BLANK, SEPARATORS, Table, is_regular, tables_of, width
from deltaoe.images.text_files import read_text, refuse_other_formats

_SHOWN = 3
_ARROWS = tuple(re.compile(rf"(.+?)\s*{sign}\s*(\S.*)") for sign in ("=>", "->", "→", "="))
_NUMBER_FIRST = re.compile(r"(\d+)\s+(\S.*)")


@dataclass(frozen=True)
class ClassesFile:
    """A file that names class folders. How its rows are cut is known only when the folders are.

    Attributes:
        name: the file's, for messages.
        text: its content.
    """

    name: str
    text: str

    @classmethod
    def read(cls, path: Path) -> ClassesFile:
        """Read a file. Raises ConfigError if it cannot be read, is no text, or is of another format (JSON …)."""
        text = read_text(path, error=ConfigError)
        refuse_other_formats(str(path), path.suffix.lower(), text, images=False, error=ConfigError)
        if not text.strip():
            raise ConfigError(f"{path} names no folder", hint="one row per folder: folder,name")
        return cls(str(path), text)

    def among(self, folders: Collection[str]) -> tuple[dict[str, str], list[str]]:
        """The names of folders, and sentences on how the file was read and on rows of other folders.

        The separator is a comma, semicolon, tab or bar, ``=``, ``->`` or ``=>`` in each row, or the first
        blank of each; of these, the one that gives the names of most folders. A header is known by its titles, or by
        naming no folder where all other rows do. The folders may stand in any of two columns. Names of folders are
        compared by their Unicode normal form where no folder has the very same name; then without case, ``_`` and
        slashes, and as numbers.

        Args:
            folders: those that hold images.

        Raises:
            ConfigError: no row is of one of the folders; a row is not complete, or a folder has two names.

        Example:
            >>> ClassesFile("names.txt", "n1 dog, domestic dog\\nn2 horse\\n").among({"n1", "n2"})[0]
            {'n1': 'dog, domestic dog', 'n2': 'horse'}
        """
        known = _KnownFolders(folders)
        readings = [one for table in self._tables() for one in _readings(table, known)]
        best = max(readings, key=lambda one: one.fitting, default=None)
        if best is None or not best.fitting:
            self._check_rows()
        if best is None:
            raise ConfigError(f"{self.name} names no folder", hint="one row per folder: folder,name")
        if not best.fitting:
            raise self._none_fits(best, folders)
        names, absent, respelled = best.names(known)
        notes = []
        if respelled:
            given, folder = respelled[0]
            number = "1 folder was" if len(respelled) == 1 else f"{len(respelled)} folders were"
            notes.append(f"{self.name}: {number} found under another spelling: {folder!r} for {given!r}")
        if best.told:
            notes.append(f"{self.name}: {best.told}")
        if absent:
            more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
            rows = "1 row is of a folder" if len(absent) == 1 else f"{len(absent)} rows are of folders"
            close = difflib.get_close_matches(absent[0], [one for one in folders if one not in names], n=1)
            notes.append(
                f"{self.name}: {rows} without images: {', '.join(map(repr, absent[:_SHOWN]))}{more}"
                + (f" (did you mean {close[0]!r}?)" if close else "")
            )
        return names, notes

    def _tables(self) -> list[Table]:
        found = tables_of(self.name, self.text, (*SEPARATORS, BLANK), ConfigError)
        lines = [line.strip() for line in found[-1].text.splitlines() if line.strip()]
        for pattern in _ARROWS:
            rows = [match.groups() for line in lines if (match := pattern.fullmatch(line))]
            if len(rows) == len(lines):
                cells = ("\t".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
                found.insert(0, Table(self.name, "\n".join(cells), "\t", found[-1].skipped, ConfigError))
                break
        return found

    def _check_rows(self) -> None:
        """Raise ConfigError for the first row that has not two cells in the likeliest reading, or an open quote."""

        def likely(table: Table) -> tuple[bool, bool, bool]:
            rows = table.sample()
            return is_regular(rows), bool(rows) and len(rows[0]) > 1, table.separator != BLANK

        table = max(self._tables(), key=likely)
        for line, cells in table.rows():
            if (
                len(cells) < 2
                or not all(map(str.strip, cells[:2]))
                or (len(cells) > 2 and not is_regular(table.sample()))
            ):
                number = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
                raise ConfigError(
                    f"{self.name}, line {line}: expected two cells, folder and name, and found {number} "
                    f"({table.separator_name} between them)",
                    hint='for example: n02123045,tabby cat   (a name with a comma in quotes: n02123045,"cat, tabby")',
                )

    def _none_fits(self, best: _Reading, folders: Collection[str]) -> ConfigError:
        listed = best.cells(best.folder)
        shown = ", ".join(map(repr, listed[:_SHOWN])) + (", …" if len(listed) > _SHOWN else "")
        close = difflib.get_close_matches(listed[0], folders, n=1) if listed else []
        there = ", ".join(map(repr, sorted(folders)[:_SHOWN])) + (", …" if len(folders) > _SHOWN else "")
        return ConfigError(
            f"{self.name} names no folder that holds images: {shown} (read with {best.table.separator_name} between "
            "the cells)",
            hint=f"did you mean {close[0]!r}?" if close else f"the class folders are {there or 'none'}",
        )


class _KnownFolders:
    """Folders by their names and by the normal forms of these."""

    def __init__(self, folders: Collection[str]) -> None:
        self._exact = set(folders)
        self._alike: dict[str, list[str]] = {}
        for folder in folders:
            for form in {normal(folder), _plain_form(folder)}:
                self._alike.setdefault(form, []).append(folder)

    def find(self, name: str) -> str | None:
        """The folder of this name, or the only one whose name looks the same, or else nearly the same."""
        if name in self._exact:
            return name
        alike = self._alike.get(normal(name)) or self._alike.get(_plain_form(name), [])
        return alike[0] if len(alike) == 1 else None


def _plain_form(name: str) -> str:
    """A folder's name without case, underscores and slashes around; a number without zeros in front."""
    plain = " ".join(normal(name).strip("/\\ ").replace("_", " ").split()).casefold()
    return f"number {int(plain)}" if plain.isascii() and plain.isdecimal() and len(plain) < 20 else plain


@dataclass(frozen=True)
class _Reading:
    """A table of folders and names: which column is which, and the number of rows whose folder is there."""

    table: Table
    rows: Sequence[tuple[int, list[str]]]
    folder: int
    name: int
    fitting: int
    told: str

    @property
    def numbered(self) -> dict[str, str]:
        """Name → name without the number in front, where a blank separates cells and each name has one of its own."""
        if self.table.separator != BLANK or len(self.rows) < 2:
            return {}
        names = self.cells(self.name)
        found = {name: match for name in names if (match := _NUMBER_FIRST.fullmatch(name))}
        numbers = {match[1] for match in found.values()}
        return {name: match[2] for name, match in found.items()} if len(numbers) == len(names) else {}

    def cells(self, place: int) -> list[str]:
        return [cells[place].strip() for _, cells in self.rows]

    def names(self, known: _KnownFolders) -> tuple[dict[str, str], list[str], list[tuple[str, str]]]:
        """Folder → name, the folders that are not there, and those spelled otherwise. Raises ConfigError."""
        found: dict[str, str] = {}
        absent, respelled = [], []
        numbered = self.numbered
        for line, cells in self.rows:
            given, name = cells[self.folder].strip(), cells[self.name].strip()
            name = numbered.get(name, name)
            if not given or not name:
                raise ConfigError(
                    f"{self.table.name}, line {line}: expected two cells, folder and name",
                    hint="for example: n02123045,tabby cat",
                )
            folder = known.find(given)
            if folder is None:
                absent.append(given)
            elif found.setdefault(folder, name) != name:
                raise ConfigError(
                    f"{self.table.name}, line {line}: folder {given!r} is named twice", hint="keep one row"
                )
            elif normal(folder) != normal(given):
                respelled.append((given, folder))
        return found, absent, respelled


def _readings(table: Table, known: _KnownFolders) -> list[_Reading]:
    """The ways to take a table of two or more columns as folders and names."""
    if not is_regular(table.sample()):
        return []
    try:
        rows = list(table.rows())
    except ConfigError:
        return []
    first = rows[0][1]
    columns = len(first)
    if any(len(cells) < columns or width(cells) > columns for _, cells in rows):
        return []
    words = [title_word(cell) for cell in first]
    titled = all(word in {*FOLDERS, *NAMES, *CLASSES, ""} for word in words) and any(words)
    unknown = not any(known.find(cell.strip()) for cell in first)
    told = ""
    if unknown and not titled and len(rows) > 2:
        titled = any(all(known.find(cells[i].strip()) for _, cells in rows[1:]) for i in range(columns))
        told = f"first row taken for titles ({', '.join(cell.strip() for cell in first)}); " if titled else ""
    odd_titles, has_header = bool(told), titled and unknown
    below = rows[1:] if has_header else rows
    if not below:
        return []
    found = [[known.find(cells[i].strip()) for _, cells in below] for i in range(columns)]
    fitting = [sum(folder is not None for folder in column) for column in found]
    folder = _folder_column(words if has_header else [], found)
    others = [i for i in range(columns) if i != folder and any(cells[i].strip() for _, cells in below)]
    if len(others) > 1:  # numbers of classes and the like
        others = [i for i in others if not all(cells[i].strip().isdecimal() for _, cells in below)] or others
    if len(others) > 1 and has_header:
        others = sorted(others, key=lambda i: NAMES.index(words[i]) if words[i] in NAMES else len(NAMES))[:1]
    if len(others) != 1:
        return [] if others else [_Reading(table, below, folder, 1 - folder, fitting[folder], "")]
    told += f"folders in column {folder + 1}, names in column {others[0] + 1}"
    plain = (folder, others[0]) == (0, 1) and columns == 2
    reading = _Reading(
        table, below, folder, others[0], fitting[folder], told if odd_titles or not plain else ""
    )
    if numbered := reading.numbered:
        given, kept = next(iter(numbered.items()))
        reading = replace(reading, told=f"names without the numbers in front ({kept} for {given})")
    return [reading]


def applied(
    renames: ClassesFile | Mapping[str, str] | None, folders: Collection[str]
) -> tuple[Mapping[str, str], list[str]]:
    """Class folder → class name for these folders, and sentences on how a file was read; raises as ``among`` does."""
    return renames.among(folders) if isinstance(renames, ClassesFile) else (renames or {}, [])


def _folder_column(words: Sequence[str], found: Sequence[Sequence[str | None]]) -> int:
    """The column of folders: the one whose title says so, the first, or another if two or more folders stand there.

    Args:
        words: the titles; empty without a header.
        found: for each column, the folder that each of its cells names, or None.
    """
    different = [len({*column} - {None}) for column in found]
    for i, word in enumerate(words):
        if word in FOLDERS[:SURE_FOLDERS] and different[i]:
            return i
    most = max(range(len(found)), key=lambda i: (different[i], -i))
    return most if not different[0] and different[most] > 1 else 0
