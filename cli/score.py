"""``deltaoe score``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from deltaoe import exit_codes as exits
from deltaoe.errors import ConfigError
from deltaoe.scoring.options import ScoreOptions

from . import filing, options
from .derive import ACT, STREAM, with_options
from .targets import HTML_MARK, check_folder, check_targets

HELP = """Tell known from unknown images: class, score, p-value and verdict for each.

Images are compared with the class names (text) and, if there are enough, with labelled images. The score is then \
fused from both, and scores.csv and the report show the p-value of each.

An image is unknown if its p-value is at most alpha: on average, no more than that share of images like the \
calibration images is called unknown. Works before tuning, with the extracted class names as prompts.

Folders and lists write scores.csv. Single image files, --json and --print0 write no file unless --out or --report is \
given. With --fail-on-unknown, the exit code is 3 if an image is unknown and 4 if one is undecided.
"""

EPILOG = """[bold]Examples[/bold]

deltaoe score ./unknown --report html

deltaoe score photo.jpg

deltaoe score a.jpg b.jpg --json

deltaoe score ./unknown --zero-shot --template "a sketch of a {}."

deltaoe score ./unknown --labels names.txt   (no tuning, no extracted data)

deltaoe score data:flowers --text-features classes.npz   (imported features, no model)

deltaoe score ./inbox --alpha 0.01 --fail-on-unknown

deltaoe score ./inbox --fdr 0.1   (at most a tenth of what is called unknown is a false alarm)

deltaoe score ./inbox --watch   (a line of JSON for each image, as it comes)

deltaoe score ./inbox --print0 unknown | xargs -0 ls -l

