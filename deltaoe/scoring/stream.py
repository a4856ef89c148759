"""Images scored one by one with a detector and a model that stay loaded: for services, and ``score --stream``."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from deltaoe.errors import MismatchError, StoreError
from deltaoe.extraction.encoding_run import EncodingRun
from deltaoe.extraction.file_states import FileStates, recorded_states
from deltaoe.extraction.kept_process import start_early
from deltaoe.images.inputs import FileList
from deltaoe.images.one_by_one import one_by_one
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.scoring.answers import Answers, check_each_alone
from deltaoe.scoring.in_use import detector_in_use
from deltaoe.scoring.options import ScoreOptions
from deltaoe.scoring.scorer import Scorer
from deltaoe.scoring.vocabulary import vocabulary_once
from deltaoe.store.feature_store import Digests, Features, FeatureStore
from deltaoe.store.feature_writer import StoreWriter
from deltaoe.store.store_index import FileRecord
from deltaoe.store.workspace import Workspace

if TYPE_CHECKING:
    from deltaoe.clip.frozen import FrozenClip

# Images that are decoded, encoded and scored together if they come together: the last waits for no more than these.
TOGETHER = 16
# New features are written in one piece: a kill -9 loses the work of so many seconds or rows, and no answer.
_WRITE_SECONDS = 300.0
_WRITE_ROWS = 1024


class ScoreStream:
    """Scores images at once, whenever they come, as :func:`deltaoe.scoring.score.score` scores them in a folder.

    The detector is chosen as there. The model is loaded once, when the first image comes whose features are not in the
    workspace. New features are written every few minutes, and by :meth:`close`, at the latest: use it as a context
    manager. One thread at a time may call it.

    Args:
        workspace: has the features and the detectors; new features are stored there.
        options: detector or prompts, α, model; None for the defaults.
        on: receives progress, and sentences about what cannot be done.

    Attributes:
        detector: the detector that the images are scored with.
        origin: where it comes from, in words.
        notes: sentences for the user.

    Raises:
        ConfigError: an option is out of range, or needs all images at once: a false discovery rate, label indexes.
        DataError: there are no class names to score against, or no such detector.
        MismatchError, ModelError, StoreError: the model or the workspace cannot be used.
    """

    def __init__(
        self, workspace: Workspace, options: ScoreOptions | None = None, on: OnEvent = silent
    ) -> None:
        options = options or ScoreOptions()
        options.check()
        check_each_alone(options, "a stream")
        chosen, _, self.notes = detector_in_use(workspace, options, on)
        self.detector, self.origin, self._source = chosen.detector, chosen.origin, chosen.source
        self._workspace, self._options, self._on = workspace, options, on
        vocabulary = vocabulary_once(
            self.detector, options, self._source, workspace, on, lambda said: on(Event("", message=said))
        )
        scorer = Scorer(self.detector, device=options.model.device, images=TOGETHER)
        self._answers = Answers(self.detector, options.rule, scorer, vocabulary)
        self.notes += self._answers.notes
        self._store: FeatureStore | None = None
        self._writer: StoreWriter | None = None
        self._written = time.monotonic()

    def __enter__(self) -> ScoreStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def warm_up(self) -> None:
        """Load the model now, so that the first new image does not wait for it.

        Raises:
            ConfigError, ModelError, MismatchError: it cannot be loaded, or is not the detector's.
        """
        self._clip()

    def score(self, path: str | os.PathLike[str]) -> dict[str, Any]:
        """The record of one image file, as in ``scores.json``; ``path`` is as given.

        A file that is no usable image is a record, too: its verdict is ``failed``, and ``error`` says why.

        Raises:
            ConfigError, ModelError, MismatchError: the model is needed, and cannot be used.
            StoreError: the workspace cannot be read.
        """
        return self.score_many([path])[0]

    def score_many(self, paths: Sequence[str | os.PathLike[str]]) -> list[dict[str, Any]]:
        """The records of several image files, in their order; faster than one after the other.

        Raises:
            ConfigError, ModelError, MismatchError, StoreError: as for :meth:`score`.
        """
        records: list[dict[str, Any]] = []
        for start in range(0, len(paths), TOGETHER):
            records += self._records([os.fspath(path) for path in paths[start : start + TOGETHER]])
        self.write_if_due()
        return records

    def _records(self, names: Sequence[str]) -> list[dict[str, Any]]:
        files = one_by_one(names)
        store, states = self._ingested(files)
        features = self._features(store, states.digests[np.flatnonzero(states.usable)])
        return self._answers.records(names, features, states.problems)

    def _ingested(self, files: FileList) -> tuple[FeatureStore, FileStates]:
        """The store of these files' features, and the files' states after those without features were encoded."""
        if self._store is None:
            self._use(self._source.store())
        assert self._store is not None and self._writer is not None  # noqa: S101 - for the type checker
        keys, options = self._workspace.file_keys(files), self._options.ingest

        def keep(records: dict[int, FileRecord]) -> None:
            assert self._writer is not None  # noqa: S101 - for the type checker
            for i, record in records.items():
                self._writer.add(keys[i], record)

        states, unknown = recorded_states(files, keys, self._store, options, keep)
        if len(unknown):
            clip = self._clip()
            if self._source.space().id != self._store.space.id:  # the weights behind the name have changed
                self.close()
                self._use(self._workspace.store(self._source.space()))
                states, unknown = recorded_states(files, keys, self._store, options, keep)
            EncodingRun(files.path, keys, self._writer, states, self._say, options).encode(unknown, clip)
        return self._store, states

    def _use(self, store: FeatureStore) -> None:
        """Take features from this store. Raises MismatchError unless it is of the detector's space."""
        if store.space.id != self.detector.space.id and not self.detector.space.is_imported:
            raise MismatchError(
                f"the detector was made with {self.detector.space.model}, not with {store.space.model}: "
                + "; ".join(self.detector.space.differences(store.space)),
                hint="the files of that model have changed: extract and tune again",
            )
        self._store, self._writer = store, StoreWriter(store)

    def _clip(self) -> FrozenClip:
        self._workspace.check_writable()
        if self._options.ingest.workers != 0:
            start_early()
        return self._source.clip()

    def _say(self, event: Event) -> None:
        """Pass sentences on, and no progress of single images."""
        if event.message:
            self._on(event)

    def _features(self, store: FeatureStore, digests: Digests) -> Features:
        """Features (n, D) of these images, as they are or will be stored."""
        assert self._writer is not None  # noqa: S101 - for the type checker
        pending = self._writer.pending_features(digests)
        stored = np.array([i for i in range(len(digests)) if i not in pending], dtype=np.int64)
        found = np.empty((len(digests), store.space.dim), dtype=np.float32)
        found[stored] = store.features(digests[stored])
        for i, feature in pending.items():
            found[i] = feature
        return found

    def write_if_due(self) -> None:
        """Write the new features if they are many, or have waited for minutes; to be called where nothing else is done.

        Another process that writes to the workspace is no obstacle: they are written the next time.
        """
        waited = time.monotonic() - self._written
        if self._writer is not None and (waited > _WRITE_SECONDS or self._writer.pending >= _WRITE_ROWS):
            self._write()

    def close(self) -> None:
        """Write the new features. The stream can still be used, and then be closed again."""
        self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        if self._store is None or self._writer is None or not self._writer.pending:
            return
        try:
            with self._store.writer(self._writer):
                pass
            self._source.remember()
        except StoreError as cause:  # the answers do not depend on it
            said = f"The features of {self._writer.pending} images are not stored yet: {cause}"
            self._on(Event("", message=said))
