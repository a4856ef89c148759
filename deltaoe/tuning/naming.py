"""The name that a tuned detector is saved under, and what the workspace remembers of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from deltaoe.errors import DataError
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.saved_detectors import name_taken
from deltaoe.store.atomic import check_target
from deltaoe.store.dataset import DataSet
from deltaoe.store.workspace import Workspace
from deltaoe.tuning.options import TuneOptions


def check_not_taken(options: TuneOptions, data: DataSet, workspace: Workspace) -> None:
    """Raise ConfigError if another detector has the name asked for, as far as that shows before the tuning.

    A detector of the same data set and settings is taken for the one that the tuning will make. StoreError is raised
    if something else than a file stands where the detector will be written.
    """
    if options.out is not None:
        check_target(options.out)
    path = workspace.detector_file(options.name)
    if not options.name or not path.exists():
        return
    try:
        there = Detector.load(path)
    except DataError:
        raise name_taken(options.name) from None
    tuning = options.tuning
    wanted = {
        **dataclasses.asdict(tuning.recipe),
        "shots": tuning.shots,
        "seed": tuning.seed,
        "context_phrase": tuning.context.phrase,
        "class_position": tuning.context.position,
        "class_specific": tuning.context.class_specific,
        "domains": list(options.domains),
        "allow_fewer": options.allow_fewer,
        "epochs": tuning.recipe.epochs,
    }
    wanted = {name: value for name, value in wanted.items() if name != "epochs" or value is not None}
    differs = any(there.settings.get(name, value) != value for name, value in wanted.items())
    if differs or there.class_names != data.class_names or there.space.id != data.space_id:
        raise name_taken(options.name)


def is_other(path: Path, detector: Detector) -> bool:
    """Whether a file is there and holds no detector or another one."""
    if not path.exists():
        return False
    try:
        return Detector.load(path).to_bytes() != detector.to_bytes()
    except DataError:
        return True


def remember(name: str, data: DataSet, workspace: Workspace, *, current: bool) -> None:
    """Note which data set a detector was tuned on, and whether ``score`` uses it."""
    listing = workspace.listing(data).name

    def changed(state: dict[str, Any]) -> dict[str, Any]:
        known = {**state.get("tuned_on", {}), name: listing}
        return {**state, "tuned_on": known, **({"detector": name} if current else {})}

    workspace.change_state(changed)
