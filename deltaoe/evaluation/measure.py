"""Scores of whole collections, and the numbers that say how good a detector is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from deltaoe.errors import DeltaoeError
from deltaoe.evaluation.options import KNOWN
from deltaoe.evaluation.results import MEAN, Measurement
from deltaoe.functional import conformal
from deltaoe.functional.bootstrap import detection_intervals
from deltaoe.functional.gallery import Gallery
from deltaoe.functional.limits import Positive
from deltaoe.functional.metrics import expected_calibration_error, proportion_interval
from deltaoe.functional.scores import CLIP_TEMPERATURE, SCORES, Evidence
from deltaoe.progress import Event, OnEvent
from deltaoe.scoring.detector import Detector
from deltaoe.store.feature_store import Digests, FeatureStore

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

# Numbers in one block of images × prompts.
_BLOCK = 1 << 24
_HALVINGS = 100


@dataclass(frozen=True)
class ScoredImages:
    """What a detector says of n images: score name → (n,), the class (n,), and its softmax probability (n,)."""

    scores: Mapping[str, Floats]
    classes: Indices
    confidence: Floats

    def part(self, rows: Indices) -> ScoredImages:
        """These images only."""
        scores = {name: values[rows] for name, values in self.scores.items()}
        return ScoredImages(scores, self.classes[rows], self.confidence[rows])

    def __len__(self) -> int:
        return len(self.classes)


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
    """All scores ``names`` of images (n, 32), block by block: no images × labels matrix is ever whole.

    Raises:
        ConfigError: a score needs what is not there.
        StoreError: a feature is missing or a shard cannot be read.
    """
    text, background, prompts, compared = (
        torch.from_numpy(np.ascontiguousarray(rows))
        for rows in (
            detector.text_features,
            detector.background.reshape(-1, detector.text_features.shape[1]),
            *detector.prompts,
        )
    )
    scale = detector.logit_scale or 1 / CLIP_TEMPERATURE
    n = len(digests)
    scores = {name: np.empty(n) for name in names}
    classes, confidence = np.empty(n, dtype=np.int64), np.empty(n)
    done = 0
    rows = max(64, min(4096, _BLOCK // (len(text) + len(background))))
    for part, features in store.blocks(digests, rows=rows):
        evidence = Evidence(torch.from_numpy(features), text, background, prompts, compared, gallery)
        for name in names:
            found = SCORES[name](evidence, detector.temperature, detector.top_c)
            scores[name][part] = found.double().numpy()
        shares = torch.softmax(scale * (evidence.features @ prompts.T).double(), dim=-1).max(dim=-1)
        classes[part], confidence[part] = shares.indices.numpy(), shares.values.numpy()
        done += len(part)
        on(Event(stage, done, n))
    return ScoredImages(scores, classes, confidence)


@dataclass(frozen=True)
class MeasureOptions:
    """How to grade: see the fields of the same names of ``EvaluateOptions``."""

    alpha: float
    draws: int
    seed: int
    positive: Positive

    def generator(self) -> np.random.Generator:
        """The same for every number, so that none depends on which others are asked for."""
        return np.random.default_rng(self.seed)


def measurements(
    detector: str,
    known: Mapping[str, tuple[ScoredImages, Indices, Mapping[str, npt.NDArray[np.bool_]]]],
    unknown: Mapping[str, ScoredImages],
    how: MeasureOptions,
) -> Iterator[Measurement]:
    """Every measurement of one detector.

    Args:
        detector: its name.
        known: name (``id`` first, then shifts) → what was seen, the true classes (n,), and masks of its domains.
        unknown: name → what was seen.
        how: how.
    """
    names = list(next(iter(known.values()))[0].scores)
    for name in names:
        for where, (seen, _, _) in known.items():
            yield from _detection(detector, name, where, seen, unknown, how)
    for where, (seen, truth, domains) in known.items():
        every = {"": np.ones(len(seen), dtype=bool), **(domains if len(domains) > 1 else {})}
        for domain, rows in every.items():
            yield from _classification(
                detector,
                f"{where}/{domain}" if domain else where,
                seen.part(np.flatnonzero(rows)),
                truth[rows],
            )
    for name in names:
        yield from _false_alarms(detector, name, {where: seen for where, (seen, _, _) in known.items()}, how)


def _detection(
    detector: str,
    score: str,
    where: str,
    seen: ScoredImages,
    unknown: Mapping[str, ScoredImages],
    how: MeasureOptions,
) -> Iterator[Measurement]:
    totals: dict[str, list[float]] = {}
    for out, other in unknown.items():
        found = detection_intervals(
            seen.scores[score],
            other.scores[score],
            generator=how.generator(),
            draws=how.draws,
            positive=how.positive,
        )
        for metric, interval in found.items():
            totals.setdefault(metric, []).append(interval.value)
            yield Measurement(detector, score, where, out, metric, *interval, len(seen), len(other))
    if len(unknown) > 1:
        count = sum(map(len, unknown.values()))
        for metric, values in totals.items():
            yield Measurement(
                detector,
                score,
                where,
                MEAN,
                metric,
                float(np.mean(values)),
                n_known=len(seen),
                n_unknown=count,
            )


def _classification(detector: str, where: str, seen: ScoredImages, truth: Indices) -> Iterator[Measurement]:
    right = seen.classes == truth
    hits, n = int(right.sum()), len(right)
    yield Measurement(detector, "", where, "", "accuracy", hits / n, *proportion_interval(hits, n), n_known=n)
    error = expected_calibration_error(seen.confidence, right)
    yield Measurement(detector, "", where, "", "ece", error, n_known=n)


def _false_alarms(
    detector: str, score: str, known: Mapping[str, ScoredImages], how: MeasureOptions
) -> Iterator[Measurement]:
    """Share of known images called unknown: one half of ``id`` calibrates, the other and all shifts are judged."""
    own = known[KNOWN].scores[score]
    half = len(own) // 2
    if half < conformal.images_needed(how.alpha):
        return
    rates: dict[str, list[float]] = {where: [] for where in known}
    generator = how.generator()
    for _ in range(_HALVINGS):
        order = generator.permutation(len(own))
        limit = conformal.threshold(own[order[:half]], how.alpha)
        assert limit is not None  # noqa: S101 - enough images, as was just looked
        for where, seen in known.items():
            judged = own[order[half:]] if where == KNOWN else seen.scores[score]
            rates[where].append(float(np.mean(judged < limit)))
    for where, values in rates.items():
        low, high = np.quantile(values, [0.025, 0.975])
        yield Measurement(
            detector,
            score,
            where,
            "",
            "false_alarms",
            float(np.mean(values)),
            float(low),
            float(high),
            n_known=len(known[where]),
        )


def possible_scores(
    names: Sequence[str], detector: Detector, *, gallery: bool
) -> tuple[list[str], list[str]]:
    """Which of these scores this detector can have, and sentences about those that it cannot."""
    have = {"background": len(detector.background) > 0, "gallery": gallery}
    chosen, notes = [], []
    for name in names:
        lacking = [need for need in SCORES[name].needs if not have[need]]
        if lacking:
            why = "no background labels" if lacking == ["background"] else "no images to compare with"
            notes.append(f"{SCORES[name].title}: left out, there are {why}")
        else:
            chosen.append(name)
    return chosen, notes


def error_sentence(error: DeltaoeError) -> str:
    """An error as a sentence for a table's notes."""
    return f"{error}" + (f" ({error.hint})" if error.hint else "")
