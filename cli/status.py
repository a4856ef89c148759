"""``deltaoe status``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from . import options

if TYPE_CHECKING:
    from deltaoe.project.status import DataSetState

    from .output import Screen

HELP = """Show what this workspace has, what score and tune would use now, and what is out of date.

Every file of the extracted folders is looked at, and none is opened. What is out of date is no error.
"""


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("status", help=HELP)(status)


def status(
    workspace: options.Workspace = None, as_json: options.Json = False, quiet: options.Quiet = False
) -> None:
    """Run ``deltaoe status``; the help text above says what it does."""
    from deltaoe.project.status import status as run

    from .detectors import show_detectors
    from .output import Screen
    from .place import located

    screen = Screen(as_json=as_json, quiet=quiet)
    place = located(workspace, screen)
    with screen.progress() as progress:
        found = run(place, progress.event)
    screen.json(found.to_dict())
    if found.empty:
        screen.line(f"Nothing has been extracted in {place.folder} yet.")
        screen.line(
            "Begin with: deltaoe extract ./images   (one folder per class), or see it at work: deltaoe demo"
        )
        return
    if found.data_sets:
        _show_data_sets(screen, found.data_sets, {one.id: one.options for one in found.spaces})
    if found.spaces:
        screen.table(
            "Features",
            [
                (
                    f"  {one.model or one.id} {one.options}".rstrip(),
                    f"{one.images:,}",
                    f"{one.size / 1e6:.1f} MB",
                )
                for one in found.spaces
            ],
            ("  model", "images", "size"),
        )
    if found.detectors:
        show_detectors(screen, found.detectors, short=True)
    screen.line("")
    screen.line(
        f"score uses {found.score_uses or 'nothing yet: it needs class names, as of deltaoe extract ./images'}"
    )
    screen.line(f"tune uses {found.tune_uses or 'nothing yet: next: deltaoe extract ./images'}")
    for sentence in found.stale:
        screen.line(f"out of date: {sentence}")
    if not found.stale:
        screen.line("Nothing is out of date.")


def _show_data_sets(screen: Screen, found: list[DataSetState], options: dict[str, str]) -> None:
    """Print a table of data sets, with their models if these are several.

    Args:
        screen: where.
        found: the data sets.
        options: feature space → how its features were made, which tells data sets of one title apart.
    """
    from deltaoe.store.sentences import short_title
    from deltaoe.store.split_use import splits_in_words

    models = {one.data.model for one in found if one.data is not None}
    titles = [one.path.name if one.data is None else short_title(one.data) for one in found]
    rows: list[tuple[str, ...]] = []
    for one, title in zip(found, titles, strict=True):
        data = one.data
        how = options.get(data.space_id, "") if data is not None and titles.count(title) > 1 else ""
        title = f"{'*' if one.current else ' '} {title} {how}".rstrip()
        model = "damaged" if data is None else data.model
        counts = ("", "") if data is None else (f"{len(data):,}", f"{len(data.class_names):,}")
        rows.append((title, model, f"{one.extracted:%Y-%m-%d %H:%M}", *counts))
    columns: tuple[str, ...] = ("  data set", "model", "extracted", "images", "classes")
    with_splits = any(one.data is not None and one.data.split_names for one in found)
    if with_splits:
        shown = ["" if one.data is None else splits_in_words(one.data) for one in found]
        rows, columns = [(*row, cell) for row, cell in zip(rows, shown, strict=True)], (*columns, "splits")
    if len(models) == 1 and all(one.data is not None for one in found):
        rows = [(row[0], *row[2:]) for row in rows]
        columns = (columns[0], *columns[2:])
    screen.table("Data sets", rows, columns, text=("splits",))
