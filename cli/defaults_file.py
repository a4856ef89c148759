"""The defaults file: values for options, in ``deltaoe.toml`` or in ``[tool.deltaoe]`` of ``pyproject.toml``."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from deltaoe.errors import ConfigError, first_line, os_reason

from .option_kinds import OptionKind, kinds_of, shown

OWN, SHARED = "deltaoe.toml", "pyproject.toml"
_TABLE = ("tool", "deltaoe")
WORKSPACE = "workspace"  # the option that says where the file is
# Options that move or replace files: a project that somebody else has written must not do that for its user.
ASKED_EACH_TIME = frozenset({"copy-to", "move-to", "link-to", "as-classes", "force", "thumbnails"})

Words = tuple[str, ...]
Kinds = Mapping[str, OptionKind]
Values = dict[str, bool | str | list[str]]


@dataclass(frozen=True)
class Defaults:
    """The content of a defaults file.

    Attributes:
        folder: the folder that it lies in, absolute.
        title: the file, as seen from the current folder.
        table: names of the tables within tables that hold the content; none if all of the file is ours.
        content: entries of options, and tables of commands.
    """

    folder: Path
    title: str
    table: Words
    content: Mapping[str, Any]

    def values(self, commands: Mapping[Words, TyperCommand], running: Words) -> Values:
        """What the file sets for one command: parameter → value as on the command line.

        A table of a command, such as ``[score]`` or ``[store.export]``, comes before the entries outside.

        Args:
            commands: all commands that can be configured, by the words that they are called by.
            running: the words of the command that is run.

        Raises:
            ConfigError: an entry, of any command, has no option or no command, or is of the wrong type.
        """
        every = {words: kinds_of(command) for words, command in commands.items()}
        return self._read(self.content, every, running, ())

    def _read(
        self, table: Mapping[str, Any], every: Mapping[Words, Kinds], running: Words, place: Words
    ) -> Values:
        """What the table of the commands whose first words are ``place`` sets for one of them."""
        options = {words: kinds for words, kinds in every.items() if words[: len(place)] == place}
        tables = {words[len(place)] for words in options if len(words) > len(place)}
        found: Values = {}
        inner: Values = {}
        seen: set[str] = set()
        for key, value in table.items():
            name = key.replace("_", "-")
            heading = ".".join((*self.table, *place))
            entry = f"{self.title}: " + (f"[{heading}] " if heading else "") + key
            if name in seen:
                raise ConfigError(
                    f"{entry} is there twice, with a dash and with an underscore", hint="keep one"
                )
            seen.add(name)
            if isinstance(value, dict) and name in tables:
                inner |= self._read(value, every, running, (*place, name))
                continue
            if name == WORKSPACE:
                raise ConfigError(
                    f"{entry} cannot be set here: the file is looked for beside the workspace",
                    hint="use --workspace or DELTAOE_WORKSPACE",
                )
            if name in ASKED_EACH_TIME:
                raise ConfigError(
                    f"{entry} cannot be set here: what shows, moves or replaces files is asked for each time",
                    hint=f"use --{name} on the command line",
                )
            takers = {
                words: kinds[name]
                for words, kinds in options.items()
                if name in kinds and (words == place or not kinds[name].fact)
            }
            if not takers:
                others = [" ".join(words) for words, kinds in every.items() if name in kinds]
                known = {one for kinds in options.values() for one in kinds} | tables
                hint = f"it is one of deltaoe {', '.join(others)}" if others else _near(name, known)
                raise ConfigError(f"{entry} is no option{_of(place)}", hint=hint)
            fits: dict[Words, bool | str | list[str]] = {}
            wrong: dict[Words, str] = {}
            for words, kind in takers.items():
                try:
                    fits[words] = kind.word(value, self.folder)
                except ValueError as cause:
                    wrong[words] = str(cause)
            if running in wrong or not fits:
                right = wrong.get(running, next(iter(wrong.values()), ""))
                raise ConfigError(
                    f"{entry} must be {right}, not {shown(value)}", hint=f"correct {self.title}"
                )
            if running in fits:
                found[takers[running].parameter] = fits[running]
        return found | inner


def read_defaults(folder: Path) -> Defaults | None:
    """The defaults file of a folder, ``deltaoe.toml`` before ``pyproject.toml``; None if neither sets anything.

    Raises:
        ConfigError: the file cannot be read.
    """
    own = folder / OWN
    if os.path.lexists(own) and not own.is_file():
        raise _unreadable(own, "is no file")
    if own.is_file():
        return Defaults(folder, os.path.relpath(own), (), _parsed(own, _bytes(own)))
    if not (shared := folder / SHARED).is_file():
        return None
    data, title = _bytes(shared), os.path.relpath(shared)
    if _TABLE[-1].encode() not in data:  # a project's file that does not concern us need not even be TOML
        return None
    content: Any = _parsed(shared, data)
    for name in _TABLE:
        if name not in content:
            return None
        content = content[name]
        if not isinstance(content, dict):
            raise ConfigError(f"{title}: {name} is not a table", hint=f"write [{'.'.join(_TABLE)}]")
    return Defaults(folder, title, _TABLE, content)


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as cause:
        raise _unreadable(file, os_reason(cause)) from cause


def _parsed(file: Path, data: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8-sig"))  # editors on Windows put a mark in front
    except ValueError as cause:  # UnicodeDecodeError and TOMLDecodeError
        raise _unreadable(file, first_line(cause)) from cause
    except RecursionError as cause:
        raise _unreadable(file, "its tables are nested too deeply") from cause


def _unreadable(file: Path, reason: str) -> ConfigError:
    return ConfigError(f"cannot read {os.path.relpath(file)}: {reason}", hint="correct it, or move it away")


def _of(place: Words) -> str:
    return f" of deltaoe {' '.join(place)}" if place else " of any command"


def _near(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else "the options' own names are used, as --help prints them"
