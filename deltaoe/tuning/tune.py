"""``tune``: load a data set, tune prompts on a few of its images, calibrate on others, save the detector."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deltaoe.clip.class_notes import RENAME
from deltaoe.clip.prompt_tokens import prompt_notes
from deltaoe.clip.source import ModelSource
from deltaoe.errors import ConfigError, DataError
from deltaoe.extraction.changes import added_since_extract
from deltaoe.images.class_names import listed_names, mostly_unreadable, unreadable_note
from deltaoe.images.labels import require_classes
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.detector_fields import COMPARISON
from deltaoe.scoring.options import TEMPLATE, PromptOptions
from deltaoe.scoring.saved_detectors import name_taken
from deltaoe.short_repr import counted, number_of_notes, short_repr
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_space import UNNAMED, FeatureSpace
from deltaoe.store.feature_store import Digests, FeatureStore
from deltaoe.store.split_use import split_use
from deltaoe.store.workspace import Workspace
from deltaoe.tuning.data import Draw, Shots, TuningData, draw_from, remembering, require_calibration
from deltaoe.tuning.naming import check_not_taken, is_other, remember
from deltaoe.tuning.options import TuneOptions
from deltaoe.tuning.plan import held_out_alone
from deltaoe.tuning.sentences import outcome

if TYPE_CHECKING:
    from deltaoe.tuning.fit_detector import FittedDetector


@dataclass(frozen=True)
class TuneResult:
    """A calibrated detector, and how it was made.

    Attributes:
        detector: the calibrated detector; with the best prompts so far if Ctrl-C has ended the tuning.
        data: the data set that it was tuned on.
        drawn: rows of the data set by their use.
        fitted: the detector before calibration, and the learned prompts; None if none were learned.
        said: sentences about prompts that were not learned.
        path: the file of the detector; None before :func:`save_detector`.
    """

    detector: Detector
    data: DataSet
    drawn: Draw
    fitted: FittedDetector | None
    said: tuple[str, ...] = ()
    path: Path | None = None

    def __repr__(self) -> str:
        """Detector, number of shots and file; rows and learned prompts would fill the screen."""
        return short_repr(
            self,
            repr(self.detector),
            f"{counted(len(self.drawn.split.shots), 'shot')} of {counted(len(self.data), 'image')}",
            f"saved as {self.path}" if self.path else "not saved",
            number_of_notes(self.notes),
        )

    @property
    def notes(self) -> list[str]:
        """Sentences for the user."""
        return [*self.drawn.notes, *(self.fitted.notes if self.fitted else ()), *self.said]

    def outcome(self) -> list[str]:
        """Sentences: accuracy on validation images, what tuning brought, and what the calibration allows."""
        return outcome(self.detector.facts.get(COMPARISON, {}), len(self.detector.calibration))


def tune_workspace(
    workspace: Workspace, options: TuneOptions | None = None, on: OnEvent = silent
) -> TuneResult:
    """Learn context vectors from a few images per class, calibrate on other images, and save the detector.

    A run that was killed resumes from its checkpoint, with the same result.

    Args:
        workspace: has the data set and its features; the detector is saved there unless ``options.out`` is set.
        options: data set, shots, recipe and model; None for the defaults.
        on: receives progress.

    Raises:
        ConfigError: an option is out of range, or a prompt is too long.
        DataError: there is no data set with classes, or there are too few classes or images.
        MismatchError: the model is another one than that of the features.
        ModelError: the model cannot be loaded, its text tower cannot be tuned, or the loss diverged.
        StoreError: the workspace cannot be read or written.
        KeyboardInterrupt: Ctrl-C. If an epoch has ended, a detector with the best prompts so far has been saved, apart
            from finished ones.
    """
    options = options or TuneOptions()
    options.check()
    data = current_data(workspace, options.data)
    check_not_taken(options, data, workspace)
    result = tune_data(data, workspace, options, on)
    stale = added_since_extract(data, workspace, on)
    result = dataclasses.replace(result, said=(*result.said, *stale))
    return save_detector(result, workspace, options.out, on, options.name)


def tune_data(data: DataSet, workspace: Workspace, options: TuneOptions, on: OnEvent = silent) -> TuneResult:
    """Tune on a data set, which the workspace need not list but whose features it must have; no detector is saved.

    Prompts are learned unless images are the only evidence: by ``options``, of a single class, or where the features
    have no text encoder.

    ``options.data``, ``options.name`` and ``options.out`` have no effect. Errors are those of :func:`tune_workspace`.
    """
    tuning = options.tuning
    options.check()
    why = _no_prompts(data, workspace, options)
    if not why:
        require_classes(data.class_names, data.title)
        tuning.check(len(data.class_names))
    drawn = draw_from(
        data,
        shots=tuning.shots,
        seed=tuning.seed,
        domains=options.domains,
        splits=options.splits,
        allow_fewer=options.allow_fewer,
    )
    if not options.allow_undecided:
        require_calibration(drawn, allow_fewer=options.allow_fewer)
    used = split_use(data, options.splits).sentence(enough=held_out_alone(drawn.held_out))
    on(Event("Tuning", message=" ".join(filter(None, (used, drawn.plan.sentence())))))
    workspace.check_writable()
    if why:
        return _without_prompts(data, workspace, options, drawn, why, on)
    source = ModelSource(
        options.model,
        workspace,
        data.model,
        on=on,
        expected=workspace.known_space(data.space_id),
        owner=f"the cache of {data.title}",
    )
    store = workspace.features_of(data)
    # Imported here: torch takes seconds, and a wrong option should be answered at once.
    from deltaoe.scoring.zero_shot import calibrate, text_features
    from deltaoe.tuning.fit_detector import fit_detector
    from deltaoe.tuning.image_side import with_image_side
    from deltaoe.tuning.learn import new_learner

    clip = source.clip()
    source.remember()
    # Raises an error for a context that is too long before anything is encoded and stored.
    learner = new_learner(clip, data.class_names, tuning.context, tuning.seed)
    said = unreadable_note(data.class_names, RENAME)
    if learner.tokens is not None:
        said += prompt_notes(data.class_names, learner.tokens, RENAME)
    shots, validation = drawn.split.shots, drawn.validation
    tuning_data = TuningData(
        class_names=data.class_names,
        shots=_shots(store, data.digests[shots], data.class_of[shots]),
        domains=data.domain_of[shots],
        validation=store.features(data.digests[validation]),
        validation_classes=data.class_of[validation],
        validation_domains=data.domain_of[validation],
        zero_shot=text_features(data.class_names, TEMPLATE, source, workspace, on),
        encode=remembering(lambda names: text_features(names, TEMPLATE, source, workspace, on)),
        identity={
            "space": data.space_id,
            "classes": list(data.class_names),
            "shots": _hexadecimal(data.digests[shots]),
            "validation": _hexadecimal(data.digests[validation]),
            "prompts": dataclasses.asdict(tuning.context),
            "seed": tuning.seed,
            "device": clip.device.type,
        },
    )
    fitted = fit_detector(
        clip,
        # The model may have another name now than when the features were stored.
        dataclasses.replace(store.space, model=str(source.ref)),
        tuning_data,
        tuning,
        data.digests[shots],
        on,
        checkpoints=workspace.folder / "tuning",
        about=options.about(data.layout),
    )
    detector = with_image_side(fitted.detector, tuning_data, tuning)
    detector = calibrate(detector, data, store, drawn.calibration, on)
    return TuneResult(detector, data, drawn, fitted, tuple(said))


def _no_prompts(data: DataSet, workspace: Workspace, options: TuneOptions) -> str:
    """Why no prompts are learned, in words; empty if they are.

    Raises:
        ConfigError: the evidence asks for prompts, and none can be learned.
        DataError: there are no classes.
    """
    if not data.labelled or not data.class_names:
        require_classes((), data.title)
    evidence = options.tuning.evidence
    if evidence == "images":
        return "--evidence images"
    reason = ""
    if len(data.class_names) == 1:
        reason = f"{data.title} has one class, {data.class_names[0]}"
    elif not _has_text_encoder(workspace.known_space(data.space_id), options.model.asked):
        reason = f"{data.title} was imported without the name of a model that has a text encoder"
    elif evidence == "auto" and not options.tuning.asks_for_prompts and mostly_unreadable(data.class_names):
        return f"CLIP cannot read the class names as words ({listed_names(data.class_names)})"
    if reason and evidence != "auto":
        raise ConfigError(
            f"no prompts can be learned: {reason}", hint="use --evidence images, or leave --evidence out"
        )
    return reason


def _has_text_encoder(space: FeatureSpace | None, model: str | None) -> bool:
    """Whether there is a model whose text encoder may fit the features: of imported ones, their name tells."""
    if space is None or not space.is_imported:
        return True
    # Imported here: it loads torch.
    from deltaoe.clip.loading import is_known_model

    return space.model != UNNAMED and is_known_model(model or space.model)


def _without_prompts(
    data: DataSet, workspace: Workspace, options: TuneOptions, drawn: Draw, why: str, on: OnEvent
) -> TuneResult:
    """Image evidence of the shots, with the text features that came with the data set, if any; no prompts learned."""
    from deltaoe.scoring.image_evidence import with_image_evidence
    from deltaoe.scoring.zero_shot import calibrate, detector_of_text_features
    from deltaoe.scoring.zero_shot_images import image_detector
    from deltaoe.tuning.image_side import drawn_images, with_validation

    tuning, store = options.tuning, workspace.features_of(data)
    given = data.text_features if tuning.evidence == "auto" and len(data.class_names) > 1 else None
    prompts = PromptOptions(background=tuning.background)
    detector = (
        image_detector(data.class_names, store.space)
        if given is None
        else detector_of_text_features(data.class_names, given, store.space, prompts)
    )
    images = drawn_images(data, store, drawn, tuning.seed)
    detector = with_validation(with_image_evidence(detector, images, tuning.evidence), images)
    detector = dataclasses.replace(
        detector,
        shots=data.digests[drawn.split.shots],
        settings={
            **detector.settings,
            "shots": tuning.shots,
            "seed": tuning.seed,
            "evidence": tuning.evidence,
            **options.about(data.layout),
        },
    )
    said = f"No prompts were learned: {why}. Images are compared with the shots"
    said += "." if given is None else ", and with the text features that were imported."
    if tuning.evidence == "auto" and given is None and mostly_unreadable(data.class_names):
        said += f" --evidence both learns prompts all the same. {RENAME}"
    detector = calibrate(detector, data, store, drawn.calibration, on)
    if tuning.asks_for_prompts:
        said += " Options of prompts and of learning have no effect."
    return TuneResult(detector, data, drawn, None, (said,))


def save_detector(
    result: TuneResult, workspace: Workspace, out: Path | None, on: OnEvent, name: str = ""
) -> TuneResult:
    """Save a tuned detector, and delete the checkpoints of its tuning.

    Args:
        result: result of :func:`tune_data`.
        workspace: if ``out`` is None, the detector is saved here and becomes the one that ``score`` uses.
        out: file to save the detector to instead.
        on: receives a message with the path if Ctrl-C has ended the tuning.
        name: name to save it under here; empty is made of its shots and its content.

    Returns:
        The result with the path.

    Raises:
        ConfigError: another detector has this name; it stays, and this one is saved without it.
        StoreError: the file cannot be written.
        KeyboardInterrupt: Ctrl-C has ended the tuning. The detector has been saved apart from finished ones, and the
            checkpoints are still there.
    """
    detector, fitted = result.detector, result.fitted
    if fitted is not None and fitted.stopped:
        # Under a name of its own, and the workspace's current detector stays what it is.
        path = workspace.detector_file(f"interrupted-{detector.digest[:12]}")
        detector.save(path)
        learned = fitted.last_learned
        step = learned.progress.last
        said = (
            f"stopped after step {step.step} of {step.steps} of the {learned.name}; "
            f"the best prompts so far are in {path}"
        )
        on(Event("Tuning", message=f"{said}; the same command goes on"))
        raise KeyboardInterrupt
    own = f"{detector.settings['shots']}-shots-{detector.digest[:12]}"
    taken = out is None and bool(name) and is_other(workspace.detector_file(name), detector)
    path = out or workspace.detector_file(own if taken or not name else name)
    detector.save(path)
    if out is None:
        remember(path.stem, result.data, workspace, current=not taken)
    for checkpoint in fitted.checkpoints if fitted is not None else ():
        checkpoint.delete()
    if taken:
        error = name_taken(name)
        error.hint = f"this one is saved as {own}; to name it: deltaoe detectors rename {own} NEW"
        raise error
    return dataclasses.replace(result, path=path)


def current_data(workspace: Workspace, wanted: str | None) -> DataSet:
    """The data set of this name or folder; the last one with classes for None.

    Raises:
        DataError: there is no such data set.
    """
    data = workspace.dataset(wanted)
    if data is None:
        raise DataError(
            f"nothing with classes has been extracted in {workspace.folder}",
            hint="run first: deltaoe extract DIR   (DIR holds one folder per class)",
        )
    return data


def _shots(store: FeatureStore, digests: Digests, classes: npt.NDArray[np.int64]) -> Shots:
    """The images (n, 32 bytes of digest each) as shots, with as many augmented views as all of them have."""
    views = range(store.views(digests) + 1)
    return Shots(np.stack([store.features(digests, view) for view in views]), classes)


def _hexadecimal(digests: Digests) -> list[str]:
    return [row.tobytes().hex() for row in digests]
