"""Options of tuning. Importing them loads no torch, so that a wrong option is answered at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from deltaoe.clip.options import ModelOptions, Precision
from deltaoe.errors import ConfigError
from deltaoe.images.layout import Layout
from deltaoe.options import EXPERT, Option, Options, Unset, Without
from deltaoe.runtime import LARGEST_SEED
from deltaoe.scoring.detector_names import check_detector_name
from deltaoe.scoring.options import EVIDENCE, IMAGENET, BackgroundOptions, Evidence
from deltaoe.tuning.recipe import Recipe

# The source of background labels of tuned prompts, unless another is named.
TUNED_BACKGROUND = IMAGENET


@dataclass(frozen=True)
class ContextOptions(Options):
    """The context vectors that are learned.

    Attributes:
        length: number of context vectors; None is the number of tokens of ``phrase``, or 16 without one.
        phrase: words whose token embeddings are the start; None is a random start.
        position: place of the class name among the context vectors.
        class_specific: whether each class has context vectors of its own.
        chunk: number of classes encoded at a time; None is as many as fit in 2 GiB of activations.
        precision: precision of the text tower while it learns.
    """

    length: Annotated[
        int | None,
        Option(
            "Number of context vectors.",
            flag="context-length",
            panel=EXPERT,
            at_least=1,
            unset="16, or the words' own",
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
        Precision, Option("Arithmetic of the text tower while it learns; auto is bf16 on GPUs.", panel=EXPERT)
    ] = "auto"


@dataclass(frozen=True)
class TuningOptions(Options):
    """Options of tuning on images that are given.

    Attributes:
        shots: number of images per class to learn from.
        seed: seed of the draw of the shots, the start, and the order of the images.
        context: the context vectors.
        recipe: hyper-parameters.
        background: background labels, which images are compared with beside the classes.
        evidence: ``images`` learns no prompts; ``text`` fits nothing but prompts.
    """

    shots: Annotated[int, Option("Images per class to learn from.", at_least=1)] = 16
    seed: Annotated[
        int,
        Option(
            "Seed of shots, start and order: the same seed gives the same detector.",
            at_least=0,
            at_most=LARGEST_SEED,
        ),
    ] = 1
    context: ContextOptions = field(default_factory=ContextOptions)
    recipe: Recipe = field(default_factory=Recipe)
    background: Annotated[BackgroundOptions, Unset("source", TUNED_BACKGROUND)] = field(
        default_factory=BackgroundOptions
    )
    evidence: Annotated[Evidence, EVIDENCE] = "auto"

    @property
    def asks_for_prompts(self) -> bool:
        """Whether an option says how prompts are learned."""
        return (self.recipe, self.context) != (Recipe(), ContextOptions())

    def check(self, classes: int | None = None) -> None:
        """Raise ConfigError unless all values are in range, and c is at most the number of classes if that is given."""
        super().check()
        self.recipe.check(classes)


@dataclass(frozen=True)
class TuneOptions(Options):
    """Options of :func:`deltaoe.tuning.tune.tune_workspace` and ``deltaoe tune``.

    Attributes:
        tuning: shots, seed, context, recipe and background.
        data: the data set to tune on; None is the last one with classes.
        domains: names of the domains to use; all if empty.
        splits: names of the splits that shots, validation and calibration are all drawn from; by default shots come
            from train, validation and calibration from val where it has enough images, and test is left for evaluate.
        allow_fewer: whether classes with fewer images than shots may give all they have.
        allow_undecided: whether to go on where so few images are left to calibrate that no image would have a verdict
            at the usual α, 0.05.
        name: name to save the detector under in the workspace; empty is made of its shots and its content.
        out: file to save the detector to; None saves it in the workspace.
        model: the model, if it is to be loaded from another place than that of the data set.
    """

    tuning: TuningOptions = field(default_factory=TuningOptions)
    data: Annotated[
        str | None,
        Option("An extracted folder, or data:NAME.", unset="the last one with classes", path=True),
    ] = None
    domains: Annotated[
        tuple[str, ...], Option("Use this domain only; may be repeated.", flag="domain", unset="all")
    ] = ()
    splits: Annotated[
        tuple[str, ...],
        Option(
            "Draw everything from this split (train, val or test); may be repeated.",
            flag="split",
            unset="shots from train, calibration from val too; test is left",
        ),
    ] = ()
    allow_fewer: Annotated[bool, Option("Classes with fewer images than shots give all they have.")] = False
    allow_undecided: Annotated[
        bool,
        Option("Go on with too few images left to calibrate: verdicts at alpha = 0.05 are undecided then."),
    ] = False
    name: Annotated[
        str, Option("Name of the detector in the workspace.", unset="SHOTS-shots-DIGEST of its content")
    ] = ""
    out: Annotated[
        Path | None, Option("Save the detector here instead of in the workspace.", unset="the workspace")
    ] = None
    model: Annotated[ModelOptions, Without("precision")] = field(default_factory=ModelOptions)

    def check(self) -> None:
        """Raise ConfigError if a value is out of range, the name cannot be one, or a name and a file are given."""
        super().check()
        if self.name:
            check_detector_name(self.name)
        if self.name and self.out is not None:
            raise ConfigError(
                "--name and --out exclude each other",
                hint="--name saves the detector in the workspace, --out in a file of its own",
            )

    def about(self, layout: Layout) -> dict[str, Any]:
        """What a detector's settings say of the images drawn from a data set of this layout, as JSON values."""
        return {
            "domains": list(self.domains),
            **({"splits": list(self.splits)} if self.splits else {}),
            "allow_fewer": self.allow_fewer,
            "layout": layout,
        }
