"""Scores of image sets, and the metrics of a detector with their intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from deltaoe.evaluation.image_sets import domain_groups
from deltaoe.evaluation.options import KNOWN, VERDICT
from deltaoe.evaluation.results import MEAN, Measurement
from deltaoe.functional import conformal
from deltaoe.functional.bootstrap import detection_intervals
from deltaoe.functional.gallery import Gallery
from deltaoe.functional.limits import CLIP_TEMPERATURE, Positive
from deltaoe.functional.metrics import expected_calibration_error, proportion_interval
from deltaoe.functional.scores import SCORES, Evidence
from deltaoe.progress import Event, OnEvent
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.parts import SideTensors
from deltaoe.store.feature_store import Digests, FeatureStore

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# Name → title of every score that can be measured, in the order of tables.
TITLES: Mapping[str, str] = {VERDICT: "Verdict", **{name: score.title for name, score in SCORES.items()}}
# Need of a score → end of the sentence that it is left out.
_MISSING = {
    "text": " for a detector without prompts",
    "gallery": ", there are no images to compare with",
    "background": ", there are no background labels; --background imagenet or FILE names some",
    VERDICT: " for a detector without image evidence, which decides by ΔEnergy",
}

# Numbers in one block of images × (prompts and gallery).
_BLOCK = 1 << 24
# Random halvings of the in-distribution images into calibration and test images.
_HALVINGS = 100


@dataclass(frozen=True)
class ScoredImages:
    """What a detector computes for n images.

    Attributes:
        scores: score name → (n,), higher = more in-distribution.
        classes: (n,), the predicted class.
        confidence: (n,), its softmax probability.
    """

    scores: Mapping[str, Floats]
    classes: Indices
    confidence: Floats

    def part(self, rows: Indices) -> ScoredImages:
        """The images of these rows only."""
        scores = {name: values[rows] for name, values in self.scores.items()}
        return ScoredImages(scores, self.classes[rows], self.confidence[rows])

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True)
class LabelledScores:
    """What a detector computes for n in-distribution images, beside the truth.

    Attributes:
        scored: of these images.
        labels: (n,), their true classes.
        domains: name → (n,) mask of the images of that domain; empty where domains are not measured.
    """

    scored: ScoredImages
    labels: Indices
    domains: Mapping[str, npt.NDArray[np.bool_]]


@torch.inference_mode()
def score_images(
    detector: Detector,
    store: FeatureStore,
    digests: Digests,
    names: Sequence[str],
    gallery: Gallery | None,
    on: OnEvent,
    stage: str,
) -> ScoredImages:
    """Scores of images, block by block: no matrix of all images × labels, or × gallery, is held.

    Classes are those of :meth:`Detector.predict`. Scores of text are computed with the detector's energy prompts.

    Args:
        detector: its prompts, background, τ, c and image evidence are used.
        store: holds the features of the images.
        digests: (n, 32), the images.
        names: scores, in :data:`TITLES`.
        gallery: for the scores that need one; None if none is among ``names``.
        on: called with progress.
        stage: the name of this progress.

    Raises:
        ConfigError: a score needs prompts, background labels or a gallery, and there is none.
        StoreError: a feature is missing or a shard cannot be read.
    """
    own = detector.energy_features if len(detector.energy_features) else detector.text_features
    text, background, prompts, compared_background = (
        torch.from_numpy(np.ascontiguousarray(rows))
        for rows in (own, detector.background.reshape(-1, own.shape[1]), *detector.prompts)
    )
    sides = SideTensors(detector, detector.parts if VERDICT in names else (), detector.prompts)
    scale = detector.logit_scale or 1 / CLIP_TEMPERATURE
    n = len(digests)
    scores = {name: np.empty(n) for name in names}
    classes, confidence = np.empty(n, dtype=np.int64), np.empty(n)
    done = 0
    columns = len(text) + len(background) + (len(gallery) if gallery is not None else 0)
    block = max(64, min(4096, _BLOCK // max(columns, 1)))
    for rows, features in store.blocks(digests, rows=block):
        evidence = Evidence(
            torch.from_numpy(features), text, background, prompts, compared_background, gallery
        )
        found = sides(features, logit_scale=scale)
        for name in names:
            scores[name][rows] = (
                detector.fused_scores(found.values)
                if name == VERDICT
                else SCORES[name](evidence, detector.temperature, detector.top_c).double().numpy()
            )
        classes[rows], confidence[rows] = found.labels[:, 0], found.confidence
        done += len(rows)
        on(Event(stage, done, n))
    return ScoredImages(scores, classes, confidence)


@dataclass(frozen=True)
class MeasureOptions:
    """How metrics and intervals are computed.

    Attributes:
        alpha: accepted share of false alarms.
        draws: bootstrap draws; 0 for no intervals.
        seed: of the bootstrap and of the calibration splits.
        positive: the class that is positive in FPR@95.
    """

    alpha: float
    draws: int
    seed: int
    positive: Positive

    def generator(self) -> np.random.Generator:
        """A generator in the same state for every metric, so that none depends on which others are computed."""
        return np.random.default_rng(self.seed)


def measurements(
    detector: str,
    known: Mapping[str, LabelledScores],
    unknown: Mapping[str, ScoredImages],
    options: MeasureOptions,
) -> Iterator[Measurement]:
    """Every metric of one detector: detection, classification and false alarms.

    Args:
        detector: its name.
        known: name → in-distribution images; :data:`~deltaoe.evaluation.options.KNOWN` is the first, then shifts.
        unknown: name → out-of-distribution images.
        options: of the metrics and intervals.
    """
    scored = {name: labelled.scored for name, labelled in known.items()}
    scores = list(next(iter(scored.values())).scores)
    for score in scores:
        for name, images in scored.items():
            yield from _detection(detector, score, name, images, unknown, options)
    for name, labelled in known.items():
        groups = {name: np.ones(len(labelled.scored), dtype=bool), **domain_groups(name, labelled.domains)}
        for group, mask in groups.items():
            part = labelled.scored.part(np.flatnonzero(mask))
            yield from _classification(detector, group, part, labelled.labels[mask])
    for score in scores:
        yield from _false_alarms(detector, score, scored, options)


def _detection(
    detector: str,
    score: str,
    known: str,
    id_images: ScoredImages,
    unknown: Mapping[str, ScoredImages],
    options: MeasureOptions,
) -> Iterator[Measurement]:
    """AUROC, FPR@95 and AUPR against each out-of-distribution set, and their means over the sets if there are more."""
    values: dict[str, list[float]] = {}
    for name, ood_images in unknown.items():
        intervals = detection_intervals(
            id_images.scores[score],
            ood_images.scores[score],
            generator=options.generator(),
            draws=options.draws,
            positive=options.positive,
        )
        for metric, interval in intervals.items():
            values.setdefault(metric, []).append(interval.value)
            yield Measurement(
                detector, score, known, name, metric, *interval, len(id_images), len(ood_images)
            )
    if len(unknown) > 1:
        count = sum(map(len, unknown.values()))
        for metric, each in values.items():
            mean = float(np.mean(each))
            yield Measurement(
                detector, score, known, MEAN, metric, mean, n_known=len(id_images), n_unknown=count
            )


def _classification(
    detector: str, known: str, images: ScoredImages, labels: Indices
) -> Iterator[Measurement]:
    """Accuracy with Wilson's interval, and the expected calibration error."""
    correct = images.classes == labels
    hits, n = int(correct.sum()), len(correct)
    yield Measurement(detector, "", known, "", "accuracy", hits / n, *proportion_interval(hits, n), n_known=n)
    error = expected_calibration_error(images.confidence, correct)
    yield Measurement(detector, "", known, "", "ece", error, n_known=n)


