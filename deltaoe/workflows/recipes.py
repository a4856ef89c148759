"""Protocols as files: which folders play which part, what is tuned, and how runs are averaged."""

from __future__ import annotations

import dataclasses
import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from deltaoe.data.evaluation import Evaluation
from deltaoe.data.workspace import Workspace
from deltaoe.errors import ConfigError, DataError
from deltaoe.workflows.evaluate import EvaluateOptions, evaluate
from deltaoe.workflows.progress import OnEvent

ProtocolKind = Literal["fixed", "leave-one-domain-out", "class-split"]
_KEYS = {"title", "source", "protocol", "seeds", "known", "shift", "unknown", "tune"}
_PART_KEYS = {"folders", "limit_per_class"}
_TUNE_KEYS = {"shots", "epochs", "context_length"}


@dataclass(frozen=True)
class Part:
    """One collection: folders that may hold it, the first that exists is taken; images per class, 0 for all."""

    folders: tuple[str, ...]
    limit_per_class: int = 0


@dataclass(frozen=True)
class Protocol:
    """A recipe.

    Attributes:
        name, title, source: what it is called, and who made the protocol.
        kind: ``fixed``: one evaluation. ``leave-one-domain-out``: tune on all domains but one, for every one.
            ``class-split``: half of the classes are known, the others near unknowns, drawn once per seed.
        known: the in-distribution images.
        shifts, unknown: name → collection.
        seeds: of shots, starts and splits.
        shots, epochs, context_length: of tuning; None for the defaults.
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


@dataclass(frozen=True)
class Places:
    """Where a protocol's collections are, and what was not found."""

    known: str
    shifts: dict[str, str]
    unknown: dict[str, str]
    notes: list[str]


def shipped() -> dict[str, str]:
    """Name → title of the recipes of this package."""
    folder = resources.files("deltaoe").joinpath("recipes")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return {name.removesuffix(".toml"): load(name.removesuffix(".toml")).title for name in names}


def load(wanted: str) -> Protocol:
    """A recipe of this package by name, or a ``.toml`` file. Nothing in it is executed.

    Raises:
        ConfigError: there is no such recipe, or it has unknown keys or values of the wrong kind.
    """
    inside = resources.files("deltaoe").joinpath("recipes", f"{PurePosixPath(wanted).name}.toml")
    try:
        if not wanted.endswith(".toml") and PurePosixPath(wanted).name == wanted and inside.is_file():
            text = inside.read_text("utf-8")
        elif wanted.endswith(".toml"):
            text = Path(wanted).read_text("utf-8")
        else:
            known = [entry.name.removesuffix(".toml") for entry in inside.parent.iterdir()]  # type: ignore[attr-defined]
            close = difflib.get_close_matches(wanted, known, n=1)
            raise ConfigError(
                f"there is no recipe {wanted!r}",
                hint=f"did you mean {close[0]}?" if close else "deltaoe evaluate --recipe list shows them",
            )
        return _parsed(PurePosixPath(wanted).stem, wanted, tomllib.loads(text))
    except (OSError, UnicodeDecodeError) as cause:
        raise ConfigError(f"cannot read {wanted}: {cause}", hint="check the path") from cause
    except tomllib.TOMLDecodeError as cause:
        raise ConfigError(f"{wanted} is no TOML: {cause}", hint="see docs/how-to/evaluate.md") from cause


def _parsed(name: str, file: str, raw: Mapping[str, Any]) -> Protocol:
    _check_keys(file, "", raw, _KEYS)
    kind = raw.get("protocol", "fixed")
    if kind not in get_args(ProtocolKind):
        raise _wrong(file, "protocol", f"one of {', '.join(get_args(ProtocolKind))}")
    seeds = raw.get("seeds", [1, 2, 3])
    if not (isinstance(seeds, list) and seeds and all(type(s) is int and s >= 0 for s in seeds)):
        raise _wrong(file, "seeds", "a list of whole numbers")
    tune = raw.get("tune", {})
    if not isinstance(tune, dict):
        raise _wrong(file, "tune", "a table")
    _check_keys(file, "tune.", tune, _TUNE_KEYS)
    if any(type(value) is not int or value < 1 for value in tune.values()):
        raise _wrong(file, "tune", "whole numbers above 0")
    if "known" not in raw:
        raise ConfigError(f"{file} names no in-distribution images", hint='[known]\nfolders = ["…"]')
    return Protocol(
        name=name,
        title=_text(file, raw, "title", name),
        source=_text(file, raw, "source", ""),
        kind=kind,
        known=_part(file, "known", raw["known"]),
        shifts=_parts(file, "shift", raw.get("shift", {})),
        unknown=_parts(file, "unknown", raw.get("unknown", {})),
        seeds=tuple(seeds),
        **tune,
    )


