"""A pool of decoder processes, any of which may crash or hang: that costs the file that caused it, and nothing else."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from deltaoe.errors import first_line
from deltaoe.extraction.decoder_processes import DecoderProcess, NotStartedError
from deltaoe.extraction.decoding_jobs import Decode, Job, Outcome, try_decode
from deltaoe.extraction.kept_process import keep_process, kept_process

_ATTEMPTS = 2  # to start a process
_LATER_ATTEMPTS = 10  # once one has started: what prevents another is then likely to pass
_PAUSE_SECONDS = 0.1  # between two attempts


class DecoderPool:
    """Decodes in processes that are started when they are needed; each calling thread has one to itself.

    Args:
        decode: the decoding function; it can be pickled.
        seconds: how long a picture may take, per view; None for as long as it likes.

    Attributes:
        start_problem: why no process can be started; empty while they can. If set, the calling threads decode.
    """

    def __init__(self, decode: Decode, seconds: float | None = None) -> None:
        self.start_problem = ""
        self._decode, self._seconds = decode, seconds
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._any_started = False
        self._idle: list[DecoderProcess] = []
        self._all: set[DecoderProcess] = set()
        self._gate = _Gate()
        self._watch: threading.Thread | None = None

    def decode(self, jobs: Sequence[Job]) -> list[Outcome]:
        """The outcome of each job.

        The file on which a process ended, or took too long, is tried once more, in a new process and while no other
        process works. So a file is blamed neither for a process that was killed or stopped from outside nor for
        memory and time that other files took.

        Raises:
            RuntimeError: the pool was closed meanwhile.
        """
        outcomes: list[Outcome] = []
        while len(outcomes) < len(jobs):
            rest = jobs[len(outcomes) :]
            if self.start_problem:
                outcomes += [try_decode(self._decode, job.data, job.digest, job.views) for job in rest]
                break
            try:
                with self._gate.shared():
                    self._decode_in(self._idle_or_new_process(), rest, outcomes)
            except NotStartedError as cause:
                self.start_problem = f"decoding in this process, others cannot be started ({cause})"
            except _EndedError:
                outcomes.append(self._retry_alone(jobs[len(outcomes)]))
        return outcomes

    def close(self) -> None:
        """End all processes, whatever they do. A thread that waits for one gets an exception.

        One that is idle is kept for the next pool of this program.
        """
        with self._lock:
            self._closed.set()
            if self._idle:
                kept = self._idle.pop()
                self._all.discard(kept)
                keep_process(kept)
            processes = list(self._all)
        for process in processes:
            process.end()
        if self._watch is not None:
            self._watch.join()

    def _retry_alone(self, job: Job) -> Outcome:
        """The outcome of a job on which a process has ended once."""
        outcomes: list[Outcome] = []
        try:
            with self._gate.exclusive():
                # In a new process: an idle one may have been killed together with the first.
                self._decode_in(self._new_process(), [job], outcomes)
        except _EndedError as cause:
            return Outcome(None, str(cause), True)
        except NotStartedError:  # not in this process, which the file may end too
            return Outcome(None, "the decoder ended on this file, and cannot be started again")
        return outcomes[0]

    def _decode_in(self, process: DecoderProcess, jobs: Sequence[Job], outcomes: list[Outcome]) -> None:
        """Decode in this process, which is idle afterwards. Raises _EndedError if it has ended."""
        try:
            process.decode(jobs, outcomes, self._seconds)
        except (OSError, EOFError, ValueError) as cause:
            self._remove(process)
            how = process.end(patience=1.0)
            if process.overdue:
                raise _EndedError(f"not decoded within {self._seconds:g} seconds") from cause
            raise _EndedError(f"the decoder crashed on this file ({how})") from cause
        with self._lock:
            self._idle.append(process)

    def _idle_or_new_process(self) -> DecoderProcess:
        with self._lock:
            if self._idle and not self._closed.is_set():
                return self._idle.pop()
        return self._new_process()

    def _new_process(self) -> DecoderProcess:
        """Start a process in as many attempts as are allowed. Raises NotStartedError."""
        attempts = 0
        while True:
            try:
                return self._start_process()
            except NotStartedError:
                attempts += 1
                if attempts >= (_LATER_ATTEMPTS if self._any_started else _ATTEMPTS):
                    raise
            time.sleep(_PAUSE_SECONDS)

    def _start_process(self) -> DecoderProcess:
        with self._lock:
            if self._closed.is_set():
                raise RuntimeError("the pool of decoder processes is closed")
            try:
                decode = pickle.dumps(self._decode)
                process = kept_process() or DecoderProcess()
            except Exception as cause:  # there may be no Python to start, or no memory
                raise NotStartedError(first_line(cause)) from cause
            self._all.add(process)
            if self._watch is None and self._seconds is not None:
                self._watch = threading.Thread(target=self._end_overdue, name="deltaoe-watch", daemon=True)
                self._watch.start()
        try:
            process.set_function(decode)
        except NotStartedError:
            self._remove(process)
            raise
        self._any_started = True
        return process

    def _end_overdue(self) -> None:
        """Kill processes that take too long, until the pool is closed."""
        pause = min(1.0, (self._seconds or 1.0) / 4)
        while not self._closed.wait(pause):
            with self._lock:
                processes = list(self._all)
            for process in processes:
                process.end_if_overdue()

    def _remove(self, process: DecoderProcess) -> None:
        with self._lock:
            self._all.discard(process)


class _EndedError(Exception):
    """A process ended on the first job without an outcome; the message says how, in words for the file's problem."""


class _Gate:
    """A lock that many threads share, or one has to itself; whoever waits for the latter goes first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sharing, self._reserved = 0, False

    @contextmanager
    def shared(self) -> Generator[None, None, None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._reserved)
            self._sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._sharing -= 1
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Generator[None, None, None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._reserved)
            self._reserved = True
            self._changed.wait_for(lambda: self._sharing == 0)
        try:
            yield
        finally:
            with self._changed:
                self._reserved = False
                self._changed.notify_all()
