"""A vocabulary: names that unknown images are compared with, to say what they look like."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deltaoe.clip.source import ModelSource
from deltaoe.errors import ModelError
from deltaoe.functional.nearest_names import nearest_names
from deltaoe.functional.unit_rows import Rows
from deltaoe.progress import OnEvent
from deltaoe.scoring.background import named_labels
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import IMAGENET, NONE, TEMPLATE, ScoreOptions
from deltaoe.scoring.score_table import NONE_FITS, VERDICTS, ScoreTable
from deltaoe.scoring.zero_shot import text_features
from deltaoe.store.workspace import Workspace

# A name fits if CLIP gives it at least this probability among all names; `benchmarks/looks_like.py` measures it.
FITTING = 0.2

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Vocabulary:
    """V names and their text features.

    Attributes:
        names: V names.
        features: (V, D) unit rows.

    Example:
        >>> vocabulary = Vocabulary(("airliner", "tulip"), np.eye(2, dtype=np.float32))
        >>> vocabulary.resembling(np.array([[0.8, 0.6], [0.71, 0.71]], dtype=np.float32))[0]
        ['airliner', 'airliner']
    """

    names: Sequence[str]
    features: Rows

    def resembling(self, features: Rows) -> tuple[list[str], npt.NDArray[np.float32]]:
        """The nearest name of image features (n, D), unit rows, or ``none fits``; and the cosines (n,) with them."""
        found = nearest_names(features, self.features)
        fits = found.probability >= FITTING
        names = [
            self.names[i] if fitting else NONE_FITS
            for i, fitting in zip(found.place.tolist(), fits.tolist(), strict=True)
        ]
        return names, found.cosine


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


def with_names(
    table: ScoreTable,
    features_of: Callable[[Indices], Iterable[tuple[Indices, Rows]]],
    vocabulary: Callable[[], Vocabulary | None],
) -> ScoreTable:
    """The table with the nearest name of each unknown image.

    Args:
        table: N scored images.
        features_of: of some rows (n,) of the table: positions (b,) in them, and their features (b, D), in blocks.
        vocabulary: makes the vocabulary; it is called only if there are unknown images.

    Raises:
        StoreError: a feature is missing or a shard cannot be read.
    """
    unknown = np.flatnonzero(table.verdict_numbers == VERDICTS.index("unknown"))
    names = [""] * len(table)
    cosines = np.full(len(table), np.nan, dtype=np.float32)
    words = vocabulary() if len(unknown) else None
    if words is not None:
        for part, features in features_of(unknown):
            found, cosines[unknown[part]] = words.resembling(features)
            for row, name in zip(unknown[part].tolist(), found, strict=True):
                names[row] = name
    return dataclasses.replace(table, looks_like=names, looks_like_cosines=cosines)
