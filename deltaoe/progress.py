"""Progress of long work, as events: the command line draws them, a notebook may print or ignore them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """Progress of one stage of the work.

    Attributes:
        stage: its name in a few words, such as ``Encoding images``; a change of stage ends the one before.
        done: number of units (images, steps) that are finished.
        total: number of all units; None while it is unknown.
        info: name → number or word to show beside the progress.
        message: a sentence to print once, instead of progress.
    """

    stage: str
    done: int = 0
    total: int | None = None
    info: Mapping[str, float | int | str] = field(default_factory=dict)
    message: str = ""


OnEvent = Callable[[Event], None]


def silent(event: Event) -> None:
    """Ignore an event: the default where progress is reported."""