deltaoe score ./inbox --move-to ./sorted --only unknown   (deltaoe undo puts them back)
"""


class ReportKind(StrEnum):
    """Files that can be written beside ``scores.csv``."""

    html = "html"
    json = "json"


# Text near the start of each file that deltaoe writes; a file of that name without it is the user's.
_MARKS = {"scores.json": '{\n "deltaoe":', "report.html": HTML_MARK}


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("score", help=HELP, epilog=EPILOG)(score)


@with_options(ScoreOptions)
def score(
    chosen: ScoreOptions,
    inputs: options.Images = None,
    report: Annotated[
        list[ReportKind] | None,
        typer.Option(
            "--report", help="Also write report.html or scores.json; may be repeated.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the files written.", show_default="this folder"),
    ] = None,
    force: options.Force = False,
    thumbnails: options.Thumbnails = None,
    print0: Annotated[
        options.Decided | None,
        typer.Option(
            "--print0",
            help="Print the paths of the images of this verdict, each ended by NUL, for xargs -0.",
            show_default=False,
            rich_help_panel=ACT,
        ),
    ] = None,
    fail_on_unknown: Annotated[
        bool,
        typer.Option("--fail-on-unknown", help="Exit with 3 if any image is unknown, 4 if any is undecided."),
    ] = False,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Answer each path on stdin at once with a line of JSON; the model stays loaded.",
            rich_help_panel=STREAM,
        ),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Answer each new or changed image in the folders likewise, until Ctrl-C.",
            rich_help_panel=STREAM,
        ),
    ] = False,
    null: Annotated[
        bool,
        typer.Option(
            "--null",
            "-0",
            help="With --stream: paths end with NUL, as find -print0 writes them.",
            rich_help_panel=STREAM,
        ),
    ] = False,
    copy_to: filing.CopyTo = None,
    move_to: filing.MoveTo = None,
    link_to: filing.LinkTo = None,
    only: filing.Only = None,
    dry_run: filing.DryRun = False,
    strict: options.Strict = False,
    workspace: options.Workspace = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Run ``deltaoe score``; the help text above says what it does."""
    from deltaoe.scoring.score import score as run
    from deltaoe.scoring.score_table import CSV_START
    from deltaoe.store.result_files import note_inputs

    from .output import Screen, titled
    from .place import located
    from .score_words import say_each, summary

    if stream or watch:
        from .stream import run_stream

        given: dict[str, object] = {
            "--report": report,
            "--out": out,
            "--force": force,
            "--thumbnails": thumbnails,
            "--print0": print0,
            "--copy-to": copy_to,
            "--move-to": move_to,
            "--link-to": link_to,
            "--only": only,
            "--dry-run": dry_run,
        }
        screen = Screen(as_json=True, quiet=quiet, verbose=verbose)
        run_stream(
            chosen,
            located(workspace, screen),
            inputs or [],
            watch=watch,
            null=null,
            unfit=[flag for flag, value in given.items() if value],
            strict=strict,
            fail_on_unknown=fail_on_unknown,
            screen=screen,
        )
        return
    if null:
        raise ConfigError("--null says nothing without --stream", hint="add --stream")
    if not inputs:
        raise ConfigError(
            "no images are named", hint="name folders or image files, or give paths on stdin to --stream"
        )
    silent = as_json or print0 is not None
    screen = Screen(as_json=silent, quiet=quiet, verbose=verbose)
    wanted = filing.chosen_filing(copy_to, move_to, link_to, only, dry_run=dry_run)
    filing.check_thumbnails(thumbnails, report=ReportKind.html in (report or ()))
    place = located(workspace, screen)
    chosen.check()
    singles = _are_single_images(inputs)
    targets = _targets(out, set(report or ()), written=not (silent or singles))
    check_folder(out or Path())
    marked = {target: {**_MARKS, "scores.csv": CSV_START}[target.name] for target in targets.values()}
    check_targets(marked, place, inputs, force=force)
    with screen.progress() as progress:
        result = run(inputs, place, chosen, on=progress.event, stdin=sys.stdin.buffer)
        if wanted is not None:
            filing.check_no_claims(result, f"--{wanted.mode}-to")
        check_targets(marked, place, inputs, force=force)
        if "csv" in targets:
            result.table.write_csv(targets["csv"])
        if "json" in targets:
            result.table.write_json(targets["json"], result.head())
        if "html" in targets:
            from deltaoe.report.files import write_score_report

            write_score_report(
                targets["html"],
                result,
                titled(inputs),
                targets["csv"],
                progress.event,
                thumbnails=thumbnails,
            )
        if targets:
            note_inputs(place, list(targets.values()), inputs)
    for sentence in result.notes:
        screen.warn(sentence)
    if "html" in targets:
        filing.say_thumbnails(thumbnails, result, screen)
    if singles:
        say_each(result, screen)
    else:
        screen.failures(result.table.failed, "--verbose", every=verbose)
        shown = screen.summary if targets else screen.table
        shown("Scored " + titled(inputs), summary(result, screen))
    if targets:
        screen.summary("", [(name, str(path)) for name, path in targets.items()])
    filed = filing.file_scored(wanted, result, screen) if wanted is not None else {}
    if as_json:
        screen.raw(result.table.json_chunks({**result.head(), **({"filed": filed} if filed else {})}))
    elif print0 is not None:
        sys.stdout.buffer.write(b"".join(os.fsencode(path) + b"\0" for path in result.files_of(print0.value)))
        sys.stdout.buffer.flush()
    if filed.get("failed"):
        raise typer.Exit(exits.FAILED)
    code = exits.of_verdicts(result.table.counts, strict=strict, fail_on_unknown=fail_on_unknown)
    if code:
        raise typer.Exit(code)


def _are_single_images(inputs: Sequence[str]) -> bool:
    """Whether all inputs are image files, and none a folder, a list, a container, a glob or a URL."""
    from deltaoe.images.lists import LIST_SUFFIXES
    from deltaoe.images.walk import CONTAINER_SUFFIXES

    several = {*LIST_SUFFIXES, *CONTAINER_SUFFIXES}
    return all(os.path.isfile(one) and os.path.splitext(one)[1].lower() not in several for one in inputs)


def _targets(out: Path | None, reports: set[ReportKind], *, written: bool) -> dict[str, Path]:
    """The files to write, by kind; none if nobody asked for files and ``written`` is False."""
    if not (written or reports or out is not None):
        return {}
    folder = out or Path()
    names = {"csv": "scores.csv", "json": "scores.json", "html": "report.html"}
    return {kind: folder / name for kind, name in names.items() if kind == "csv" or kind in reports}
