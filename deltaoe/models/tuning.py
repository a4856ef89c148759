"""The few-shot loop: context vectors by SGD on cached features, cross-entropy plus λ·EBM.

The loss is CE(a·s, y) + λ·a·mean(E_0 − E_2), with CLIP's logit scale a: both terms are in logit units, so that λ
weighs like with like **[reading]**.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from deltaoe.errors import ConfigError, ModelError
from deltaoe.functional.ebm import ebm_loss, ebm_terms
from deltaoe.functional.energy import check_temperature, check_top_c
from deltaoe.models.prompt_learner import PromptLearner

_SMALLEST_BATCH = 32  # CoOp's
_STEPS_PER_EPOCH = 4


@dataclass(frozen=True)
class Recipe:
    """How to tune. Defaults follow CoOp (Zhou et al., IJCV 2022) unless said otherwise.

    Attributes:
        ebm_weight: λ; 0 is plain CoOp.
        ebm_temperature: τ of the energies in the EBM loss, cosine units; CLIP's own by default, so that both terms
            of the loss see the same logits.
        temperature: τ of ΔEnergy, cosine units; in the loop it enters the reported premise only, as does ``top_c``.
        top_c: c of ΔEnergy.
        epochs: passes over the shots; None takes CoOp's number for ``shots`` (see :func:`default_epochs`).
        batch_size: shots per step; None takes a quarter of them, at least CoOp's 32: a step costs one pass of the
            text tower whatever its batch, so the number of steps need not grow with the number of classes.
        learning_rate: of SGD after the warm-up epoch, then falling to 0 along a cosine.
        warmup_rate: constant rate of the first epoch.
        momentum, weight_decay: of SGD.
    """

    ebm_weight: float = 0.1
    ebm_temperature: float = 0.01
    temperature: float = 1.0
    top_c: int = 2
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float = 0.002
    warmup_rate: float = 1e-5
    momentum: float = 0.9
    weight_decay: float = 5e-4

    def check(self, classes: int) -> None:
        """Raise ConfigError unless every value is usable for this number of classes."""
        check_temperature(self.temperature)
        if not (math.isfinite(self.ebm_temperature) and self.ebm_temperature > 0):
            raise ConfigError(f"ebm-temperature must be a number > 0, not {self.ebm_temperature}")
        check_top_c(self.top_c, classes)
        for name in ("ebm_weight", "learning_rate", "warmup_rate", "momentum", "weight_decay"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{name.replace('_', '-')} must be a number ≥ 0, not {value}")
        for name in ("batch_size", "epochs"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ConfigError(f"{name.replace('_', '-')} must be at least 1, not {count}")


@dataclass(frozen=True)
class Step:
    """What one step saw; ``step`` counts from 1.

    ``cross_entropy`` and ``ebm`` are in logit units; ``premise_share`` is the share of samples with E_2 ≤ E_1 at the
    score's τ and c, ``accuracy`` the share classified right.
    """

    step: int
    steps: int
    epoch: int
    cross_entropy: float
    ebm: float
    premise_share: float
    accuracy: float


def default_epochs(shots: int) -> int:
    """CoOp's schedule: 50 epochs for 1 shot, 100 for 2 to 4, 200 for more."""
    return 50 if shots <= 1 else 100 if shots <= 4 else 200


def fit_context(
    learner: PromptLearner,
    features: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    epochs: int,
    logit_scale: float,
    generator: torch.Generator,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Step:
    """Learn ``learner.context`` in place; return the means over the shots in the last epoch.

    Args:
        learner: its context is the start.
        features: (n, D) unit rows on the learner's device.
        labels: (n,) class indices there.
        recipe: how; ``epochs`` overrides its own.
        epochs: passes over the data.
        logit_scale: factor on cosines in the cross-entropy.
        generator: CPU generator that shuffles.
        on_step: called after every step.

    Raises:
        ModelError: the loss is no longer finite.
    """
    n = len(features)
    batch = min(n, recipe.batch_size or max(_SMALLEST_BATCH, math.ceil(n / _STEPS_PER_EPOCH)))
    per_epoch = math.ceil(n / batch)
    optimiser = torch.optim.SGD(
        learner.parameters(),
        lr=recipe.warmup_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    seen: list[Step] = []
    for epoch in range(epochs):
        for group in optimiser.param_groups:
            group["lr"] = _rate(recipe, epoch, epochs)
        parts = torch.split(torch.randperm(n, generator=generator).to(features.device), batch)
        seen.clear()
        for i, rows in enumerate(parts):
            text = learner()
            cosines = features[rows] @ text.T
            cross_entropy = F.cross_entropy(logit_scale * cosines, labels[rows])
            ebm = logit_scale * ebm_loss(features[rows], text, recipe.ebm_temperature)
            loss = cross_entropy + recipe.ebm_weight * ebm
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            right = (cosines.argmax(dim=1) == labels[rows]).float().mean()
            # One transfer for all four numbers, so that a GPU is waited for once a step.
            premise = ebm_terms(features[rows], text.detach(), recipe.temperature, recipe.top_c).premise_share
            values = torch.stack([cross_entropy, ebm, premise, right]).tolist()
            if not all(map(math.isfinite, values)):
                raise ModelError(
                    f"tuning diverged in step {epoch * per_epoch + i + 1}: the loss is no longer a number",
                    hint="lower --learning-rate or --ebm-weight",
                )
            step = Step(epoch * per_epoch + i + 1, epochs * per_epoch, epoch + 1, *values)
            seen.append(step)
            on_step(step)
    return _mean(seen, [len(rows) / n for rows in parts])


def _rate(recipe: Recipe, epoch: int, epochs: int) -> float:
    # As in CoOp: one constant warm-up epoch, then the cosine from its very start, which so never quite reaches 0.
    if epoch == 0 and epochs > 1:
        return recipe.warmup_rate
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * max(epoch - 1, 0) / epochs))


def _mean(steps: Sequence[Step], shares: Sequence[float]) -> Step:
    def mean(values: Iterable[float]) -> float:
        return sum(value * share for value, share in zip(values, shares, strict=True))

    return dataclasses.replace(
        steps[-1],
        cross_entropy=mean(s.cross_entropy for s in steps),
        ebm=mean(s.ebm for s in steps),
        premise_share=mean(s.premise_share for s in steps),
        accuracy=mean(s.accuracy for s in steps),
    )
