"""Run a protocol: find the folders of its image sets, then evaluate once, or tune and evaluate on every split."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deltaoe.errors import DataError
from deltaoe.evaluation.averaged_runs import run_tuned
from deltaoe.evaluation.class_lists import select_class_folders
from deltaoe.evaluation.evaluate import evaluate
from deltaoe.evaluation.options import EvaluateOptions
from deltaoe.evaluation.protocol import Part, Protocol
from deltaoe.evaluation.results import Evaluation
from deltaoe.progress import OnEvent
from deltaoe.store.workspace import Workspace


@dataclass(frozen=True)
class Inputs:
    """The inputs of a protocol's image sets.

    Attributes:
        known: folder of the in-distribution images, or what ``--id`` names.
        shifts, unknown: name → folder, or what ``--shift`` and ``--ood`` name.
        notes: a sentence for each image set that was not found.
    """

    known: str
    shifts: dict[str, str]
    unknown: dict[str, str]
    notes: list[str]


def find_inputs(protocol: Protocol, root: Path, options: EvaluateOptions) -> Inputs:
    """The protocol's folders below ``root``, replaced and completed by those of ``--id``, ``--ood`` and ``--shift``.

    Raises:
        DataError: the in-distribution images, all of the out-of-distribution sets, or all shifts are missing; the
            message names what is missing.
    """
    missing: dict[str, Part] = {}

    def folder_of(label: str, part: Part) -> str | None:
        """The first of the part's folders that exists."""
        folder = next((path for f in part.folders if os.path.isdir(path := os.path.join(root, f))), None)
        if folder is None:
            missing[label] = part
        return folder

    def folders_of(option: str, parts: Mapping[str, Part], given: Mapping[str, str]) -> dict[str, str]:
        """Name → input, of the protocol's sets and of those that only the option names."""
        folders = {
            name: folder
            for name, part in parts.items()
            if (folder := given.get(name) or folder_of(f"{option} {name}", part))
        }
        return folders | {name: value for name, value in given.items() if name not in parts}

    known = options.known or folder_of("--id", protocol.known)
    shifts = folders_of("--shift", protocol.shifts, options.shifts)
    unknown = folders_of("--ood", protocol.unknown, options.unknown)
    tried = [f"{label} ({' or '.join(part.folders)})" for label, part in missing.items()]
    if known is None or (protocol.unknown and not unknown) or (protocol.shifts and not shifts):
        raise DataError(
            f"the protocol {protocol.name} does not find all of its data in {root}: {'; '.join(tried)}",
            hint="name the folder that holds them with --root, or each one: --id DIR, --ood NAME=DIR, --shift NAME=DIR",
        )
    return Inputs(known, shifts, unknown, [f"not there, and left out: {one}" for one in tried])


def run_protocol(
    workspace: Workspace, protocol: Protocol, root: Path, options: EvaluateOptions, out: Path, on: OnEvent
) -> Evaluation:
    """Run a protocol, tuning included.

    Features go into the workspace, so that no image is encoded twice. The workspace lists no data set and no detector
    of the protocol, and its current ones stay what they were.

    Args:
        workspace: holds the features.
        protocol: what is tuned and evaluated.
        root: the folder that the protocol's folders lie in.
        options: the scores, intervals, prompts and model; their image sets replace the protocol's.
        out: holds the finished runs, which are not repeated, and lists of the images in selected class folders.
        on: called with progress.

    Raises:
        DataError: data is missing, or does not have the domains or classes that the protocol needs.
        ConfigError, MismatchError, ModelError, StoreError: as :func:`~deltaoe.evaluation.evaluate.evaluate`.
    """
    inputs = find_inputs(protocol, root, options)

    def selected(file: str, given: str, part: Part | None, named_by_user: bool) -> str:
        """The input, or the list of the images in those of its class folders that the protocol selects."""
        if part is None or part.classes is None:
            return given
        path = out / "lists" / f"{file}.csv"
        return select_class_folders(given, part.classes, path, on, named_by_user=named_by_user)

    chosen = dataclasses.replace(
        options,
        known=selected("known", inputs.known, protocol.known, bool(options.known)),
        # Numbers, because a name in a protocol may not be possible as a file's name.
        shifts={
            name: selected(f"shift-{i}", given, protocol.shifts.get(name), name in options.shifts)
            for i, (name, given) in enumerate(inputs.shifts.items(), 1)
        },
        unknown={
            name: selected(f"unknown-{i}", given, protocol.unknown.get(name), name in options.unknown)
            for i, (name, given) in enumerate(inputs.unknown.items(), 1)
        },
        unknown_per_class={
            name: part.limit_per_class for name, part in protocol.unknown.items() if part.limit_per_class
        },
    )
    if protocol.kind == "fixed" and not protocol.tuned:
        evaluation = evaluate(workspace, chosen, on)
    else:
        evaluation = run_tuned(workspace, protocol, chosen, out, on)
    return dataclasses.replace(evaluation, title=protocol.title, notes=[*inputs.notes, *evaluation.notes])
