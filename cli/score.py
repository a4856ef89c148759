"""``deltaoe score``."""

from __future__ import annotations

import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deltaoe.scoring.options import ScoreOptions

from . import options
from .derive import with_options
from .targets import check_folder, check_replaceable

if TYPE_CHECKING:
    from deltaoe.scoring.score import ScoreResult

HELP = """Tell known from unknown images: class, score, p-value and verdict for each.

Images are compared with the class names (text) and, if there are enough, with labelled images. The score is then \
fused from both, and scores.csv and the report show the p-value of each.

An image is unknown if its p-value is at most alpha: on average, no more than that share of images like the \
calibration images is called unknown. Works before tuning, with the extracted class names as prompts.
"""

EPILOG = """[bold]Examples[/bold]

deltaoe score ./unknown --report html

deltaoe score a.jpg b.jpg --json

deltaoe score ./unknown --zero-shot --template "a sketch of a {}."

deltaoe score ./unknown --labels names.txt   (no tuning, no extracted data)

deltaoe score data:flowers --text-features classes.npz   (imported features, no model)

deltaoe score ./inbox --alpha 0.01 --fail-on-unknown

deltaoe score ./inbox --fdr 0.1   (at most a tenth of what is called unknown is a false alarm)
"""


class ReportKind(StrEnum):
    """Files that can be written beside ``scores.csv``."""

    html = "html"
    json = "json"


# Text near the start of each file that deltaoe writes; a file of that name without it is the user's.
_MARKS = {"scores.json": '{\n "deltaoe":', "report.html": '<meta name="generator" content="deltaoe'}


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("score", help=HELP, epilog=EPILOG)(score)


@with_options(ScoreOptions)
def score(
    chosen: ScoreOptions,
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Folders, image files, globs, lists (.txt, .csv), - for a list on stdin; or one data:NAME.",
            show_default=False,
        ),
    ],
    report: Annotated[
        list[ReportKind] | None,
        typer.Option(
            "--report", help="Also write report.html or scores.json; may be repeated.", show_default=False
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the files written.")] = Path(),
    fail_on_unknown: Annotated[
        bool, typer.Option("--fail-on-unknown", help="Exit with 1 if any image is unknown.")
    ] = False,
    strict: options.Strict = False,
    workspace: options.Workspace = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run ``deltaoe score``; the help text above says what it does."""
    from deltaoe.scoring.score import score as run
    from deltaoe.scoring.score_table import CSV_START
    from deltaoe.store.workspace import Workspace

    from .output import Screen, titled

    screen = Screen(as_json=as_json, quiet=quiet)
    reports = set(report or ())
    targets = {"csv": out / "scores.csv"}
    targets |= {"json": out / "scores.json"} if "json" in reports else {}
    targets |= {"html": out / "report.html"} if "html" in reports else {}
    check_folder(out)
    for target in targets.values():
        check_replaceable(target, {**_MARKS, "scores.csv": CSV_START}[target.name])
    with screen.progress() as progress:
        result = run(inputs, Workspace.locate(workspace), chosen, on=progress.event, stdin=sys.stdin.buffer)
        head = _head(result)
        result.table.write_csv(targets["csv"])
        if "json" in targets:
            result.table.write_json(targets["json"], head)
        if "html" in targets:
            _write_html(targets["html"], result, titled(inputs), targets["csv"], progress.event)
    for sentence in result.notes:
        screen.warn(sentence)
    screen.failures(result.table.failed)
    counts = result.table.counts
    screen.summary(
        "Scored " + titled(inputs),
        [
            ("known", str(counts["known"])),
            ("unknown", str(counts["unknown"])),
            *([("undecided", str(counts["undecided"]))] if counts["undecided"] else []),
            ("failed", str(counts["failed"])),
            ("threshold", _threshold(result)),
            ("score", result.detector.score_title),
            ("detector", f"{result.origin}; {len(result.detector.calibration)} calibration images"),
            *((name, str(path)) for name, path in targets.items()),
        ],
    )
    if as_json:
        screen.raw(result.table.json_chunks(head))
    if (strict and counts["failed"]) or (fail_on_unknown and counts["unknown"]):
        raise typer.Exit(1)


def _threshold(result: ScoreResult) -> str:
    """The threshold in words, with α or the false discovery rate."""
    rule, threshold = result.rule, result.table.threshold
    level = f"α = {rule.alpha:g}" if rule.fdr is None else f"false discovery rate {rule.fdr:g}"
    if threshold is not None:
        return f"{result.detector.score_name.words} ≥ {threshold:.6g} is known ({level})"
    return f"one per class ({level})" if rule.per_class else "none"


def _head(result: ScoreResult) -> dict[str, Any]:
    """What the JSON output says of the run before it lists the images."""
    from importlib.metadata import version

    return {
        "deltaoe": version("deltaoe"),
        "score": result.detector.score_name.key,
        "evidence": result.detector.evidence,
        "parts": result.detector.weight_of_parts,
        "temperature": result.detector.temperature,
        "top_c": result.detector.top_c,
        "background_labels": len(result.detector.background),
        "alpha": result.table.alpha,
        "fdr": result.rule.fdr,
        "per_class": result.rule.per_class,
        "threshold": result.table.threshold,
        "calibration_images": len(result.detector.calibration),
        "detector": result.origin,
        "model": result.model,
        "feature_space": result.detector.space.id,
        "notes": result.notes,
    }


def _write_html(target: Path, result: ScoreResult, title: str, table: Path, on: Any) -> None:
    from deltaoe.report.from_scores import build_report
    from deltaoe.report.render import render
    from deltaoe.store.atomic import replacing

    now = datetime.now().astimezone()
    html = render(build_report(result, title=title, full_table=str(table), now=now, on=on))
    with replacing(target) as temporary:
        temporary.write_text(html, encoding="utf-8")
