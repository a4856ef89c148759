"""From image files to rows of the feature store.

No content is encoded twice, a killed run loses a few seconds of work at most, and files that cannot be used are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deltaoe.clip.choice import encodes_anew
from deltaoe.clip.source import ModelSource
from deltaoe.errors import DataError, InUseError, StoreError
from deltaoe.extraction.encoding_run import STAGE, EncodingRun
from deltaoe.extraction.file_states import FileStates, Keep, recorded_states
from deltaoe.extraction.kept_process import start_early
from deltaoe.extraction.options import IngestOptions
from deltaoe.extraction.review import Review, review
from deltaoe.images.inputs import FileList
from deltaoe.progress import Event, OnEvent
from deltaoe.short_repr import counted
from deltaoe.store.feature_store import Digests, FeatureStore
from deltaoe.store.incoming import arrived
from deltaoe.store.store_index import FileRecord
from deltaoe.store.workspace import Workspace
from deltaoe.threads import spinning_little

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
    options.cluster.check_reachable()
    store = source.store()
    _adopt_what_waits(store)
    keys = workspace.file_keys(files)

    def keep(records: dict[int, FileRecord]) -> None:
        _keep_observations(records, keys, workspace, store, on)

    states, unknown, reviewed = known_states(files, keys, store, options, keep, on)
    described = workspace.known_space(store.space.id) is not None
    if len(unknown) or (states.usable.any() and not described):  # the writer restores a lost description
        workspace.check_writable()
        if len(unknown) and options.workers != 0 and options.cluster.cluster is None:
            start_early()
        source.clip()
        if source.space().id != store.space.id:  # the weights behind the name have changed
            store = workspace.store(source.space())
            states, unknown, reviewed = known_states(files, keys, store, options, keep, on)
        if len(unknown) and (sentence := encodes_anew(workspace, store.space)):
            on(Event(STAGE, message=sentence))
    if reviewed.sentence:
        on(Event(STAGE, message=reviewed.sentence))
    keep({i: record for i in reviewed.same.tolist() if (record := store.file(keys[i])) is not None})
    known = int(np.count_nonzero(states.usable))
    if len(unknown) or (known and not described):
        with store.writer() as writer:
            writer.replace(reviewed.replaced)
            if options.cluster.cluster is None or not len(unknown):
                EncodingRun(files.path, keys, writer, states, on, options).encode(unknown, source.clip())
            else:
                from deltaoe.extraction.on_cluster import encode_on_cluster

                where = (files, keys, store, states, source, workspace, options, reviewed.replaced)
                encode_on_cluster(unknown, *where, on)
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


def _adopt_what_waits(store: FeatureStore) -> None:
    """Take in what workers of a run have left that was killed, unless another run is about to."""
    if arrived(store.folder):
        with suppress(InUseError), store.writer():
            pass


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
        on(Event(STAGE, message=f"{said} ({cause})"))
