"""``deltaoe discover``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deltaoe.discovery.options import DiscoverOptions
from deltaoe.errors import ConfigError

from . import exits, filing, options
from .derive import with_options
from .targets import check_folder, check_replaceable

if TYPE_CHECKING:
    from deltaoe.discovery.discover import Discovery
    from deltaoe.filing.plan import Item
    from deltaoe.store.workspace import Workspace

    from .output import Screen

HELP = """Group the unknown images by what they show, name each group, and make classes of the groups you choose.

Images are scored as by deltaoe score. The unknown ones are grouped by their features; prototypes are the images most \
like the others of their group, and near-duplicates are flagged. discovered.csv lists the images by group; --json \
writes no file unless --out is given.

With --as-classes, the images of the chosen groups are copied into class folders, without near-duplicates. Its column \
class can be edited first: --from discovered.csv.
"""

EPILOG = """[bold]Examples[/bold]

deltaoe discover ./unknown

deltaoe discover ./unknown --distance 0.5   (more and purer groups)

deltaoe discover ./unknown --as-classes ./images --groups 1,3=tulip

deltaoe discover --from discovered.csv --as-classes ./images
"""
_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("discover", help=HELP, epilog=EPILOG)(discover)


@with_options(DiscoverOptions)
def discover(
    chosen: DiscoverOptions,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders, image files, globs, lists (.txt, .csv), - for a list on stdin; or one data:NAME.",
            show_default=False,
        ),
    ] = None,
    as_classes: Annotated[
        Path | None,
        typer.Option(
            "--as-classes", help="Copy the images of groups into class folders here.", show_default=False
        ),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(
            "--groups",
            help="Which groups become classes: 1,3=tulip; a name after = is the class's.",
            show_default="all, by their names",
        ),
    ] = None,
    listed: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Take images and classes from this edited discovered.csv.", show_default=False
        ),
    ] = None,
    dry_run: filing.DryRun = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for discovered.csv.", show_default="this folder"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a discovered.csv of other inputs, or a changed one.")
    ] = False,
    strict: options.Strict = False,
    workspace: options.Workspace = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Run ``deltaoe discover``; the help text above says what it does."""
    from deltaoe.discovery.classes import listed_items
    from deltaoe.store.workspace import Workspace

    from .output import Screen

    screen = Screen(as_json=as_json, quiet=quiet, verbose=verbose)
    place = Workspace.locate(workspace)
    _check(inputs, as_classes, groups, listed, dry_run=dry_run)
    if as_classes is not None:
        filing.check_target(as_classes, "--as-classes")
    if listed is not None:
        assert as_classes is not None  # noqa: S101 - for the type checker
        told = _make_classes(listed_items(listed), as_classes, place, screen, dry_run=dry_run)
        screen.json({"as_classes": told})
        raise typer.Exit(exits.FAILED if told.get("failed") else 0)
    failed = _discovered(
        inputs or [],
        chosen,
        place,
        screen,
        (as_classes, groups, dry_run),
        None if as_json and out is None else out or Path(),
        force=force,
    )
    if (strict and failed["images"]) or failed["filed"]:
        raise typer.Exit(exits.FAILED)


def _check(
    inputs: list[str] | None,
    as_classes: Path | None,
    groups: str | None,
    listed: Path | None,
    *,
    dry_run: bool,
) -> None:
    """Raise ConfigError if options lack or exclude each other."""
    if not inputs and listed is None:
        raise ConfigError(
            "no images are named", hint="name folders or image files: deltaoe discover ./unknown"
        )
    if listed is not None and (inputs or groups is not None):
        other = "images on the command line" if inputs else "--groups"
        raise ConfigError(
            f"--from and {other} exclude each other", hint="the file names its images and classes"
        )
    if as_classes is None:
        for flag, given in (
            ("--from", listed is not None),
            ("--groups", groups is not None),
            ("--dry-run", dry_run),
        ):
            if given:
                raise ConfigError(
                    f"{flag} says nothing without --as-classes DIR", hint="add --as-classes ./images"
                )


