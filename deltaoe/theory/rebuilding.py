"""The energy prompts of a detector, and their prompt learner with the learned context or with the one at the start."""

from __future__ import annotations

from typing import Any

import torch

from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.prompt_learner import PromptLearner
from deltaoe.errors import MismatchError, ModelError
from deltaoe.functional.unit_rows import Rows
from deltaoe.runtime import generator
from deltaoe.scoring.detector import Detector

_TOLERANCE = 1e-2  # largest difference of a component of unit rows: devices and precisions differ by less


def energy_prompts(detector: Detector) -> Rows:
    """Text features (K, D) of the prompts that the EBM loss was about: the energy prompts, or the only ones."""
    return detector.energy_features if len(detector.energy_features) else detector.text_features


def rebuilt_learner(clip: FrozenClip, detector: Detector, *, start: bool = False) -> PromptLearner:
    """The prompt learner whose ``forward()`` returns the text features (K, D) of ``detector.context``.

    That is the context of the energy prompts. The features are those of the learned prompts alone, before a detector
    blends them with zero-shot features. This is the only place that reads the form of the prompts from a detector.

    Args:
        clip: the model that the detector was tuned with.
        detector: a tuned one, with a context.
        start: use the context that tuning started from instead, made from the detector's settings and seed.

    Raises:
        ModelError: the detector has no context.
        MismatchError: the model does not reproduce the detector's text features, or the detector does not say from
            which context tuning started.
    """
    if detector.context is None:
        raise ModelError("this detector has no learned context")
    settings = detector.settings
    form: dict[str, Any] = {
        "position": settings.get("class_position", "end"),
        "class_specific": detector.context.ndim == 3,
    }
    if start:
        seed = settings.get("seed")
        if not isinstance(seed, int):
            raise MismatchError("the detector does not say with which seed its context was drawn")
        phrase = settings.get("context_phrase")
        return clip.prompt_learner(
            detector.class_names,
            detector.context.shape[-2],
            phrase if isinstance(phrase, str) else None,
            generator(seed),
            **form,
        )
    learner = clip.prompt_learner(
        detector.class_names, detector.context.shape[-2], None, generator(0), **form
    )
    if learner.context.shape != detector.context.shape:
        raise MismatchError(
            f"the detector's context has shape {detector.context.shape}, the model's is {tuple(learner.context.shape)}"
        )
    with torch.no_grad():
        learner.context.copy_(torch.from_numpy(detector.context))
        if settings.get("blend") in (None, 1, 1.0):
            difference = float((learner().cpu() - torch.from_numpy(energy_prompts(detector))).abs().max())
            if not difference <= _TOLERANCE:
                raise MismatchError(
                    f"the prompts rebuilt from the detector differ from its own by {difference:.2g}",
                    hint="use the model that it was tuned with",
                )
    return learner
