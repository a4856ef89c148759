"""``deltaoe store``: describe, verify and compact the cached features, export and import them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deltaoe.interchange.options import ImportOptions
from deltaoe.store.feature_space import UNNAMED

from . import options
from .derive import NO_VARIABLE, with_options

if TYPE_CHECKING:
    from deltaoe.store.workspace import Workspace

HELP = """Look after the cached features: describe, verify, compact, export, import."""

IMPORT_HELP = """Take in CLIP features that were made elsewhere, as a data set to tune on and to score.

Read are .npz (features, and labels, class_names, text_features, paths where present), .npy with --paths, .parquet, \
a folder in clip-retrieval's layout, .h5, and what `deltaoe store export` wrote. Nothing is encoded.
"""
IMPORT_EPILOG = """[bold]Examples[/bold]

deltaoe store import caltech.npz --name caltech --model ViT-B-32

deltaoe store import img_emb.npy --paths paths.txt --name mine

deltaoe score data:mine --text-features classes.npz
"""

EXPORT_HELP = """Write a data set's features to one file.

.h5 holds everything and can be imported again without loss; .npz, .npy and .parquet are for others.
"""

COMPACT_HELP = """Rewrite the cache into few large files, without what no data set lists and no file holds any more.

Files whose whole folder is out of sight are kept: an unplugged disk looks like a deleted folder.
"""

VERIFY_HELP = (
    """Read every byte of the cache and say what is damaged or cannot be read. Exits with 1 if anything is."""
)


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    store = typer.Typer(no_args_is_help=True, help=HELP, rich_markup_mode="rich")
    store.command("info", help="Describe the cached features, and list files that failed.")(info)
    store.command("verify", help=VERIFY_HELP)(verify)
    store.command("compact", help=COMPACT_HELP)(compact)
    store.command("export", help=EXPORT_HELP)(export)
    store.command("import", help=IMPORT_HELP, epilog=IMPORT_EPILOG)(import_)
    app.add_typer(store, name="store")


def _index(size: int) -> str:
    return f", and {size / 1e6:.1f} MB of index" if size else ""


def info(
    failed: options.Failed = False,
    workspace: options.Workspace = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run ``deltaoe store info``."""
    from deltaoe.store.maintenance import info as run
    from deltaoe.store.split_use import counts_by_split, splits_in_words

    from .output import Screen

    screen, place = Screen(as_json=as_json, quiet=quiet), _workspace(workspace)
    found, data_sets = run(place), place.datasets()
    for one in found:
        space = one.space
        screen.table(
            f"{space.model} ({space.id})",
            [
                ("images", str(one.images)),
                ("features", f"{one.features} of {space.dim} numbers, {space.dtype}"),
                ("files on record", f"{one.files}, {len(one.failed)} of them no usable images"),
                ("precision", space.precision),
                *([] if space.decode == "exact" else [("decoding", space.decode)]),
                ("size", f"{one.size / 1e6:.1f} MB in {one.shards} shards{_index(one.index_size)}"),
            ],
        )
        screen.failures(list(one.failed.items()), "--failed", every=failed)
    if data_sets:
        shown = sorted(data_sets, key=lambda data: data.title)
        rows: list[tuple[str, ...]] = [
            (one.title, str(len(one)), str(len(one.class_names)), one.space_id) for one in shown
        ]
        columns: tuple[str, ...] = ("data set", "images", "classes", "feature space")
        if any(one.split_names for one in shown):
            rows = [(*row, splits_in_words(one)) for row, one in zip(rows, shown, strict=True)]
            columns = (*columns, "splits")
        screen.table("Data sets", rows, columns, text=("splits",))
    if not found:
        screen.note(f"{place.folder} holds no features yet; next: deltaoe extract ./images")
    screen.json(
        {
            "workspace": str(place.folder),
            "spaces": [
                {
                    **one.space.to_dict(),
                    "id": one.space.id,
                    "images": one.images,
                    "features": one.features,
                    "files": one.files,
                    "failed": one.failed,
                    "shards": one.shards,
                    "bytes": one.size,
                }
                for one in found
            ],
            "data_sets": [
                {
                    "title": data.title,
                    "name": data.name,
                    "images": len(data),
                    "classes": list(data.class_names),
                    "domains": list(data.domain_names),
                    "splits": counts_by_split(data),
                    "feature_space": data.space_id,
                }
                for data in data_sets
            ],
        }
    )


