"""From shots to a detector, which is not calibrated yet: choose settings, learn the context, assemble the detector."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.prompt_learner import PromptLearner
from deltaoe.errors import ModelError
from deltaoe.functional.text_features import blend
from deltaoe.functional.unit_rows import Rows
from deltaoe.progress import Event, OnEvent
from deltaoe.scoring.background import choose_background
from deltaoe.scoring.detector import Detector
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.feature_store import Digests
from deltaoe.tuning.checkpoint import Checkpoint
from deltaoe.tuning.data import Shots, TuningData
from deltaoe.tuning.learn import learn, new_learner, text_features_of
from deltaoe.tuning.loop import Progress
from deltaoe.tuning.options import SELECTED, TUNED_BACKGROUND, TuningOptions
from deltaoe.tuning.recipe import Recipe
from deltaoe.tuning.selection import choice_facts, select_on_folds
from deltaoe.tuning.selection_rule import Choice


@dataclass(frozen=True)
class FittedDetector:
    """A detector that is not calibrated yet, and how it was tuned.

    Attributes:
        detector: the detector, without calibration scores.
        progress: last state of the tuning loop.
        choice: the chosen settings and those that were tried; None if settings were not chosen.
        notes: sentences for the user.
        checkpoints: all checkpoints, to be deleted once the detector is saved.
        stopped: whether Ctrl-C has ended the tuning; the detector then has the best context so far.
    """

    detector: Detector
    progress: Progress
    choice: Choice | None
    notes: list[str]
    checkpoints: list[Checkpoint]
    stopped: bool = False


@dataclass(frozen=True)
class _ChosenSettings:
    """The recipe to tune with, the share of its schedule to run, and how both were chosen."""

    recipe: Recipe
    stop: float = 1.0
    choice: Choice | None = None
    notes: list[str] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)


@dataclass(frozen=True)
class _LearnedPrompts:
    """Learned prompts: text features (K, D), the loop's last state, and the schedule up to the last epoch run."""

    text: Rows
    progress: Progress
    epochs: int
    last_epoch: int
    checkpoint: Checkpoint
    stopped: bool


def fit_detector(
    clip: FrozenClip,
    space: FeatureSpace,
    data: TuningData,
    options: TuningOptions,
    digests: Digests,
    on: OnEvent,
    *,
    checkpoints: Path | None = None,
    about: dict[str, Any] | None = None,
) -> FittedDetector:
    """Choose the settings, learn the context vectors, and assemble the detector; it is not calibrated yet.

    Args:
        clip: the model whose text tower encodes the prompts.
        space: the feature space that the detector belongs to.
        data: shots, validation images and zero-shot prompts.
        options: recipe, context, background, and whether settings are chosen.
        digests: (n, 32) uint8, digests of the shots.
        on: receives progress.
        checkpoints: folder for checkpoints; None writes none.
        about: further entries for the detector's settings, JSON values.

    Raises:
        ConfigError: an option is out of range, or a prompt is too long.
        ModelError: the text tower cannot be tuned, or the loss diverged.
        StoreError: a checkpoint cannot be written.
        KeyboardInterrupt: Ctrl-C before the first epoch of the last tuning has ended.
    """
    options.check(len(data.class_names))
    learner = new_learner(clip, data.class_names, options.context, options.seed)
    chosen = _choose_settings(clip, data, options, checkpoints, on)
    learned = _learn_prompts(clip, learner, data, options, chosen, checkpoints, on)
    detector = _assemble(clip, space, data, options, chosen, learned, learner, digests, about or {}, on)
    return FittedDetector(
        detector,
        learned.progress,
        chosen.choice,
        chosen.notes + _worse_than_zero_shot(data.shots, data.zero_shot, learned.text),
        [*chosen.checkpoints, learned.checkpoint],
        learned.stopped,
    )


def _choose_settings(
    clip: FrozenClip, data: TuningData, options: TuningOptions, checkpoints: Path | None, on: OnEvent
) -> _ChosenSettings:
    """The settings chosen on folds; those of the options if nothing is left to choose, or images are too few."""
    recipe = options.recipe
    # If the other values are all fixed, the moment to stop is not chosen either.
    if options.select == "off" or options.fixed >= SELECTED - {"epochs", "steps"}:
        return _ChosenSettings(recipe)
    choice, written = select_on_folds(clip, data, options, checkpoints, on)
    if choice is None:
        note = (
            "too few images to choose λ, the blend weight, τ and c with: the defaults are used "
            "(3 shots per class are enough if all are of one domain)"
        )
        return _ChosenSettings(recipe, notes=[note], checkpoints=written)
    chosen = choice.chosen.setting
    recipe = dataclasses.replace(
        recipe,
        ebm_weight=chosen.ebm_weight,
        blend=chosen.blend,
        temperature=chosen.temperature,
        top_c=min(chosen.top_c, len(data.class_names)),
    )
    return _ChosenSettings(recipe, chosen.stop, choice, checkpoints=written)


