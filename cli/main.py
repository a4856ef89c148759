"""The ``deltaoe`` app: commands, global options, and the one place where errors become messages."""

from __future__ import annotations

import gc
import io
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from deltaoe.errors import DeltaoeError, StoreError

from . import (
    background,
    demo,
    detectors,
    discover,
    evaluate,
    export_onnx,
    extract,
    filing,
    score,
    status,
    store,
    tune,
)
from .command import Command

INTERRUPTED = 130


class _Commands(TyperGroup):
    """The group of commands, which turns an error that a command raises into one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        from .output import Screen

        try:
            return super().invoke(ctx)
        except DeltaoeError as error:
            Screen().error(error)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            Screen().note("interrupted; what was finished is kept, run the same command to go on")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:  # the reader of stdout has gone, as in `deltaoe score … --json | head`
            _drop_output()
            raise typer.Exit(1) from None
        except (
            OSError
        ) as cause:  # one that the library has not turned into its own, such as stdout on a full disk
            Screen().error(StoreError(str(cause), hint="check free space and permissions, then run it again"))
            _drop_output()
            raise typer.Exit(1) from None


def _drop_output() -> None:
    """Discard buffered output, which Python would otherwise try to write again when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


app = typer.Typer(
    name="deltaoe",
    cls=_Commands,
    no_args_is_help=True,
    invoke_without_command=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def _versions(verbose: bool) -> str:
    """Version of deltaoe, and if asked those of Python, the system and the packages it needs, a line each."""
    from importlib.metadata import PackageNotFoundError, requires, version

    lines = [f"deltaoe {version('deltaoe')}"]
    if verbose:
        import platform
        import re

        lines.append(f"python {platform.python_version()} ({platform.platform()})")
        # The names alone: nothing of them is imported. Those of extras are listed where they are installed.
        for name in sorted(
            {re.split(r"[^\w.-]", line)[0] for line in requires("deltaoe") or ()}, key=str.lower
        ):
            try:
                lines.append(f"{name} {version(name)}")
            except PackageNotFoundError:
                lines.append(f"{name} is not installed")
    return "\n".join(lines)


@app.callback(
    help="""Which images does a CLIP classifier know, and which not?

Three commands, one after the other, on your own folders (one folder per class):

[bold]deltaoe extract ./images[/bold]

[bold]deltaoe tune --shots 16[/bold]

[bold]deltaoe score ./unknown --report html[/bold]

See it at work first, offline: [bold]deltaoe demo[/bold]

Each option can also be set by an environment variable (DELTAOE_SHOTS for --shots) or in a file beside the \
workspace: deltaoe.toml, or \\[tool.deltaoe] in pyproject.toml. The command line comes first, then the environment, \
the file, the default. A --no- in front undoes a switch, such as --no-json.
"""
)
def _deltaoe(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", "-V", help="Show the version and exit.")] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", help="With --version: also those of Python and of the packages needed."),
    ] = False,
) -> None:
    if version:
        typer.echo(_versions(verbose))
        raise typer.Exit
    if verbose:
        ctx.fail("--verbose stands behind the command, or beside --version")
    if ctx.invoked_subcommand is None:
        ctx.fail("Missing command.")


extract.register(app)
tune.register(app)
score.register(app)
discover.register(app)
filing.register(app)
evaluate.register(app)
status.register(app)
export_onnx.register(app)
detectors.register(app)
background.register(app)
store.register(app)


def _make_configurable(group: typer.Typer) -> None:
    """Let the options of all commands of a group be set by the environment and the defaults file, too."""
    for command in group.registered_commands:
        command.cls = Command
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            _make_configurable(inner.typer_instance)


_make_configurable(app)
demo.register(app)  # the one command that nothing configures: it shows what deltaoe does as it comes


def _open_closed_streams() -> None:
    """Open the null device for standard streams that the caller has closed: they are None, and no write fails."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open until the end


def main() -> None:
    """Entry point of the ``deltaoe`` command."""
    # Collections of garbage need not look at what was imported, nor come as often as for a program of a few objects.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    # Typer reads arguments with pydantic, which would look for plugins in the metadata of all installed packages.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an encoding without Δ must not end the run
            stream.reconfigure(errors="backslashreplace")
    app()
