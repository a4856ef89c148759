"""How prompts are tuned, as a user says it; apart from what tunes them: a mistake is said before torch loads."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from deltaoe.clip.options import ModelOptions, Precision
from deltaoe.errors import ConfigError
from deltaoe.options import EXPERT, Option, Options, Without
from deltaoe.runtime import LARGEST_SEED
from deltaoe.scoring.options import BackgroundOptions
from deltaoe.tuning.recipe import Recipe

# All that --select auto can choose.
SELECTED = frozenset({"ebm_weight", "blend", "temperature", "top_c", "steps", "epochs"})


@dataclass(frozen=True)
class ContextOptions(Options):
    """The context vectors.

    Attributes:
        length: n; None for 16, or the phrase's own number of tokens.
        phrase: start from these words; None starts at random.
        position: where the class's name stands.
        class_specific: a context for each class.
        chunk: classes encoded at a time; None for as many as 2 GiB of activations allow.
        precision: of the text tower while it learns.
    """

    length: Annotated[
        int | None,
        Option(
            "Number of context vectors.", flag="context-length", panel=EXPERT, at_least=1, unset="16, or the words' own"
        ),
    ] = None
    phrase: Annotated[
        str | None,
        Option("Start the context from these words instead of at random.", flag="context", unset="at random"),
    ] = None
    position: Annotated[
        Literal["end", "middle", "front"],
        Option("Where the class name stands among the context vectors.", flag="class-position", panel=EXPERT),
    ] = "end"
    class_specific: Annotated[
        bool, Option("Learn a context for each class instead of one for all.", panel=EXPERT)
    ] = False
    chunk: Annotated[
        int | None,
        Option(
            "Classes encoded at a time.",
            flag="classes-at-once",
            panel=EXPERT,
            at_least=1,
            unset="as many as 2 GiB of activations allow",
        ),
    ] = None
    precision: Annotated[
        Precision, Option("Precision of the text tower while it learns; auto is bf16 on GPUs.", panel=EXPERT)
    ] = "auto"


@dataclass(frozen=True)
class TuningOptions(Options):
    """How prompts are tuned.

    Attributes:
        shots: images per class.
        seed: of shots, start, order and folds.
        context: the context vectors.
        select: ``auto`` chooses λ, the blend weight, τ, c and when to stop on in-distribution images; ``off`` takes the
            recipe's.
        recipe: losses and schedule.
        fixed: the recipe's values that ``auto`` leaves alone.
        background: labels that images are also compared with.
    """

    shots: Annotated[int, Option("Images per class to learn from.", at_least=1)] = 16
    seed: Annotated[
        int,
        Option("Chooses shots, start and order. Same seed, same detector.", at_least=0, at_most=LARGEST_SEED),
    ] = 1
    context: ContextOptions = field(default_factory=ContextOptions)
    select: Annotated[
        Literal["auto", "off"],
        Option("auto chooses what is not given; off takes the defaults shown below."),
    ] = "auto"
    recipe: Recipe = field(default_factory=Recipe)
    fixed: frozenset[str] = frozenset()
    background: Annotated[BackgroundOptions, Without("centre")] = field(default_factory=BackgroundOptions)

    def check(self, classes: int | None = None) -> None:
        """Raise ConfigError unless every value is usable, for this number of classes if it is given."""
        super().check()
        self.recipe.check(classes)
        if unknown := self.fixed - {one.name for one in dataclasses.fields(Recipe)}:
            raise ConfigError(
                f"{', '.join(sorted(unknown))} cannot be fixed", hint="name values of the recipe"
            )


@dataclass(frozen=True)
class TuneOptions(Options):
    """What to tune on, and how; see ``deltaoe tune --help``.

    Attributes:
        tuning: shots, seed, context, recipe, background.
        data: the data set; None for the last one with classes.
        domains: of it; all if empty.
        allow_fewer: classes with fewer images than shots give all they have.
        out: where the detector is saved; None for the workspace.
        model: which model, if the data's own is to be loaded from elsewhere.
    """

    tuning: TuningOptions = field(default_factory=TuningOptions)
    data: Annotated[
        str | None, Option("An extracted folder, or data:NAME.", unset="the last one with classes")
    ] = None
    domains: Annotated[
        tuple[str, ...], Option("Use this domain only; may be repeated.", flag="domain", unset="all")
    ] = ()
    allow_fewer: Annotated[bool, Option("Classes with fewer images than shots give all they have.")] = False
    out: Annotated[
        Path | None, Option("Save the detector here instead of in the workspace.", unset="the workspace")
    ] = None
    model: Annotated[ModelOptions, Without("precision")] = field(default_factory=ModelOptions)