def _parts(file: str, key: str, raw: Any) -> dict[str, Part]:
    if not isinstance(raw, dict):
        raise _wrong(file, key, f"tables [{key}.NAME]")
    return {name: _part(file, f"{key}.{name}", value) for name, value in raw.items()}


def _part(file: str, key: str, raw: Any) -> Part:
    if not isinstance(raw, dict):
        raise _wrong(file, key, "a table")
    _check_keys(file, f"{key}.", raw, _PART_KEYS)
    folders, limit = raw.get("folders"), raw.get("limit_per_class", 0)
    if not (isinstance(folders, list) and folders and all(isinstance(f, str) and f for f in folders)):
        raise _wrong(file, f"{key}.folders", "a list of folder names")
    for folder in folders:
        path = PurePosixPath(folder)
        if path.is_absolute() or ".." in path.parts or "\\" in folder or ":" in folder:
            raise ConfigError(
                f"{file}: the folder {folder!r} leads out of --root", hint="name folders below --root"
            )
    if type(limit) is not int or limit < 0:
        raise _wrong(file, f"{key}.limit_per_class", "a whole number")
    return Part(tuple(folders), limit)


def _text(file: str, raw: Mapping[str, Any], key: str, default: str) -> str:
    value = raw.get(key, default)
    if not isinstance(value, str):
        raise _wrong(file, key, "text")
    return value


def _check_keys(file: str, where: str, raw: Mapping[str, Any], known: set[str]) -> None:
    for key in raw:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            raise ConfigError(
                f"{file}: there is no key {where}{key}",
                hint=f"did you mean {where}{close[0]}?"
                if close
                else f"the keys are: {', '.join(sorted(known))}",
            )


def _wrong(file: str, key: str, wanted: str) -> ConfigError:
    return ConfigError(f"{file}: {key} must be {wanted}", hint="see docs/how-to/evaluate.md")


def find_places(protocol: Protocol, root: Path, options: EvaluateOptions) -> Places:
    """Where the protocol's folders lie below ``root``; ``--id``, ``--ood`` and ``--shift`` say so for single ones.

    Raises:
        DataError: the known images, or all of the unknown ones, are not there; every missing one is named.
    """
    missing: dict[str, Part] = {}

    def place(name: str, part: Part) -> str | None:
        for folder in part.folders:
            if (root / folder).is_dir():
                return os.fspath(root / folder)
        missing[name] = part
        return None

    known = options.known or place("--id", protocol.known)
    shifts = {
        n: p for n, part in protocol.shifts.items() if n not in options.shifts and (p := place(n, part))
    }
    unknown = {
        n: p for n, part in protocol.unknown.items() if n not in options.unknown and (p := place(n, part))
    }
    shifts, unknown = {**shifts, **options.shifts}, {**unknown, **options.unknown}
    tried = [f"{name} ({' or '.join(part.folders)})" for name, part in missing.items()]
    if known is None or (protocol.unknown and not unknown) or (protocol.shifts and not shifts):
        raise DataError(
            f"the recipe {protocol.name} does not find all of its data in {root}: {'; '.join(tried)}",
            hint="name the folder that holds them with --root, or each one: --id DIR, --ood NAME=DIR, --shift NAME=DIR",
        )
    return Places(known, shifts, unknown, [f"not there, and left out: {one}" for one in tried])


def run_recipe(
    workspace: Workspace, protocol: Protocol, root: Path, options: EvaluateOptions, out: Path, on: OnEvent
) -> Evaluation:
    """Run a protocol, tuning included; finished runs are kept below ``out`` and not repeated.

    Raises:
        DataError: data is missing.
        ConfigError, MismatchError, ModelError, StoreError: as :func:`evaluate`.
    """
    places = find_places(protocol, root, options)
    chosen = dataclasses.replace(
        options,
        known=places.known,
        shifts=places.shifts,
        unknown=places.unknown,
        unknown_per_class={
            name: part.limit_per_class for name, part in protocol.unknown.items() if part.limit_per_class
        },
    )
    if protocol.kind == "fixed":
        found = evaluate(workspace, chosen, on)
    else:
        from deltaoe.workflows.protocols import run_tuned

        found = run_tuned(workspace, protocol, chosen, out, on)
    return dataclasses.replace(found, title=protocol.title, notes=[*places.notes, *found.notes])
