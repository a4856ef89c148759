"""Commands whose flags come from option dataclasses: :mod:`deltaoe.options` says what stands on a field."""

from __future__ import annotations

import functools
import inspect
import os
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from deltaoe.errors import ConfigError
from deltaoe.options import PANELS, OptionField, Options, option_fields

AUTO, ALL = "auto", "all"
ACT, STREAM = (
    "Act on the images",
    "Images as they come",
)  # headings of --help, of options of the command line alone
NO_VARIABLE = ""  # for an option that no environment variable may set
FieldPath = tuple[str, ...]


def with_options(
    group: type[Options], only: Collection[str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command so that its first parameter, a group of options, is filled from flags.

    The command's other parameters stay what they are. One named ``given`` gets the paths of the fields that the user
    has set, by a flag, an environment variable or the defaults file. Everything else has the dataclass's own default,
    which ``--help`` prints. The function's attribute ``option_fields`` has the fields by parameter.

    Args:
        group: the dataclass.
        only: names of the parameters to offer; None for all.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        fields = {field.name: field for field in option_fields(group) if only is None or field.name in only}
        own = list(inspect.signature(command).parameters.values())[1:]
        hints = get_type_hints(command, include_extras=True)
        own = [one.replace(annotation=hints[one.name]) for one in own]
        wants_given = any(one.name == "given" for one in own)

        @functools.wraps(command)
        def run(ctx: typer.Context, **values: Any) -> None:
            told = {
                field.path: _value(field, values[name])
                for name, field in fields.items()
                if str(ctx.get_parameter_source(name)).rpartition(".")[2] != "DEFAULT"
            }
            rest = {name: value for name, value in values.items() if name not in fields}
            if wants_given:
                rest["given"] = frozenset(told)
            command(_filled(group, told), **rest)

        parameters = [*_arranged(own, fields.values())]
        context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        run.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
        run.option_fields = fields  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in (context, *parameters)}
        del run.__wrapped__  # whose signature is not the command line's
        return run

    return decorate


def _arranged(own: Iterable[inspect.Parameter], fields: Iterable[OptionField]) -> list[inspect.Parameter]:
    """Arguments first, then common options, then those under each heading."""
    named = [one for one in own if one.name != "given"]
    arguments = [one for one in named if _is_argument(one)]
    options = [*map(_parameter, fields), *(one for one in named if not _is_argument(one))]
    order = ("", ACT, STREAM, *PANELS)
    every = [*arguments, *sorted(options, key=lambda one: order.index(_panel(one)))]
    return [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in every]


def _is_argument(parameter: inspect.Parameter) -> bool:
    return any(isinstance(one, typer.models.ArgumentInfo) for one in get_args(parameter.annotation))


def _panel(parameter: inspect.Parameter) -> str:
    """The heading that an option stands under; empty for a common one."""
    (said,) = (one for one in get_args(parameter.annotation) if isinstance(one, typer.models.OptionInfo))
    return said.rich_help_panel or ""


def _parameter(field: OptionField) -> inspect.Parameter:
    option = field.option
    kind, default = _kind(field)
    shown: bool | str = True
    if default is None:  # what stands for it is said in words, where there is anything to say
        shown = False if option.unset is None else str(option.unset)
    said = typer.Option(
        f"--{field.flag}",
        help=option.help,
        envvar=NO_VARIABLE if option.fact else None,
        show_default=shown,
        rich_help_panel=option.panel or None,
        metavar=("<auto|int>" if field.kind is int else "<auto|text>")
        if kind is str and option.auto
        else None,
    )
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, said]
    )


def _kind(field: OptionField) -> tuple[Any, Any]:
    """The type and the default that the flag has on the command line."""
    if field.option.named or get_origin(field.kind) is tuple:
        return (str, ALL) if field.option.listed else (list[str] | None, None)
    if field.option.auto:
        if get_origin(field.kind) is Literal:
            return Literal[(AUTO, *get_args(field.kind))], AUTO
        return str, AUTO
    if isinstance(field.kind, types.UnionType):  # of text and a path: what it is, the field's reader decides
        return str | None, None
    if field.optional:
        return field.kind | None, None
    if field.kind is str and not field.default:
        return str | None, None
    return field.kind, field.default


def _value(field: OptionField, given: Any) -> Any:
    """What the field gets for what was given on the command line."""
    option = field.option
    if option.named:
        return named_values(f"--{field.flag}", given)
    if option.listed:
        return () if given == ALL else tuple(name.strip() for name in given.split(","))
    if get_origin(field.kind) is tuple:
        return tuple(given)
    if option.auto:
        return None if given == AUTO else _number(field, given)
    return given


def _number(field: OptionField, text: str) -> Any:
    if field.kind is not int:
        return text
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"--{field.flag} takes auto or a number, not {text!r}") from None


def named_values(flag: str, given: Iterable[str]) -> dict[str, str]:
    """Words ``NAME=VALUE`` as a dictionary; a path without a name is called by its last part.

    Raises:
        ConfigError: a name or a value is missing, or a name is given twice.
    """
    found: dict[str, str] = {}
    for word in given:
        name, equals, value = word.partition("=")
        if equals and not (name and value):
            raise ConfigError(f"{flag} takes NAME=DATA, not {word!r}")
        if not equals:
            name, value = os.path.basename(os.path.normpath(word)) or word, word
        name = name.removeprefix("data:")
        if name in found:
            raise ConfigError(f"{flag} names {name!r} twice", hint="give each its own name: NAME=DATA")
        found[name] = value
    return found


def _filled(group: type[Options], values: Mapping[FieldPath, Any]) -> Options:
    """The group with these values by path, and its defaults elsewhere."""
    own: dict[str, Any] = {path[0]: value for path, value in values.items() if len(path) == 1}
    hints = get_type_hints(group)
    for name in {path[0] for path in values if len(path) > 1}:
        inner = {path[1:]: value for path, value in values.items() if path[0] == name}
        own[name] = _filled(hints[name], inner)
    return group(**own)
