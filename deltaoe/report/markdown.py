"""The results of an evaluation, and those about the theorems, as Markdown documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from deltaoe.evaluation.results import Evaluation, Measurement
from deltaoe.report.tables import Table, evaluation_tables, theory_tables
from deltaoe.theory.results import Finding, Theory


def evaluation_markdown(evaluation: Evaluation) -> str:
    """The title, notes, conclusions and tables of an evaluation."""
    title, *rest = _document(evaluation.title, evaluation.notes, evaluation_tables(evaluation))
    tables = next((i for i, line in enumerate(rest) if line.startswith("\n## ")), len(rest))
    said = [f"- {escaped(one)}" for one in evaluation.conclusions]
    said = ["\n## Conclusions\n", *said] if said else []
    return _joined([title, *rest[:tables], *said, *rest[tables:]])


def theory_markdown(theory: Theory) -> str:
    """The title, notes, tables and conclusions about the theorems."""
    lines = [*_document(theory.title, theory.notes, theory_tables(theory)), "\n## What these data say\n"]
    return _joined(
        [*lines, *(f"- {escaped(f'{one.verdict.capitalize()}: {one.text}')}" for one in theory.conclusions)]
    )


def escaped(text: str) -> str:
    r"""Text on one line that Markdown shows literally, without markup or HTML.

    Example:
        >>> print(escaped("a|b *c* <d>"))
        a\|b \*c\* &lt;d>
    """
    # Names of data are the user's: they must not break a table, nor become HTML where Markdown is rendered.
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join("\\" + c if c in "\\|`*_[]#" else c for c in plain)


def _document(
    title: str, notes: Sequence[str], tables: Sequence[Table[Measurement | Finding]]
) -> Iterator[str]:
    """The lines of a title, notes and tables."""
    yield f"# {escaped(title)}"
    for note in notes:
        yield f"\n> {escaped(note)}"
    for table in tables:
        yield f"\n## {escaped(table.title)}\n"
        yield _row(table.headings)
        yield "|---" * len(table.labels) + "|---:" * len(table.columns) + "|"
        yield from map(_row, table.texts())


def _row(cells: Sequence[str]) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(map(escaped, cells)) + " |"


def _joined(lines: Iterable[str]) -> str:
    """The lines as one text that ends with a newline."""
    return "\n".join(lines) + "\n"
