"""What the source's theorems need and claim, measured on the images of an evaluation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch

from deltaoe.evaluation.evaluate import EvaluationData, prepare
from deltaoe.evaluation.image_sets import domain_groups
from deltaoe.evaluation.options import KNOWN, EvaluateOptions
from deltaoe.evaluation.zero_shot_detectors import WITH_IMAGES
from deltaoe.functional.bootstrap import Interval
from deltaoe.functional.ebm import ebm_terms
from deltaoe.functional.energy import delta_energy
from deltaoe.functional.limits import CLIP_TEMPERATURE
from deltaoe.functional.scores import SCORES, Evidence
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.scoring.detector import Detector
from deltaoe.store.feature_store import Digests, FeatureStore
from deltaoe.store.workspace import Workspace
from deltaoe.theory.bounds import QUANTILES, BoundStatistics, bound_statistics, separation
from deltaoe.theory.conclusions import conclude
from deltaoe.theory.hessians import hessians
from deltaoe.theory.rebuilding import energy_prompts
from deltaoe.theory.results import Finding, Theory

PROBES = 16
_DELTA_ENERGY = "ΔEnergy"
_BLOCK = 1 << 22  # numbers in one block of images × prompts, float64

Floats = npt.NDArray[np.float64]

_NOTES = (
    "The bound and the separation are about the prompts that ΔEnergy is computed with (of a tuned detector: its energy "
    "prompts) alone: no background labels, not centred, whatever the detector's own score uses. The other scores are "
    "computed with the same prompts.",
    "ΔE = E1 − E0, so the bound holds where its premise E2 ≤ E1 does and nowhere else; where it is not above 0 it "
    "says no more than ΔE ≥ 0.",
    "The Hessian is that of the mean cross-entropy, in logit units, of images that no detector learned from, with "
    "respect to the context vectors of the energy prompts, through the prompts of that context alone (no blend). Its "
    "intervals are over probes: chance in the images and in tuning comes on top.",
)


def measure_theory(
    workspace: Workspace,
    options: EvaluateOptions,
    on: OnEvent = silent,
    *,
    probes: int = PROBES,
    data: EvaluationData | None = None,
) -> Theory:
    """Measure the EBM bound, the separation, and the Hessians of different domains, for each detector.

    Args:
        workspace: holds the features.
        options: as for :func:`deltaoe.evaluation.evaluate.evaluate`; ``draws`` and ``seed`` apply here too.
        on: called with progress.
        probes: random probe vectors for each Hessian.
        data: what :func:`deltaoe.evaluation.evaluate.prepare` returned for these options, to spare loading it again.

    Raises:
        ConfigError: ``probes`` is below 1, or as for ``evaluate``.
        DataError, MismatchError, ModelError, StoreError: as for ``evaluate``. A Hessian that cannot be measured is no
            error: a conclusion says why.
    """
    data = data or prepare(workspace, options, on)
    # Image evidence changes no energy, and images alone have none.
    detectors = {
        name: one for name, one in data.detectors.items() if name != WITH_IMAGES and len(one.text_features)
    }
    data = dataclasses.replace(data, detectors=detectors)
    findings: list[Finding] = []
    for name, detector in data.detectors.items():
        findings += _bounds(name, detector, data, on)
        findings += _separations(name, detector, data, options, on)
    of_hessians, not_measured = hessians(data, options, probes, on)
    findings += of_hessians
    weights = {
        name: float(detector.settings["ebm_weight"])
        for name, detector in data.detectors.items()
        if isinstance(detector.settings.get("ebm_weight"), int | float)
    }
    return Theory(
        title=f"The theorems on {data.id_sets[KNOWN].data.title}",
        findings=findings,
        conclusions=conclude(findings, not_measured, weights),
        notes=[*data.notes, *_NOTES],
        settings={"probes": probes, "seed": options.seed, "draws": options.draws},
    )


def bound_points(detector: Detector) -> dict[str, tuple[float, int]]:
    """Label → (τ, c) at which the bound is measured: the score's, and those of the EBM loss if its τ is another."""
    learned = detector.settings.get("ebm_temperature")
    loss = float(learned) if isinstance(learned, int | float) else CLIP_TEMPERATURE
    points = {f"score: τ = {detector.temperature:g}, c = {detector.top_c}": detector.temperature}
    if loss != detector.temperature:
        points[f"EBM loss: τ = {loss:g}, c = {detector.top_c}"] = loss
    return {label: (temperature, detector.top_c) for label, temperature in points.items()}


def _bounds(name: str, detector: Detector, data: EvaluationData, on: OnEvent) -> Iterator[Finding]:
    """The EBM bound at all points of :func:`bound_points`, on each in-distribution set and each of its domains."""
    points = bound_points(detector)
    text = torch.from_numpy(np.ascontiguousarray(energy_prompts(detector))).double()
    for set_name, image_set in data.id_sets.items():
        known = data.known(set_name, detector)
        energies = {at: np.empty((4, len(known.digests))) for at in points}
        for rows, features in _blocks(image_set.store, known.digests, len(text), on, f"Bounding {set_name}"):
            for at, (temperature, top_c) in points.items():
                terms = ebm_terms(features, text, temperature, top_c)
                change = delta_energy(features @ text.T, temperature, top_c)
                energies[at][:, rows] = torch.stack([change, terms.e0, terms.e1, terms.e2]).numpy()
        domains = domain_groups(set_name, known.domains)
        for group, mask in {set_name: np.ones(len(known.digests), dtype=bool), **domains}.items():
            for at, values in energies.items():
                statistics = bound_statistics(*values[:, mask])
                yield from _bound_findings(name, group, at, statistics, by_domain=group in domains)


