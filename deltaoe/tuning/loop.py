"""The tuning loop: context vectors learned from cached image features.

The loss is CE(a·s, y) + λ·a·mean(E_0 − E_2) + η·mean‖z − z_0‖²: cross-entropy, EBM loss and anchor, with cosines s,
text features z, zero-shot text features z_0 and CLIP's logit scale a. Cross-entropy and EBM loss are both in logit
units **[reading]**. docs/explanation/method.md, "Tuning", explains the terms.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from deltaoe.clip.prompt_learner import PromptLearner
from deltaoe.errors import ModelError
from deltaoe.functional.ebm import ebm_loss, ebm_terms
from deltaoe.runtime import replayed
from deltaoe.tuning.recipe import Recipe

# Cosines, images × classes, that the losses are computed of at a time; some ten numbers each are held until backward.
_COSINES = 2**25


@dataclass(frozen=True)
class Step:
    """Measurements of one step, or their means over the steps of an epoch.

    Attributes:
        step: number of the step, from 1.
        steps: number of steps in the schedule.
        epoch: number of the epoch, from 1.
        cross_entropy: mean over the images, logit units.
        ebm: EBM loss a·mean(E_0 − E_2), logit units.
        bound_share: share of images with E_2 ≤ E_1 at the score's τ and c, the premise of the score's lower bound.
        accuracy: share of images that are classified right.
        distance: mean‖z − z_0‖² over the classes; 0 without an anchor.
    """

    step: int
    steps: int
    epoch: int
    cross_entropy: float
    ebm: float
    bound_share: float
    accuracy: float
    distance: float = 0.0

    def loss(self, recipe: Recipe) -> float:
        """The loss that the recipe minimises: the weighted sum of the three terms."""
        return self.cross_entropy + recipe.ebm_weight * self.ebm + recipe.anchor * self.distance


@dataclass(frozen=True)
class Progress:
    """State of a tuning after an epoch, from which it resumes with the same result as without a break.

    Attributes:
        last: means over the shots in the last epoch.
        best_loss: the smallest loss of an epoch so far.
        best: context vectors at the start of that epoch.
        context: context vectors after the last epoch.
        optimiser: name → tensor of the optimiser's state.
        generator: state of the generator that shuffles the images.
    """

    last: Step
    best_loss: float
    best: Tensor
    context: Tensor
    optimiser: Mapping[str, Tensor] = field(default_factory=dict)
    generator: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.uint8))


@dataclass(frozen=True)
class TrainingSet:
    """The images to learn from, as tensors on the learner's device.

    Attributes:
        features: (n, D) unit rows.
        labels: (n,) class indices.
        logit_scale: a, CLIP's factor on cosines.
        anchor: (K, D) unit rows, z_0, the zero-shot text features; None without an anchor.
    """

    features: Tensor
    labels: Tensor
    logit_scale: float
    anchor: Tensor | None = None


def fit_context(
    learner: PromptLearner,
    data: TrainingSet,
    recipe: Recipe,
    *,
    epochs: int,
    generator: torch.Generator,
    start: Progress | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
    on_epoch: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Learn ``learner.context`` in place, by minimising the loss of this module.

    Args:
        learner: the prompts; their context vectors are the start.
        data: features, classes and anchor.
        recipe: weights of the losses, optimiser and schedule; its number of epochs is not used.
        epochs: number of passes over the data in the schedule, ≥ 1.
        generator: CPU generator that shuffles the images.
        start: state to resume from; the same schedule and data then give the same result as without a break.
        on_step: called after every step.
        on_epoch: called after every epoch, with a copy of all state.

    Returns:
        The state after the last epoch.

    Raises:
        ModelError: the loss is no longer finite.
    """
    n = len(data.features)
    batch = recipe.batch(n)
    per_epoch = math.ceil(n / batch)
    steps = epochs * per_epoch
    optimiser = _optimiser(learner, recipe)
    # Without it, small gradients would be 0 in half precision.
    scaler = torch.amp.GradScaler(data.features.device.type, enabled=learner.precision == "fp16")
    progress, first = start, 0
    if start is not None:
        first = start.last.epoch
        _restore(learner, optimiser, generator, start)
    encode = replayed(learner.encode, learner.context)
    for epoch in range(first, epochs):
        parts = torch.split(torch.randperm(n, generator=generator).to(data.features.device), batch)
        before, done = learner.context.detach().clone(), list[Step]()
        for i, rows in enumerate(parts):
            number = epoch * per_epoch + i
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate(number, steps, per_epoch)
            text = encode(learner.context)
            optimiser.zero_grad(set_to_none=True)
            values = _backward(text, data, recipe, rows, scaler)
            scaler.step(optimiser)
            scaler.update()
            # One transfer of all numbers: each makes the CPU wait for the GPU.
            numbers = values.tolist()
            if not all(map(math.isfinite, numbers)):
                raise ModelError(
                    f"tuning diverged in step {number + 1}: the loss is no longer a number",
                    hint="lower --learning-rate or --ebm-weight",
                )
            step = Step(number + 1, steps, epoch + 1, *numbers)
            done.append(step)
            on_step(step)
        last = _epoch_means(done, [len(rows) / n for rows in parts])
        progress = _after_epoch(progress, last, before, learner, optimiser, recipe, generator)
        on_epoch(progress)
    assert progress is not None  # noqa: S101 - at least one epoch
    return progress


