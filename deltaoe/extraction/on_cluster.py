"""The driver of an extraction on a cluster: it hands out files in chunks, and adopts what workers have written."""

from __future__ import annotations

import dataclasses
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deltaoe.cluster.connection import connected
from deltaoe.cluster.nodes import Needs, check_nodes, versions_here
from deltaoe.cluster.pool import Pool
from deltaoe.cluster.tally import Reading
from deltaoe.cluster.worker_plan import WorkerPlan, plan_workers
from deltaoe.errors import ConfigError
from deltaoe.extraction.cluster_worker import Chunk, ChunkEncoder, Encoded, EncoderSpec
from deltaoe.extraction.encoding_run import STAGE
from deltaoe.extraction.file_states import FileStates
from deltaoe.extraction.options import IngestOptions
from deltaoe.images.file_list import FileList
from deltaoe.images.location_text import inside, is_url
from deltaoe.progress import Event, OnEvent
from deltaoe.store.atomic import cannot_write, temporary_name
from deltaoe.store.feature_store import FeatureStore
from deltaoe.store.incoming import adopt
from deltaoe.store.workspace import Workspace

if TYPE_CHECKING:
    from deltaoe.clip.source import ModelSource

_MOST_FILES, _FEWEST_FILES = 8192, 64  # in a chunk, which ends with a shard
_CHUNKS_PER_WORKER = 16  # so that all end at about the same time
_ADOPT_SECONDS = 3.0
_PATIENCE_SECONDS = 60.0  # until it is said that no worker has started
_SAMPLES = 3


def encode_on_cluster(
    indices: npt.NDArray[np.int64],
    files: FileList,
    keys: Sequence[bytes],
    store: FeatureStore,
    states: FileStates,
    source: ModelSource,
    workspace: Workspace,
    options: IngestOptions,
    replaced: Sequence[bytes],
    on: OnEvent,
) -> None:
    """Have the files of these indices encoded by the workers of a cluster, and update the states.

    The caller holds the store's lock. What workers have written is taken into the store every few seconds, and in any
    case at the end, also on Ctrl-C or an error.

    Args:
        indices: n of the files.
        files: N files.
        keys: N names that they are recorded under.
        store: of the source's feature space.
        states: of the N files.
        source: the model.
        workspace: has the store.
        options: of the run.
        replaced: content digests whose features are of pixels made by an older rule.
        on: receives progress.

    Raises:
        ClusterError: the cluster cannot be used, or a worker lacks something.
        ConfigError, ModelError, MismatchError, StoreError: of a worker.
    """
    on(Event(STAGE, message=f"cluster {options.cluster.cluster}: connecting"))
    with connected(options.cluster) as cluster:
        device = source.portable.device
        plan = plan_workers(cluster.nodes(), gpus=wants_gpus(device), cpus=options.workers or None)
        if not plan.gpus and device == "auto":
            device = "cpu"
        chunks = list(_chunks(indices, files, keys, plan))
        if not cluster.is_own:
            with needs_of(workspace, _samples(chunks)) as needs:
                check_nodes(cluster, needs)
        on(Event(STAGE, message=f"cluster {options.cluster.cluster}: {plan.sentence()}"))
        spec = EncoderSpec(
            workspace=str(workspace.folder),
            space=store.space,
            model=dataclasses.replace(source.portable, device=device),
            options=dataclasses.replace(
                options, workers=plan.cpus if options.workers is None else options.workers
            ),
            replaced=tuple(replaced),
        )
        pool = Pool(plan, ChunkEncoder, spec)
        try:
            _Driver(chunks, indices, states, store, on).follow(pool)
        except BaseException as cause:
            if isinstance(cause, KeyboardInterrupt):
                on(Event(STAGE, message="stopping: what the workers have done is being stored"))
            pool.stop()
            raise
        finally:
            adopt(store)


def wants_gpus(device: str) -> bool | None:
    """Whether workers compute on GPUs by what ``--device`` says; None for ``auto``. Raises ConfigError for one GPU."""
    if ":" in device:
        raise ConfigError(
            f"--device {device}: with --cluster, Ray gives each worker its GPU",
            hint=f"--device {device.partition(':')[0]}, or leave it out",
        )
    return None if device == "auto" else device not in ("cpu", "mps")


