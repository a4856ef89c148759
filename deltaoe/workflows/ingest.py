"""From image files to rows of the feature store: nothing twice, nothing lost, bad files named."""

from __future__ import annotations

import hashlib
import itertools
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from deltaoe.data.features import NO_DIGEST, FeatureStore, FileRecord, StoreWriter
from deltaoe.data.images import ImageError, ImageFile, decode, read_bytes
from deltaoe.data.workspace import Workspace
from deltaoe.errors import DataError
from deltaoe.runtime import usable_cpus
from deltaoe.workflows.progress import Event, OnEvent
from deltaoe.workflows.source import ModelSource

if TYPE_CHECKING:
    from torch import Tensor

    from deltaoe.models.clip import FrozenClip

Result = TypeVar("Result")

# A kill -9 loses at most this many images or this many seconds of work.
_SHARD_ROWS = 2048
_SHARD_SECONDS = 20.0
_CPU_BATCH = 32  # larger ones only take memory there
_ACCELERATOR_BATCH = 256


@dataclass(frozen=True)
class Ingested:
    """What became of the files.

    Attributes:
        store: holds a feature for every digest below.
        files: the usable images, in the order given; ``digests``: theirs.
        failed: (file, reason) of the others.
        encoded: how many images went through the model now; ``reused``: how many needed no reading at all.
    """

    store: FeatureStore
    files: list[ImageFile]
    digests: list[bytes]
    failed: list[tuple[ImageFile, str]]
    encoded: int
    reused: int


@dataclass
class _Tally:
    encoded: int = 0
    problems: dict[int, str] = field(default_factory=dict)
    digests: dict[int, bytes] = field(default_factory=dict)


def ingest(
    files: Sequence[ImageFile],
    workspace: Workspace,
    source: ModelSource,
    on: OnEvent,
    *,
    batch_size: int | None = None,
    retry_failed: bool = False,
) -> Ingested:
    """Make sure that the store holds a feature of every usable image among ``files``.

    A file whose path, size and mtime are as recorded is not opened. One whose content is known under another
    name is read but not decoded. Features are on disk as shards every few seconds; Ctrl-C keeps what is done.

    Raises:
        DataError: there are files and none is a usable image.
        ConfigError, ModelError, MismatchError: the model cannot be used.
        StoreError: the store cannot be read or written.
    """
    store = source.store()
    tally = _Tally()
    todo = _unknown(files, workspace, store, tally, retry_failed)
    reused = len(tally.digests)
    described = workspace.known_space(store.space.id) is not None
    if todo or (tally.digests and not described):  # the writer puts back a description that was lost
        workspace.check_writable()
        clip = source.clip()
        if clip.space.id != store.space.id:  # the weights behind the name have changed
            store, tally = workspace.store(clip.space), _Tally()
            todo = _unknown(files, workspace, store, tally, retry_failed)
            reused = len(tally.digests)
        with store.writer() as writer:
            size = batch_size or (_CPU_BATCH if clip.device.type == "cpu" else _ACCELERATOR_BATCH)
            _encode(files, todo, workspace, clip, writer, store, tally, on, size)
        source.remember()
    if files and not tally.digests:
        examples = "; ".join(f"{files[i].relative}: {tally.problems[i]}" for i in sorted(tally.problems)[:3])
        raise DataError(
            f"none of the {len(files)} image files can be used ({examples})",
            hint="check that they open in an image viewer; --retry-failed reads them again",
        )
    good = sorted(tally.digests)
    return Ingested(
        store=store,
        files=[files[i] for i in good],
        digests=[tally.digests[i] for i in good],
        failed=[(files[i], tally.problems[i]) for i in sorted(tally.problems)],
        encoded=tally.encoded,
        reused=reused,
    )


