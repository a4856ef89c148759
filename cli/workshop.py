"""``python -m deltaoe_cli.workshop``: what made the demo's pictures and model, for those who work on them.

Not part of the ``deltaoe`` command: users never need it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from .output import Screen

app = typer.Typer(no_args_is_help=True, help=__doc__, rich_markup_mode=None)


@app.command()
def pretrain(
    out: Annotated[Path, typer.Argument(help="Where to write the packed model.")],
    pictures: Annotated[int | None, typer.Option(help="How many to draw. Default: the recipe's.")] = None,
    steps: Annotated[int | None, typer.Option(help="How many steps. Default: the recipe's.")] = None,
) -> None:
    """Draw the pretraining's pictures and train the demo's CLIP on them, from nothing."""
    import dataclasses

    from deltaoe.demo.pretrain import Pretraining, render
    from deltaoe.demo.pretrain import pretrain as run
    from deltaoe.store.atomic import write_bytes

    recipe = Pretraining()
    if pictures is not None:
        recipe = dataclasses.replace(recipe, pictures=pictures)
    if steps is not None:
        recipe = dataclasses.replace(recipe, schedule=dataclasses.replace(recipe.schedule, steps=steps))
    screen, started = Screen(), time.monotonic()
    with screen.progress() as progress:
        renders = render(recipe.pictures, recipe.schedule.seed, progress.event)
        screen.note(f"{recipe.pictures} pictures drawn in {time.monotonic() - started:.0f} s")
        packed = run(renders, recipe, progress.event)
    write_bytes(out, packed)
    screen.note(f"{out}: {len(packed) / 1e6:.2f} MB in {time.monotonic() - started:.0f} s")


@app.command()
def compare(packed: Annotated[Path, typer.Argument(help="A packed model.")]) -> None:
    """Zero-shot accuracy of a packed model on fresh pictures, beside that of the one that is shipped."""
    from importlib import resources
    from tempfile import TemporaryDirectory

    from deltaoe.demo.held_out import accuracy
    from deltaoe.demo.shipped import FILE

    screen = Screen()
    with (
        resources.as_file(resources.files("deltaoe.demo") / FILE) as shipped,
        TemporaryDirectory() as folder,
        screen.progress() as progress,
    ):
        theirs = accuracy(packed, Path(folder, "given"), progress.event)
        ours = accuracy(shipped, Path(folder, "shipped"), progress.event)
        same = packed.read_bytes() == shipped.read_bytes()
    screen.table(
        "Zero-shot accuracy on pictures that neither has seen",
        [(style, f"{theirs[style]:.3f}", f"{ours[style]:.3f}") for style in ours],
        ("style", str(packed), "shipped"),
    )
    screen.note("Both files are the same, to the bit." if same else "The files differ.")


@app.command()
def sheet(
    out: Annotated[Path, typer.Argument(help="Where to write the picture.")],
    names: Annotated[list[str] | None, typer.Argument(help="Classes or patterns; all by default.")] = None,
) -> None:
    """A contact sheet of drawn objects in all styles, and of patterns, to judge them by eye."""
    from deltaoe.demo.sheet import sheet as make

    make(names or ()).save(out)


if __name__ == "__main__":
    app()
