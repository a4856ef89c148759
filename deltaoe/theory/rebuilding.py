"""The prompt learner that a detector's context belongs to, as it is now and as it started."""

from __future__ import annotations

from typing import Any

import torch

from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.prompt_learner import PromptLearner
from deltaoe.errors import MismatchError, ModelError
from deltaoe.runtime import generator
from deltaoe.scoring.detector import Detector

_TOLERANCE = 1e-2  # of a component of a unit row: devices and precisions differ by less


def rebuilt_learner(clip: FrozenClip, detector: Detector, *, start: bool = False) -> PromptLearner:
    """The learner whose ``forward()`` gives the text features of the detector's learned context.

    Everything about a prompt's form that a detector stores is read here and nowhere else. The features are those of
    the learned prompts alone: a detector that blends them with others is rebuilt before that.

    Args:
        clip: the model that it was tuned with.
        detector: with a context.
        start: with the context that tuning started from, by the settings and the seed it was made with, instead.

    Raises:
        ModelError: it has no context.
        MismatchError: the model does not give the detector's own features, or the start cannot be known.
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
            found = learner().cpu()
            apart = float((found - torch.from_numpy(detector.text_features)).abs().max())
            if not apart <= _TOLERANCE:
                raise MismatchError(
                    f"the prompts rebuilt from the detector differ from its own by {apart:.2g}",
                    hint="use the model that it was tuned with",
                )
    return learner
