"""``deltaoe demo``."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deltaoe.errors import ConfigError, DataError

from . import options

if TYPE_CHECKING:
    from .output import Screen

HELP = """Show the whole main job on drawn pictures, offline: extract, tune, score, report, and how good it was.

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
COMPARISON: tuple[Command, ...] = (
    ("score", "./unknown", "--zero-shot", "--evidence", "text", "--out", "zero-shot"),
    ("score", "./unknown", "--zero-shot", "--out", "with-images"),
    ("tune", "--shots", "16", "--method", "coop", "--out", "coop/detector.safetensors"),
    ("score", "./unknown", "--detector", "coop/detector.safetensors", "--out", "coop"),
)
OURS = "deltaoe (default)"
SCORES = {
    "zero-shot": "zero-shot/scores.csv",
    "with images": "with-images/scores.csv",
    "CoOp": "coop/scores.csv",
    OURS: "scores.csv",
}
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
    from deltaoe.demo.summary import FALSE_ALARMS, gained, summarise
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
    kept = keep and painted(out)
    if kept:
        screen.note(f"Pictures in {out}: used as they are.")
    else:
        with screen.progress() as progress:
            pictures = paint(out, seed, on=progress.event)
        screen.note(f"Pictures in {out}: {pictures.drawn} drawn, {pictures.there} there already.")
    unpack_model(out / MODEL)
    write_vocabulary(out)
    screen.note(f"The CLIP in {out / MODEL} was trained on other pictures of this kind.")
    screen.note("")
    screen.note(f"$ cd {shlex.quote(str(out))}", style="bold")
    for arguments in MAIN_JOB:
        _run(arguments, out, screen)
    screen.note("")
    screen.note(
        "For comparison: zero-shot prompts alone, zero-shot prompts with image evidence, and CoOp's prompts alone"
    )
    for arguments in COMPARISON:
        _run(arguments, out, screen)
    outcomes = {name: summarise(out / path) for name, path in SCORES.items()}
    ours = outcomes[OURS]
    screen.wide_table(
        "How good it was, on pictures that neither pretraining nor tuning has seen",
        [
            (number, *(_shown(number, outcome.numbers[number]) for outcome in outcomes.values()))
            for number in ours.numbers
        ],
        ("", *outcomes),
        words=1,
    )
    gains = gained({name: outcome.numbers for name, outcome in outcomes.items()}, OURS)
    screen.say(gains)
    seconds = time.monotonic() - started
    screen.json(
        {
            "folder": str(out),
            "report": str(out / "report.html"),
            "seed": None if kept else seed,
            "alpha": ALPHA,
            "pictures": dict(ours.counts),
            "gained": gains,
            "results": {name: dict(outcome.numbers) for name, outcome in outcomes.items()},
            "seconds": round(seconds, 1),
        }
    )
    promised, came = ours.counts["same-styles"], ours.numbers[FALSE_ALARMS]
    screen.note(
        f"The threshold promises at most {ALPHA:.0%} false alarms on images like yours, on average: "
        f"here {round(came * promised)} of {promised} ({came:.1%}). It promises nothing for a new style."
    )
    _say_what_next(screen, out, seconds)


def _say_what_next(screen: Screen, out: Path, seconds: float) -> None:
    """Print where the report is, and commands to try next."""
    cd = f"cd {shlex.quote(str(out))}"
    screen.note("")
    screen.note(f"Done in {seconds:.0f} s. Open this file in a browser:", style="bold")
    report = (out / "report.html").resolve()
    screen.note(f"  {report}", style=f"link {report.as_uri()}")
    screen.note("Ask about one picture:", style="bold")
    screen.note(f"  {cd} && deltaoe score {EXAMPLE}")
    screen.note("See what the unknown pictures are, in groups:", style="bold")
    screen.note(f"  {cd} && deltaoe discover ./unknown")
    screen.note(
        "Try it on your own pictures, one folder per class, with a real CLIP (downloaded once):", style="bold"
    )
    for command in ("extract ./images", "tune --shots 16", "score ./unknown --report html"):
        screen.note(f"  deltaoe {command}")


def _run(arguments: Command, folder: Path, screen: Screen) -> None:
    """Print a deltaoe command and run it in the demo's folder, as a user would."""
    screen.note("")
    screen.note(f"$ deltaoe {shlex.join(arguments)}", style="bold")
    sys.stdout.flush()
    # The user's own defaults stay out of it, and so do a workspace and a defaults file in a folder above.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DELTAOE_")}
    environment |= {
        "DELTAOE_WORKSPACE": str(folder.resolve() / ".deltaoe"),
        "HF_HUB_OFFLINE": "1",
    }
    # -P: so that no module in the demo's folder is imported.
    quiet = ("--quiet",) if screen.quiet else ()
    command = [sys.executable, "-P", "-m", "deltaoe_cli", *arguments, *quiet]
    out = sys.stderr if screen.as_json else None
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=out) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:  # it has got Ctrl-C, too, and finishes what it has in hand
            process.wait()
            raise
    if code:
        raise DataError(
            f"deltaoe {arguments[0]} failed with exit code {code}",
            hint="see its message above; deltaoe demo goes on where it stopped",
        )


def _shown(number: str, value: float) -> str:
    """A result as text: AUROC with three digits, everything else in per cent."""
    return f"{value:.3f}" if number.startswith("AUROC") else f"{value:.1%}"
