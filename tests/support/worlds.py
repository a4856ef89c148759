"""Made-up worlds of text and image features, in which it is known which of the two tells classes apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from samples import make_detector

from deltaoe.scoring.detector import Detector

DIM = 8


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class World:
    """Classes whose images lie around centres, and whose prompts lie near these centres, or anywhere.

    Attributes:
        centres: (K, D) where the images of each class lie.
        text: (K, D) float32, unit rows, its prompts.
        spread: how far images lie from their centres.
    """

    centres: np.ndarray
    text: np.ndarray
    spread: float

    @classmethod
    def of(
        cls,
        classes: int = 6,
        *,
        text_tells: bool = True,
        images_tell: bool = True,
        cone: float = 7,
        seed: int = 0,
    ) -> World:
        """Prompts that see the classes or are noise; images that differ between classes, or hardly.

        As in CLIP, prompts are close to each other and far from the images: they share ``cone`` times what they differ
        by.
        """
        rng = np.random.default_rng(seed)
        centres = unit(rng.normal(size=(classes, DIM)))
        seen = centres if text_tells else unit(rng.normal(size=(classes, DIM)))
        text = unit(cone * unit(rng.normal(size=(1, DIM))) + seen)
        return cls(centres, text, 0.1 if images_tell else 0.45)

    def images(self, per_class: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Images (n, D) and their classes (n,)."""
        rng = np.random.default_rng(seed)
        classes = np.repeat(np.arange(len(self.centres)), per_class)
        rows = self.centres[classes] + self.spread * rng.normal(size=(len(classes), DIM))
        return unit(rows), classes

    def detector(self, **changes: object) -> Detector:
        """Of its prompts, nothing fitted or calibrated."""
        values = {"text_features": self.text, "calibration": 0, "top_c": 1, "context": None}
        return make_detector(len(self.centres), DIM, **(values | changes))
