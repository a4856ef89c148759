"""The images of a tuning, drawn for three uses: shots, validation and calibration; and the data it starts from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deltaoe.errors import DataError
from deltaoe.functional.sampling import FewShotSplit, few_shot_split
from deltaoe.functional.unit_rows import Rows
from deltaoe.scoring.options import ALPHA
from deltaoe.short_repr import counted, number_of_notes, short_repr
from deltaoe.store.dataset import DataSet
from deltaoe.store.split_use import learning_rows, split_use
from deltaoe.tuning.plan import NEEDED, Plan, best_plan, held_out_alone, plan

Indices = npt.NDArray[np.int64]

_LISTED = 8  # classes that a message lists


@dataclass(frozen=True)
class Draw:
    """Rows of labelled images by their use; no image has two uses.

    Attributes:
        split: the draw of the shots, which are ``split.shots``.
        validation: (m,) rows of the validation images, which no prompts are learned from; m = 0 if there are too few
            images.
        calibration: (n,) rows of the images that calibrate the detector.
        plan: numbers of images by their use.
        sizes: number of distinct images of each class that shots are drawn from.
        notes: sentences for the user.
        held_out: number of distinct images of each class that are never shots; empty for none.
    """

    split: FewShotSplit
    validation: Indices
    calibration: Indices
    plan: Plan
    sizes: Sequence[int]
    notes: list[str]
    held_out: Sequence[int] = ()

    def __repr__(self) -> str:
        """The number of images by their use; the rows would fill the screen."""
        counts = len(self.split.shots), len(self.validation), len(self.calibration)
        uses = ("shot", "validation image", "calibration image")
        return short_repr(self, *map(counted, counts, uses), number_of_notes(self.notes))


@dataclass(frozen=True)
class Shots:
    """Images that prompts are learned from.

    Attributes:
        features: (V, n, D) unit rows: ``features[0]`` are the n images, the others V − 1 augmented views of each.
        classes: (n,) class indices.
    """

    features: npt.NDArray[np.float32]
    classes: Indices


@dataclass(frozen=True)
class TuningData:
    """Shots and validation images with their classes and domains, and the prompts that tuning starts from.

    Attributes:
        class_names: K names.
        shots: n images that prompts are learned from.
        domains: (n,) domain index of each shot, −1 for none.
        validation: (m, D) unit rows, features of the validation images.
        validation_classes: (m,) class index of each.
        validation_domains: (m,) domain index of each, −1 for none.
        zero_shot: (K, D) unit rows, text features of the zero-shot prompts.
        encode: maps k names to text features (k, D) of their zero-shot prompts.
        identity: JSON values that identify the data, for :class:`~deltaoe.tuning.checkpoint.Checkpoint`.
    """

    class_names: Sequence[str]
    shots: Shots
    domains: Indices
    validation: Rows
    validation_classes: Indices
    validation_domains: Indices
    zero_shot: Rows
    encode: Callable[[Sequence[str]], Rows]
    identity: dict[str, object]


def draw(
    classes: Sequence[int],
    keys: Sequence[bytes],
    class_names: Sequence[str],
    *,
    shots: int,
    seed: int,
    allow_fewer: bool = False,
    held_out: npt.NDArray[np.bool_] | None = None,
) -> Draw:
    """Draw shots, validation images and calibration images from each class, by content and seed alone.

    As many images of each class as there are shots become validation images, provided that 100 or more images are left
    for calibration.

    Args:
        classes: (n,) class index of each image; −1 for images that are not used.
        keys: (n,) digests of their content; images with equal digests are one image.
        class_names: K names.
        shots: shots per class, ≥ 1.
        seed: seed of the draw.
        allow_fewer: whether classes with fewer images than ``shots`` may give all they have.
        held_out: (n,) True for images that are no shots; they alone validate and calibrate, if 19 or more.

    Raises:
        DataError: a class has fewer images than ``shots`` and fewer are not allowed, or it has none.

    Example:
        >>> classes, keys = [0, 0, 0, 1, 1, 1], [b"a", b"b", b"c", b"d", b"e", b"f"]
        >>> drawn = draw(classes, keys, ("cat", "dog"), shots=2, seed=1)
        >>> len(drawn.split.shots), len(drawn.validation), len(drawn.calibration)
        (4, 0, 2)
    """
    distinct = few_shot_split(classes, keys, 0, seed)
    labels = np.asarray(classes, dtype=np.int64)
    held = distinct.rest[:0] if held_out is None else distinct.rest[held_out[distinct.rest]]
    split = few_shot_split(_only(labels, np.setdiff1d(distinct.rest, held)), keys, shots, seed)
    counts = {name: split.available.get(i, 0) for i, name in enumerate(class_names)}
    held_sizes = [] if held_out is None else np.bincount(labels[held], minlength=len(class_names)).tolist()
    too_small = {name: n for name, n in counts.items() if n < shots}
    sizes = list(counts.values())
    if too_small and not (allow_fewer and min(sizes) >= 1):
        raise _too_few_images(too_small, sizes, held_sizes, shots)
    notes = []
    if too_small:
        notes.append(
            f"{len(too_small)} of {len(counts)} classes have fewer than {shots} images; they give all they have"
        )
    if len(distinct.conflicting):
        notes.append(
            f"{len(distinct.conflicting)} files show an image that also lies under another class; used for nothing"
        )
    planned = plan(sizes, shots, held_sizes)
    if not planned.calibration:
        notes.append(
            "no images are left to calibrate with, so there is no threshold, and text and images are not fused: add "
            "images or use fewer --shots"
        )
    pool = held if held_out_alone(held_sizes) else np.union1d(split.rest, held)
    validation = np.zeros(0, dtype=np.int64)
    if planned.validation:
        validation = np.sort(few_shot_split(_only(labels, pool), keys, shots, seed).shots)
    return Draw(split, validation, np.setdiff1d(pool, validation), planned, sizes, notes, held_sizes)


def _only(labels: Indices, rows: Indices) -> list[int]:
    """The class indices (n,), −1 for images that are not among these rows."""
    only = np.full(len(labels), -1, dtype=np.int64)
    only[rows] = labels[rows]
    found: list[int] = only.tolist()
    return found


def draw_from(
    data: DataSet,
    *,
    shots: int,
    seed: int,
    domains: Sequence[str] = (),
    splits: Sequence[str] = (),
    allow_fewer: bool = False,
) -> Draw:
    """:func:`draw` from a data set.

    Args:
        data: the data set; of its splits, those are used that :func:`~deltaoe.store.split_use.split_use` says.
        shots, seed, allow_fewer: as for :func:`draw`.
        domains: to draw from; all if empty.
        splits: to draw everything from instead.

    Raises:
        ConfigError: there is no such domain or split.
        DataError: as for :func:`draw`, or all labelled images are left for ``evaluate``.
    """
    learned, held_out = learning_rows(data, split_use(data, splits))
    inside = data.rows_in(domains) & (learned | held_out)
    return draw(
        np.where(inside, data.class_of, -1).tolist(),
        data.keys(),
        data.class_names,
        shots=shots,
        seed=seed,
        allow_fewer=allow_fewer,
        held_out=held_out if held_out.any() else None,
    )


def sizes_to_draw_from(data: DataSet) -> tuple[list[int], list[int]]:
    """Number of distinct images of each class that :func:`draw_from` draws shots from, and of those held out."""
    use = split_use(data)
    if use.splits and not use.learned:
        return [0] * len(data.class_names), []
    learned, held_out = learning_rows(data, use)
    rows = data.distinct_rows(np.where(learned | held_out, data.class_of, -1))
    is_held = held_out[rows]
    held = rows[is_held]
    count = len(data.class_names)
    sizes = np.bincount(data.class_of[rows[~is_held]], minlength=count)
    return sizes.tolist(), np.bincount(data.class_of[held], minlength=count).tolist() if len(held) else []


def require_calibration(drawn: Draw, *, allow_fewer: bool) -> None:
    """Raise DataError, with the number of shots that would do, if too few images calibrate for the usual α."""
    planned = drawn.plan
    if planned.enough:
        return
    better = best_plan(drawn.sizes, planned.shots, drawn.held_out, allow_fewer=allow_fewer)
    total = sum(drawn.sizes) + sum(drawn.held_out)
    # One shot per class leaves the most; where even that is too few, images are missing.
    hint = f"extract at least {len(drawn.sizes) + NEEDED - total} more distinct images"
    if better is not None:
        hint = f"use {would_do(better)}"
    raise DataError(
        f"--shots {planned.shots} leaves {planned.calibration} of {total} distinct images to calibrate; α = {ALPHA:g} "
        f"needs {NEEDED}, so every image would be undecided",
        hint=f"{hint}, or --allow-undecided",
    )


def would_do(better: Plan) -> str:
    """The number of shots of a plan, and why it would do."""
    return f"--shots {better.shots}: it leaves {better.calibration} images, enough for α = {ALPHA:g}"


def remembering(encode: Callable[[Sequence[str]], Rows]) -> Callable[[Sequence[str]], Rows]:
    """``encode`` with a memory: a name is encoded once, though it comes back in another list.

    Example:
        >>> calls = []
        >>> once = remembering(lambda names: calls.append(names) or np.ones((len(names), 2), dtype=np.float32))
        >>> once(["cat", "dog"]).shape, once(["dog"]).shape, calls
        ((2, 2), (1, 2), [['cat', 'dog']])
    """
    known: dict[str, npt.NDArray[np.float32]] = {}

    def encoded(names: Sequence[str]) -> Rows:
        new = [name for name in dict.fromkeys(names) if name not in known]
        if new:
            known.update(zip(new, encode(new), strict=True))
        return np.stack([known[name] for name in names])

    return encoded


def _too_few_images(
    too_small: dict[str, int], sizes: Sequence[int], held_out: Sequence[int], shots: int
) -> DataError:
    """The error for classes with fewer images than shots, given by name and number of images."""
    fewest = sorted(too_small.items(), key=lambda item: item[1])
    listed = ", ".join(f"{name} {n}" for name, n in fewest[:_LISTED])
    listed += " …" if len(too_small) > _LISTED else ""
    better = best_plan(sizes, shots, held_out)
    hint = "add images, or remove the empty classes and extract again"
    if better is not None:
        hint = f"use {would_do(better)}; or --allow-fewer"
    elif fewest[0][1]:
        hint = "add images, or use --allow-fewer"
    return DataError(
        f"{len(too_small)} of {len(sizes)} classes have fewer than {shots} distinct images: {listed}",
        hint=hint,
    )
