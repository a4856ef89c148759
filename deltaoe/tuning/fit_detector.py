"""From shots to a detector, which is not calibrated yet: learn two contexts, and assemble the detector.

The class prompts are learned by cross-entropy alone: images are classified with them. The energy prompts are learned
with the EBM loss as well: ΔEnergy is computed with them. No single context does both well **[derived]**
(docs/explanation/tuning.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
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
from deltaoe.threads import spinning_little
from deltaoe.tuning.checkpoint import Checkpoint
from deltaoe.tuning.data import Shots, TuningData
from deltaoe.tuning.learn import learn, new_learner, text_features_of
from deltaoe.tuning.loop import Progress
from deltaoe.tuning.options import TUNED_BACKGROUND, TuningOptions
from deltaoe.tuning.recipe import Recipe

CLASS_PROMPTS = "class prompts"
ENERGY_PROMPTS = "energy prompts"


@dataclass(frozen=True)
class LearnedPrompts:
    """Prompts of one context, learned on all shots.

    Attributes:
        name: :data:`CLASS_PROMPTS` or :data:`ENERGY_PROMPTS`.
        recipe: the recipe that they were learned with.
        learner: has the learned context vectors.
        text: (K, D) unit rows, text features of the learned prompts, not blended.
        progress: last state of the tuning loop.
        epochs: number of epochs in the schedule.
        checkpoint: to be deleted once the detector is saved.
        stopped: whether Ctrl-C has ended the learning; the context is then the best one so far.
    """

    name: str
    recipe: Recipe
    learner: PromptLearner
    text: Rows
    progress: Progress
    epochs: int
    checkpoint: Checkpoint
    stopped: bool = False

    @property
    def context(self) -> npt.NDArray[np.float32]:
        """The learned context vectors, of the shape of :attr:`Detector.context`."""
        return np.asarray(self.learner.context.detach().cpu().numpy(), dtype=np.float32)

    def facts(self) -> dict[str, float]:
        """Measurements of the last epoch, JSON values, for the facts of a detector."""
        last = self.progress.last
        return {
            "steps": last.step,
            "cross_entropy": last.cross_entropy,
            "ebm": last.ebm,
            "bound_share": last.bound_share,
            "shot_accuracy": last.accuracy,
        }


@dataclass(frozen=True)
class FittedDetector:
    """A detector that is not calibrated yet, and how it was tuned.

    Attributes:
        detector: the detector, without calibration scores.
        class_prompts: the learned class prompts.
        energy_prompts: the learned energy prompts; None if λ is 0, or Ctrl-C came before their first epoch had ended.
        notes: sentences for the user.
        stopped: whether Ctrl-C has ended the tuning; the detector then has the best prompts so far.
    """

    detector: Detector
    class_prompts: LearnedPrompts
    energy_prompts: LearnedPrompts | None
    notes: list[str]
    stopped: bool = False

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """All checkpoints, to be deleted once the detector is saved."""
        return [one.checkpoint for one in (self.class_prompts, self.energy_prompts) if one is not None]

    @property
    def last_learned(self) -> LearnedPrompts:
        """The prompts that were learned last: those that Ctrl-C has ended, if it has."""
        return self.energy_prompts or self.class_prompts


@spinning_little()
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
    """Learn class prompts and energy prompts, and assemble the detector; it is not calibrated yet.

    Both start from the same context and have the same seed and schedule; they differ in λ alone. If the recipe's λ is
    0, there are no energy prompts.

    Args:
        clip: the model whose text tower encodes the prompts.
        space: the feature space that the detector belongs to.
        data: shots, validation images and zero-shot prompts.
        options: recipe, context and background.
        digests: (n, 32) uint8, digests of the shots.
        on: receives progress.
        checkpoints: folder for checkpoints; None writes none.
        about: further entries for the detector's settings, JSON values.

    Raises:
        ConfigError: an option is out of range, or a prompt is too long.
        ModelError: the text tower cannot be tuned, or the loss diverged.
        StoreError: a checkpoint cannot be written.
        KeyboardInterrupt: Ctrl-C before the first epoch of the class prompts has ended.
    """
    options.check(len(data.class_names))
    recipe = dataclasses.replace(options.recipe, ebm_weight=0.0)
    classes = _learn_prompts(clip, data, options, CLASS_PROMPTS, recipe, checkpoints, on)
    energy, stopped = None, classes.stopped
    if options.recipe.ebm_weight and not stopped:
        try:
            energy = _learn_prompts(clip, data, options, ENERGY_PROMPTS, options.recipe, checkpoints, on)
            stopped = energy.stopped
        except KeyboardInterrupt:
            stopped = True
    detector = _assemble(clip, space, data, options, classes, energy, digests, about or {}, on)
    if stopped:
        detector = dataclasses.replace(detector, facts={**detector.facts, "interrupted": True})
    notes = _worse_than_zero_shot(data.shots, data.zero_shot, classes.text)
    return FittedDetector(detector, classes, energy, notes, stopped)


def _learn_prompts(
    clip: FrozenClip,
    data: TuningData,
    options: TuningOptions,
    name: str,
    recipe: Recipe,
    checkpoints: Path | None,
    on: OnEvent,
) -> LearnedPrompts:
    """Learn a context on all shots; after Ctrl-C, take the best one so far. Raises like :func:`fit_detector`."""
    shots = data.shots
    learner = new_learner(clip, data.class_names, options.context, options.seed)
    epochs = recipe.epochs_for(shots.features.shape[0] * shots.features.shape[1], options.shots)
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
            stage=f"Tuning, {name}",
            on=on,
        )
    except KeyboardInterrupt:
        if checkpoint.latest is None:
            raise
        progress, stopped = checkpoint.latest, True
        learner.precision = "fp32"
    # Written at the end, too: a tuning that is killed later does not learn these prompts again.
    checkpoint.write()
    text = text_features_of(learner, progress.best if stopped else None)
    if not np.isfinite(text).all():
        raise ModelError("tuning diverged in its last step", hint="lower --learning-rate or --ebm-weight")
    return LearnedPrompts(name, recipe, learner, text, progress, epochs, checkpoint, stopped)


def _assemble(
    clip: FrozenClip,
    space: FeatureSpace,
    data: TuningData,
    options: TuningOptions,
    classes: LearnedPrompts,
    energy: LearnedPrompts | None,
    digests: Digests,
    about: dict[str, Any],
    on: OnEvent,
) -> Detector:
    """The detector of the blended prompts, and of background labels in the context that ΔEnergy is computed with."""
    compared = energy or classes
    recipe, learner = compared.recipe, compared.learner
    text, compared_text = (blend(data.zero_shot, one.text, recipe.blend) for one in (classes, compared))

    def encode(names: Sequence[str]) -> Rows:
        tuned = clip.encode_with_context(
            learner, names, lambda done: on(Event("Encoding background", done, len(names)))
        ).numpy()
        return blend(data.encode(names), tuned, recipe.blend) if recipe.blend < 1 else tuned

    background = choose_background(
        options.background, data.class_names, compared_text, encode, default=TUNED_BACKGROUND
    )
    detector = Detector(
        class_names=tuple(data.class_names),
        text_features=text,
        temperature=recipe.temperature,
        top_c=recipe.top_c,
        calibration=np.empty(0),
        space=space,
        logit_scale=clip.logit_scale,
        context=compared.context,
        background=background.features,
        background_names=background.names,
        shots=digests,
        settings={
            **_settings(options, recipe, learner.context.shape[-2]),
            **background.settings(),
            "epochs": compared.epochs,
            **about,
        },
        facts={
            "shots": data.shots.features.shape[1],
            "views": data.shots.features.shape[0] - 1,
            **classes.facts(),
        },
    )
    if energy is None:
        return detector
    return dataclasses.replace(
        detector,
        energy_features=compared_text,
        class_context=classes.context,
        facts={**detector.facts, **{f"energy_{name}": value for name, value in energy.facts().items()}},
    )


def _settings(options: TuningOptions, recipe: Recipe, context_length: int) -> dict[str, Any]:
    """Entries about the recipe and the options for :attr:`Detector.settings`, JSON values."""
    return {
        **dataclasses.asdict(recipe),
        "shots": options.shots,
        "seed": options.seed,
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
        "lower --learning-rate, or tune for more --steps"
    ]
