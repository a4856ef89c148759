"""Protocols as TOML files: which folders hold which images, what is tuned, and which seeds are averaged."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from deltaoe.errors import ConfigError, os_reason
from deltaoe.evaluation.class_lists import Classes
from deltaoe.evaluation.options import KNOWN
from deltaoe.evaluation.results import MEAN
from deltaoe.files import read_small_file

ProtocolKind = Literal["fixed", "leave-one-domain-out", "class-split"]
# The tables' names for the image sets that a protocol itself makes.
SOURCE, HELD_OUT, REST = "source", "held-out", "held-out classes"
_KEYS = ("title", "source", "protocol", "seeds", "known", "shift", "unknown", "tune")
_PART_KEYS = ("folders", "classes")
_UNKNOWN_KEYS = (*_PART_KEYS, "limit_per_class")
_TUNE_KEYS = ("shots", "epochs", "context_length")
_SEE = "see docs/how-to/evaluate.md"


@dataclass(frozen=True)
class Part:
    """One image set of a protocol.

    Attributes:
        folders: candidates, relative to ``--root``; the first that exists is used.
        limit_per_class: the most images of each class, drawn by content; 0 for all.
        classes: which class folders are used, and their names; None for all, under their own names.
    """

    folders: tuple[str, ...]
    limit_per_class: int = 0
    classes: Classes | None = None


@dataclass(frozen=True)
class Protocol:
    """An evaluation protocol, as its file states it.

    Attributes:
        name: of the file, without its suffix.
        title: heading of the results.
        source: the publication that the protocol follows.
        kind: ``fixed``: one evaluation; if ``tuned``, on images that were not shots, for every seed.
            ``leave-one-domain-out``: hold one domain out and tune on the others, for every domain and every seed.
            ``class-split``: half of the classes are in-distribution and images of the others are near
            out-of-distribution ones, drawn once per seed.
        known: the in-distribution images.
        shifts: name → images of the same classes under covariate shift.
        unknown: name → out-of-distribution images.
        seeds: of shots, tuning and class splits; results are averaged over them.
        shots: per class.
        epochs, context_length: of tuning; None for the method's default.
        tuned: whether the file asks for tuning; the kinds other than ``fixed`` tune in any case.
    """

    name: str
    title: str
    source: str
    kind: ProtocolKind
    known: Part
    shifts: Mapping[str, Part] = field(default_factory=dict)
    unknown: Mapping[str, Part] = field(default_factory=dict)
    seeds: tuple[int, ...] = (1, 2, 3)
    shots: int = 16
    epochs: int | None = None
    context_length: int | None = None
    tuned: bool = False


def shipped() -> dict[str, str]:
    """Name → title of the protocols that come with this package."""
    return {name: load(name).title for name in _shipped_names()}


def load(wanted: str) -> Protocol:
    """Read a protocol of this package by its name, or a ``.toml`` file by its path. Nothing in it is executed.

    Raises:
        ConfigError: there is no such protocol, or it has unknown keys or values of the wrong type.

    Example:
        >>> load("pacs-lodo").kind
        'leave-one-domain-out'
    """
    try:
        if wanted in _shipped_names():
            text = resources.files("deltaoe").joinpath("protocols", f"{wanted}.toml").read_text("utf-8")
        elif wanted.endswith(".toml"):
            text = read_small_file(wanted, error=ConfigError).decode("utf-8")
        else:
            close = difflib.get_close_matches(wanted, _shipped_names(), n=1)
            raise ConfigError(
                f"there is no protocol {wanted!r}",
                hint=f"did you mean {close[0]}?" if close else "deltaoe evaluate --protocol list shows them",
            )
        return _parsed(Path(wanted).stem if wanted.endswith(".toml") else wanted, wanted, tomllib.loads(text))
    except (OSError, ValueError) as cause:
        if isinstance(cause, tomllib.TOMLDecodeError):
            raise ConfigError(f"{wanted} is no TOML: {cause}", hint=_SEE) from cause
        reason = os_reason(cause) if isinstance(cause, OSError) else str(cause)
        raise ConfigError(f"cannot read {wanted}: {reason}", hint="check the path") from cause
    except RecursionError as cause:
        raise ConfigError(f"{wanted} is nested too deeply", hint=_SEE) from cause


def _shipped_names() -> list[str]:
    """The names of this package's protocols, in alphabetical order."""
    folder = resources.files("deltaoe").joinpath("protocols")
    names = sorted(entry.name for entry in folder.iterdir())
    return [name.removesuffix(".toml") for name in names if name.endswith(".toml")]