def _optimiser(learner: PromptLearner, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(
            learner.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
    return torch.optim.SGD(
        learner.parameters(),
        lr=recipe.warmup_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )


def _backward(
    text: Tensor, data: TrainingSet, recipe: Recipe, rows: Tensor, scaler: torch.amp.GradScaler
) -> Tensor:
    """Compute the gradients of the loss on these rows; returns the five values of :func:`_losses`.

    If rows × classes are many, gradients are computed block by block for the text features, and from their sum once for
    the context. They are the same, in memory that does not grow with rows × classes.
    """
    size = max(1, _COSINES // len(text))
    if len(rows) <= size:
        loss, values = _losses(text, data, recipe, rows if len(rows) < len(data.features) else slice(None))
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return values
    leaf = text.detach().requires_grad_()
    total = torch.zeros(5, device=text.device)
    for part in torch.split(rows, size):
        loss, values = _losses(leaf, data, recipe, part)
        share = len(part) / len(rows)
        scaler.scale(loss * share).backward()  # type: ignore[no-untyped-call]
        total += values * share
    text.backward(leaf.grad)  # type: ignore[no-untyped-call]
    return total


def _losses(text: Tensor, data: TrainingSet, recipe: Recipe, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
    """The loss on these rows, and (5,): cross-entropy, EBM loss, bound share, accuracy and distance to the anchor."""
    features, labels, scale = data.features[rows], data.labels[rows], data.logit_scale
    cosines = features @ text.T
    cross_entropy = F.cross_entropy(scale * cosines, labels)
    with torch.set_grad_enabled(recipe.ebm_weight > 0):  # without a weight it is only reported
        ebm = scale * ebm_loss(features, text, recipe.ebm_temperature)
    loss = cross_entropy + recipe.ebm_weight * ebm
    distance = torch.zeros_like(loss)
    if data.anchor is not None and recipe.anchor:
        distance = (text - data.anchor).square().sum(dim=1).mean()
        loss = loss + recipe.anchor * distance
    accuracy = (cosines.argmax(dim=1) == labels).float().mean()
    bound_share = ebm_terms(features, text.detach(), recipe.temperature, recipe.top_c).bound_share
    return loss, torch.stack([cross_entropy, ebm, bound_share, accuracy, distance]).detach()


def _after_epoch(
    progress: Progress | None,
    last: Step,
    before: Tensor,
    learner: PromptLearner,
    optimiser: torch.optim.Optimizer,
    recipe: Recipe,
    generator: torch.Generator,
) -> Progress:
    """The state after an epoch: ``progress`` is the state before, ``before`` the context then."""
    context, loss = learner.context.detach().clone(), last.loss(recipe)
    better = progress is None or loss < progress.best_loss
    state = optimiser.state.get(learner.context, {})
    tensors = {k: v.detach().clone() for k, v in state.items() if isinstance(v, Tensor)}
    return Progress(
        last=last,
        best_loss=loss if progress is None or better else progress.best_loss,
        best=before if progress is None or better else progress.best,
        context=context,
        optimiser=tensors,
        generator=generator.get_state(),
    )


def _restore(
    learner: PromptLearner, optimiser: torch.optim.Optimizer, generator: torch.Generator, start: Progress
) -> None:
    """Set context, optimiser and generator, in place, to a state."""
    with torch.no_grad():
        learner.context.copy_(start.context)
    device = learner.context.device
    # AdamW keeps its step count on the CPU, whatever the device.
    optimiser.state[learner.context].update(
        {k: v.clone() if v.dim() == 0 else v.to(device, copy=True) for k, v in start.optimiser.items()}
    )
    generator.set_state(start.generator.cpu())


def _epoch_means(steps: Sequence[Step], shares: Sequence[float]) -> Step:
    """Means over the steps of an epoch, each with its share of the images as weight."""

    def mean(values: Iterable[float]) -> float:
        return sum(value * share for value, share in zip(values, shares, strict=True))

    return dataclasses.replace(
        steps[-1],
        cross_entropy=mean(s.cross_entropy for s in steps),
        ebm=mean(s.ebm for s in steps),
        bound_share=mean(s.bound_share for s in steps),
        accuracy=mean(s.accuracy for s in steps),
        distance=mean(s.distance for s in steps),
    )
