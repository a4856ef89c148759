"""Options, each stated once: default, help, choices and range stand on the dataclass field that the option fills.

A group of options is a frozen dataclass derived from :class:`Options`. A field that a user can set has an
:class:`Option` in its annotation; the options of a field that is a group itself are options of the outer group, too.
``cli/derive.py`` derives the flags of the command line from them, and :meth:`Options.check` compares the values with
the ranges, whether they come from the command line or from Python.

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

# Headings of ``--help``, in this order; options without a heading come first.
MODEL = "Model"
ZERO_SHOT = "Zero-shot prompts"
BACKGROUND = "Background labels"
TUNING = "Losses and schedule"
EXPERT = "Expert"
PANELS = (ZERO_SHOT, BACKGROUND, TUNING, MODEL, EXPERT)


@dataclass(frozen=True)
class Option:
    """Description of one option, in the annotation of its field: help text, spelling and range.

    Attributes:
        help: help text, one or two sentences.
        flag: name on the command line without the leading ``--``; by default the name of the field.
        panel: heading in ``--help``.
        unset: meaning of ``None`` or an empty tuple, as ``--help`` prints it.
        auto: whether ``None`` is spelled ``auto`` on the command line.
        named: whether the field maps names to values, given as ``NAME=VALUE`` by a flag that may be repeated.
        listed: whether the field is a tuple given as one word, ``A,B,C``, where ``all`` stands for an empty tuple.
        path: whether the text may name a file or folder.
        fact: whether it describes one input, so that no variable sets it, and no file for several commands.
        hidden: whether the option has no flag, so that only Python code sets it.
        at_least, above, at_most, below: ends of the range of a number.
        hint: hint of the error for a number out of range.

    Example:
        >>> share = Option("A share.", above=0, at_most=1)
        >>> share.range, share.allows(1), share.allows(0)
        ('above 0 and at most 1', True, False)
    """

    help: str
    flag: str = ""
    panel: str = ""
    unset: object = None
    auto: bool = False
    named: bool = False
    listed: bool = False
    path: bool = False
    fact: bool = False
    hidden: bool = False
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    hint: str = ""

    @property
    def range(self) -> str:
        """The range in words, such as ``at least 1``; empty if every finite number is allowed."""
        ends = (
            ("at least", self.at_least),
            ("above", self.above),
            ("at most", self.at_most),
            ("below", self.below),
        )
        return " and ".join(f"{word} {end}" for word, end in ends if end is not None)

    def allows(self, value: float) -> bool:
        """Whether a number lies in the range; NaN and infinite numbers never do."""
        return (
            math.isfinite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )


@dataclass(frozen=True)
class Without:
    """In the annotation of a field that is a group: names of fields of the group that are no options here."""

    names: frozenset[str]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", frozenset(names))


@dataclass(frozen=True)
class Unset:
    """In the annotation of a field that is a group: another :attr:`Option.unset` for an option of the group.

    Attributes:
        name: name of the field, or of the fields that lead to it with dots between.
        value: meaning of ``None`` there, as ``--help`` prints it.
    """

    name: str
    value: object


@dataclass(frozen=True)
class OptionField:
    """A field of a group, or of a group within it, that is an option.

    Attributes:
        path: names of the fields that lead to it, the outermost first.
        kind: type of the field without ``None``.
        optional: whether ``None`` is a value.
        option: its description.
        default: its default value.

    Example:
        >>> field = OptionField(("ingest", "batch_size"), int, False, Option("Images at a time.", at_least=1), 64)
        >>> field.flag, field.name
        ('batch-size', 'batch_size')
    """

    path: tuple[str, ...]
    kind: Any
    optional: bool
    option: Option
    default: Any

    @property
    def flag(self) -> str:
        """Name on the command line, without the leading ``--``."""
        return self.option.flag or self.path[-1].replace("_", "-")

    @property
    def name(self) -> str:
        """Name as a parameter of a Python function."""
        return self.flag.replace("-", "_")


class Options:
    """Base class of groups of options, which are frozen dataclasses."""

    def check(self) -> None:
        """Raise ConfigError unless all values, those of inner groups too, are in range and among the choices."""
        for field in _direct_fields(type(self)):
            _check(field, getattr(self, field.path[-1]))
        for name in _inner_groups(type(self)):
            getattr(self, name).check()


def option_fields(group: type[Options]) -> list[OptionField]:
    """All options of a group and of the groups within it, in the order of the fields; hidden ones are left out.

    Example:
        >>> @dataclass(frozen=True)
        ... class SampleOptions(Options):
        ...     shots: Annotated[int, Option("Images per class.", at_least=1)] = 16
        >>> [(field.flag, field.default) for field in option_fields(SampleOptions)]
        [('shots', 16)]
    """
    return list(_walk(group, (), frozenset()))


def _walk(group: type[Options], path: tuple[str, ...], without: frozenset[str]) -> Iterator[OptionField]:
    """Options of a group that is reached by a path of fields, except for the fields named in ``without``."""
    direct = {field.path[-1]: field for field in _direct_fields(group)}
    inner = _inner_groups(group)
    for field in dataclasses.fields(group):  # type: ignore[arg-type]  # every group is a dataclass
        if field.name in without:
            continue
        if field.name in direct and not direct[field.name].option.hidden:
            yield dataclasses.replace(direct[field.name], path=(*path, field.name))
        elif field.name in inner:
            kind, metadata = inner[field.name]
            hidden = {name for one in metadata if isinstance(one, Without) for name in one.names}
            unset = {one.name: one.value for one in metadata if isinstance(one, Unset)}
            for found in _walk(kind, (*path, field.name), frozenset(hidden)):
                name = ".".join(found.path[len(path) + 1 :])
                option = found.option
                yield dataclasses.replace(
                    found, option=dataclasses.replace(option, unset=unset.get(name, option.unset))
                )


# Evaluating annotations takes most of what options cost at a command's start, and groups are parts of several commands.
_EVALUATED: dict[type[Options], dict[str, Any]] = {}


def _hints(group: type[Options]) -> dict[str, Any]:
    """Annotations of a group's fields by name, evaluated once."""
    if group not in _EVALUATED:
        _EVALUATED[group] = get_type_hints(group, include_extras=True)
    return _EVALUATED[group]


