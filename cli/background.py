"""``deltaoe background``."""

from __future__ import annotations

import typer

from deltaoe.scoring.options import BackgroundListOptions

from . import options
from .derive import with_options

HELP = """List background labels: which are kept, and which are too close to a class.

Background labels are names that are none of your classes. Images are compared with them as well, so that what looks \
like none of your classes is seen to look like something else. Those most like your classes are left out.
"""

EPILOG = """[bold]Examples[/bold]

deltaoe background

deltaoe background --background names.txt --background-fraction 0.8

deltaoe background --json > labels.json
"""

# Those options of score on which the background labels depend.
OFFERED = frozenset(
    {
        *("background", "background_fraction", "data", "labels", "template"),
        *("model", "pretrained", "device", "offline"),
    }
)
_LISTED = 40


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("background", help=HELP, epilog=EPILOG)(background)


@with_options(BackgroundListOptions, only=OFFERED)
def background(
    chosen: BackgroundListOptions,
    workspace: options.Workspace = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run ``deltaoe background``; the help text above says what it does."""
    from deltaoe.scoring.resolve import list_background
    from deltaoe.store.workspace import Workspace

    from .output import Screen

    screen = Screen(as_json=as_json, quiet=quiet)
    with screen.progress() as progress:
        found = list_background(Workspace.locate(workspace), chosen, on=progress.event)
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
