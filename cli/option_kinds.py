"""What kind of value each option of a command takes, for values that are not words of a command line."""

from __future__ import annotations

import datetime
import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from typer.core import TyperCommand, TyperOption

from deltaoe.clip.reference import LOCAL_DIR
from deltaoe.options import OptionField, without_none
from deltaoe.scoring.detector_names import is_detector_path

from .derive import AUTO, NO_VARIABLE

# Options that only the command line has, and whose text may name a file or folder.
_MAY_BE_PATHS = {"protocol", "recipe", "data"}
_BITS = 64  # of a whole number; Python refuses to print those of many thousand


def flag(option: TyperOption) -> str:
    """An option's name on the command line, without the leading ``--``."""
    return next((one for one in option.opts if one.startswith("--")), option.opts[0]).lstrip("-")


@dataclass(frozen=True)
class OptionKind:
    """What an option takes.

    Attributes:
        parameter: name of the command's parameter.
        kind: its type on the command line, without ``None``.
        fact: whether it describes one input, so that only a table of its own command may set it.
        field: the field that it fills; None for an option that only the command line has.
    """

    parameter: str
    kind: Any
    fact: bool
    field: OptionField | None

    def word(self, value: Any, folder: Path) -> bool | str | list[str]:
        """A value of a defaults file as on the command line; only a switch stays true or false.

        Args:
            value: as TOML has it.
            folder: relative paths start here.

        Raises:
            ValueError: the value is of another kind; the message says which kind is right.
        """
        if get_origin(self.kind) is list:
            return self._words(value, folder)
        if self.field is not None and self.field.option.listed and isinstance(value, list):
            if all(isinstance(one, str) and "\0" not in one for one in value):
                return ",".join(value)
            raise ValueError("a text or a list of texts")
        if self.kind is bool:
            return bool(_checked(value, bool, "true or false"))
        if self.kind is int:
            return str(_checked(value, int, "a whole number"))
        if self.kind is float:
            return repr(_checked(value, (int, float), "a number"))
        if self.field is not None and self.field.option.auto and self.field.kind is int:
            if value == AUTO:
                return AUTO
            return str(_checked(value, int, f'a whole number or "{AUTO}"'))
        choices = _choices(self.kind)
        if choices and value not in choices:
            raise ValueError("one of " + ", ".join(f'"{one}"' for one in choices))
        return self._path(_checked(value, str, "a text in quotation marks"), folder)

    def _words(self, value: Any, folder: Path) -> list[str]:
        """The values of an option that may be repeated; a table stands for ``NAME=VALUE``."""
        named = self.field is not None and self.field.option.named
        if named and isinstance(value, dict) and all(isinstance(one, str) for one in value.values()):
            return [f"{name}={self._path(one, folder)}" for name, one in value.items()]
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in values):
            raise ValueError("a list of texts" + (" or a table of them" if named else ""))
        if not named:
            return [self._path(one, folder) for one in values]
        parts = [one.rpartition("=") for one in values]
        return [f"{name}{equals}{self._path(path, folder)}" for name, equals, path in parts]

    def _path(self, text: str, folder: Path) -> str:
        """A text that names a file, from the folder of the defaults file on; any other text as it is."""
        if "\0" in text:  # no command line and no variable can have one
            raise ValueError("a text without NUL")
        kind = get_args(self.kind)[0] if get_origin(self.kind) is list else self.kind
        if text.startswith(LOCAL_DIR):
            return LOCAL_DIR + _below(folder, text.removeprefix(LOCAL_DIR))
        if kind is Path:
            return _below(folder, text)
        if self.parameter == "detector" and not is_detector_path(text):
            return text  # a name, whatever else is called so
        may = self.parameter in _MAY_BE_PATHS if self.field is None else self.field.option.path
        return _below(folder, text) if may and os.path.lexists(_below(folder, text)) else text


def kinds_of(command: TyperCommand) -> dict[str, OptionKind]:
    """What the options of a command take, by name; one that has two names stands twice."""
    function: Any = inspect.unwrap(command.callback) if command.callback else lambda: None
    hints, fields = get_type_hints(function), getattr(function, "option_fields", {})
    return {
        name.lstrip("-"): OptionKind(
            parameter=one.name,
            kind=without_none(hints[one.name])[0],
            fact=one.envvar == NO_VARIABLE,
            field=fields.get(one.name),
        )
        for one in command.params
        if isinstance(one, TyperOption) and one.name in hints
        for name in one.opts
        if name.startswith("--")
    }


def shown(value: Any) -> str:
    """A value as it may stand in a TOML file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return "[" + ", ".join(map(shown, value)) + "]"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, int) and value.bit_length() > _BITS:
        return f"a number of {value.bit_length()} bits"
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)


def _checked(value: Any, kind: Any, words: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(words)
    if isinstance(value, int) and value.bit_length() > _BITS:
        raise ValueError(f"{words} of at most {_BITS} bits")
    return value


def _choices(kind: Any) -> tuple[Any, ...]:
    """The texts that a choice allows; empty for other types."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(one.value for one in kind) if isinstance(kind, type) and issubclass(kind, Enum) else ()


def _below(folder: Path, path: str) -> str:
    """A path that starts in a folder, as seen from the current one."""
    path = os.path.expanduser(path)
    if os.path.isabs(path) or folder == Path.cwd():
        return path
    return os.path.join(folder, path)
