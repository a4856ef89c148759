"""``deltaoe demo``."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deltaoe.errors import ConfigError, DataError
from deltaoe.progress import Event

from . import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deltaoe.demo.summary import Outcome

    from .output import Screen

HELP = """See deltaoe at work on drawn pictures, offline: extract, tune, score, report, and how good it was.

Draws a small world of pictures, unpacks a small CLIP that was trained on such pictures, runs the three commands \
that you would run, and prints each before it runs it. Takes a few minutes on two CPU cores; a second run in the \
same folder uses the cache.
"""

EPILOG = """[bold]Examples[/bold]

deltaoe demo

deltaoe demo --out ./try --seed 7

deltaoe demo --keep   (after changing, adding or removing pictures by hand)
"""

MODEL = "small-clip"
ALPHA = 0.05
Command = tuple[str, ...]
MAIN_JOB: tuple[Command, ...] = (
    ("extract", "./images", "--model", f"local-dir:{MODEL}"),
    ("tune", "--shots", "16"),
    ("score", "./unknown", "--report", "html"),
)
STEPS = (
    "read your pictures, once: one folder per class",
    "tune CLIP's prompts on 16 pictures of each class",
    "which of the new pictures are known? A table and a report",
    "the same with plain CLIP, image evidence and CoOp, to compare",
)
COMPARISON: tuple[Command, ...] = (
    ("score", "./unknown", "--zero-shot", "--evidence", "text", "--out", "zero-shot"),
    ("score", "./unknown", "--zero-shot", "--out", "with-images"),
    ("tune", "--shots", "16", "--method", "coop", "--out", "coop/detector.safetensors"),
    ("score", "./unknown", "--detector", "coop/detector.safetensors", "--out", "coop"),
)
SCORES = {
    "zero-shot": "zero-shot/scores.csv",
    "with images": "with-images/scores.csv",
    "CoOp": "coop/scores.csv",
    "deltaoe (default)": "scores.csv",
}
METHODS_SHOWN = ("zero-shot", "with images", "CoOp", "deltaoe")
LEGEND = (
    ("zero-shot", "plain CLIP: the names of your classes alone"),
    ("with images", "the names, and half of your pictures as evidence; untuned"),
    ("CoOp", "prompts tuned on 16 pictures of each class, as published"),
    ("deltaoe", "tuned prompts and your pictures as evidence: the default"),
    ("*", "the best of a row"),
)
WORLD = (
    "images/ holds yours: 12 classes as photographs and sketches. unknown/ holds new ones: the same classes, also as "
    "cartoons (a new style), other objects, and patterns."
)
EXAMPLE = "unknown/new-style/umbrella-cartoon-03.jpg"


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("demo", help=HELP, epilog=EPILOG)(demo)


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for everything the demo makes.")] = Path(
        "deltaoe-demo"
    ),
    seed: Annotated[int, typer.Option("--seed", help="Other pictures for another seed.")] = 1,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Use the pictures that are there as they are, instead of drawing them."),
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Run ``deltaoe demo``; the help text above says what it does."""
    from deltaoe.demo.names import write_vocabulary
    from deltaoe.demo.paint import paint, painted
    from deltaoe.demo.shipped import unpack_model
    from deltaoe.demo.summary import summarise
    from deltaoe.runtime import LARGEST_SEED

    from .output import Screen
    from .targets import check_folder

    screen = Screen(as_json=as_json, quiet=quiet)
    # Processes draw: told to stop by SIGTERM they are ended in order, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not 0 <= seed <= LARGEST_SEED:
        raise ConfigError(f"--seed must be at least 0 and at most {LARGEST_SEED}, not {seed}")
    check_folder(out)
    started = time.monotonic()
    screen.note(
        f"deltaoe's main job in {len(STEPS)} steps, offline, on pictures that are drawn for it.", style="bold"
    )
    kept = keep and painted(out)
    if kept:
        screen.note(f"Pictures in {out}: used as they are.")
    else:
        with screen.progress() as progress:
            pictures = paint(out, seed, on=progress.event)
        screen.note(f"Pictures in {out}: {pictures.drawn} drawn, {pictures.there} there already.")
    unpack_model(out / MODEL)
    write_vocabulary(out)
    screen.note(WORLD)
    screen.note(f"The CLIP in {out / MODEL} was trained on other pictures of this kind.")
    screen.note("")
    screen.note(f"$ cd {shlex.quote(str(out))}", style="bold")
    for number, arguments in enumerate(MAIN_JOB):
        _begin(number, screen)
        screen.note(f"$ deltaoe {shlex.join(arguments)}", style="bold")
        _run(arguments, out, screen)
    _begin(len(MAIN_JOB), screen)
    _compare(out, screen)
    outcomes = {name: summarise(out / path) for name, path in SCORES.items()}
    _say_what_was_gained(screen, outcomes, "pictures as they are" if kept else f"seed {seed}")
    seconds = time.monotonic() - started
    screen.json(_as_json(outcomes, out, None if kept else seed, seconds))
    _say_what_next(screen, out, seconds)


def _begin(number: int, screen: Screen) -> None:
    """Print how far the demo is."""
    screen.note("")
    screen.note(f"Step {number + 1} of {len(STEPS)}: {STEPS[number]}", style="bold cyan")


