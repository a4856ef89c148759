"""Few-shot samples that depend on the images and a seed alone: not on paths, file order or machine."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deltaoe.errors import ConfigError

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FewShotSplit:
    """A division of labelled images into shots and the rest; no image is on both sides.

    Attributes:
        shots: rows of the images to learn from, class by class, at most k of each.
        rest: rows of all other images, one row per distinct image, ascending.
        available: class index → number of its distinct images.
        conflicting: rows whose image also appears under another class; they are neither shots nor rest.
    """

    shots: Indices
    rest: Indices
    available: dict[int, int]
    conflicting: Indices


def few_shot_split(labels: Sequence[int], keys: Sequence[bytes], k: int, seed: int) -> FewShotSplit:
    """Draw k images of each class, without replacement, by a hash of each image's key and the seed.

    The k images of a class with the smallest hashes are its shots. So adding images to a class changes its sample as
    little as possible, and two machines that list the files in different orders draw the same images.

    Args:
        labels: (n,), class index of each row; a negative one is no class, and its row is neither shot nor rest.
        keys: (n,), content digest of each row; rows with equal keys are one image.
        k: shots per class, ≥ 0. Classes with fewer images give all they have: compare ``available``.
        seed: from 0 to 2^128 − 1.

    Raises:
        ConfigError: ``k`` or ``seed`` is out of range.

    Example:
        >>> split = few_shot_split([0, 0, 0, 1, 1], [b"a", b"a", b"b", b"c", b"d"], k=1, seed=0)
        >>> split.shots.tolist(), split.rest.tolist(), split.available
        ([0, 4], [2, 3], {0: 2, 1: 2})
    """
    if k < 0:
        raise ConfigError(f"the number of shots must be 0 or more, not {k}")
    if not 0 <= seed < 1 << 128:
        raise ConfigError(f"the seed must be 0 or more and below 2^128, not {seed}")
    first_row: dict[bytes, int] = {}
    classes_of: dict[bytes, set[int]] = defaultdict(set)
    for row, (label, key) in enumerate(zip(labels, keys, strict=True)):
        if label >= 0:
            first_row.setdefault(key, row)
            classes_of[key].add(int(label))
    conflicting = {key for key, classes in classes_of.items() if len(classes) > 1}
    members: dict[int, list[tuple[bytes, int]]] = defaultdict(list)
    salt = seed.to_bytes(16, "little")
    for key, row in first_row.items():
        if key not in conflicting:
            rank = hashlib.blake2b(key, digest_size=16, salt=salt).digest()
            members[int(labels[row])].append((rank, row))
    shots: list[int] = []
    rest: list[int] = []
    for label in sorted(members):
        ranked = [row for _, row in sorted(members[label])]
        shots += ranked[:k]
        rest += ranked[k:]
    return FewShotSplit(
        shots=np.asarray(shots, dtype=np.int64),
        rest=np.asarray(sorted(rest), dtype=np.int64),
        available={label: len(members[label]) for label in sorted(members)},
        conflicting=np.asarray([r for r, key in enumerate(keys) if key in conflicting], dtype=np.int64),
    )


def distinct_rows(labels: Indices, digests: npt.NDArray[np.uint8]) -> Indices:
    """The rest of a :func:`few_shot_split` without shots: the first row of each image that has one class, ascending.

    Args:
        labels: (n,), class index of each row; a negative one is no class.
        digests: (n, 32), SHA-256 of each row's content.

    Example:
        >>> a, b, c = (np.full(32, value, dtype=np.uint8) for value in (1, 2, 3))
        >>> distinct_rows(np.array([0, 0, 0, 1, -1]), np.stack([a, b, b, c, a])).tolist()
        [0, 1, 3]
    """
    rows = np.flatnonzero(labels >= 0)
    # Contents whose first 8 bytes differ from all others are images of their own; hardly any others do not.
    words = np.ascontiguousarray(digests[rows]).view(np.uint64)[:, 0]
    order = np.argsort(words, kind="stable")
    alike = words[order[1:]] == words[order[:-1]]
    if not alike.any():
        return rows
    chosen = np.ones(len(rows), dtype=bool)
    chosen[order[1:][alike]] = chosen[order[:-1][alike]] = False
    several = np.flatnonzero(~chosen)
    keys = [digests[row].tobytes() for row in rows[several]]
    split = few_shot_split(labels[rows[several]].tolist(), keys, 0, 0)
    chosen[several[split.rest]] = True
    return rows[chosen]


def share_of_each_class(
    labels: Sequence[int], keys: Sequence[bytes], share: float, seed: int, at_least: int = 0
) -> tuple[Indices, Indices]:
    """A share of the distinct images of each class, rounded down, drawn as by :func:`few_shot_split`; and the rest.

    Args:
        labels, keys, seed: as for :func:`few_shot_split`.
        share: in [0, 1].
        at_least: number of images that are drawn of each class that has so many.

    Returns:
        Rows of the images drawn, class by class; and of all other distinct images with one class, ascending.

    Example:
        >>> drawn, rest = share_of_each_class([0, 0, 0, 0, 1], [b"a", b"b", b"c", b"d", b"e"], 0.5, seed=0)
        >>> len(drawn), len(rest)
        (2, 3)
    """
    ranked = few_shot_split(labels, keys, len(keys), seed)
    sizes = np.array([*ranked.available.values()], dtype=np.int64)
    drawn = np.maximum((sizes * share).astype(np.int64), np.minimum(sizes, at_least))
    place = np.arange(len(ranked.shots)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    first = place < np.repeat(drawn, sizes)
    return ranked.shots[first], np.sort(ranked.shots[~first])


def feature_keys(stored: npt.NDArray[np.floating]) -> list[bytes]:
    """Digests (32 bytes each) of images of which nothing is known but their features (n, D), as they are stored.

    Equal features are one image.
    """
    rows = np.ascontiguousarray(stored)
    return [hashlib.sha256(b"deltaoe import\0" + row.tobytes()).digest() for row in rows]