def _bound_findings(
    name: str, group: str, at: str, statistics: BoundStatistics, *, by_domain: bool
) -> Iterator[Finding]:
    """One finding for each number of the statistics."""
    numbers: dict[str, float | Interval] = {
        "premise": statistics.premise,
        "bound": statistics.bound,
        "informative": statistics.informative,
        "change": statistics.change,
        "lower": statistics.lower,
        "gap": statistics.gap,
        "relative": statistics.relative,
    }
    for stem, quantiles in (
        ("gap", statistics.gap_quantiles),
        ("relative", statistics.relative_quantiles),
    ):
        numbers |= {f"{stem}_{100 * q:.0f}": value for q, value in zip(QUANTILES, quantiles, strict=True)}
    for quantity, number in numbers.items():
        interval = _as_interval(number)
        yield Finding("bound", name, group, "", at, quantity, *interval, n=statistics.n, by_domain=by_domain)


def _as_interval(number: float | Interval) -> Interval:
    """A number without an interval as one whose ends are NaN; an interval as it is."""
    return number if isinstance(number, Interval) else Interval(number, math.nan, math.nan)


def _separations(
    name: str, detector: Detector, data: EvaluationData, options: EvaluateOptions, on: OnEvent
) -> Iterator[Finding]:
    """ΔEnergy beside each rival, for every pair of an in-distribution and an out-of-distribution set."""
    if not data.ood_sets:
        return
    scores = _compared_scores(detector)
    id_scores = {
        set_name: _scores(detector, scores, one.store, data.known(set_name, detector).digests, on, set_name)
        for set_name, one in data.id_sets.items()
    }
    ood_scores = {
        set_name: _scores(detector, scores, one.store, data.unknown(set_name), on, set_name)
        for set_name, one in data.ood_sets.items()
    }
    for known, of_id in id_scores.items():
        for unknown, of_ood in ood_scores.items():
            for label, (rival, _) in scores.items():
                if label == _DELTA_ENERGY:
                    continue
                result = separation(
                    np.stack([of_id[_DELTA_ENERGY], of_id[label]]),
                    np.stack([of_ood[_DELTA_ENERGY], of_ood[label]]),
                    generator=np.random.default_rng(options.seed),
                    draws=options.draws,
                )
                numbers: dict[str, float | Interval] = {
                    "auroc": result.auroc,
                    "rival_auroc": result.rival_auroc,
                    "difference": result.difference,
                    "gap": result.gap,
                    "rival_gap": result.rival_gap,
                    "gap_difference": result.gap_difference,
                }
                for quantity, number in numbers.items():
                    row = (name, known, unknown, label, quantity, *_as_interval(number))
                    yield Finding("separation", *row, n=result.n_known, rival=rival)


def _compared_scores(detector: Detector) -> dict[str, tuple[str, float]]:
    """Label → (score, τ): the paper's ΔEnergy, then MCM and Energy at their published τ and at ΔEnergy's."""
    tau = detector.temperature
    scores = {_DELTA_ENERGY: ("delta_energy_plain", tau)}
    for rival in ("mcm", "energy"):
        published = SCORES[rival].temperature or tau
        scores |= {f"{SCORES[rival].title}, τ = {t:g}": (rival, t) for t in (published, tau)}
    return scores


def _scores(
    detector: Detector,
    scores: Mapping[str, tuple[str, float]],
    store: FeatureStore,
    digests: Digests,
    on: OnEvent,
    set_name: str,
) -> Mapping[str, Floats]:
    """Label → (n,) of each of :func:`_compared_scores`, of images (n, 32), without background and centring."""
    text = torch.from_numpy(np.ascontiguousarray(energy_prompts(detector))).double()
    values = {label: np.empty(len(digests)) for label in scores}
    for rows, features in _blocks(store, digests, len(text), on, f"Scoring {set_name}"):
        evidence = Evidence(features, text, text[:0], text, text[:0])
        for label, (score, temperature) in scores.items():
            values[label][rows] = SCORES[score].compute(evidence, temperature, detector.top_c).numpy()
    return values


def _blocks(
    store: FeatureStore, digests: Digests, prompts: int, on: OnEvent, stage: str
) -> Iterator[tuple[npt.NDArray[np.int64], torch.Tensor]]:
    """Rows (b,) and float64 features (b, D) of images (n, 32), block by block, with progress after each."""
    done = 0
    for rows, features in store.blocks(digests, rows=max(64, min(4096, _BLOCK // prompts))):
        yield rows, torch.from_numpy(features).double()
        done += len(rows)
        on(Event(stage, done, len(digests)))
