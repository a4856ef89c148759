"""The recipe, which is all hyper-parameters of a tuning: weights of the losses, schedule, blend weight, τ and c."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from deltaoe.functional.limits import check_top_c
from deltaoe.options import TUNING, Option, Options

Optimiser = Literal["adamw", "sgd"]

_MAX_BATCH = 8192  # of adamw
_WARMUP_STEPS = 4  # of adamw
_MIN_COOP_BATCH = 32
_COOP_STEPS_PER_EPOCH = 4


@dataclass(frozen=True)
class Recipe(Options):
    """Hyper-parameters of a tuning. docs/explanation/tuning.md has the measurements behind the defaults.

    Attributes:
        ebm_weight: λ, weight of the EBM loss in learning the energy prompts, those that ΔEnergy is computed with. The
            class prompts, which images are classified with, are always learned with λ = 0; with 0 here, they are
            the energy prompts, too.
        anchor: η, weight of mean‖z − z_0‖², which keeps the learned text features z near the zero-shot ones z_0; it is
            the regulariser of KgCoOp (Yao et al., CVPR 2023, with η = 8). 0 leaves it out.
        blend: blend weight b of the final text features z = normalise((1 − b) z_0 + b z_tuned) **[derived]**.
        ebm_temperature: τ of the energies in the EBM loss, cosine units; by default that of CLIP, so that cross-entropy
            and EBM loss have the same logits.
        temperature: τ of ΔEnergy, cosine units. In the loop, τ and c have an influence only on the reported share of
            images with E_2 ≤ E_1.
        top_c: c of ΔEnergy.
        optimiser: ``adamw`` uses all shots in every step, at most 8,192, and warms up over the first four steps;
            ``sgd`` is CoOp's schedule.
        steps: number of steps with ``adamw``.
        epochs: number of passes over the shots; None follows from ``steps``, or with ``sgd`` is CoOp's number.
        batch_size: shots per step. None is all of them, or with ``sgd`` a quarter but at least CoOp's 32. A step costs
            one pass of the text tower whatever its batch, so the number of steps need not grow with the classes.
        learning_rate: the largest learning rate, which falls to 0 along a cosine.
        warmup_rate: constant learning rate of the first epoch with ``sgd``.
        momentum: momentum of ``sgd``.
        weight_decay: weight decay of the optimiser, whichever it is.
    """

    ebm_weight: Annotated[
        float,
        Option(
            "λ, the weight of the EBM loss, by which prompts of their own are learned for ΔEnergy; 0 learns none.",
            panel=TUNING,
            at_least=0,
        ),
    ] = 2.0
    anchor: Annotated[
        float, Option("η, the weight that holds prompts at the zero-shot ones.", panel=TUNING, at_least=0)
    ] = 2.0
    blend: Annotated[
        float,
        Option(
            "Share of the learned prompts in the final text features; the rest is zero-shot.",
            panel=TUNING,
            at_least=0,
            at_most=1,
            hint="0 takes zero-shot prompts, 1 the learned ones",
        ),
    ] = 0.7
    ebm_temperature: Annotated[
        float,
        Option("τ of the EBM loss, cosine units; CLIP's own by default.", panel=TUNING, above=0),
    ] = 0.01
    temperature: Annotated[float, Option("τ of ΔEnergy, cosine units.", panel=TUNING, above=0)] = 0.1
    top_c: Annotated[
        int, Option("c of ΔEnergy: how many cosines are set to 0.", panel=TUNING, at_least=1)
    ] = 1
    optimiser: Annotated[Optimiser, Option("The optimiser and its schedule.", hidden=True)] = "adamw"
    steps: Annotated[int, Option("Steps, each on all shots.", panel=TUNING, at_least=1)] = 150
    epochs: Annotated[
        int | None,
        Option(
            "Passes over the shots, instead of --steps.",
            panel=TUNING,
            at_least=1,
            unset="as many as --steps takes; CoOp's 50 to 200 with --method coop",
        ),
    ] = None
    batch_size: Annotated[
        int | None, Option("Shots per step.", panel=TUNING, at_least=1, unset="all of them")
    ] = None
    learning_rate: Annotated[
        float, Option("The largest learning rate of the schedule.", panel=TUNING, at_least=0)
    ] = 0.003
    warmup_rate: Annotated[float, Option("Rate of the first epoch.", hidden=True, at_least=0)] = 1e-5
    momentum: Annotated[float, Option("Momentum of SGD.", hidden=True, at_least=0)] = 0.9
    weight_decay: Annotated[float, Option("Weight decay of either optimiser.", hidden=True, at_least=0)] = (
        5e-4
    )

    @classmethod
    def coop(cls, **changes: Any) -> Recipe:
        """The recipe of CoOp (Zhou et al., IJCV 2022): cross-entropy alone, SGD, and no blending.

        Args:
            **changes: values of other fields, or other values than CoOp's.

        Example:
            >>> recipe = Recipe.coop(learning_rate=0.01)
            >>> recipe.optimiser, recipe.learning_rate, recipe.ebm_weight, recipe.blend
            ('sgd', 0.01, 0.0, 1.0)
        """
        plain = cls(
            ebm_weight=0.0,
            anchor=0.0,
            blend=1.0,
            optimiser="sgd",
            learning_rate=0.002,
        )
        return dataclasses.replace(plain, **changes)

    def check(self, classes: int | None = None) -> None:
        """Raise ConfigError unless all values are in range, and c is at most the number of classes if that is given."""
        super().check()
        if classes is not None:
            check_top_c(self.top_c, classes)

    def batch(self, rows: int) -> int:
        """Number of rows in each step, of so many rows (shots and their views) in all."""
        if self.optimiser == "adamw":
            return min(rows, self.batch_size or _MAX_BATCH)
        quarter = math.ceil(rows / _COOP_STEPS_PER_EPOCH)
        return min(rows, self.batch_size or max(_MIN_COOP_BATCH, quarter))

    def epochs_for(self, rows: int, shots: int) -> int:
        """Number of passes over the rows (shots and their views), with so many shots per class."""
        if self.epochs is not None:
            return self.epochs
        if self.optimiser == "sgd":
            return default_epochs(shots)
        return math.ceil(self.steps / math.ceil(rows / self.batch(rows)))

    def rate(self, step: int, steps: int, per_epoch: int) -> float:
        """Learning rate of a step.

        Args:
            step: number of the step, from 0.
            steps: number of steps in the schedule.
            per_epoch: number of steps in an epoch.
        """
        if self.optimiser == "adamw":
            warm = min(1.0, (step + 1) / max(1, min(_WARMUP_STEPS, steps // 4)))
            return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
        # As in CoOp: one warm-up epoch at a constant rate, then the cosine from its start, so that it ends above 0.
        epoch, epochs = step // per_epoch, steps // per_epoch
        if epoch == 0 and epochs > 1:
            return self.warmup_rate
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * max(epoch - 1, 0) / epochs))


def default_epochs(shots: int) -> int:
    """Number of epochs of CoOp for so many shots per class **[source: Zhou et al., IJCV 2022]**.

    Example:
        >>> [default_epochs(shots) for shots in (1, 2, 4, 8, 16)]
        [50, 100, 100, 200, 200]
    """
    return 50 if shots <= 1 else 100 if shots <= 4 else 200