def _compare(out: Path, screen: Screen) -> None:
    """Run what deltaoe is compared with: each command is printed, and its output only if it fails."""
    with screen.progress() as progress:
        for number, arguments in enumerate(COMPARISON):
            progress.event(Event("Comparing", message=f"$ deltaoe {shlex.join(arguments)}"))
            progress.event(Event("Comparing", number, len(COMPARISON)))
            _run(arguments, out, screen, hidden=True)
        progress.event(Event("Comparing", len(COMPARISON), len(COMPARISON)))


def _say_what_was_gained(screen: Screen, outcomes: Mapping[str, Outcome], which: str) -> None:
    """Print what tuning gains over several seeds, and the table of this run."""
    from deltaoe.demo import measured_seeds as measured
    from deltaoe.demo.gains import OURS, over_seeds, small_table
    from deltaoe.demo.summary import FALSE_ALARMS

    screen.line("")
    seeds = f"seeds {measured.SEEDS[0]} to {measured.SEEDS[-1]}"
    screen.title(f"What is gained, over {len(measured.SEEDS)} demos ({seeds}): mean (lowest to highest)")
    screen.say(over_seeds(measured.RESULTS))
    screen.line(f"Measured by {measured.COMMAND}")
    screen.line("")
    results = {name: outcome.numbers for name, outcome in outcomes.items()}
    columns: tuple[str, ...] = ("", *METHODS_SHOWN, f"deltaoe, {seeds}")
    rows = small_table(results, measured.RESULTS)
    if not screen.fits(rows, columns):
        rows, columns = small_table(results), columns[:-1]
    new = sum(outcomes[OURS].counts.values())
    screen.wide_table(
        f"This run ({which}), on {new} pictures that nothing was learned from", rows, columns, words=1
    )
    screen.line("")
    screen.table("", LEGEND)
    screen.line("")
    promised, came = outcomes[OURS].counts["same-styles"], outcomes[OURS].numbers[FALSE_ALARMS]
    screen.say(
        [
            f"The threshold promises at most {ALPHA:.0%} false alarms on pictures like yours, on average: "
            f"here {round(came * promised)} of {promised} ({came:.1%}). It promises nothing for a new style."
        ]
    )


def _as_json(outcomes: Mapping[str, Outcome], out: Path, seed: int | None, seconds: float) -> dict[str, Any]:
    """All that the demo found, and what was measured over seeds."""
    from deltaoe.demo import measured_seeds as measured
    from deltaoe.demo.gains import OURS, over_seeds

    return {
        "folder": str(out),
        "report": str(out / "report.html"),
        "seed": seed,
        "alpha": ALPHA,
        "pictures": dict(outcomes[OURS].counts),
        "results": {name: dict(outcome.numbers) for name, outcome in outcomes.items()},
        "over_seeds": {
            "command": measured.COMMAND,
            "seeds": measured.SEEDS,
            "results": measured.RESULTS,
        },
        "gained": over_seeds(measured.RESULTS),
        "seconds": round(seconds, 1),
    }


def _say_what_next(screen: Screen, out: Path, seconds: float) -> None:
    """Print where the report is, and commands to try next."""
    screen.note("")
    screen.note(f"Done in {seconds:.0f} s. Open this file in a browser:", style="bold")
    report = (out / "report.html").resolve()
    screen.note(f"  {report}", style=f"link {report.as_uri()}")
    screen.note("Ask about one picture, and see the unknown ones in groups:", style="bold")
    for command in (f"cd {shlex.quote(str(out))}", f"deltaoe score {EXAMPLE}", "deltaoe discover ./unknown"):
        screen.note(f"  {command}")
    screen.note(
        "Where your own pictures are, one folder per class, with a real CLIP (downloaded once):", style="bold"
    )
    for command in ("extract ./images", "tune --shots 16", "score ./unknown --report html"):
        screen.note(f"  deltaoe {command}")


def _run(arguments: Command, folder: Path, screen: Screen, *, hidden: bool = False) -> None:
    """Run a deltaoe command in the demo's folder, as a user would; ``hidden`` shows what it prints only if it fails."""
    sys.stdout.flush()
    # The user's own defaults stay out of it, and so do a workspace and a defaults file in a folder above.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DELTAOE_")}
    environment |= {
        "DELTAOE_WORKSPACE": str(folder.resolve() / ".deltaoe"),
        "HF_HUB_OFFLINE": "1",
    }
    # -P: so that no module in the demo's folder is imported.
    quiet = ("--quiet",) if screen.quiet or hidden else ()
    command = [sys.executable, "-P", "-m", "deltaoe_cli", *arguments, *quiet]
    out = subprocess.DEVNULL if hidden else sys.stderr if screen.as_json else None
    err = subprocess.PIPE if hidden else None
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=err, text=True) as process:
        try:
            told = process.communicate()[1]
            code = process.returncode
        except KeyboardInterrupt:  # it has got Ctrl-C, too, and finishes what it has in hand
            process.wait()
            raise
    if code:
        sys.stderr.write(told or "")
        raise DataError(
            f"deltaoe {arguments[0]} failed with exit code {code}",
            hint="see its message above; deltaoe demo goes on where it stopped",
        )