def _unknown(
    files: Sequence[ImageFile], workspace: Workspace, store: FeatureStore, tally: _Tally, retry_failed: bool
) -> list[int]:
    """Sort out what the store already knows; return the indices of files that must be read."""
    todo = []
    for i, file in enumerate(files):
        if file.problem is not None:
            tally.problems[i] = file.problem
            continue
        record = store.file(workspace.file_key(file.path))
        if record is None or (record.size, record.mtime_ns) != (file.size, file.mtime_ns):
            todo.append(i)
        elif record.problem:
            if retry_failed:
                todo.append(i)
            else:
                tally.problems[i] = record.problem
        elif record.digest in store:
            tally.digests[i] = record.digest
        else:
            todo.append(i)
    return todo


def _encode(
    files: Sequence[ImageFile],
    todo: Sequence[int],
    workspace: Workspace,
    clip: FrozenClip,
    writer: StoreWriter,
    store: FeatureStore,
    tally: _Tally,
    on: OnEvent,
    batch_size: int,
) -> None:
    import torch

    started = flushed = time.monotonic()
    waiting: list[tuple[int, FileRecord, Tensor]] = []

    def encode_waiting() -> None:
        if waiting:
            features = clip.encode_images(torch.stack([pixels for _, _, pixels in waiting])).numpy()
            for (i, record, _), feature in zip(waiting, features, strict=True):
                writer.add(workspace.file_key(files[i].path), record, feature)
                tally.digests[i] = record.digest
            tally.encoded += len(waiting)
            waiting.clear()

    def read(i: int) -> tuple[FileRecord | str, Tensor | None]:
        file = files[i]
        try:
            data = read_bytes(file.path)
        except ImageError as cause:
            return str(cause), None  # may pass by itself: not remembered
        digest = hashlib.sha256(data).digest()
        if digest in store:
            return FileRecord(file.size, file.mtime_ns, digest, ""), None
        try:
            return FileRecord(file.size, file.mtime_ns, digest, ""), clip.preprocess(decode(data))
        except ImageError as cause:
            return FileRecord(file.size, file.mtime_ns, NO_DIGEST, str(cause)), None

    workers = usable_cpus()
    # Pillow warns about metadata that pixels don't depend on. The filter is process-wide, so it is set around
    # the threads, not in them.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        with closing(_ahead(read, todo, workers, 2 * batch_size + workers)) as results:
            for done, (i, (record, pixels)) in enumerate(results, start=1):
                if isinstance(record, str):
                    tally.problems[i] = record
                elif record.problem:
                    tally.problems[i] = record.problem
                    writer.add(workspace.file_key(files[i].path), record)
                elif pixels is None:
                    tally.digests[i] = record.digest
                    writer.add(workspace.file_key(files[i].path), record)
                else:
                    waiting.append((i, record, pixels))
                if len(waiting) == batch_size or done == len(todo):
                    encode_waiting()
                    seconds = max(time.monotonic() - started, 1e-9)
                    info = {"images/s": done / seconds, "failed": len(tally.problems)}
                    on(Event("Encoding images", done, len(todo), info))
                if writer.pending >= _SHARD_ROWS or time.monotonic() - flushed > _SHARD_SECONDS:
                    writer.flush()
                    flushed = time.monotonic()


def _ahead(
    work: Callable[[int], Result], items: Iterable[int], workers: int, ahead: int
) -> Generator[tuple[int, Result], None, None]:
    """Map ``work`` over ``items`` in threads, in order, with at most ``ahead`` results waiting.

    Closing the iterator drops what has not started, so that Ctrl-C does not wait for a queue.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="deltaoe-decode")
    try:
        queue: deque[tuple[int, Future[Result]]] = deque()
        remaining = iter(items)
        for item in itertools.islice(remaining, ahead):
            queue.append((item, pool.submit(work, item)))
        while queue:
            item, future = queue.popleft()
            result = future.result()
            for upcoming in itertools.islice(remaining, 1):
                queue.append((upcoming, pool.submit(work, upcoming)))
            yield item, result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
