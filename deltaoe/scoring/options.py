"""How images are scored and when they are unknown, as a user says it; nothing here loads torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from deltaoe.clip.options import ModelOptions
from deltaoe.errors import ConfigError
from deltaoe.extraction.options import IngestOptions
from deltaoe.options import BACKGROUND, EXPERT, ZERO_SHOT, Option, Options, Without

TEMPLATE = "a photo of a {}."
# docs/explanation/defaults.md says how these were found.
TEMPERATURE = 0.1
TOP_C = 1
FRACTION = 0.5
ALPHA = 0.05

IndexKind = Literal["flat", "hnsw", "ivf"]


@dataclass(frozen=True)
class Rule(Options):
    """When an image is unknown.

    Attributes:
        alpha: if its p-value is at most this, in (0, 1).
        fdr: instead, so that among all images called unknown at most this share are false alarms, in expectation
            (Benjamini–Hochberg over the images scored together).
        per_class: p-values among the calibration images that were taken for the same class.
    """

    alpha: Annotated[
        float,
        Option(
            "Share of your own images you accept to see called unknown.",
            above=0,
            below=1,
            hint="0.05 is usual",
        ),
    ] = ALPHA
    fdr: Annotated[
        float | None,
        Option(
            "Instead of --alpha: accepted share of false alarms among the images called unknown.",
            above=0,
            below=1,
            hint="it is the share of false alarms you accept among the images called unknown",
        ),
    ] = None
    per_class: Annotated[bool, Option("Calibrate each class by itself, where images allow.")] = False

    @property
    def level(self) -> float:
        """The largest p-value that can be unknown."""
        return self.alpha if self.fdr is None else self.fdr


@dataclass(frozen=True)
class BackgroundOptions(Options):
    """Which background labels, and how many of them.

    Attributes:
        source: ``imagenet``; ``none``; a text file with a name per line; a file of names and text features (.npz …);
            None for ``imagenet`` where prompts can be encoded, else ``none``.
        fraction: share of the names to keep, those least like the classes.
        centre: whether zero-shot prompts are centred (:func:`deltaoe.functional.text_features.centre_of`).
    """

    source: Annotated[
        str | None,
        Option(
            "Labels that are none of the classes: imagenet, none, a list of names, or .npz with their features.",
            flag="background",
            panel=BACKGROUND,
            unset="imagenet, or none where text features were given",
        ),
    ] = None
    fraction: Annotated[
        float,
        Option(
            "Share of them to keep: those least like the classes.",
            flag="background-fraction",
            panel=BACKGROUND,
            above=0,
            at_most=1,
            hint="--background none does without",
        ),
    ] = FRACTION
    centre: Annotated[
        bool,
        Option(
            "Take out of zero-shot prompts what all of them have in common.",
            flag="centre/no-centre",
            panel=BACKGROUND,
        ),
    ] = True


@dataclass(frozen=True)
class PromptOptions(Options):
    """Zero-shot prompts, and ΔEnergy on them.

    Attributes:
        template: the prompt of a class, ``{}`` for its name; None for :data:`TEMPLATE`.
        temperature: τ, cosine units; None for :data:`TEMPERATURE`.
        top_c: c; None for :data:`TOP_C`.
        background: labels that images are also compared with.
    """

    template: Annotated[
        str | None, Option("Zero-shot prompt, {} for the class name.", panel=ZERO_SHOT, unset=TEMPLATE)
    ] = None
    temperature: Annotated[
        float | None, Option("Zero-shot τ, cosine units.", panel=ZERO_SHOT, unset=TEMPERATURE, above=0)
    ] = None
    top_c: Annotated[
        int | None,
        Option("Zero-shot c: how many cosines are cropped.", panel=ZERO_SHOT, unset=TOP_C, at_least=1),
    ] = None
    background: BackgroundOptions = field(default_factory=BackgroundOptions)

    def check(self) -> None:
        """Raise ConfigError for a value out of range, or a template without one ``{}``."""
        super().check()
        if self.template is not None:
            check_template(self.template)


@dataclass(frozen=True)
class ScoreOptions(Options):
    """What to score images with; see ``deltaoe score --help``.

    Attributes:
        rule: when an image is unknown.
        detector: a detector file; None for the workspace's last one.
        zero_shot: plain prompts even if there is a detector.
        labels: class names, one per line, instead of the extracted ones.
        data: the data set whose classes are the prompts and whose images calibrate.
        text_features: a file of class names and their text features.
        prompts: zero-shot prompts, τ, c and background.
        select: choose τ and c by held-out classes.
        neighbours: labels looked up per image; None for all.
        index: how labels are found.
        model: which model, if it must be said.
        ingest: how files become features.
    """

    rule: Rule = field(default_factory=Rule)
    detector: Annotated[Path | None, Option("A detector file.", unset="the last one tuned here")] = None
    zero_shot: Annotated[bool, Option("Use plain prompts even if there is a detector.", panel=ZERO_SHOT)] = (
        False
    )
    labels: Annotated[
        Path | None,
        Option("Class names, one per line, instead of the extracted ones.", panel=ZERO_SHOT),
    ] = None
    data: Annotated[
        str | None,
        Option(
            "The classes of this extracted folder or data:NAME.",
            panel=ZERO_SHOT,
            unset="the last one with classes",
        ),
    ] = None
    text_features: Annotated[
        Path | None,
        Option(
            "Class names and their text features from an .npz file; no text encoder runs.", panel=ZERO_SHOT
        ),
    ] = None
    prompts: PromptOptions = field(default_factory=PromptOptions)
    select: Annotated[
        bool,
        Option("Zero-shot τ and c that tell held-out classes best from the others.", panel=ZERO_SHOT),
    ] = False
    neighbours: Annotated[
        int | None,
        Option(
            "Look only so many labels up and bound the score; for very many labels.",
            panel=EXPERT,
            at_least=1,
            unset="all of them",
        ),
    ] = None
    index: Annotated[
        IndexKind, Option("How labels are found; hnsw and ivf are approximate.", panel=EXPERT)
    ] = "flat"
    model: ModelOptions = field(default_factory=ModelOptions)
    ingest: Annotated[IngestOptions, Without("views")] = field(default_factory=IngestOptions)

    def check(self) -> None:
        """Raise ConfigError for a value out of range, or options that exclude each other."""
        super().check()
        if self.text_features is not None and (self.labels is not None or self.prompts.template is not None):
            raise ConfigError(
                "--text-features excludes --labels and --template", hint="the file has its own names"
            )
        asked = self.own_prompts
        if self.detector is not None and asked:
            raise ConfigError(
                f"--detector and {asked[0]} exclude each other", hint="a detector has its own classes"
            )

    @property
    def own_prompts(self) -> list[str]:
        """The flags given that ask for prompts other than a saved detector's."""
        given = {
            "--zero-shot": self.zero_shot,
            "--labels": self.labels is not None,
            "--template": self.prompts.template is not None,
            "--data": self.data is not None,
            "--text-features": self.text_features is not None,
            "--select": self.select,
        }
        return [flag for flag, there in given.items() if there]


def check_template(template: str) -> None:
    """Raise ConfigError unless ``template`` has exactly one ``{}``."""
    around = template.replace("{}", "", 1)
    if "{}" not in template or "{" in around or "}" in around:
        raise ConfigError(
            f"the template {template!r} must contain {{}} once, where the class name goes",
            hint='for example "a photo of a {}."',
        )
