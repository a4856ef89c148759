"""Image evidence of a tuning: fitted on the shots, weighed on validation images, and compared with no tuning."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

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


def with_image_side(
    detector: Detector, data: TuningData, options: TuningOptions
) -> tuple[Detector, list[str]]:
    """A tuned detector with image evidence; and a sentence if tuning has brought nothing beside it.

    Args:
        detector: of the learned prompts, not calibrated.
        data: the images that it was tuned on.
        options: evidence and seed.
    """
    if options.evidence == "text":
        return detector, []
    images = labelled_images(data, options.seed)
    tuned = with_image_evidence(detector, images, options.evidence, untuned=data.zero_shot)
    if not len(data.validation) or not tuned.fused:
        return tuned, []
    plain = with_image_evidence(_untuned(detector, data), images, options.evidence)
    with_it, without = (measured_on_folds(one, images) for one in (tuned, plain))
    facts = {"tuned": dataclasses.asdict(with_it), "zero_shot": dataclasses.asdict(without)}
    shown = {
        name: {key: None if math.isnan(value) else round(value, 4) for key, value in one.items()}
        for name, one in facts.items()
    }
    tuned = dataclasses.replace(tuned, facts={**tuned.facts, COMPARISON: shown})
    if with_it.accuracy > without.accuracy or with_it.auroc > without.auroc:
        return tuned, []
    return tuned, [
        f"learned prompts bring nothing on these images: {with_it.accuracy:.1%} of the validation images are "
        f"classified right with them, {without.accuracy:.1%} with zero-shot prompts, and the AUROC against held-out "
        f"classes and shuffled features is {with_it.auroc:.3f} and {without.auroc:.3f}; "
        "deltaoe score --zero-shot does without them"
    ]


def _untuned(detector: Detector, data: TuningData) -> Detector:
    """The detector with zero-shot prompts of the same classes and background labels."""
    names = detector.background_names
    background: Rows = data.encode(names) if names else detector.background
    return dataclasses.replace(
        detector,
        text_features=data.zero_shot,
        energy_features=data.zero_shot[:0],
        background=background,
        context=None,
        class_context=None,
    )
