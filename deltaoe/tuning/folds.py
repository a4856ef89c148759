r"""Folds that play the open world with in-distribution images alone: held-out classes, images and domains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]

FOLDS = 3
_FEWEST_CLASSES = 4  # with fewer, a fold without some of them would be another problem
_OUT_CLASSES = 1 / 4
_OUT_IMAGES = 1 / 3
_MOST_CLASSES = 64


@dataclass(frozen=True)
class Fold:
    """Rows into the images that folds were made of.

    Attributes:
        classes: the classes that stay known, ascending.
        train: rows to learn from.
        known: unseen images of these classes, from the domains that are learned from.
        unknown: images of the held-out classes, from the same domains; empty where no class is held out.
        shifted: images of the known classes from the held-out domain; empty without domains.
        shifted_unknown: images of the held-out classes from there.
        domain: the domain held out; −1 for none.
    """

    classes: Indices
    train: Indices
    known: Indices
    unknown: Indices
    shifted: Indices
    shifted_unknown: Indices
    domain: int


def make_folds(
    classes: npt.NDArray[np.int64],
    domains: npt.NDArray[np.int64],
    validation: npt.NDArray[np.bool_],
    generator: np.random.Generator,
    count: int = FOLDS,
) -> list[Fold]:
    """So many folds, or fewer where images do not suffice: each leaves out images, a quarter of the classes, a domain.

    Of many classes a random 64 play, so that a fold costs no more than that.

    Args:
        classes: (n,) class of each image, ≥ 0.
        domains: (n,) its domain, −1 for none.
        validation: (n,) images that only judge; the others, the shots, are learned from unless a fold holds them
            out.
        generator: draws.
        count: how many.

    Returns:
        Folds that have two known classes or more and unseen images of theirs.
    """
    present = np.unique(classes[~validation])
    order = generator.permutation(present)
    out = max(1, round(min(len(order), _MOST_CLASSES) * _OUT_CLASSES)) if len(order) >= _FEWEST_CLASSES else 0
    # Every domain is held out before one is again.
    homes = np.unique(domains[(domains >= 0) & ~validation])
    homes = generator.permutation(homes) if len(homes) > 1 else homes[:0]
    found = []
    for number in range(count):
        turned = np.roll(order, -number * out)[:_MOST_CLASSES]
        gone, stays = turned[:out], np.sort(turned[out:])
        away = int(homes[number % len(homes)]) if len(homes) else -1
        fold = _fold(classes, domains, validation, generator, gone, stays, away)
        if len(fold.classes) >= 2 and len(fold.known) and len(fold.train):
            found.append(fold)
    return found


def _fold(
    classes: npt.NDArray[np.int64],
    domains: npt.NDArray[np.int64],
    validation: npt.NDArray[np.bool_],
    generator: np.random.Generator,
    gone: Indices,
    stays: Indices,
    away: int,
) -> Fold:
    there = (domains == away) & (away >= 0)
    own, other = np.isin(classes, stays), np.isin(classes, gone)
    train: list[Indices] = []
    unseen: list[Indices] = [np.flatnonzero(own & ~there & validation)]
    kept: list[int] = []
    for label in stays.tolist():
        rows = generator.permutation(np.flatnonzero((classes == label) & ~there & ~validation))
        if not len(rows):
            continue  # a class that lives in the held-out domain alone cannot be learned here
        held = int(len(rows) * _OUT_IMAGES)
        train.append(rows[held:])
        unseen.append(rows[:held])
        kept.append(label)
    own = np.isin(classes, kept)
    known = np.sort(np.concatenate(unseen))
    return Fold(
        classes=np.asarray(kept, dtype=np.int64),
        train=np.sort(np.concatenate(train)) if train else np.zeros(0, dtype=np.int64),
        known=known[np.isin(classes[known], kept)],
        unknown=np.flatnonzero(other & ~there),
        shifted=np.flatnonzero(own & there),
        shifted_unknown=np.flatnonzero(other & there),
        domain=away,
    )
