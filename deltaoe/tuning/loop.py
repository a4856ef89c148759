"""The few-shot loop: context vectors on cached features, by cross-entropy, λ·EBM and an anchor.

The loss is CE(a·s, y) + λ·a·mean(E_0 − E_2) + η·mean‖z − z_0‖², with CLIP's logit scale a: cross-entropy and EBM are
in logit units, so that λ weighs like with like **[reading]**.
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

# Cosines, rows × classes, that losses are made of at a time: they hold some ten numbers for each until backward.
_COSINES = 2**25


@dataclass(frozen=True)
class Step:
    """What one step saw; ``step`` counts from 1.

    ``cross_entropy`` and ``ebm`` are in logit units; ``premise_share`` is the share of samples with E_2 ≤ E_1 at the
    score's τ and c, ``accuracy`` the share classified right; ``distance`` is mean‖z − z_0‖², 0 without an anchor.
    """

    step: int
    steps: int
    epoch: int
    cross_entropy: float
    ebm: float
    premise_share: float
    accuracy: float
    distance: float = 0.0

    def loss(self, recipe: Recipe) -> float:
        """The whole loss."""
        return self.cross_entropy + recipe.ebm_weight * self.ebm + recipe.anchor * self.distance


@dataclass(frozen=True)
class Progress:
    """Where a tuning stands after an epoch: all that is needed to go on as if nothing had happened.

    Attributes:
        last: means over the shots in the last epoch.
        best_loss: the smallest of an epoch; ``best`` is the context it was measured at, on average.
        context: learned so far.
        kept: contexts after the epochs that were asked for.
        optimiser: its tensors by name.
        generator: state of the generator that shuffles.
    """

    last: Step
    best_loss: float
    best: Tensor
    context: Tensor
    kept: Mapping[int, Tensor] = field(default_factory=dict)
    optimiser: Mapping[str, Tensor] = field(default_factory=dict)
    generator: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.uint8))


@dataclass(frozen=True)
class Problem:
    """What is learned from, on the learner's device.

    Attributes:
        features: (n, D) unit rows.
        labels: (n,) class indices.
        logit_scale: factor on cosines in the cross-entropy.
        anchor: (K, D) unit rows, the zero-shot text features; None where nothing is held there.
    """

    features: Tensor
    labels: Tensor
    logit_scale: float
    anchor: Tensor | None = None


def fit_context(
    learner: PromptLearner,
    problem: Problem,
    recipe: Recipe,
    *,
    epochs: int,
    generator: torch.Generator,
    until: int | None = None,
    keep: Sequence[int] = (),
    start: Progress | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
    on_epoch: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Learn ``learner.context`` in place.

    Args:
        learner: its context is the start.
        problem: features, classes, anchor.
        recipe: how; ``epochs`` overrides its own.
        epochs: passes over the data that the schedule is made for.
        generator: CPU generator that shuffles.
        until: stop after this epoch of the schedule; None for its end.
        keep: epochs after which the context is kept in the result.
        start: go on from here instead; the same schedule and data give the same result as without a break.
        on_step: called after every step.
        on_epoch: called after every epoch, with a copy of all state.

    Raises:
        ModelError: the loss is no longer finite.
    """
    n = len(problem.features)
    batch = recipe.batch(n)
    per_epoch = math.ceil(n / batch)
    steps = epochs * per_epoch
    optimiser = _optimiser(learner, recipe)
    # Small gradients of half precision would be 0 without it.
    scaler = torch.amp.GradScaler(problem.features.device.type, enabled=learner.precision == "fp16")
    progress, first = start, 0
    if start is not None:
        first = start.last.epoch
        _restore(learner, optimiser, generator, start)
    encode = replayed(learner.encode, learner.context)
    for epoch in range(first, epochs if until is None else min(until, epochs)):
        parts = torch.split(torch.randperm(n, generator=generator).to(problem.features.device), batch)
        before, seen = learner.context.detach().clone(), list[Step]()
        for i, rows in enumerate(parts):
            number = epoch * per_epoch + i
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate(number, steps, per_epoch)
            text = encode(learner.context)
            optimiser.zero_grad(set_to_none=True)
            values = _backward(text, problem, recipe, rows, scaler)
            scaler.step(optimiser)
            scaler.update()
            # One transfer for all numbers, so that a GPU is waited for once a step.
            numbers = values.tolist()
            if not all(map(math.isfinite, numbers)):
                raise ModelError(
                    f"tuning diverged in step {number + 1}: the loss is no longer a number",
                    hint="lower --learning-rate or --ebm-weight",
                )
            step = Step(number + 1, steps, epoch + 1, *numbers)
            seen.append(step)
            on_step(step)
        last = _mean(seen, [len(rows) / n for rows in parts])
        progress = _advance(progress, last, before, learner, optimiser, recipe, generator, epoch + 1 in keep)
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
    text: Tensor, problem: Problem, recipe: Recipe, rows: Tensor, scaler: torch.amp.GradScaler
) -> Tensor:
    """Gradients of the loss on these rows; its parts, as in ``_losses``.

    Where rows × classes are many, the rows' losses go back to the text features block by block and their sum from there
    to the context: the same gradients, in memory that does not grow with the classes.
    """
    size = max(1, _COSINES // len(text))
    if len(rows) <= size:
        loss, values = _losses(
            text, problem, recipe, rows if len(rows) < len(problem.features) else slice(None)
        )
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return values
    leaf = text.detach().requires_grad_()
    total = torch.zeros(5, device=text.device)
    for part in torch.split(rows, size):
        loss, values = _losses(leaf, problem, recipe, part)
        share = len(part) / len(rows)
        scaler.scale(loss * share).backward()  # type: ignore[no-untyped-call]
        total += values * share
    text.backward(leaf.grad)  # type: ignore[no-untyped-call]
    return total


def _losses(text: Tensor, problem: Problem, recipe: Recipe, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
    features, labels, scale = problem.features[rows], problem.labels[rows], problem.logit_scale
    cosines = features @ text.T
    cross_entropy = F.cross_entropy(scale * cosines, labels)
    ebm = scale * ebm_loss(features, text, recipe.ebm_temperature)
    loss = cross_entropy + recipe.ebm_weight * ebm
    distance = torch.zeros_like(loss)
    if problem.anchor is not None and recipe.anchor:
        distance = (text - problem.anchor).square().sum(dim=1).mean()
        loss = loss + recipe.anchor * distance
    right = (cosines.argmax(dim=1) == labels).float().mean()
    premise = ebm_terms(features, text.detach(), recipe.temperature, recipe.top_c).bound_share
    return loss, torch.stack([cross_entropy, ebm, premise, right, distance]).detach()


def _advance(
    progress: Progress | None,
    last: Step,
    before: Tensor,
    learner: PromptLearner,
    optimiser: torch.optim.Optimizer,
    recipe: Recipe,
    generator: torch.Generator,
    keep: bool,
) -> Progress:
    context, loss = learner.context.detach().clone(), last.loss(recipe)
    better = progress is None or loss < progress.best_loss
    kept = {} if progress is None else dict(progress.kept)
    if keep:
        kept[last.epoch] = context
    state = optimiser.state.get(learner.context, {})
    tensors = {k: v.detach().clone() for k, v in state.items() if isinstance(v, Tensor)}
    return Progress(
        last=last,
        best_loss=loss if progress is None or better else progress.best_loss,
        best=before if progress is None or better else progress.best,
        context=context,
        kept=kept,
        optimiser=tensors,
        generator=generator.get_state(),
    )


def _restore(
    learner: PromptLearner, optimiser: torch.optim.Optimizer, generator: torch.Generator, start: Progress
) -> None:
    with torch.no_grad():
        learner.context.copy_(start.context)
    device = learner.context.device
    # AdamW counts its steps on the CPU, wherever the rest is.
    optimiser.state[learner.context].update(
        {k: v.clone() if v.dim() == 0 else v.to(device, copy=True) for k, v in start.optimiser.items()}
    )
    generator.set_state(start.generator.cpu())


def _mean(steps: Sequence[Step], shares: Sequence[float]) -> Step:
    def mean(values: Iterable[float]) -> float:
        return sum(value * share for value, share in zip(values, shares, strict=True))

    return dataclasses.replace(
        steps[-1],
        cross_entropy=mean(s.cross_entropy for s in steps),
        ebm=mean(s.ebm for s in steps),
        premise_share=mean(s.premise_share for s in steps),
        accuracy=mean(s.accuracy for s in steps),
        distance=mean(s.distance for s in steps),
    )
