"""The evaluation of detectors and scores on in-distribution, shifted and out-of-distribution images."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.clip.class_notes import RENAME, class_notes
from deltaoe.clip.options import TEMPLATE
from deltaoe.clip.source import ModelSource
from deltaoe.errors import ConfigError, DataError, MismatchError
from deltaoe.evaluation.conclusions import with_conclusions
from deltaoe.evaluation.galleries import GalleryImages, choose_gallery, gallery_scores
from deltaoe.evaluation.image_sets import (
    ImageSet,
    KnownImages,
    known_images,
    load_image_sets,
    on_splits,
    unknown_rows,
)
from deltaoe.evaluation.left_out import classes_without_images, usable_detectors
from deltaoe.evaluation.measure import (
    TITLES,
    LabelledScores,
    MeasureOptions,
    ScoredImages,
    measurements,
    possible_scores,
    score_images,
)
from deltaoe.evaluation.options import KNOWN, VERDICT, EvaluateOptions, option_values
from deltaoe.evaluation.results import Evaluation, Measurement
from deltaoe.evaluation.zero_shot_detectors import (
    WITH_IMAGES,
    ZERO_SHOT,
    can_encode,
    prompts_of,
    with_gallery,
)
from deltaoe.functional.gallery import Gallery
from deltaoe.progress import OnEvent, silent
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.saved_detectors import detector_path
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.feature_store import Digests
from deltaoe.store.workspace import DATA_PREFIX, Workspace


@dataclass(frozen=True)
class EvaluationData:
    """What an evaluation needs: detectors, and the image sets that they are evaluated on.

    Attributes:
        workspace: holds the features.
        source: the model that made them; it is loaded only if something has to be encoded.
        id_sets: name → in-distribution set; :data:`~deltaoe.evaluation.options.KNOWN` is the first, then the shifts.
        ood_sets: name → out-of-distribution set.
        ood_rows: name → rows (k,) of the out-of-distribution set that are evaluated.
        detectors: name → detector.
        gallery: the images that the scores of a gallery compare with; None where none of them can be computed.
        excluded: digests of the images that a detector learned from or the gallery holds.
        notes: sentences for the reader of the results.
    """

    workspace: Workspace
    source: ModelSource
    id_sets: Mapping[str, ImageSet]
    ood_sets: Mapping[str, ImageSet]
    ood_rows: Mapping[str, npt.NDArray[np.int64]]
    detectors: Mapping[str, Detector]
    gallery: GalleryImages | None
    excluded: set[bytes]
    notes: Sequence[str]

    def known(self, name: str, detector: Detector) -> KnownImages:
        """The images of an in-distribution set that are evaluated.

        Raises:
            DataError: there is none, or it has a class that the detector does not have.
        """
        return known_images(self.id_sets[name], detector, self.excluded)

    def unknown(self, name: str) -> Digests:
        """Digests (k, 32) of the images of an out-of-distribution set that are evaluated."""
        return self.ood_sets[name].data.digests[self.ood_rows[name]]


def evaluate(workspace: Workspace, options: EvaluateOptions, on: OnEvent = silent) -> Evaluation:
    """Measure detectors on image sets; images that were not extracted before are extracted now.

    No image that a detector learned from, and none of the gallery, is evaluated. An image of an out-of-distribution
    set that also lies in an in-distribution one, byte by byte, is left out of the former.

    Args:
        workspace: holds the features.
        options: what is evaluated, and how.
        on: called with progress.

    Raises:
        ConfigError: an option has no usable value, or there is nothing to evaluate against.
        DataError: an input is missing, has no images, or has classes that the detectors do not have.
        MismatchError: a detector or data set belongs to another model.
        ModelError, StoreError: the model or the workspace cannot be used.
    """
    return measure(prepare(workspace, options, on), options, on)


def prepare(workspace: Workspace, options: EvaluateOptions, on: OnEvent = silent) -> EvaluationData:
    """Load image sets and detectors, and exclude the images that were learned from. Raises like :func:`evaluate`."""
    options.check()
    if not options.unknown and not options.shifts:
        raise ConfigError(
            "there is nothing to evaluate against", hint="name --ood NAME=DIR or --shift NAME=DIR"
        )
    saved = _saved_detectors(workspace, options)
    expected = next(iter(saved.values())).space if saved and options.detectors else None
    source = source_for(workspace, options, expected, on)

    id_sets = load_image_sets({KNOWN: options.known, **options.shifts}, workspace, source, on, options.ingest)
    ood_sets = load_image_sets(options.unknown, workspace, source, on, options.ingest)
    whole_sets, whole = [*id_sets.values()], id_sets[KNOWN]
    if not whole.data.labelled:
        raise DataError(
            f"{whole.data.title} has no classes", hint="--id needs a folder with one folder per class"
        )
    id_sets = {name: on_splits(one, options.splits) for name, one in id_sets.items()}
    ood_sets = {name: on_splits(one, options.splits) for name, one in ood_sets.items()}
    known, every_set = id_sets[KNOWN], [*id_sets.values(), *ood_sets.values()]
    untuned = not options.detectors or ZERO_SHOT in options.detectors
    detectors: dict[str, Detector] = {}
    if untuned and (options.detectors or can_encode(known.data, workspace)):
        detectors[ZERO_SHOT] = prompts_of(known.data, options.prompts, source, workspace, on)
    notes = [note for image_set in every_set for note in image_set.notes]
    if ZERO_SHOT in detectors and known.data.text_features is None:
        notes += class_notes(
            known.data.class_names,
            source,
            remedy=RENAME,
            unread="",
            template=options.prompts.template or TEMPLATE,
        )
    # Image evidence without tuning is fitted on the gallery.
    fits = untuned and VERDICT in (options.scores or TITLES)
    gallery, gallery_digests = choose_gallery(options, workspace, source, known, on, needed=fits, whole=whole)
    fitted = {}
    if fits and gallery is not None:
        fitted = with_gallery(known.data, gallery, options.prompts, source, workspace, on)
    if fits and not fitted:
        notes.append(f"{WITH_IMAGES}: left out, there are too few images to compare with")
    if len(gallery_digests) and options.gallery is None:
        notes.append(
            f"{', '.join([*fitted, *gallery_scores(options)])} compare with {len(gallery_digests)} images of {KNOWN}; "
            "no score is evaluated on them (--gallery names other images, --scores selects other scores)"
        )
    tuned = saved
    if not options.detectors:
        tuned, left_out = usable_detectors(saved, known.data, known.store.space, workspace)
        notes += left_out
        if not detectors:
            notes.append(f"{ZERO_SHOT}: left out, imported features without text features have no prompts")
    notes += classes_without_images(tuned, known.data)
    detectors |= fitted | tuned
    if not detectors:
        raise DataError(
            f"{known.data.title} was imported without text features, and too few of its images can be fitted on",
            hint="import the classes' text features with the images', or name a --detector FILE",
        )
    learned_from = [gallery_digests, *(detector.shots for detector in detectors.values())]
    excluded = {digest.tobytes() for digests in learned_from for digest in digests}

    ood_rows, overlap_notes = unknown_rows(ood_sets, whole_sets, options.unknown_per_class, options.seed)
    notes += overlap_notes
    for name, detector in detectors.items():
        _require_same_space(name, detector, every_set)
    return EvaluationData(workspace, source, id_sets, ood_sets, ood_rows, detectors, gallery, excluded, notes)


def measure(data: EvaluationData, options: EvaluateOptions, on: OnEvent = silent) -> Evaluation:
    """Every metric of every detector on what :func:`prepare` loaded. Raises like :func:`evaluate`."""
    rows: list[Measurement] = []
    notes, measured = list(data.notes), set[str]()
    settings = MeasureOptions(options.alpha, options.draws, options.seed, options.convention)
    galleries: dict[tuple[str, ...], Gallery] = {}
    for name, detector in data.detectors.items():
        classes = detector.class_names
        if data.gallery is not None and classes not in galleries:
            galleries[classes] = data.gallery.gallery(classes)
        scores, missing = possible_scores(options.scores, detector, gallery=data.gallery is not None)
        notes += [note for note in missing if note not in notes]
        measured |= set(scores)

        score = functools.partial(_score, detector, scores, galleries.get(classes), on)
        id_scores = {}
        for set_name, image_set in data.id_sets.items():
            known = data.known(set_name, detector)
            id_scores[set_name] = LabelledScores(score(image_set, known.digests), known.labels, known.domains)
        ood_scores = {
            set_name: score(image_set, data.unknown(set_name))
            for set_name, image_set in data.ood_sets.items()
        }
        rows += measurements(name, id_scores, ood_scores, settings)
    evaluation = Evaluation(
        title=f"{data.id_sets[KNOWN].data.title} against {', '.join(data.ood_sets) or 'nothing'}",
        rows=rows,
        detectors={name: detector.score_title for name, detector in data.detectors.items()},
        scores={name: title for name, title in TITLES.items() if name in measured},
        alpha=options.alpha,
        convention=options.convention,
        notes=notes,
        manifest=_manifest(options, data.detectors, [*data.id_sets.values(), *data.ood_sets.values()]),
    )
    return with_conclusions(evaluation)


def _score(
    detector: Detector,
    scores: Sequence[str],
    gallery: Gallery | None,
    on: OnEvent,
    image_set: ImageSet,
    digests: Digests,
) -> ScoredImages:
    """:func:`score_images` for images of one set, whose name progress shows."""
    stage = f"Scoring {image_set.name}"
    return score_images(detector, image_set.store, digests, scores, gallery, on, stage)


def _saved_detectors(workspace: Workspace, options: EvaluateOptions) -> dict[str, Detector]:
    """Name → detector of those named, or the workspace's last tuned one where nothing is named."""
    paths = [detector_path(workspace, name) for name in options.detectors if name != ZERO_SHOT]
    if not options.detectors and (current := workspace.current_detector()) is not None:
        paths = [current]
    detectors: dict[str, Detector] = {}
    for path in paths:
        name = path.stem if path.stem not in detectors else os.path.relpath(path)
        detectors[name] = Detector.load(path)
    return detectors


