"""Image features with what is said of each: the one value that readers return and writers take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from deltaoe.interchange.name_lists import Labels
from deltaoe.interchange.vectors import Vectors
from deltaoe.store.feature_store import Digests


@dataclass(frozen=True)
class FeatureTable:
    """n image features of D components, and their paths, labels and digests in the same order.

    Attributes:
        count: n.
        dim: D.
        blocks: a function that yields the features from the first on, as float32 arrays (m, D) of a few thousand rows;
            each call starts anew. Features from a file are as they stand there, of any length. It raises DataError for
            a row that has no direction: not finite, zero, or of a length whose square float32 cannot hold.
        paths: (n,) names of the images; None where there are none.
        labels: (n,) indices into ``class_names``, −1 for no class; None where there are none.
        class_names: (K,); None where there are none, or where the labels are integers that nobody named.
        text_features: (K, D), one row per class, of any length; None where there are none.
        digests: (n, 32) uint8, SHA-256 of each image's content; None where that is not known, as of a file read.
        splits: (n,) ``train``, ``val`` or ``test`` of each image, empty for none; None where there are none.
        ignored: names of the arrays of the file read that are none of these.
    """

    count: int
    dim: int
    blocks: Callable[[], Iterator[Vectors]]
    paths: Sequence[str] | None = None
    labels: Labels | None = None
    class_names: tuple[str, ...] | None = None
    text_features: Vectors | None = None
    digests: Digests | None = None
    splits: Sequence[str] | None = None
    ignored: Sequence[str] = ()
