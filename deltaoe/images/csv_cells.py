"""Cells of CSV files: names and paths that a spreadsheet would take for a formula are written so that it does not.

docs/reference/outputs.md has the rule; the export of the report's page, ``selection.js``, follows it as well.
"""

from __future__ import annotations

import re

# As a spreadsheet reads the start of a cell: half and full width. With apostrophes in front, too, so that taking one
# off gives back what was written.
_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")
_FIRST = frozenset("'=+-@\t\r\n＝＋－＠")  # looked at before, for a million rows are usual


def text_cell(text: str) -> str:
    """The cell of a name or another text: with an apostrophe in front if a spreadsheet would run it.

    Example:
        >>> text_cell("cat"), text_cell("=1+1"), text_cell("'=1+1")
        ('cat', "'=1+1", "''=1+1")
    """
    return f"'{text}" if text[:1] in _FIRST and _FORMULA.match(text) else text


def path_cell(path: str) -> str:
    """The cell of a path: the same file, with ``./`` in front if a spreadsheet would run it.

    Example:
        >>> path_cell("a.jpg"), path_cell("-a.jpg")
        ('a.jpg', './-a.jpg')
    """
    return f"./{path}" if path[:1] in _FIRST and _FORMULA.match(path) else path


def cell_text(cell: str) -> str:
    """The text of a cell that :func:`text_cell` has written.

    Example:
        >>> [cell_text(text_cell(text)) for text in ("cat", "=1+1", "'=1+1", "'s-Hertogenbosch")]
        ['cat', '=1+1', "'=1+1", "'s-Hertogenbosch"]
    """
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell
