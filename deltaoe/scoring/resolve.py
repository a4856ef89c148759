"""The detector that images are scored with: a saved one, or one of zero-shot prompts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from deltaoe.clip.class_notes import RENAME, class_notes
from deltaoe.clip.source import ModelSource
from deltaoe.errors import ConfigError, DataError
from deltaoe.images.class_names import in_words, unreadable_note
from deltaoe.images.label_files import read_label_names
from deltaoe.images.labels import read_labels
from deltaoe.interchange.reading import read_text_features
from deltaoe.progress import OnEvent, silent
from deltaoe.scoring.background import Candidate, ranked_candidates
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.images_alone import UNREAD, check_no_prompts_asked, images_alone
from deltaoe.scoring.options import (
    LISTED_BACKGROUND,
    NONE,
    TEMPLATE,
    ZERO_SHOT_BACKGROUND,
    BackgroundListOptions,
    ScoreOptions,
)
from deltaoe.scoring.saved_detectors import detector_path
from deltaoe.scoring.sides import with_evidence
from deltaoe.scoring.zero_shot import (
    calibrate,
    detector_of_text_features,
    text_features,
    with_selected_settings,
    zero_shot_detector,
)
from deltaoe.scoring.zero_shot_images import fitting_rows, image_detector, why_not_fitted, with_images_of
from deltaoe.store.dataset import DataSet
from deltaoe.store.split_use import split_use, without_evaluated
from deltaoe.store.workspace import Workspace

_UNREAD = "Images alone decide: --evidence both asks the prompts, too."
_UNREAD_TEXT = "Labelled images tell the classes apart without names (--evidence images)."


class Chosen(NamedTuple):
    """The detector that images are scored with.

    Attributes:
        detector: a saved one; or one of zero-shot prompts, given text features, images, or prompts and images.
        origin: where it comes from, in words.
        source: where its model can be loaded from.
        notes: sentences for the user: which evidence it lacks, and what would be needed.
    """

    detector: Detector
    origin: str
    source: ModelSource
    notes: list[str]


def saved_detector(workspace: Workspace, options: ScoreOptions) -> tuple[Detector, str] | None:
    """The detector that the options name, or the last one tuned in the workspace; and its origin in words.

    None if there is neither, or if the options ask for other prompts than a saved detector's.

    Raises:
        ConfigError: the options change a setting that a saved detector fixes.
        DataError: there is no such detector, or it cannot be read.
    """
    if options.detector:
        path = detector_path(workspace, options.detector)
    elif options.prompt_flags or (current := workspace.current_detector()) is None:
        return None
    else:
        path = current
    changed = [
        name
        for name, value in (
            ("--temperature", options.prompts.temperature),
            ("--top-c", options.prompts.top_c),
            ("--background", options.prompts.background.source),
        )
        if value is not None
    ]
    if changed:
        raise ConfigError(
            f"{changed[0]} is fixed in a tuned detector: its calibration was computed with it",
            hint=f"tune again with {changed[0]}, or score with --zero-shot",
        )
    named = path.stem if workspace.detector_file(path.stem) == path else os.path.relpath(path)
    return Detector.load(path), f"tuned detector {named}"


def chosen_detector(
    saved: tuple[Detector, str] | None,
    scored: DataSet | None,
    workspace: Workspace,
    options: ScoreOptions,
    on: OnEvent,
) -> Chosen:
    """The saved detector with the evidence that is asked for, or else a zero-shot one.

    Args:
        saved: what :func:`saved_detector` has found.
        scored, workspace, options, on: as for :func:`zero_shot_detector_for`.

    Raises:
        ConfigError: the saved detector has not that evidence; and as for :func:`zero_shot_detector_for`.
        DataError, MismatchError, ModelError, StoreError: likewise.
    """
    if saved is None:
        return zero_shot_detector_for(scored, workspace, options, on)
    detector, origin = saved
    source = ModelSource(options.model, workspace, detector.space.model, on=on, expected=detector.space)
    return Chosen(with_evidence(detector, options.evidence), origin, source, [])


def zero_shot_detector_for(
    scored: DataSet | None, workspace: Workspace, options: ScoreOptions, on: OnEvent
) -> Chosen:
    """A detector of zero-shot prompts or given text features, calibrated if there are in-distribution images.

    Args:
        scored: the data set that will be scored; None if files will be.
        workspace: has the data sets, and the text features encoded before.
        options: class names, prompts, background, and the choice of τ and c.
        on: receives progress.

    Raises:
        ConfigError: an option is out of range.
        DataError: there are no class names, or no images to choose τ and c with.
        MismatchError: the text features have not the dimension of the image features.
        ModelError, StoreError: the model or the workspace cannot be used.
    """
    data = workspace.dataset(options.data)
    left = () if data is None else split_use(data).evaluated
    data = data and without_evaluated(data)
    default = data.model if data else scored.model if scored else None
    listed = data or scored
    preferred = None if listed is None else workspace.known_space(listed.space_id)
    source = ModelSource(options.model, workspace, default, on=on, preferred=preferred)
    given = _given_text_features(options, data)
    names, notes = (given[0], []) if given is not None else _class_names(options, data)
    alone = images_alone(data, workspace, options, given is not None)
    unread = alone == UNREAD
    if given is None and scored is not None and not alone:
        space = workspace.known_space(scored.space_id)
        if space is not None and space.is_imported:
            raise DataError(
                f"there are no text features to score {scored.title} against: it was imported",
                hint="pass --text-features FILE, or import the classes' text features with the images'",
            )
    fitted = _fitting_rows(data, names, options, alone)

    one_class = fitted is not None and len(names) == 1
    if alone or one_class:
        check_no_prompts_asked(options)
    if data is not None and (alone or one_class):
        detector = image_detector(names, workspace.features_of(data).space)
        why = "one class" if one_class else alone
        origin = "images alone" + ("" if options.evidence == "images" else f" ({why})")
        if unread:
            notes += unreadable_note(names, _UNREAD)
    elif given is not None:
        _, features, origin = given
        images = data if data is not None and options.text_features is None else scored or data
        space = workspace.known_space(images.space_id) if images else source.known_space() or source.space()
        detector = detector_of_text_features(names, features, space, options.prompts)
    else:
        background = ZERO_SHOT_BACKGROUND if fitted is None else LISTED_BACKGROUND
        detector = zero_shot_detector(names, options.prompts, source, workspace, on, background)
        template = options.prompts.template or TEMPLATE
        origin = f"zero-shot prompts {template!r}"
        notes += class_notes(
            names,
            source,
            remedy=f"{options.labels} says the names." if options.labels else RENAME,
            unread=_UNREAD_TEXT,
            template=template,
        )
    if data is not None and _can_calibrate(data, detector):
        store, rows = workspace.store(detector.space), data.distinct_rows()
        if options.select:
            chosen_on = rows if fitted is None else fitted
            detector = with_selected_settings(detector, data, store, chosen_on, options.prompts)
        if fitted is None:
            detector = calibrate(detector, data, store, rows, on)
            origin += f", calibrated on {data.title}{_without(left)}"
            if options.evidence == "auto":
                notes.append(f"Only the prompts were asked: {why_not_fitted(data)}.")
        else:
            detector = with_images_of(detector, data, workspace, fitted, options.evidence, on)
            notes += _without_images(detector)
            origin += (
                f", fitted on {len(fitted)} images of {data.title}{_without(left)}, "
                f"calibrated on {len(detector.calibration)} others"
            )
    elif options.select:
        raise DataError(
            "there are no images of known classes to select with",
            hint="extract them first: deltaoe extract DIR   (DIR holds one folder per class)",
        )
    return Chosen(detector, origin, source, _on_labels(options) + notes)


def _without(splits: Sequence[str]) -> str:
    """That splits of a data set are not used, in words; empty without any."""
    return f" (not its {' and '.join(splits)} images, left for evaluate)" if splits else ""


def _fitting_rows(
    data: DataSet | None, names: Sequence[str], options: ScoreOptions, alone: str
) -> npt.NDArray[np.int64] | None:
    """Rows of the data set to fit image evidence on; None for prompts alone.

    Raises:
        DataError: ``images`` or ``both`` asks for more images than there are.
    """
    usable = data is not None and data.labelled and set(data.class_names) <= set(names)
    if data is None or not usable:
        if options.evidence == "both" or alone:
            raise DataError(
                "there are no labelled images of these classes and no others: their folders must be among the names",
                hint="extract them first: deltaoe extract DIR   (DIR holds one folder per class)",
            )
        return None
    if len(names) == 1 and options.evidence == "both":
        raise DataError(
            f"with one class, {names[0]}, images speak alone",
            hint="leave --evidence out, or use --evidence images",
        )
    return fitting_rows(data, "images" if alone else options.evidence)


def _without_images(detector: Detector) -> list[str]:
    """A sentence on the classes that no images were fitted for."""
    missing = sorted(set(range(len(detector.class_names))) - set(detector.mean_classes.tolist()))
    if not missing:
        return []
    listed = ", ".join(detector.class_names[i] for i in missing[:5]) + (" …" if len(missing) > 5 else "")
    asked = "only their names are asked" if len(detector.text_features) else "no image is taken for them"
    return [
        f"No images were fitted for {listed}: fewer than two distinct images that are in no other class; {asked}."
    ]


def _class_names(options: ScoreOptions, data: DataSet | None) -> tuple[tuple[str, ...], list[str]]:
    """Names in the labels file, in words, or else those of the data set; and sentences on names put into words.

    Raises:
        ConfigError: the file cannot be read.
        DataError: there are no names.
    """
    if options.labels:
        # An id that is a class of the data set means that class.
        return in_words(read_labels(options.labels), keep=set(data.class_names) if data else ())
    names = data.class_names if data else ()
    if not names:
        raise DataError(
            "there are no class names to score against",
            hint="extract images with class folders first (deltaoe extract DIR), or pass --labels FILE, "
            "one name per line",
        )
    return names, []


def _on_labels(options: ScoreOptions) -> list[str]:
    """A sentence on how the labels file was read, unless it has one label per line."""
    told = read_label_names(options.labels)[1] if options.labels else ""
    return [f"{options.labels}: {told}."] if told else []


def _given_text_features(
    options: ScoreOptions, data: DataSet | None
) -> tuple[tuple[str, ...], npt.NDArray[np.float32], str] | None:
    """Class names, text features (K, D) that were computed elsewhere, and their origin in words; None without any."""
    if options.text_features is not None:
        names, features = read_text_features(options.text_features)
        return names, features, f"text features of {options.text_features}"
    if data is None or data.text_features is None or options.labels or options.prompts.template:
        return None
    return data.class_names, data.text_features, f"text features imported with {data.title}"


def _can_calibrate(data: DataSet, detector: Detector) -> bool:
    """Whether the images of a data set are in-distribution for these prompts, and in the same feature space.

    They are in-distribution if all their classes are among the detector's.
    """
    return (
        data.labelled
        and data.space_id == detector.space.id
        and set(data.class_names) <= set(detector.class_names)
    )


def list_background(
    workspace: Workspace, options: BackgroundListOptions, on: OnEvent = silent
) -> list[Candidate]:
    """All candidates for background labels of these classes, the most like the classes first.

    Raises:
        ConfigError, DataError, MismatchError, ModelError, StoreError: as for :func:`zero_shot_detector_for`.
    """
    options.check()
    data = workspace.dataset(options.data)
    source = ModelSource(options.model, workspace, data.model if data else None, on=on)
    given = _given_text_features(options, data)
    names = given[0] if given is not None else _class_names(options, data)[0]

    if given is not None:
        return ranked_candidates(options.prompts.background, names, given[1], None, default=NONE)
    template = options.prompts.template or TEMPLATE

    def encode(labels: Sequence[str]) -> npt.NDArray[np.float32]:
        return text_features(labels, template, source, workspace, on)

    candidates_from = options.prompts.background
    return ranked_candidates(candidates_from, names, encode(names), encode, default=LISTED_BACKGROUND)