def _direct_fields(group: type[Options]) -> tuple[OptionField, ...]:
    """Options of a group itself, hidden ones too, without those of groups within it."""
    hints = _hints(group)
    found = []
    for field in dataclasses.fields(group):  # type: ignore[arg-type]
        hint = hints[field.name]
        metadata = get_args(hint)[1:] if _is_annotated(hint) else ()
        option = next((one for one in metadata if isinstance(one, Option)), None)
        if option is not None:
            kind, optional = without_none(get_args(hint)[0])
            default = field.default if field.default is not dataclasses.MISSING else _factory_default(field)
            found.append(OptionField((field.name,), kind, optional, option, default))
    return tuple(found)


def _inner_groups(group: type[Options]) -> dict[str, tuple[type[Options], tuple[object, ...]]]:
    """Fields that are groups themselves: name → group, and the metadata in the field's annotation."""
    found = {}
    for name, hint in _hints(group).items():
        kind, *metadata = get_args(hint) if _is_annotated(hint) else (hint,)
        if isinstance(kind, type) and issubclass(kind, Options):
            found[name] = (kind, tuple(metadata))
    return found


def _is_annotated(hint: Any) -> bool:
    return get_origin(hint) is Annotated


def without_none(kind: Any) -> tuple[Any, bool]:
    """A type without ``None``, and whether ``None`` was among its alternatives."""
    if get_origin(kind) in {Union, types.UnionType}:
        rest = [one for one in get_args(kind) if one is not type(None)]
        if len(rest) < len(get_args(kind)):
            return functools.reduce(operator.or_, rest), True
    return kind, False


def _factory_default(field: dataclasses.Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else None


def _check(field: OptionField, value: Any) -> None:
    """Raise ConfigError unless a value is one of the choices of a field, and in its range."""
    if value is None and field.optional:
        return
    option = field.option
    if get_origin(field.kind) is Literal and value not in get_args(field.kind):
        choices = ", ".join(map(str, get_args(field.kind)))
        raise ConfigError(f"--{field.flag} cannot be {value!r}", hint=f"choose one of {choices}")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and field.kind in {int, float} and not option.allows(value):
        allowed = option.range or "a finite number"
        hint = f"leave --{field.flag} out" if field.default is None else f"the default is {field.default}"
        raise ConfigError(f"--{field.flag} must be {allowed}, not {value}", hint=option.hint or hint)
