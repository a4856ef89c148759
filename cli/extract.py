"""``deltaoe extract``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from . import options

_MANY_CLASSES = 40

HELP = """Extract CLIP features of images into the workspace.

Incremental: unchanged files are not opened again, renamed ones are recognised by content, and an \
interrupted run goes on where it stopped. A broken image costs one line, not the run.

In folders, files count by their suffix; links are followed; hidden files, __MACOSX and thumbnail folders of \
systems are passed over. Lists (.txt: a path per line; .csv: columns path, class, domain) are relative to their folder.
"""

EPILOG = """[bold]Examples[/bold]

deltaoe extract ./images

deltaoe extract ./images --model ViT-L-14 --device cuda:1

deltaoe extract ./images --classes names.csv   (rows: folder,class name)

deltaoe extract images.csv more/*.jpg --name all

find . -name "*.jpg" -print0 | deltaoe extract -

deltaoe extract ./images --views 8   (augmented views beside each image)

deltaoe extract ./images --model local-dir:./my-clip --offline
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("extract", help=HELP, epilog=EPILOG)(extract)


def extract(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Folders (one folder per class), image files, globs, lists (.txt, .csv), or - for a list on stdin.",
            show_default=False,
        ),
    ],
    model: options.Model = None,
    pretrained: options.Pretrained = None,
    layout: Annotated[
        Literal["auto", "class", "domain/class", "flat", "table"],
        typer.Option(
            "--layout",
            help="What the folders mean: class folders, or domains that hold them; table: a list says it.",
        ),
    ] = "auto",
    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes", help="CSV with rows folder,name: class names for folders.", show_default=False
        ),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", help="Name the data set, to find it as data:NAME.", show_default=False)
    ] = "",
    views: Annotated[
        int,
        typer.Option(
            "--views", help="Augmented views per image (random resized crop and flip) to keep as well."
        ),
    ] = 0,
    precision: options.Precision = "auto",
    dtype: Annotated[
        Literal["float16", "float32"] | None,
        typer.Option(
            "--dtype",
            help="How features are kept. Default: as the cache has them, else float16.",
            show_default=False,
        ),
    ] = None,
    retry_failed: options.RetryFailed = False,
    strict: options.Strict = False,
    batch_size: options.BatchSize = "auto",
    workers: options.Workers = "auto",
    device: options.Device = "auto",
    offline: options.Offline = False,
    workspace: options.Workspace = None,
    as_json: options.Json = False,
) -> None:
    """Run ``deltaoe extract``; the help text above says what it does."""
    from deltaoe.clip.reference import DEFAULT_MODEL
    from deltaoe.extraction.extract import ExtractOptions
    from deltaoe.extraction.extract import extract as run
    from deltaoe.extraction.ingest import IngestOptions
    from deltaoe.store.workspace import Workspace

    from .output import Screen, titled

    screen = Screen(as_json=as_json)
    ingest = IngestOptions(
        views=views,
        retry_failed=retry_failed,
        batch_size=options.number_or_auto("--batch-size", batch_size),
        workers=options.number_or_auto("--workers", workers),
    )
    place = Workspace.locate(workspace)
    with screen.progress() as progress:
        result = run(
            inputs,
            place,
            ExtractOptions(
                model=model or DEFAULT_MODEL,
                pretrained=pretrained,
                layout=None if layout == "auto" else layout,
                classes=classes,
                name=name,
                precision=precision,
                dtype=dtype,
                ingest=ingest,
                device=device,
                offline=offline,
            ),
            on=progress.event,
            stdin=sys.stdin.buffer,
        )
    for sentence in result.notes:
        screen.warn(sentence)
    screen.failures(result.failed)
    data = result.data
    by_content = len(data) - result.encoded - result.reused
    screen.table(
        "Extracted " + titled(inputs),
        [
            (
                "images",
                f"{len(data)}: {result.encoded} encoded, {result.reused} unchanged, {by_content} known by content",
            ),
            *([("views", f"{result.views} of each image")] if result.views else []),
            ("failed", str(len(result.failed))),
            ("passed over", f"{result.ignored.hidden} hidden, {result.ignored.other_files} other files"),
            ("layout", data.layout),
            ("classes", str(len(data.class_names))),
            *([("domains", ", ".join(data.domain_names))] if data.domain_names else []),
            ("model", f"{data.model}, {result.precision}"),
            ("workspace", str(place.folder)),
        ],
    )
    if 0 < len(data.class_names) <= _MANY_CLASSES:
        screen.table("", ((name, str(n)) for name, n in result.images_per_class.items()), ("class", "images"))
    screen.json(
        {
            "folder": data.root,
            "name": data.name,
            "workspace": str(place.folder),
            "model": data.model,
            "precision": result.precision,
            "views": result.views,
            "feature_space": data.space_id,
            "layout": data.layout,
            "domains": data.domain_names,
            "images": len(data),
            "encoded": result.encoded,
            "unchanged": result.reused,
            "known_by_content": by_content,
            "images_per_class": result.images_per_class,
            "unlabelled": result.unlabelled,
            "passed_over": {"hidden": result.ignored.hidden, "other_files": result.ignored.other_files},
            "failed": [{"path": path, "error": reason} for path, reason in result.failed],
            "notes": result.notes,
        }
    )
    if strict and result.failed:
        raise typer.Exit(1)
    if len(data.class_names) > 1:
        screen.note("next: deltaoe tune --shots 16", style="dim")