def source_for(
    workspace: Workspace, options: EvaluateOptions, expected: FeatureSpace | None, on: OnEvent
) -> ModelSource:
    """The model that was asked for, else that of the detectors, the in-distribution data set, or the last extraction.

    Args:
        workspace: knows the data sets.
        options: name the model, or the in-distribution data set.
        expected: the detectors' feature space; None if there are none.
        on: called with the progress of loading the model.
    """
    model, preferred = None if expected is None else expected.model, None
    if model is None and options.known.startswith(DATA_PREFIX) and not os.path.lexists(options.known):
        data = workspace.dataset(options.known)
        if data is not None:
            model, preferred = data.model, workspace.known_space(data.space_id)
    return ModelSource(options.model, workspace, model, on=on, expected=expected, preferred=preferred)


def _require_same_space(name: str, detector: Detector, image_sets: Sequence[ImageSet]) -> None:
    """Raise MismatchError if the features of a set are of another feature space than the detector's."""
    for image_set in image_sets:
        if image_set.data.space_id != detector.space.id:
            raise MismatchError(
                f"the features of {image_set.data.title} and the detector {name} are of different models: "
                + "; ".join(image_set.store.space.differences(detector.space)),
                hint="extract with the detector's model, or tune on these features",
            )


def _manifest(
    options: EvaluateOptions, detectors: Mapping[str, Detector], image_sets: Sequence[ImageSet]
) -> dict[str, Any]:
    """Options, detectors, image sets and feature space as JSON values."""
    return {
        "options": option_values(options),
        "detectors": {
            name: {"digest": d.digest, "settings": dict(d.settings)} for name, d in detectors.items()
        },
        "data": [
            {"name": one.name, "title": one.data.title, "images": len(one.data), "failed": one.failed}
            for one in image_sets
        ],
        "feature_space": image_sets[0].store.space.to_dict(),
    }
