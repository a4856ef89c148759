"""``deltaoe discover``."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Container
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deltaoe import exit_codes as exits
from deltaoe.discovery.options import DiscoverOptions
from deltaoe.errors import ConfigError
from deltaoe.images.location_text import absolute, is_url

from . import filing, options
from .derive import ACT, with_options
from .targets import HTML_MARK, check_folder, check_targets

if TYPE_CHECKING:
    from deltaoe.discovery.discover import Discovery
    from deltaoe.filing.plan import Item
    from deltaoe.progress import OnEvent
    from deltaoe.store.workspace import Workspace

    from .output import Screen

HELP = """Group the unknown images by what they show, name each group, and make classes of the groups you choose.

Images are scored as by deltaoe score. The unknown ones are grouped by their features; prototypes are the images most \
like the others of their group, and near-duplicates are flagged. discovered.csv lists the images by group; --json \
writes no file unless --out is given.

With --as-classes, the images of the chosen groups are copied into class folders, without near-duplicates. To choose \
image by image, edit the column class of discovered.csv and give the file with --from.
"""

EPILOG = """[bold]Examples[/bold]

deltaoe discover ./unknown

deltaoe discover ./unknown --distance 0.5   (more and purer groups)

deltaoe discover ./unknown --as-classes ./images --groups 1,3=tulip

deltaoe discover --from discovered.csv --as-classes ./images
"""
_SHOWN = 20


class ReportKind(StrEnum):
    """Files that can be written beside ``discovered.csv``."""

    html = "html"


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("discover", help=HELP, epilog=EPILOG)(discover)


@with_options(DiscoverOptions)
def discover(
    chosen: DiscoverOptions,
    inputs: options.Images = None,
    as_classes: Annotated[
        Path | None,
        typer.Option(
            "--as-classes",
            help="Copy the images of groups into class folders here.",
            show_default=False,
            rich_help_panel=ACT,
            parser=filing.named_folder,
            metavar="<path>",
        ),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(
            "--groups",
            help="Which groups become classes: 1,3=tulip; a name after = is the class's.",
            show_default="all, by their names",
            rich_help_panel=ACT,
        ),
    ] = None,
    listed: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Take images and classes from this edited discovered.csv.",
            show_default=False,
            rich_help_panel=ACT,
        ),
    ] = None,
    dry_run: filing.DryRun = False,
    report: Annotated[
        ReportKind | None,
        typer.Option("--report", help="Also write discovered.html.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the files written.", show_default="this folder"),
    ] = None,
    force: options.Force = False,
    thumbnails: options.Thumbnails = None,
    strict: options.Strict = False,
    workspace: options.Workspace = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Run ``deltaoe discover``; the help text above says what it does."""
    from .output import Screen, titled
    from .place import located

    screen = Screen(as_json=as_json, quiet=quiet, verbose=verbose)
    _check(inputs, as_classes, groups, listed, dry_run=dry_run)
    filing.check_thumbnails(thumbnails, report=report is not None)
    place = located(workspace, screen)
    if as_classes is not None:
        _check_domain(as_classes, place)
    if listed is not None and as_classes is not None:
        from deltaoe.discovery.classes import listed_items

        told = _make_classes(listed_items(listed), as_classes, place, screen, dry_run=dry_run)
        screen.json({"as_classes": told})
        raise typer.Exit(exits.FAILED if told.get("failed") else 0)

    from deltaoe.discovery.classes import chosen_groups, class_items
    from deltaoe.discovery.discover import discover as run
    from deltaoe.discovery.table import json_value
    from deltaoe.scoring.score_table import NONE_FITS

    given = list(inputs or ())
    chosen.check()
    targets = _targets(out, report, place, given, silent=as_json, force=force)
    with screen.progress() as progress:
        found = run(given, place, chosen, on=progress.event, stdin=sys.stdin.buffer)
        if as_classes is not None:
            filing.check_no_claims(found.scored, "--as-classes")
        wanted = chosen_groups(groups, found) if as_classes is not None else {}
        _write(found, targets, place, given, progress.event, force=force, thumbnails=thumbnails)
    for sentence in found.notes:
        screen.warn(sentence)
    if "html" in targets:
        filing.say_thumbnails(thumbnails, found.scored, screen)
    screen.failures(found.scored.table.failed, "--verbose", every=verbose)
    _say(found, wanted, "Discovered in " + titled(given), screen, chosen)
    screen.summary("", [(kind, str(path)) for kind, path in targets.items()])
    filed: dict[str, Any] = {}
    if as_classes is not None:
        filed = _make_classes(class_items(found, wanted), as_classes, place, screen, dry_run=dry_run)
    elif found.groups:
        folder = _known_folder(place)
        named = "1=NAME" if found.groups[0].looks_like in ("", NONE_FITS) else "1"
        screen.next(shlex.join(["deltaoe", "discover", *given, "--as-classes", folder, "--groups", named]))
    screen.json({**json_value(found), "as_classes": filed or None})
    if filed.get("failed") or (strict and found.scored.table.failed):
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
    if as_classes is not None:
        filing.check_target(as_classes, "--as-classes")
    else:
        for flag, given in (
            ("--from", listed is not None),
            ("--groups", groups is not None),
            ("--dry-run", dry_run),
        ):
            if given:
                raise ConfigError(
                    f"{flag} says nothing without --as-classes DIR", hint="add --as-classes ./images"
                )


def _targets(
    out: Path | None,
    report: ReportKind | None,
    place: Workspace,
    inputs: list[str],
    *,
    silent: bool,
    force: bool,
) -> dict[str, Path]:
    """The files to write, by kind; none in JSON mode unless a folder or a report is asked for.

    Raises:
        ConfigError, StoreError: they cannot be written, or hold something else.
    """
    folder = out or Path()
    targets = {"csv": folder / "discovered.csv"} if out is not None or report or not silent else {}
    targets |= {"html": folder / "discovered.html"} if report else {}
    check_folder(folder)
    check_targets(_marked(targets), place, inputs, force=force)
    return targets


