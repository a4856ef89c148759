"""A worker of a cluster that encodes images: the model, loaded once, and the run over one chunk of files at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.clip.options import ModelOptions
from deltaoe.clip.source import ModelSource
from deltaoe.errors import ConfigError, MismatchError, ModelError
from deltaoe.extraction.encoding_run import EncodingRun
from deltaoe.extraction.file_states import FileStates
from deltaoe.extraction.options import IngestOptions
from deltaoe.progress import Event
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.feature_store import Digests
from deltaoe.store.incoming import IncomingWriter
from deltaoe.store.workspace import Workspace

_WEIGHTS = "give all machines the same files of the model, under one path or in each one's own cache"


@dataclass(frozen=True)
class EncoderSpec:
    """What every worker of a run is told.

    Attributes:
        workspace: the workspace's folder, as all machines see it.
        space: the feature space of the run; a worker's model must be of it.
        model: which model, and where it computes.
        options: of decoding and encoding.
        replaced: content digests whose features are of pixels made by an older rule.
    """

    workspace: str
    space: FeatureSpace
    model: ModelOptions
    options: IngestOptions
    replaced: tuple[bytes, ...]


class Chunk(NamedTuple):
    """Files for one worker at a time: n locations, and the n names that they are recorded under."""

    locations: list[bytes]
    keys: list[bytes]


class Encoded(NamedTuple):
    """What became of the n files of a chunk; all of it is on disk.

    Attributes:
        digests: (n, 32) uint8, SHA-256 of the usable images.
        usable: (n,) whether a file is an image whose features are stored.
        problems: position and reason of files that cannot be used.
        encoded: number of images that went through the model.
    """

    digests: Digests
    usable: npt.NDArray[np.bool_]
    problems: dict[int, str]
    encoded: int


class ChunkEncoder:
    """The work of one worker.

    Args:
        spec: of the run.
        say: takes sentences for the user.

    Raises:
        ModelError, ConfigError: the model is not here.
        MismatchError: it has other weights here.
    """

    def __init__(self, spec: EncoderSpec, say: Callable[[str], None]) -> None:
        self._spec, self._say = spec, say
        workspace = Workspace(Path(spec.workspace))

        def on(event: Event) -> None:
            if event.message:
                say(event.message)

        source = ModelSource(
            spec.model,
            workspace,
            on=on,
            dtype=spec.space.dtype,
            expected=spec.space,
            owner="this run's cache",
        )
        try:
            self._clip = source.clip()
        except MismatchError as cause:
            raise MismatchError(f"its model is another than the driver's: {cause}", hint=_WEIGHTS) from cause
        except (ModelError, ConfigError) as cause:
            raise type(cause)(str(cause), hint="; ".join(filter(None, [cause.hint, _WEIGHTS]))) from cause
        self._writer = IncomingWriter(workspace.store(spec.space))
        self._writer.replace(spec.replaced)

    def __call__(self, chunk: Chunk, tell: Callable[[int, int], None]) -> Encoded:
        """Encode the files of a chunk, and write what is new as shards for the driver to adopt."""
        count = len(chunk.locations)
        states = FileStates(np.zeros((count, 32), dtype=np.uint8), np.zeros(count, dtype=bool))

        def on(event: Event) -> None:
            if event.message:
                self._say(event.message)
            else:
                tell(event.done, len(states.problems))

        self._writer.refresh()
        run = EncodingRun(
            lambda i: os.fsdecode(chunk.locations[i]),
            chunk.keys,
            self._writer,
            states,
            on,
            self._spec.options,
        )
        try:
            run.encode(np.arange(count), self._clip)
        finally:
            self._writer.flush()
        return Encoded(states.digests, states.usable, states.problems, states.encoded)
