"""Hessians of the classification loss in each domain, at the learned context vectors of a detector and at their start.

That they are alike in different domains is what the source's argument for other domains needs **[source]**.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from deltaoe.clip.prompt_learner import PromptLearner
from deltaoe.clip.source import ModelSource
from deltaoe.errors import ConfigError, DeltaoeError
from deltaoe.evaluation.evaluate import EvaluationData
from deltaoe.evaluation.image_sets import domain_groups
from deltaoe.evaluation.options import EvaluateOptions
from deltaoe.functional.limits import CLIP_TEMPERATURE
from deltaoe.progress import Event, OnEvent
from deltaoe.runtime import generator
from deltaoe.scoring.detector import Detector
from deltaoe.theory.curvature import (
    Curvature,
    Estimate,
    curvature,
    gradients_and_products,
    rademacher,
)
from deltaoe.theory.rebuilding import rebuilt_learner
from deltaoe.theory.results import LEARNED, MEAN, START, Conclusion, Finding

MOST_IMAGES = 2048  # of one domain: their cosines with all prompts are held, several times over
_Z = 1.96

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _DomainImages:
    """The n images of d domains.

    Attributes:
        features: (n, D), their features.
        labels: (n,), their classes.
        rows: domain → its rows.
        shuffled: domain → as many rows, drawn from all domains: a partition by chance, to compare with.
    """

    features: npt.NDArray[np.float32]
    labels: Indices
    rows: Mapping[str, Indices]
    shuffled: Mapping[str, Indices]


@dataclass(frozen=True)
class _Measured:
    """Losses and gradient norms of d domains; the curvature of these d losses and then of d shuffled domains."""

    losses: list[float]
    gradients: list[float]
    curvature: Curvature


def hessians(
    data: EvaluationData, options: EvaluateOptions, probes: int, on: OnEvent
) -> tuple[list[Finding], list[Conclusion]]:
    """Findings on the Hessians of each tuned detector, and conclusions that say what was not measured, and why.

    Args:
        data: the detectors and the in-distribution images.
        options: the seed of the probes, and the model's device.
        probes: random probe vectors for each Hessian.
        on: called with progress.

    Raises:
        ConfigError: fewer than 1 probe.
        DataError, StoreError: images or features are missing.
    """
    if probes < 1:
        raise ConfigError(f"--probes must be at least 1, not {probes}")
    tuned = {name: detector for name, detector in data.detectors.items() if detector.tuned}
    if not tuned:
        return [], [_not_measured("no detector is tuned: zero-shot prompts have no context vectors")]
    findings: list[Finding] = []
    missing: list[Conclusion] = []
    # By classes and context: detectors of one seed share their start.
    measured: dict[tuple[tuple[str, ...], bytes], _Measured] = {}
    # (detector, LEARNED) → its measurement, of the detectors before the current one.
    earlier: dict[tuple[str, str], _Measured] = {}
    source: ModelSource | None = None
    for name, detector in tuned.items():
        images = _domain_images(data, detector, options.seed)
        if len(images.rows) < 2:
            reason = "the images are of one domain; give domain folders, or --shift NAME=DIR"
            missing.append(_not_measured(f"{name}: {reason}"))
            continue
        by_context: dict[tuple[str, str], _Measured] = {}
        for context in (START, LEARNED):
            try:
                source = source or _source(data, detector, options, on)
                clip = source.clip()
                learner = rebuilt_learner(clip, detector, start=context == START)
            except DeltaoeError as error:
                hint = f" ({error.hint})" if error.hint else ""
                missing.append(_not_measured(f"{name}, {context}: {error}{hint}"))
                continue
            key = detector.class_names, learner.context.detach().cpu().numpy().tobytes()
            if key not in measured:
                drawn = rademacher(probes, learner.context.numel(), generator(options.seed)).to(clip.device)
                stage = f"Hessians of {name}, {context}"
                measured[key] = _measure(learner, detector, images, drawn, on, stage)
            by_context[name, context] = measured[key]
            findings += _findings(name, context, images, measured[key])
        if (learned := by_context.pop((name, LEARNED), None)) is not None:
            findings += _changes(name, learned, by_context | earlier, len(images.rows))
            earlier[name, LEARNED] = learned
    return findings, missing


def _not_measured(why: str) -> Conclusion:
    """The conclusion that says why there is no Hessian."""
    return Conclusion("hessian", "not measured", why)


def _source(data: EvaluationData, detector: Detector, options: EvaluateOptions, on: OnEvent) -> ModelSource:
    """The model whose text tower the detector was tuned through: the evaluation's, or the one the detector names."""
    if str(data.source.ref) == detector.space.model:
        return data.source
    return ModelSource(options.model, data.workspace, detector.space.model, on=on, expected=detector.space)


