"""``deltaoe evaluate``."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deltaoe.errors import ConfigError

from . import options

if TYPE_CHECKING:
    from deltaoe.theory.results import Theory

HELP = """Measure detectors and scores: AUROC, FPR@95, AUPR, accuracy, calibration error, false alarms, with intervals.

DATA is a folder, a list, or a data set (data:NAME); what was not extracted is extracted. No image that a detector \
learned from is evaluated on. Writes evaluation.csv, .json, .md and .html. In-distribution images are positive.
"""

EPILOG = """[bold]Examples[/bold]

deltaoe evaluate --id ./images --ood textures=./textures --ood scenes=./scenes

deltaoe evaluate --id ./images --shift sketches=./sketches --ood textures=./textures

deltaoe evaluate --id data:caltech --ood near=data:near --scores delta_energy,mcm

deltaoe evaluate --recipe pacs-lodo --root ./data

deltaoe evaluate --recipe list
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("evaluate", help=HELP, epilog=EPILOG)(evaluate)


def evaluate(
    known: Annotated[
        str | None,
        typer.Option("--id", help="DATA: in-distribution images, in class folders.", show_default=False),
    ] = None,
    ood: Annotated[
        list[str] | None,
        typer.Option("--ood", help="NAME=DATA: unknown images; may be repeated.", show_default=False),
    ] = None,
    shift: Annotated[
        list[str] | None,
        typer.Option(
            "--shift",
            help="NAME=DATA: the same classes in another style (covariate shift); may be repeated.",
            show_default=False,
        ),
    ] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            "--detector",
            help="A detector file, or zero-shot; may be repeated. Default: zero-shot and the last one tuned here.",
            show_default=False,
        ),
    ] = None,
    scores: Annotated[str, typer.Option("--scores", help="all, or names with commas between.")] = "all",
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", help="A protocol by name, or a .toml file; list shows them.", show_default=False
        ),
    ] = None,
    root: Annotated[
        Path,
        typer.Option("--root", help="Where the recipe's folders lie."),
    ] = Path(),
    gallery: Annotated[
        str | None,
        typer.Option(
            "--gallery",
            help="DATA that KNN and Mahalanobis compare with. Default: 16 images of each class, left out of the rest.",
            show_default=False,
        ),
    ] = None,
    alpha: Annotated[float, typer.Option("--alpha", help="Accepted share of false alarms.")] = 0.05,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", help="Draws for the intervals; 0 for none.")
    ] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Of the intervals and the gallery.")] = 1,
    convention: Annotated[
        Literal["id", "ood"],
        typer.Option(
            "--convention", help="The positive class of FPR@95; ood compares with OpenOOD and pytorch-ood."
        ),
    ] = "id",
    template: Annotated[
        str | None,
        typer.Option("--template", help='Zero-shot prompt. Default: "a photo of a {}."', show_default=False),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", help="Zero-shot τ, cosine units. Default: 0.1.", show_default=False),
    ] = None,
    top_c: Annotated[
        int | None, typer.Option("--top-c", help="Zero-shot c. Default: 1.", show_default=False)
    ] = None,
    background: options.Background = None,
    background_fraction: options.BackgroundFraction = 0.5,
    centre: options.Centre = True,
    theory: Annotated[
        bool,
        typer.Option("--theory", help="Also measure what the source's theorems need and claim."),
    ] = False,
    probes: Annotated[int, typer.Option("--probes", help="Of each Hessian, with --theory.")] = 16,
    out: Annotated[Path, typer.Option("--out", help="Folder for the files written.")] = Path("evaluation"),
    model: options.Model = None,
    pretrained: options.Pretrained = None,
    batch_size: options.BatchSize = "auto",
    workers: options.Workers = "auto",
    device: options.Device = "auto",
    offline: options.Offline = False,
    workspace: options.Workspace = None,
    as_json: options.Json = False,
) -> None:
    """Run ``deltaoe evaluate``; the help text above says what it does."""
    from .output import Screen

    screen = Screen(as_json=as_json)
    if recipe == "list":
        from deltaoe.evaluation.protocol import shipped

        screen.table("Recipes", [(name, title) for name, title in shipped().items()])
        screen.json(shipped())
        return
    from deltaoe.evaluation.evaluate import ALL, EvaluateOptions, measure, prepare
    from deltaoe.extraction.ingest import IngestOptions
    from deltaoe.scoring.background import BackgroundOptions
    from deltaoe.store.workspace import Workspace

    if theory and recipe is not None:
        raise ConfigError("--theory is not for recipes", hint="name the images with --id, --ood and --shift")
    if probes < 1:
        raise ConfigError(f"--probes must be at least 1, not {probes}", hint="16 is usual")
    _check_out(out)
    unknown, shifts = _named("--ood", ood), _named("--shift", shift)
    if known is None and recipe is None:
        raise ConfigError("no in-distribution images are named", hint="--id DIR, or --recipe NAME --root DIR")
    chosen = EvaluateOptions(
        known=known or "",
        unknown=unknown,
        shifts=shifts,
        detectors=tuple(detector or ()),
        scores=() if scores == ALL else tuple(name.strip() for name in scores.split(",")),
        gallery=gallery,
        alpha=alpha,
        draws=bootstrap,
        seed=seed,
        convention=convention,
        template=template,
        temperature=temperature,
        top_c=top_c,
        background=BackgroundOptions(background, background_fraction, centre),
        model=model,
        pretrained=pretrained,
        ingest=IngestOptions(
            batch_size=options.number_or_auto("--batch-size", batch_size),
            workers=options.number_or_auto("--workers", workers),
        ),
        device=device,
        offline=offline,
    )
    from deltaoe.report.files import write_evaluation_report, write_theory_report
    from deltaoe.report.tables import evaluation_tables, theory_tables

    place = Workspace.locate(workspace)
    with screen.progress() as progress:
        found: Theory | None = None
        if recipe is None:
            stage = prepare(place, chosen, progress.event)
            result = measure(stage, chosen, progress.event)
            if theory:
                from deltaoe.theory.measure import theory as examine

                found = examine(place, chosen, progress.event, probes=probes, stage=stage)
        else:
            from deltaoe.evaluation.protocol import load, run_recipe

            result = run_recipe(place, load(recipe), root, chosen, out, progress.event)
        paths = result.write(out) | write_evaluation_report(out, result, datetime.now().astimezone(), found)
        if found:
            paths |= found.write(out) | write_theory_report(out, found)
    for sentence in result.notes:
        screen.warn(sentence)
    for table in (*evaluation_tables(result), *(theory_tables(found) if found else ())):
        screen.table(table.title, [tuple(row) for row in table.texts()], tuple(table.headings))
    if found:
        screen.table("What these data say", [(one.verdict, one.text) for one in found.conclusions])
    screen.table("Written", [(kind, str(path)) for kind, path in paths.items()])
    if as_json:
        screen.json(result.to_dict() | ({"theory": found.to_dict()} if found else {}))


def _named(option: str, given: list[str] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given or ():
        name, equals, place = one.partition("=")
        if not equals or not name or not place:
            name, place = os.path.basename(os.path.normpath(one)) or one, one
            if equals:
                raise ConfigError(f"{option} takes NAME=DATA, not {one!r}")
        name = name.removeprefix("data:")
        if name in found:
            raise ConfigError(f"{option} names {name!r} twice", hint="give each its own name: NAME=DATA")
        found[name] = place
    return found


def _check_out(out: Path) -> None:
    """Refuse to overwrite files that deltaoe did not write."""
    from deltaoe.errors import StoreError
    from deltaoe.evaluation.results import CSV_START
    from deltaoe.theory import results

    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file, not a folder", hint="name a folder with --out")
    for name, start in (("evaluation.csv", CSV_START), ("theory.csv", results.CSV_START)):
        table = out / name
        if (
            table.is_file()
            and table.stat().st_size
            and not table.read_bytes()[:4096].startswith(start.encode())
        ):
            raise StoreError(
                f"{table} exists and was not written by deltaoe", hint="choose another folder with --out"
            )
