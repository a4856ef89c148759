"""Detectors without tuning to evaluate: of zero-shot prompts, of images, and of both, as ``score`` makes them."""

from __future__ import annotations

import dataclasses

import numpy as np

from deltaoe.clip.source import ModelSource
from deltaoe.errors import DataError
from deltaoe.evaluation.galleries import GalleryImages
from deltaoe.evaluation.splits import Split
from deltaoe.progress import OnEvent
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.image_evidence import with_image_evidence
from deltaoe.scoring.options import LISTED_BACKGROUND, ZERO_SHOT_BACKGROUND, PromptOptions
from deltaoe.scoring.zero_shot import calibrate, detector_of_text_features, zero_shot_detector
from deltaoe.scoring.zero_shot_images import fitting_rows, image_detector, with_images_of
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_space import UNNAMED
from deltaoe.store.workspace import Workspace
from deltaoe.tuning.data import draw_from
from deltaoe.tuning.image_side import drawn_images

ZERO_SHOT = "zero-shot"
WITH_IMAGES = "zero-shot + images"
IMAGES = "images"


def can_encode(data: DataSet, workspace: Workspace) -> bool:
    """Whether its classes can have prompts: not if its features were imported, and no text features with them."""
    space = workspace.known_space(data.space_id)
    return data.text_features is not None or space is None or not space.is_imported


def prompts_of(
    data: DataSet,
    prompts: PromptOptions,
    source: ModelSource,
    workspace: Workspace,
    on: OnEvent,
    *,
    with_images: bool = False,
) -> Detector:
    """The zero-shot detector of a data set's classes, not calibrated; of its text features, if it came with some.

    Args:
        data: names the classes.
        prompts: template, τ, c and background; a template of the user's takes the place of the text features.
        source: loads the model that encodes the prompts.
        workspace: stores text features.
        on: receives progress.
        with_images: whether images will join the prompts, whose background is then ImageNet's names by default.

    Raises:
        ConfigError, DataError, MismatchError, ModelError, StoreError: as for
            :func:`deltaoe.scoring.zero_shot.zero_shot_detector`.
    """
    if data.text_features is not None and prompts.template is None:
        space = workspace.known_space(data.space_id)
        return detector_of_text_features(data.class_names, data.text_features, space, prompts)
    if data.model == UNNAMED and not can_encode(data, workspace):
        raise DataError(
            f"the classes of {data.title} can have no prompts: it was imported without its model and text features",
            hint="leave --detector zero-shot out, or import the classes' text features with the images'",
        )
    background = LISTED_BACKGROUND if with_images else ZERO_SHOT_BACKGROUND
    return zero_shot_detector(data.class_names, prompts, source, workspace, on, background)


def with_gallery(
    data: DataSet,
    gallery: GalleryImages,
    prompts: PromptOptions,
    source: ModelSource,
    workspace: Workspace,
    on: OnEvent,
) -> dict[str, Detector]:
    """The zero-shot detector with image evidence of half of the gallery of each class, calibrated on the other half.

    Of a data set whose classes cannot have prompts it is a detector of images alone.

    Returns:
        Its name → the detector; empty if the gallery is too small: fewer than 19 images would calibrate, or no class
        has two.

    Raises:
        ConfigError, DataError, MismatchError, ModelError, StoreError: as for :func:`prompts_of`.
    """
    images = gallery.image_set.data
    inside = np.isin(np.arange(len(images)), gallery.rows)
    used = dataclasses.replace(images, class_of=np.where(inside, images.class_of, -1))
    rows = fitting_rows(used, "auto")
    if rows is None:
        return {}
    if not can_encode(data, workspace):
        alone = image_detector(data.class_names, gallery.image_set.store.space)
        return {IMAGES: with_images_of(alone, used, workspace, rows, "images", on)}
    detector = prompts_of(data, prompts, source, workspace, on, with_images=True)
    return {WITH_IMAGES: with_images_of(detector, used, workspace, rows, "auto", on)}


def with_shots(
    split: Split, shots: int, prompts: PromptOptions, source: ModelSource, workspace: Workspace, on: OnEvent
) -> Detector:
    """The zero-shot detector with image evidence of a split: every image has the use that it has in ``tune``.

    Args:
        split: its shots are fitted on, its validation images weigh the evidence, and its other images calibrate.
        shots: per class, of the protocol.
        prompts, source, workspace, on: as for :func:`deltaoe.scoring.zero_shot.zero_shot_detector`, which says what
            is raised.
    """
    data = split.data
    drawn = draw_from(data, shots=shots, seed=split.seed, domains=split.domains, allow_fewer=True)
    store = workspace.features_of(data)
    detector = zero_shot_detector(data.class_names, prompts, source, workspace, on, LISTED_BACKGROUND)
    fitted = with_image_evidence(detector, drawn_images(data, store, drawn, split.seed))
    return calibrate(fitted, data, store, drawn.calibration, on)
