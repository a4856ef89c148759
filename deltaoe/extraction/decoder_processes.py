"""Processes that decode files and may crash: one that does costs its file, and nothing else.

They are plain children of this process that talk through their standard streams. ``concurrent.futures`` would wait for
ever on a worker that was killed with half a result in the pipe, cannot tell which file did it, and has
``multiprocessing`` import the caller's script once more in every worker, PyTorch with it.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from deltaoe.errors import first_line
from deltaoe.images.decode import ImageError

Decode = Callable[[bytes, bytes, tuple[int, ...]], NDArray[np.uint8]]

_START_SECONDS = 60.0  # a program that is no Python would never answer
_TRIES = 2
_TRIES_LATER = 10  # if others have started before: then what stops one should pass
_PAUSE = 0.1  # seconds between them
_LONGEST_HEAD = 2**24  # four letters are a larger number
_OOM_SCORE = 500


class Job(Protocol):
    """A file to decode: its bytes, their SHA-256, and which views are asked for."""

    data: bytes
    digest: bytes
    views: tuple[int, ...]


class Outcome(NamedTuple):
    """What became of a job: pixels (V, H, W, 3), or a problem, and whether that lies in the bytes."""

    pixels: NDArray[np.uint8] | None
    problem: str = ""
    lasting: bool = False


def decode_here(decode: Decode, data: bytes, digest: bytes, views: tuple[int, ...]) -> Outcome:
    """Call ``decode``, whose exceptions become problems."""
    try:
        return Outcome(decode(data, digest, views))
    except ImageError as cause:
        return Outcome(None, str(cause) or "not a usable picture", True)
    except MemoryError:
        return Outcome(None, "too large for this machine's memory")
    except Exception as cause:
        return Outcome(None, f"cannot be decoded: {type(cause).__name__}: {first_line(cause)}")


def ignore_pillow() -> None:
    """Let Pillow's warnings pass: they are about metadata that pixels don't depend on."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


class Crew:
    """Decodes in processes that it starts when they are needed; each calling thread has one to itself.

    Attributes:
        complaint: why no processes can be started, if so; then the calling threads decode.
    """

    def __init__(self, decode: Decode) -> None:
        self.complaint = ""
        self._decode = decode
        self._lock = threading.Lock()
        self._closed = self._proven = False
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._gate = _Gate()

    def decode(self, jobs: Sequence[Job]) -> list[Outcome]:
        """What becomes of each job.

        The file at which a process ended is tried once more, in a fresh process and while no other works, so that
        it takes neither the blame for a process killed from outside nor for memory that others needed.
        """
        done: list[Outcome] = []
        while len(done) < len(jobs):
            rest = jobs[len(done) :]
            if self.complaint:
                done += [decode_here(self._decode, job.data, job.digest, job.views) for job in rest]
                break
            try:
                with self._gate.together():
                    self._ask(self._take(), rest, done)
            except _NotStartedError as cause:
                self.complaint = f"decoding in this process, others cannot be started ({cause})"
            except _EndedError:
                done.append(self._alone(jobs[len(done)]))
        return done

    def close(self) -> None:
        """End all processes, whatever they do. A thread that waits for one gets an exception."""
        with self._lock:
            self._closed = True
            workers = list(self._all)
        for worker in workers:
            worker.end()

    def _alone(self, job: Job) -> Outcome:
        done: list[Outcome] = []
        try:
            with self._gate.alone():
                self._ask(self._fresh(), [job], done)  # an idle one may have been killed with the first
        except _EndedError as cause:
            return Outcome(None, f"the decoder crashed on this file ({cause})", True)
        except _NotStartedError:  # not in this process, which it may end too
            return Outcome(None, "the decoder ended on this file, and cannot be started again")
        return done[0]

    def _ask(self, worker: _Worker, jobs: Sequence[Job], done: list[Outcome]) -> None:
        try:
            worker.decode(jobs, done)
        except (OSError, EOFError, ValueError) as cause:
            self._forget(worker)
            raise _EndedError(worker.end(patience=1.0)) from cause
        with self._lock:
            self._idle.append(worker)

    def _take(self) -> _Worker:
        with self._lock:
            if self._idle and not self._closed:
                return self._idle.pop()
        return self._fresh()

    def _fresh(self) -> _Worker:
        tried = 0
        while True:
            try:
                return self._start()
            except _NotStartedError:
                tried += 1
                if tried >= (_TRIES_LATER if self._proven else _TRIES):
                    raise
            time.sleep(_PAUSE)

    def _start(self) -> _Worker:
        with self._lock:
            if self._closed:
                raise RuntimeError("the crew is closed")
            try:
                decode = pickle.dumps(self._decode)
                worker = _Worker()
            except Exception as cause:  # there may be no Python to start, or no memory
                raise _NotStartedError(first_line(cause)) from cause
            self._all.add(worker)
        try:
            worker.greet(decode)
        except _NotStartedError:
            self._forget(worker)
            raise
        self._proven = True
        return worker

    def _forget(self, worker: _Worker) -> None:
        with self._lock:
            self._all.discard(worker)


