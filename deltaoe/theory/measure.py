"""Theory: what the source's theorems need and claim, measured on the images that an evaluation judges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch

from deltaoe.evaluation.evaluate import EvaluationData, prepare
from deltaoe.evaluation.options import KNOWN, EvaluateOptions
from deltaoe.functional.bootstrap import Interval
from deltaoe.functional.ebm import ebm_terms
from deltaoe.functional.energy import delta_energy
from deltaoe.functional.scores import CLIP_TEMPERATURE, SCORES, Evidence
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.scoring.detector import Detector
from deltaoe.store.feature_store import Digests, FeatureStore
from deltaoe.store.workspace import Workspace
from deltaoe.theory.bounds import QUANTILES, BoundStatistics, bound_statistics, separation
from deltaoe.theory.conclusions import conclude
from deltaoe.theory.hessians import hessians
from deltaoe.theory.results import Finding, Theory

PROBES = 16
_BLOCK = 1 << 22  # numbers in one block of images × prompts, float64

Floats = npt.NDArray[np.float64]

_NOTES = (
    "The bound and the separation are about class prompts as the text tower gave them: no background labels, not "
    "centred, whatever the detector's own score uses.",
    "ΔE = E1 − E0, so the bound holds where its premise E2 ≤ E1 does and nowhere else; where it is not above 0 it "
    "says no more than ΔE ≥ 0.",
    "The Hessian is that of the mean cross-entropy, in logit units, of images that no detector learned from, with "
    "respect to the learned context vectors, through the prompts of that context alone (no blend). Its intervals "
    "are over probes: chance in the images and in tuning comes on top.",
)


def theory(
    workspace: Workspace,
    options: EvaluateOptions,
    on: OnEvent = silent,
    *,
    probes: int = PROBES,
    stage: EvaluationData | None = None,
) -> Theory:
    """Measure the EBM bound, separation and the Hessians between domains, for each detector.

    Args:
        workspace: where features lie.
        options: as for :func:`deltaoe.evaluation.evaluate.evaluate`; ``draws`` and ``seed`` apply here too.
        on: progress.
        probes: random probes of each Hessian.
        stage: what :func:`deltaoe.evaluation.evaluate.prepare` gathered, if that was done.

    Raises:
        ConfigError, DataError, MismatchError, ModelError, StoreError: as ``evaluate`` does. A Hessian that cannot be
            measured is no error: the conclusions say why.
    """
    stage = stage or prepare(workspace, options, on)
    findings: list[Finding] = []
    for name, detector in stage.detectors.items():
        findings += _bounds(name, detector, stage, on)
        findings += _separations(name, detector, stage, options, on)
    found, refused = hessians(stage, options, probes, on)
    findings += found
    weights = {
        name: float(detector.settings["ebm_weight"])
        for name, detector in stage.detectors.items()
        if isinstance(detector.settings.get("ebm_weight"), int | float)
    }
    return Theory(
        title=f"The theorems on {stage.inside[KNOWN].data.title}",
        findings=findings,
        conclusions=conclude(findings, refused, weights),
        notes=[*stage.notes, *_NOTES],
        settings={"probes": probes, "seed": options.seed, "draws": options.draws},
    )


def bound_points(detector: Detector) -> dict[str, tuple[float, int]]:
    """Where the bound is looked at: in words → (τ, c). The score's own, and the EBM loss's if that is another."""
    learned = detector.settings.get("ebm_temperature")
    loss = float(learned) if isinstance(learned, int | float) else CLIP_TEMPERATURE
    points = {f"score: τ = {detector.temperature:g}, c = {detector.top_c}": detector.temperature}
    if loss != detector.temperature:
        points[f"EBM loss: τ = {loss:g}, c = {detector.top_c}"] = loss
    return {words: (temperature, detector.top_c) for words, temperature in points.items()}


def _bounds(name: str, detector: Detector, stage: EvaluationData, on: OnEvent) -> Iterator[Finding]:
    points = bound_points(detector)
    text = torch.from_numpy(np.ascontiguousarray(detector.text_features)).double()
    for where, one in stage.inside.items():
        known = stage.known(where, detector)
        energies = {at: np.empty((4, len(known.digests))) for at in points}
        for part, features in _blocks(one.store, known.digests, len(text), on, f"Bounding {where}"):
            for at, (temperature, top_c) in points.items():
                terms = ebm_terms(features, text, temperature, top_c)
                change = delta_energy(features @ text.T, temperature, top_c)
                energies[at][:, part] = torch.stack([change, terms.e0, terms.e1, terms.e2]).numpy()
        groups = {where: np.ones(len(known.digests), dtype=bool)}
        if len(known.domains) > 1:
            groups |= {f"{where}/{domain}": mask for domain, mask in known.domains.items()}
        for group, mask in groups.items():
            for at, values in energies.items():
                yield from _bound_findings(name, group, at, bound_statistics(*values[:, mask]))


def _bound_findings(name: str, group: str, at: str, found: BoundStatistics) -> Iterator[Finding]:
    shares = {"premise": found.premise, "bound": found.bound, "informative": found.informative}
    for quantity, share in shares.items():
        yield Finding("bound", name, group, "", at, quantity, *share, n=found.n)
    numbers = {"change": found.change, "lower": found.lower, "gap": found.gap, "relative": found.relative}
    for stem, quantiles in (("gap", found.gap_quantiles), ("relative", found.relative_quantiles)):
        numbers |= {f"{stem}_{100 * q:.0f}": v for q, v in zip(QUANTILES, quantiles, strict=True)}
    for quantity, value in numbers.items():
        yield Finding("bound", name, group, "", at, quantity, value, n=found.n)


def _separations(
    name: str, detector: Detector, stage: EvaluationData, options: EvaluateOptions, on: OnEvent
) -> Iterator[Finding]:
    if not stage.outside:
        return
    inside = {
        where: _scores(detector, one.store, stage.known(where, detector).digests, on, where)
        for where, one in stage.inside.items()
    }
    outside = {
        out: _scores(detector, one.store, stage.unknown(out), on, out) for out, one in stage.outside.items()
    }
    for where, ours in inside.items():
        for out, theirs in outside.items():
            for rival in list(ours)[1:]:
                found = separation(
                    np.stack([ours[_OURS], ours[rival]]),
                    np.stack([theirs[_OURS], theirs[rival]]),
                    generator=np.random.default_rng(options.seed),
                    draws=options.draws,
                )
                numbers: dict[str, float | Interval] = {
                    "auroc": found.auroc,
                    "rival_auroc": found.rival_auroc,
                    "difference": found.difference,
                    "gap": found.gap,
                    "rival_gap": found.rival_gap,
                    "gap_difference": found.gap_difference,
                }
                for quantity, value in numbers.items():
                    ends = value if isinstance(value, Interval) else Interval(value, np.nan, np.nan)
                    yield Finding("separation", name, where, out, rival, quantity, *ends, n=found.n_known)


_OURS = "ΔEnergy"


def _scores(
    detector: Detector, store: FeatureStore, digests: Digests, on: OnEvent, where: str
) -> Mapping[str, Floats]:
    """The paper's ΔEnergy first, then MCM and Energy at their published τ and at ΔEnergy's own, (n,) each."""
    text = torch.from_numpy(np.ascontiguousarray(detector.text_features)).double()
    tau = detector.temperature
    chosen = {_OURS: (SCORES["delta_energy_plain"], tau)}
    for rival in (SCORES["mcm"], SCORES["energy"]):
        published = rival.temperature or tau
        chosen |= {f"{rival.title}, τ = {t:g}": (rival, t) for t in (published, tau)}
    found = {words: np.empty(len(digests)) for words in chosen}
    for part, features in _blocks(store, digests, len(text), on, f"Scoring {where}"):
        evidence = Evidence(features, text, text[:0], text, text[:0])
        for words, (score, temperature) in chosen.items():
            found[words][part] = score.compute(evidence, temperature, detector.top_c).numpy()
    return found


def _blocks(
    store: FeatureStore, digests: Digests, prompts: int, on: OnEvent, stage: str
) -> Iterator[tuple[npt.NDArray[np.int64], torch.Tensor]]:
    done = 0
    for part, features in store.blocks(digests, rows=max(64, min(4096, _BLOCK // prompts))):
        yield part, torch.from_numpy(features).double()
        done += len(part)
        on(Event(stage, done, len(digests)))