def _learn_prompts(
    clip: FrozenClip,
    learner: PromptLearner,
    data: TuningData,
    options: TuningOptions,
    chosen: _ChosenSettings,
    checkpoints: Path | None,
    on: OnEvent,
) -> _LearnedPrompts:
    """Learn the context vectors on all shots; after Ctrl-C, take the best ones so far."""
    shots, recipe = data.shots, chosen.recipe
    epochs = recipe.epochs_for(shots.features.shape[0] * shots.features.shape[1], options.shots)
    last_epoch = max(1, round(chosen.stop * epochs))
    checkpoint = Checkpoint(
        checkpoints, {**data.identity, "recipe": dataclasses.asdict(recipe), "epochs": epochs}
    )
    stopped = False
    try:
        progress = learn(
            clip,
            learner,
            shots,
            data.zero_shot,
            recipe,
            checkpoint,
            epochs=epochs,
            seed=options.seed,
            stage="Tuning",
            on=on,
            until=last_epoch,
        )
    except KeyboardInterrupt:
        if checkpoint.latest is None:
            raise
        checkpoint.write()
        progress, stopped = checkpoint.latest, True
        learner.precision = "fp32"
    text = text_features_of(learner, progress.best if stopped else None)
    if not np.isfinite(text).all():
        raise ModelError("tuning diverged in its last step", hint="lower --learning-rate or --ebm-weight")
    return _LearnedPrompts(text, progress, epochs, last_epoch, checkpoint, stopped)


def _assemble(
    clip: FrozenClip,
    space: FeatureSpace,
    data: TuningData,
    options: TuningOptions,
    chosen: _ChosenSettings,
    learned: _LearnedPrompts,
    learner: PromptLearner,
    digests: Digests,
    about: dict[str, Any],
    on: OnEvent,
) -> Detector:
    """The detector of the blended prompts and of background labels with the same context."""
    recipe, progress = chosen.recipe, learned.progress
    text = blend(data.zero_shot, learned.text, recipe.blend)

    def encode(names: Sequence[str]) -> Rows:
        tuned = clip.encode_with_context(
            learner, names, lambda done: on(Event("Encoding background", done, len(names)))
        ).numpy()
        return blend(data.encode(names), tuned, recipe.blend) if recipe.blend < 1 else tuned

    background = choose_background(
        options.background, data.class_names, text, encode, default=TUNED_BACKGROUND
    )
    return Detector(
        class_names=tuple(data.class_names),
        text_features=text,
        temperature=recipe.temperature,
        top_c=recipe.top_c,
        calibration=np.empty(0),
        space=space,
        logit_scale=clip.logit_scale,
        context=learner.context.detach().cpu().numpy(),
        background=background.features,
        background_names=background.names,
        shots=digests,
        settings={
            **_settings(options, recipe, learner.context.shape[-2]),
            **background.settings(),
            "epochs": learned.epochs,
            "until_epoch": learned.last_epoch,
            **about,
        },
        facts={
            "shots": data.shots.features.shape[1],
            "views": data.shots.features.shape[0] - 1,
            "steps": progress.last.step,
            "cross_entropy": progress.last.cross_entropy,
            "ebm": progress.last.ebm,
            "bound_share": progress.last.bound_share,
            "shot_accuracy": progress.last.accuracy,
            **({"selection": choice_facts(chosen.choice)} if chosen.choice else {}),
            **({"interrupted": True} if learned.stopped else {}),
        },
    )


def _settings(options: TuningOptions, recipe: Recipe, context_length: int) -> dict[str, Any]:
    """Entries about the recipe and the options for :attr:`Detector.settings`, JSON values."""
    return {
        **dataclasses.asdict(recipe),
        "shots": options.shots,
        "seed": options.seed,
        "select": options.select,
        "fixed": sorted(options.fixed),
        "context_length": context_length,
        "context_phrase": options.context.phrase,
        "class_position": options.context.position,
        "class_specific": options.context.class_specific,
        "precision": options.context.precision,
    }


def _worse_than_zero_shot(shots: Shots, zero_shot: Rows, tuned: Rows) -> list[str]:
    """One sentence if the learned prompts (K, D) classify fewer shots right than the zero-shot prompts do."""

    def accuracy(text: npt.NDArray[np.float32]) -> float:
        return float(np.mean((shots.features[0] @ text.T).argmax(axis=1) == shots.classes))

    before, after = accuracy(zero_shot), accuracy(tuned)
    if after >= before:
        return []
    return [
        f"tuning has made it worse: {after:.1%} of the shots are classified right, {before:.1%} by zero-shot prompts; "
        "lower --learning-rate or --ebm-weight, or tune for more --steps"
    ]
