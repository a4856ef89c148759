"""From image files to rows of the feature store: nothing twice, nothing lost, bad files named."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deltaoe.clip.source import ModelSource
from deltaoe.errors import DataError
from deltaoe.extraction.options import IngestOptions
from deltaoe.images.inputs import FileList
from deltaoe.progress import Event, OnEvent
from deltaoe.runtime import usable_cpus
from deltaoe.store.feature_store import Digests, FeatureStore
from deltaoe.store.feature_writer import StoreWriter
from deltaoe.store.shards import NO_DIGEST
from deltaoe.store.store_index import FileRecord
from deltaoe.store.workspace import Workspace

if TYPE_CHECKING:
    from deltaoe.clip.batching import BatchEncoder
    from deltaoe.clip.frozen import FrozenClip
    from deltaoe.extraction.decoding import Picture

# A kill -9 loses at most this many rows or this many seconds of work.
_SHARD_ROWS = 8192
_SHARD_SECONDS = 20.0
_STAGE = "Encoding images"


@dataclass(frozen=True)
class Ingested:
    """What became of the files.

    Attributes:
        store: holds features for every digest below.
        rows: (n,) indices of the usable images among the files given, ascending; ``digests`` (n, 32): theirs.
        failed: index and reason of the others.
        encoded: how many images went through the model now; ``reused``: how many needed no reading at all.
    """

    store: FeatureStore
    rows: npt.NDArray[np.int64]
    digests: Digests
    failed: dict[int, str]
    encoded: int
    reused: int


@dataclass
class _Tally:
    """Digest and state of every file, column by column; reasons of those that failed."""

    digests: Digests
    good: npt.NDArray[np.bool_]
    problems: dict[int, str] = field(default_factory=dict)
    encoded: int = 0

    @classmethod
    def of(cls, count: int) -> _Tally:
        return cls(np.zeros((count, 32), dtype=np.uint8), np.zeros(count, dtype=bool))

    def settle(self, i: int, digest: bytes) -> None:
        self.digests[i] = np.frombuffer(digest, dtype=np.uint8)
        self.good[i] = True


def ingest(
    files: FileList,
    workspace: Workspace,
    source: ModelSource,
    on: OnEvent,
    options: IngestOptions | None = None,
) -> Ingested:
    """Make sure that the store holds features of every usable image among ``files``.

    A file whose path, size and mtime are as recorded is not opened. One whose content is known under another
    name is read but not decoded. Features are on disk as shards every few seconds; Ctrl-C keeps what is done.

    Raises:
        DataError: there are files and none is a usable image.
        ConfigError, ModelError, MismatchError: an option or the model cannot be used.
        StoreError: the store cannot be read or written.
    """
    options = options or IngestOptions()
    options.check()
    store = source.store()
    keys = workspace.file_keys(files)
    tally, todo = _sort_out(files, keys, store, options)
    described = workspace.known_space(store.space.id) is not None
    if len(todo) or (tally.good.any() and not described):  # the writer puts back a description that was lost
        workspace.check_writable()
        source.clip()
        if source.space().id != store.space.id:  # the weights behind the name have changed
            store = workspace.store(source.space())
            tally, todo = _sort_out(files, keys, store, options)
    reused = int(np.count_nonzero(tally.good))
    if len(todo) or (reused and not described):
        with store.writer() as writer:
            _Run(files, keys, writer, tally, on, options).encode(todo, source.clip())
        source.remember()
    if len(files) and not tally.good.any():
        examples = "; ".join(f"{files.relative[i]}: {tally.problems[i]}" for i in sorted(tally.problems)[:3])
        raise DataError(
            f"none of the {len(files)} image files can be used ({examples})",
            hint="check that they open in an image viewer; --retry-failed reads them again",
        )
    rows = np.flatnonzero(tally.good)
    return Ingested(
        store=store,
        rows=rows,
        digests=tally.digests[rows],
        failed=dict(sorted(tally.problems.items())),
        encoded=tally.encoded,
        reused=reused,
    )


def _sort_out(
    files: FileList, keys: Sequence[bytes], store: FeatureStore, options: IngestOptions
) -> tuple[_Tally, npt.NDArray[np.int64]]:
    """What the store already knows, and the indices of files that must be read."""
    tally = _Tally.of(len(files))
    seen = store.files(keys)
    same = seen.known & (seen.size == np.asarray(files.size)) & (seen.mtime_ns == np.asarray(files.mtime_ns))
    broken = np.zeros(len(files), dtype=bool)
    broken[list(seen.problem)] = True
    there = same & ~broken
    there[there] = store.has(seen.digest[there])
    for view in range(1, options.views + 1):
        there[there] = store.has(seen.digest[there], view)
    unreadable = np.zeros(len(files), dtype=bool)
    unreadable[list(files.problems)] = True
    there &= ~unreadable
    tally.digests[there], tally.good = seen.digest[there], there
    remembered = same & broken & ~unreadable
    tally.problems = dict(files.problems)
    if options.retry_failed:
        remembered[:] = False
    tally.problems |= {int(i): seen.problem[int(i)] for i in np.flatnonzero(remembered)}
    return tally, np.flatnonzero(~there & ~remembered & ~unreadable)


class _Run:
    """One run of the model over the files that need it."""

    def __init__(
        self,
        files: FileList,
        keys: Sequence[bytes],
        writer: StoreWriter,
        tally: _Tally,
        on: OnEvent,
        options: IngestOptions,
    ) -> None:
        self._files, self._keys = files, keys
        self._writer, self._tally, self._on, self._options = writer, tally, on, options
        self._waiting: list[Picture] = []
        self._waiting_rows = 0
        self._waiting_digests: set[bytes] = set()
        self._done = 0

    def encode(self, todo: npt.NDArray[np.int64], clip: FrozenClip) -> None:
        """Read, decode and encode the files ``todo``."""
        from deltaoe.clip.batching import BatchEncoder
        from deltaoe.extraction.decoding import pictures

        def say(sentence: str) -> None:
            self._on(Event(_STAGE, message=sentence))

        encoder = BatchEncoder(clip, self._options.batch_size, say)
        workers = usable_cpus() if self._options.workers is None else self._options.workers
        started = flushed = time.monotonic()
        stream = pictures(
            todo.tolist(),
            self._files.path,
            self._wanted,
            clip.geometry.decode,
            workers=workers,
            ahead=2 * encoder.batch_size + 8 * max(1, workers),
            notify=say,
        )
        with closing(stream):
            try:
                for taken, picture in enumerate(stream, start=1):
                    self._take(picture)
                    last = taken == len(todo)
                    if self._waiting_rows >= encoder.batch_size or last:
                        self._run_model(encoder)
                        seconds = max(time.monotonic() - started, 1e-9)
                        info = {"images/s": taken / seconds, "failed": len(self._tally.problems)}
                        self._on(Event(_STAGE, taken, len(todo), info))
                    if self._writer.pending >= _SHARD_ROWS or time.monotonic() - flushed > _SHARD_SECONDS:
                        self._writer.flush()
                        flushed = time.monotonic()
            except KeyboardInterrupt:
                done = f"{self._done} of {len(todo)} new files are done"
                say(f"stopping: {done}, the last of them are being stored")
                raise

    def _wanted(self, digest: bytes) -> tuple[int, ...]:
        if digest in self._waiting_digests:
            return ()
        return tuple(v for v in range(self._options.views + 1) if not self._writer.has(digest, v))

    def _record(self, picture: Picture) -> FileRecord:
        files, i = self._files, picture.item
        digest = NO_DIGEST if picture.problem else picture.digest
        return FileRecord(files.size[i], files.mtime_ns[i], digest, picture.problem)

    def _take(self, picture: Picture) -> None:
        i = picture.item
        if picture.problem:
            self._tally.problems[i] = picture.problem
            self._done += 1
            if picture.lasting:
                self._writer.add(self._keys[i], self._record(picture))
        elif picture.pixels is None and picture.digest not in self._waiting_digests:
            self._tally.settle(i, picture.digest)
            self._writer.add(self._keys[i], self._record(picture))
            self._done += 1
        else:
            # A copy of one that waits, too: a file must not be on record before the features of its content are.
            self._waiting.append(picture)
            self._waiting_digests.add(picture.digest)
            self._waiting_rows += max(1, len(picture.views))  # copies do not wait for ever, either

    def _run_model(self, encoder: BatchEncoder) -> None:
        waiting, self._waiting, self._waiting_rows = self._waiting, [], 0
        self._waiting_digests = set()
        decoded = [picture.pixels for picture in waiting if picture.pixels is not None]
        features = encoder(np.concatenate(decoded)) if decoded else np.zeros((0, 0), np.float32)
        start = 0
        for picture in waiting:
            record = self._record(picture)
            if picture.pixels is None:
                self._writer.add(self._keys[picture.item], record)
            else:
                stop = start + len(picture.views)
                self._writer.add(self._keys[picture.item], record, features[start:stop], picture.views)
                start = stop
                self._tally.encoded += 1
            self._tally.settle(picture.item, picture.digest)
            self._done += 1
