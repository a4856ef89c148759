"""Tables of the benchmarks: on the terminal, and as Markdown for the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], markdown: Path | None) -> None:
    """Print the rows, whose first cell is their name; also write them to ``markdown`` if it is given."""
    table = Table(title=title)
    for i, column in enumerate(["", *columns]):
        table.add_column(column, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    if markdown:
        lines = ["| | " + " | ".join(columns) + " |", "|---" + "|---:" * len(columns) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")
