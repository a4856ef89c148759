"""The images that prompts are tuned on: which are learned from, which judge settings, which calibrate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deltaoe.errors import DataError
from deltaoe.functional.sampling import FewShotSplit, few_shot_split
from deltaoe.functional.unit_rows import Rows

Indices = npt.NDArray[np.int64]

# So many images must be left to calibrate before others are set aside for validation.
FEWEST_CALIBRATION = 100
_LISTED = 8


@dataclass(frozen=True)
class Draw:
    """Rows of labelled images by their use; no image has two.

    Attributes:
        split: ``split.shots`` are learned from.
        validation: (m,) rows that judge settings; none where settings are not chosen, or images are few.
        calibration: (n,) rows that the threshold is calibrated with.
        notes: sentences that a reader must see.
    """

    split: FewShotSplit
    validation: Indices
    calibration: Indices
    notes: list[str]


@dataclass(frozen=True)
class Shots:
    """Images that prompts are learned from.

    Attributes:
        features: (V, n, D) unit rows: of each image, and of its augmented views.
        classes: (n,) class indices.
    """

    features: npt.NDArray[np.float32]
    classes: Indices

    def part(self, rows: Indices, classes: Indices) -> Shots:
        """The images ``rows``, their classes counted within ``classes`` (ascending)."""
        return Shots(self.features[:, rows], np.searchsorted(classes, self.classes[rows]).astype(np.int64))


@dataclass(frozen=True)
class TuningData:
    """Features, classes and domains of the images, and the prompts that tuning starts from.

    Attributes:
        class_names: K names.
        shots: n images that are learned from.
        domains: (n,) domain of each shot, −1 for none.
        validation: (m, D) unit rows of the images that judge settings; their classes and domains (m,).
        zero_shot: (K, D) unit rows, text features of the zero-shot prompts.
        encode: other names to zero-shot text features.
        identity: plain values that name the data, for checkpoints.
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
    validate: bool,
    allow_fewer: bool = False,
) -> Draw:
    """Draw shots, validation images and calibration images of each class, by content and seed alone.

    As many images of each class as there are shots are set aside for validation, if 100 or more are left to calibrate.

    Args:
        classes: (n,) class of each image; −1 for images that are not to be used.
        keys: (n,) digests of their content; equal ones are one image.
        class_names: K names.
        shots: of each class, ≥ 1.
        seed: of the draw.
        validate: whether settings are chosen, which takes validation images.
        allow_fewer: classes with fewer images than shots give all they have.

    Raises:
        DataError: a class has fewer images than shots, and fewer are not allowed; or it has none.
    """
    split = few_shot_split(classes, keys, shots, seed)
    counts = {name: split.available.get(i, 0) for i, name in enumerate(class_names)}
    short = {name: n for name, n in counts.items() if n < shots}
    if short and not (allow_fewer and min(counts.values()) >= 1):
        raise _too_few(short, len(counts), shots)
    notes = []
    if short:
        notes.append(
            f"{len(short)} of {len(counts)} classes have fewer than {shots} images; they give all they have"
        )
    if len(split.conflicting):
        notes.append(
            f"{len(split.conflicting)} files show an image that also lies under another class; used for nothing"
        )
    if not len(split.rest):
        notes.append(
            "no images are left to calibrate with, so there is no threshold: add images or use fewer --shots"
        )
    validation = np.zeros(0, dtype=np.int64)
    if validate:
        more = few_shot_split(classes, keys, 2 * shots, seed)
        if len(more.rest) >= FEWEST_CALIBRATION:
            validation = np.setdiff1d(more.shots, split.shots)
    return Draw(split, validation, np.setdiff1d(split.rest, validation), notes)


def _too_few(short: dict[str, int], classes: int, shots: int) -> DataError:
    fewest = sorted(short.items(), key=lambda item: item[1])
    listed = ", ".join(f"{name} {n}" for name, n in fewest[:_LISTED]) + (" …" if len(short) > _LISTED else "")
    smallest = fewest[0][1]
    hint = "add images, or remove the empty classes and extract again"
    if smallest:
        half = max(1, smallest // 2)
        hint = f"use --shots {half} (the rest calibrates the threshold), or --allow-fewer"
    return DataError(
        f"{len(short)} of {classes} classes have fewer than {shots} distinct images: {listed}", hint=hint
    )
