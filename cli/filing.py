"""Options that put image files into folders, and ``deltaoe undo``, which takes that back."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deltaoe import exit_codes as exits
from deltaoe.errors import ConfigError, DataError

from . import options
from .derive import ACT

if TYPE_CHECKING:
    from deltaoe.filing.execute import Filed
    from deltaoe.filing.plan import Mode, Plan
    from deltaoe.scoring.score import ScoreResult

    from .output import Screen

UNDO_HELP = """Put files back that deltaoe has moved; delete copies and links that it has made.

Takes the undo list that --copy-to, --move-to, --link-to and --as-classes write into their folder. Nothing is \
overwritten: a file that has changed, or whose place is taken, is named and stays where it is.
"""
UNDO_EPILOG = """[bold]Example[/bold]

deltaoe undo sorted/deltaoe-undo-20260102-120000-1a2b.jsonl
"""
_LISTED = 10
_PAST = {"copy": "Copied", "move": "Moved", "link": "Linked"}


def named_folder(text: str) -> Path:
    """The folder that files are put into; an empty text, as of a variable that is not set, is not the current one."""
    if not text:
        raise typer.BadParameter("the name of the folder is empty")
    return Path(text)


def _option(flag: str, said: str, **more: Any) -> Any:
    return typer.Option(flag, help=said, show_default=False, rich_help_panel=ACT, **more)


def _folder(flag: str, said: str) -> Any:
    return _option(flag, said, parser=named_folder, metavar="<path>")


_FOLDERS = "DIR/known/CLASS, DIR/unknown/LOOKS-LIKE and DIR/undecided/CLASS"
CopyTo = Annotated[Path | None, _folder("--copy-to", f"Copy the images into {_FOLDERS}.")]
MoveTo = Annotated[Path | None, _folder("--move-to", "Move the images there; deltaoe undo puts them back.")]
LinkTo = Annotated[Path | None, _folder("--link-to", "Make symbolic links to the images there.")]
Only = Annotated[
    list[options.Decided] | None,
    _option("--only", "Put images of this verdict there, and no others; may be repeated."),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say which file would go where, and touch none.", rich_help_panel=ACT),
]


@dataclass(frozen=True)
class Filing:
    """What is to be done with the files of scored images.

    Attributes:
        root: the target folder.
        mode: copy, move or link.
        only: the verdicts whose images are put there.
        dry_run: whether files are only listed.
    """

    root: Path
    mode: Mode
    only: frozenset[str]
    dry_run: bool


def chosen_filing(
    copy_to: Path | None,
    move_to: Path | None,
    link_to: Path | None,
    only: list[options.Decided] | None,
    *,
    dry_run: bool,
) -> Filing | None:
    """What the options ask for; None if they ask for nothing.

    Raises:
        ConfigError: they exclude each other, or name a file as the folder.
    """
    targets: dict[Mode, Path | None] = {"copy": copy_to, "move": move_to, "link": link_to}
    given = [(mode, root) for mode, root in targets.items() if root is not None]
    if not given:
        if only or dry_run:
            raise ConfigError(
                f"{'--only' if only else '--dry-run'} says nothing without a folder",
                hint="add --copy-to, --move-to or --link-to DIR",
            )
        return None
    if len(given) > 1:
        raise ConfigError("--copy-to, --move-to and --link-to exclude each other", hint="give one of them")
    mode, root = given[0]
    check_target(root, f"--{mode}-to")
    return Filing(root, mode, frozenset(only or options.Decided), dry_run)


def check_target(root: Path, flag: str) -> None:
    """Raise ConfigError if the target folder is a file."""
    if root.exists() and not root.is_dir():
        raise ConfigError(f"{root} is a file, not a folder", hint=f"name a folder with {flag}")


def check_thumbnails(folder: Path | None, *, report: bool) -> None:
    """Raise ConfigError if ``--thumbnails`` is given without a report, or names no folder."""
    if folder is not None and not report:
        raise ConfigError("--thumbnails says nothing without a report", hint="add --report html")
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder", hint="name the folder of the images with --thumbnails")


def say_thumbnails(folder: Path | None, result: ScoreResult, screen: Screen) -> None:
    """Say why imported images have no thumbnails in a report, or that the folder for them was not needed."""
    if result.claimed and folder is None:
        screen.note(
            "no thumbnails: these images were imported; --thumbnails DIR looks for their files in DIR"
        )
    elif folder is not None and not result.claimed:
        screen.note("--thumbnails changes nothing: these images were not imported")


def check_no_claims(result: ScoreResult, flag: str) -> None:
    """Raise DataError for imported images: their paths are what a file claims, and may name any file here."""
    if result.claimed:
        raise DataError(
            f"these images were imported, and their paths are not sure to be theirs: {flag} touches no files of them",
            hint="extract the folder of the images, and name that folder",
        )


def file_scored(filing: Filing, result: ScoreResult, screen: Screen) -> dict[str, Any]:
    """Put the files of scored images into folders and say so; the result is JSON values."""
    from deltaoe.filing.plan import Item, plan

    table, digests = result.table, result.features.digests if result.features else None
    items = []
    for row, file in enumerate(result.files):
        verdict = table.verdict(row)
        if verdict in filing.only:
            within = (
                (table.looks_like[row] if table.looks_like is not None else "")
                if verdict == "unknown"
                else table.class_names[table.labels[row, 0]]
            )
            digest = b"" if digests is None else digests[row].tobytes()
            items.append(Item(file, (verdict, within) if within else (verdict,), digest))
    return carry_out(plan(items), filing.root, filing.mode, screen, dry_run=filing.dry_run)


def carry_out(planned: Plan, root: Path, mode: Mode, screen: Screen, *, dry_run: bool) -> dict[str, Any]:
    """Carry out a plan and say what was done, or say what would be; the result is JSON values."""
    from deltaoe.filing.execute import execute

    told: dict[str, Any] = {"folder": str(root), "mode": mode, "dry_run": dry_run}
    if dry_run:
        filed = execute(planned, root, mode, dry_run=True)
        places = [
            (source, os.path.join(root, os.path.relpath(target, filed.root))) for source, target in filed.done
        ]
        for source, target in places:
            screen.line(f"{source} -> {target}")
        _say_rest(filed, planned, screen)
        screen.note(f"dry run: {len(places):,} files would be {_PAST[mode].lower()}, none was")
        return {
            **told,
            "files": [{"from": source, "to": target} for source, target in places],
            **_rest(filed),
        }
    with screen.progress() as progress:
        filed = execute(planned, root, mode, progress.event)
    _say(filed, planned, screen)
    return {
        **told,
        "undo_list": None if filed.undo_list is None else str(filed.undo_list),
        "files": [{"from": source, "to": target} for source, target in filed.done],
        **_rest(filed),
    }


def _rest(filed: Filed) -> dict[str, Any]:
    """The files that are not put anywhere, as JSON values."""
    failed = [{"path": source, "error": reason} for source, reason in filed.failed]
    return {"already_there": len(filed.already), "failed": failed}


def _say(filed: Filed, planned: Plan, screen: Screen) -> None:
    """Print what became of the files."""
    from deltaoe.filing.execute import undo_command

    counts: dict[str, int] = {}
    for _, target in filed.done:
        folder = os.path.relpath(os.path.dirname(target), filed.root)
        counts[folder] = counts.get(folder, 0) + 1
    largest = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    rows = [(folder, f"{count:,}") for folder, count in (largest if screen.verbose else largest[:_LISTED])]
    screen.line(f"{_PAST[filed.mode]} {len(filed.done):,} files to {os.path.relpath(filed.root)}:")
    screen.table("", rows)
    if len(rows) < len(largest):
        screen.note(f"and {len(largest) - len(rows):,} more folders: --verbose lists all", style="dim")
    _say_rest(filed, planned, screen)
    if filed.undo_list is not None:
        screen.next(undo_command(os.path.relpath(filed.undo_list)), "to take it back")


def _say_rest(filed: Filed, planned: Plan, screen: Screen) -> None:
    """Print which files are not put anywhere, and why."""
    if filed.already:
        screen.note(f"left out because the same content is in that folder: {len(filed.already):,}")
    if filed.failed:
        screen.warn(f"{len(filed.failed):,} of {len(planned.steps):,} files could not be put there:")
        for source, reason in filed.failed[:_LISTED]:
            screen.warn(f"{source}: {reason}")
        if len(filed.failed) > _LISTED:
            screen.warn(f"… and {len(filed.failed) - _LISTED:,} more")


def register(app: typer.Typer) -> None:
    """Add ``deltaoe undo`` to the app."""
    app.command("undo", help=UNDO_HELP, epilog=UNDO_EPILOG)(undo)


def undo(
    undo_list: Annotated[Path, typer.Argument(metavar="LIST", help="The undo list.", show_default=False)],
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run ``deltaoe undo``; the help text above says what it does."""
    from deltaoe.filing.undo import undo as run

    from .output import Screen

    screen = Screen(as_json=as_json, quiet=quiet)
    with screen.progress() as progress:
        done = run(undo_list, progress.event)
    word = "moved back" if done.mode == "move" else "deleted, the originals are where they were"
    rows = [(word, f"{len(done.back):,}")]
    rows += [("nothing to do", f"{done.nothing:,}")] if done.nothing else []
    rows += [("left as they are", f"{len(done.kept):,}")] if done.kept else []
    screen.table("", rows)
    for path, reason in done.kept:
        screen.warn(f"{path}: {reason}")
    if done.cut_off:
        screen.warn(
            "the end of the undo list is missing: it was cut off, or the command that wrote it was killed. Files that "
            "it does not name were not taken back; the list is kept."
        )
    if done.list_removed:
        screen.note("nothing is left to take back, so the undo list was removed", style="dim")
    screen.json(
        {
            "mode": done.mode,
            "back": [{"from": target, "to": source} for target, source in done.back],
            "nothing_to_do": done.nothing,
            "kept": [{"path": path, "reason": reason} for path, reason in done.kept],
            "list_removed": done.list_removed,
            "cut_off": done.cut_off,
        }
    )
    if done.kept:
        raise typer.Exit(exits.FAILED)
