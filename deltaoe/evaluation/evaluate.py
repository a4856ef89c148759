"""Evaluate: detectors and scores on known, shifted and unknown images, every number with its interval."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.clip.reference import DEFAULT_MODEL
from deltaoe.clip.source import ModelSource
from deltaoe.errors import ConfigError, DataError, MismatchError
from deltaoe.evaluation.image_sets import (
    ImageSet,
    KnownImages,
    known_images,
    load_image_set,
    load_image_sets,
    unknown_rows,
)
from deltaoe.evaluation.measure import (
    MeasureOptions,
    ScoredImages,
    measurements,
    possible_scores,
    score_images,
)
from deltaoe.evaluation.options import KNOWN, EvaluateOptions, option_values
from deltaoe.evaluation.results import Evaluation, Measurement
from deltaoe.functional.gallery import Gallery
from deltaoe.functional.sampling import few_shot_split
from deltaoe.functional.scores import SCORES
from deltaoe.progress import OnEvent, silent
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.zero_shot import detector_of_text_features, zero_shot_detector
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.feature_store import Digests
from deltaoe.store.workspace import DATA_PREFIX, Workspace

ZERO_SHOT = "zero-shot"


@dataclass(frozen=True)
class EvaluationData:
    """What an evaluation judges: detectors, and images that none of them learned from.

    Attributes:
        workspace: where features lie.
        source: the model that made them, loaded only if something had to be encoded.
        inside: name (``id`` first, then shifts) → known images.
        outside: name → unknown images; ``unknown_rows`` are those that count.
        detectors: name → detector.
        gallery: what KNN and Mahalanobis compare with; None without.
        taken: digests of the images that a detector learned from or the gallery holds.
        notes: the sentences a reader must see.
    """

    workspace: Workspace
    source: ModelSource
    inside: Mapping[str, ImageSet]
    outside: Mapping[str, ImageSet]
    unknown_rows: Mapping[str, npt.NDArray[np.int64]]
    detectors: Mapping[str, Detector]
    gallery: Gallery | None
    taken: set[bytes]
    notes: Sequence[str]

    def known(self, where: str, detector: Detector) -> KnownImages:
        """The images of ``inside[where]`` that count. Raises DataError if none does, or a class is unknown."""
        return known_images(self.inside[where], detector, self.taken)

    def unknown(self, out: str) -> Digests:
        """Digests of the images of ``outside[out]`` that count."""
        return self.outside[out].data.digests[self.unknown_rows[out]]


def evaluate(workspace: Workspace, options: EvaluateOptions, on: OnEvent = silent) -> Evaluation:
    """Measure detectors on collections; images are extracted as far as they are not.

    No image that a detector learned from, and none of the gallery, is evaluated on. A known image that lies among
    the unknown ones as well, byte by byte, is no evidence and is left out there.

    Raises:
        ConfigError: an option does not fit.
        DataError: an input is missing, has no images, or classes that the detectors do not know.
        MismatchError: a detector or data set belongs to another model.
        ModelError, StoreError: the model or the workspace cannot be used.
    """
    return measure(prepare(workspace, options, on), options, on)


def prepare(workspace: Workspace, options: EvaluateOptions, on: OnEvent = silent) -> EvaluationData:
    """Gather images and detectors. Raises like :func:`evaluate`."""
    options.check()
    if not options.unknown and not options.shifts:
        raise ConfigError(
            "there is nothing to evaluate against", hint="name --ood NAME=DIR or --shift NAME=DIR"
        )
    saved = _saved(workspace, options)
    expected = next(iter(saved.values())).space if saved and options.detectors else None
    source = source_for(workspace, options, expected, on)

    inside = load_image_sets({KNOWN: options.known, **options.shifts}, workspace, source, on, options.ingest)
    outside = load_image_sets(options.unknown, workspace, source, on, options.ingest)
    known, everything = inside[KNOWN], [*inside.values(), *outside.values()]
    detectors = _detectors(workspace, options, saved, known.data, source, on)
    notes = [note for one in everything for note in one.notes]
    gallery, spared = _gallery(options, workspace, source, known, on)
    if len(spared) and options.gallery is None:
        notes.append(
            f"KNN and Mahalanobis compare with {len(spared)} images of {KNOWN}; no score is evaluated on them "
            "(--gallery names other images, --scores leaves those two out)"
        )
    learned = [d.shots for d in detectors.values() if len(d.shots)] + ([spared] if len(spared) else [])
    taken = {row.tobytes() for rows in learned for row in rows}

    chosen_rows, left_out = unknown_rows(outside, inside.values(), options.unknown_per_class, options.seed)
    notes += left_out
    for name, detector in detectors.items():
        _same_space(name, detector, everything)
    return EvaluationData(workspace, source, inside, outside, chosen_rows, detectors, gallery, taken, notes)


def measure(stage: EvaluationData, options: EvaluateOptions, on: OnEvent = silent) -> Evaluation:
    """Every number about what :func:`prepare` gathered. Raises like :func:`evaluate`."""
    rows: list[Measurement] = []
    notes, measured = list(stage.notes), set[str]()
    for name, detector in stage.detectors.items():
        chosen, lacking = possible_scores(
            options.scores or tuple(SCORES), detector, gallery=stage.gallery is not None
        )
        notes += [note for note in lacking if note not in notes]
        measured |= set(chosen)

        scored = functools.partial(_scored, detector, chosen, stage.gallery, on)
        inside = {}
        for where, one in stage.inside.items():
            known = stage.known(where, detector)
            inside[where] = (scored(one, known.digests), known.truth, known.domains)
        outside = {out: scored(one, stage.unknown(out)) for out, one in stage.outside.items()}
        how = MeasureOptions(options.alpha, options.draws, options.seed, options.convention)
        rows += measurements(name, inside, outside, how)
    return Evaluation(
        title=f"{stage.inside[KNOWN].data.title} against {', '.join(stage.outside) or 'nothing'}",
        rows=rows,
        detectors={name: detector.score_title for name, detector in stage.detectors.items()},
        scores={name: SCORES[name].title for name in SCORES if name in measured},
        alpha=options.alpha,
        convention=options.convention,
        notes=notes,
        manifest=_manifest(options, stage.detectors, [*stage.inside.values(), *stage.outside.values()]),
    )


def _scored(
    detector: Detector,
    names: Sequence[str],
    gallery: Gallery | None,
    on: OnEvent,
    one: ImageSet,
    digests: Digests,
) -> ScoredImages:
    return score_images(detector, one.store, digests, names, gallery, on, f"Scoring {one.name}")


def _saved(workspace: Workspace, options: EvaluateOptions) -> dict[str, Detector]:
    """The detectors that lie in files, by name."""
    named = [name for name in options.detectors if name != ZERO_SHOT]
    paths = [Path(name) for name in named]
    if not options.detectors and (current := workspace.current_detector()) is not None:
        paths = [current]
    found: dict[str, Detector] = {}
    for path in paths:
        name = path.stem if path.stem not in found else os.path.relpath(path)
        found[name] = Detector.load(path)
    return found


def source_for(
    workspace: Workspace, options: EvaluateOptions, expected: FeatureSpace | None, on: OnEvent
) -> ModelSource:
    """The model that was asked for, else that of the detectors, the known data set, or the workspace's last one."""
    model = None if expected is None else expected.model
    if model is None and options.known.startswith(DATA_PREFIX) and not os.path.lexists(options.known):
        data = workspace.dataset(options.known)
        model = data.model if data is not None else None
    if model is None and (last := workspace.dataset()) is not None:
        model = last.model
    return ModelSource(options.model, workspace, model or DEFAULT_MODEL, on=on, expected=expected)


