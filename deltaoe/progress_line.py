"""Progress events drawn with rich: one live line on a terminal or in a notebook, plain lines elsewhere."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from deltaoe.printable import printable
from deltaoe.progress import Event

_PLAIN_SECONDS = 5.0


class ProgressLine:
    """Progress on stderr: one live line on a terminal while it is entered, a plain line every few seconds elsewhere.

    Args:
        note: prints a message, or one line of progress where there is no live line; None prints them to stderr.
        hidden: whether there is no live line, either.
    """

    def __init__(self, note: Callable[[str], None] | None = None, *, hidden: bool = False) -> None:
        # A console of its own, which cuts long lines: a wrapped one could not be redrawn in place.
        console = Console(stderr=True, highlight=False)
        self._note = note or (lambda sentence: console.print(Text(printable(sentence)), soft_wrap=True))
        # rich draws in a notebook with this package, and without it shows nothing at all.
        widgets = console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None
        self._live = console.is_terminal or widgets
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, min_width=13)),
            BarColumn(bar_width=24),
            MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=5)),
            TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=7)),
            TextColumn(
                "{task.fields[info]}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis"),
            ),
            console=console,
            transient=True,
            disable=hidden or not self._live,
        )
        self._drawing = False
        self._stage = ""
        self._task: TaskID | None = None
        self._printed = time.monotonic()

    def __enter__(self) -> ProgressLine:
        self._drawing = self._live
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drawing = False
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show one event, as :meth:`event` does."""
        self.event(event)

    def event(self, event: Event) -> None:
        """Show one event."""
        if event.message:
            self._say(event.message)
            return
        info = "  ".join(
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {printable(str(value))}"
            for name, value in event.info.items()
        )
        if self._drawing:
            if event.stage != self._stage:
                if self._task is not None:
                    self._progress.remove_task(self._task)
                self._task = self._progress.add_task(printable(event.stage), total=event.total, info="")
            assert self._task is not None  # noqa: S101 - for the type checker
            self._progress.update(self._task, completed=event.done, total=event.total, info=info)
        elif (
            event.stage != self._stage
            or event.done == event.total
            or time.monotonic() - self._printed > _PLAIN_SECONDS
        ):
            amount = f" {event.done}" + (f"/{event.total}" if event.total else "") if event.done else ""
            self._note(f"{event.stage}{amount}  {info}".rstrip())
            self._printed = time.monotonic()
        self._stage = event.stage

    def _say(self, message: str) -> None:
        """Print a message: above the live line where there is one, which another console would print into."""
        if self._drawing and not self._progress.disable:
            self._progress.console.print(Text(printable(message)))
        else:
            self._note(message)


def rich_progress() -> ProgressLine:
    """Progress on stderr, for functions that take ``on``.

    Within ``with`` it is one live line on a terminal, and in a notebook that has ipywidgets; elsewhere, and without
    ``with``, a plain line every few seconds.

    Example:
        >>> with rich_progress() as on:
        ...     on(Event("Encoding images", 3, 3))
    """
    return ProgressLine()
