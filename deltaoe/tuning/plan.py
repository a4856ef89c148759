"""How many images a tuning learns from, validates with and calibrates with, known before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from deltaoe.functional.conformal import images_needed, smallest_alpha
from deltaoe.scoring.options import ALPHA

USUAL_SHOTS = 16
FEWEST_SHOTS = 8  # half of the usual ones: fewer are not suggested for the sake of validation images
MIN_CALIBRATION = 100  # images that must be left for calibration before any are set aside for validation
NEEDED = images_needed(ALPHA)  # calibration images with which an image can be called unknown at the usual α


@dataclass(frozen=True)
class Plan:
    """Numbers of distinct images by their use, as :func:`deltaoe.tuning.data.draw` draws them.

    Attributes:
        shots: images per class that were asked for.
        learned_from: images to learn from, of all classes.
        validation: images to compare tuned with zero-shot prompts on.
        calibration: images to calibrate with.
        unused: images that are none of these, because others were held out.
    """

    shots: int
    learned_from: int
    validation: int
    calibration: int
    unused: int = field(default=0, repr=False)

    @property
    def enough(self) -> bool:
        """Whether an image can be called unknown at the usual α."""
        return self.calibration >= NEEDED

    @property
    def smallest_alpha(self) -> float:
        """The smallest usable α, rounded up; 1 without calibration images."""
        return smallest_alpha(self.calibration)

    def sentence(self) -> str:
        """The numbers in words.

        Example:
            >>> print(plan([60, 60, 60], shots=16).sentence())
            Of 180 distinct images, 48 are learned from and 132 calibrate.
        """
        total = self.learned_from + self.validation + self.calibration + self.unused
        uses = [f"{self.learned_from} are learned from"]
        uses += [f"{self.unused} are not used"] if self.unused else []
        uses += [f"{self.validation} validate"] if self.validation else []
        found = f"Of {total} distinct images, {', '.join(uses)} and {self.calibration} calibrate"
        return f"{found}." if self.calibration else f"{found}; there is no usable α."


def plan(sizes: Sequence[int], shots: int, held_out: Sequence[int] = ()) -> Plan:
    """What a draw of this many shots leaves.

    As many images of each class as there are shots become validation images, provided that 100 or more images are left
    for calibration. Both come from what no shots are drawn of: from the images held out alone, where these are enough
    to calibrate.

    Args:
        sizes: number of distinct images of each class, those under two classes left out, as in
            :attr:`deltaoe.functional.sampling.FewShotSplit.available`.
        shots: shots per class, ≥ 1; a class with fewer images gives all it has.
        held_out: numbers of images of each class that are never shots; empty for none.

    Example:
        >>> plan([60, 60, 60], shots=8)
        Plan(shots=8, learned_from=24, validation=24, calibration=132)
        >>> plan([60, 60, 60], shots=8, held_out=[10, 10, 10])
        Plan(shots=8, learned_from=24, validation=0, calibration=30)
    """
    learned_from = sum(min(size, shots) for size in sizes)
    pool = list(held_out)
    if not held_out_alone(held_out):
        pool = [
            size - min(size, shots) + held for size, held in zip(sizes, pool or [0] * len(sizes), strict=True)
        ]
    both = sum(min(left, shots) for left in pool)
    validation = both if sum(pool) - both >= MIN_CALIBRATION else 0
    unused = sum(sizes) + sum(held_out) - learned_from - sum(pool)
    return Plan(shots, learned_from, validation, sum(pool) - validation, unused)


def held_out_alone(held_out: Sequence[int]) -> bool:
    """Whether images held out are enough to calibrate without others."""
    return sum(held_out) >= NEEDED


def best_plan(
    sizes: Sequence[int],
    most: int = USUAL_SHOTS,
    held_out: Sequence[int] = (),
    *,
    allow_fewer: bool = False,
) -> Plan | None:
    """The plan with the most shots, at most ``most``, that leaves enough images for the usual α; None if none does.

    Args:
        sizes: as for :func:`plan`.
        most: ≥ 1.
        held_out: as for :func:`plan`.
        allow_fewer: whether classes with fewer images than shots may give all they have.

    Example:
        >>> best_plan([20, 20, 20])
        Plan(shots=13, learned_from=39, validation=0, calibration=21)
    """
    smallest = min(sizes, default=0)
    if not smallest:
        return None
    for shots in range(most if allow_fewer else min(most, smallest), 0, -1):
        found = plan(sizes, shots, held_out)
        if found.enough:
            return found
    return None
