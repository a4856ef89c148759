"""Folds of in-distribution images that stand for the open world: each holds out images, classes and a domain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deltaoe.functional.unit_rows import Rows

Indices = npt.NDArray[np.int64]

FOLDS = 4
_MIN_CLASSES = 4  # to hold classes out: with fewer, the task without some of them would be another one
_HELD_OUT_CLASSES = 1 / 4  # of the classes
_HELD_OUT_IMAGES = 1 / 3  # of the shots of each known class, rounded up
_SHUFFLED = 400  # shuffled feature rows per fold


@dataclass(frozen=True)
class Fold:
    """One fold, as rows into the images that the folds were made of.

    Attributes:
        classes: (k,) indices of the known classes, ascending; the others are held out.
        train: rows of the images to learn from.
        known: rows of held-out images of the known classes, from the same domains as ``train``.
        unknown: rows of images of the held-out classes, from these domains; empty if no class is held out.
        shifted: rows of images of the known classes from the held-out domain; empty without domains.
        shifted_unknown: rows of images of the held-out classes from the held-out domain.
        domain: index of the held-out domain; −1 for none.
    """

    classes: Indices
    train: Indices
    known: Indices
    unknown: Indices
    shifted: Indices
    shifted_unknown: Indices
    domain: int


def make_folds(
    classes: Indices,
    domains: Indices,
    validation: npt.NDArray[np.bool_],
    generator: np.random.Generator,
    count: int = FOLDS,
) -> list[Fold]:
    """Folds that each hold out images, a quarter of the classes and one domain.

    Classes are held out if there are four or more, domains if there are two or more. The held-out images are the
    validation images; without any, a third of the shots of each class, of which one always stays to learn from.

    Args:
        classes: (n,) class index of each image, ≥ 0.
        domains: (n,) domain index of each image, −1 for none.
        validation: (n,) True for validation images, which are never learned from; the others are shots.
        generator: draws classes, domains and images.
        count: number of folds wanted.

    Returns:
        At most ``count`` folds: those with two known classes or more, images to learn from, and held-out images of
        known classes.

    Example:
        >>> classes = np.repeat(np.arange(4), 6)  # four classes with six shots each
        >>> domains, validation = np.full(24, -1), np.zeros(24, dtype=bool)
        >>> fold = make_folds(classes, domains, validation, np.random.default_rng(0))[0]
        >>> len(fold.classes), len(fold.train), len(fold.known), len(fold.unknown)
        (3, 12, 6, 6)
    """
    order = generator.permutation(np.unique(classes[~validation]))
    held_out_count = 0
    if len(order) >= _MIN_CLASSES:
        held_out_count = max(1, round(len(order) * _HELD_OUT_CLASSES))
    # No domain is held out twice before each has been held out once.
    candidates = np.unique(domains[(domains >= 0) & ~validation])
    candidates = generator.permutation(candidates) if len(candidates) > 1 else candidates[:0]
    folds = []
    for number in range(count):
        turned = np.roll(order, -number * held_out_count)
        held_out, known = turned[:held_out_count], np.sort(turned[held_out_count:])
        domain = int(candidates[number % len(candidates)]) if len(candidates) else -1
        fold = _fold(classes, domains, validation, generator, held_out, known, domain)
        if len(fold.classes) >= 2 and len(fold.known) and len(fold.train):
            folds.append(fold)
    return folds


def _fold(
    classes: Indices,
    domains: Indices,
    validation: npt.NDArray[np.bool_],
    generator: np.random.Generator,
    held_out: Indices,
    known: Indices,
    domain: int,
) -> Fold:
    """The fold with these held-out and known classes and this held-out domain; its held-out images are drawn."""
    shifted = (domains == domain) & (domain >= 0)
    to_learn = np.isin(classes, known) & ~shifted & ~validation
    # A class whose shots are all in the held-out domain cannot be learned.
    learned = np.unique(classes[to_learn])
    of_known, of_held_out = np.isin(classes, learned), np.isin(classes, held_out)
    unseen = validation if validation.any() else _held_out(classes, to_learn, generator)
    return Fold(
        classes=learned.astype(np.int64),
        train=np.flatnonzero(to_learn & ~unseen),
        known=np.flatnonzero(of_known & unseen & ~shifted),
        unknown=np.flatnonzero(of_held_out & ~shifted),
        shifted=np.flatnonzero(of_known & shifted & (validation if validation.any() else True)),
        shifted_unknown=np.flatnonzero(of_held_out & shifted),
        domain=domain,
    )


def _held_out(
    classes: Indices, shots: npt.NDArray[np.bool_], generator: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """A third of the shots of each class, rounded up, but not its only one: (n,) mask."""
    rows = generator.permutation(np.flatnonzero(shots))
    rows = rows[np.argsort(classes[rows], kind="stable")]
    _, starts, sizes = np.unique(classes[rows], return_index=True, return_counts=True)
    place = np.arange(len(rows)) - np.repeat(starts, sizes)
    wanted = np.where(sizes > 1, np.ceil(sizes * _HELD_OUT_IMAGES), 0)
    mask = np.zeros(len(classes), dtype=np.bool_)
    mask[rows[place < np.repeat(wanted, sizes)]] = True
    return mask


def shuffled_features(features: Rows, generator: np.random.Generator, count: int = _SHUFFLED) -> Rows:
    """Features that stand for far out-of-distribution images: each component comes from another image **[derived]**.

    The distribution of each component stays, and the content goes. ``benchmarks/pseudo_unknown.py`` measures how well
    AUROC against them predicts AUROC against real far images.

    Args:
        features: (n, D) image features.
        generator: draws the images.
        count: number of rows to make.

    Returns:
        (count, D) float32, unit rows; (0, D) if n < 2.

    Example:
        >>> rows = np.eye(4, dtype=np.float32) + 1
        >>> shuffled_features(rows, np.random.default_rng(0), count=6).shape
        (6, 4)
    """
    if len(features) < 2:
        return features[:0]
    # Each component has a permutation of the images of its own; as many rounds of them as give ``count`` rows.
    rounds = -(-count // len(features))
    image = np.broadcast_to(np.arange(len(features))[:, None], features.shape)
    order = np.concatenate([generator.permuted(image, axis=0) for _ in range(rounds)])[:count]
    mixed = np.take_along_axis(features, order, axis=0)
    return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), dtype=np.float32)
