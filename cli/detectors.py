"""``deltaoe detectors``: list, choose, rename, delete and compare the detectors of a workspace."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from deltaoe.errors import ConfigError
from deltaoe.scoring.options import ScoreOptions

from . import options
from .derive import with_options

if TYPE_CHECKING:
    from deltaoe.project.comparison import Agreement, Comparison
    from deltaoe.project.detector_list import SavedDetector

    from .output import Screen

HELP = """List the detectors of this workspace; the subcommands choose, rename, delete and compare them.

A detector is named by its name, by the beginning of one name only, or by its file: a path has a separator or ends \
with .safetensors. The one with a star is what score uses.
"""

EPILOG = """[bold]Examples[/bold]

deltaoe detectors

deltaoe detectors use shop-v1

deltaoe detectors compare shop-v1 shop-v2 ./inbox

deltaoe detectors rename 16-shots-843b shop-v3
"""

COMPARE_HELP = """Show what differs between two detectors: classes, settings, validation numbers, calibration, weights.

With INPUTS, anything that score takes, also how many verdicts and classes change, and on which images.
"""

_LISTED = 10


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    detectors = typer.Typer(
        invoke_without_command=True, no_args_is_help=False, help=HELP, epilog=EPILOG, rich_markup_mode="rich"
    )
    detectors.callback(help=HELP, epilog=EPILOG)(list_)
    detectors.command("use", help="Make a detector the one that score uses.")(use)
    detectors.command("rename", help="Give a detector another name.")(rename)
    detectors.command("rm", help="Delete detectors.")(remove)
    detectors.command("compare", help=COMPARE_HELP)(compare)
    app.add_typer(detectors, name="detectors")


def list_(
    ctx: typer.Context,
    workspace: options.Workspace = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run ``deltaoe detectors``, unless a subcommand is named."""
    if ctx.invoked_subcommand is not None:
        # Under DELTAOE_WORKSPACE there is a workspace as well, which the subcommand finds, too.
        told = str(ctx.get_parameter_source("workspace")).rpartition(".")[2] == "COMMANDLINE"
        if told or as_json or quiet:
            sub = ctx.invoked_subcommand
            raise ConfigError(
                f"options stand behind the subcommand {sub}",
                hint=f"deltaoe detectors {sub} … --workspace DIR",
            )
        return
    from deltaoe.project.detector_list import list_detectors

    from .output import Screen
    from .place import located

    screen = Screen(as_json=as_json, quiet=quiet)
    place = located(workspace, screen)
    found = list_detectors(place)
    if found:
        show_detectors(screen, found)
    else:
        screen.note(f"there are no detectors in {place.folder} yet; next: deltaoe tune --shots 16")
    screen.json([one.to_dict() for one in found])


def show_detectors(screen: Screen, found: list[SavedDetector], *, short: bool = False) -> None:
    """Print a table of detectors: lines of words about each, or with ``short`` one line."""
    rows = []
    for one in found:
        first, *more = _described(one)
        rows += [
            (f"{'*' if one.current else ' '} {one.name}", first),
            *(("", line) for line in more if not short),
        ]
    screen.table("Detectors", rows)
    if not any(one.current for one in found):
        screen.note("score uses none of them; deltaoe detectors use NAME chooses one", style="dim")


def _described(one: SavedDetector) -> list[str]:
    """A detector in lines of words."""
    from deltaoe.project.detector_list import validation

    saved = f"{one.saved:%Y-%m-%d %H:%M}"
    if one.detector is None:
        return [f"{saved}, damaged: {one.damage}"]
    classes, calibration = len(one.detector.class_names), len(one.detector.calibration)
    first = f"{saved}, {classes:,} class{'' if classes == 1 else 'es'}"
    first += f", tuned on {one.data}" if one.data else ""
    first += ", interrupted" if one.interrupted else ""
    words = {"accuracy": "accuracy", "near": "AUROC held-out classes", "far": "shuffled features"}
    values = validation(one.detector)
    numbers = [f"{word} {values[key]:.3f}" for key, word in words.items() if key in values]
    measured = ", ".join(numbers) + "; " if numbers else ""
    lines = [first, f"{measured}{calibration:,} calibration images", one.options, one.detector.space.model]
    return [line for line in lines if line]


def use(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A detector.", show_default=False)],
    workspace: options.Workspace = None,
    quiet: options.Quiet = False,
) -> None:
    """Run ``deltaoe detectors use``."""
    from deltaoe.scoring.saved_detectors import use_detector

    from .output import Screen
    from .place import located

    screen = Screen(quiet=quiet)
    chosen = use_detector(located(workspace, screen), name)
    screen.note(f"score uses the detector {chosen} now")