def verify(
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Set damaged files aside (nothing is deleted) and keep their whole rows; extract makes the others "
            "anew. What is in use or not readable is left alone.",
        ),
    ] = False,
    workspace: options.Workspace = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run ``deltaoe store verify``."""
    from deltaoe.store.maintenance import verify as run

    from .output import Screen

    screen = Screen(as_json=as_json, quiet=quiet)
    with screen.progress() as progress:
        result = run(_workspace(workspace), repair=repair, on=progress.event)
    for path, reason in result.damage:
        screen.warn(reason if str(path) in reason else f"{path}: {reason}")
    for _, error in result.unreadable:
        screen.warn(f"{error}; {error.hint}" if error.hint else str(error))
    for path in result.aside:
        screen.note(f"set aside: {path}")
    for sentence in result.notes:
        screen.note(sentence)
    rows = [
        ("shards", str(result.shards)),
        ("features", str(result.rows)),
        ("damaged", str(len(result.damage))),
    ]
    if result.unreadable:
        rows.append(("not readable", f"{len(result.unreadable)}, which may be sound"))
    screen.table("Verified", rows)
    screen.json(
        {
            "shards": result.shards,
            "features": result.rows,
            "damaged": [{"path": str(path), "error": reason} for path, reason in result.damage],
            "unreadable": [
                {"path": str(path), "error": str(error), "hint": error.hint}
                for path, error in result.unreadable
            ],
            "set_aside": [str(path) for path in result.aside],
            "notes": result.notes,
        }
    )
    if result.aside:
        screen.note("next: the same deltaoe extract again, which makes only the lost rows anew", style="dim")
    elif result.damage and not repair:
        screen.next("deltaoe store verify --repair")
    if result.damage or result.unreadable:
        raise typer.Exit(1)


def compact(
    drop_missing_folders: Annotated[
        bool,
        typer.Option("--drop-missing-folders", help="Also drop files whose whole folder is out of sight."),
    ] = False,
    workspace: options.Workspace = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run ``deltaoe store compact``."""
    from deltaoe.store.maintenance import compact as run

    from .output import Screen

    screen = Screen(as_json=as_json, quiet=quiet)
    with screen.progress() as progress:
        done = run(_workspace(workspace), drop_missing_folders=drop_missing_folders, on=progress.event)
    for space, result in done:
        screen.summary(
            f"Compacted {space.model} ({space.id})",
            [
                ("shards", f"{result.shards[0]} → {result.shards[1]}"),
                ("size", f"{result.size[0] / 1e6:.1f} MB → {result.size[1] / 1e6:.1f} MB"),
                ("left behind", f"{result.dropped_features} features, {result.dropped_files} file records"),
            ],
        )
    screen.json(
        [
            {
                "feature_space": space.id,
                "shards": list(result.shards),
                "bytes": list(result.size),
                "dropped_features": result.dropped_features,
                "dropped_files": result.dropped_files,
            }
            for space, result in done
        ]
    )


def export(
    file: Annotated[
        Path, typer.Argument(help="File to write: .h5, .npz, .npy or .parquet.", show_default=False)
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="An extracted input, or data:NAME. Default: the last data set with classes.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    workspace: options.Workspace = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run ``deltaoe store export``."""
    from deltaoe.errors import ConfigError
    from deltaoe.interchange.import_export import export_features

    from .output import Screen

    if file.exists() and not force:
        raise ConfigError(f"{file} is there already", hint="choose another name, or --force")
    screen = Screen(as_json=as_json, quiet=quiet)
    with screen.progress() as progress:
        result = export_features(file, _workspace(workspace), data, progress.event)
    screen.summary(
        f"Exported {result.title}",
        [("images", str(len(result))), ("classes", str(len(result.class_names))), ("file", str(file))],
    )
    screen.json({"data": result.title, "images": len(result), "file": str(file)})


@with_options(ImportOptions)
def import_(
    chosen: ImportOptions,
    file: Annotated[Path, typer.Argument(help="File or folder to read.", show_default=False)],
    pretrained: Annotated[
        str | None,
        typer.Option(
            "--pretrained",
            envvar=NO_VARIABLE,
            help="That model's weights, as extract names them.",
            show_default=False,
        ),
    ] = None,
    workspace: options.Workspace = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run ``deltaoe store import``."""
    from deltaoe.clip.reference import ModelRef
    from deltaoe.interchange.import_export import import_features

    from .output import Screen

    screen, place = Screen(as_json=as_json, quiet=quiet), _workspace(workspace)
    if chosen.model != UNNAMED:
        chosen = dataclasses.replace(chosen, model=str(ModelRef.parse(chosen.model, pretrained)))
    with screen.progress() as progress:
        result = import_features(file, place, chosen, progress.event)
    for sentence in result.notes:
        screen.warn(sentence)
    data = result.data
    texts = "none" if data.text_features is None else f"{len(data.text_features)}, one per class"
    screen.summary(
        f"Imported {file}",
        [
            ("images", f"{len(data)}, {result.new} of them new"),
            ("classes", str(len(data.class_names))),
            ("text features", texts),
            ("made by", result.space.model),
            ("data set", data.title),
        ],
    )
    screen.json(
        {
            "data": data.title,
            "images": len(data),
            "new": result.new,
            "classes": list(data.class_names),
            "text_features": data.text_features is not None,
            "feature_space": result.space.id,
            "notes": result.notes,
        }
    )


def _workspace(folder: Path | None) -> Workspace:
    from deltaoe.store.workspace import Workspace

    return Workspace.locate(folder)