def _marked(targets: dict[str, Path]) -> dict[Path, str]:
    """The files, each with the text that it starts with if it is ours."""
    from deltaoe.discovery.table import CSV_START

    return {target: {"csv": CSV_START, "html": HTML_MARK}[kind] for kind, target in targets.items()}


def _write(
    found: Discovery,
    targets: dict[str, Path],
    place: Workspace,
    inputs: list[str],
    on: OnEvent,
    *,
    force: bool,
    thumbnails: Path | None,
) -> None:
    """Write the files."""
    from deltaoe.discovery.table import write_csv
    from deltaoe.store.result_files import note_inputs

    from .output import titled

    check_targets(_marked(targets), place, inputs, force=force)
    if "csv" in targets:
        write_csv(found, targets["csv"])
    if "html" in targets:
        from deltaoe.report.files import write_score_report

        write_score_report(
            targets["html"], found.scored, titled(inputs), targets["csv"], on, found.group_of_row, thumbnails
        )
    if targets:
        note_inputs(place, list(targets.values()), inputs)


def _say(
    found: Discovery, wanted: Container[int], title: str, screen: Screen, chosen: DiscoverOptions
) -> None:
    """Print the groups; those that are wanted alone, if any are."""
    listed = [group for group in found.groups if group.number in wanted] or found.groups
    shown = listed if screen.verbose else listed[:_SHOWN]
    rows = []
    for group in shown:
        files = [os.path.basename(found.scored.files[row]) for row in group.prototypes]
        named = group.name if group.looks_like in group.name else f"{group.name} ({group.looks_like})"
        cosine = "" if group.cosine is None else f"{group.cosine:.3f}"
        p_value = "" if group.p_value is None else f"{group.p_value:.3g}"
        numbers = (cosine, p_value) if screen.verbose else ()
        rows.append((str(group.number), named, f"{group.size:,}", *numbers, ", ".join(files)))
    if rows:
        headings = ("cosine", "mean p") if screen.verbose else ()
        columns = ("group", "name", "images", *headings, "prototypes")
        screen.table(title, screen.cut(rows, columns), columns, text=("name", "prototypes"))
    what = "images" if chosen.every else "unknown images"
    scored = len(found.scored.table)
    grouped = len(found.rows) - found.singles
    repeats = (
        f"; {found.duplicates:,} repeat others (same content, or cosine ≥ {chosen.near:g})"
        if found.duplicates
        else ""
    )
    screen.say(
        [
            f"{len(found.rows):,} {what} of {scored:,}: {grouped:,} in {len(found.groups):,} groups, "
            f"{found.singles:,} single images{repeats}"
        ]
    )
    if found.groups and found.groups[0].size > len(found.rows) / 2:
        other = "a smaller --distance" + (" or --around these" if chosen.around == "known" else "")
        screen.note(f"group 1 has more than half of the images; {other} may split it", style="dim")
    if len(shown) < len(listed):
        screen.note(f"the {len(shown)} largest groups are shown; --verbose shows all")


def _make_classes(
    items: list[Item], root: Path, place: Workspace, screen: Screen, *, dry_run: bool
) -> dict[str, Any]:
    """Copy images into class folders and say the next commands; the result is JSON values."""
    from deltaoe.filing.plan import plan

    told = filing.carry_out(plan(items), root, "copy", screen, dry_run=dry_run)
    if not dry_run and not (told["files"] or told["already_there"]):
        screen.note("no class has got an image, so there is nothing to extract")
    elif not dry_run:
        screen.next(f"deltaoe extract {_to_extract(root, place)}; deltaoe tune")
    return told


def _known_inputs(place: Workspace) -> list[str]:
    """Absolute paths of the inputs of the last data set with classes; none if it was imported."""
    data = place.dataset()
    return [absolute(given) for given in data.inputs] if data is not None else []


def _known_folder(place: Workspace) -> str:
    """The folder of the known classes, where new ones would lie beside them; that of a domain or split if any."""
    folders = [one for one in _known_inputs(place) if os.path.isdir(one)]
    if len(folders) != 1:
        return "./images"
    return os.path.relpath(os.path.join(folders[0], _above_classes(place)))


def _above_classes(place: Workspace) -> str:
    """The folder of a domain or split that class folders of the last data set lie in; empty if they lie in its own."""
    from deltaoe.images.container_names import as_folders
    from deltaoe.images.layout_detection import above_classes, folder_of

    data = place.dataset()
    return "" if data is None else above_classes(set(map(folder_of, as_folders(data.paths))), data.layout)


def _check_domain(root: Path, place: Workspace) -> None:
    """Raise ConfigError if new class folders would lie among the domains or splits of the last data set."""
    above = _above_classes(place)
    if not above or os.path.abspath(root) not in _known_inputs(place):
        return
    data = place.dataset()
    what = "domains" if data is not None and data.domain_names else "folders"
    raise ConfigError(
        f"{root} holds {what}, such as {above}, and class folders lie within them",
        hint=f"name one: --as-classes {os.path.join(root, above)}",
    )


def _to_extract(root: Path, place: Workspace) -> str:
    """The known classes and the new ones, as a shell takes them: inputs of the last data set, and the new folder."""
    known, new = _known_inputs(place), os.path.abspath(root)
    inside = any(new == one or new.startswith(os.path.join(one, "")) for one in known)
    named = known if inside else [*known, new]
    return shlex.join(one if is_url(one) else os.path.relpath(one) for one in named)
