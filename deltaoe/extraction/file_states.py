"""What the store knows of image files, and which of them must be read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from deltaoe.extraction.options import IngestOptions
from deltaoe.extraction.reading import read_file, readers_for
from deltaoe.images.file_list import FileList
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.short_repr import counted
from deltaoe.store.feature_store import Digests, FeatureStore
from deltaoe.store.store_index import FileRecord, FileRecords

Keep = Callable[[dict[int, FileRecord]], None]

_STAGE = "Reading files again"
_KEEP_ROWS = 8192  # a kill loses at most so many observations, or those of so many seconds
_KEEP_SECONDS = 20.0


@dataclass
class FileStates:
    """What is known of each of N files so far.

    Attributes:
        digests: (N, 32) uint8, SHA-256 of the usable images.
        usable: (N,) whether the file is an image whose features are in the store.
        problems: index and reason of files that cannot be used.
        encoded: number of images that went through the model.
        reread: number of usable images whose files were read, though nothing of them had to be computed.
    """

    digests: Digests
    usable: npt.NDArray[np.bool_]
    problems: dict[int, str] = field(default_factory=dict)
    encoded: int = 0
    reread: int = 0

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


def recorded_states(
    files: FileList,
    keys: Sequence[bytes],
    store: FeatureStore,
    options: IngestOptions,
    keep: Keep,
    on: OnEvent = silent,
) -> tuple[FileStates, npt.NDArray[np.int64]]:
    """The files' states by the store's records, and the indices of files that must be read and may need the model.

    A file that is unchanged as :meth:`FileRecords.unchanged` says is not opened. One of the recorded size is read and
    hashed: often it was only copied, moved or given other permissions. A problem on record from before version 3, which
    has no digest to compare, is believed as long as size and modification time are the recorded ones.

    Args:
        files: N files.
        keys: N names that they are recorded under.
        store: has the records.
        options: which views are needed, and which files are read in any case.
        keep: takes new observations, index → record, while files are read and hashed.
        on: receives progress.
    """
    recorded = store.files(keys)
    failed = recorded.failed
    unchanged = recorded.unchanged(files)
    unchanged |= failed & ~recorded.has_change_time & recorded.as_sized_and_dated(files)
    if options.recheck:
        unchanged[:] = False
    stored = recorded.known & ~failed
    stored[stored] = _has_views(store, recorded.digest[stored], options)
    readable = np.ones(len(files), dtype=bool)
    readable[list(files.problems)] = False
    # Of these nothing needs to be computed if their content is the recorded one.
    settled = readable & (stored if options.retry_failed else stored | failed)
    states = FileStates(
        np.zeros((len(files), 32), dtype=np.uint8), settled & unchanged & ~failed, dict(files.problems)
    )
    states.digests[states.usable] = recorded.digest[states.usable]
    states.problems |= {
        int(i): recorded.problem[int(i)] for i in np.flatnonzero(settled & unchanged & failed)
    }
    again = np.flatnonzero(settled & ~unchanged & (recorded.size == np.asarray(files.size)))
    again = again[recorded.digest[again].any(axis=1)]
    if len(again):
        _read_again(again, files, recorded, store, options, states, keep, on)
    done = states.usable.copy()
    done[list(states.problems)] = True
    return states, np.flatnonzero(~done)


def _has_views(store: FeatureStore, digests: Digests, options: IngestOptions) -> npt.NDArray[np.bool_]:
    """(n,) whether the store has every view that is needed of (n, 32) digests."""
    has = np.ones(len(digests), dtype=bool)
    for view in range(options.views + 1):
        has[has] = store.has(digests[has], view, computed=True)
    return has


def _read_again(
    rows: npt.NDArray[np.int64],
    files: FileList,
    recorded: FileRecords,
    store: FeatureStore,
    options: IngestOptions,
    states: FileStates,
    keep: Keep,
    on: OnEvent,
) -> None:
    """Read and hash the files of these rows; take those whose content needs no model into the states."""
    same = other = 0
    new: dict[int, FileRecord] = {}
    kept = time.monotonic()
    readers = ThreadPoolExecutor(readers_for(files.roots), thread_name_prefix="deltaoe-read")
    try:
        contents = readers.map(lambda i: read_file(files.path(i))._replace(data=b""), rows.tolist())
        for count, (i, content) in enumerate(zip(rows.tolist(), contents, strict=True), start=1):
            if content.problem:
                states.problems[i] = content.problem
                continue
            digest = np.frombuffer(content.digest, dtype=np.uint8)
            known = bool((digest == recorded.digest[i]).all())
            same, other = same + known, other + (not known)
            problem = recorded.problem.get(i, "") if known else ""
            if problem:
                states.problems[i] = problem
            elif known or _has_views(store, digest[None], options)[0]:
                states.set_usable(i, content.digest)
                states.reread += 1
            else:
                continue
            if content.seen is not None:
                size, modified, changed, inode = content.seen
                new[i] = FileRecord(size, modified, content.digest, problem, changed, inode)
            if count % 64 == 0 or count == len(rows):
                on(Event(_STAGE, count, len(rows)))
            if len(new) >= _KEEP_ROWS or time.monotonic() - kept > _KEEP_SECONDS:
                keep(new)
                new, kept = {}, time.monotonic()
    finally:
        readers.shutdown(wait=True, cancel_futures=True)
        keep(new)
    why = "--recheck" if options.recheck else "times or inode not as recorded"
    compared = f"{same:,} with the recorded content" + (f", {other:,} with another" if other else "")
    on(Event(_STAGE, message=f"{counted(len(rows), 'known file')} read again ({why}): {compared}"))
