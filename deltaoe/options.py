"""Options said once: the default, the help, the choices and the range of an option stand on the field that it fills.

A group of options is a frozen dataclass derived from :class:`Options`. A field that a user can set carries an
:class:`Option`; a field that is a group itself hands its own options on. The command line derives its flags from them
(``cli/derive.py``), and :meth:`Options.check` compares the values with the ranges, wherever they come from.

    @dataclass(frozen=True)
    class SampleOptions(Options):
        shots: Annotated[int, Option("Images per class to learn from.", at_least=1)] = 16
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from deltaoe.errors import ConfigError

# Headings of ``--help``, in this order; options without one come first.
MODEL = "Model"
ZERO_SHOT = "Zero-shot prompts"
BACKGROUND = "Background labels"
TUNING = "Losses and schedule"
EXPERT = "Expert"
PANELS = (ZERO_SHOT, BACKGROUND, TUNING, MODEL, EXPERT)


@dataclass(frozen=True)
class Option:
    """What a user can be told about one field, and what values it takes.

    Attributes:
        help: one or two sentences.
        flag: its name on the command line without the leading ``--``; the field's own name by default. A switch
            that is on by default has two: ``centre/no-centre``.
        panel: the heading it stands under in ``--help``.
        unset: what ``None`` (or an empty tuple) stands for, as ``--help`` prints it.
        auto: ``None`` is spelled ``auto``.
        named: the field maps names to values, ``NAME=VALUE``, and the flag may be repeated.
        listed: the field is a tuple given as one word, ``A,B,C``; ``all`` stands for an empty one.
        environment: a variable that sets it where the flag is not given.
        hidden: it has a range but no flag: only the library sets it.
        at_least, above, at_most, below: the range of a number.
        hint: what to do about a number out of range.
    """

    help: str
    flag: str = ""
    panel: str = ""
    unset: object = None
    auto: bool = False
    named: bool = False
    listed: bool = False
    environment: str = ""
    hidden: bool = False
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    hint: str = ""

    @property
    def range(self) -> str:
        """The range in words: ``at least 1``, ``above 0 and at most 1``; empty where any number will do."""
        ends = (
            ("at least", self.at_least),
            ("above", self.above),
            ("at most", self.at_most),
            ("below", self.below),
        )
        return " and ".join(f"{word} {end}" for word, end in ends if end is not None)

    def holds(self, value: float) -> bool:
        """Whether a number lies in the range; not if it is NaN or infinite."""
        return (
            math.isfinite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )


@dataclass(frozen=True)
class Without:
    """On a field that is a group: these options of the group are not offered, by their fields' names."""

    names: frozenset[str]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", frozenset(names))


@dataclass(frozen=True)
class Unset:
    """On a field that is a group: what ``None`` stands for in one of its options here, if not what the option says."""

    name: str
    value: object


@dataclass(frozen=True)
class OptionField:
    """One option of a group, or of a group within it.

    Attributes:
        path: names of the fields that lead to it, the outermost first.
        kind: its type without ``None``.
        optional: whether ``None`` is a value.
        option: what is said of it.
        default: the value that the code uses where nothing is given.
    """

    path: tuple[str, ...]
    kind: Any
    optional: bool
    option: Option
    default: Any

    @property
    def flag(self) -> str:
        """Its name on the command line, without the leading ``--``: ``batch-size``."""
        return self.option.flag or self.path[-1].replace("_", "-")

    @property
    def name(self) -> str:
        """Its name as a parameter: ``batch_size``."""
        return self.flag.partition("/")[0].replace("-", "_")


class Options:
    """A group of options: derive a frozen dataclass from it."""

    def check(self) -> None:
        """Raise ConfigError unless every value lies in its range and is one of its choices, in inner groups too."""
        for field in _own_fields(type(self)):
            _check(field, getattr(self, field.path[-1]))
        for name in _groups(type(self)):
            getattr(self, name).check()


def option_fields(group: type[Options]) -> list[OptionField]:
    """All options of a group and of the groups within it, in the order of the fields."""
    return list(_walk(group, (), frozenset()))


def _walk(group: type[Options], path: tuple[str, ...], without: frozenset[str]) -> Iterator[OptionField]:
    own = {field.path[-1]: field for field in _own_fields(group)}
    inner = _groups(group)
    for field in dataclasses.fields(group):  # type: ignore[arg-type]  # every group is a dataclass
        if field.name in without:
            continue
        if field.name in own and not own[field.name].option.hidden:
            yield dataclasses.replace(own[field.name], path=(*path, field.name))
        elif field.name in inner:
            kind, said = inner[field.name]
            hidden = {name for one in said if isinstance(one, Without) for name in one.names}
            unset = {one.name: one.value for one in said if isinstance(one, Unset)}
            for found in _walk(kind, (*path, field.name), frozenset(hidden)):
                here = found.path[-1] in unset and len(found.path) == len(path) + 2
                option = (
                    dataclasses.replace(found.option, unset=unset[found.path[-1]]) if here else found.option
                )
                yield dataclasses.replace(found, option=option)


def _own_fields(group: type[Options]) -> tuple[OptionField, ...]:
    hints = get_type_hints(group, include_extras=True)
    found = []
    for field in dataclasses.fields(group):  # type: ignore[arg-type]
        hint = hints[field.name]
        said = (
            [extra for extra in get_args(hint)[1:] if isinstance(extra, Option)] if _annotated(hint) else []
        )
        if said:
            kind, optional = _without_none(get_args(hint)[0])
            default = field.default if field.default is not dataclasses.MISSING else _made(field)
            found.append(OptionField((field.name,), kind, optional, said[0], default))
    return tuple(found)


def _groups(group: type[Options]) -> dict[str, tuple[type[Options], tuple[object, ...]]]:
    """Fields that are groups themselves: name → group, and what is said of it there."""
    found = {}
    for name, hint in get_type_hints(group, include_extras=True).items():
        kind, *said = get_args(hint) if _annotated(hint) else (hint,)
        if isinstance(kind, type) and issubclass(kind, Options):
            found[name] = (kind, tuple(said))
    return found


def _annotated(hint: Any) -> bool:
    return get_origin(hint) is Annotated


def _without_none(kind: Any) -> tuple[Any, bool]:
    if get_origin(kind) in {Union, types.UnionType}:
        rest = [one for one in get_args(kind) if one is not type(None)]
        if len(rest) < len(get_args(kind)):
            return functools.reduce(operator.or_, rest), True
    return kind, False


def _made(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else None


def _check(field: OptionField, value: Any) -> None:
    if value is None and field.optional:
        return
    option = field.option
    if get_origin(field.kind) is Literal and value not in get_args(field.kind):
        choices = ", ".join(map(str, get_args(field.kind)))
        raise ConfigError(f"--{field.flag} cannot be {value!r}", hint=f"choose one of {choices}")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and field.kind in {int, float} and not option.holds(value):
        limits = option.range or "a finite number"
        usual = f"leave --{field.flag} out" if field.default is None else f"the default is {field.default}"
        raise ConfigError(f"--{field.flag} must be {limits}, not {value}", hint=option.hint or usual)
