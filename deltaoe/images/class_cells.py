"""Cells of a column of classes that name no class, or several."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from deltaoe.errors import DataError

# How tables write that a cell is empty. "None" may be a class, of what has none.
_EMPTY = frozenset({"nan", "na", "n/a", "<na>", "#n/a", "null", "-nan"})
_SHOWN = 3
_BRACKETS = re.compile(r"\[(.*)\]|\((.*)\)|\{(.*)\}", re.DOTALL)


def settled(name: str, classes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Cells that name one class each, or are empty, and sentences on those that were emptied.

    Emptied are cells that say that they are empty, and those of several classes: joined by bars, or in the brackets of
    a list; by semicolons, if a part is in another cell, too; by commas or plus signs, if each part is the class of
    other images.

    Args:
        name: the list's, for sentences.
        classes: n cells without blanks around them.

    Raises:
        DataError: a cell is no UTF-8 text.

    Example:
        >>> settled("a.csv", ["cat", "dog", "cat|dog", "tench, Tinca tinca", ""])[0]
        ['cat', 'dog', '', 'tench, Tinca tinca', '']
    """
    counts = Counter(classes)
    for one in counts:
        if not one.isascii() and any("\udc80" <= character <= "\udcff" for character in one):
            told = one.encode("utf-8", "surrogateescape").decode("latin-1")
            raise DataError(
                f"{name} is not UTF-8 text: a class named {told!r}",
                hint='save it as UTF-8; in Excel: "CSV UTF-8 (comma delimited)"',
            )
    empty = {one for one in counts if one.casefold() in _EMPTY}
    joined = Counter(part for one in counts for part in {*_joined(one, ";")})
    several = {one for one in counts if len(_parts(one, counts, joined)) > 1}
    notes = []
    if empty:
        notes.append(
            f"{name}: {_images(counts, empty)} no class, by the word for an empty cell ({_some(empty)})"
        )
    if several:
        notes.append(
            f"{name}: {_images(counts, several)} several classes, and count for none ({_some(several)})"
        )
    doubtful = {one for one in counts if one not in several and _is_doubtful(one, counts)}
    if doubtful:
        notes.append(
            f"{name}: classes of their own, though parts of them are classes, too: {_some(doubtful)}"
        )
    gone = empty | several
    return [("" if one in gone else one) for one in classes] if gone else list(classes), notes


def _parts(cell: str, counts: Counter[str], joined: Counter[str]) -> list[str]:
    """The classes that a cell names.

    Args:
        cell: the cell.
        counts: number of images by cell.
        joined: number of different cells by a part that they join with semicolons.
    """
    found = _BRACKETS.fullmatch(cell)
    if found:
        return [part for part in re.split(r"[,;|]", next(filter(None, found.groups()), "")) if part.strip()]
    parts = _joined(cell, "|")
    if parts:
        return parts
    parts = _joined(cell, ";")
    if any(part in counts or joined[part] > 1 for part in parts):
        return parts
    for separator in ",+&":
        parts = [part.strip() for part in cell.split(separator)]
        if _all_known(parts, counts):
            return parts
    return [cell]


def _joined(cell: str, separator: str) -> list[str]:
    """The parts between separators; none if it has none, or an empty part."""
    parts = [part.strip() for part in cell.split(separator)]
    return parts if len(parts) > 1 and all(parts) else []


def _all_known(parts: Sequence[str], counts: Counter[str]) -> bool:
    return len(parts) > 1 and all(part in counts for part in parts)


def _is_doubtful(cell: str, counts: Counter[str]) -> bool:
    return _all_known(cell.split(), counts) or any(
        part.strip() in counts for one in ",+&" if one in cell for part in cell.split(one)
    )


def _images(counts: Counter[str], cells: set[str]) -> str:
    number = sum(counts[one] for one in cells)
    return "1 image has" if number == 1 else f"{number:,} images have"


def _some(cells: set[str]) -> str:
    names = sorted(cells)
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
