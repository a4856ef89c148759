"""``deltaoe extract``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from deltaoe.extraction.options import ExtractOptions

from . import options
from .derive import with_options

if TYPE_CHECKING:
    from deltaoe.store.dataset import DataSet

_MANY_CLASSES = 40

HELP = """Extract CLIP features of images into the workspace.

Incremental: unchanged files are not opened again, renamed ones are recognised by content, and an \
interrupted run goes on where it stopped. A broken image costs one line, not the run.

In folders, files count by their suffix, or without one by their first bytes; links are followed; hidden files, \
__MACOSX and thumbnail folders of systems are passed over. Folders train, val and test are splits: shots and \
calibration come from train and val, and test is left for evaluate. Lists (.txt: a path per line; .csv: columns path, \
class, domain, split) are relative to their folder.
"""

EPILOG = """[bold]Examples[/bold]

deltaoe extract ./images

deltaoe extract ./images --model ViT-L-14 --device cuda:1

deltaoe extract ./images --classes names.csv   (rows: folder,class name)

deltaoe extract images.csv more/*.jpg --name all

find . -name "*.jpg" -print0 | deltaoe extract -

deltaoe extract ./images --views 8   (augmented views beside each image)

deltaoe extract ./shards s3://bucket/images --decode fast   (tar files, a bucket)

deltaoe extract ./images --cluster local   (all GPUs of this machine)

deltaoe extract ./images --model local-dir:./my-clip --offline
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("extract", help=HELP, epilog=EPILOG)(extract)


@with_options(ExtractOptions)
def extract(
    chosen: ExtractOptions,
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Folders (one folder per class), image files, tar or Parquet files, URLs, globs, lists (.txt, .csv), "
            "or - for a list on stdin.",
            show_default=False,
        ),
    ],
    strict: options.Strict = False,
    failed: options.Failed = False,
    workspace: options.Workspace = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run ``deltaoe extract``; the help text above says what it does."""
    from deltaoe.extraction.extract import extract as run
    from deltaoe.store.split_use import counts_by_split
    from deltaoe.tuning.data import sizes_to_draw_from
    from deltaoe.tuning.sentences import after_extraction

    from .output import Screen, titled
    from .place import located

    screen = Screen(as_json=as_json, quiet=quiet)
    place = located(workspace, screen)
    with screen.progress() as progress:
        result = run(inputs, place, chosen, on=progress.event, stdin=sys.stdin.buffer)
    for sentence in result.assumed:
        screen.note(sentence)
    for sentence in result.notes:
        screen.warn(sentence)
    screen.failures(result.failed, "--failed", every=failed)
    data = result.data
    by_content = len(data) - result.encoded - result.reused
    decoded = "" if result.decode == "exact" else f", decoded {result.decode}"
    passed_over = _counted(hidden=result.ignored.hidden, of_other_kinds=result.ignored.other_files)
    screen.summary(
        "Extracted " + titled(inputs),
        [
            (
                "images",
                f"{len(data):,}: "
                + _counted(encoded=result.encoded, unchanged=result.reused, known_by_content=by_content),
            ),
            *([("views", f"{result.views} of each image")] if result.views else []),
            ("failed", str(len(result.failed))),
            *([("passed over", passed_over)] if passed_over else []),
            ("layout", data.layout),
            ("classes", str(len(data.class_names))),
            *([("domains", ", ".join(data.domain_names))] if data.domain_names else []),
            *([("splits", ", ".join(data.split_names))] if data.split_names else []),
            ("model", f"{data.model}, {result.precision}" + decoded),
            ("workspace", str(place.folder)),
        ],
    )
    if 0 < len(data.class_names) <= _MANY_CLASSES:
        columns = ("class", "images", *data.split_names)
        screen.summary("", ((name, *map(str, n)) for name, n in _per_class(data)), columns)
    following = None
    if data.class_names:
        sizes, held_out = sizes_to_draw_from(data)
        following = after_extraction(dict(zip(data.class_names, sizes, strict=True)), held_out)
    screen.json(
        {
            "folder": data.root,
            "name": data.name,
            "workspace": str(place.folder),
            "model": data.model,
            "precision": result.precision,
            "decode": result.decode,
            "views": result.views,
            "feature_space": data.space_id,
            "layout": data.layout,
            "domains": data.domain_names,
            "splits": counts_by_split(data),
            "images": len(data),
            "encoded": result.encoded,
            "unchanged": result.reused,
            "known_by_content": by_content,
            "images_per_class": result.images_per_class,
            "unlabelled": result.unlabelled,
            "passed_over": {"hidden": result.ignored.hidden, "other_files": result.ignored.other_files},
            "failed": [{"path": path, "error": reason} for path, reason in result.failed],
            "usable_shots": following.shots if following else None,
            "assumed": result.assumed,
            "notes": result.notes,
        }
    )
    if strict and result.failed:
        raise typer.Exit(1)
    if following and following.reason:
        screen.note(following.reason)
    if following and following.command:
        screen.next(following.command)


def _per_class(data: DataSet) -> Iterator[tuple[str, list[int]]]:
    """Each class with its number of images, and that in each split."""
    for index, name in enumerate(data.class_names):
        splits = data.split_of[data.class_of == index].tolist()
        yield name, [len(splits), *map(splits.count, range(len(data.split_names)))]


def _counted(**counts: int) -> str:
    """The counts that are not 0, in words: the name of each with spaces for underscores."""
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count)
