"""From image files to rows of the feature store.

No content is encoded twice, a killed run loses a few seconds of work at most, and files that cannot be used are named.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deltaoe.clip.choice import encodes_anew
from deltaoe.clip.source import ModelSource
from deltaoe.errors import DataError
from deltaoe.extraction.kept_process import start_early
from deltaoe.extraction.options import IngestOptions
from deltaoe.extraction.review import Review, keep_same, review
from deltaoe.images.inputs import FileList
from deltaoe.progress import Event, OnEvent
from deltaoe.runtime import usable_cpus
from deltaoe.store.feature_store import Digests, FeatureStore
from deltaoe.store.feature_writer import StoreWriter
from deltaoe.store.shards import NO_DIGEST
from deltaoe.store.store_index import FileRecord
from deltaoe.store.workspace import Workspace
from deltaoe.threads import spinning_little

if TYPE_CHECKING:
    from deltaoe.clip.batching import BatchEncoder
    from deltaoe.clip.frozen import FrozenClip
    from deltaoe.extraction.decoding_window import Picture

# A kill -9 loses at most this many rows or this many seconds of work.
_SHARD_ROWS = 8192
_SHARD_SECONDS = 20.0
_STAGE = "Encoding images"


@dataclass(frozen=True)
class Ingested:
    """What became of N files, of which n are usable images.

    Attributes:
        store: holds features of every digest below.
        rows: (n,) indices of the usable images among the files, ascending.
        digests: (n, 32) uint8, SHA-256 of these images' contents.
        failed: index and reason of each other file, ascending.
        encoded: number of images that went through the model in this run.
        reused: number of images whose features were there, and whose files were not opened.
        notes: position among the usable images → what is to be said of that picture, short phrases.
    """

    store: FeatureStore
    rows: npt.NDArray[np.int64]
    digests: Digests
    failed: dict[int, str]
    encoded: int
    reused: int
    notes: dict[int, tuple[str, ...]]


@dataclass
class FileStates:
    """What is known of each of N files so far.

    Attributes:
        digests: (N, 32) uint8, SHA-256 of the usable images.
        usable: (N,) whether the file is an image whose features are in the store.
        problems: index and reason of files that cannot be used.
        encoded: number of images that went through the model.
    """

    digests: Digests
    usable: npt.NDArray[np.bool_]
    problems: dict[int, str] = field(default_factory=dict)
    encoded: int = 0

    def set_usable(self, i: int, digest: bytes) -> None:
        """Note that the features of a file's content are stored, or about to be."""
        self.digests[i] = np.frombuffer(digest, dtype=np.uint8)
        self.usable[i] = True

    def forget(self, rows: npt.NDArray[np.int64], unknown: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Take files for not known; return their indices together with those that were unknown, ascending."""
        self.usable[rows] = False
        for i in rows.tolist():
            self.problems.pop(i, None)
        return np.union1d(unknown, rows)


@spinning_little()
def ingest(
    files: FileList,
    workspace: Workspace,
    source: ModelSource,
    on: OnEvent,
    options: IngestOptions | None = None,
) -> Ingested:
    """Make sure that the store holds features of every usable image among ``files``.

    A file whose path, size and modification time are as recorded is not opened. A file whose content is known under
    another path is read but not decoded. Features reach the disk every few seconds; Ctrl-C keeps what is done.

    Args:
        files: N files.
        workspace: holds the store, and the paths by which its files are known.
        source: the model.
        on: receives progress events.
        options: None for the defaults.

    Raises:
        DataError: there are files and none is a usable image.
        ConfigError, ModelError, MismatchError: an option or the model cannot be used.
        StoreError: the store cannot be read or written.
    """
    options = options or IngestOptions()
    options.check()
    store = source.store()
    keys = workspace.file_keys(files)
    states, unknown, reviewed = known_states(files, keys, store, options)
    described = workspace.known_space(store.space.id) is not None
    if len(unknown) or (states.usable.any() and not described):  # the writer restores a lost description
        workspace.check_writable()
        if len(unknown) and options.workers != 0:
            start_early()
        source.clip()
        if source.space().id != store.space.id:  # the weights behind the name have changed
            store = workspace.store(source.space())
            states, unknown, reviewed = known_states(files, keys, store, options)
        if len(unknown) and (sentence := encodes_anew(workspace, store.space)):
            on(Event(_STAGE, message=sentence))
    if reviewed.sentence:
        on(Event(_STAGE, message=reviewed.sentence))
    keep_same(reviewed, keys, store)
    reused = int(np.count_nonzero(states.usable))
    if len(unknown) or (reused and not described):
        with store.writer() as writer:
            writer.replace(reviewed.replaced)
            EncodingRun(files, keys, writer, states, on, options).encode(unknown, source.clip())
        source.remember()
    if len(files) and not states.usable.any():
        examples = "; ".join(
            f"{files.relative[i]}: {states.problems[i]}" for i in sorted(states.problems)[:3]
        )
        raise DataError(
            f"none of the {len(files)} image files can be used ({examples})",
            hint="check that they open in an image viewer; --retry-failed reads them again",
        )
    rows = np.flatnonzero(states.usable)
    return Ingested(
        store=store,
        rows=rows,
        digests=states.digests[rows],
        failed=dict(sorted(states.problems.items())),
        encoded=states.encoded,
        reused=reused,
        notes=store.notes(states.digests[rows]),
    )


def known_states(
    files: FileList, keys: Sequence[bytes], store: FeatureStore, options: IngestOptions
) -> tuple[FileStates, npt.NDArray[np.int64], Review]:
    """As :func:`recorded_states`, where files that the present rule for pixels shows otherwise are not known."""
    states, unknown = recorded_states(files, keys, store, options)
    reviewed = review(files, keys, store, states.usable, states.problems)
    return states, states.forget(reviewed.again, unknown), reviewed


def recorded_states(
    files: FileList, keys: Sequence[bytes], store: FeatureStore, options: IngestOptions
) -> tuple[FileStates, npt.NDArray[np.int64]]:
    """The files' states by the store's records, and the indices of files that must be read.

    Args:
        files: N files.
        keys: N names that they are recorded under.
        store: has the records.
        options: which views are needed, and whether files that failed are read again.
    """
    recorded = store.files(keys)
    unchanged, failed = recorded.unchanged(files.size, files.mtime_ns), recorded.failed
    unreadable = np.zeros(len(files), dtype=bool)
    unreadable[list(files.problems)] = True
    usable = unchanged & ~failed
    for view in range(options.views + 1):
        usable[usable] = store.has(recorded.digest[usable], view)
    usable &= ~unreadable
    failed &= unchanged & ~unreadable
    if options.retry_failed:
        failed[:] = False
    digests = np.zeros((len(files), 32), dtype=np.uint8)
    digests[usable] = recorded.digest[usable]
    problems = dict(files.problems) | {int(i): recorded.problem[int(i)] for i in np.flatnonzero(failed)}
    return FileStates(digests, usable, problems), np.flatnonzero(~usable & ~failed & ~unreadable)


class EncodingRun:
    """One run of the model over the files that need it; writes features and records, and updates the states.

    Args:
        files: N files.
        keys: N names that they are recorded under.
        writer: takes features and records.
        states: of the N files.
        on: receives progress.
        options: of decoding and encoding.
    """

    def __init__(
        self,
        files: FileList,
        keys: Sequence[bytes],
        writer: StoreWriter,
        states: FileStates,
        on: OnEvent,
        options: IngestOptions,
    ) -> None:
        self._files, self._keys = files, keys
        self._writer, self._states, self._on, self._options = writer, states, on, options
        self._batch: list[Picture] = []  # pictures to encode, and copies of them
        self._batch_rows = 0
        self._batch_digests: set[bytes] = set()
        self._done = 0

    def encode(self, indices: npt.NDArray[np.int64], clip: FrozenClip) -> None:
        """Read, decode and encode the files of these indices."""
        from deltaoe.clip.batching import BatchEncoder
        from deltaoe.extraction.decoding import pictures

        def notify(sentence: str) -> None:
            self._on(Event(_STAGE, message=sentence))

        encoder = BatchEncoder(clip, self._options.batch_size, notify)
        workers = usable_cpus() if self._options.workers is None else self._options.workers
        started = flushed = time.monotonic()
        stream = pictures(
            indices.tolist(),
            self._files.path,
            self._missing_views,
            clip.geometry.decode_noted,
            workers=workers,
            seconds=self._options.image_seconds or None,
            ahead=2 * encoder.batch_size + 8 * max(1, workers),
            notify=notify,
        )
        with closing(stream):
            try:
                for count, picture in enumerate(stream, start=1):
                    self._add(picture)
                    last = count == len(indices)
                    if self._batch_rows >= encoder.batch_size or last:
                        self._encode_batch(encoder)
                        seconds = max(time.monotonic() - started, 1e-9)
                        info = {"images/s": count / seconds, "failed": len(self._states.problems)}
                        self._on(Event(_STAGE, count, len(indices), info))
                    if self._writer.pending >= _SHARD_ROWS or time.monotonic() - flushed > _SHARD_SECONDS:
                        self._writer.flush()
                        flushed = time.monotonic()
            except KeyboardInterrupt:
                done = f"{self._done} of {len(indices)} new files are done"
                notify(f"stopping: {done}, the last of them are being stored")
                raise

    def _missing_views(self, digest: bytes) -> tuple[int, ...]:
        """Indices of a content's views that are neither in the store nor in the batch."""
        if digest in self._batch_digests:
            return ()
        return tuple(v for v in range(self._options.views + 1) if not self._writer.has(digest, v))

    def _record(self, picture: Picture) -> FileRecord:
        """The store's record of a file: size, modification time, and content or problem."""
        files, i = self._files, picture.item
        digest = NO_DIGEST if picture.problem else picture.digest
        return FileRecord(files.size[i], files.mtime_ns[i], digest, picture.problem)

    def _add(self, picture: Picture) -> None:
        """Record a file that failed or whose features are stored; put any other into the batch."""
        i = picture.item
        if picture.problem:
            self._states.problems[i] = picture.problem
            self._done += 1
            if picture.lasting:
                self._writer.add(self._keys[i], self._record(picture))
        elif picture.pixels is None and picture.digest not in self._batch_digests:
            self._states.set_usable(i, picture.digest)
            self._writer.add(self._keys[i], self._record(picture))
            self._done += 1
        else:
            # Copies, too: a file must not be recorded before the features of its content are.
            self._batch.append(picture)
            self._batch_digests.add(picture.digest)
            self._batch_rows += max(1, len(picture.views))  # so that copies alone fill a batch, too

    def _encode_batch(self, encoder: BatchEncoder) -> None:
        """Put the batch's pixels through the model, and write features and records."""
        batch, self._batch, self._batch_rows = self._batch, [], 0
        self._batch_digests = set()
        decoded = [picture.pixels for picture in batch if picture.pixels is not None]
        features = encoder(np.concatenate(decoded)) if decoded else np.zeros((0, 0), np.float32)
        start = 0
        for picture in batch:
            record = self._record(picture)
            if picture.pixels is None:
                self._writer.add(self._keys[picture.item], record)
            else:
                stop = start + len(picture.views)
                self._writer.add(self._keys[picture.item], record, features[start:stop], picture.views)
                self._writer.note(picture.digest, picture.notes)
                start = stop
                self._states.encoded += 1
            self._states.set_usable(picture.item, picture.digest)
            self._done += 1
