"""What unknown images look like: the nearest names of a vocabulary. Importing this loads no model code."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deltaoe.functional.nearest_names import nearest_names
from deltaoe.functional.unit_rows import Rows
from deltaoe.scoring.score_table import NONE_FITS, VERDICTS, ScoreTable

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
