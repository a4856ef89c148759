"""``deltaoe tune``."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from . import options

if TYPE_CHECKING:
    from deltaoe.tuning.selection_rule import Choice, Tried

HELP = """Learn prompt context vectors from a few cached images per class, and calibrate a threshold.

Both encoders stay frozen; the image tower never runs. λ, α, τ, c and when to stop are chosen on folds of the \
in-distribution images unless given (--select). Images that were used for neither calibrate the threshold. \
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


def tune(
    shots: Annotated[int, typer.Option("--shots", help="Images per class to learn from.")] = 16,
    seed: Annotated[
        int, typer.Option("--seed", help="Chooses shots, start and order. Same seed, same detector.")
    ] = 1,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="An extracted folder, or data:NAME. Default: the last one with classes.",
            show_default=False,
        ),
    ] = None,
    domain: Annotated[
        list[str] | None,
        typer.Option("--domain", help="Use this domain only; may be repeated.", show_default=False),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            "--context", help="Start the context from these words instead of at random.", show_default=False
        ),
    ] = None,
    context_length: Annotated[
        int | None,
        typer.Option(
            "--context-length", help="Context vectors. Default: 16, or the words' own.", show_default=False
        ),
    ] = None,
    class_position: Annotated[
        Literal["end", "middle", "front"],
        typer.Option("--class-position", help="Where the class name stands among the context vectors."),
    ] = "end",
    class_specific: Annotated[
        bool, typer.Option("--class-specific", help="Learn a context for each class instead of one for all.")
    ] = False,
    method: Annotated[
        Literal["deltaoe", "coop"],
        typer.Option("--method", help="coop is CoOp as published: cross-entropy, SGD, nothing chosen."),
    ] = "deltaoe",
    select: Annotated[
        Literal["auto", "off"],
        typer.Option("--select", help="auto chooses what is not given; off takes the defaults shown below."),
    ] = "auto",
    ebm_weight: Annotated[
        float | None,
        typer.Option("--ebm-weight", help="λ of the EBM loss. Default: 0.2.", show_default=False),
    ] = None,
    ebm_temperature: Annotated[
        float | None,
        typer.Option(
            "--ebm-temperature",
            help="τ of the EBM loss, cosine units; CLIP's own by default.",
            show_default=False,
        ),
    ] = None,
    anchor: Annotated[
        float | None,
        typer.Option(
            "--anchor", help="η, holds prompts at the zero-shot ones. Default: 2.", show_default=False
        ),
    ] = None,
    blend: Annotated[
        float | None,
        typer.Option(
            "--blend",
            help="α: share of the learned in the final text features, the rest zero-shot. Default: 0.7.",
            show_default=False,
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", help="τ of ΔEnergy, cosine units. Default: 0.1.", show_default=False),
    ] = None,
    top_c: Annotated[
        int | None,
        typer.Option(
            "--top-c", help="c of ΔEnergy: how many cosines are cropped. Default: 1.", show_default=False
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", help="Steps, each on all shots. Default: 150.", show_default=False),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            help="Passes over the shots, instead of --steps; CoOp's 50 to 200 with --method coop.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", help="Shots per step. Default: all of them.", show_default=False),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", help="The largest. Default: 0.003.", show_default=False),
    ] = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        typer.Option("--precision", help="Of the text tower while it learns; auto is bf16 on GPUs."),
    ] = "auto",
    classes_at_once: Annotated[
        int | None,
        typer.Option(
            "--classes-at-once",
            help="Classes encoded at a time. Default: as many as 2 GiB of activations allow.",
            show_default=False,
        ),
    ] = None,
    allow_fewer: Annotated[
        bool, typer.Option("--allow-fewer", help="Classes with fewer images than shots give all they have.")
    ] = False,
    background: options.Background = None,
    background_fraction: options.BackgroundFraction = 0.5,
    model: options.Model = None,
    pretrained: options.Pretrained = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Save the detector here instead of in the workspace.", show_default=False),
    ] = None,
    device: options.Device = "auto",
    offline: options.Offline = False,
    workspace: options.Workspace = None,
    as_json: options.Json = False,
) -> None:
    """Run ``deltaoe tune``; the help text above says what it does."""
    from deltaoe.scoring.background import BackgroundOptions
    from deltaoe.store.workspace import Workspace
    from deltaoe.tuning.options import ContextOptions, Prompts
    from deltaoe.tuning.recipe import Recipe
    from deltaoe.tuning.tune import TuneOptions
    from deltaoe.tuning.tune import tune_workspace as run

    from .output import Screen

    screen = Screen(as_json=as_json)
    chosen: dict[str, Any] = {
        "ebm_weight": ebm_weight,
        "ebm_temperature": ebm_temperature,
        "anchor": anchor,
        "blend": blend,
        "temperature": temperature,
        "top_c": top_c,
        "steps": steps,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
    }
    given = {name: value for name, value in chosen.items() if value is not None}
    prompts = Prompts(
        shots=shots,
        seed=seed,
        context=ContextOptions(
            context_length, context, class_position, class_specific, classes_at_once, precision
        ),
        recipe=Recipe.coop(**given) if method == "coop" else Recipe(**given),
        select="off" if method == "coop" else select,
        fixed=frozenset(given),
        background=BackgroundOptions(background, background_fraction),
    )
    place = Workspace.locate(workspace)
    with screen.progress() as progress:
        result = run(
            place,
            TuneOptions(
                prompts=prompts,
                data=data,
                domains=tuple(domain or ()),
                allow_fewer=allow_fewer,
                model=model,
                pretrained=pretrained,
                out=out,
                device=device,
                offline=offline,
            ),
            on=progress.event,
        )
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
                f"CE {last.cross_entropy:.4f}, EBM {last.ebm:.4f}, E2 ≤ E1 {last.premise_share:.1%}",
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


def _choice(choice: Choice) -> tuple[str, list[tuple[str, ...]], tuple[str, ...]]:
    """Title, rows and columns of the table of settings."""
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


def _setting(one: Tried) -> tuple[str, ...]:
    at, seen = one.setting, one.seen
    numbers = dataclasses.astuple(seen)
    return (
        f"{at.ebm_weight:g}",
        f"{at.stop:.0%}",
        f"{at.blend:g}",
        f"{at.temperature:g}",
        str(at.top_c),
        *("–" if math.isnan(value) else f"{value:.3f}" for value in numbers),
        f"{one.gain:+.3f} ± {one.error:.3f}",
    )
