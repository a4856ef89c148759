"""Set-ups of `verdict.py`: in-distribution images by use, and out-of-distribution images, from the shared data."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from defaults import PHOTOGRAPHS, Bed, Rows, photographs, real_features

from deltaoe.tuning.plan import MIN_CALIBRATION

Indices = npt.NDArray[np.int64]


class SetUp(NamedTuple):
    """One division of a bed's images.

    Attributes:
        name: the column of the tables.
        seed: of the division.
        bed: the images, their classes, and the prompts.
        domain: (n,) domain of each image of the bed; −1 for none.
        held_out: the domain whose images are tested and never learned from; −1 for none.
        shots, validation, calibration: rows of the bed's in-distribution images that a detector may use.
        tests: name → rows of the in-distribution images that are judged.
        unknown: rows of each out-of-distribution set that they are judged against.
    """

    name: str
    seed: int
    bed: Bed
    domain: Indices
    held_out: int
    shots: Indices
    validation: Indices
    calibration: Indices
    tests: dict[str, Indices]
    unknown: dict[str, list[Indices]]


def divided(
    rows: Indices, classes: Indices, shots: int, generator: np.random.Generator
) -> tuple[Indices, Indices, Indices, Indices]:
    """Shots, validation, calibration and test rows: half of what is no shot is tested.

    As in ``deltaoe tune``, as many images of a class as there are shots are validation images, if 100 or more images
    remain to calibrate with.
    """
    parts: list[list[Indices]] = [[], [], []]
    for label in np.unique(classes[rows]):
        order = generator.permutation(rows[classes[rows] == label])
        rest = order[shots:]
        for part, chosen in zip(parts, (order[:shots], rest[::2], rest[1::2]), strict=True):
            part.append(chosen)
    learned, spare, tested = (np.concatenate(part) for part in parts)
    validation = np.concatenate([chosen[:shots] for chosen in parts[1]])
    if len(spare) - len(validation) < MIN_CALIBRATION:
        validation = validation[:0]
    return learned, validation, np.setdiff1d(spare, validation), tested


def feature_setups(seeds: range, kinds: Sequence[tuple[str, int, tuple[int, ...]]]) -> Iterator[SetUp]:
    """Real CLIP features: all classes and some of them, with several numbers of shots.

    Args:
        seeds: of the draws.
        kinds: (data, classes, numbers of shots).
    """
    beds = list(real_features(seeds.stop))
    for (data, count, numbers), seed in itertools.product(kinds, seeds):
        found = [bed for bed in beds if bed.name == f"{data}, {count} classes"]
        bed = found[min(seed, len(found) - 1)]
        near, *far = (out for _, _, _, out in bed.setups)
        inside = np.flatnonzero(bed.setups[0][2])
        for shots in numbers:
            generator = np.random.default_rng([seed, shots])
            learned, validation, calibration, tested = divided(inside, bed.classes, shots, generator)
            yield SetUp(
                f"{data} {count}, {shots} shots",
                seed,
                bed,
                np.full(len(bed.images), -1),
                -1,
                learned,
                validation,
                calibration,
                {"": tested},
                {"near": [np.flatnonzero(near)], "far": [np.flatnonzero(one) for one in far]},
            )


def one_class_setups(seeds: range) -> Iterator[SetUp]:
    """One class of the Caltech features at a time, the three largest, against images of the other data."""
    bed = next(one for one in real_features(1) if one.name == "caltech, 52 classes")
    inside = bed.setups[0][2]
    sizes = np.bincount(bed.classes[inside])
    for seed, label in itertools.product(seeds, np.argsort(-sizes)[:3].tolist()):
        rows = np.flatnonzero(inside & (bed.classes == label))
        one = bed._replace(
            name=f"one class {label}", classes=np.where(bed.classes == label, 0, -1), text=bed.text[[label]]
        )
        learned, validation, calibration, tested = divided(
            rows, one.classes, 16, np.random.default_rng([seed, 16])
        )
        others = [np.flatnonzero(inside & (bed.classes != label))]
        far = [np.flatnonzero(out) for _, _, _, out in bed.setups[1:]]
        yield SetUp(
            "one class, 16 shots",
            seed,
            one,
            np.full(len(bed.images), -1),
            -1,
            learned,
            validation,
            calibration,
            {"": tested},
            {"near": others, "far": far},
        )


def photograph_setups(seeds: range, workspace: Path, numbers: Sequence[int]) -> Iterator[SetUp]:
    """Photographs and drawings, one domain left out: judged on the other domains, and on the one left out."""
    (bed,) = photographs(workspace)
    domain = np.full(len(bed.images), -1)
    for number, (_, _, inside, _) in enumerate(bed.setups):
        domain[inside] = number
    unknown = {"": [np.flatnonzero(bed.setups[0][3])]}
    for seed, held_out, shots in itertools.product(seeds, range(len(bed.setups)), numbers):
        source = np.flatnonzero((domain >= 0) & (domain != held_out))
        generator = np.random.default_rng([seed, held_out, shots])
        learned, validation, calibration, tested = divided(source, bed.classes, shots, generator)
        tests = {"source": tested, "held out": np.flatnonzero(domain == held_out)}
        yield SetUp(
            f"{PHOTOGRAPHS}, {shots} shots",
            seed,
            bed,
            domain,
            held_out,
            learned,
            validation,
            calibration,
            tests,
            unknown,
        )


def rows_of(setup: SetUp, rows: Indices) -> tuple[Rows, Indices, Indices]:
    """Features, classes and domains of some images."""
    return setup.bed.images[rows], setup.bed.classes[rows], setup.domain[rows]
