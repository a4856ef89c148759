"""Run a protocol: find its collections, then evaluate once, or tune and evaluate on every split and seed."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

from deltaoe.errors import DataError
from deltaoe.evaluation.class_lists import choose_folders
from deltaoe.evaluation.evaluate import evaluate
from deltaoe.evaluation.options import EvaluateOptions
from deltaoe.evaluation.protocol import Part, Protocol
from deltaoe.evaluation.results import Evaluation
from deltaoe.evaluation.tuned_runs import run_tuned
from deltaoe.progress import OnEvent
from deltaoe.store.workspace import Workspace


@dataclass(frozen=True)
class Places:
    """Where a protocol's collections are, and what was not found."""

    known: str
    shifts: dict[str, str]
    unknown: dict[str, str]
    notes: list[str]


def find_places(protocol: Protocol, root: Path, options: EvaluateOptions) -> Places:
    """Where the protocol's folders lie below ``root``; ``--id``, ``--ood`` and ``--shift`` say so for single ones.

    Raises:
        DataError: the known images, or all of the unknown ones, or all shifts are not there; what is missing is named.
    """
    missing: dict[str, Part] = {}

    def place(name: str, part: Part) -> str | None:
        found = next((path for f in part.folders if os.path.isdir(path := os.path.join(root, f))), None)
        if found is None:
            missing[name] = part
        return found

    known = options.known or place("--id", protocol.known)
    shifts, unknown = (
        {n: p for n, part in parts.items() if (p := given.get(n) or place(f"{option} {n}", part))}
        | {n: p for n, p in given.items() if n not in parts}
        for option, parts, given in (
            ("--shift", protocol.shifts, options.shifts),
            ("--ood", protocol.unknown, options.unknown),
        )
    )
    tried = [f"{name} ({' or '.join(part.folders)})" for name, part in missing.items()]
    if known is None or (protocol.unknown and not unknown) or (protocol.shifts and not shifts):
        raise DataError(
            f"the recipe {protocol.name} does not find all of its data in {root}: {'; '.join(tried)}",
            hint="name the folder that holds them with --root, or each one: --id DIR, --ood NAME=DIR, --shift NAME=DIR",
        )
    return Places(known, shifts, unknown, [f"not there, and left out: {one}" for one in tried])


def run_protocol(
    workspace: Workspace, protocol: Protocol, root: Path, options: EvaluateOptions, out: Path, on: OnEvent
) -> Evaluation:
    """Run a protocol, tuning included; finished runs are kept below ``out`` and not repeated.

    Features go into the workspace, so that no image is encoded twice. It lists no data set and no detector of the
    recipe, and its last ones stay what they were.

    Raises:
        DataError: data is missing.
        ConfigError, MismatchError, ModelError, StoreError: as :func:`evaluate`.
    """
    places = find_places(protocol, root, options)

    def chosen_from(file: str, place: str, part: Part | None, own: bool) -> str:
        if part is None or part.classes is None:
            return place
        return choose_folders(place, part.classes, out / "lists" / f"{file}.csv", on, own=own)

    chosen = dataclasses.replace(
        options,
        known=chosen_from("known", places.known, protocol.known, bool(options.known)),
        # Numbers, for a name in a recipe need not be one for a file.
        shifts={
            name: chosen_from(f"shift-{i}", place, protocol.shifts.get(name), name in options.shifts)
            for i, (name, place) in enumerate(places.shifts.items(), 1)
        },
        unknown={
            name: chosen_from(f"unknown-{i}", place, protocol.unknown.get(name), name in options.unknown)
            for i, (name, place) in enumerate(places.unknown.items(), 1)
        },
        unknown_per_class={
            name: part.limit_per_class for name, part in protocol.unknown.items() if part.limit_per_class
        },
    )
    if protocol.kind == "fixed" and not protocol.tuned:
        found = evaluate(workspace, chosen, on)
    else:
        found = run_tuned(workspace, protocol, chosen, out, on)
    return dataclasses.replace(found, title=protocol.title, notes=[*places.notes, *found.notes])
