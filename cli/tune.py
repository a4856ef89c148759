"""``deltaoe tune``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deltaoe.tuning.options import TuneOptions
from deltaoe.tuning.recipe import Recipe

from . import options
from .derive import with_options

if TYPE_CHECKING:
    from deltaoe.scoring.detector import Detector
    from deltaoe.tuning.fit_detector import FittedDetector, LearnedPrompts
    from deltaoe.tuning.tune import TuneResult

HELP = """Learn prompt context vectors from a few cached images per class, and calibrate a threshold.

Both encoders stay frozen; the image tower never runs. Two contexts are learned: class prompts, which images are \
classified with, by cross-entropy alone; and energy prompts, which ΔEnergy is computed with, by the EBM loss as well. \
The same images become image evidence. With one class, or features without a text encoder, nothing else is fitted. \
Images that nothing was learned from calibrate the threshold. A run that was killed goes on with the same command.
"""

EPILOG = """[bold]Examples[/bold]

deltaoe tune --shots 16

deltaoe tune --shots 16 --name shop-v2

deltaoe tune --shots 4 --context "a photo of a"

deltaoe tune --data ./images --domain photo --domain sketch

deltaoe tune --shots 16 --ebm-weight 0   (one context for both, half as many steps)

deltaoe tune --shots 16 --method coop   (plain CoOp)
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("tune", help=HELP, epilog=EPILOG)(tune)


@with_options(TuneOptions)
def tune(
    chosen: TuneOptions,
    given: frozenset[tuple[str, ...]],
    method: Annotated[
        Literal["deltaoe", "coop"],
        typer.Option(
            "--method", help="coop is CoOp as published: cross-entropy alone, SGD, no blend, text alone."
        ),
    ] = "deltaoe",
    workspace: options.Workspace = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Run ``deltaoe tune``; the help text above says what it does."""
    from deltaoe.tuning.tune import tune_workspace

    from .output import Screen
    from .place import located

    screen = Screen(as_json=as_json, quiet=quiet, verbose=verbose)
    place = located(workspace, screen)
    with screen.progress() as progress:
        result = tune_workspace(place, _by_method(chosen, method, given), on=progress.event)
    for sentence in result.notes:
        screen.warn(sentence)
    detector, planned = result.detector, result.drawn.plan
    thresholds = {alpha: detector.threshold(alpha) for alpha in (0.01, 0.05, 0.1)}
    if screen.verbose:
        screen.summary(f"Tuned on {result.data.title}", _details(result, thresholds))
    outcome = result.outcome()
    screen.say(outcome)
    screen.line(f"The detector: {result.path}")
    screen.json(
        {
            "detector": str(result.path),
            "data": result.data.title,
            "classes": list(detector.class_names),
            "shots": len(result.drawn.split.shots),
            "validation_images": planned.validation,
            "calibration_images": planned.calibration,
            "smallest_alpha": planned.smallest_alpha,
            "temperature": detector.temperature,
            "top_c": detector.top_c,
            "score": detector.score_name.key,
            "evidence": detector.evidence,
            "parts": detector.weight_of_parts,
            "thresholds": {f"{alpha:g}": value for alpha, value in thresholds.items()},
            "settings": dict(detector.settings),
            "facts": dict(detector.facts),
            "outcome": outcome,
            "notes": result.notes,
        }
    )
    screen.next("deltaoe score ./unknown --report html")


def _details(result: TuneResult, thresholds: Mapping[float, float | None]) -> list[tuple[str, str]]:
    """Rows about the tuning and the detector."""
    detector = result.detector
    name = detector.score_name.words
    return [
        ("classes", str(len(detector.class_names))),
        ("shots", str(len(result.drawn.split.shots))),
        ("validation", f"{result.drawn.plan.validation} images"),
        *(_prompts(result.fitted, detector) if result.fitted else ()),
        ("score", detector.score_title),
        ("calibration", f"{len(detector.calibration)} images that nothing was learned from"),
        *(
            (
                f"threshold at α = {alpha:g}",
                "needs more images" if value is None else f"{name} ≥ {value:.6g}",
            )
            for alpha, value in thresholds.items()
        ),
    ]


def _prompts(fitted: FittedDetector, detector: Detector) -> list[tuple[str, str]]:
    """Rows about the learned prompts."""
    energy = fitted.energy_prompts
    return [
        ("class prompts", _learned(fitted.class_prompts)),
        ("energy prompts", _learned(energy) if energy else "the class prompts"),
        ("blend", f"{detector.settings['blend']:.0%} learned prompts, the rest zero-shot"),
    ]


def _by_method(
    chosen: TuneOptions, method: Literal["deltaoe", "coop"], given: frozenset[tuple[str, ...]]
) -> TuneOptions:
    """The options with the recipe of the method, except for the values that the user has given."""
    if method == "deltaoe":
        return chosen
    tuning = chosen.tuning
    names = [path[-1] for path in given if path[:2] == ("tuning", "recipe")]
    recipe = Recipe.coop(**{name: getattr(tuning.recipe, name) for name in names})
    evidence = tuning.evidence if ("tuning", "evidence") in given else "text"
    return dataclasses.replace(chosen, tuning=dataclasses.replace(tuning, recipe=recipe, evidence=evidence))


def _learned(prompts: LearnedPrompts) -> str:
    """The last epoch of one learning, in words."""
    last = prompts.progress.last
    said = f"cross-entropy {last.cross_entropy:.4f}, {last.accuracy:.1%} of the shots right"
    if prompts.recipe.ebm_weight:
        said += f", EBM loss {last.ebm:.4f}, E2 ≤ E1 on {last.bound_share:.1%}"
    return f"last epoch: {said}"
