"""``deltaoe tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options

HELP = """Learn prompt context vectors from a few cached images per class, and calibrate a threshold.

Both encoders stay frozen; the image tower never runs. All images that were not shots calibrate the threshold.
"""

EPILOG = """[bold]Examples[/bold]

deltaoe tune --shots 16

deltaoe tune --shots 4 --context "a photo of a"

deltaoe tune --data ./images --domain photo --domain sketch

deltaoe tune --shots 16 --ebm-weight 0   (plain CoOp)
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
    ebm_weight: Annotated[
        float | None,
        typer.Option("--ebm-weight", help="λ of the EBM loss; 0 is plain CoOp.", show_default=False),
    ] = None,
    ebm_temperature: Annotated[
        float | None,
        typer.Option(
            "--ebm-temperature",
            help="τ of the EBM loss, cosine units; CLIP's own by default.",
            show_default=False,
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", help="τ of ΔEnergy, cosine units.", show_default=False),
    ] = None,
    top_c: Annotated[
        int | None,
        typer.Option("--top-c", help="c of ΔEnergy: how many cosines are cropped.", show_default=False),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", help="Default: 50 for 1 shot, 100 for 2 to 4, 200 for more.", show_default=False
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="Shots per step.", show_default=False)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Of SGD, after warm-up.", show_default=False)
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
    from deltaoe.data.workspace import Workspace
    from deltaoe.models.tuning import Recipe
    from deltaoe.workflows.background import BackgroundOptions
    from deltaoe.workflows.tune import TuneOptions
    from deltaoe.workflows.tune import tune as run

    from .output import Screen

    screen = Screen(as_json=as_json)
    chosen: dict[str, Any] = {
        "ebm_weight": ebm_weight,
        "ebm_temperature": ebm_temperature,
        "temperature": temperature,
        "top_c": top_c,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
    }
    place = Workspace.locate(workspace)
    with screen.progress() as progress:
        result = run(
            place,
            TuneOptions(
                shots=shots,
                seed=seed,
                context_length=context_length,
                context_phrase=context,
                recipe=Recipe(**{name: value for name, value in chosen.items() if value is not None}),
                background=BackgroundOptions(background, background_fraction),
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
    screen.table(
        f"Tuned on {result.data.title}",
        [
            ("classes", str(len(detector.class_names))),
            ("shots", str(len(result.split.shots))),
            (
                "last epoch",
                f"CE {last.cross_entropy:.4f}, EBM {last.ebm:.4f}, E2 ≤ E1 {last.premise_share:.1%}",
            ),
            ("score", detector.score_title),
            ("calibration", f"{calibration} images that were not shots"),
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
            "shots": len(result.split.shots),
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
