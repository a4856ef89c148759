"""The Hessian of the classification loss in each domain, at a tuned detector's context and at its start."""

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
from deltaoe.evaluation.measure import error_sentence
from deltaoe.evaluation.options import EvaluateOptions
from deltaoe.functional.scores import CLIP_TEMPERATURE
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
from deltaoe.theory.results import Conclusion, Finding

START, LEARNED, MEAN = "start", "learned", "mean"
MOST_IMAGES = 2048  # of one domain: their cosines with all prompts are held, several times over
_Z = 1.96


@dataclass(frozen=True)
class _Domains:
    """Images of d domains: features (n, D), classes (n,), and name → rows; beside each a domain of shuffled images."""

    features: npt.NDArray[np.float32]
    truth: npt.NDArray[np.int64]
    rows: Mapping[str, npt.NDArray[np.int64]]
    shuffled: Mapping[str, npt.NDArray[np.int64]]


@dataclass(frozen=True)
class _Measured:
    """Losses and gradient norms of d domains, and the curvature of them and of d shuffled ones behind them."""

    losses: list[float]
    gradients: list[float]
    curvature: Curvature


def hessians(
    stage: EvaluationData, options: EvaluateOptions, probes: int, on: OnEvent
) -> tuple[list[Finding], list[Conclusion]]:
    """Findings for each tuned detector, and why there are none where there are none.

    Raises:
        ConfigError: fewer than 1 probe.
        DataError, StoreError: images or features are missing.
    """
    if probes < 1:
        raise ConfigError(f"--probes must be at least 1, not {probes}")
    tuned = {name: detector for name, detector in stage.detectors.items() if detector.tuned}
    if not tuned:
        return [], [_refused("no detector is tuned: zero-shot prompts have no context vectors")]
    findings: list[Finding] = []
    refused: list[Conclusion] = []
    seen: dict[tuple[tuple[str, ...], bytes], _Measured] = {}  # detectors of one seed share their start
    others: dict[str, _Measured] = {}
    source: ModelSource | None = None
    for name, detector in tuned.items():
        domains = _gather(stage, detector, options.seed)
        if len(domains.rows) < 2:
            reason = "the images are of one domain; give domain folders, or --shift NAME=DIR"
            refused.append(_refused(f"{name}: {reason}"))
            continue
        here: dict[str, _Measured] = {}
        for point in (START, LEARNED):
            try:
                source = source or _source(stage, detector, options, on)
                clip = source.clip()
                learner = rebuilt_learner(clip, detector, start=point == START)
            except DeltaoeError as error:
                refused.append(_refused(f"{name}, {point}: {error_sentence(error)}"))
                continue
            key = detector.class_names, learner.context.detach().cpu().numpy().tobytes()
            if key not in seen:
                drawn = rademacher(probes, learner.context.numel(), generator(options.seed)).to(clip.device)
                seen[key] = _measure(learner, detector, domains, drawn, on, f"Hessians of {name}, {point}")
            here[point] = seen[key]
            findings += _findings(name, point, domains, here[point])
        if LEARNED in here:
            against = ({START: here[START]} if START in here else {}) | others
            findings += _changes(name, here[LEARNED], against, len(domains.rows))
            others[name] = here[LEARNED]
    return findings, refused


def _refused(why: str) -> Conclusion:
    return Conclusion("hessian", "not measured", why)


def _source(stage: EvaluationData, detector: Detector, options: EvaluateOptions, on: OnEvent) -> ModelSource:
    """The model whose text tower the detector was tuned through; the evaluation's own, if that is it."""
    if str(stage.source.ref) == detector.space.model:
        return stage.source
    return ModelSource(options.model, stage.workspace, detector.space.model, on=on, expected=detector.space)


