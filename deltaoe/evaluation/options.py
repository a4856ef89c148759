"""The options of an evaluation: detectors, scores, and the images that they are evaluated on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from deltaoe.clip.options import ModelOptions
from deltaoe.errors import ConfigError
from deltaoe.extraction.options import IngestOptions
from deltaoe.functional.limits import Positive
from deltaoe.images.splits import SPLITS
from deltaoe.options import EXPERT, Option, Options, Unset, Without
from deltaoe.runtime import LARGEST_SEED
from deltaoe.scoring.options import ALPHA, ZERO_SHOT_BACKGROUND, PromptOptions
from deltaoe.tuning.options import TUNED_BACKGROUND

# The tables' name for the in-distribution images of --id.
KNOWN = "id"
# The name among the scores of the one that a detector with image evidence decides by.
VERDICT = "verdict"


@dataclass(frozen=True)
class EvaluateOptions(Options):
    """The detectors and scores to evaluate, and the images to evaluate them on.

    Attributes:
        known: the in-distribution images: a folder of class folders, a list, or ``data:NAME``.
        unknown: name → out-of-distribution images.
        shifts: name → in-distribution images of other domains, in class folders of the same names.
        detectors: names or files, or ``zero-shot``; empty for zero-shot and the workspace's last tuned detector, if it
            has the classes of ``known``.
        scores: :data:`VERDICT`, and names in :data:`deltaoe.functional.scores.SCORES`; empty for all that can be
            computed.
        splits: names of the splits that are evaluated, of image sets that have some; empty for ``test``, or ``val``
            where there is no ``test``.
        unknown_per_class: name → the most images of each class of that out-of-distribution set; all of the others.
        gallery: images that KNN, Mahalanobis and the like compare with; None for ``gallery_shots`` of each known class.
        gallery_shots: images of each class in the gallery.
        alpha: accepted share of false alarms.
        draws: bootstrap draws; 0 for no intervals.
        seed: of the intervals and of drawing the gallery.
        convention: the class that is positive in FPR@95.
        prompts: template, τ and c of the zero-shot detector; background labels of it, and of what a protocol tunes.
        model: the model, where neither data nor detectors determine it.
        ingest: how files are read, decoded and encoded.
    """

    known: Annotated[
        str,
        Option(
            "DATA: in-distribution images, in class folders.",
            flag="id",
            unset="those of --protocol",
            path=True,
        ),
    ] = ""
    unknown: Annotated[
        Mapping[str, str],
        Option("NAME=DATA: out-of-distribution images; may be repeated.", flag="ood", named=True, path=True),
    ] = field(default_factory=dict)
    shifts: Annotated[
        Mapping[str, str],
        Option(
            "NAME=DATA: the same classes in another style (covariate shift); may be repeated.",
            flag="shift",
            named=True,
            path=True,
        ),
    ] = field(default_factory=dict)
    detectors: Annotated[
        tuple[str, ...],
        Option(
            "A detector, by name or file, or zero-shot; may be repeated.",
            flag="detector",
            path=True,
            unset="zero-shot and the last one tuned here",
        ),
    ] = ()
    scores: Annotated[
        tuple[str, ...], Option("all, or names with commas between.", listed=True, unset="all")
    ] = ()
    splits: Annotated[
        tuple[str, ...],
        Option(
            "Evaluate this split (train, val or test) of data that has splits; may be repeated.",
            flag="split",
            unset="test, or val where there is no test",
        ),
    ] = ()
    unknown_per_class: Mapping[str, int] = field(default_factory=dict)
    gallery: Annotated[
        str | None,
        Option(
            "DATA that KNN, Mahalanobis and the like compare with.",
            panel=EXPERT,
            path=True,
            unset="16 images of each class, left out of the rest",
        ),
    ] = None
    gallery_shots: Annotated[int, Option("Images of each class in the gallery.", hidden=True, at_least=1)] = (
        16
    )
    alpha: Annotated[
        float, Option("Accepted share of false alarms.", above=0, below=1, hint="0.05 is usual")
    ] = ALPHA
    draws: Annotated[
        int,
        Option(
            "Draws for the intervals; 0 for none.",
            flag="bootstrap",
            panel=EXPERT,
            at_least=0,
            hint="1000 draws are usual",
        ),
    ] = 1000
    seed: Annotated[
        int,
        Option("Seed of the intervals and of the gallery.", panel=EXPERT, at_least=0, at_most=LARGEST_SEED),
    ] = 1
    convention: Annotated[
        Positive,
        Option("The positive class of FPR@95; ood compares with OpenOOD and pytorch-ood.", panel=EXPERT),
    ] = "id"
    prompts: Annotated[
        PromptOptions,
        Unset("background.source", f"{ZERO_SHOT_BACKGROUND}; {TUNED_BACKGROUND} where a protocol tunes"),
    ] = field(default_factory=PromptOptions)
    model: Annotated[ModelOptions, Without("precision")] = field(default_factory=ModelOptions)
    ingest: Annotated[IngestOptions, Without("views", "retry_failed")] = field(default_factory=IngestOptions)

    def check(self) -> None:
        """Raise ConfigError for a value out of range, an unknown score, or a name used twice."""
        from deltaoe.functional.scores import SCORES  # loads torch, which --help does not need

        super().check()
        names = (VERDICT, *SCORES)
        for name in self.scores:
            if name not in names:
                raise ConfigError(f"there is no score {name!r}", hint=f"the scores are: {', '.join(names)}")
        for name in self.splits:
            if name not in SPLITS:
                raise ConfigError(f"there is no split {name!r}", hint=f"the splits are: {', '.join(SPLITS)}")
        if KNOWN in self.shifts:
            raise ConfigError(f"the name {KNOWN!r} is used twice", hint=f"{KNOWN!r} is --id's own name")


def option_values(options: EvaluateOptions) -> dict[str, Any]:
    """The options as JSON values for evaluation.json: one level, except for background and ingest."""
    values = dataclasses.asdict(options)
    prompts, model, ingest = (values.pop(name) for name in ("prompts", "model", "ingest"))
    del model["precision"]
    ingest["cluster"] = ingest["cluster"]["cluster"]
    device = {name: model.pop(name) for name in ("device", "offline")}
    return {**values, **prompts, **model, "ingest": ingest, **device}
