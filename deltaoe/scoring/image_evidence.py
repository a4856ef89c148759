"""Image evidence: class Gaussians fitted on labelled images, and how much each part of the verdict counts.

Nothing here sees a calibration image, so that p-values keep their promise.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from deltaoe.functional.folds import Fold, make_folds, shuffled_features
from deltaoe.functional.fusion import calibration_log_p_values, fusion_weights, log_p_values
from deltaoe.functional.gaussians import ClassGaussians
from deltaoe.functional.paired import placements
from deltaoe.functional.unit_rows import Rows
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import Evidence
from deltaoe.scoring.parts import PartValues, SideTensors, possible_parts
from deltaoe.scoring.sides import without_prompts

# Weight of each part before the folds are asked: the two sides count the same, and so do text alone and with images.
PRIOR = {"text": 1.0, "joint": 1.0, "images": 2.0}
# Weights of the discriminants that are tried: 0 is text alone. docs/explanation/evidence.md measures the usual one.
USUAL_WEIGHT = 0.02
IMAGE_WEIGHTS = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
# Images of a class, of which a third held out leaves a covariance like that of all.
_FEWEST_IMAGES = 3
# Images of a held-out domain from which ranks among them say something.
_FEWEST_SHIFTED = 4

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
# Rows of the known and of the unknown images of a fold, and their placements.
_Placed = tuple[tuple[Indices, Indices], tuple[Floats, Floats]]


@dataclass(frozen=True)
class LabelledImages:
    """n in-distribution images with their classes: shots, which are learned from, and validation images.

    Attributes:
        features: (n, D) float32, unit rows.
        classes: (n,) class index of each.
        domains: (n,) domain index of each, −1 for none.
        validation: (n,) True for images that nothing is fitted on.
        seed: of the folds.
    """

    features: Rows
    classes: Indices
    domains: Indices
    validation: npt.NDArray[np.bool_]
    seed: int = 0

    @classmethod
    def shots(cls, features: Rows, classes: Indices, domains: Indices | None = None) -> LabelledImages:
        """Images that are all learned from."""
        count = len(features)
        where = np.full(count, -1, dtype=np.int64) if domains is None else domains
        return cls(features, classes, where, np.zeros(count, dtype=np.bool_))

    @cached_property
    def gaussians(self) -> ClassGaussians:
        """The Gaussians of all shots."""
        return ClassGaussians.fit(self.features[~self.validation], self.classes[~self.validation])

    @cached_property
    def folds(self) -> list[tuple[Fold, ClassGaussians]]:
        """Folds, and the Gaussians of what each learns from: fitted once, whatever prompts they are asked with."""
        folds = make_folds(self.classes, self.domains, self.validation, np.random.default_rng(self.seed))
        return [
            (fold, ClassGaussians.fit(self.features[fold.train], self.truth(fold, fold.train)))
            for fold in folds
        ]

    def truth(self, fold: Fold, rows: Indices) -> Indices:
        """Classes of some images, as indices into the classes of a fold."""
        return np.searchsorted(fold.classes, self.classes[rows]).astype(np.int64)


@dataclass(frozen=True)
class Measured:
    """AUROC of the fused score on the folds; NaN where no fold has such images.

    Attributes:
        near: AUROC against images of held-out classes, mean over the folds.
        far: AUROC against shuffled features.
        influences: (n + m,), by how much each of n labelled images and m shuffled features moves :attr:`auroc`, to
            first order: two detectors' differ image by image (:mod:`deltaoe.functional.paired`).
    """

    near: float
    far: float
    influences: Floats

    @property
    def auroc(self) -> float:
        """Mean of the AUROCs that there are; NaN without any."""
        return _mean([value for value in (self.near, self.far) if not math.isnan(value)])


def with_image_evidence(
    detector: Detector,
    images: LabelledImages,
    evidence: Evidence = "auto",
    untuned: Rows | None = None,
) -> Detector:
    """The detector with class Gaussians, the weight of their discriminants, and the weights of the parts.

    Args:
        detector: its prompts and background are used; without prompts, images speak alone.
        images: images of the detector's classes, none of which may calibrate it.
        evidence: ``text`` leaves the detector as it is; ``images`` drops its prompts.
        untuned: (K, D) zero-shot text features, with which the weight of the discriminants is chosen: tuned ones
            were learned from the shots of every domain, so that none is unseen. None for the detector's own.

    Returns:
        The detector, not calibrated: its calibration must be computed anew.
    """
    if evidence == "text" or not len(images.features):
        return detector
    fitted = images.gaussians
    if evidence == "images":
        detector = without_prompts(detector)
    detector = dataclasses.replace(
        detector, means=fitted.means, mean_classes=fitted.classes, root=fitted.root, image_weight=0.0
    )
    parts = possible_parts(detector)
    if "text" not in parts:
        detector = without_prompts(detector)
    else:
        weight = _image_weight(detector if untuned is None else _with_text(detector, untuned), images)
        detector = dataclasses.replace(detector, image_weight=weight)
    prior = [PRIOR[part] for part in parts]
    pairs = list(_pairs(detector, images, parts)) if len(parts) > 1 else []
    return dataclasses.replace(
        detector,
        parts=parts,
        part_weights=fusion_weights(pairs, prior),
        calibration=np.empty(0),
        calibration_classes=np.zeros(0, dtype=np.int64),
        part_calibration=np.zeros((0, len(parts))),
    )


def _with_text(detector: Detector, text: Rows) -> Detector:
    """The detector with other class prompts."""
    return dataclasses.replace(detector, text_features=text, energy_features=text[:0])


def _image_weight(detector: Detector, images: LabelledImages) -> float:
    """The weight of the discriminants, by accuracy on held-out images and on held-out domains **[derived]**.

    Among the weights whose accuracy, the mean over both, is within one standard error of the best, it is the one
    nearest to the usual weight; neither accuracy may fall below that of text alone. 0 if half of the classes or more
    have too few images.
    """
    sizes = np.bincount(images.classes[~images.validation])
    if not images.validation.any() and np.median(sizes[sizes > 0]) < _FEWEST_IMAGES:
        return 0.0
    right: dict[str, list[npt.NDArray[np.bool_]]] = {}
    for fold, fitted in images.folds:
        one = _of_fold(detector, fold, fitted)
        sides = SideTensors(one, (), one.prompts)
        for kind, rows in (("known", fold.known), ("shifted", fold.shifted)):
            if not len(rows):
                continue
            hits = sides.predicted(images.features[rows], IMAGE_WEIGHTS) == images.truth(fold, rows)
            right.setdefault(kind, []).append(hits)
    if not right:
        return 0.0
    kinds = [np.concatenate(hits, axis=1) for hits in right.values()]
    accuracy = np.stack([hits.mean(axis=1) for hits in kinds])
    allowed = (accuracy >= accuracy[:, :1]).all(axis=0)
    mean = np.where(allowed, accuracy.mean(axis=0), -1.0)
    best = mean.max()
    error = math.sqrt(best * (1 - best) / sum(hits.shape[1] for hits in kinds))
    near = np.flatnonzero(mean >= best - error)
    return IMAGE_WEIGHTS[int(near[np.argmin(np.abs(near - IMAGE_WEIGHTS.index(USUAL_WEIGHT)))])]


def _of_fold(detector: Detector, fold: Fold, fitted: ClassGaussians) -> Detector:
    """The detector of a fold's classes, with the Gaussians of the images that the fold learns from."""
    text, energy = detector.text_features, detector.energy_features
    return dataclasses.replace(
        detector,
        class_names=tuple(detector.class_names[i] for i in fold.classes.tolist()),
        text_features=text[fold.classes] if len(text) else text,
        energy_features=energy[fold.classes] if len(energy) else energy,
        top_c=min(detector.top_c, len(fold.classes)),
        means=fitted.means,
        mean_classes=fitted.classes,
        root=fitted.root,
    )


