"""Commands whose options can also be set by environment variables and by a defaults file."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from deltaoe.errors import ConfigError, DeltaoeError, StoreWarning
from deltaoe.store.place import LOCKS, workspace_folder

from .defaults_file import ASKED_EACH_TIME, WORKSPACE, Defaults, read_defaults
from .derive import NO_VARIABLE
from .option_kinds import flag

PREFIX = "DELTAOE_"
_USED = "deltaoe defaults"  # key of the context's meta


def variable(option: TyperOption) -> str:
    """Name of the environment variable: ``DELTAOE_TOP_C`` for ``--top-c``."""
    return PREFIX + flag(option).replace("-", "_").upper()


class Command(TyperCommand):
    """A command, each of whose options is set by its flag, else its environment variable, else the defaults file.

    A flag that switches something on has an opposite with ``--no-`` in front, so that a command can overrule the
    others.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        for option in self.options:
            if option.envvar != NO_VARIABLE and flag(option) not in ASKED_EACH_TIME:
                option.envvar = variable(option)
            option.show_envvar = False  # said once, in the help of deltaoe

    @property
    def options(self) -> list[TyperOption]:
        """Its options, without ``--help``."""
        return [one for one in self.params if isinstance(one, TyperOption)]

    def make_parser(self, ctx: Any) -> Any:
        """The parser, which also knows the opposites of flags."""
        parser = super().make_parser(ctx)
        for option in self.options:
            if option.is_bool_flag and not option.secondary_opts:
                parser.add_option(
                    obj=option,
                    opts=[f"--no-{flag(option)}"],
                    dest=option.name,
                    action="store_const",
                    const=False,
                )
        return parser

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words; say where a value that is refused was set, if not among them.

        Raises:
            ConfigError: an entry of the defaults file is refused.
        """
        if all(option.name != WORKSPACE for option in self.options) and not set(args) & set(
            ctx.help_option_names
        ):
            load_defaults(ctx, None)  # for other commands, the callback of that option does it
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            where = _set_where(ctx, error.param) if isinstance(error.param, TyperOption) else ""
            if where and isinstance(error.param, TyperOption):
                given = os.environ.get(variable(error.param), "")
                raise ConfigError(
                    f"--{flag(error.param)}: {error.message.rstrip('.')}" + (f": {given!r}" if given else ""),
                    hint=where,
                ) from None
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command; say what the defaults file set, and where an option was set that an error speaks of."""
        self._say_what_is_set(ctx)
        try:
            with _store_warnings(quiet=bool(ctx.params.get("quiet"))):
                return super().invoke(ctx)
        except DeltaoeError as error:
            text = f"{error} {error.hint}"
            wheres = [
                where
                for option in self.options
                if re.search(rf"(?<![\w-])--{flag(option)}(?![\w-])", text)
                and (where := _set_where(ctx, option))
            ]
            error.hint = "; ".join([error.hint, *wheres] if error.hint else wheres)
            raise

    def _say_what_is_set(self, ctx: Any) -> None:
        defaults: Defaults | None = ctx.meta.get(_USED)
        used = [flag(one) for one in self.options if _source(ctx, one) == "DEFAULT_MAP"]
        known = {
            variable(one) for command in commands(ctx.find_root().command).values() for one in command.options
        } | {LOCKS}
        strays = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
        if not (used or strays) or ctx.params.get("quiet"):
            return
        from .output import Screen

        screen = Screen()
        if used and defaults is not None:
            screen.note(f"defaults: {defaults.title} ({', '.join(used)})", style="dim")
        for name in strays:
            close = difflib.get_close_matches(name, known, n=1)
            screen.warn(f"{name} sets no option" + (f"; did you mean {close[0]}?" if close else ""))


@contextlib.contextmanager
def _store_warnings(*, quiet: bool) -> Iterator[None]:
    """Print the store's warnings at the end, each once, unless quiet; other warnings stay as they are."""
    before, told = warnings.showwarning, dict[str, None]()

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, StoreWarning):
            told[str(message)] = None
        else:
            before(message, category, *place, **more)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before
        if told and not quiet:
            from .output import Screen

            for sentence in told:
                Screen().warn(sentence)


def commands(command: Any, before: tuple[str, ...] = ()) -> dict[tuple[str, ...], Command]:
    """All commands of a group and of the groups within it, by the words that they are called by."""
    return dict(_walked(command, before))


def _walked(command: Any, before: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Command]]:
    if isinstance(command, Command):
        yield before, command
    elif isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from _walked(inner, (*before, name))


def words(ctx: Any) -> tuple[str, ...]:
    """The words that a command is called by, such as ``("store", "info")``."""
    return () if ctx.parent is None else (*words(ctx.parent), ctx.info_name)


def load_defaults(ctx: typer.Context, workspace: Path | None) -> None:
    """Read the defaults file beside the workspace, for the options that are neither given nor in the environment.

    Raises:
        ConfigError: the file cannot be read, or has an entry that cannot be right.
        StoreError: a file is in the workspace's place.
    """
    if ctx.resilient_parsing or not isinstance(ctx.command, Command):
        return
    file = read_defaults(Path(os.path.abspath(workspace_folder(workspace))).parent)
    if file is not None:
        ctx.meta[_USED] = file
        ctx.default_map = file.values(commands(ctx.find_root().command), words(ctx))


def _source(ctx: Any, option: TyperOption) -> str:
    """Where an option's value is from: COMMANDLINE, ENVIRONMENT, DEFAULT_MAP (the file) or DEFAULT."""
    return str(ctx.get_parameter_source(option.name)).rpartition(".")[2]


def _set_where(ctx: Any, option: TyperOption) -> str:
    """Where an option is set, in words; empty for a flag and a default."""
    source, defaults = _source(ctx, option), ctx.meta.get(_USED)
    if source == "ENVIRONMENT":
        return f"--{flag(option)} is set by {variable(option)}"
    if source == "DEFAULT_MAP" and defaults is not None:
        return f"--{flag(option)} is set in {defaults.title}"
    return ""
