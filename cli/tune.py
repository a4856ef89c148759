"""``deltaoe tune``."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deltaoe.tuning.options import TuneOptions
from deltaoe.tuning.recipe import Recipe

from . import options
from .derive import with_options

if TYPE_CHECKING:
    from deltaoe.tuning.selection_rule import Choice, TriedSetting

HELP = """Learn prompt context vectors from a few cached images per class, and calibrate a threshold.

Both encoders stay frozen; the image tower never runs. λ, the blend weight, τ, c and when to stop are chosen on folds \
of the in-distribution images unless given (--select). Images used for none of this calibrate the threshold. \
A run that was killed goes on with the same command.
"""

EPILOG = """[bold]Examples[/bold]

deltaoe tune --shots 16

deltaoe tune --shots 4 --context "a photo of a"

deltaoe tune --data ./images --domain photo --domain sketch

deltaoe tune --shots 16 --select off   (the defaults, a tenth of the time)

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
        typer.Option("--method", help="coop is CoOp as published: cross-entropy, SGD, nothing chosen."),
    ] = "deltaoe",
    workspace: options.Workspace = None,
    as_json: options.Json = False,
) -> None:
    """Run ``deltaoe tune``; the help text above says what it does."""
    from deltaoe.store.workspace import Workspace
    from deltaoe.tuning.tune import tune_workspace

    from .output import Screen

    screen = Screen(as_json=as_json)
    place = Workspace.locate(workspace)
    with screen.progress() as progress:
        result = tune_workspace(place, _by_method(chosen, method, given), on=progress.event)
    for sentence in result.notes:
        screen.warn(sentence)
    detector, last = result.detector, result.last_epoch
    calibration = len(detector.calibration)
    thresholds = {alpha: detector.threshold(alpha) for alpha in (0.01, 0.05, 0.1)}
    if result.choice is not None:
        screen.table(*_choice(result.choice))
    screen.table(
        f"Tuned on {result.data.title}",
        [
            ("classes", str(len(detector.class_names))),
            ("shots", str(len(result.drawn.split.shots))),
            (
                "last epoch",
                f"CE {last.cross_entropy:.4f}, EBM {last.ebm:.4f}, E2 ≤ E1 {last.bound_share:.1%}",
            ),
            ("score", detector.score_title),
            ("prompts", f"α = {detector.settings['blend']:g}: learned, the rest zero-shot"),
            ("calibration", f"{calibration} images that nothing was learned from or chosen with"),
            *(
                (f"threshold at α = {alpha:g}", "needs more images" if value is None else f"{value:.6g}")
                for alpha, value in thresholds.items()
            ),
            ("detector", str(result.path)),
        ],
    )
    screen.json(
        {
            "detector": str(result.path),
            "data": result.data.title,
            "classes": list(detector.class_names),
            "shots": len(result.drawn.split.shots),
            "calibration_images": calibration,
            "temperature": detector.temperature,
            "top_c": detector.top_c,
            "thresholds": {f"{alpha:g}": value for alpha, value in thresholds.items()},
            "settings": dict(detector.settings),
            "facts": dict(detector.facts),
            "notes": result.notes,
        }
    )
    screen.note("next: deltaoe score ./unknown --report html", style="dim")


def _by_method(
    chosen: TuneOptions, method: Literal["deltaoe", "coop"], given: frozenset[tuple[str, ...]]
) -> TuneOptions:
    """The options with the recipe of the method, except for the values that the user has given."""
    tuning = chosen.tuning
    fixed = frozenset(path[-1] for path in given if path[:2] == ("tuning", "recipe"))
    if method == "coop":
        recipe = Recipe.coop(**{name: getattr(tuning.recipe, name) for name in fixed})
        tuning = dataclasses.replace(tuning, recipe=recipe, select="off")
    return dataclasses.replace(chosen, tuning=dataclasses.replace(tuning, fixed=fixed))


def _choice(choice: Choice) -> tuple[str, list[tuple[str, ...]], tuple[str, ...]]:
    """Title, rows and headings of the table of settings that were tried."""
    others = [one for one in choice.tried[:4] if one not in (choice.chosen, choice.default)]
    rows = [("chosen", choice.chosen), ("default", choice.default)]
    if choice.chosen.setting == choice.default.setting:
        rows = [("the default stands", choice.default)]
    rows += [("also tried", one) for one in others] + [("zero-shot", choice.zero_shot)]
    title = (
        f"Chosen on {choice.folds} folds of in-distribution images, of {len(choice.tried)} settings: "
        "accuracy, AUROC against held-out classes (near) and shuffled features (far); shifted: in a held-out domain"
    )
    measured = ("accuracy", "shifted", "near", "shifted", "far", "shifted", "gain")
    columns = ("", "λ", "stop", "α", "τ", "c", *measured)
    return title, [(name, *_setting(one)) for name, one in rows], columns


def _setting(one: TriedSetting) -> tuple[str, ...]:
    """Cells of one setting: its values, its measurements, and its gain over the default."""
    at, means = one.setting, one.means
    numbers = dataclasses.astuple(means)
    return (
        f"{at.ebm_weight:g}",
        f"{at.stop:.0%}",
        f"{at.blend:g}",
        f"{at.temperature:g}",
        str(at.top_c),
        *("–" if math.isnan(value) else f"{value:.3f}" for value in numbers),
        f"{one.gain:+.3f} ± {one.error:.3f}",
    )
