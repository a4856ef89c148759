"""From image files to rows of the feature store.

No content is encoded twice, a killed run loses a few seconds of work at most, and files that cannot be used are named.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deltaoe.clip.choice import encodes_anew
from deltaoe.clip.source import ModelSource
from deltaoe.errors import DataError, StoreError
from deltaoe.extraction.file_states import FileStates, Keep, recorded_states
from deltaoe.extraction.kept_process import start_early
from deltaoe.extraction.options import IngestOptions
from deltaoe.extraction.review import Review, review
from deltaoe.images.inputs import FileList
from deltaoe.progress import Event, OnEvent
from deltaoe.runtime import usable_cpus
from deltaoe.short_repr import counted
from deltaoe.store.feature_store import Digests, FeatureStore
from deltaoe.store.feature_writer import StoreWriter
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
_MISSING = "check the paths: those of a list are relative to its folder, or else to the current one"


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


@spinning_little()
def ingest(
    files: FileList,
    workspace: Workspace,
    source: ModelSource,
    on: OnEvent,
    options: IngestOptions | None = None,
) -> Ingested:
    """Make sure that the store holds features of every usable image among ``files``.

    A file that is unchanged is not opened. A file whose content is known, under its own path or another, is read but
    not decoded; features that were imported make no content known. Features reach the disk every few seconds; Ctrl-C
    keeps what is done.

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

    def keep(records: dict[int, FileRecord]) -> None:
        _keep_observations(records, keys, workspace, store, on)

    states, unknown, reviewed = known_states(files, keys, store, options, keep, on)
    described = workspace.known_space(store.space.id) is not None
    if len(unknown) or (states.usable.any() and not described):  # the writer restores a lost description
        workspace.check_writable()
        if len(unknown) and options.workers != 0:
            start_early()
        source.clip()
        if source.space().id != store.space.id:  # the weights behind the name have changed
            store = workspace.store(source.space())
            states, unknown, reviewed = known_states(files, keys, store, options, keep, on)
        if len(unknown) and (sentence := encodes_anew(workspace, store.space)):
            on(Event(_STAGE, message=sentence))
    if reviewed.sentence:
        on(Event(_STAGE, message=reviewed.sentence))
    keep({i: record for i in reviewed.same.tolist() if (record := store.file(keys[i])) is not None})
    known = int(np.count_nonzero(states.usable))
    if len(unknown) or (known and not described):
        with store.writer() as writer:
            writer.replace(reviewed.replaced)
            EncodingRun(files, keys, writer, states, on, options).encode(unknown, source.clip())
        source.remember()
    if len(files) and not states.usable.any():
        examples = "; ".join(f"{files.title(i)}: {states.problems[i]}" for i in sorted(states.problems)[:3])
        raise DataError(
            f"none of the {len(files)} image files can be used ({examples})",
            hint=_MISSING
            if all(problem.startswith("no such file") for problem in states.problems.values())
            else "check that they open in an image viewer; --retry-failed reads them again",
        )
    rows = np.flatnonzero(states.usable)
    return Ingested(
        store=store,
        rows=rows,
        digests=states.digests[rows],
        failed=dict(sorted(states.problems.items())),
        encoded=states.encoded,
        reused=known - states.reread,
        notes=store.notes.of(states.digests[rows]),
    )


def known_states(
    files: FileList,
    keys: Sequence[bytes],
    store: FeatureStore,
    options: IngestOptions,
    keep: Keep,
    on: OnEvent,
) -> tuple[FileStates, npt.NDArray[np.int64], Review]:
    """As :func:`recorded_states`, where files that the present rule for pixels shows otherwise are not known."""
    before = store.recorded_before(keys)  # what is recorded below is recorded under the present rule
    states, unknown = recorded_states(files, keys, store, options, keep, on)
    reviewed = review(files, before, states)
    return states, states.forget(reviewed.again, unknown), reviewed


def _keep_observations(
    records: dict[int, FileRecord],
    keys: Sequence[bytes],
    workspace: Workspace,
    store: FeatureStore,
    on: OnEvent,
) -> None:
    """Record files that were only read again. Where that cannot be done the run goes on: it needs nothing of it."""
    if not records:
        return
    try:
        workspace.check_writable()
        with store.writer() as writer:
            for i, record in records.items():
                writer.add(keys[i], record)
    except StoreError as cause:
        said = f"the new times of {counted(len(records), 'file')} cannot be recorded: the next run reads them again"
        on(Event(_STAGE, message=f"{said} ({cause})"))


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
        self._changing = 0  # files that changed while they were read

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
        if self._changing:
            notify(f"{counted(self._changing, 'file')} changed while being read; the next run reads again")

    def _missing_views(self, digest: bytes) -> tuple[int, ...]:
        """Indices of a content's views that are neither in the store nor in the batch."""
        if digest in self._batch_digests:
            return ()
        return tuple(v for v in range(self._options.views + 1) if not self._writer.has(digest, v))

    def _record(self, picture: Picture) -> None:
        """Record how a file was observed when it was read, with its content or problem."""
        if picture.seen is None:
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
        elif picture.pixels is None and picture.digest not in self._batch_digests:
            self._states.set_usable(i, picture.digest)
            self._record(picture)
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
            if picture.pixels is not None:
                stop = start + len(picture.views)
                self._writer.add_features(picture.digest, features[start:stop], picture.views)
                self._writer.note(picture.digest, picture.notes)
                start = stop
                self._states.encoded += 1
            self._record(picture)
            self._states.set_usable(picture.item, picture.digest)
            self._done += 1
