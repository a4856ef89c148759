"""``deltaoe status``."""

from __future__ import annotations

import typer

from . import options

HELP = """Show what this workspace has, what score and tune would use now, and what is out of date.

Every file of the extracted folders is looked at, and none is opened. Exits with 0 whatever it finds.
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("status", help=HELP)(status)


def status(
    workspace: options.Workspace = None, as_json: options.Json = False, quiet: options.Quiet = False
) -> None:
    """Run ``deltaoe status``; the help text above says what it does."""
    from deltaoe.project.status import status as run
    from deltaoe.store.sentences import short_title

    from .detectors import show_detectors
    from .output import Screen
    from .place import located

    screen = Screen(as_json=as_json, quiet=quiet)
    place = located(workspace, screen)
    with screen.progress() as progress:
        found = run(place, progress.event)
    screen.json(found.to_dict())
    if found.empty:
        screen.line(f"Nothing has been extracted in {place.folder} yet.")
        screen.line(
            "Begin with: deltaoe extract ./images   (one folder per class), or see it at work: deltaoe demo"
        )
        return
    if found.data_sets:
        rows = []
        for one in found.data_sets:
            star, when = "*" if one.current else " ", f"{one.extracted:%Y-%m-%d %H:%M}"
            if one.data is None:
                rows.append((f"{star} {one.path.name}", "damaged", when, "", ""))
            else:
                data = one.data
                counts = f"{len(data):,}", f"{len(data.class_names):,}"
                rows.append((f"{star} {short_title(data)}", data.model, when, *counts))
        screen.table("Data sets", rows, ("  data set", "model", "extracted", "images", "classes"), words=3)
    if found.spaces:
        screen.table(
            "Features",
            [
                (f"  {one.model or one.id}", f"{one.images:,}", f"{one.size / 1e6:.1f} MB")
                for one in found.spaces
            ],
            ("  model", "images", "size"),
        )
    if found.detectors:
        show_detectors(screen, found.detectors)
    screen.line("")
    screen.line(
        f"score uses {found.score_uses or 'nothing yet: it needs class names, as of deltaoe extract ./images'}"
    )
    screen.line(f"tune uses {found.tune_uses or 'nothing yet: next: deltaoe extract ./images'}")
    for sentence in found.stale:
        screen.line(f"out of date: {sentence}")
    if not found.stale:
        screen.line("Nothing is out of date.")
