"""``deltaoe background``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options

HELP = """List background labels: which are kept, and which are too close to a class.

Background labels are names that are none of your classes. Images are compared with them as well, so that what looks \
like none of your classes is seen to look like something else. Those most like your classes are left out; here is why.
"""

EPILOG = """[bold]Examples[/bold]

deltaoe background

deltaoe background --background names.txt --background-fraction 0.8

deltaoe background --json > labels.json
"""

_LISTED = 40


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("background", help=HELP, epilog=EPILOG)(background)


def background(
    source: options.Background = None,
    fraction: options.BackgroundFraction = 0.5,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Classes of this extracted folder or data:NAME. Default: the last one with classes.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", help="Class names, one per line, instead of the extracted ones.", show_default=False
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option("--template", help='Prompt. Default: "a photo of a {}."', show_default=False),
    ] = None,
    model: options.Model = None,
    pretrained: options.Pretrained = None,
    device: options.Device = "auto",
    offline: options.Offline = False,
    workspace: options.Workspace = None,
    as_json: options.Json = False,
) -> None:
    """Run ``deltaoe background``; the help text above says what it does."""
    from deltaoe.scoring.background import BackgroundOptions
    from deltaoe.scoring.resolve import ScoreOptions, list_background
    from deltaoe.store.workspace import Workspace

    from .output import Screen

    screen = Screen(as_json=as_json)
    with screen.progress() as progress:
        found = list_background(
            Workspace.locate(workspace),
            ScoreOptions(
                background=BackgroundOptions(source, fraction),
                data=data,
                labels=labels,
                template=template,
                model=model,
                pretrained=pretrained,
                device=device,
                offline=offline,
            ),
            on=progress.event,
        )
    kept = sum(one.kept for one in found)
    rows = [
        (
            one.name,
            "kept" if one.kept else "left out",
            one.nearest,
            f"{one.cosine:.4f}",
            f"{one.likeness:.4f}",
        )
        for one in found
    ]
    screen.table(
        f"{kept} of {len(found)} background labels are kept; the most like your classes come first",
        rows[:_LISTED],
        ("label", "", "nearest class", "cosine", "likeness"),
    )
    if len(rows) > _LISTED:
        screen.note(f"and {len(rows) - _LISTED} more: --json lists all", style="dim")
    screen.json(
        {
            "kept": kept,
            "labels": [
                {
                    "label": one.name,
                    "kept": one.kept,
                    "nearest": one.nearest,
                    "cosine": one.cosine,
                    "likeness": one.likeness,
                }
                for one in found
            ],
        }
    )