class _NotStartedError(Exception):
    """No process can be started; the message is the reason."""


class _EndedError(Exception):
    """A process ended at the first job without an outcome; the message is how."""


class _Worker:
    """A process that decodes, seen from here."""

    def __init__(self) -> None:
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
            process_group=0,  # Ctrl-C is for this process alone, even while Python starts in the other
        )
        self._to = cast("BufferedWriter", self._process.stdin)
        self._from = cast("BufferedReader", self._process.stdout)

    def greet(self, decode: bytes) -> None:
        """Hand over the pickled function. Raises _NotStartedError, and the process has ended."""
        watchdog = threading.Timer(_START_SECONDS, self._process.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            _send(self._to, len(decode), decode)
            answer = _receive(self._from)
        except (OSError, EOFError) as cause:
            raise _NotStartedError(self.end(patience=1.0)) from cause
        except ValueError as cause:  # a sitecustomize.py, perhaps
            self.end()
            raise _NotStartedError(f"{sys.executable} prints something when it starts") from cause
        finally:
            watchdog.cancel()
        if answer:
            self.end()
            raise _NotStartedError(answer)

    def decode(self, jobs: Sequence[Job], done: list[Outcome]) -> None:
        """Append the outcome of each job. Raises OSError, EOFError or ValueError once it no longer answers."""
        heads = [(job.digest.hex(), job.views, len(job.data)) for job in jobs]
        _send(self._to, heads, *(job.data for job in jobs))
        for _ in jobs:
            shape, problem, lasting = _receive(self._from)
            pixels = None
            if shape is not None:
                pixels = np.empty(shape, np.uint8)
                if self._from.readinto(pixels.reshape(-1).data) != pixels.nbytes:
                    raise EOFError
            done.append(Outcome(pixels, problem, lasting))

    def end(self, *, patience: float = 0.0) -> str:
        """Make sure that the process has ended, by force after so many seconds; return how it did."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        self._process.kill()
        code = self._process.wait()
        for stream in (self._to, self._from):
            with suppress(OSError):  # what it has not taken cannot be flushed
                stream.close()
        if code >= 0:
            return f"exit code {code}"
        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"


class _Gate:
    """Lets threads work together, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._working, self._reserved = 0, False

    @contextmanager
    def together(self) -> Generator[None, None, None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._reserved)
            self._working += 1
        try:
            yield
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Generator[None, None, None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._reserved)
            self._reserved = True
            self._changed.wait_for(lambda: self._working == 0)
        try:
            yield
        finally:
            with self._changed:
                self._reserved = False
                self._changed.notify_all()


def _send(stream: BufferedWriter, head: object, *bodies: bytes | memoryview) -> None:
    text = json.dumps(head).encode()
    stream.write(len(text).to_bytes(4, "little") + text)
    for body in bodies:
        stream.write(body)
    stream.flush()


def _receive(stream: BufferedReader) -> Any:
    length = int.from_bytes(_exactly(stream, 4), "little")
    if length > _LONGEST_HEAD:
        raise ValueError(f"{length} bytes are no head")
    return json.loads(_exactly(stream, length))


def _exactly(stream: BufferedReader, count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise EOFError
    return data


_PROGRAM = "import sys; sys.path[:] = {}; from deltaoe.extraction.decoder_processes import serve; serve()"


def serve() -> None:
    """Be a worker: decode what comes on standard input until it ends, with the process that writes it or before."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for taken in (0, 1):  # what a C library prints there must not come between
        os.dup2(nothing, taken)
    with suppress(OSError):  # where memory runs out, rather this process than the one with the model
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE), encoding="ascii")
    ignore_pillow()
    with suppress(EOFError, BrokenPipeError):  # there is nobody to work for any more
        code = _exactly(source, _receive(source))
        try:
            decode = pickle.loads(code)  # noqa: S301 - from the process that started this
        except Exception as cause:
            _send(target, first_line(cause))
            return
        _send(target, "")
        while True:
            jobs = [(head, _exactly(source, head[2])) for head in _receive(source)]
            for (digest, views, _), data in jobs:
                outcome = decode_here(decode, data, bytes.fromhex(digest), tuple(views))
                if outcome.pixels is None:
                    _send(target, (None, *outcome[1:]))
                else:
                    pixels = np.asarray(outcome.pixels, np.uint8, order="C")
                    _send(target, (pixels.shape, *outcome[1:]), pixels.reshape(-1).data)
