"""A vocabulary: names that unknown images are compared with, to say what they look like."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
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
from deltaoe.scoring.score_table import NONE_FITS, ScoreTable
from deltaoe.store.feature_store import Digests, FeatureStore
from deltaoe.store.workspace import Workspace

# A name fits if CLIP gives it at least this probability among all names; `benchmarks/looks_like.py` measures it.
FITTING = 0.2
_ROWS = 2048  # images that are read at a time


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


def vocabulary_for(
    detector: Detector, options: ScoreOptions, source: ModelSource, workspace: Workspace, on: OnEvent
) -> tuple[Vocabulary | None, list[str]]:
    """The vocabulary that the options name, without the detector's classes; and sentences for the user.

    Unless they name one, it is that of the background labels, or ImageNet's names. Features that were imported have
    none then, because no encoder is sure to fit them. A model that cannot be loaded costs the names, not the verdicts.

    Raises:
        ConfigError, DataError, MismatchError: the vocabulary that is named cannot be used.
        StoreError: the workspace cannot be used.
    """
    background = options.prompts.background.source
    wanted = options.vocabulary or (background if background not in (None, NONE) else IMAGENET)
    if options.vocabulary is None and detector.space.is_imported:
        return None, []

    def encode(names: Sequence[str]) -> Rows:
        # Imported here: it loads torch, which cached text features do not need.
        from deltaoe.scoring.zero_shot import text_features

        return text_features(names, options.prompts.template or TEMPLATE, source, workspace, on)

    try:
        names, features = named_labels(
            wanted, detector.class_names, detector.space.dim, encode, flag="--vocabulary"
        )
    except ModelError as cause:
        if options.vocabulary is not None:
            raise
        return None, [f"Unknown images get no names, because the vocabulary cannot be encoded: {cause}."]
    return (Vocabulary(names, features) if names else None), []


def with_names(
    table: ScoreTable, vocabulary: Vocabulary, store: FeatureStore, digests: Digests
) -> ScoreTable:
    """The table with the nearest name of each unknown image.

    Args:
        table: N scored images.
        vocabulary: the names.
        store: has the features.
        digests: (N, 32) uint8, digests of the images.

    Raises:
        StoreError: a feature is missing or a shard cannot be read.
    """
    unknown = np.flatnonzero(table.verdict_numbers == 1)
    names = [""] * len(table)
    cosines = np.full(len(table), np.nan, dtype=np.float32)
    for part, features in store.blocks(digests[unknown], rows=_ROWS):
        found, cosines[unknown[part]] = vocabulary.resembling(features)
        for row, name in zip(unknown[part].tolist(), found, strict=True):
            names[row] = name
    return dataclasses.replace(table, looks_like=names, looks_like_cosines=cosines)
