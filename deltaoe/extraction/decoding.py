"""Pictures decoded ahead of the model: files read and hashed in threads, decoded by a crew of processes."""

from __future__ import annotations

import hashlib
import itertools
import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deltaoe.errors import first_line
from deltaoe.extraction.decoder_processes import Crew, Decode, Outcome, decode_here, ignore_pillow
from deltaoe.images.decode import ImageError, read_bytes
from deltaoe.runtime import usable_cpus

_FEW_FILES = 64  # threads have decoded this many before the first process has loaded Pillow and NumPy
_READERS = 8  # they wait for disks and networks rather than for a CPU
_FILE_BYTES = _PIXEL_BYTES = 128 * 2**20  # in flight; one file beyond that goes when nothing else is
_UNSEEN_VIEW = 2**20  # bytes of a view before the first is there: more than any CLIP takes
_CHUNK_FILES, _CHUNK_BYTES = 8, 2 * 2**20  # per message to a process
_CONTENTS = 8192  # looked up before one is decoded again; more than any batch that waits for the model


class Picture(NamedTuple):
    """What became of one file.

    Attributes:
        item: as given.
        digest: SHA-256 of the file's bytes; empty where it could not be read.
        pixels: (V, H, W, 3), the views asked for; None where nothing had to be decoded, or it failed.
        views: which.
        problem: the reason why it is no usable picture, or empty.
        lasting: the reason lies in the bytes and is worth remembering.
    """

    item: int
    digest: bytes
    pixels: NDArray[np.uint8] | None
    views: tuple[int, ...]
    problem: str
    lasting: bool


def _silent(message: str) -> None:
    return


def pictures(
    items: Iterable[int],
    path_of: Callable[[int], str],
    wanted: Callable[[bytes], tuple[int, ...]],
    decode: Decode,
    *,
    workers: int,
    ahead: int,
    notify: Callable[[str], None] = _silent,
) -> Generator[Picture, None, None]:
    """Read files and decode those whose content is new, ahead of the caller and in the order of ``items``.

    A content is decoded once: a copy comes behind it without pixels, and with the same problem if it has one. No
    exception of ``decode`` ends the run, nor does a crash of its process. A file is blamed for a crash only if a
    process dies on it twice, the second time while no other works. Close the generator to stop early: what has not
    started is dropped.

    Args:
        items: numbers of files, taken as needed.
        path_of: a file's path.
        wanted: which views of a content, by its digest, are to be decoded; ``()`` if it is known. Asked in order.
        decode: (bytes of the file, digest, views) to (V, H, W, 3); it can be pickled, and raises ImageError.
        workers: processes that decode; 0 for threads of this one, which also do the work where there are few files.
        ahead: files between being read and being yielded, at most; fewer where they are large.
        notify: given a sentence if processes cannot be started, and threads take their place.
    """
    remaining = iter(items)
    first = list(itertools.islice(remaining, _FEW_FILES))
    threads = workers or usable_cpus()
    crew = Crew(decode) if workers and len(first) == _FEW_FILES else None

    def work(jobs: list[_Job]) -> list[Outcome]:
        if crew is not None:
            return crew.decode(jobs)
        return [decode_here(decode, job.data, job.digest, job.views) for job in jobs]

    readers = ThreadPoolExecutor(_READERS, thread_name_prefix="deltaoe-read")
    decoders = ThreadPoolExecutor(threads, thread_name_prefix="deltaoe-decode")
    window = _Window(
        itertools.chain(first, remaining),
        path_of,
        wanted,
        lambda path: readers.submit(_read, path),
        lambda jobs: decoders.submit(work, jobs),
        ahead=max(1, ahead),
        chunk=1 if crew is None else _CHUNK_FILES,
        busy=2 * threads,
    )
    try:
        # Pillow warns about metadata that pixels don't depend on. The filter is process-wide, so it is set around
        # the threads, not in them.
        with warnings.catch_warnings():
            ignore_pillow()
            complained = False
            while (picture := window.next()) is not None:
                if crew is not None and crew.complaint and not complained:
                    complained = True
                    notify(crew.complaint)
                yield picture
    finally:
        if crew is not None:
            crew.close()
        decoders.shutdown(wait=True, cancel_futures=True)
        readers.shutdown(wait=True, cancel_futures=True)


class _Reading(NamedTuple):
    data: bytes
    digest: bytes
    problem: str


def _read(path: str) -> _Reading:
    try:
        data = read_bytes(Path(path))
    except ImageError as cause:
        return _Reading(b"", b"", str(cause))
    except Exception as cause:  # a zero byte in a path, or no memory
        return _Reading(b"", b"", f"cannot be read: {first_line(cause)}")
    return _Reading(data, hashlib.sha256(data).digest(), "")


@dataclass(slots=True)
class _Job:
    """One file on its way; ``size`` and ``room`` are what it takes of the two budgets."""

    item: int
    size: int
    reading: Future[_Reading] | None
    data: bytes = b""
    digest: bytes = b""
    views: tuple[int, ...] = ()
    room: int = 0
    decoding: Future[list[Outcome]] | None = None
    twin: _Job | None = None
    outcome: Outcome | None = None

    @property
    def is_read(self) -> bool:
        return self.reading is None or self.reading.done()


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):  # reading it will say why
        return 0


