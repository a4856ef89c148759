"""Pictures read, hashed and decoded ahead of the model, in order, without ever waiting for a worker that is gone.

Files are read and hashed in threads, which lets other threads run. Decoding happens in processes of its own: a
decoder that crashes on a hostile file takes one of them along, not the run.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.data.images import ImageError, read_bytes
from deltaoe.errors import first_line
from deltaoe.runtime import process_pool, usable_cpus

Pixels = npt.NDArray[np.uint8]
Decode = Callable[[bytes, bytes, tuple[int, ...]], Pixels]

# Starting processes takes half a second, in which threads decode more files than this.
_WORTH_PROCESSES = 64
# Files per message to a worker: a message costs about as much as decoding a thumbnail.
_CHUNK_FILES = 8
_CHUNK_BYTES = 4 << 20
_BYTES_IN_FLIGHT = 256 << 20
_CRASHED = "the decoder crashed on this file"


class Picture(NamedTuple):
    """What became of one file.

    Attributes:
        item: the caller's number of it.
        digest: SHA-256 of its bytes; empty where it could not be read.
        pixels: (V, H, W, 3); None where nothing had to be decoded, or could be.
        views: which V views these are.
        problem: why there is no picture, or empty.
        lasting: whether that lies in the bytes and will be so again, unlike missing permissions.
    """

    item: int
    digest: bytes
    pixels: Pixels | None = None
    views: tuple[int, ...] = ()
    problem: str = ""
    lasting: bool = False


class _Job(NamedTuple):
    data: bytes
    digest: bytes
    views: tuple[int, ...]


@dataclass
class _Slot:
    """One file on its way: reading, then perhaps waiting for a decoder, then done."""

    item: int
    reading: Future[tuple[bytes, bytes] | str]
    job: _Job | None = None
    twin: _Slot | None = None  # an earlier file with the same content, on its way too
    decoding: _Chunk | None = None
    place: int = 0
    picture: Picture | None = None


@dataclass
class _Chunk:
    """Files that are decoded as one message, and its answer."""

    slots: list[_Slot] = field(default_factory=list)
    size: int = 0
    answer: Future[list[Pixels | str]] | None = None


def pictures(
    items: Sequence[int],
    path_of: Callable[[int], str],
    wanted: Callable[[bytes], tuple[int, ...]],
    decode: Decode,
    *,
    workers: int,
    ahead: int,
    notify: Callable[[str], None] = lambda message: None,
) -> Generator[Picture, None, None]:
    """Read, hash and decode files; yield what became of them, in their order.

    Args:
        items: numbers of the files.
        path_of: the path of one.
        wanted: asked with a content's digest in the consuming thread; the views to decode, none where the
            content is known. Of equal files on their way at the same time, only the first is decoded.
        decode: file bytes, digest and views to pixels, or :class:`ImageError`; picklable.
        workers: processes that decode; 0 decodes in threads of this one, as does a handful of files.
        ahead: how many files may be on their way.
        notify: told once if processes cannot be started here.

    Closing it drops what has not begun, and leaves no process behind.
    """
    line = _Line(path_of, wanted, _Decoders(decode, workers if len(items) >= _WORTH_PROCESSES else 0, notify))
    # Pillow warns about metadata that pixels don't depend on. The filter is process-wide, so it is set around
    # the threads, not in them.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            yield from line.run(iter(items), max(1, ahead))
        finally:
            line.close()


class _Line:
    """The files on their way, first to last."""

    def __init__(
        self, path_of: Callable[[int], str], wanted: Callable[[bytes], tuple[int, ...]], decoders: _Decoders
    ) -> None:
        self._path_of, self._wanted, self._decoders = path_of, wanted, decoders
        self._threads = min(8, 2 * usable_cpus())
        self._readers = ThreadPoolExecutor(self._threads, thread_name_prefix="deltaoe-read")
        self._slots: deque[_Slot] = deque()
        self._unread: deque[_Slot] = deque()
        self._in_flight: dict[bytes, _Slot] = {}
        self._bytes = 0
        self._chunk = _Chunk()

    def run(self, items: Iterator[int], ahead: int) -> Iterator[Picture]:
        more = True
        while True:
            while more and len(self._slots) < ahead and len(self._unread) < 2 * self._threads:
                if self._bytes > _BYTES_IN_FLIGHT:
                    break
                item = next(items, None)
                more = item is not None
                if item is not None:
                    slot = _Slot(item, self._readers.submit(_read, self._path_of(item)))
                    self._slots.append(slot)
                    self._unread.append(slot)
            while self._unread and self._unread[0].reading.done():
                self._after_reading(self._unread.popleft())
            if not self._slots:
                return
            head = self._slots[0]
            if head in self._unread:
                head.reading.exception()  # waits
                continue
            yield self._finish(head)
            self._slots.popleft()
            self._forget(head)

    def close(self) -> None:
        self._readers.shutdown(wait=True, cancel_futures=True)
        self._decoders.close()

    def _after_reading(self, slot: _Slot) -> None:
        result = slot.reading.result()
        if isinstance(result, str):
            slot.picture = Picture(slot.item, b"", problem=result)
            return
        data, digest = result
        slot.reading = _DONE
        twin = self._in_flight.get(digest)
        if twin is not None:
            slot.twin, slot.job = twin, _Job(b"", digest, ())
            return
        views = self._wanted(digest)
        if not views:
            slot.picture = Picture(slot.item, digest)
            return
        slot.job = _Job(data, digest, views)
        self._in_flight[digest] = slot
        self._bytes += len(data)
        chunk = self._chunk
        slot.decoding, slot.place = chunk, len(chunk.slots)
        chunk.slots.append(slot)
        chunk.size += len(data)
        if len(chunk.slots) == _CHUNK_FILES or chunk.size >= _CHUNK_BYTES or not self._decoders.processes:
            self._send()

    def _send(self) -> None:
        chunk, self._chunk = self._chunk, _Chunk()
        self._decoders.start(chunk)

    def _finish(self, slot: _Slot) -> Picture:
        if slot.picture is not None:
            return slot.picture
        assert slot.job is not None  # noqa: S101 - for the type checker
        digest = slot.job.digest
        if slot.twin is not None:
            twin = slot.twin.picture
            assert twin is not None  # noqa: S101 - it came before
            slot.picture = Picture(slot.item, digest, problem=twin.problem, lasting=twin.lasting)
            return slot.picture
        chunk = slot.decoding
        assert chunk is not None  # noqa: S101 - for the type checker
        if chunk is self._chunk:
            self._send()
        answer = self._decoders.result(chunk, slot.place)
        if isinstance(answer, str):
            slot.picture = Picture(slot.item, digest, problem=answer, lasting=True)
            return slot.picture
        slot.picture = Picture(slot.item, digest)  # which its twins need; the pixels go to the caller alone
        return Picture(slot.item, digest, answer, slot.job.views)

    def _forget(self, slot: _Slot) -> None:
        if slot.job is not None and slot.twin is None:
            self._bytes -= len(slot.job.data)
            self._in_flight.pop(slot.job.digest, None)
        slot.job = slot.decoding = None


class _Decoders:
    """Threads or processes that decode, replaced when they die."""

    def __init__(self, decode: Decode, workers: int, notify: Callable[[str], None]) -> None:
        self._decode, self._notify = decode, notify
        self._workers = workers
        self._pool: Executor | None = None
        self._chunks: list[_Chunk] = []
        self._proved = False

    @property
    def processes(self) -> bool:
        """Whether decoding happens in other processes."""
        return self._workers > 0

    def start(self, chunk: _Chunk) -> None:
        """Begin to decode these files."""
        try:
            self._submit(chunk)
        except (BrokenProcessPool, OSError):
            self._recover()
            self._submit(chunk)

    def _submit(self, chunk: _Chunk) -> None:
        if self._pool is None:
            if self.processes:
                self._pool = process_pool(self._workers)
            else:
                self._pool = ThreadPoolExecutor(usable_cpus(), thread_name_prefix="deltaoe-decode")
        work = _work_apart if self.processes else _work
        chunk.answer = self._pool.submit(work, self._decode, _jobs(chunk))
        self._chunks = [c for c in self._chunks if c.answer is not None and not c.answer.done()] + [chunk]

    def result(self, chunk: _Chunk, place: int) -> Pixels | str:
        """The pixels of one file of a chunk, or why there are none."""
        assert chunk.answer is not None  # noqa: S101 - for the type checker
        try:
            answers = chunk.answer.result()
        except (BrokenProcessPool, OSError):
            self._recover()
            answers = chunk.answer.result()
        self._proved = True
        # Handed over: pixels of a chunk are not kept longer than its files need them.
        answer, answers[place] = answers[place], ""
        return answer

    def _recover(self) -> None:
        """After a worker's death: decode what it left behind, file by file, to learn which of them kills."""
        left = [chunk for chunk in self._chunks if _broken(chunk)]
        self._close_pool()
        if not self._proved and self._alone([]) is None:
            self._workers = 0
            self._notify("worker processes cannot be started here: decoding in threads, which is slower")
        for chunk in left:
            answers = [self._alone([job]) for job in _jobs(chunk)]
            chunk.answer = Future()
            chunk.answer.set_result([_CRASHED if a is None else a[0] for a in answers])
        self._chunks = []

    def _alone(self, jobs: list[_Job]) -> list[Pixels | str] | None:
        """The answer of a process that has nothing else to do; None if it died of it, twice."""
        if not self.processes:
            return _work(self._decode, jobs)
        for _ in range(2):  # somebody else may have killed the first one
            try:
                if self._pool is None:
                    self._pool = process_pool(1)
                return self._pool.submit(_work_apart, self._decode, jobs).result()
            except (BrokenProcessPool, OSError):
                self._close_pool()
        return None

    def _close_pool(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def close(self) -> None:
        """End all of them."""
        self._close_pool()


def _broken(chunk: _Chunk) -> bool:
    answer = chunk.answer
    return answer is None or answer.cancelled() or not answer.done() or answer.exception() is not None


def _jobs(chunk: _Chunk) -> list[_Job]:
    return [slot.job for slot in chunk.slots if slot.job is not None]


def _read(path: str) -> tuple[bytes, bytes] | str:
    try:
        data = read_bytes(Path(path))
    except ImageError as cause:
        return str(cause)
    return data, hashlib.sha256(data).digest()


def _work(decode: Decode, jobs: Sequence[_Job]) -> list[Pixels | str]:
    """Decode files one after the other; a string where one is no picture."""
    answers: list[Pixels | str] = []
    for job in jobs:
        try:
            answers.append(decode(*job))
        except ImageError as cause:
            answers.append(str(cause))
        except Exception as cause:  # what no decoder should raise must not cost the other files
            answers.append(f"cannot be decoded: {type(cause).__name__}: {first_line(cause, 120)}")
    return answers


def _work_apart(decode: Decode, jobs: Sequence[_Job]) -> list[Pixels | str]:
    warnings.filterwarnings("ignore", module=r"PIL\.")
    return _work(decode, jobs)


_DONE: Future[tuple[bytes, bytes] | str] = Future()
_DONE.set_result("")
