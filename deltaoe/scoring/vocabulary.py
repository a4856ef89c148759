"""Where a vocabulary comes from: the names that unknown images are compared with, and their text features."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from deltaoe.clip.source import ModelSource
from deltaoe.errors import ModelError
from deltaoe.functional.unit_rows import Rows
from deltaoe.progress import OnEvent
from deltaoe.scoring.background import named_labels
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import IMAGENET, NONE, TEMPLATE, ScoreOptions
from deltaoe.scoring.resembling import Vocabulary
from deltaoe.scoring.zero_shot import text_features
from deltaoe.store.workspace import Workspace


def vocabulary_source(detector: Detector, options: ScoreOptions) -> str:
    """Where the names come from: what the options name, else the background's source, else ImageNet.

    It is ``none`` for features that were imported unless the options name one: no encoder is sure to fit them.
    """
    if options.vocabulary is not None:
        return options.vocabulary
    background = options.prompts.background.source
    if detector.space.is_imported:
        return NONE
    return IMAGENET if background in (None, NONE) else background


def check_vocabulary(source: str) -> None:
    """Read the file that names the vocabulary, if it is one, before hours of work rely on it.

    Raises:
        ConfigError, DataError: the file cannot be read.
    """
    if source not in (IMAGENET, NONE):
        named_labels(source, (), None, lambda names: np.zeros((len(names), 0), dtype=np.float32))


def vocabulary_for(
    detector: Detector, options: ScoreOptions, source: ModelSource, workspace: Workspace, on: OnEvent
) -> Vocabulary | None:
    """The vocabulary of :func:`vocabulary_source` without the detector's classes; None if no names are left.

    Raises:
        ConfigError, DataError, MismatchError: the vocabulary cannot be used.
        ModelError: its names must be encoded, and the model cannot be loaded.
        StoreError: the workspace cannot be used.
    """

    def encode(names: Sequence[str]) -> Rows:
        return text_features(names, options.prompts.template or TEMPLATE, source, workspace, on)

    wanted = vocabulary_source(detector, options)
    names, features = named_labels(
        wanted, detector.class_names, detector.space.dim, encode, flag="--vocabulary"
    )
    return Vocabulary(names, features) if names else None


def vocabulary_once(
    detector: Detector,
    options: ScoreOptions,
    source: ModelSource,
    workspace: Workspace,
    on: OnEvent,
    say: Callable[[str], None],
) -> Callable[[], Vocabulary | None] | None:
    """Makes the vocabulary when it is first called; None if unknown images get no names.

    Args:
        detector, options, source, workspace, on: as for :func:`vocabulary_for`.
        say: called with a sentence if the model of a vocabulary that nobody asked for cannot be loaded.
    """
    if vocabulary_source(detector, options) == NONE:
        return None

    @functools.cache
    def make() -> Vocabulary | None:
        try:
            return vocabulary_for(detector, options, source, workspace, on)
        except ModelError as cause:
            if options.vocabulary is not None:
                raise
            say(f"Unknown images get no names, because the model cannot be loaded: {cause}.")
            return None

    return make
