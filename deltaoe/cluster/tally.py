"""How far the workers of a run are, and whether they are to stop: one small actor that all of them talk to."""

from __future__ import annotations

import contextlib
import time
from typing import Any, NamedTuple

_TELL_SECONDS = 0.5
_WAIT_SECONDS = 10.0  # for an answer of a busy machine


class Reading(NamedTuple):
    """How far a run is.

    Attributes:
        done: number of items that are done.
        failed: those of them that cannot be used.
        busy: number of chunks that workers are at.
        started: number of workers that were started so far, those in place of others included.
        said: sentences of workers since the last time.
        host: the machine of the last worker that was started.
    """

    done: int
    failed: int
    busy: int
    started: int
    said: list[str]
    host: str


class Tally:
    """Counts of each chunk: what is done twice, after a worker was killed, counts once."""

    def __init__(self) -> None:
        self._counts: dict[int, tuple[int, int]] = {}
        self._busy: set[int] = set()
        self._said: dict[str, None] = {}
        self._told = 0
        self._started = 0
        self._host = ""
        self._stop = False

    def start(self, host: str) -> None:
        """Note that a worker was started."""
        self._started += 1
        self._host = host

    def report(self, chunk: int, done: int, failed: int, busy: bool) -> bool:
        """Note how far a chunk is; return whether the worker is to stop."""
        self._counts[chunk] = done, failed
        (self._busy.add if busy else self._busy.discard)(chunk)
        return self._stop

    def say(self, sentence: str) -> None:
        """Note a sentence for the user, once."""
        self._said[sentence] = None

    def stop(self) -> None:
        """Have all workers stop."""
        self._stop = True

    def read(self) -> Reading:
        """The sums, and the sentences that were not read yet."""
        said = list(self._said)[self._told :]
        self._told += len(said)
        done, failed = (sum(one[i] for one in self._counts.values()) for i in (0, 1))
        return Reading(done, failed, len(self._busy), self._started, said, self._host)


class Reporter:
    """A worker's side of the tally, whose loss stops no work.

    Args:
        tally: Ray's handle to it.
        host: the machine of this worker.
    """

    def __init__(self, tally: Any, host: str) -> None:
        self._tally, self._chunk, self._next = tally, 0, 0.0
        self._ask("start", host)

    def begin(self, chunk: int) -> bool:
        """Say that work on a chunk begins; return whether to stop instead."""
        self._chunk, self._next = chunk, time.monotonic() + _TELL_SECONDS
        return bool(self._ask("report", chunk, 0, 0, True))

    def tell(self, done: int, failed: int) -> bool:
        """Say how far the chunk is, now and then; return whether to stop."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + _TELL_SECONDS
        return bool(self._ask("report", self._chunk, done, failed, True))

    def end(self, done: int, failed: int) -> None:
        """Say that the chunk is done, or was left."""
        self._ask("report", self._chunk, done, failed, False)

    def say(self, sentence: str) -> None:
        """Say a sentence to the user."""
        self._ask("say", sentence)

    def _ask(self, what: str, *arguments: object) -> object:
        import ray

        with contextlib.suppress(ray.exceptions.RayError):
            return ray.get(getattr(self._tally, what).remote(*arguments), timeout=_WAIT_SECONDS)
        return None
