"""Learning a context: prompts at their start, the loop, checkpoints from which a killed run goes on."""

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
from deltaoe.tuning.loop import Problem, Progress, Step, fit_context
from deltaoe.tuning.options import ContextOptions
from deltaoe.tuning.recipe import Recipe


def new_learner(clip: FrozenClip, names: Sequence[str], options: ContextOptions, seed: int) -> PromptLearner:
    """Prompts of K classes with a context that has not been learned yet.

    Args:
        clip: the model through whose text tower prompts are encoded.
        names: K class names.
        options: the context vectors.
        seed: of a random start.

    Raises:
        ConfigError: the context is empty, a prompt too long, or an option unknown.
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
    until: int | None = None,
    keep: Sequence[int] = (),
) -> Progress:
    """Run the loop, from a checkpoint if there is one; afterwards the learner computes in full precision.

    Args:
        clip: the model, for its device and logit scale.
        learner: its context is learned in place.
        shots: images that are learned from, with their views.
        anchor: (K, D) unit rows, the zero-shot text features.
        recipe: losses and schedule.
        checkpoint: written while the loop runs; the caller removes it.
        epochs: passes over the shots that the schedule is made for.
        seed: of the order of the shots.
        stage: the name of this tuning on the progress line.
        on: progress of every step.
        until: stop after this epoch; None for the end of the schedule.
        keep: epochs whose context is kept in the result.

    Returns:
        The state after the last epoch.

    Raises:
        ModelError: the loss is no longer finite.
        StoreError: a checkpoint cannot be written.
    """
    start, last = checkpoint.load(), epochs if until is None else min(until, epochs)
    if start is not None and start.last.epoch < last:
        on(Event(stage, message=f"{stage} goes on after step {start.last.step} of {start.last.steps}"))

    def report(step: Step) -> None:
        info = {
            "CE": step.cross_entropy,
            "EBM": step.ebm,
            "E2≤E1": step.bound_share,
            "accuracy": step.accuracy,
        }
        on(Event(stage, step.step, step.steps, info))

    if start is not None and start.last.epoch >= last:
        progress = start
        with torch.no_grad():
            learner.context.copy_(start.context)
    else:
        progress = fit_context(
            learner,
            Problem(
                torch.from_numpy(shots.features.reshape(-1, shots.features.shape[-1])).to(clip.device),
                torch.from_numpy(np.tile(shots.classes, len(shots.features))).to(clip.device),
                clip.logit_scale,
                torch.from_numpy(anchor).to(clip.device) if recipe.anchor else None,
            ),
            recipe,
            epochs=epochs,
            generator=generator(seed),
            until=last,
            keep=keep,
            start=start,
            on_step=report,
            on_epoch=checkpoint.keep,
        )
    learner.precision = "fp32"
    return progress


def text_of(learner: PromptLearner, context: torch.Tensor | None = None) -> Rows:
    """Text features (K, D) of a learner, at another context if one is given, which it then has."""
    with torch.no_grad():
        if context is not None:
            learner.context.copy_(context)
        return np.asarray(learner().cpu().numpy(), dtype=np.float32)


def _precision(wanted: str, clip: FrozenClip) -> Precision:
    if wanted == "auto":
        wanted = tuning_precision(clip.device)
    if wanted not in PRECISIONS:
        raise ConfigError(f"unknown precision {wanted!r}", hint=f"use auto, {', '.join(PRECISIONS)}")
    return wanted  # type: ignore[return-value]