def _pairs(
    detector: Detector, images: LabelledImages, parts: tuple[str, ...]
) -> Iterator[tuple[Floats, Floats]]:
    """Log p-values of in-distribution and of pseudo-out-of-distribution images, for each fold and kind of both.

    Images of held-out classes stand for near, shuffled features for far out-of-distribution images; each within the
    domains learned from, and within the held-out domain.
    """
    generator = np.random.default_rng(images.seed)
    for fold, fitted in images.folds:
        one = _of_fold(detector, fold, fitted)
        sides = SideTensors(one, parts, one.prompts)

        def values(features: Rows, sides: SideTensors = sides) -> Floats:
            found: PartValues = sides(features)
            return found.values

        known = images.features[fold.known]
        calibration = values(known)
        own = calibration_log_p_values(calibration)
        for inside, outside in ((fold.known, fold.unknown), (fold.shifted, fold.shifted_unknown)):
            rows = images.features[inside]
            if len(rows) < (1 if inside is fold.known else _FEWEST_SHIFTED):
                continue
            ranks = own if inside is fold.known else log_p_values(values(rows), calibration)
            for others in (images.features[outside], shuffled_features(rows, generator)):
                if len(others):
                    yield ranks, log_p_values(values(others), calibration)


def measured_on_folds(detector: Detector, images: LabelledImages) -> Measured:
    """AUROC against pseudo-out-of-distribution images of a detector with image evidence.

    Args:
        detector: its prompts, weights and parts are used; its Gaussians are fitted anew in every fold.
        images: as for :func:`with_image_evidence`.
    """
    # For near and for far: the rows of both sides among all images, and their placements, fold by fold.
    found: tuple[list[_Placed], list[_Placed]] = ([], [])
    generator = np.random.default_rng(images.seed)
    count = len(images.features)
    for fold, fitted in images.folds:
        one = _of_fold(detector, fold, fitted)
        sides = SideTensors(one, one.parts, one.prompts)
        known = images.features[fold.known]
        values = sides(known).values
        score = calibration_log_p_values(values) @ one.part_weights
        shuffled = shuffled_features(known, generator)
        rows_of_shuffled = np.arange(count, count + len(shuffled))
        count += len(shuffled)
        outside = ((fold.unknown, images.features[fold.unknown]), (rows_of_shuffled, shuffled))
        for target, (rows, features) in zip(found, outside, strict=True):
            if len(rows):
                others = log_p_values(sides(features).values, values) @ one.part_weights
                target.append(((fold.known, rows), placements(score, others)))
    near, far = ([float(np.mean(inside)) for _, (inside, _) in target] for target in found)
    influences = np.zeros(count)
    kinds = [target for target in found if target]
    for target in kinds:
        for rows_of_sides, placed in target:
            for where, share in zip(rows_of_sides, placed, strict=True):
                influences[where] += (share - share.mean()) / (len(share) * len(target) * len(kinds))
    return Measured(_mean(near), _mean(far), influences)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan
