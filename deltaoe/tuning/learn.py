"""Learning context vectors: the prompts at their start, and the tuning loop with its checkpoints and progress line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.prompt_learner import Precision, PromptLearner
from deltaoe.errors import ConfigError
from deltaoe.functional.unit_rows import Rows
from deltaoe.progress import Event, OnEvent
from deltaoe.runtime import PRECISIONS, generator, tuning_precision
from deltaoe.tuning.checkpoint import Checkpoint
from deltaoe.tuning.data import Shots
from deltaoe.tuning.loop import Progress, Step, TrainingSet, fit_context
from deltaoe.tuning.options import ContextOptions
from deltaoe.tuning.recipe import Recipe


def new_learner(clip: FrozenClip, names: Sequence[str], options: ContextOptions, seed: int) -> PromptLearner:
    """The prompts of K classes, with context vectors at their start.

    Args:
        clip: the model whose text tower encodes the prompts.
        names: K class names.
        options: number, start and place of the context vectors.
        seed: seed of a random start.

    Raises:
        ConfigError: the context is empty, a prompt is too long, or an option has no such choice.
        ModelError: the text tower cannot be tuned.
    """
    return clip.prompt_learner(
        names,
        options.length,
        options.phrase,
        generator(seed),
        position=options.position,
        class_specific=options.class_specific,
        chunk=options.chunk,
        precision=_precision(options.precision, clip),
    )


def learn(
    clip: FrozenClip,
    learner: PromptLearner,
    shots: Shots,
    anchor: Rows,
    recipe: Recipe,
    checkpoint: Checkpoint,
    *,
    epochs: int,
    seed: int,
    stage: str,
    on: OnEvent,
) -> Progress:
    """Run the tuning loop, from the checkpoint if there is one; the learner computes in full precision afterwards.

    Args:
        clip: the model, used for its device and logit scale.
        learner: its context vectors are learned in place.
        shots: the images to learn from, with their views.
        anchor: (K, D) unit rows, text features of the zero-shot prompts.
        recipe: weights of the losses, and schedule.
        checkpoint: written while the loop runs; the caller deletes it.
        epochs: number of passes over the shots in the schedule.
        seed: seed of the order of the shots.
        stage: name of this tuning on the progress line.
        on: receives the progress of every step.

    Returns:
        The state after the last epoch.

    Raises:
        ModelError: the loss is no longer finite.
        StoreError: a checkpoint cannot be written.
    """
    start = checkpoint.load(lambda sentence: on(Event(stage, message=sentence)))
    if start is not None and start.last.epoch < epochs:
        on(Event(stage, message=f"{stage} goes on after step {start.last.step} of {start.last.steps}"))

    def report(step: Step) -> None:
        info = {
            "accuracy": step.accuracy,
            "CE": step.cross_entropy,
            "EBM": step.ebm,
            "E2≤E1": step.bound_share,
        }
        on(Event(stage, step.step, step.steps, info))

    if start is not None and start.last.epoch >= epochs:
        progress = start
        with torch.no_grad():
            learner.context.copy_(start.context)
    else:
        progress = fit_context(
            learner,
            TrainingSet(
                torch.from_numpy(shots.features.reshape(-1, shots.features.shape[-1])).to(clip.device),
                torch.from_numpy(np.tile(shots.classes, len(shots.features))).to(clip.device),
                clip.logit_scale,
                torch.from_numpy(anchor).to(clip.device) if recipe.anchor else None,
            ),
            recipe,
            epochs=epochs,
            generator=generator(seed),
            start=start,
            on_step=report,
            on_epoch=checkpoint.record,
        )
    learner.precision = "fp32"
    return progress


def text_features_of(learner: PromptLearner, context: torch.Tensor | None = None) -> Rows:
    """Text features (K, D), unit rows, of a learner's prompts; ``context``, if given, replaces its context vectors."""
    with torch.no_grad():
        if context is not None:
            learner.context.copy_(context)
        return np.asarray(learner().cpu().numpy(), dtype=np.float32)


def _precision(wanted: str, clip: FrozenClip) -> Precision:
    """The precision named, or the device's own for ``auto``. Raises ConfigError if there is no such precision."""
    if wanted == "auto":
        wanted = tuning_precision(clip.device)
    if wanted not in PRECISIONS:
        raise ConfigError(f"unknown precision {wanted!r}", hint=f"use auto, {', '.join(PRECISIONS)}")
    return wanted  # type: ignore[return-value]
