"""``deltaoe evaluate``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deltaoe.errors import ConfigError
from deltaoe.evaluation.options import EvaluateOptions
from deltaoe.options import EXPERT

from . import options
from .derive import with_options
from .targets import check_folder, check_replaceable, check_targets

if TYPE_CHECKING:
    from deltaoe.theory.results import Theory

HELP = """Measure detectors and scores: AUROC, FPR@95, AUPR, accuracy, calibration error, false alarms, with intervals.

DATA is a folder, a list, or a data set (data:NAME); what was not extracted is extracted. No detector is \
evaluated on images that it learned from. Writes evaluation.csv, .json, .md and .html. In-distribution images are \
positive.
"""

EPILOG = """[bold]Examples[/bold]

deltaoe evaluate --id ./images --ood textures=./textures --ood scenes=./scenes

deltaoe evaluate --id ./images --shift sketches=./sketches --ood textures=./textures

deltaoe evaluate --id data:caltech --ood near=data:near --scores delta_energy,mcm

deltaoe evaluate --protocol pacs-lodo --root ./data

deltaoe evaluate --protocol list
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("evaluate", help=HELP, epilog=EPILOG)(evaluate)


@with_options(EvaluateOptions)
def evaluate(
    chosen: EvaluateOptions,
    given: frozenset[tuple[str, ...]],
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            "--recipe",
            help="A protocol by name, or a .toml file; list shows them.",
            show_default=False,
        ),
    ] = None,
    root: Annotated[Path, typer.Option("--root", help="Where the protocol's folders lie.")] = Path(),
    theory: Annotated[
        bool,
        typer.Option("--theory", help="Also measure what the source's theorems need and claim."),
    ] = False,
    probes: Annotated[
        int,
        typer.Option(
            "--probes", help="Random probes of each Hessian, with --theory.", rich_help_panel=EXPERT
        ),
    ] = 16,
    out: Annotated[Path, typer.Option("--out", help="Folder for the files written.")] = Path("evaluation"),
    force: options.Force = False,
    workspace: options.Workspace = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Run ``deltaoe evaluate``; the help text above says what it does."""
    from .output import Screen
    from .place import located

    screen = Screen(as_json=as_json, quiet=quiet, verbose=verbose)
    if protocol == "list":
        from deltaoe.evaluation.protocol import shipped

        screen.table("Protocols", [(name, title) for name, title in shipped().items()])
        screen.json(shipped())
        return
    from deltaoe.evaluation import results
    from deltaoe.evaluation.evaluate import measure, prepare
    from deltaoe.theory import results as theory_results

    if theory and protocol is not None:
        raise ConfigError(
            "--theory is not for protocols", hint="name the images with --id, --ood and --shift"
        )
    if probes < 1:
        raise ConfigError(f"--probes must be at least 1, not {probes}", hint="16 is usual")
    check_folder(out)
    for name, columns in (("evaluation.csv", results.CSV_START), ("theory.csv", theory_results.CSV_START)):
        check_replaceable(out / name, columns)
    if ("known",) not in given and protocol is None:
        raise ConfigError(
            "no in-distribution images are named", hint="--id DIR, or --protocol NAME --root DIR"
        )
    from deltaoe.report.files import write_evaluation_report, write_theory_report
    from deltaoe.report.tables import evaluation_tables, summary_rows, theory_tables
    from deltaoe.store.result_files import note_inputs

    place = located(workspace, screen)
    measured = (
        [protocol, str(root)]
        if protocol
        else [chosen.known, *chosen.unknown.values(), *chosen.shifts.values()]
    )
    marked = {out / "evaluation.csv": results.CSV_START}
    check_targets(marked, place, measured, force=force)
    with screen.progress() as progress:
        theorems: Theory | None = None
        if protocol is None:
            data = prepare(place, chosen, progress.event)
            result = measure(data, chosen, progress.event)
            if theory:
                from deltaoe.theory.measure import measure_theory

                theorems = measure_theory(place, chosen, progress.event, probes=probes, data=data)
        else:
            from deltaoe.evaluation.protocol import load
            from deltaoe.evaluation.run_protocol import run_protocol

            result = run_protocol(place, load(protocol), root, chosen, out, progress.event)
        check_targets(marked, place, measured, force=force)
        paths = result.write(out) | write_evaluation_report(
            out, result, datetime.now().astimezone(), theorems
        )
        if theorems:
            paths |= theorems.write(out) | write_theory_report(out, theorems)
        note_inputs(place, [out / "evaluation.csv"], measured)
    for sentence in result.notes:
        screen.warn(sentence)
    if screen.verbose:
        for table in (*evaluation_tables(result), *(theory_tables(theorems) if theorems else ())):
            rows = [tuple(row) for row in table.texts()]
            screen.wide_table(table.title, rows, tuple(table.headings), words=len(table.labels))
    else:
        for known in [name for name in result.names("known") if "/" not in name]:
            headings = ("detector", "score", "AUROC", "accuracy")
            screen.summary(f"On {known}", summary_rows(result, known), headings, words=2)
    if theorems:
        screen.summary("What these data say", [(one.verdict, one.text) for one in theorems.conclusions])
    screen.summary("Written", [(kind, str(path)) for kind, path in paths.items()])
    screen.say(result.conclusions)
    if as_json:
        screen.json(result.to_dict() | ({"theory": theorems.to_dict()} if theorems else {}))