def _domain_images(data: EvaluationData, detector: Detector, seed: int) -> _DomainImages:
    """The images of all domains of all in-distribution sets; a set without domains counts as one domain."""
    rng = np.random.default_rng(seed)
    features, labels, sizes = [], [], {}
    for set_name, image_set in data.id_sets.items():
        known = data.known(set_name, detector)
        whole_set = {set_name: np.ones(len(known.labels), dtype=bool)}
        for name, mask in (domain_groups(set_name, known.domains) or whole_set).items():
            rows = np.flatnonzero(mask)
            if len(rows) > MOST_IMAGES:
                rows = np.sort(rng.choice(rows, MOST_IMAGES, replace=False))
            features.append(image_set.store.features(known.digests[rows]))
            labels.append(known.labels[rows])
            sizes[name] = len(rows)
    ends = np.cumsum(list(sizes.values()))
    order = np.arange(ends[-1])
    shuffled = rng.permutation(len(order))

    def by_domain(rows: Indices) -> dict[str, Indices]:
        """Domain → as many of these rows as it has images, one domain after the other."""
        return dict(zip(sizes, np.split(rows, ends[:-1]), strict=True))

    return _DomainImages(
        np.concatenate(features), np.concatenate(labels), by_domain(order), by_domain(shuffled)
    )


def _measure(
    learner: PromptLearner,
    detector: Detector,
    images: _DomainImages,
    probes: Tensor,
    on: OnEvent,
    stage: str,
) -> _Measured:
    """Mean cross-entropy in each domain, its gradient and its Hessian in the context vectors, by probes (m, size)."""
    scale = detector.logit_scale or 1 / CLIP_TEMPERATURE
    device = learner.context.device
    features, labels = (torch.from_numpy(rows).to(device) for rows in (images.features, images.labels))
    # Fused attention kernels have no second derivative.
    with sdpa_kernel(SDPBackend.MATH):
        each = F.cross_entropy(scale * features @ learner().T, labels, reduction="none")
        groups = [*images.rows.values(), *images.shuffled.values()]
        losses = [each[torch.from_numpy(rows).to(device)].mean() for rows in groups]
        gradients, products = gradients_and_products(losses, learner.context)
        of_losses = curvature(products, probes, lambda done: on(Event(stage, done, len(probes))))
    count = len(images.rows)
    return _Measured(
        [float(loss.detach()) for loss in losses[:count]],
        [float(gradient.norm()) for gradient in gradients[:count]],
        of_losses,
    )


def _findings(name: str, context: str, images: _DomainImages, measured: _Measured) -> list[Finding]:
    """The numbers of each domain, of each pair of domains, and the means over all pairs."""
    names, estimates = list(images.rows), measured.curvature
    findings: list[Finding] = []
    for a, domain in enumerate(names):
        n = len(images.rows[domain])
        for quantity, value in (("loss", measured.losses[a]), ("gradient", measured.gradients[a])):
            findings.append(Finding("hessian", name, domain, "", context, quantity, value, n=n))
        for quantity, estimate in (("norm", estimates.norm(a)), ("trace", estimates.trace(a))):
            interval = _interval(estimate)
            findings.append(Finding("hessian", name, domain, "", context, quantity, *interval, n=n))
    pairs = _pairs(len(names))
    shuffled_pairs = [(len(names) + a, len(names) + b) for a, b in pairs]
    for (a, b), shuffled_pair in zip(pairs, shuffled_pairs, strict=True):
        for quantity, estimate in (
            ("distance", estimates.distance(a, b)),
            ("relative", estimates.relative_distance(a, b)),
            ("cosine", estimates.cosine(a, b)),
            ("shuffled", estimates.relative_distance(*shuffled_pair)),
        ):
            interval = _interval(estimate)
            findings.append(Finding("distance", name, names[a], names[b], context, quantity, *interval))
    for quantity, chosen in (("distance", pairs), ("relative", pairs), ("shuffled", shuffled_pairs)):
        mean = estimates.mean_distance(chosen, relative=quantity != "distance")
        findings.append(Finding("distance", name, MEAN, "", context, quantity, *_interval(mean)))
    return findings


def _changes(
    name: str, learned: _Measured, references: Mapping[tuple[str, str], _Measured], domains: int
) -> list[Finding]:
    """The mean distances of a learned context minus those of each reference, a (detector, context) of equal probes."""
    findings = []
    for reference, before in references.items():
        if before.curvature.grams.shape != learned.curvature.grams.shape:
            continue
        detector, context = reference
        at = f"{LEARNED} − {START if context == START else detector}"
        for quantity in ("distance", "relative"):
            change = learned.curvature.change_from(
                before.curvature, _pairs(domains), relative=quantity == "relative"
            )
            interval = _interval(change)
            findings.append(Finding("distance", name, MEAN, "", at, quantity, *interval, reference=reference))
    return findings


def _pairs(count: int) -> list[tuple[int, int]]:
    """All pairs of so many domains."""
    return list(itertools.combinations(range(count), 2))


def _interval(estimate: Estimate) -> tuple[float, float, float]:
    """The value and the ends of its 95 % interval over probes."""
    value, error = estimate
    return value, value - _Z * error, value + _Z * error