def _chunks(
    indices: npt.NDArray[np.int64], files: FileList, keys: Sequence[bytes], plan: WorkerPlan
) -> Iterator[Chunk]:
    """The files of these indices in chunks."""
    size = min(_MOST_FILES, max(_FEWEST_FILES, -(-len(indices) // (_CHUNKS_PER_WORKER * plan.size))))
    for start in range(0, len(indices), size):
        rows = indices[start : start + size].tolist()
        yield Chunk([_everywhere(files.path(i)) for i in rows], [keys[i] for i in rows])


def _everywhere(location: str) -> bytes:
    """A location that another process finds, whatever its current folder is."""
    return os.fsencode(location if is_url(location) else os.path.abspath(location))


def _file_of(location: str) -> str:
    """The file that a location lies in, or is."""
    container = inside(location)
    return location if container is None else container[0]


def _samples(chunks: Sequence[Chunk]) -> list[str]:
    """Some files that the first and the last chunk need."""
    ends = [one.locations[i] for one in (chunks[0], chunks[-1]) for i in (0, -1)]
    files = dict.fromkeys(filter(os.path.exists, (_file_of(os.fsdecode(one)) for one in ends)))
    return list(files)[:_SAMPLES]


@contextmanager
def needs_of(workspace: Workspace, samples: Sequence[str]) -> Iterator[Needs]:
    """What workers must find: these files, and one in the workspace, which is there while the context lasts."""
    token = secrets.token_hex(16)
    probe = workspace.folder / temporary_name("-probe")
    try:
        probe.write_text(token, encoding="ascii")
        yield Needs(versions_here(), str(probe), token, samples)
    except OSError as cause:
        raise cannot_write(probe, cause) from cause
    finally:
        probe.unlink(missing_ok=True)


class _Driver:
    """Follows a run: progress of the whole, results of chunks, and shards that wait."""

    def __init__(
        self,
        chunks: Sequence[Chunk],
        indices: npt.NDArray[np.int64],
        states: FileStates,
        store: FeatureStore,
        on: OnEvent,
    ) -> None:
        self._chunks, self._indices, self._states, self._store, self._on = chunks, indices, states, store, on
        self._begun = self._adopted = time.monotonic()
        self._first = 0.0  # when the first image was done
        self._waiting_said = False
        self._starts = np.cumsum([0, *(len(chunk.locations) for chunk in chunks)])

    def follow(self, pool: Pool) -> None:
        """Until all chunks are done. Raises what :meth:`Pool.events` raises."""
        for event in pool.events(self._chunks):
            if isinstance(event, Reading):
                self._show(event)
            else:
                self._take(event.chunk, event.result)
            if time.monotonic() - self._adopted > _ADOPT_SECONDS:
                adopt(self._store)
                self._adopted = time.monotonic()
        self._event(len(self._indices), len(self._states.problems))

    def _show(self, reading: Reading) -> None:
        for sentence in reading.said:
            self._on(Event(STAGE, message=sentence))
        if not reading.started and not self._waiting_said:
            if time.monotonic() - self._begun > _PATIENCE_SECONDS:
                self._waiting_said = True
                said = "no worker has started yet: the cluster may be busy, `ray status` shows it"
                self._on(Event(STAGE, message=said))
            return
        if reading.done:
            self._event(reading.done, reading.failed)

    def _event(self, done: int, failed: int) -> None:
        now = time.monotonic()
        self._first = self._first or now
        info: dict[str, float | int | str] = {"failed": failed}
        if now > self._first:
            info = {"images/s": done / (now - self._begun), **info}
        self._on(Event(STAGE, done, len(self._indices), info))

    def _take(self, chunk: int, result: Encoded) -> None:
        """Enter what became of the files of a chunk into the states."""
        rows = self._indices[self._starts[chunk] : self._starts[chunk + 1]]
        self._states.digests[rows[result.usable]] = result.digests[result.usable]
        self._states.usable[rows[result.usable]] = True
        self._states.problems |= {int(rows[i]): problem for i, problem in result.problems.items()}
        self._states.encoded += result.encoded
