"""The values that make a detector: what its file holds, and what its methods compute with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.store.feature_space import FeatureSpace

# Names of the parts that a score can be fused from (:mod:`deltaoe.scoring.parts`).
PARTS = ("text", "joint", "images")
# The same in words, for people.
PART_WORDS = {"text": "text", "joint": "both together", "images": "images"}
# docs/explanation/evidence.md has the measurements behind it.
JOINT_WEIGHT = 0.02
# The fact that compares a detector with zero-shot prompts on validation images: ``tuned`` and ``zero_shot``, each with
# ``accuracy``, ``near`` (AUROC against held-out classes) and ``far`` (against shuffled features).
COMPARISON = "with_and_without_tuning"


class ScoreName(NamedTuple):
    """What a score is called.

    Attributes:
        key: for programs.
        words: for people.
        unit: of its values; empty if they have none.
    """

    key: str
    words: str
    unit: str = ""


DELTA_ENERGY = ScoreName("delta_energy", "ΔEnergy", "cosine units")
FUSED = ScoreName("fused", "fused score")
NEGATIVE_DISTANCE = ScoreName("mahalanobis", "negative squared Mahalanobis distance")


def _no_rows(width: int, kind: type[np.generic]) -> npt.NDArray[Any]:
    """An empty array (0, ``width``)."""
    return np.zeros((0, width), dtype=kind)


@dataclass(frozen=True)
class DetectorFields:
    """The fields of a :class:`deltaoe.scoring.detector.Detector`.

    Attributes:
        class_names: K names.
        text_features: (K, D) float32, unit rows, in the order of ``class_names``: the prompts that images are
            classified with.
        temperature: τ of ΔEnergy, cosine units.
        top_c: c of ΔEnergy.
        calibration: (n,) float64, ascending: scores of held-out in-distribution images, which were used neither as
            shots nor to choose settings.
        energy_features: (K, D) float32, unit rows: the prompts that ΔEnergy is computed with; empty if they are
            ``text_features``.
        space: the image feature space that the prompts belong to.
        logit_scale: CLIP's factor on cosines during tuning; 0 if it was not tuned.
        context: (length, width) float32, learned context vectors, or (K, length, width) for one context per class;
            None for zero-shot prompts. It is the context of the energy prompts and of the background.
        class_context: as ``context``, the learned context vectors of ``text_features``; None if they are ``context``.
        background: (M, D) float32, unit rows: text features of background labels, over which the energies are
            computed as well **[derived]** (docs/explanation/method.md, "Background labels"); M = 0 for the score of
            the paper.
        background_names: M names.
        centre: (D,) float32, the vector that is subtracted from all prompts before they are compared with images
            (:func:`deltaoe.functional.text_features.centred`); empty if prompts are not centred.
        shots: (S, 32) uint8, digests of the images that it was tuned on, which it must not be evaluated on.
        means: (C, D) float32, mean image feature of each class with images to learn from; empty without image
            evidence.
        mean_classes: (C,) int64, ascending: the class of each mean.
        root: (D, D) float32, W with W Wᵀ = Σ⁻¹ of the covariance Σ that all classes share; empty without means.
        image_weight: weight w ≥ 0 of the Gaussian discriminants in the logits of the classes.
        joint_weight: weight u ≥ 0 of the discriminants in the joint part, whatever w is: w follows the accuracy, which
            easy classes leave flat.
        parts: names of the parts that the score is fused from, in :data:`PARTS`; empty if the
            score is ΔEnergy alone.
        part_weights: (P,) float64, weight of each part, ≥ 0 with the sum 1.
        part_calibration: (n, P) float64, value of each part for the calibration images, in the order of
            ``calibration``.
        calibration_classes: (n,) int64, predicted classes of the calibration images, in the order of
            ``calibration``; empty if they are not known.
        settings: all options and seeds that it was made with, JSON values.
        facts: losses, counts and other measurements made while it was made, JSON values.
    """

    class_names: tuple[str, ...]
    text_features: npt.NDArray[np.float32]
    temperature: float
    top_c: int
    calibration: npt.NDArray[np.float64]
    space: FeatureSpace
    logit_scale: float
    context: npt.NDArray[np.float32] | None = None
    background: npt.NDArray[np.float32] = field(default_factory=lambda: _no_rows(0, np.float32))
    background_names: tuple[str, ...] = ()
    centre: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    shots: npt.NDArray[np.uint8] = field(default_factory=lambda: _no_rows(32, np.uint8))
    class_context: npt.NDArray[np.float32] | None = None
    energy_features: npt.NDArray[np.float32] = field(default_factory=lambda: _no_rows(0, np.float32))
    means: npt.NDArray[np.float32] = field(default_factory=lambda: _no_rows(0, np.float32))
    mean_classes: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    root: npt.NDArray[np.float32] = field(default_factory=lambda: _no_rows(0, np.float32))
    image_weight: float = 0.0
    joint_weight: float = JOINT_WEIGHT
    parts: tuple[str, ...] = ()
    part_weights: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    part_calibration: npt.NDArray[np.float64] = field(default_factory=lambda: _no_rows(0, np.float64))
    calibration_classes: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    settings: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_one_side(self) -> bool:
        """Whether classes and score come from the same prompts alone, without image evidence."""
        return not self.parts and not len(self.energy_features) and not len(self.means)