def _gather(stage: EvaluationData, detector: Detector, seed: int) -> _Domains:
    """All domains of all known collections; one without domains is a domain itself."""
    chance = np.random.default_rng(seed)
    features, truth, sizes = [], [], {}
    for where, one in stage.inside.items():
        known = stage.known(where, detector)
        groups = {where: np.ones(len(known.truth), dtype=bool)}
        if len(known.domains) > 1:
            groups = {f"{where}/{domain}": mask for domain, mask in known.domains.items()}
        for name, mask in groups.items():
            rows = np.flatnonzero(mask)
            if len(rows) > MOST_IMAGES:
                rows = np.sort(chance.choice(rows, MOST_IMAGES, replace=False))
            features.append(one.store.features(known.digests[rows]))
            truth.append(known.truth[rows])
            sizes[name] = len(rows)
    ends = np.cumsum(list(sizes.values()))
    rows = np.arange(ends[-1])
    mixed = chance.permutation(len(rows))

    def cut(order: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.int64]]:
        return dict(zip(sizes, np.split(order, ends[:-1]), strict=True))

    return _Domains(np.concatenate(features), np.concatenate(truth), cut(rows), cut(mixed))


def _measure(
    learner: PromptLearner, detector: Detector, domains: _Domains, probes: Tensor, on: OnEvent, stage: str
) -> _Measured:
    scale = detector.logit_scale or 1 / CLIP_TEMPERATURE
    device = learner.context.device
    features, truth = (torch.from_numpy(rows).to(device) for rows in (domains.features, domains.truth))
    # Fused attention kernels have no second derivative.
    with sdpa_kernel(SDPBackend.MATH):
        each = F.cross_entropy(scale * features @ learner().T, truth, reduction="none")
        groups = [*domains.rows.values(), *domains.shuffled.values()]
        losses = [each[torch.from_numpy(rows).to(device)].mean() for rows in groups]
        slopes, products = gradients_and_products(losses, learner.context)
        found = curvature(products, probes, lambda done: on(Event(stage, done, len(probes))))
    count = len(domains.rows)
    return _Measured(
        [float(loss.detach()) for loss in losses[:count]],
        [float(slope.norm()) for slope in slopes[:count]],
        found,
    )


def _findings(name: str, point: str, domains: _Domains, measured: _Measured) -> list[Finding]:
    names, found = list(domains.rows), measured.curvature
    rows: list[Finding] = []
    for a, domain in enumerate(names):
        n = len(domains.rows[domain])
        for quantity, value in (("loss", measured.losses[a]), ("gradient", measured.gradients[a])):
            rows.append(Finding("hessian", name, domain, "", point, quantity, value, n=n))
        for quantity, estimate in (("norm", found.norm(a)), ("trace", found.trace(a))):
            rows.append(Finding("hessian", name, domain, "", point, quantity, *_interval(estimate), n=n))
    for a, b in _pairs(len(names)):
        behind = len(names) + a, len(names) + b
        for quantity, estimate in (
            ("distance", found.distance(a, b)),
            ("relative", found.relative_distance(a, b)),
            ("cosine", found.cosine(a, b)),
            ("shuffled", found.relative_distance(*behind)),
        ):
            rows.append(Finding("distance", name, names[a], names[b], point, quantity, *_interval(estimate)))
    pairs = _pairs(len(names))
    shuffled = [(len(names) + a, len(names) + b) for a, b in pairs]
    for quantity, chosen in (("distance", pairs), ("relative", pairs), ("shuffled", shuffled)):
        mean = found.mean_distance(chosen, relative=quantity != "distance")
        rows.append(Finding("distance", name, MEAN, "", point, quantity, *_interval(mean)))
    return rows


def _changes(name: str, here: _Measured, others: Mapping[str, _Measured], domains: int) -> list[Finding]:
    """The mean distances here minus those of each other measurement with the same probes."""
    rows = []
    for other, before in others.items():
        if before.curvature.grams.shape != here.curvature.grams.shape:
            continue
        for quantity in ("distance", "relative"):
            change = here.curvature.change_from(
                before.curvature, _pairs(domains), relative=quantity == "relative"
            )
            at = f"{LEARNED} − {other}"
            rows.append(Finding("distance", name, MEAN, "", at, quantity, *_interval(change)))
    return rows


def _pairs(count: int) -> list[tuple[int, int]]:
    return list(itertools.combinations(range(count), 2))


def _interval(estimate: Estimate) -> tuple[float, float, float]:
    value, error = estimate
    return value, value - _Z * error, value + _Z * error
