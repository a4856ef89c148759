"""How many images a tuning learns from, validates with and calibrates with, known before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deltaoe.functional.conformal import images_needed, smallest_alpha
from deltaoe.scoring.options import ALPHA

USUAL_SHOTS = 16
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
    """

    shots: int
    learned_from: int
    validation: int
    calibration: int

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
        total = self.learned_from + self.validation + self.calibration
        uses = [f"{self.learned_from} are learned from"]
        uses += [f"{self.validation} validate"] if self.validation else []
        found = f"Of {total} distinct images, {', '.join(uses)} and {self.calibration} calibrate"
        return f"{found}." if self.calibration else f"{found}; there is no usable α."


def plan(sizes: Sequence[int], shots: int) -> Plan:
    """What a draw of this many shots leaves.

    As many images of each class as there are shots become validation images, provided that 100 or more images are left
    for calibration.

    Args:
        sizes: number of distinct images of each class, those under two classes left out, as in
            :attr:`deltaoe.functional.sampling.FewShotSplit.available`.
        shots: shots per class, ≥ 1; a class with fewer images gives all it has.

    Example:
        >>> plan([60, 60, 60], shots=8)
        Plan(shots=8, learned_from=24, validation=24, calibration=132)
    """
    learned_from = sum(min(size, shots) for size in sizes)
    both = sum(min(size, 2 * shots) for size in sizes)
    total = sum(sizes)
    validation = both - learned_from if total - both >= MIN_CALIBRATION else 0
    return Plan(shots, learned_from, validation, total - learned_from - validation)


def best_plan(sizes: Sequence[int], most: int = USUAL_SHOTS, *, allow_fewer: bool = False) -> Plan | None:
    """The plan with the most shots, at most ``most``, that leaves enough images for the usual α; None if none does.

    Args:
        sizes: as for :func:`plan`.
        most: ≥ 1.
        allow_fewer: whether classes with fewer images than shots may give all they have.

    Example:
        >>> best_plan([20, 20, 20])
        Plan(shots=13, learned_from=39, validation=0, calibration=21)
    """
    smallest = min(sizes, default=0)
    if not smallest:
        return None
    for shots in range(most if allow_fewer else min(most, smallest), 0, -1):
        found = plan(sizes, shots)
        if found.enough:
            return found
    return None
