"""What the user sees: results on stdout; messages, progress and errors on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deltaoe.errors import ConfigError, DeltaoeError
from deltaoe.progress_line import ProgressLine
from deltaoe.progress_line import printable as printable

_OFF_TERMINAL_WIDTH = 10_000  # a pipe has no edge to wrap at: paths stay whole
_LISTED = 10
_TITLED = 3


def titled(inputs: Sequence[str]) -> str:
    """The first inputs, and how many more there are."""
    more = f" and {len(inputs) - _TITLED} more" if len(inputs) > _TITLED else ""
    return ", ".join(inputs[:_TITLED]) + more


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
        if self.quiet:
            return
        self._err.print(Text(printable(sentence), style=style))

    def warn(self, sentence: str) -> None:
        """Print a warning, unless quiet."""
        if self.quiet:
            return
        self._err.print(Text("warning: ", style="yellow") + Text(printable(sentence)))

    def error(self, error: DeltaoeError) -> None:
        """Print an error and its hint."""
        self._err.print(Text("error: ", style="bold red") + Text(printable(str(error))))
        if error.hint:
            self._err.print(Text("  try: ", style="bold") + Text(printable(error.hint)))

    def failures(self, failed: Sequence[tuple[str, str]]) -> None:
        """Print a warning, unless quiet, with the first few files that could not be used, (path, reason) each."""
        if failed and not self.quiet:
            files = "file" if len(failed) == 1 else "files"
            self.warn(f"{len(failed)} {files} could not be used (--retry-failed reads them again):")
            for path, reason in failed[:_LISTED]:
                self._err.print(Text(f"  {printable(path)}: {printable(reason)}"))
            if len(failed) > _LISTED:
                self._err.print(Text(f"  … and {len(failed) - _LISTED} more"))

    def summary(
        self, title: str, rows: Iterable[tuple[str, ...]], columns: tuple[str, ...] | None = None
    ) -> None:
        """Print a table of what files hold as well, as :meth:`table` does, unless quiet."""
        if not self.quiet:
            self.table(title, rows, columns)

    def table(
        self, title: str, rows: Iterable[tuple[str, ...]], columns: tuple[str, ...] | None = None
    ) -> None:
        """Print a table that is the result itself, unless in JSON mode; ``columns`` names them if there are not two.

        With more than two columns, all but the first hold numbers and are aligned to the right.
        """
        if self.as_json:
            return
        table = Table(
            title=title, title_justify="left", title_style="bold", show_header=columns is not None, box=None
        )
        names = columns or ("", "")
        for place, name in enumerate(names):
            table.add_column(name, overflow="fold", justify="right" if place and len(names) > 2 else "left")
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        self._out.print(table)

    def line(self, sentence: str) -> None:
        """Print a sentence that is the result itself, unless in JSON mode."""
        if not self.as_json:
            self._out.print(Text(printable(sentence)))

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
