"""Options of scoring: prompts, background labels, and the rule of the verdicts. Importing them loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from deltaoe.clip.options import TEMPLATE as TEMPLATE
from deltaoe.clip.options import ModelOptions
from deltaoe.errors import ConfigError
from deltaoe.extraction.options import IngestOptions
from deltaoe.options import BACKGROUND, EXPERT, ZERO_SHOT, Option, Options, Unset, Without

# docs/explanation/defaults.md has the measurements behind these.
TEMPERATURE = 0.1
TOP_C = 1
FRACTION = 0.5
ALPHA = 0.05
# Words for the source of background labels.
IMAGENET = "imagenet"
NONE = "none"
# The source unless another is named: of zero-shot prompts, and of `deltaoe background`, which lists labels.
ZERO_SHOT_BACKGROUND = NONE
LISTED_BACKGROUND = IMAGENET

Evidence = Literal["auto", "text", "images", "both"]
EVIDENCE = Option(
    "What verdicts come from: prompts (text), labelled images, or both; auto is both where possible."
)
IndexKind = Literal["flat", "hnsw", "ivf"]


@dataclass(frozen=True)
class Rule(Options):
    """The rule by which an image is called unknown, from its conformal p-value.

    Attributes:
        alpha: α, in (0, 1): an image is unknown if its p-value is at most α. It is the accepted share of
            in-distribution images called unknown.
        fdr: q, in (0, 1), used instead of α: the accepted share of false alarms among the images called unknown, in
            expectation (Benjamini and Hochberg, JRSS B 1995, over the images scored together).
        per_class: whether p-values are taken among the calibration images of the same predicted class.

    Example:
        >>> Rule(alpha=0.01).level, Rule(fdr=0.1, per_class=True).level
        (0.01, 0.1)
    """

    alpha: Annotated[
        float,
        Option(
            "Share of your own images you accept to see called unknown.",
            above=0,
            below=1,
            hint="it is the share of your own images you accept to see called unknown; 0.05 is usual",
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
        """The largest p-value with which an image can be called unknown."""
        return self.alpha if self.fdr is None else self.fdr


@dataclass(frozen=True)
class BackgroundOptions(Options):
    """Background labels.

    Attributes:
        source: ``imagenet`` for the names of its classes; ``none``; a text file with one name per line; or a file of
            names and their text features, such as .npz. None is the default of what they are used for: ``none`` for
            zero-shot prompts, ``imagenet`` for tuned ones.
        fraction: share of the candidates to keep, in (0, 1]: those least like the classes.
    """

    source: Annotated[
        str | None,
        Option(
            "Labels that are none of the classes: imagenet, none, a list of names, or .npz with their features.",
            flag="background",
            panel=BACKGROUND,
            path=True,
        ),
    ] = None
    fraction: Annotated[
        float,
        Option(
            "Share of the background labels to keep: those least like the classes.",
            flag="background-fraction",
            panel=BACKGROUND,
            above=0,
            at_most=1,
            hint="--background none does without",
        ),
    ] = FRACTION


@dataclass(frozen=True)
class PromptOptions(Options):
    """Zero-shot prompts, and the settings of ΔEnergy with them.

    Attributes:
        template: prompt of a class, with ``{}`` for its name; None is :data:`TEMPLATE`.
        temperature: τ of ΔEnergy, cosine units; None is :data:`TEMPERATURE`.
        top_c: c of ΔEnergy; None is :data:`TOP_C`.
        background: background labels, which images are compared with beside the classes.
    """

    template: Annotated[
        str | None, Option("Zero-shot prompt, {} for the class name.", panel=ZERO_SHOT, unset=TEMPLATE)
    ] = None
    temperature: Annotated[
        float | None, Option("Zero-shot τ, cosine units.", panel=ZERO_SHOT, unset=TEMPERATURE, above=0)
    ] = None
    top_c: Annotated[
        int | None,
        Option(
            "Zero-shot c: how many of the largest cosines are set to 0.",
            panel=ZERO_SHOT,
            unset=TOP_C,
            at_least=1,
        ),
    ] = None
    background: Annotated[BackgroundOptions, Unset("source", ZERO_SHOT_BACKGROUND)] = field(
        default_factory=BackgroundOptions
    )

    def check(self) -> None:
        """Raise ConfigError if a value is out of range, or the template has not exactly one ``{}``."""
        super().check()
        if self.template is not None:
            check_template(self.template)


@dataclass(frozen=True)
class ScoreOptions(Options):
    """Options of :func:`deltaoe.scoring.score.score` and ``deltaoe score``.

    Attributes:
        rule: the rule by which an image is called unknown.
        evidence: ``auto`` for prompts and labelled images where there are enough of these; ``text`` for prompts alone;
            ``images`` for labelled images alone, which takes no class names that the model understands; ``both`` for
            both or an error.
        detector: a detector: the path of its file, or its name in the workspace
            (:func:`deltaoe.scoring.saved_detectors.detector_path`); None is the workspace's current one.
        zero_shot: whether zero-shot prompts are used even if there is a tuned detector.
        labels: a file of class names, one per line, used instead of those of a data set.
        data: the data set whose classes become prompts and whose images calibrate; None is the last with classes.
        text_features: a file of class names and their text features.
        prompts: zero-shot prompts, τ, c and background labels.
        vocabulary: names that unknown images are compared with: source as for background labels; None for the names of
            the background, or ImageNet's.
        select: whether τ and c are chosen with held-out classes.
        neighbours: number of labels compared in single precision, at least; the others in 8 bits. None compares all in
            single precision.
        index: ``hnsw`` and ``ivf`` are approximate indexes of FAISS, which look up so many ``neighbours`` on the CPU.
        model: the model, needed where neither the detector nor a data set names it.
        ingest: options of decoding and encoding image files.
    """

    rule: Rule = field(default_factory=Rule)
    evidence: Annotated[Evidence, EVIDENCE] = "auto"
    detector: Annotated[
        str | Path | None, Option("A detector: its name or its file.", unset="the current one", path=True)
    ] = None
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
            path=True,
            unset="the last one with classes",
        ),
    ] = None
    text_features: Annotated[
        Path | None,
        Option(
            "Class names and their text features from an .npz file; no text encoder runs.", panel=ZERO_SHOT
        ),
    ] = None
    prompts: Annotated[
        PromptOptions, Unset("background.source", f"{ZERO_SHOT_BACKGROUND}; {IMAGENET} with labelled images")
    ] = field(default_factory=PromptOptions)
    vocabulary: Annotated[
        str | None,
        Option(
            "Names that say what unknown images look like: imagenet, none, a list of names, or .npz with features.",
            panel=BACKGROUND,
            unset=f"the background's names, else {IMAGENET}; none for imported features",
            path=True,
        ),
    ] = None
    select: Annotated[
        bool,
        Option("Choose τ and c by how well they tell held-out classes from the others.", panel=ZERO_SHOT),
    ] = False
    neighbours: Annotated[
        int | None,
        Option(
            "Labels compared in full precision, others in 8 bits: scores get bounds. For very many labels.",
            panel=EXPERT,
            at_least=1,
            hint="64 is a good number; leave it out for exact scores",
            unset="all of them",
        ),
    ] = None
    index: Annotated[
        IndexKind, Option("Index that finds labels; hnsw and ivf are approximate.", panel=EXPERT)
    ] = "flat"
    model: ModelOptions = field(default_factory=ModelOptions)
    ingest: Annotated[IngestOptions, Without("views")] = field(default_factory=IngestOptions)

    def check(self) -> None:
        """Raise ConfigError if a value is out of range, or options exclude each other."""
        super().check()
        if self.text_features is not None and (self.labels is not None or self.prompts.template is not None):
            raise ConfigError(
                "--text-features excludes --labels and --template", hint="the file has its own names"
            )
        flags = self.prompt_flags
        if self.detector is not None and flags:
            raise ConfigError(
                f"--detector and {flags[0]} exclude each other", hint="a detector has its own classes"
            )

    @property
    def prompt_flags(self) -> list[str]:
        """Flags of the options set here that ask for other prompts than a saved detector's."""
        flags = {
            "--zero-shot": self.zero_shot,
            "--labels": self.labels is not None,
            "--template": self.prompts.template is not None,
            "--data": self.data is not None,
            "--text-features": self.text_features is not None,
            "--select": self.select,
        }
        return [flag for flag, is_set in flags.items() if is_set]


@dataclass(frozen=True)
class BackgroundListOptions(ScoreOptions):
    """Options of :func:`deltaoe.scoring.resolve.list_background`: those of scoring, with another default background."""

    prompts: Annotated[
        PromptOptions,
        Unset("background.source", f"{LISTED_BACKGROUND}, or {NONE} where text features were given"),
    ] = field(default_factory=PromptOptions)


def check_template(template: str) -> None:
    """Raise ConfigError unless ``template`` has exactly one ``{}``."""
    around = template.replace("{}", "", 1)
    if "{}" not in template or "{" in around or "}" in around:
        raise ConfigError(
            f"the template {template!r} must contain {{}} once, where the class name goes",
            hint='for example "a photo of a {}."',
        )
