"""Learning a context: prompts set up, the loop run, checkpoints kept so that a killed run goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from deltaoe.clip.frozen import FrozenClip
from deltaoe.clip.prompt_learner import Precision, PromptLearner
from deltaoe.errors import ConfigError
from deltaoe.functional.unit_rows import Rows
from deltaoe.progress import Event, OnEvent
from deltaoe.runtime import PRECISIONS, generator, tuning_precision
from deltaoe.store.feature_space import canonical_json
from deltaoe.tuning.checkpoint import load_checkpoint, save_checkpoint
from deltaoe.tuning.loop import Problem, Progress, Step, fit_context
from deltaoe.tuning.options import ContextOptions
from deltaoe.tuning.recipe import Recipe

_SAVE_SECONDS = 5.0
# To be raised when an old checkpoint would no longer lead to the same result.
_FORMAT = 1


@dataclass(frozen=True)
class Sample:
    """Images that are learned from.

    Attributes:
        features: (V, n, D) unit rows: of each image, and of its augmented views.
        classes: (n,) class indices.
    """

    features: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int64]

    def rows(self, rows: npt.NDArray[np.int64], classes: npt.NDArray[np.int64]) -> Sample:
        """Some of them, with classes counted within ``classes``, ascending."""
        return Sample(self.features[:, rows], np.searchsorted(classes, self.classes[rows]).astype(np.int64))


class Checkpoint:
    """Where one tuning stands, in a file named by everything that it depends on.

    Args:
        folder: of checkpoints; None keeps nothing.
        about: plain values that decide the result.
    """

    def __init__(self, folder: Path | None, about: dict[str, object]) -> None:
        key = hashlib.sha256(canonical_json({"format": _FORMAT, **about}).encode()).hexdigest()[:24]
        self.path = None if folder is None else folder / f"{key}.safetensors"
        self._saved = time.monotonic()
        self.newest: Progress | None = None

    def load(self) -> Progress | None:
        """Where it stood; None if it has not begun, or if the file is of no use."""
        found = None if self.path is None else load_checkpoint(self.path)
        if found is None:
            return None
        head, arrays = found
        try:
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
            progress = Progress(
                last=Step(**head["last"]),
                best_loss=float(head["best_loss"]),
                best=tensors["best"],
                context=tensors["context"],
                kept={int(name[5:]): t for name, t in tensors.items() if name.startswith("kept.")},
                optimiser={name[10:]: t for name, t in tensors.items() if name.startswith("optimiser.")},
                generator=tensors["generator"],
            )
        except (KeyError, TypeError, ValueError):
            return None
        self.newest = progress
        return progress

    def keep(self, progress: Progress) -> None:
        """Remember; write it every few seconds."""
        self.newest = progress
        if time.monotonic() - self._saved > _SAVE_SECONDS:
            self.write()

    def write(self) -> None:
        """Write what is remembered. Raises StoreError."""
        self._saved = time.monotonic()
        if self.path is None or self.newest is None:
            return
        one = self.newest
        tensors = {"best": one.best, "context": one.context, "generator": one.generator}
        tensors |= {f"kept.{epoch}": context for epoch, context in one.kept.items()}
        tensors |= {f"optimiser.{name}": tensor for name, tensor in one.optimiser.items()}
        head = {"last": dataclasses.asdict(one.last), "best_loss": one.best_loss}
        save_checkpoint(self.path, head, {name: tensor.cpu().numpy() for name, tensor in tensors.items()})

    def forget(self) -> None:
        """Remove the file."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def new_learner(clip: FrozenClip, names: Sequence[str], options: ContextOptions, seed: int) -> PromptLearner:
    """Prompts of these classes at their start.

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
    sample: Sample,
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
        clip: whose tower.
        learner: its context is learned in place.
        sample: what from.
        anchor: (K, D) zero-shot text features.
        recipe: how.
        checkpoint: kept while it runs; the caller forgets it.
        epochs: that the schedule is made for.
        seed: of the order.
        stage: what to call it on the progress line.
        on: told about every step.
        until: stop after this epoch.
        keep: epochs whose context is kept in the result.

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
            "E2≤E1": step.premise_share,
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
                torch.from_numpy(sample.features.reshape(-1, sample.features.shape[-1])).to(clip.device),
                torch.from_numpy(np.tile(sample.classes, len(sample.features))).to(clip.device),
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
