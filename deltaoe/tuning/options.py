"""How prompts are tuned, as a user says it; apart from what tunes them: a mistake is said before torch loads."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from deltaoe.errors import ConfigError
from deltaoe.scoring.background import BackgroundOptions
from deltaoe.tuning.recipe import Recipe

if TYPE_CHECKING:
    from deltaoe.clip.prompt_learner import Position

# All that --select auto can choose.
SELECTED = frozenset({"ebm_weight", "blend", "temperature", "top_c", "steps", "epochs"})


@dataclass(frozen=True)
class ContextOptions:
    """The context vectors.

    Attributes:
        length: n; None for 16, or the phrase's own number of tokens.
        phrase: start from these words; None starts at random.
        position: where the class's name stands.
        class_specific: a context for each class.
        chunk: classes encoded at a time; None for as many as 2 GiB of activations allow.
        precision: of the text tower while it learns: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
    """

    length: int | None = None
    phrase: str | None = None
    position: Position = "end"
    class_specific: bool = False
    chunk: int | None = None
    precision: str = "auto"


@dataclass(frozen=True)
class Prompts:
    """How prompts are tuned.

    Attributes:
        shots: images per class.
        seed: of shots, start, order and folds.
        context: the context vectors.
        recipe: losses and schedule.
        select: ``auto`` chooses λ, α, τ, c and when to stop on in-distribution images; ``off`` takes the recipe's.
        fixed: the recipe's values that ``auto`` leaves alone.
        background: labels that images are also compared with.
    """

    shots: int = 16
    seed: int = 1
    context: ContextOptions = field(default_factory=ContextOptions)
    recipe: Recipe = field(default_factory=Recipe)
    select: Literal["auto", "off"] = "auto"
    fixed: frozenset[str] = frozenset()
    background: BackgroundOptions = field(default_factory=BackgroundOptions)

    def check(self, classes: int) -> None:
        """Raise ConfigError unless every value is usable for this number of classes."""
        self.recipe.check(classes)
        self.background.check()
        if self.select not in {"auto", "off"}:
            raise ConfigError(f"unknown choice {self.select!r}", hint="use --select auto or --select off")
        if unknown := self.fixed - {one.name for one in dataclasses.fields(Recipe)}:
            raise ConfigError(
                f"{', '.join(sorted(unknown))} cannot be fixed", hint="name values of the recipe"
            )
