"""A process that decodes files: the handle to it in the calling process, and the program that it runs.

Decoder processes are plain children of the calling process and talk to it through their standard streams.
``concurrent.futures`` would wait for ever on a process that was killed with half a result in the pipe, cannot tell
which file killed it, and lets ``multiprocessing`` import the caller's script, and PyTorch with it, in every process.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import cast

import numpy as np

from deltaoe.errors import first_line
from deltaoe.extraction.decoding_jobs import (
    Job,
    Outcome,
    ignore_pillow_warnings,
    read_exactly,
    receive,
    send,
    try_decode,
)

_START_SECONDS = 60.0  # for the first answer; a program that is no Python would never give one
_OOM_SCORE = 500  # of -1000 to 1000: a process of a higher score is killed first where memory runs out

# Importing exactly this module: its name in the command line tells decoder processes from others.
_PROGRAM = "import sys; sys.path[:] = {}; from deltaoe.extraction.decoder_processes import serve; serve()"


class NotStartedError(Exception):
    """No decoder process can be started; the message is the reason."""


class DecoderProcess:
    """A running decoder process, which one thread at a time may use.

    Attributes:
        deadline: when it must have answered, by the monotonic clock; None while nothing is expected of it.
        overdue: whether it was killed because it had not.
    """

    def __init__(self) -> None:
        self.deadline: float | None = None
        self.overdue = False
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _PROGRAM.format(ascii([entry for entry in sys.path if isinstance(entry, str)])),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Decoding needs no BLAS, whose threads would cost every process memory and time to start.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            process_group=0,  # Ctrl-C is for the calling process alone, even while Python starts in the other
        )
        self._to = cast("BufferedWriter", self._process.stdin)
        self._from = cast("BufferedReader", self._process.stdout)

    def set_function(self, decode: bytes) -> None:
        """Send the pickled function to decode with from now on, and wait until the process has loaded it.

        Raises:
            NotStartedError: the process gave no answer or could not load the function. It has ended.
        """
        watchdog = threading.Timer(_START_SECONDS, self._process.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            send(self._to, len(decode), decode)
            problem = receive(self._from)
        except (OSError, EOFError) as cause:
            raise NotStartedError(self.end(patience=1.0)) from cause
        except ValueError as cause:  # a sitecustomize.py, perhaps
            self.end()
            raise NotStartedError(f"{sys.executable} prints something when it starts") from cause
        finally:
            watchdog.cancel()
        if problem:
            self.end()
            raise NotStartedError(problem)

    def decode(self, jobs: Sequence[Job], outcomes: list[Outcome], seconds: float | None) -> None:
        """Decode the jobs in order; the outcome of each is appended to ``outcomes`` as soon as it is there.

        Args:
            jobs: what to decode.
            outcomes: takes the outcomes.
            seconds: how long each view of a job may take, as :meth:`end_if_overdue` judges it; None for ever.

        Raises:
            OSError, EOFError, ValueError: the process has ended or answers nonsense; it died on the first job
                without an outcome.
        """
        heads = [(job.digest.hex(), job.views, len(job.data)) for job in jobs]
        try:
            self._expect_answer(jobs[0], seconds)
            send(self._to, heads, *(job.data for job in jobs))
            for job in jobs:
                self._expect_answer(job, seconds)
                shape, problem, lasting, notes = receive(self._from)
                pixels = None
                if shape is not None:
                    pixels = np.empty(shape, np.uint8)
                    if self._from.readinto(pixels.reshape(-1).data) != pixels.nbytes:
                        raise EOFError
                outcomes.append(Outcome(pixels, problem, lasting, tuple(notes)))
        finally:
            self.deadline = None

    def _expect_answer(self, job: Job, seconds: float | None) -> None:
        self.deadline = None if seconds is None else time.monotonic() + seconds * max(1, len(job.views))

    def end_if_overdue(self) -> None:
        """Kill it if its deadline has passed; another thread than the one that waits for it calls this."""
        deadline = self.deadline
        if deadline is not None and time.monotonic() > deadline:
            self.overdue = True
            self._process.kill()

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self._process.poll() is not None

    def let_go(self) -> None:
        """Forget it, in a fork of the process that started it: nothing is sent, and nobody waits for it."""
        self._process.returncode = 0  # so that Python does not warn about a child that is another's
        for stream in (self._to, self._from):
            with suppress(OSError):
                stream.close()

    def end(self, *, patience: float = 0.0) -> str:
        """Wait ``patience`` seconds for the process to end, then kill it; return its exit code or signal in words."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        self._process.kill()
        code = self._process.wait()
        for stream in (self._to, self._from):
            with suppress(OSError):  # what the process has not read cannot be flushed
                stream.close()
        if code >= 0:
            return f"exit code {code}"
        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"


def serve() -> None:
    """The program of a decoder process: decode the jobs that come on standard input until it is closed.

    A message is either the length of a pickled decoding function, which follows, or a list of jobs for the last one.

    Answers go to the standard output that the process was started with; whatever else is printed goes nowhere.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):  # what a C library prints there must not come between the messages
        os.dup2(nothing, stream)
    with suppress(OSError):  # where memory runs out, rather this process than the one with the model
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE), encoding="ascii")
    ignore_pillow_warnings()
    with suppress(EOFError, BrokenPipeError):  # the calling process has ended
        while True:
            heads = receive(source)
            if isinstance(heads, int):
                code = read_exactly(source, heads)
                try:
                    decode = pickle.loads(code)  # noqa: S301 - from the process that started this
                except Exception as cause:
                    send(target, first_line(cause))
                    return
                send(target, "")
                continue
            jobs = [(head, read_exactly(source, head[2])) for head in heads]
            for (digest, views, _), data in jobs:
                outcome = try_decode(decode, data, bytes.fromhex(digest), tuple(views))
                if outcome.pixels is None:
                    send(target, (None, *outcome[1:]))
                else:
                    pixels = np.asarray(outcome.pixels, np.uint8, order="C")
                    send(target, (pixels.shape, *outcome[1:]), pixels.reshape(-1).data)
