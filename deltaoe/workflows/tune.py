"""Tune: a few cached features per class to a calibrated detector."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from deltaoe.data.dataset import DataSet
from deltaoe.data.detector import Detector
from deltaoe.data.features import FeatureStore
from deltaoe.data.labels import require_classes
from deltaoe.data.workspace import Workspace
from deltaoe.errors import ConfigError, DataError, MismatchError, ModelError
from deltaoe.functional.sampling import FewShotSplit, few_shot_split
from deltaoe.models.reference import ModelRef
from deltaoe.models.tuning import Recipe, Step, default_epochs, fit_context
from deltaoe.runtime import check_seed, generator
from deltaoe.workflows.background import BackgroundOptions, choose_background
from deltaoe.workflows.progress import Event, OnEvent, silent
from deltaoe.workflows.source import ModelSource
from deltaoe.workflows.zero_shot import calibrate


@dataclass(frozen=True)
class TuneOptions:
    """How to tune; see ``deltaoe tune --help``."""

    shots: int = 16
    seed: int = 1
    context_length: int | None = None
    context_phrase: str | None = None
    recipe: Recipe = field(default_factory=Recipe)
    background: BackgroundOptions = field(default_factory=BackgroundOptions)
    data: str | None = None
    domains: tuple[str, ...] = ()
    allow_fewer: bool = False
    model: str | None = None
    pretrained: str | None = None
    out: Path | None = None
    device: str = "auto"
    offline: bool = False


@dataclass(frozen=True)
class TuneResult:
    """The detector, where it was saved, and what its shots and its tuning looked like."""

    detector: Detector
    path: Path
    data: DataSet
    split: FewShotSplit
    last_epoch: Step
    notes: list[str]


def tune(workspace: Workspace, options: TuneOptions | None = None, on: OnEvent = silent) -> TuneResult:
    """Learn context vectors from ``shots`` images per class, calibrate on the other images, save a detector.

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
    options.recipe.check(len(data.class_names))
    options.background.check()
    split, notes = draw_shots(data, options)
    workspace.check_writable()
    source = _source(workspace, data, options, on)
    store = _store(workspace, data)
    clip = source.clip()
    source.remember()

    def report(step: Step) -> None:
        info = {
            "CE": step.cross_entropy,
            "EBM": step.ebm,
            "E2≤E1": step.premise_share,
            "accuracy": step.accuracy,
        }
        on(Event("Tuning", step.step, step.steps, info))

    learner = clip.prompt_learner(
        data.class_names, options.context_length, options.context_phrase, generator(options.seed)
    )
    epochs = options.recipe.epochs or default_epochs(options.shots)
    shots = store.features(data.digests[split.shots])
    last = fit_context(
        learner,
        torch.from_numpy(shots).to(clip.device),
        torch.from_numpy(data.class_of[split.shots]).to(clip.device),
        options.recipe,
        epochs=epochs,
        logit_scale=clip.logit_scale,
        generator=generator(options.seed),
        on_step=report,
    )
    with torch.no_grad():
        text = learner().cpu().numpy()
    if not np.isfinite(text).all():
        raise ModelError("tuning diverged in its last step", hint="lower --learning-rate or --ebm-weight")
    background = choose_background(
        options.background,
        data.class_names,
        text,
        lambda names: clip.encode_behind(
            learner, names, lambda done: on(Event("Encoding background", done, len(names)))
        ).numpy(),
    )
    detector = Detector(
        class_names=data.class_names,
        text_features=text,
        temperature=options.recipe.temperature,
        top_c=options.recipe.top_c,
        calibration=np.empty(0),
        # Under the model's name of today.
        space=dataclasses.replace(store.space, model=str(source.ref)),
        logit_scale=clip.logit_scale,
        context=learner.context.detach().cpu().numpy(),
        background=background.features,
        background_names=background.names,
        shots=data.digests[split.shots],
        settings=_settings(data, options, epochs, len(learner.context))
        | background.settings(options.background),
        facts={
            "shots": len(split.shots),
            "cross_entropy": last.cross_entropy,
            "ebm": last.ebm,
            "premise_share": last.premise_share,
            "shot_accuracy": last.accuracy,
        },
    )
    detector = calibrate(detector, data, store, split.rest, on)
    path = options.out or workspace.detector_file(f"{options.shots}-shots-{detector.digest[:12]}")
    detector.save(path)
    if options.out is None:
        workspace.remember(detector=path.stem)
    return TuneResult(detector, path, data, split, last, notes)


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


def draw_shots(data: DataSet, options: TuneOptions) -> tuple[FewShotSplit, list[str]]:
    """Choose shots and calibration images; return them with what should be said about them.

    Raises:
        ConfigError: ``shots`` < 1, a seed out of range, or an unknown domain.
        DataError: a class has fewer images than shots, and fewer were not allowed.
    """
    if options.shots < 1:
        raise ConfigError(f"--shots must be at least 1, not {options.shots}")
    check_seed(options.seed)
    inside = data.rows_in(options.domains)
    labels = np.where(inside, data.class_of, -1).tolist()
    split = few_shot_split(labels, data.keys(), options.shots, options.seed)
    counts = {name: split.available.get(i, 0) for i, name in enumerate(data.class_names)}
    short = {name: n for name, n in counts.items() if n < options.shots}
    if short and not (options.allow_fewer and min(counts.values()) >= 1):
        listed = ", ".join(f"{name} {n}" for name, n in sorted(short.items(), key=lambda item: item[1])[:8])
        smallest = min(counts.values())
        half = max(1, smallest // 2)
        ways = [f"--shots {half} (the rest calibrates the threshold), or --allow-fewer"] if smallest else []
        raise DataError(
            f"{len(short)} of {len(counts)} classes have fewer than {options.shots} distinct images: {listed}"
            + (" …" if len(short) > 8 else ""),
            hint=f"use {ways[0]}" if ways else "add images, or remove the empty classes and extract again",
        )
    notes = []
    if short:
        notes.append(
            f"{len(short)} of {len(counts)} classes have fewer than {options.shots} images; they give all they have"
        )
    if len(split.conflicting):
        notes.append(
            f"{len(split.conflicting)} files show an image that also lies under another class; used for nothing"
        )
    if not len(split.rest):
        notes.append(
            "no images are left to calibrate with, so there is no threshold: add images or use fewer --shots"
        )
    return split, notes


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


def _settings(data: DataSet, options: TuneOptions, epochs: int, length: int) -> dict[str, object]:
    return {
        **dataclasses.asdict(options.recipe),
        "epochs": epochs,
        "shots": options.shots,
        "seed": options.seed,
        "context_length": length,
        "context_phrase": options.context_phrase,
        "domains": list(options.domains),
        "allow_fewer": options.allow_fewer,
        "layout": data.layout,
    }
