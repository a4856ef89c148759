"""What the splits of a data set are for: which images are learned from, which calibrate, and which are left."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deltaoe.errors import DataError
from deltaoe.store.dataset import DataSet, rows_named

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SplitUse:
    """The uses of the splits that have labelled images.

    Attributes:
        learned: shots come from these.
        held_out: these validate and calibrate, where they have enough images.
        evaluated: left for ``evaluate``.
    """

    learned: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    evaluated: tuple[str, ...] = ()

    @property
    def splits(self) -> bool:
        """Whether there are any."""
        return bool(self.learned or self.held_out or self.evaluated)

    def sentence(self, *, enough: bool | None = None) -> str:
        """The uses in words; empty without splits.

        Args:
            enough: whether the images held out are enough to calibrate alone; None if that is not known.

        Example:
            >>> SplitUse(("train",), ("val",), ("test",)).sentence(enough=True)
            'Shots come from train, validation and calibration from val; test is left for evaluate.'
        """
        if not self.learned:
            return ""
        learned, held, left = (" and ".join(one) for one in (self.learned, self.held_out, self.evaluated))
        said = f"Shots come from {learned}, " if held else f"Shots and calibration come from {learned}"
        said += f"validation and calibration from {held}" if held else ""
        if held and not enough:
            said += (
                f" and the rest of {learned}"
                if enough is False
                else f" (from {learned}, too, if {held} is small)"
            )
        return (
            f"{said}; {left} {'is' if len(self.evaluated) == 1 else 'are'} left for evaluate."
            if left
            else f"{said}."
        )


def split_use(data: DataSet, asked: Sequence[str] = ()) -> SplitUse:
    """The uses of a data set's splits.

    ``test`` is evaluated on, or ``val`` where there is no ``test``. The rest is learned from: ``train`` gives the shots
    and ``val`` validates and calibrates; ``val`` alone does both.

    Args:
        data: its splits count if they have labelled images.
        asked: names of the splits that all images are drawn from, instead.

    Raises:
        ConfigError: there is no such split.
    """
    rows_of_splits(data, asked)
    splits = data.split_of[data.class_of >= 0]
    there = [name for i, name in enumerate(data.split_names) if (splits == i).any()]
    if asked:
        return SplitUse(tuple(asked), (), tuple(name for name in there if name not in asked))
    left = ["test"] if "test" in there else ["val"] if "train" in there and "val" in there else []
    rest = [name for name in there if name not in left]
    return SplitUse(tuple(rest[:1]), tuple(rest[1:]), tuple(left))


def rows_of_splits(data: DataSet, names: Sequence[str]) -> Mask:
    """(n,) mask of the images of these splits; of all images if none is named.

    Raises:
        ConfigError: there is no such split.
    """
    return rows_named(
        names, data.split_names, data.split_of, what="split", layout=data.layout, where=f" in {data.title}"
    )


def learning_rows(data: DataSet, use: SplitUse) -> tuple[Mask, Mask]:
    """(n,) masks of the images that shots come from, and of those held out; all and none without splits.

    An image that lies among those left for ``evaluate``, too, byte by byte, is in neither.

    Raises:
        DataError: all labelled images are left for ``evaluate``.
    """
    if not use.splits:
        return np.ones(len(data), dtype=bool), np.zeros(len(data), dtype=bool)
    if not use.learned:
        raise DataError(
            f"all images with a class of {data.title} are in {use.evaluated[0]}, which is left for evaluate",
            hint=f"extract a train split, too, or use --split {use.evaluated[0]}",
        )
    learned = rows_of_splits(data, use.learned)
    held_out = rows_of_splits(data, use.held_out) if use.held_out else np.zeros(len(data), dtype=bool)
    if use.evaluated:
        keys = data.keys()
        left = {keys[row] for row in np.flatnonzero(rows_of_splits(data, use.evaluated)).tolist()}
        outside = np.array([key not in left for key in keys], dtype=bool)
        learned, held_out = learned & outside, held_out & outside
    return learned, held_out


def counts_by_split(data: DataSet) -> dict[str, int]:
    """Number of images by split name, labelled or not; empty without splits."""
    return {name: int((data.split_of == i).sum()) for i, name in enumerate(data.split_names)}


def splits_in_words(data: DataSet) -> str:
    """The splits with their numbers of images, for a table's cell; empty without splits."""
    return ", ".join(f"{name} {count:,}" for name, count in counts_by_split(data).items())


def without_evaluated(data: DataSet, asked: Sequence[str] = ()) -> DataSet:
    """The data set with classes for those images only that are learned from or held out; itself without splits."""
    use = split_use(data, asked)
    if not use.splits:
        return data
    inside = np.zeros(len(data), dtype=bool)
    if use.learned:
        learned, held_out = learning_rows(data, use)
        inside = learned | held_out
    return dataclasses.replace(data, class_of=np.where(inside, data.class_of, -1))
