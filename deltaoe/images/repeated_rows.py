"""Files that lists name several times, with what each row says of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from deltaoe.images.file_list import FileList

_SHOWN = 5  # classes that a sentence names


class RepeatedRows:
    """Joins what several rows say of one file: an empty cell says nothing, and two different ones cancel out.

    A file under two classes, or in two splits, is of no class and no split, like one that lies in two class folders.

    Args:
        files: whose classes, domains and splits are changed.
    """

    def __init__(self, files: FileList) -> None:
        self._files = files
        self._columns = {"classes": files.classes, "domains": files.domains, "splits": files.splits}
        self._conflicts: dict[str, dict[int, list[str]]] = {name: {} for name in self._columns}

    def join(self, first: int, again: int) -> None:
        """Take row ``again`` as a row of the file in row ``first``, which is the one that stays."""
        for name, column in self._columns.items():
            if column is None or column[again] in ("", column[first]):
                continue
            if not column[first]:
                column[first] = column[again]
                continue
            said = self._conflicts[name].setdefault(first, [column[first]])
            if column[again] not in said:
                said.append(column[again])

    def settle(self, rows: Iterable[int]) -> None:
        """Empty what contradicts itself, and say so; ``rows`` are those that stay."""
        classes, splits = self._files.classes, self._files.splits
        for name, conflicts in self._conflicts.items():
            emptied = (self._files.domains,) if name == "domains" else (classes, splits)
            for row, one in itertools.product(conflicts, emptied):
                if one is not None:
                    one[row] = ""
            if conflicts:
                self._files.notes.append(self._sentence(name, conflicts))
                if name != "domains":
                    self._files.ignored.contradicted.update(map(self._files.path, conflicts))
        lost = {label for said in self._conflicts["classes"].values() for label in said}
        if lost and classes is not None:
            lost -= {classes[row] for row in rows}
        if lost:
            names = sorted(lost)
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            self._files.notes.append(f"no image is left of the classes {', '.join(names[:_SHOWN])}{more}")

    def _sentence(self, what: str, conflicts: dict[int, list[str]]) -> str:
        row, said = next(iter(conflicts.items()))
        number = len(conflicts)
        are = "1 file is" if number == 1 else f"{number:,} files are"
        count = {"classes": "count for none", "domains": "have none", "splits": "count for none"}[what]
        count = count if number > 1 else count.replace("count", "counts").replace("have", "has")
        return f"{are} listed under several {what} and {count}: {self._files.shown(row)} ({', '.join(said)})"
