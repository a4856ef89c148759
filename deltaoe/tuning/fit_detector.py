"""From shots to a detector that is not calibrated yet: choose, learn, blend, find the background."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deltaoe.clip.frozen import FrozenClip
from deltaoe.errors import ModelError
from deltaoe.functional.text_features import blend
from deltaoe.functional.unit_rows import Rows
from deltaoe.progress import Event, OnEvent
from deltaoe.scoring.background import Background, choose_background
from deltaoe.scoring.detector import Detector
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.feature_store import Digests
from deltaoe.tuning.checkpoint import Checkpoint
from deltaoe.tuning.data import TuningData
from deltaoe.tuning.learn import learn, new_learner, text_of
from deltaoe.tuning.loop import Progress
from deltaoe.tuning.options import SELECTED, TuningOptions
from deltaoe.tuning.recipe import Recipe
from deltaoe.tuning.selection import choice_facts, select
from deltaoe.tuning.selection_rule import Choice


@dataclass(frozen=True)
class Fitted:
    """A detector that is not calibrated yet, and how it was tuned.

    Attributes:
        detector: with no calibration scores.
        progress: the loop's last state.
        choice: the settings chosen and those tried; None where nothing was chosen.
        notes: sentences that a reader must see.
        checkpoints: to be removed once the detector is saved.
        stopped: Ctrl-C has ended the tuning, and the detector has the best context so far.
    """

    detector: Detector
    progress: Progress
    choice: Choice | None
    notes: list[str]
    checkpoints: list[Checkpoint]
    stopped: bool = False


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
) -> Fitted:
    """Choose the settings, learn the context, and put the detector together; it is not calibrated yet.

    Args:
        clip: the model through whose text tower prompts are tuned.
        space: the feature space that the detector belongs to.
        data: shots, validation images and zero-shot prompts.
        options: recipe, context, background, and what is chosen.
        digests: (n, 32) of the shots.
        on: progress.
        checkpoints: folder for them; None keeps none.
        about: further settings to note in the detector.

    Raises:
        ConfigError: an option does not fit.
        ModelError: the text tower cannot be tuned, or the loss diverged.
        StoreError: a checkpoint cannot be written.
    """
    options.check(len(data.class_names))
    learner = new_learner(clip, data.class_names, options.context, options.seed)
    recipe, until, notes = options.recipe, 1.0, list[str]()
    choice, kept = None, list[Checkpoint]()
    if options.select == "auto" and not options.fixed >= SELECTED - {"epochs", "steps"}:
        choice, kept = select(clip, data, options, checkpoints, on)
        if choice is None:
            notes.append(
                "too few images to choose λ, α, τ and c with: the defaults are used (4 shots per class do)"
            )
        else:
            chosen = choice.chosen.setting
            until = chosen.stop
            recipe = dataclasses.replace(
                recipe,
                ebm_weight=chosen.ebm_weight,
                blend=chosen.blend,
                temperature=chosen.temperature,
                top_c=min(chosen.top_c, len(data.class_names)),
            )
    shots = data.shots
    epochs = recipe.epochs_for(shots.features.shape[0] * shots.features.shape[1], options.shots)
    last = max(1, round(until * epochs))
    checkpoint = Checkpoint(
        checkpoints, {**data.identity, "recipe": dataclasses.asdict(recipe), "epochs": epochs}
    )
    kept.append(checkpoint)
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
            until=last,
        )
    except KeyboardInterrupt:
        if checkpoint.newest is None:
            raise
        checkpoint.write()
        progress, stopped = checkpoint.newest, True
        learner.precision = "fp32"
    tuned = text_of(learner, progress.best if stopped else None)
    if not np.isfinite(tuned).all():
        raise ModelError("tuning diverged in its last step", hint="lower --learning-rate or --ebm-weight")
    notes += _worse_than_zero_shot(shots.features[0], shots.classes, data.zero_shot, tuned)
    text = blend(data.zero_shot, tuned, recipe.blend)

    def encode(names: Sequence[str]) -> Rows:
        behind = clip.encode_with_context(
            learner, names, lambda done: on(Event("Encoding background", done, len(names)))
        ).numpy()
        return blend(data.encode(names), behind, recipe.blend) if recipe.blend < 1 else behind

    background = choose_background(options.background, data.class_names, text, encode)
    detector = _detector(clip, space, data, options, recipe, text, background, learner.context)
    detector = dataclasses.replace(
        detector,
        shots=digests,
        settings={**detector.settings, "epochs": epochs, "until_epoch": last, **(about or {})},
        facts={
            "shots": shots.features.shape[1],
            "views": shots.features.shape[0] - 1,
            "steps": progress.last.step,
            "cross_entropy": progress.last.cross_entropy,
            "ebm": progress.last.ebm,
            "bound_share": progress.last.bound_share,
            "shot_accuracy": progress.last.accuracy,
            **({"selection": choice_facts(choice)} if choice else {}),
            **({"interrupted": True} if stopped else {}),
        },
    )
    return Fitted(detector, progress, choice, notes, kept, stopped)


def _detector(
    clip: FrozenClip,
    space: FeatureSpace,
    data: TuningData,
    options: TuningOptions,
    recipe: Recipe,
    text: Rows,
    background: Background,
    context: Any,
) -> Detector:
    return Detector(
        class_names=tuple(data.class_names),
        text_features=text,
        temperature=recipe.temperature,
        top_c=recipe.top_c,
        calibration=np.empty(0),
        space=space,
        logit_scale=clip.logit_scale,
        context=context.detach().cpu().numpy(),
        background=background.features,
        background_names=background.names,
        settings={
            **dataclasses.asdict(recipe),
            "shots": options.shots,
            "seed": options.seed,
            "select": options.select,
            "fixed": sorted(options.fixed),
            "context_length": context.shape[-2],
            "context_phrase": options.context.phrase,
            "class_position": options.context.position,
            "class_specific": options.context.class_specific,
            "precision": options.context.precision,
            **background.settings(options.background),
        },
    )


def _worse_than_zero_shot(shots: Rows, classes: Any, zero_shot: Rows, tuned: Rows) -> list[str]:
    before, after = (
        float(np.mean((shots @ text.T).argmax(axis=1) == classes)) for text in (zero_shot, tuned)
    )
    if after >= before:
        return []
    return [
        f"tuning has made it worse: {after:.1%} of the shots are classified right, {before:.1%} by zero-shot prompts; "
        "lower --learning-rate or --ebm-weight, or tune for more --steps"
    ]
