"""Tune: load a data set, tune prompts on a few of its images, calibrate on others, save a detector."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deltaoe.clip.source import ModelSource
from deltaoe.errors import DataError
from deltaoe.images.labels import require_classes
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import TEMPLATE
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_store import Digests, FeatureStore
from deltaoe.store.workspace import Workspace
from deltaoe.tuning.data import Draw, Shots, TuningData, draw
from deltaoe.tuning.options import TuneOptions

if TYPE_CHECKING:
    from deltaoe.tuning.fit_detector import Fitted
    from deltaoe.tuning.loop import Step
    from deltaoe.tuning.selection_rule import Choice


@dataclass(frozen=True)
class TuneResult:
    """A calibrated detector, and what its images and its tuning looked like.

    Attributes:
        detector: calibrated; with the best context so far where Ctrl-C has ended the tuning.
        data: the data set it was tuned on.
        drawn: the rows of the data set by their use.
        fitted: the detector before it was calibrated, the loop's last state, the choice of settings.
        path: where it was saved; None before :func:`save_detector`.
    """

    detector: Detector
    data: DataSet
    drawn: Draw
    fitted: Fitted
    path: Path | None = None

    @property
    def last_epoch(self) -> Step:
        """Means over the shots in the last epoch."""
        return self.fitted.progress.last

    @property
    def choice(self) -> Choice | None:
        """The settings chosen and those tried; None where nothing was chosen."""
        return self.fitted.choice

    @property
    def notes(self) -> list[str]:
        """Sentences that a reader must see."""
        return self.drawn.notes + self.fitted.notes


def tune_workspace(
    workspace: Workspace, options: TuneOptions | None = None, on: OnEvent = silent
) -> TuneResult:
    """Learn context vectors from a few images per class, calibrate on the other images, save a detector.

    A run that was killed goes on where it was, with the same result. Ctrl-C while the context is learned saves a
    detector with the best one so far beside the unfinished work, then raises KeyboardInterrupt.

    Raises:
        ConfigError: an option does not fit.
        DataError: nothing was extracted, too few classes or images.
        ModelError: the model can't be loaded or its text tower can't be tuned; the loss diverged.
        MismatchError: another model than the one the features came from.
        StoreError: the workspace cannot be read or written.
    """
    options = options or TuneOptions()
    result = tune_data(current_data(workspace, options.data), workspace, options, on)
    return save_detector(result, workspace, options.out, on)


def tune_data(data: DataSet, workspace: Workspace, options: TuneOptions, on: OnEvent = silent) -> TuneResult:
    """Tune on a data set whose features are in the workspace, which need not list it; nothing is saved.

    ``options.data`` and ``options.out`` are not looked at. Raises like :func:`tune_workspace`.
    """
    require_classes(data.class_names, data.title)
    tuning = options.tuning
    options.check()
    tuning.check(len(data.class_names))
    inside = data.rows_in(options.domains)
    drawn = draw(
        np.where(inside, data.class_of, -1).tolist(),
        data.keys(),
        data.class_names,
        shots=tuning.shots,
        seed=tuning.seed,
        validate=tuning.select == "auto",
        allow_fewer=options.allow_fewer,
    )
    workspace.check_writable()
    source = ModelSource(
        options.model,
        workspace,
        data.model,
        on=on,
        expected=workspace.known_space(data.space_id),
        owner=f"the cache of {data.title}",
    )
    store = workspace.features_of(data)
    # Here, because torch takes seconds to import, and a mistake should be answered at once.
    from deltaoe.scoring.zero_shot import calibrate, text_features
    from deltaoe.tuning.fit_detector import fit_detector
    from deltaoe.tuning.learn import new_learner

    clip = source.clip()
    source.remember()
    # A prompt that is too long is said before anything is encoded and kept.
    new_learner(clip, data.class_names, tuning.context, tuning.seed)
    shots, validation = drawn.split.shots, drawn.validation
    tuning_data = TuningData(
        class_names=data.class_names,
        shots=_shots(store, data.digests[shots], data.class_of[shots]),
        domains=data.domain_of[shots],
        validation=store.features(data.digests[validation]),
        validation_classes=data.class_of[validation],
        validation_domains=data.domain_of[validation],
        zero_shot=text_features(data.class_names, TEMPLATE, source, workspace, on),
        encode=lambda names: text_features(names, TEMPLATE, source, workspace, on),
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
        # Under the model's name of today.
        dataclasses.replace(store.space, model=str(source.ref)),
        tuning_data,
        tuning,
        data.digests[shots],
        on,
        checkpoints=workspace.folder / "tuning",
        about={"domains": list(options.domains), "allow_fewer": options.allow_fewer, "layout": data.layout},
    )
    return TuneResult(calibrate(fitted.detector, data, store, drawn.calibration, on), data, drawn, fitted)


def save_detector(result: TuneResult, workspace: Workspace, out: Path | None, on: OnEvent) -> TuneResult:
    """Save a tuned detector, and forget what a killed run would have gone on from.

    Args:
        result: from :func:`tune_data`.
        workspace: keeps the detector if ``out`` is None; it is then the one that ``score`` uses.
        out: another file for it.
        on: told where a detector lies whose tuning Ctrl-C has ended.

    Raises:
        StoreError: the file cannot be written.
        KeyboardInterrupt: Ctrl-C has ended the tuning. The detector is saved apart from finished ones.
    """
    detector, fitted = result.detector, result.fitted
    if fitted.stopped:
        # Not where the finished one would be, nor in the place of the last one.
        path = workspace.detector_file(f"interrupted-{detector.digest[:12]}")
        detector.save(path)
        step = fitted.progress.last
        said = f"stopped after step {step.step} of {step.steps}; the best prompts so far are in {path}"
        on(Event("Tuning", message=f"{said}; the same command goes on"))
        raise KeyboardInterrupt
    path = out or workspace.detector_file(f"{detector.settings['shots']}-shots-{detector.digest[:12]}")
    detector.save(path)
    if out is None:
        workspace.remember(detector=path.stem)
    for checkpoint in fitted.checkpoints:
        checkpoint.forget()
    return dataclasses.replace(result, path=path)


def current_data(workspace: Workspace, wanted: str | None) -> DataSet:
    """The data set ``wanted``, or the last one with classes.

    Raises:
        DataError: there is none.
    """
    data = workspace.dataset(wanted)
    if data is None:
        raise DataError(
            f"nothing with classes has been extracted in {workspace.folder}",
            hint="run first: deltaoe extract DIR   (DIR holds one folder per class)",
        )
    return data


def _shots(store: FeatureStore, digests: Digests, classes: npt.NDArray[np.int64]) -> Shots:
    """Features of the images and of all the augmented views that every one of them has."""
    views = range(store.views(digests) + 1)
    return Shots(np.stack([store.features(digests, view) for view in views]), classes)


def _hexadecimal(digests: Digests) -> list[str]:
    return [row.tobytes().hex() for row in digests]