def _false_alarms(
    detector: str, score: str, known: Mapping[str, ScoredImages], options: MeasureOptions
) -> Iterator[Measurement]:
    """Share of in-distribution images called unknown at ``alpha``: mean and 95 % range over random halvings of ``id``.

    One half of ``id`` calibrates the threshold; it is applied to the other half and to all shifts. Nothing where half
    of ``id`` is too small to calibrate.
    """
    id_scores = known[KNOWN].scores[score]
    half = len(id_scores) // 2
    if half < conformal.images_needed(options.alpha):
        return
    rates: dict[str, list[float]] = {name: [] for name in known}
    generator = options.generator()
    for _ in range(_HALVINGS):
        order = generator.permutation(len(id_scores))
        threshold = conformal.threshold(id_scores[order[:half]], options.alpha)
        assert threshold is not None  # noqa: S101 - images_needed says that there are enough
        for name, images in known.items():
            test_scores = id_scores[order[half:]] if name == KNOWN else images.scores[score]
            rates[name].append(float(np.mean(test_scores < threshold)))
    for name, values in rates.items():
        low, high = map(float, np.quantile(values, [0.025, 0.975]))
        mean, n = float(np.mean(values)), len(known[name])
        yield Measurement(detector, score, name, "", "false_alarms", mean, low, high, n_known=n)


def possible_scores(
    names: Sequence[str], detector: Detector, *, gallery: bool
) -> tuple[list[str], list[str]]:
    """Which of these scores can be computed for a detector, and a sentence about the others for each reason.

    Args:
        names: scores, in :data:`TITLES`; empty for all.
        detector: has prompts, background labels and image evidence, or not.
        gallery: whether there is one.
    """
    available = {
        "text": len(detector.text_features) > 0,
        "gallery": gallery,
        "background": len(detector.background) > 0,
        VERDICT: has_verdict(detector),
    }
    possible: list[str] = []
    left_out: dict[str, list[str]] = {}
    for name in names or TITLES:
        needs = {VERDICT} if name == VERDICT else SCORES[name].needs
        missing = [need for need, there in available.items() if need in needs and not there]
        if not missing:
            possible.append(name)
        elif names or missing != [VERDICT]:  # no note on a verdict that nobody has asked for
            left_out.setdefault(missing[0], []).append(TITLES[name])
    return possible, [f"{', '.join(titles)}: left out{_MISSING[need]}" for need, titles in left_out.items()]


def has_verdict(detector: Detector) -> bool:
    """Whether a detector has a score beside ΔEnergy: that of images, or one fused with the ranks of its calibration."""
    return len(detector.parts) > 0 and (not detector.fused or len(detector.part_calibration) > 0)