class _Window:
    """The files from being read until they are yielded, kept in order by the thread that wants them."""

    def __init__(
        self,
        items: Iterator[int],
        path_of: Callable[[int], str],
        wanted: Callable[[bytes], tuple[int, ...]],
        read: Callable[[str], Future[_Reading]],
        decode: Callable[[list[_Job]], Future[list[Outcome]]],
        *,
        ahead: int,
        chunk: int,
        busy: int,
    ) -> None:
        self._items, self._path_of, self._wanted = items, path_of, wanted
        self._read, self._decode = read, decode
        self._ahead, self._chunk_files, self._busy = ahead, chunk, busy
        self._upcoming: tuple[int, str, int] | None = None
        self._jobs: deque[_Job] = deque()
        self._unsent: deque[_Job] = deque()  # those of them that nothing has been decided about
        self._chunk: list[_Job] = []
        self._chunks: deque[tuple[Future[list[Outcome]], list[_Job]]] = deque()  # sent
        self._met: dict[bytes, _Job] = {}
        self._file_bytes = self._pixel_bytes = 0
        self._view_bytes = _UNSEEN_VIEW

    def next(self) -> Picture | None:
        """The next file, as soon as it is done; None behind the last."""
        while True:
            self._collect()
            self._fill()
            self._send()
            if not self._jobs:
                return None
            head = self._jobs[0]
            if head.outcome is not None:
                break
            pending: list[Future[Any]] = [] if head.decoding is None else [head.decoding]
            if self._unsent and not self._unsent[0].is_read and self._unsent[0].reading is not None:
                pending.append(self._unsent[0].reading)
            wait(pending, return_when=FIRST_COMPLETED)
        self._jobs.popleft()
        self._pixel_bytes -= head.room
        pixels, problem, lasting = head.outcome
        head.outcome = Outcome(None, problem, lasting)  # for copies; the pixels are the caller's now
        if head.twin is not None and head.twin.outcome is not None:
            problem, lasting = head.twin.outcome[1:]
        views = () if pixels is None else head.views
        return Picture(head.item, head.digest, pixels, views, problem, lasting)

    def _fill(self) -> None:
        while len(self._jobs) < self._ahead:
            if self._upcoming is None:
                item = next(self._items, None)
                if item is None:
                    return
                path = self._path_of(item)
                self._upcoming = item, path, _size(path)
            item, path, size = self._upcoming
            if self._file_bytes and self._file_bytes + size > _FILE_BYTES:
                return
            self._upcoming = None
            self._file_bytes += size
            job = _Job(item, size, self._read(path))
            self._jobs.append(job)
            self._unsent.append(job)

    def _send(self) -> None:
        while self._unsent and self._unsent[0].is_read:
            job = self._unsent[0]
            if job.reading is not None:
                self._decide(job, job.reading.result())
                job.reading = None  # which holds the bytes
            if job.views:
                room = len(job.views) * self._view_bytes
                if self._pixel_bytes and self._pixel_bytes + room > _PIXEL_BYTES:
                    break
                job.room = room
                self._pixel_bytes += room
                self._chunk.append(job)
                if (
                    len(self._chunk) == self._chunk_files
                    or sum(j.size + j.room for j in self._chunk) >= _CHUNK_BYTES
                ):
                    self._send_chunk()
            self._unsent.popleft()
        if self._chunk and len(self._chunks) < self._busy:
            self._send_chunk()

    def _decide(self, job: _Job, read: _Reading) -> None:
        data, job.digest, problem = read
        self._file_bytes += len(data) - job.size  # it may have grown since its size was asked for
        job.size = len(data)
        twin = None if problem else self._met.get(job.digest)
        if problem or twin is not None:
            job.twin, job.outcome = twin, Outcome(None, problem)
        else:
            job.views = self._wanted(job.digest)
            if job.views:
                job.data = data
                self._met[job.digest] = job
                if len(self._met) > _CONTENTS + self._ahead:
                    del self._met[next(iter(self._met))]
            else:
                job.outcome = Outcome(None)
        if job.outcome is not None:
            self._release_file(job)

    def _send_chunk(self) -> None:
        chunk, self._chunk = self._chunk, []
        future = self._decode(chunk)
        for job in chunk:
            job.decoding = future
        self._chunks.append((future, chunk))

    def _collect(self) -> None:
        while self._chunks and self._chunks[0][0].done():
            future, chunk = self._chunks.popleft()
            for job, outcome in zip(chunk, future.result(), strict=True):
                job.outcome, job.decoding = outcome, None
                self._release_file(job)
                taken = 0 if outcome.pixels is None else outcome.pixels.nbytes
                self._pixel_bytes += taken - job.room
                job.room = taken
                if taken:
                    self._view_bytes = taken // len(job.views)

    def _release_file(self, job: _Job) -> None:
        self._file_bytes -= job.size
        job.size, job.data = 0, b""