def _parsed(name: str, file: str, raw: Mapping[str, Any]) -> Protocol:
    """The protocol that a TOML document states; ``file`` is named in errors. Raises ConfigError."""
    _check_keys(file, "", raw, _KEYS)
    kind = raw.get("protocol", "fixed")
    if kind not in get_args(ProtocolKind):
        raise _wrong(file, "protocol", f"one of {', '.join(get_args(ProtocolKind))}")
    seeds = raw.get("seeds", [1, 2, 3])
    numbers = isinstance(seeds, list) and all(type(s) is int and 0 <= s < 2**63 for s in seeds)
    if not numbers or not seeds or len(set(seeds)) < len(seeds):
        raise _wrong(file, "seeds", "a list of different whole numbers, 0 or more")
    tune = raw.get("tune", {})
    if not isinstance(tune, dict):
        raise _wrong(file, "tune", "a table")
    _check_keys(file, "tune.", tune, _TUNE_KEYS)
    for key, value in tune.items():
        if type(value) is not int or value < 1:
            raise ConfigError(f"{file}: tune takes whole numbers above 0, not {key} = {value!r}", hint=_SEE)
    if kind == "fixed" and "seeds" in raw and "tune" not in raw:
        raise ConfigError(f"{file}: seeds are for tuning", hint="add a table [tune], or leave seeds out")
    if kind == "class-split" and "shift" in raw:
        raise ConfigError(f"{file}: a class-split has no shifts", hint="leave [shift] out")
    if "known" not in raw:
        raise ConfigError(f"{file} names no in-distribution images", hint='[known]\nfolders = ["…"]')
    return Protocol(
        name=name,
        title=_text(file, raw, "title", name),
        source=_text(file, raw, "source", ""),
        kind=kind,
        known=_part(file, "known", raw["known"], _PART_KEYS),
        shifts=_parts(file, "shift", raw.get("shift", {}), _PART_KEYS),
        unknown=_parts(file, "unknown", raw.get("unknown", {}), _UNKNOWN_KEYS),
        seeds=tuple(seeds),
        tuned="tune" in raw,
        **tune,
    )


def _parts(file: str, key: str, raw: Any, keys: Collection[str]) -> dict[str, Part]:
    """Name → image set, from the tables ``[key.NAME]``, which may have these keys. Raises ConfigError."""
    if not isinstance(raw, dict):
        raise _wrong(file, key, f"tables [{key}.NAME]")
    for name in raw:
        # These names mean something else in the tables of results, and "/" stands before a domain there.
        if name in {MEAN, KNOWN, SOURCE, HELD_OUT, REST} or "/" in name or not name or not name.isprintable():
            raise ConfigError(f"{file}: {name!r} cannot name a collection", hint=f"call it {key}.another")
    return {name: _part(file, f"{key}.{name}", value, keys) for name, value in raw.items()}


def _part(file: str, key: str, raw: Any, keys: Collection[str]) -> Part:
    """The image set that one table states, which may have these keys. Raises ConfigError."""
    if not isinstance(raw, dict):
        raise _wrong(file, key, "a table")
    _check_keys(file, f"{key}.", raw, keys)
    folders, limit, classes = raw.get("folders"), raw.get("limit_per_class", 0), raw.get("classes")
    if not (isinstance(folders, list) and folders and all(isinstance(f, str) and f for f in folders)):
        raise _wrong(file, f"{key}.folders", "a list of folder names")
    for folder in folders:
        path = PurePosixPath(folder)
        if path.is_absolute() or ".." in path.parts or "\\" in folder or ":" in folder:
            raise ConfigError(
                f"{file}: the folder {folder!r} leads out of --root", hint="name folders below --root"
            )
    if type(limit) is not int or limit < 0:
        raise _wrong(file, f"{key}.limit_per_class", "a whole number, 0 or more")
    if classes not in (None, "imagenet"):
        table = isinstance(classes, dict) and all(isinstance(c, str) and c.strip() for c in classes.values())
        if not table or not classes:
            raise _wrong(file, f"{key}.classes", '"imagenet", or a table folder = "name"')
    return Part(tuple(folders), limit, classes)


def _text(file: str, raw: Mapping[str, Any], key: str, default: str) -> str:
    """The text at a key. Raises ConfigError if it is no text."""
    value = raw.get(key, default)
    if not isinstance(value, str):
        raise _wrong(file, key, "text")
    return value


def _check_keys(file: str, prefix: str, raw: Mapping[str, Any], allowed: Collection[str]) -> None:
    """Raise ConfigError for a key that is not allowed in this table."""
    for key in raw:
        if key not in allowed:
            close = difflib.get_close_matches(key, allowed, n=1)
            keys = f"the keys are: {', '.join(sorted(allowed))}"
            hint = f"did you mean {prefix}{close[0]}?" if close else keys
            raise ConfigError(f"{file}: there is no key {prefix}{key}", hint=hint)


def _wrong(file: str, key: str, wanted: str) -> ConfigError:
    """The error for a value of the wrong type or range."""
    return ConfigError(f"{file}: {key} must be {wanted}", hint=_SEE)
