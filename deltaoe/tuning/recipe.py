"""How prompts are tuned: the losses' weights, the schedule, and what becomes of the learned features."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from deltaoe.functional.limits import check_top_c
from deltaoe.options import TUNING, Option, Options

Optimiser = Literal["adamw", "sgd"]

_LARGEST_BATCH = 8192
_SMALLEST_COOP_BATCH = 32
_COOP_STEPS_PER_EPOCH = 4


@dataclass(frozen=True)
class Recipe(Options):
    """How to tune. The defaults are ours, measured in docs/explanation/tuning.md; :meth:`coop` is CoOp's.

    Attributes:
        ebm_weight: λ of the EBM loss; 0 leaves it out.
        anchor: η of η·mean‖z − z_0‖², which holds the learned text features at the zero-shot ones; KgCoOp's
            regulariser (Yao et al., CVPR 2023, η = 8). 0 leaves it out.
        blend: α of z = normalise((1 − α) z_0 + α z_tuned), once tuning is over **[derived, METHOD §5]**.
        ebm_temperature: τ of the energies in the EBM loss, cosine units; CLIP's own by default, so that both terms
            of the loss see the same logits.
        temperature: τ of ΔEnergy, cosine units; in the loop it enters the reported premise only, as does ``top_c``.
        top_c: c of ΔEnergy.
        optimiser: ``adamw``: every step on all shots (8,192 at most), warmed up over the first steps. ``sgd``: CoOp's
            schedule.
        steps: of ``adamw``.
        epochs: passes over the shots; None takes what ``steps`` makes, or for ``sgd`` CoOp's number for the shots.
        batch_size: shots per step; None takes all of them, or for ``sgd`` a quarter, at least CoOp's 32: a step costs
            one pass of the text tower whatever its batch, so the number of steps need not grow with the classes.
        learning_rate: the largest; it falls to 0 along a cosine.
        warmup_rate: of ``sgd``: constant rate of the first epoch.
        momentum: of ``sgd``.
        weight_decay: of either.
    """

    ebm_weight: Annotated[float, Option("λ of the EBM loss.", panel=TUNING, at_least=0)] = 0.2
    anchor: Annotated[float, Option("η, weight of the anchor at the zero-shot prompts.", panel=TUNING, at_least=0)] = (
        2.0
    )
    blend: Annotated[
        float,
        Option(
            "Blend weight: share of the learned text features in the final ones, the rest zero-shot.",
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
    top_c: Annotated[int, Option("c of ΔEnergy: how many cosines are cropped.", panel=TUNING, at_least=1)] = 1
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
    learning_rate: Annotated[float, Option("Largest learning rate.", panel=TUNING, at_least=0)] = 0.003
    warmup_rate: Annotated[float, Option("Learning rate of the first epoch of SGD.", hidden=True, at_least=0)] = 1e-5
    momentum: Annotated[float, Option("Momentum of SGD.", hidden=True, at_least=0)] = 0.9
    weight_decay: Annotated[float, Option("Weight decay of the optimiser.", hidden=True, at_least=0)] = 5e-4

    @classmethod
    def coop(cls, **changes: Any) -> Recipe:
        """CoOp (Zhou et al., IJCV 2022): cross-entropy alone, SGD, the features as they were learned."""
        plain = cls(
            ebm_weight=0.0,
            anchor=0.0,
            blend=1.0,
            optimiser="sgd",
            learning_rate=0.002,
        )
        return dataclasses.replace(plain, **changes)

    def check(self, classes: int | None = None) -> None:
        """Raise ConfigError unless every value is usable, for this number of classes if it is given."""
        super().check()
        if classes is not None:
            check_top_c(self.top_c, classes)

    def batch(self, rows: int) -> int:
        """Rows per step."""
        if self.optimiser == "adamw":
            return min(rows, self.batch_size or _LARGEST_BATCH)
        quarter = math.ceil(rows / _COOP_STEPS_PER_EPOCH)
        return min(rows, self.batch_size or max(_SMALLEST_COOP_BATCH, quarter))

    def epochs_for(self, rows: int, shots: int) -> int:
        """Passes over so many rows, of so many shots per class."""
        if self.epochs is not None:
            return self.epochs
        if self.optimiser == "sgd":
            return default_epochs(shots)
        return math.ceil(self.steps / math.ceil(rows / self.batch(rows)))

    def rate(self, step: int, steps: int, per_epoch: int) -> float:
        """Learning rate of a step, counted from 0."""
        if self.optimiser == "adamw":
            warm = min(1.0, (step + 1) / max(1, min(_WARM_STEPS, steps // 4)))
            return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / steps))
        # As in CoOp: one constant warm-up epoch, then the cosine from its very start, which so never quite reaches 0.
        epoch, epochs = step // per_epoch, steps // per_epoch
        if epoch == 0 and epochs > 1:
            return self.warmup_rate
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * max(epoch - 1, 0) / epochs))


_WARM_STEPS = 4


def default_epochs(shots: int) -> int:
    """CoOp's schedule: 50 epochs for 1 shot, 100 for 2 to 4, 200 for more."""
    return 50 if shots <= 1 else 100 if shots <= 4 else 200
