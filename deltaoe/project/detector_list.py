"""The detectors of a workspace in a list: what each knows, how it was tuned, and how good it was."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from deltaoe.errors import DataError, StoreError
from deltaoe.project.settings import as_options, changed_settings
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.detector_fields import COMPARISON
from deltaoe.scoring.saved_detectors import data_of
from deltaoe.store.sentences import short_title
from deltaoe.store.workspace import Workspace


@dataclass(frozen=True)
class SavedDetector:
    """A detector that a workspace keeps.

    Attributes:
        name: its name.
        path: its file.
        current: whether ``score`` uses it.
        saved: when its file was last written; the detector itself holds no date.
        data: what the data set that it was tuned on is called; empty if that is not known any more.
        detector: the detector; None if the file is damaged.
        damage: why it cannot be read; empty if it can.
    """

    name: str
    path: Path
    current: bool
    saved: datetime
    data: str = ""
    detector: Detector | None = None
    damage: str = ""

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended its tuning, so that it has the best prompts until then."""
        return self.detector is not None and self.detector.facts.get("interrupted") is True

    @property
    def options(self) -> str:
        """Shots and other options that differ from the defaults, as one would type them."""
        return "" if self.detector is None else as_options(changed_settings(self.detector))

    def to_dict(self) -> dict[str, Any]:
        """JSON values of all that is known."""
        values = {
            "name": self.name,
            "path": str(self.path),
            "current": self.current,
            "saved": self.saved.isoformat(timespec="seconds"),
            "data": self.data or None,
            "damage": self.damage or None,
        }
        if self.detector is None:
            return values
        return values | described(self.detector)


def described(detector: Detector) -> dict[str, Any]:
    """JSON values that describe a detector."""
    return {
        "classes": list(detector.class_names),
        "model": detector.space.model,
        "feature_space": detector.space.id,
        "interrupted": detector.facts.get("interrupted") is True,
        "options": changed_settings(detector),
        "validation": validation(detector),
        "calibration_images": len(detector.calibration),
        "evidence": detector.evidence,
        "parts": detector.weight_of_parts,
        "settings": dict(detector.settings),
    }


def validation(detector: Detector) -> dict[str, float]:
    """What was measured on validation images: ``accuracy``, ``near`` and ``far``, as far as there is any.

    ``near`` and ``far`` are AUROCs of the score, against images of held-out classes and against shuffled features.
    """
    measured = detector.facts.get(COMPARISON)
    found = measured.get("tuned") if isinstance(measured, dict) else None
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, int | float)}


def list_detectors(workspace: Workspace) -> list[SavedDetector]:
    """All detectors of a workspace, the last saved first; damaged ones, too.

    Raises:
        StoreError: the state of the workspace is damaged.
    """
    current = workspace.current_detector()
    found = [_row(workspace, name, current) for name in workspace.detector_names()]
    return sorted(found, key=lambda one: one.saved, reverse=True)


def _row(workspace: Workspace, name: str, current: Path | None) -> SavedDetector:
    path = workspace.detector_file(name)
    try:
        saved = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
    except (OSError, ValueError, OverflowError):
        saved = datetime.fromtimestamp(0).astimezone()
    detector, damage, data = None, "", ""
    try:
        detector = Detector.load(path)
    except DataError as error:
        damage = str(error).removeprefix(f"{path} is ")
    try:
        listed = None if detector is None else data_of(workspace, name, detector)
        data = short_title(listed) if listed is not None else ""
    except StoreError:
        data = ""
    return SavedDetector(name, path, path == current, saved, data, detector, damage)
