"""What the user sees: results on stdout; messages, progress and errors on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deltaoe.errors import ConfigError, DeltaoeError, counted_failures
from deltaoe.printable import printable as printable
from deltaoe.progress_line import ProgressLine

_OFF_TERMINAL_WIDTH = 10_000  # a pipe has no edge to wrap at: paths stay whole
_LISTED = 10
_TITLED = 3
_GAP = 2  # columns around a cell


def titled(inputs: Sequence[str]) -> str:
    """The first inputs, without passwords and signatures of URLs, and how many more there are."""
    from deltaoe.images.location_text import without_secrets

    more = f" and {len(inputs) - _TITLED} more" if len(inputs) > _TITLED else ""
    return ", ".join(map(without_secrets, inputs[:_TITLED])) + more


def side_by_side(
    rows: Sequence[tuple[str, ...]], columns: tuple[str, ...], words: int, width: int
) -> Iterator[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    """A table cut into tables that fit a width; the first ``words`` columns come again in each, which may break them.

    Example:
        >>> rows = [("MCM", "0.9", "0.8", "0.7")]
        >>> [headings for headings, _ in side_by_side(rows, ("score", "far", "near", "mean"), words=1, width=20)]
        [('score', 'far', 'near'), ('score', 'mean')]
    """
    widths = [max(map(cell_len, cells)) + _GAP for cells in zip(columns, *rows, strict=True)]
    # Columns of words may be broken between words, and within them before a column of numbers has no place.
    longest = [
        _longest_word([name, *(row[place] for row in rows)]) for place, name in enumerate(columns[:words])
    ]
    free = width - min(sum(longest) + words * _GAP, width // 2)
    start = words
    while start < len(columns):
        end = start + 1
        while end < len(columns) and sum(widths[start : end + 1]) <= free:
            end += 1
        yield (
            (*columns[:words], *columns[start:end]),
            [(*row[:words], *row[start:end]) for row in rows],
        )
        start = end


def _longest_word(cells: Iterable[str]) -> int:
    """Columns that the longest word of these cells takes."""
    return max((cell_len(word) for cell in cells for word in cell.split()), default=0)


def _cut_to(width: int, cell: str) -> str:
    """The cell, cut to so many columns, after a comma if there is one, with an ellipsis where something is missing."""
    if cell_len(cell) <= width:
        return cell
    text = Text(cell)
    text.truncate(width, overflow="ellipsis")
    whole, separator, _ = text.plain.rpartition(", ")
    return f"{whole}{separator}…" if separator else text.plain


class Screen:
    """The two consoles of one run: stdout for results, stderr for messages.

    Args:
        as_json: whether stdout is for one JSON document alone.
        quiet: whether only results and errors are shown: no progress, notes, warnings or summaries.
        verbose: whether details are shown that a report or a file also has.

    Attributes:
        as_json, quiet, verbose: as given.

    Raises:
        ConfigError: both quiet and verbose are asked for.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        if quiet and verbose:
            raise ConfigError("--quiet and --verbose exclude each other", hint="leave one of them out")
        self.as_json = as_json
        self.quiet = quiet
        self.verbose = verbose
        self._out = Console(highlight=False, soft_wrap=True)
        if not self._out.is_terminal:
            self._out = Console(highlight=False, width=_OFF_TERMINAL_WIDTH)
        self._err = Console(stderr=True, highlight=False, soft_wrap=True)

    def note(self, sentence: str, style: str = "") -> None:
        """Print a message, unless quiet."""
        if not self.quiet:
            self._tell(Text(printable(sentence), style=style))

    def next(self, command: str, why: str = "next") -> None:
        """Print a command to type, unless quiet; in one piece, so that it can be copied."""
        if not self.quiet:
            self._err.print(Text(printable(f"{why}: {command}"), style="dim"))

    def warn(self, sentence: str) -> None:
        """Print a warning, unless quiet."""
        if not self.quiet:
            self._tell(Text("warning: ", style="yellow") + Text(printable(sentence)))

    def error(self, error: DeltaoeError) -> None:
        """Print an error and its hint."""
        self._tell(Text("error: ", style="bold red") + Text(printable(str(error))))
        if error.hint:
            self._tell(Text("  try: ", style="bold") + Text(printable(error.hint)))

    def _tell(self, text: Text) -> None:
        """Print to stderr, broken between words on a terminal, in one line elsewhere."""
        self._err.print(text, soft_wrap=not self._err.is_terminal)

    def failures(self, failed: Sequence[tuple[str, str]], option: str, *, every: bool = False) -> None:
        """Print a warning, unless quiet, with files and folders that could not be used, (path, reason) each.

        Args:
            failed: the files and folders.
            option: the one that lists all of them, for the line below the first few.
            every: whether it was given.
        """
        if failed and not self.quiet:
            said = counted_failures(failed)
            again = " (--retry-failed reads them again)" if "file" in said else ""
            self.warn(f"{said} could not be used{again}:")
            for path, reason in failed if every else failed[:_LISTED]:
                self._err.print(Text(f"  {printable(path)}: {printable(reason)}"))
            if len(failed) > _LISTED and not every:
                self._err.print(Text(f"  … and {len(failed) - _LISTED} more ({option} lists all)"))

    def summary(
        self,
        title: str,
        rows: Iterable[tuple[str, ...]],
        columns: tuple[str, ...] | None = None,
        words: int = 1,
        text: Collection[str] = (),
    ) -> None:
        """Print a table of what files hold as well, as :meth:`table` does, unless quiet."""
        if not self.quiet:
            self.table(title, rows, columns, words, text)

    def cut(self, cells: Sequence[tuple[str, ...]], columns: tuple[str, ...]) -> list[tuple[str, ...]]:
        """The rows of a table, the last cell of each cut where the terminal ends."""
        widths = [max(map(cell_len, column)) + _GAP for column in zip(columns, *cells, strict=True)]
        room = max(self._out.width - sum(widths[:-1]) - _GAP, cell_len(columns[-1]))
        return [(*row[:-1], _cut_to(room, row[-1])) for row in cells]

    def table(
        self,
        title: str,
        rows: Iterable[tuple[str, ...]],
        columns: tuple[str, ...] | None = None,
        words: int = 1,
        text: Collection[str] = (),
    ) -> None:
        """Print a table that is the result itself, unless in JSON mode; ``columns`` names them if there are not two.

        With more than two columns, all but the first ``words`` and those in ``text`` hold numbers: they are aligned to
        the right, and never broken.
        """
        if self.as_json:
            return
        table = Table(
            title=title, title_justify="left", title_style="bold", show_header=columns is not None, box=None
        )
        names = columns or ("", "")
        for place, name in enumerate(names):
            number = place >= words and len(names) > 2 and name not in text
            table.add_column(
                printable(name), overflow="fold", justify="right" if number else "left", no_wrap=number
            )
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        self._out.print(table, soft_wrap=False)  # so that a long title is broken, too

    def say(self, sentences: Iterable[str]) -> None:
        """Print sentences that are the result itself, broken between words on a terminal, unless in JSON mode."""
        for sentence in () if self.as_json else sentences:
            self._out.print(Text(printable(sentence)), soft_wrap=False)

    def line(self, sentence: str) -> None:
        """Print a sentence that is the result itself, unless in JSON mode."""
        if not self.as_json:
            self._out.print(Text(printable(sentence)))

    def wide_table(
        self, title: str, rows: Sequence[tuple[str, ...]], columns: tuple[str, ...], words: int
    ) -> None:
        """Print a table as :meth:`table` does, in several where the columns of numbers do not fit side by side."""
        for headings, part in side_by_side(rows, columns, words, self._out.width):
            self.table(title, part, headings, words=words)

    def fits(self, rows: Sequence[tuple[str, ...]], columns: tuple[str, ...]) -> bool:
        """Whether :meth:`wide_table` would print one table whose only column of words stays in one line."""
        return (
            sum(max(map(cell_len, cells)) + _GAP for cells in zip(columns, *rows, strict=True))
            <= self._out.width
        )

    def title(self, words: str) -> None:
        """Print a title above results, unless in JSON mode."""
        if not self.as_json:
            self._out.print(Text(printable(words), style="bold"), soft_wrap=False)

    def json(self, value: Any) -> None:
        """Print the result as one JSON document, if in JSON mode."""
        if self.as_json:
            self.raw([json.dumps(value, indent=1) + "\n"])

    def raw(self, chunks: Iterable[str]) -> None:
        """Write text to stdout as it is."""
        sys.stdout.writelines(chunks)
        sys.stdout.flush()

    def progress(self) -> ProgressLine:
        """A progress line, to be used as a context manager; its ``event`` takes the progress of library functions."""
        return ProgressLine(self.note, hidden=self.quiet)
