"""Image evidence of a tuning: fitted on the shots, weighed on validation images, and compared with no tuning."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from deltaoe.functional.paired import accuracy_difference, interval_of_influences
from deltaoe.functional.unit_rows import Rows
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.detector_fields import COMPARISON
from deltaoe.scoring.image_evidence import LabelledImages, measured_on_folds, with_image_evidence
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_store import FeatureStore
from deltaoe.tuning.data import Draw, TuningData
from deltaoe.tuning.options import TuningOptions


def labelled_images(data: TuningData, seed: int) -> LabelledImages:
    """Shots, without their augmented views, and validation images."""
    shots = data.shots.features[0]
    return LabelledImages(
        features=np.concatenate([shots, data.validation]),
        classes=np.concatenate([data.shots.classes, data.validation_classes]),
        domains=np.concatenate([data.domains, data.validation_domains]),
        validation=np.arange(len(shots) + len(data.validation)) >= len(shots),
        seed=seed,
    )


def drawn_images(data: DataSet, store: FeatureStore, drawn: Draw, seed: int) -> LabelledImages:
    """Shots and validation images of a draw. Raises StoreError if a feature is missing or a shard cannot be read."""
    rows = np.concatenate([drawn.split.shots, drawn.validation])
    return LabelledImages(
        features=store.features(data.digests[rows]),
        classes=data.class_of[rows],
        domains=data.domain_of[rows],
        validation=np.arange(len(rows)) >= len(drawn.split.shots),
        seed=seed,
    )


def with_image_side(detector: Detector, data: TuningData, options: TuningOptions) -> Detector:
    """A tuned detector with image evidence, and with the comparison to zero-shot prompts among its facts.

    Args:
        detector: of the learned prompts, not calibrated.
        data: the images that it was tuned on.
        options: evidence and seed.
    """
    images = labelled_images(data, options.seed)
    tuned = with_image_evidence(detector, images, options.evidence, untuned=data.zero_shot)
    if not len(data.validation):
        return tuned
    if tuned.fused:
        plain = with_image_evidence(_untuned(detector, data), images, options.evidence)
    else:  # only accuracy can be compared, which does not depend on the background
        plain = _with_text(tuned, data.zero_shot)
    return dataclasses.replace(tuned, facts={**tuned.facts, COMPARISON: _comparison(images, tuned, plain)})


def with_validation(detector: Detector, images: LabelledImages) -> Detector:
    """A detector without learned prompts, with what validation images say of it among its facts, if there are any."""
    if not images.validation.any():
        return detector
    return dataclasses.replace(
        detector, facts={**detector.facts, COMPARISON: _comparison(images, detector, None)}
    )


def _comparison(images: LabelledImages, tuned: Detector, plain: Detector | None) -> dict[str, Any]:
    """What validation images say of a detector, beside one with zero-shot prompts if that is given, as JSON values.

    ``images`` is their number. ``tuned`` and ``zero_shot`` have the accuracy on them, and the AUROCs ``near`` and
    ``far`` of the folds, null where they are not measured. ``accuracy_difference`` and ``auroc_difference`` are
    [difference, low, high], tuned minus zero-shot, on the same images.
    """
    detectors = {"tuned": tuned} | ({} if plain is None else {"zero_shot": plain})
    rows, classes = images.features[images.validation], images.classes[images.validation]
    right = {name: one.part_values(rows).labels[:, 0] == classes for name, one in detectors.items()}
    # Ranks among the folds' images are of fused scores.
    folds = {name: measured_on_folds(one, images) for name, one in detectors.items() if one.fused}
    found: dict[str, Any] = {"images": len(rows)}
    for name in detectors:
        near, far = (folds[name].near, folds[name].far) if name in folds else (math.nan, math.nan)
        found[name] = {"accuracy": _rounded(right[name].mean()), "near": _rounded(near), "far": _rounded(far)}
    if plain is not None:
        difference = accuracy_difference(right["tuned"], right["zero_shot"])
        found["accuracy_difference"] = [_rounded(end) for end in difference]
        if len(folds) == len(detectors) and not math.isnan(folds["tuned"].auroc):
            one, other = folds["tuned"], folds["zero_shot"]
            between = interval_of_influences(one.auroc - other.auroc, one.influences - other.influences)
            found["auroc_difference"] = [_rounded(end) for end in between]
    return found


def _rounded(value: float) -> float | None:
    """A number with six decimals; None for NaN."""
    return None if math.isnan(value) else round(float(value), 6)


def _untuned(detector: Detector, data: TuningData) -> Detector:
    """The detector with zero-shot prompts of the same classes and background labels."""
    names = detector.background_names
    background: Rows = data.encode(names) if names else detector.background
    plain = _with_text(detector, data.zero_shot)
    return dataclasses.replace(plain, background=background)


def _with_text(detector: Detector, text: Rows) -> Detector:
    """The detector with other prompts, which were not learned."""
    return dataclasses.replace(
        detector, text_features=text, energy_features=text[:0], context=None, class_context=None
    )
