"""The run of the model over files that need it: read, decoded, encoded in batches, and handed to a writer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from deltaoe.extraction.file_states import FileStates
from deltaoe.extraction.mixed_decoding import OnDevice, left_out_sentence
from deltaoe.extraction.options import IngestOptions
from deltaoe.extraction.reading import readers_for
from deltaoe.images.decode_policy import GPU
from deltaoe.images.location_text import is_url
from deltaoe.progress import Event, OnEvent
from deltaoe.runtime import usable_cpus
from deltaoe.short_repr import counted
from deltaoe.store.store_index import FileRecord

if TYPE_CHECKING:
    from deltaoe.clip.batching import BatchEncoder, Pixels
    from deltaoe.clip.frozen import FrozenClip
    from deltaoe.extraction.decoding_window import Picture

STAGE = "Encoding images"
# A kill -9 loses at most this many rows or this many seconds of work.
_SHARD_ROWS = 8192
_SHARD_SECONDS = 20.0
_LOOKED_AT = 64  # files, to see whether they come over a network


class Writer(Protocol):
    """Takes features and observations of files, as :class:`deltaoe.store.feature_writer.StoreWriter` does."""

    @property
    def pending(self) -> int:
        """Number of rows that are not written yet."""

    def has(self, digest: bytes, view: int, /) -> bool:
        """Whether this feature is stored, or about to be."""

    def add(self, path: bytes, record: FileRecord, /) -> None:
        """Add an observation of a file."""

    def add_features(self, digest: bytes, features: npt.NDArray[np.float32], views: Sequence[int], /) -> None:
        """Add features (V, D), unit rows, of the views of a content."""

    def note(self, digest: bytes, notes: Sequence[str], /) -> None:
        """Add what is to be said of a picture whose features were added."""

    def flush(self) -> None:
        """Write all that is pending."""


class EncodingRun:
    """One run of the model over the files that need it; writes features and records, and updates the states.

    Args:
        location: where each of N files is, by its index.
        keys: N names that they are recorded under.
        writer: takes features and records.
        states: of the N files.
        on: receives progress.
        options: of decoding and encoding.
    """

    def __init__(
        self,
        location: Callable[[int], str],
        keys: Sequence[bytes],
        writer: Writer,
        states: FileStates,
        on: OnEvent,
        options: IngestOptions,
    ) -> None:
        self._location, self._keys = location, keys
        self._writer, self._states, self._on, self._options = writer, states, on, options
        self._batch: list[Picture] = []  # pictures to encode, and copies of them
        self._batch_rows = 0
        self._batch_digests: set[bytes] = set()
        self._encoding: list[Picture] = []  # the batch before, in the model
        self._encoding_digests: set[bytes] = set()
        self._done = 0
        self._changing = 0  # files that changed while they were read
        self._untold = 0  # objects at URLs of which nothing tells one state from another

    def encode(self, indices: npt.NDArray[np.int64], clip: FrozenClip) -> None:
        """Read, decode and encode the files of these indices."""
        from deltaoe.clip.batching import BatchEncoder
        from deltaoe.extraction.decoding import pictures

        def notify(sentence: str) -> None:
            self._on(Event(STAGE, message=sentence))

        encoder = BatchEncoder(clip, self._options.batch_size, notify)
        workers = usable_cpus() if self._options.workers is None else self._options.workers
        device = _jpegs_on_device(clip) if clip.space.decode == GPU else None
        tower = _Tower(encoder, clip)
        started = flushed = time.monotonic()
        stream = pictures(
            indices.tolist(),
            self._location,
            self._missing_views,
            clip.geometry.decode_noted,
            workers=workers,
            readers=readers_for(map(self._location, indices[:_LOOKED_AT].tolist())),
            seconds=self._options.image_seconds or None,
            ahead=2 * encoder.batch_size + 8 * max(1, workers),
            notify=notify,
            device=device,
        )
        with closing(stream), closing(tower):
            try:
                for count, picture in enumerate(stream, start=1):
                    self._add(picture)
                    last = count == len(indices)
                    if self._batch_rows >= encoder.batch_size or last:
                        self._encode_batch(tower)
                        if last:
                            self._store_batch(tower)
                        seconds = max(time.monotonic() - started, 1e-9)
                        info = {"images/s": count / seconds, "failed": len(self._states.problems)}
                        self._on(Event(STAGE, count, len(indices), info))
                    if self._writer.pending >= _SHARD_ROWS or time.monotonic() - flushed > _SHARD_SECONDS:
                        self._writer.flush()
                        flushed = time.monotonic()
            except KeyboardInterrupt:
                done = f"{self._done} of {len(indices)} new files are done"
                notify(f"stopping: {done}, the last of them are being stored")
                raise
        if self._changing:
            notify(f"{counted(self._changing, 'file')} changed while being read; the next run reads again")
        if self._untold:
            what = counted(self._untold, "object") + " at URLs"
            notify(f"{what} without an ETag or date that fits: each run reads them again")
        if device is not None and (sentence := left_out_sentence(device.left_out, len(indices))):
            notify(sentence)

    def _missing_views(self, digest: bytes) -> tuple[int, ...]:
        """Indices of a content's views that are neither in the store nor in the batch."""
        if self._awaited(digest):
            return ()
        return tuple(v for v in range(self._options.views + 1) if not self._writer.has(digest, v))

    def _awaited(self, digest: bytes) -> bool:
        """Whether the features of a content are on their way: it is in the batch, or in the model."""
        return digest in self._batch_digests or digest in self._encoding_digests

    def _record(self, picture: Picture) -> None:
        """Record how a file was observed when it was read, with its content or problem."""
        if picture.seen is None:
            if is_url(self._location(picture.item)):
                self._untold += 1
            else:
                self._changing += 1
        else:
            size, modified, changed, inode = picture.seen
            record = FileRecord(size, modified, picture.digest, picture.problem, changed, inode)
            self._writer.add(self._keys[picture.item], record)

    def _add(self, picture: Picture) -> None:
        """Record a file that failed or whose features are stored; put any other into the batch."""
        i = picture.item
        if picture.problem:
            self._states.problems[i] = picture.problem
            self._done += 1
            if picture.lasting:
                self._record(picture)
        elif picture.pixels is None and not self._awaited(picture.digest):
            self._states.set_usable(i, picture.digest)
            self._record(picture)
            self._done += 1
        else:
            # Copies, too: a file must not be recorded before the features of its content are.
            self._batch.append(picture)
            self._batch_digests.add(picture.digest)
            self._batch_rows += max(1, len(picture.views))  # so that copies alone fill a batch, too

    def _encode_batch(self, tower: _Tower) -> None:
        """Put the batch's pixels through the model, once the batch before is through and written."""
        self._store_batch(tower)
        tower.start([picture.pixels for picture in self._batch if picture.pixels is not None])
        self._encoding, self._batch, self._batch_rows = self._batch, [], 0
        self._encoding_digests, self._batch_digests = self._batch_digests, set()
        if not tower.beside:
            self._store_batch(tower)

    def _store_batch(self, tower: _Tower) -> None:
        """Write features and records of the batch that is in the model, if there is one."""
        batch = self._encoding
        features = tower.features() if batch else np.zeros((0, 0), np.float32)
        start = 0
        for picture in batch:
            if picture.pixels is not None:
                stop = start + len(picture.views)
                self._writer.add_features(picture.digest, features[start:stop], picture.views)
                self._writer.note(picture.digest, picture.notes)
                start = stop
                self._states.encoded += 1
            self._record(picture)
            self._states.set_usable(picture.item, picture.digest)
            self._done += 1
        self._encoding, self._encoding_digests = [], set()


def _jpegs_on_device(clip: FrozenClip) -> OnDevice:
    from deltaoe.clip.jpegs_on_device import JpegsOnDevice

    return JpegsOnDevice(clip.geometry, clip.device)


class _Tower:
    """The model, in a thread of its own where a device computes: meanwhile the caller writes and collects.

    Args:
        encoder: of pixels, in batches.
        clip: the model.

    Attributes:
        beside: whether there is such a thread. A CPU has nothing to spare for it.
    """

    def __init__(self, encoder: BatchEncoder, clip: FrozenClip) -> None:
        self.beside = clip.device.type != "cpu"
        self._encoder, self._device = encoder, clip.device
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="deltaoe-encode") if self.beside else None
        self._encoded: Future[npt.NDArray[np.float32]] = Future()

    def start(self, pixels: Sequence[Pixels]) -> None:
        """Begin to encode the parts of a batch."""
        if self._thread is not None:
            self._encoded = self._thread.submit(self._encode, pixels)
            return
        self._encoded = Future()
        self._encoded.set_result(self._encode(pixels))

    def features(self) -> npt.NDArray[np.float32]:
        """Features (n, D) of the n pictures of the batch that was started last."""
        return self._encoded.result()

    def close(self) -> None:
        """Wait for what has begun."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)

    def _encode(self, pixels: Sequence[Pixels]) -> npt.NDArray[np.float32]:
        from deltaoe.clip.batching import joined

        return self._encoder(joined(pixels, self._device)) if pixels else np.zeros((0, 0), np.float32)