def _detectors(
    workspace: Workspace,
    options: EvaluateOptions,
    saved: Mapping[str, Detector],
    data: DataSet,
    source: ModelSource,
    on: OnEvent,
) -> dict[str, Detector]:
    if not data.labelled:
        raise DataError(f"{data.title} has no classes", hint="--id needs a folder with one folder per class")
    if not options.detectors:
        # The last tuned detector is of use here only if it is about these very classes and features.
        saved = {
            name: detector
            for name, detector in saved.items()
            if set(data.class_names) <= set(detector.class_names) and detector.space.id == data.space_id
        }
    found: dict[str, Detector] = {}
    if not options.detectors or ZERO_SHOT in options.detectors:
        if data.text_features is not None and options.prompts.template is None:
            space = workspace.known_space(data.space_id)
            found[ZERO_SHOT] = detector_of_text_features(
                data.class_names, data.text_features, space, options.prompts
            )
        else:
            found[ZERO_SHOT] = zero_shot_detector(data.class_names, options.prompts, source, workspace, on)
    return {**found, **saved}


def _same_space(name: str, detector: Detector, collections: Sequence[ImageSet]) -> None:
    for one in collections:
        if one.data.space_id != detector.space.id:
            raise MismatchError(
                f"the features of {one.data.title} and the detector {name} are of different models: "
                + "; ".join(one.store.space.differences(detector.space)),
                hint="extract with the detector's model, or tune on these features",
            )


def _gallery(
    options: EvaluateOptions, workspace: Workspace, source: ModelSource, known: ImageSet, on: OnEvent
) -> tuple[Gallery | None, npt.NDArray[np.uint8]]:
    """What KNN and Mahalanobis compare with, and the digests of images of ``known`` that it takes."""
    none = np.zeros((0, 32), dtype=np.uint8)
    if not any("gallery" in SCORES[name].needs for name in options.scores or SCORES):
        return None, none
    if options.gallery is not None:
        one = load_image_set("gallery", options.gallery, workspace, source, on, options.ingest)
        rows = np.flatnonzero(one.rows_of(known.data.class_names) >= 0)
        return Gallery(one.store.features(one.data.digests[rows]), one.data.class_of[rows]), one.data.digests
    data = known.data
    split = few_shot_split(data.class_of.tolist(), data.keys(), options.gallery_shots, options.seed)
    smallest = min(split.available.values(), default=0)
    if smallest < 2:
        return None, none
    if smallest <= options.gallery_shots:  # half of the smallest class is left to evaluate on
        split = few_shot_split(data.class_of.tolist(), data.keys(), smallest // 2, options.seed)
    digests = data.digests[split.shots]
    return Gallery(known.store.features(digests), data.class_of[split.shots]), digests


def _manifest(
    options: EvaluateOptions, detectors: Mapping[str, Detector], collections: Sequence[ImageSet]
) -> dict[str, Any]:
    return {
        "options": option_values(options),
        "detectors": {
            name: {"digest": d.digest, "settings": dict(d.settings)} for name, d in detectors.items()
        },
        "data": [
            {"name": one.name, "title": one.data.title, "images": len(one.data), "failed": one.failed}
            for one in collections
        ],
        "feature_space": collections[0].store.space.to_dict(),
    }
