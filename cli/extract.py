"""``deltaoe extract``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from . import options

_MANY_CLASSES = 40

HELP = """Extract CLIP features of a folder of images into the workspace.

Incremental: unchanged files are not opened again, renamed ones are recognised by content, and an \
interrupted run goes on where it stopped. A broken image costs one line, not the run.
"""

EPILOG = """[bold]Examples[/bold]

deltaoe extract ./images

deltaoe extract ./images --model ViT-L-14 --device cuda:1

deltaoe extract ./images --classes names.csv   (rows: folder,class name)

deltaoe extract ./images --model local-dir:./my-clip --offline
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("extract", help=HELP, epilog=EPILOG)(extract)


def extract(
    folder: Annotated[
        Path, typer.Argument(help="Folder of images, one folder per class.", show_default=False)
    ],
    model: options.Model = None,
    pretrained: options.Pretrained = None,
    layout: Annotated[
        Literal["auto", "class", "domain/class", "flat"],
        typer.Option(
            "--layout", help="What the folders mean: class folders, or domains that hold class folders."
        ),
    ] = "auto",
    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes", help="CSV with rows folder,name: class names for folders.", show_default=False
        ),
    ] = None,
    retry_failed: options.RetryFailed = False,
    strict: options.Strict = False,
    batch_size: options.BatchSize = None,
    device: options.Device = "auto",
    offline: options.Offline = False,
    workspace: options.Workspace = None,
    as_json: options.Json = False,
) -> None:
    """Run ``deltaoe extract``; the help text above says what it does."""
    from deltaoe.data.workspace import Workspace
    from deltaoe.models.reference import DEFAULT_MODEL
    from deltaoe.workflows.extract import ExtractOptions
    from deltaoe.workflows.extract import extract as run

    from .output import Screen

    screen = Screen(as_json=as_json)
    place = Workspace.locate(workspace)
    with screen.progress() as progress:
        result = run(
            folder,
            place,
            ExtractOptions(
                model=model or DEFAULT_MODEL,
                pretrained=pretrained,
                layout=None if layout == "auto" else layout,
                classes=classes,
                retry_failed=retry_failed,
                batch_size=batch_size,
                device=device,
                offline=offline,
            ),
            on=progress.event,
        )
    for sentence in result.notes:
        screen.warn(sentence)
    screen.failures(result.failed)
    data = result.data
    by_content = len(data) - result.encoded - result.reused
    screen.table(
        f"Extracted {folder}",
        [
            (
                "images",
                f"{len(data)}: {result.encoded} encoded, {result.reused} unchanged, {by_content} known by content",
            ),
            ("failed", str(len(result.failed))),
            ("layout", data.layout),
            ("classes", str(len(data.class_names))),
            *([("domains", ", ".join(data.domain_names))] if data.domain_names else []),
            ("model", data.model),
            ("workspace", str(place.folder)),
        ],
    )
    if 0 < len(data.class_names) <= _MANY_CLASSES:
        screen.table("", ((name, str(n)) for name, n in result.images_per_class.items()), ("class", "images"))
    screen.json(
        {
            "folder": data.root,
            "workspace": str(place.folder),
            "model": data.model,
            "feature_space": data.space_id,
            "layout": data.layout,
            "domains": data.domain_names,
            "images": len(data),
            "encoded": result.encoded,
            "unchanged": result.reused,
            "known_by_content": by_content,
            "images_per_class": result.images_per_class,
            "unlabelled": result.unlabelled,
            "failed": [{"path": path, "error": reason} for path, reason in result.failed],
            "notes": result.notes,
        }
    )
    if strict and result.failed:
        raise typer.Exit(1)
    if len(data.class_names) > 1:
        screen.note("next: deltaoe tune --shots 16", style="dim")
