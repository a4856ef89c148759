"""Pictures decoded ahead of the model: files are read and hashed in threads, and decoded in a pool of processes."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from deltaoe.extraction.decoder_pool import DecoderPool
from deltaoe.extraction.decoding_jobs import Decode, Job, Outcome, ignore_pillow_warnings, try_decode
from deltaoe.extraction.decoding_window import Chunks, DecodingWindow, FileJob, Picture
from deltaoe.extraction.mixed_decoding import OnDevice, decode_mixed
from deltaoe.extraction.reading import READERS, read_file
from deltaoe.runtime import usable_cpus

_CHUNK_FILES = 8  # per message to a process
_CHUNK_BYTES = 2 * 2**20  # of files and pixels, likewise
_DEVICE_THREADS = 2  # one prepares while the other waits for the device
_DEVICE_CHUNKS = Chunks(64, 32 * 2**20, _DEVICE_THREADS)


def _silent(message: str) -> None:
    return


def pictures(
    items: Iterable[int],
    path_of: Callable[[int], str],
    views_to_decode: Callable[[bytes], tuple[int, ...]],
    decode: Decode,
    *,
    workers: int,
    ahead: int,
    readers: int = READERS,
    seconds: float | None = None,
    notify: Callable[[str], None] = _silent,
    device: OnDevice | None = None,
) -> Generator[Picture, None, None]:
    """Read files and decode those with new content, ahead of the caller and in the order of ``items``.

    A content is decoded once: a later copy of it is yielded without pixels, and with the same problem if there is one.
    No exception of ``decode`` ends the run, nor does a crash of its process, nor a file that takes too long. A file is
    blamed for either only if it happens twice, the second time while no other process works. Close the generator to
    stop early: what has not started is dropped.

    Args:
        items: numbers of files, taken as needed.
        path_of: a file's path.
        views_to_decode: indices of the views of a content, by its digest, that are to be decoded; ``()`` if it is
            known. Called in the order of ``items``.
        decode: from (bytes of the file, digest, view indices) to (V, H, W, 3). It can be pickled, and raises
            ImageError.
        workers: number of decoder processes, fewer where there are few files; 0 for threads of this process, which a
            file can end or stop.
        ahead: files between being read and being yielded, at most; fewer where files are large.
        readers: number of threads that read files.
        seconds: how long a process may take for a picture, per view; None for as long as it likes.
        notify: called with a sentence if processes cannot be started, and threads take their place.
        device: decodes JPEGs as far as it can; None to decode all with ``decode``.
    """
    remaining = iter(items)
    threads = workers or usable_cpus()
    first = list(itertools.islice(remaining, threads * _CHUNK_FILES))
    pool = None
    if workers:
        threads = max(1, min(workers, -(-len(first) // _CHUNK_FILES)))
        pool = DecoderPool(decode, seconds)

    def decode_chunk(jobs: Sequence[Job]) -> list[Outcome]:
        if pool is not None:
            return pool.decode(jobs)
        return [try_decode(decode, job.data, job.digest, job.views) for job in jobs]

    reading = ThreadPoolExecutor(readers, thread_name_prefix="deltaoe-read")
    decoders = ThreadPoolExecutor(threads, thread_name_prefix="deltaoe-decode")
    mixers = ThreadPoolExecutor(_DEVICE_THREADS, thread_name_prefix="deltaoe-device")

    def start(jobs: list[FileJob]) -> Future[list[Outcome]]:
        if device is None:
            return decoders.submit(decode_chunk, jobs)
        return mixers.submit(decode_mixed, jobs, device, lambda others: decoders.submit(decode_chunk, others))

    chunks = Chunks(1 if pool is None else _CHUNK_FILES, _CHUNK_BYTES, 2 * threads)
    window = DecodingWindow(
        itertools.chain(first, remaining),
        path_of,
        views_to_decode,
        lambda path: reading.submit(read_file, path),
        start,
        ahead=max(1, ahead),
        chunks=chunks if device is None else _DEVICE_CHUNKS,
    )
    try:
        # Pillow warns about metadata that pixels don't depend on. The filter is process-wide, so it is set around
        # the threads, not in them.
        with warnings.catch_warnings():
            ignore_pillow_warnings()
            notified = False
            while (picture := window.next()) is not None:
                if pool is not None and pool.start_problem and not notified:
                    notified = True
                    notify(pool.start_problem)
                yield picture
    finally:
        if pool is not None:
            pool.close()
        mixers.shutdown(wait=True, cancel_futures=True)
        decoders.shutdown(wait=True, cancel_futures=True)
        reading.shutdown(wait=True, cancel_futures=True)
