"""What a workflow says while it works. The command line draws it; a notebook may print it or ignore it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """Progress of one stage.

    Attributes:
        stage: a few words, such as ``Encoding images``; a change of stage ends the one before.
        done: units finished; ``total`` of how many, None while unknown.
        info: numbers or words worth showing now.
        message: a sentence to print once, instead of progress.
    """

    stage: str
    done: int = 0
    total: int | None = None
    info: Mapping[str, float | int | str] = field(default_factory=dict)
    message: str = ""


OnEvent = Callable[[Event], None]


def silent(event: Event) -> None:
    """Ignore progress."""