def rename(
    old: Annotated[str, typer.Argument(metavar="OLD", help="A detector.", show_default=False)],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.", show_default=False)],
    workspace: options.Workspace = None,
    quiet: options.Quiet = False,
) -> None:
    """Run ``deltaoe detectors rename``."""
    from deltaoe.scoring.saved_detectors import rename_detector

    from .output import Screen
    from .place import located

    screen = Screen(quiet=quiet)
    before = rename_detector(located(workspace, screen), old, new)
    screen.note(f"{before} is called {new} now")


def remove(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Detectors.", show_default=False)],
    workspace: options.Workspace = None,
    quiet: options.Quiet = False,
) -> None:
    """Run ``deltaoe detectors rm``."""
    from deltaoe.project.status import score_uses
    from deltaoe.scoring.saved_detectors import remove_detectors

    from .output import Screen
    from .place import located

    screen = Screen(quiet=quiet)
    place = located(workspace, screen)
    current = place.current_detector()
    gone = remove_detectors(place, names)
    screen.note(f"deleted: {', '.join(gone)}")
    if current is not None and current.stem in gone:
        left = place.detector_names()
        others = f"; deltaoe detectors use NAME chooses another: {', '.join(left)}" if left else ""
        screen.note(
            f"score uses {score_uses(place) or 'no prompts until something is extracted'} now{others}"
        )


@with_options(ScoreOptions, only={"alpha", "device", "offline"})
def compare(
    chosen: ScoreOptions,
    one: Annotated[str, typer.Argument(metavar="A", help="A detector.", show_default=False)],
    other: Annotated[str, typer.Argument(metavar="B", help="Another one.", show_default=False)],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUTS", help="Images to score with both.", show_default=False),
    ] = None,
    workspace: options.Workspace = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run ``deltaoe detectors compare``."""
    from deltaoe.project.comparison import compare as run
    from deltaoe.project.comparison import compare_verdicts
    from deltaoe.scoring.detector import Detector
    from deltaoe.scoring.saved_detectors import detector_path

    from .output import Screen
    from .place import located

    screen = Screen(as_json=as_json, quiet=quiet)
    place = located(workspace, screen)
    paths = detector_path(place, one), detector_path(place, other)
    found = run(*(Detector.load(path) for path in paths))
    agreement = None
    if inputs:
        with screen.progress() as progress:
            agreement = compare_verdicts(inputs, place, paths, chosen, progress.event, sys.stdin.buffer)
        for sentence in agreement.notes:
            screen.warn(sentence)
    ours = [place.detector_file(path.stem) == path for path in paths]
    first, second = (path.stem if our else str(path) for path, our in zip(paths, ours, strict=True))
    names = first, second
    _show_comparison(screen, names, found)
    if agreement is not None:
        _show_agreement(screen, names, agreement)
    told = {
        "detectors": [str(path) for path in paths],
        "equal": found.equal,
        "classes_added": found.added,
        "classes_removed": found.removed,
        "differences": [{"what": what, "values": list(values)} for what, *values in found.rows],
    }
    if agreement is not None:
        told["images"] = {
            "scored": agreement.images,
            "verdict_differs": agreement.verdicts,
            "class_differs": agreement.classes,
            "changes": [change.to_dict() for change in agreement.changes],
        }
    screen.json(told)


def _show_comparison(screen: Screen, names: tuple[str, str], found: Comparison) -> None:
    rows = list(found.rows)
    rows += (
        [("only classes of this one", _listed(found.removed), _listed(found.added))]
        if (found.added or found.removed)
        else []
    )
    if rows:
        screen.table("What differs", rows, ("", *names), words=3)
    elif found.equal:
        screen.line("They are equal, byte for byte.")
    else:
        screen.line("Classes, settings, numbers and weights are equal; what was learned differs.")


def _show_agreement(screen: Screen, names: tuple[str, str], agreement: Agreement) -> None:
    """Print how many images get another verdict or class, and the first of them; another verdict first."""
    images = f"{agreement.images:,} image{'' if agreement.images == 1 else 's'}"
    screen.line(
        f"Of {images}, {agreement.verdicts:,} get another verdict and {agreement.classes:,} another class."
    )
    rows = [
        (
            change.path,
            *(f"{verdict}, {name}" for verdict, name in zip(change.verdicts, change.classes, strict=True)),
        )
        for change in sorted(agreement.changes, key=lambda one: len(set(one.verdicts)), reverse=True)[
            :_LISTED
        ]
    ]
    if rows:
        screen.table("", rows, ("image", *names), words=3)
    if len(agreement.changes) > _LISTED:
        screen.note(f"and {len(agreement.changes) - _LISTED:,} more: --json lists all", style="dim")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