def _discovered(
    inputs: list[str],
    chosen: DiscoverOptions,
    place: Workspace,
    screen: Screen,
    classes: tuple[Path | None, str | None, bool],
    out: Path | None,
    *,
    force: bool,
) -> dict[str, bool]:
    """Discover, write, print and make classes; whether image files failed, and whether copies did."""
    from deltaoe.discovery.classes import chosen_groups, class_items
    from deltaoe.discovery.discover import discover as run
    from deltaoe.discovery.table import CSV_START, records, summaries, write_csv
    from deltaoe.store.result_files import check_same_inputs, note_inputs

    from .output import titled

    as_classes, groups, dry_run = classes
    target = None if out is None else out / "discovered.csv"
    if target is not None:
        check_folder(target.parent)
        check_replaceable(target, CSV_START)
        if not force:
            check_same_inputs(place, target, inputs)
    told: dict[str, Any] | None = None
    with screen.progress() as progress:
        found = run(inputs, place, chosen, on=progress.event, stdin=sys.stdin.buffer)
        wanted = chosen_groups(groups, found) if as_classes is not None else {}
        if target is not None:
            write_csv(found, target)
            note_inputs(place, [target], inputs)
    for sentence in found.notes:
        screen.warn(sentence)
    screen.failures(found.scored.table.failed)
    _say(found, "Discovered in " + titled(inputs), screen, chosen)
    if target is not None:
        screen.summary("", [("csv", str(target))])
    if as_classes is not None:
        items = class_items(found, wanted)
        told = _make_classes(items, as_classes, place, screen, dry_run=dry_run)
    elif found.groups:
        given = " ".join(inputs[:1])
        screen.note(f"next: deltaoe discover {given} --as-classes ./images --groups 1", style="dim")
    screen.json(
        {
            **found.scored.head(),
            "counts": found.scored.table.counts,
            "notes": found.notes,
            "groups": summaries(found),
            "images": list(records(found)),
            "as_classes": told,
        }
    )
    return {"images": bool(found.scored.table.failed), "filed": bool(told and told.get("failed"))}


def _say(found: Discovery, title: str, screen: Screen, chosen: DiscoverOptions) -> None:
    """Print the groups."""
    files = [os.path.normpath(found.scored.files[row]) for row in found.rows.tolist()]
    folders = {os.path.dirname(file) for file in files}
    base = (
        os.path.commonpath([folder or "." for folder in folders])
        if len(folders) > 1 and _same_kind(folders)
        else ""
    )
    shown = found.groups if screen.verbose else found.groups[:_SHOWN]
    rows = []
    for group in shown:
        prototypes = [os.path.normpath(found.scored.files[row]) for row in group.prototypes]
        rows.append(
            (
                str(group.number),
                group.name
                if group.looks_like == "" or group.looks_like in group.name
                else f"{group.name} ({group.looks_like})",
                f"{group.size:,}",
                "" if group.cosine is None else f"{group.cosine:.3f}",
                "" if group.p_value is None else f"{group.p_value:.3g}",
                ", ".join(
                    os.path.relpath(one, base) if base else os.path.basename(one) for one in prototypes
                ),
            )
        )
    if rows:
        screen.table(
            title,
            rows,
            ("group", "name", "images", "cosine", "mean p", "prototypes"),
            text=("name", "prototypes"),
        )
    what = "images" if chosen.every else "unknown images"
    scored = len(found.scored.table)
    grouped = len(found.rows) - found.singles
    screen.line(
        f"{len(found.rows):,} {what} of {scored:,}: {grouped:,} in {len(found.groups):,} groups, {found.singles:,} "
        f"single images; {found.duplicates:,} repeat others (same content, or cosine ≥ {chosen.near:g})"
    )
    if len(shown) < len(found.groups):
        screen.note(f"the {len(shown)} largest groups are shown; --verbose shows all")


def _same_kind(folders: set[str]) -> bool:
    """Whether paths are all absolute or all relative."""
    return len({os.path.isabs(folder) for folder in folders}) == 1


def _make_classes(
    items: list[Item], root: Path, place: Workspace, screen: Screen, *, dry_run: bool
) -> dict[str, Any]:
    """Copy images into class folders and say the next commands; the result is JSON values."""
    from deltaoe.filing.plan import plan

    told = filing.carry_out(plan(items), root, "copy", screen, dry_run=dry_run)
    if not dry_run:
        screen.note(f"next: deltaoe extract {_to_extract(root, place)}; deltaoe tune", style="dim")
    return told


def _to_extract(root: Path, place: Workspace) -> str:
    """The inputs that hold the known classes and the new ones: those of the last data set, and the new folder."""
    data = place.dataset()
    here = os.path.abspath(root)
    known = [os.path.abspath(given) for given in data.inputs] if data is not None and not data.name else []
    inside = any(os.path.commonpath([one, here]) == one for one in known if os.path.isdir(one))
    return " ".join(os.path.relpath(one) for one in (known if inside else [*known, here]))
