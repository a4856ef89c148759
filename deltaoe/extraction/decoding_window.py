"""Files between being read and being handed to the caller: in order, within bounds of memory, each content once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from deltaoe.extraction.decoding_jobs import Outcome
from deltaoe.images.locations import expected_bytes
from deltaoe.images.walk import Observed

if TYPE_CHECKING:
    from deltaoe.clip.batching import Pixels

_MAX_FILE_BYTES = _MAX_PIXEL_BYTES = 128 * 2**20  # in memory; a single file beyond that is admitted alone
_EXPECTED_VIEW_BYTES = 2**20  # until the first view is decoded: more than any CLIP's input takes
_MAX_CONTENTS = 8192  # remembered to recognise copies; more than any batch that waits for the model


class Picture(NamedTuple):
    """What was read and decoded of one file.

    Attributes:
        item: the file's number, as given.
        digest: SHA-256 of the file's bytes; empty where it could not be read.
        pixels: (V, H, W, 3) uint8, the views asked for, an array or a tensor on a device; None where nothing was to be
            decoded, or it failed.
        views: indices of the V views.
        problem: why the file is no usable picture; empty otherwise.
        lasting: whether the problem lies in the bytes, so that it can be recorded.
        seen: how the file was observed; None if it could not be read, or changed meanwhile: nothing can be recorded.
        notes: what is to be said of the picture, where it was decoded; short phrases.
    """

    item: int
    digest: bytes
    pixels: Pixels | None
    views: tuple[int, ...]
    problem: str
    lasting: bool
    seen: Observed | None
    notes: tuple[str, ...] = ()


class FileContent(NamedTuple):
    """A file's bytes, their SHA-256, and how it was observed; or why it cannot be read, and the others are empty.

    The observation is also None if the file changed while it was read.
    """

    data: bytes
    digest: bytes
    problem: str
    seen: Observed | None


@dataclass(slots=True)
class FileJob:
    """One file in the window: a decoding job, and how far it is.

    Attributes:
        item: the file's number.
        file_bytes: bytes of the file that count towards the bound on files in memory.
        reading: the file's content; None once that has been looked at.
        data: the file's bytes, while they are to be decoded.
        digest: SHA-256 of these bytes.
        views: indices of the views to decode.
        pixel_bytes: bytes of pixels, expected or decoded, that count towards the bound on pixels in memory.
        decoding: the outcomes of its chunk, while they are awaited.
        original: an earlier job of the same content, for whose outcome this copy waits.
        outcome: the result, once there is one.
        seen: how the file was observed when it was read.
    """

    item: int
    file_bytes: int
    reading: Future[FileContent] | None
    data: bytes = b""
    digest: bytes = b""
    views: tuple[int, ...] = ()
    pixel_bytes: int = 0
    decoding: Future[list[Outcome]] | None = None
    original: FileJob | None = None
    outcome: Outcome | None = None
    seen: Observed | None = None

    @property
    def is_read(self) -> bool:
        """Whether :attr:`reading` need not be waited for."""
        return self.reading is None or self.reading.done()


class Chunks(NamedTuple):
    """How large the tasks of the decoders are.

    Attributes:
        files: in a chunk, at most.
        size: bytes of files and pixels from which on a chunk is full.
        busy: chunks in progress from which on a chunk is filled before it is started.
    """

    files: int
    size: int
    busy: int


class DecodingWindow:
    """Files that are being read and decoded ahead of the caller. Only the caller's thread uses it.

    Args:
        items: numbers of the files, taken as needed.
        path_of: a file's path.
        views_to_decode: which views of a content, by its digest, are to be decoded; asked in the order of items.
        read: starts reading a file.
        decode: starts decoding a chunk of jobs.
        ahead: files in the window, at most.
        chunks: how large chunks are.
    """

    def __init__(
        self,
        items: Iterator[int],
        path_of: Callable[[int], str],
        views_to_decode: Callable[[bytes], tuple[int, ...]],
        read: Callable[[str], Future[FileContent]],
        decode: Callable[[list[FileJob]], Future[list[Outcome]]],
        *,
        ahead: int,
        chunks: Chunks,
    ) -> None:
        self._items, self._path_of, self._views_to_decode = items, path_of, views_to_decode
        self._read, self._decode = read, decode
        self._ahead, self._chunks = ahead, chunks
        self._next_file: tuple[int, str, int] | None = None  # taken from the items, not yet admitted
        self._jobs: deque[FileJob] = deque()
        self._undecided: deque[FileJob] = deque()  # those of them not yet in a chunk and without an outcome
        self._chunk: list[FileJob] = []
        self._started: deque[tuple[Future[list[Outcome]], list[FileJob]]] = deque()
        self._originals: dict[bytes, FileJob] = {}
        self._file_bytes = self._pixel_bytes = 0
        self._view_bytes = _EXPECTED_VIEW_BYTES

    def next(self) -> Picture | None:
        """The next file's picture, waiting until it is done; None after the last."""
        while True:
            self._collect_outcomes()
            self._start_reading()
            self._start_decoding()
            if not self._jobs:
                return None
            job = self._jobs[0]
            if job.outcome is not None:
                break
            pending: list[Future[Any]] = [] if job.decoding is None else [job.decoding]
            if self._undecided and not self._undecided[0].is_read and self._undecided[0].reading is not None:
                pending.append(self._undecided[0].reading)
            wait(pending, return_when=FIRST_COMPLETED)
        self._jobs.popleft()
        self._pixel_bytes -= job.pixel_bytes
        pixels, problem, lasting, notes = job.outcome
        job.outcome = Outcome(None, problem, lasting)  # for copies; the pixels are the caller's now
        if job.original is not None and job.original.outcome is not None:
            problem, lasting = job.original.outcome[1:3]
        views = () if pixels is None else job.views
        return Picture(job.item, job.digest, pixels, views, problem, lasting, job.seen, notes)

    def _start_reading(self) -> None:
        """Admit files to the window as long as there is room."""
        while len(self._jobs) < self._ahead:
            if self._next_file is None:
                item = next(self._items, None)
                if item is None:
                    return
                path = self._path_of(item)
                self._next_file = item, path, _size(path)
            item, path, size = self._next_file
            if self._file_bytes and self._file_bytes + size > _MAX_FILE_BYTES:
                return
            self._next_file = None
            self._file_bytes += size
            job = FileJob(item, size, self._read(path))
            self._jobs.append(job)
            self._undecided.append(job)

    def _start_decoding(self) -> None:
        """Put what is read into chunks, in order, and start chunks that are full or that idle decoders can take."""
        while self._undecided and self._undecided[0].is_read:
            job = self._undecided[0]
            if job.reading is not None:
                self._look_at(job, job.reading.result())
                job.reading = None  # which holds the bytes
            if job.views:
                expected = len(job.views) * self._view_bytes
                if self._pixel_bytes and self._pixel_bytes + expected > _MAX_PIXEL_BYTES:
                    break
                job.pixel_bytes = expected
                self._pixel_bytes += expected
                self._chunk.append(job)
                size = sum(other.file_bytes + other.pixel_bytes for other in self._chunk)
                if len(self._chunk) == self._chunks.files or size >= self._chunks.size:
                    self._start_chunk()
            self._undecided.popleft()
        if self._chunk and len(self._started) < self._chunks.busy:
            self._start_chunk()

    def _look_at(self, job: FileJob, content: FileContent) -> None:
        """Decide what becomes of a file that has been read: a problem, a copy, to be decoded, or nothing to do."""
        data, job.digest, problem, job.seen = content
        self._file_bytes += len(data) - job.file_bytes  # it may have grown since its size was asked for
        job.file_bytes = len(data)
        original = None if problem else self._originals.get(job.digest)
        if problem or original is not None:
            job.original, job.outcome = original, Outcome(None, problem)
        else:
            job.views = self._views_to_decode(job.digest)
            if job.views:
                job.data = data
                self._originals[job.digest] = job
                if len(self._originals) > _MAX_CONTENTS + self._ahead:
                    del self._originals[next(iter(self._originals))]
            else:
                job.outcome = Outcome(None)
        if job.outcome is not None:
            self._release_file(job)

    def _start_chunk(self) -> None:
        chunk, self._chunk = self._chunk, []
        outcomes = self._decode(chunk)
        for job in chunk:
            job.decoding = outcomes
        self._started.append((outcomes, chunk))

    def _collect_outcomes(self) -> None:
        """Take the outcomes of chunks that are done, up to the first that is not."""
        while self._started and self._started[0][0].done():
            outcomes, chunk = self._started.popleft()
            for job, outcome in zip(chunk, outcomes.result(), strict=True):
                job.outcome, job.decoding = outcome, None
                self._release_file(job)
                size = 0 if outcome.pixels is None else outcome.pixels.nbytes
                self._pixel_bytes += size - job.pixel_bytes
                job.pixel_bytes = size
                if size:
                    self._view_bytes = size // len(job.views)

    def _release_file(self, job: FileJob) -> None:
        self._file_bytes -= job.file_bytes
        job.file_bytes, job.data = 0, b""


def _size(path: str) -> int:
    """Bytes of a file; 0 if it cannot be asked for, as reading it will say why."""
    try:
        return expected_bytes(path)
    except (OSError, ValueError):
        return 0
