"""What is to be said of the pictures of a collection, from what is to be said of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_SHOWN = 3  # names of files per sentence
_RANGE_HINTS = {
    "by their values": "--sample-range LOW..HIGH (or bits:12) shows all in one range",
    "for want of a usual range": "--sample-range LOW..HIGH shows all in one range",
    "a small part of": "if they are not meant to be dark or pale: --sample-range LOW..HIGH (or bits:14) brightens all",
}


def picture_notes(paths: Sequence[str], notes: Mapping[int, Sequence[str]]) -> list[str]:
    """A sentence for each kind of note: how many pictures it is of, the first few of them, and an option that matters.

    Args:
        paths: of n pictures.
        notes: position → short phrases; what follows a colon is of that picture alone.

    Example:
        >>> picture_notes(["a.png", "b.png"], {0: ["cut off: 99 of 100 rows are there"], 1: ["one single colour"]})
        ['1 image: cut off (a.png)', '1 image: one single colour (b.png)']
    """
    groups: dict[str, list[str]] = {}
    for position in sorted(notes):
        for note in notes[position]:
            groups.setdefault(note.partition(": ")[0], []).append(paths[position])
    return [_sentence(kind, names) for kind, names in groups.items()]


def _sentence(kind: str, names: Sequence[str]) -> str:
    count = f"{len(names):,} image" + ("s" if len(names) > 1 else "")
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    hint = next((hint for words, hint in _RANGE_HINTS.items() if words in kind), "")
    return f"{count}: {kind} ({shown})" + (f"; {hint}" if hint else "")
