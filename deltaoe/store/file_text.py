"""What texts may be that come out of a file: names of classes, of models, settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

MOST_CHARACTERS = 4096  # of a name; the longest path
_MOST_TEXT = 1 << 20
_MOST_DEPTH = 8
_MOST_NUMBER = 1 << 63


def text_problem(value: object, most: int = MOST_CHARACTERS) -> str:
    """What is wrong with a text; empty if nothing is.

    Lone surrogates that stand for the bytes of a file name which is not UTF-8 are fine, others are not: no file, no
    terminal and no tokenizer takes them.

    Args:
        value: should be a text.
        most: the most characters.

    Example:
        >>> text_problem("tabby cat"), text_problem("a" * 5000), text_problem(chr(0))
        ('', 'longer than 4,096 characters', 'with a NUL in it')
    """
    if not isinstance(value, str):
        return "no text"
    if len(value) > most:
        return f"longer than {most:,} characters"
    if "\0" in value:
        return "with a NUL in it"
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return "with a character that stands for nothing"
    return ""


def names_problem(names: Iterable[object]) -> str:
    """What is wrong with a list of class names; empty if nothing is: each is a text, not blank, and there only once."""
    seen: set[object] = set()
    for number, name in enumerate(names, start=1):
        if problem := text_problem(name):
            return f"name {number} is {problem}"
        if not str(name).strip():
            return f"name {number} is empty"
        if name in seen:
            return f"they are not distinct ({str(name)[:60]!r})"
        seen.add(name)
    return ""


def json_problem(value: Any, depth: int = 0) -> str:
    """What is wrong with JSON values that describe something; empty if nothing is.

    They are texts, numbers (whole ones of 64 bits), lists and tables of such, not too deep.
    """
    if value is None or isinstance(value, bool | float):
        return ""
    if isinstance(value, int):
        return "" if -_MOST_NUMBER <= value < _MOST_NUMBER else "a number that is too large"
    if isinstance(value, str):
        return "a text " + problem if (problem := text_problem(value, _MOST_TEXT)) else ""
    if depth == _MOST_DEPTH:
        return "too many levels"
    parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    return next(filter(None, (json_problem(part, depth + 1) for part in parts)), "")
