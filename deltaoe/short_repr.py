"""What large objects print at a prompt: the numbers and names that tell them apart, not their arrays."""

from __future__ import annotations

from collections.abc import Sequence

_NAMES = 3
_NAME_LENGTH = 40


def short_repr(value: object, *facts: str) -> str:
    """The class of an object and what is said of it, those that are empty left out.

    Example:
        >>> short_repr([], "2 classes", "", "3 images")
        'list(2 classes; 3 images)'
    """
    return f"{type(value).__name__}({'; '.join(fact for fact in facts if fact)})"


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number and its noun.

    Example:
        >>> counted(1, "image"), counted(1200, "class", "classes")
        ('1 image', '1,200 classes')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def listed(names: Sequence[str]) -> str:
    """The first few of some names, each cut to a length that fits a line; control characters are escaped.

    Example:
        >>> listed(["cat", "dog"]), listed(["cat", "dog", "emu", "fox"])
        ('cat, dog', 'cat, dog, emu …')
    """
    shown = ", ".join(_fitting(name) for name in names[:_NAMES])
    return f"{shown} …" if len(names) > _NAMES else shown


def of_classes(names: Sequence[str]) -> str:
    """Their number and the first few names.

    Example:
        >>> of_classes(["cat", "dog"]), of_classes([])
        ('2 classes: cat, dog', 'no classes')
    """
    return f"{counted(len(names), 'class', 'classes')}: {listed(names)}" if names else "no classes"


def number_of_notes(notes: Sequence[str]) -> str:
    """How many sentences there are in ``notes``; empty without any."""
    return f"{counted(len(notes), 'note')} in .notes" if notes else ""


def _fitting(name: str) -> str:
    escaped = repr(name[:_NAME_LENGTH])[1:-1]
    return f"{escaped}…" if len(name) > _NAME_LENGTH else escaped
