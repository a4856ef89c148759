"""Tune: a few cached features per class to a calibrated detector."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deltaoe.clip.reference import ModelRef
from deltaoe.clip.source import ModelSource
from deltaoe.errors import ConfigError, DataError, MismatchError
from deltaoe.functional.sampling import FewShotSplit, few_shot_split
from deltaoe.images.labels import require_classes
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.runtime import check_seed
from deltaoe.scoring.detector import Detector
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_store import Digests, FeatureStore
from deltaoe.store.workspace import Workspace
from deltaoe.tuning.options import Prompts

if TYPE_CHECKING:
    from deltaoe.tuning.fit_detector import Tuned
    from deltaoe.tuning.learn import Sample
    from deltaoe.tuning.loop import Step
    from deltaoe.tuning.selection_rule import Choice

# So many images must be left to calibrate before others are set aside to judge settings.
_FEWEST_CALIBRATION = 100


@dataclass(frozen=True)
class TuneOptions:
    """What to tune on, and how; see ``deltaoe tune --help``."""

    prompts: Prompts = field(default_factory=Prompts)
    data: str | None = None
    domains: tuple[str, ...] = ()
    allow_fewer: bool = False
    model: str | None = None
    pretrained: str | None = None
    out: Path | None = None
    device: str = "auto"
    offline: bool = False


@dataclass(frozen=True)
class Drawn:
    """Rows of the data set that are learned from, that judge settings, and that calibrate; and what to say of them."""

    split: FewShotSplit
    spare: npt.NDArray[np.int64]
    calibration: npt.NDArray[np.int64]
    notes: list[str]


@dataclass(frozen=True)
class TuneResult:
    """The detector, where it was saved, and what its shots and its tuning looked like."""

    detector: Detector
    path: Path
    data: DataSet
    drawn: Drawn
    last_epoch: Step
    choice: Choice | None
    notes: list[str]


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
    data = current_data(workspace, options.data)
    require_classes(data.class_names, data.title)
    options.prompts.check(len(data.class_names))
    drawn = draw(data, options)
    workspace.check_writable()
    source = _source(workspace, data, options, on)
    store = _store(workspace, data)
    # Here, because torch takes seconds to import, and a mistake should be answered at once.
    from deltaoe.scoring.zero_shot import TEMPLATE, calibrate, text_features
    from deltaoe.tuning.fit_detector import tune_prompts
    from deltaoe.tuning.learn import new_learner
    from deltaoe.tuning.selection import Material

    clip = source.clip()
    source.remember()
    # A prompt that is too long is said before anything is encoded and kept.
    new_learner(clip, data.class_names, options.prompts.context, options.prompts.seed)
    zero_shot = text_features(data.class_names, TEMPLATE, source, workspace, on)
    shots = drawn.split.shots
    material = Material(
        class_names=data.class_names,
        sample=_sample(store, data.digests[shots], data.class_of[shots]),
        domains=data.domain_of[shots],
        spare=store.features(data.digests[drawn.spare]),
        spare_classes=data.class_of[drawn.spare],
        spare_domains=data.domain_of[drawn.spare],
        zero_shot=zero_shot,
        encode=lambda names: text_features(names, TEMPLATE, source, workspace, on),
        about={
            "space": data.space_id,
            "classes": list(data.class_names),
            "shots": [key.hex() for key in _keys(data.digests[shots])],
            "spare": [key.hex() for key in _keys(data.digests[drawn.spare])],
            "prompts": dataclasses.asdict(options.prompts.context),
            "seed": options.prompts.seed,
            "device": clip.device.type,
        },
    )
    tuned = tune_prompts(
        clip,
        # Under the model's name of today.
        dataclasses.replace(store.space, model=str(source.ref)),
        material,
        options.prompts,
        data.digests[shots],
        on,
        checkpoints=workspace.folder / "tuning",
        about={"domains": list(options.domains), "allow_fewer": options.allow_fewer, "layout": data.layout},
    )
    detector = calibrate(tuned.detector, data, store, drawn.calibration, on)
    path = _save(workspace, options, detector, tuned, on)
    return TuneResult(
        detector, path, data, drawn, tuned.progress.last, tuned.choice, drawn.notes + tuned.notes
    )


def _save(workspace: Workspace, options: TuneOptions, detector: Detector, tuned: Tuned, on: OnEvent) -> Path:
    if tuned.stopped:
        # Not where the finished one would be, nor in the place of the last one.
        path = workspace.detector_file(f"interrupted-{detector.digest[:12]}")
        detector.save(path)
        step = tuned.progress.last
        said = f"stopped after step {step.step} of {step.steps}; the best prompts so far are in {path}"
        on(Event("Tuning", message=f"{said}; the same command goes on"))
        raise KeyboardInterrupt
    path = options.out or workspace.detector_file(f"{options.prompts.shots}-shots-{detector.digest[:12]}")
    detector.save(path)
    if options.out is None:
        workspace.remember(detector=path.stem)
    for checkpoint in tuned.checkpoints:
        checkpoint.forget()
    return path


def _sample(store: FeatureStore, digests: Digests, classes: npt.NDArray[np.int64]) -> Sample:
    """Features of the images and of all the augmented views that every one of them has."""
    from deltaoe.tuning.learn import Sample

    views = range(store.views(digests) + 1)
    return Sample(np.stack([store.features(digests, view) for view in views]), classes)


def _keys(digests: Digests) -> list[bytes]:
    return [row.tobytes() for row in digests]


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


def draw(data: DataSet, options: TuneOptions) -> Drawn:
    """Choose shots, images that judge settings, and calibration images.

    As many images of each class as there are shots judge, if 100 or more are left to calibrate.

    Raises:
        ConfigError: ``shots`` < 1, a seed out of range, or an unknown domain.
        DataError: a class has fewer images than shots, and fewer were not allowed.
    """
    shots, seed = options.prompts.shots, options.prompts.seed
    if shots < 1:
        raise ConfigError(f"--shots must be at least 1, not {shots}")
    check_seed(seed)
    inside = data.rows_in(options.domains)
    labels = np.where(inside, data.class_of, -1).tolist()
    split = few_shot_split(labels, data.keys(), shots, seed)
    counts = {name: split.available.get(i, 0) for i, name in enumerate(data.class_names)}
    short = {name: n for name, n in counts.items() if n < shots}
    if short and not (options.allow_fewer and min(counts.values()) >= 1):
        listed = ", ".join(f"{name} {n}" for name, n in sorted(short.items(), key=lambda item: item[1])[:8])
        smallest = min(counts.values())
        half = max(1, smallest // 2)
        ways = [f"--shots {half} (the rest calibrates the threshold), or --allow-fewer"] if smallest else []
        raise DataError(
            f"{len(short)} of {len(counts)} classes have fewer than {shots} distinct images: {listed}"
            + (" …" if len(short) > 8 else ""),
            hint=f"use {ways[0]}" if ways else "add images, or remove the empty classes and extract again",
        )
    notes = []
    if short:
        notes.append(
            f"{len(short)} of {len(counts)} classes have fewer than {shots} images; they give all they have"
        )
    if len(split.conflicting):
        notes.append(
            f"{len(split.conflicting)} files show an image that also lies under another class; used for nothing"
        )
    if not len(split.rest):
        notes.append(
            "no images are left to calibrate with, so there is no threshold: add images or use fewer --shots"
        )
    spare = np.zeros(0, dtype=np.int64)
    if options.prompts.select == "auto":
        more = few_shot_split(labels, data.keys(), 2 * shots, seed)
        if len(more.rest) >= _FEWEST_CALIBRATION:
            spare = np.setdiff1d(more.shots, split.shots)
    return Drawn(split, spare, np.setdiff1d(split.rest, spare), notes)


def _source(workspace: Workspace, data: DataSet, options: TuneOptions, on: OnEvent) -> ModelSource:
    ref = ModelRef.parse(options.model or data.model, options.pretrained)
    return ModelSource(
        ref,
        workspace,
        device=options.device,
        offline=options.offline,
        on=on,
        expected=workspace.known_space(data.space_id),
        owner=f"the cache of {data.title}",
    )


def _store(workspace: Workspace, data: DataSet) -> FeatureStore:
    space = workspace.known_space(data.space_id)
    if space is None:
        raise MismatchError(
            f"the features of {data.title} are no longer in {workspace.folder}",
            hint="extract or import them again",
        )
    return workspace.store(space)
