"""Where a workspace stands: what is in it, what ``score`` and ``tune`` would use now, and what is out of date."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from deltaoe.errors import MismatchError, StoreError
from deltaoe.extraction.changes import changes, changes_in_words
from deltaoe.progress import OnEvent, silent
from deltaoe.project.detector_list import SavedDetector, list_detectors
from deltaoe.scoring.saved_detectors import data_of
from deltaoe.scoring.staleness import classes_unlike, lost_detector
from deltaoe.store.dataset import DataSet
from deltaoe.store.sentences import short_title
from deltaoe.store.split_use import counts_by_split, splits_in_words
from deltaoe.store.workspace import Workspace

_CHECK = "run deltaoe store verify"


@dataclass(frozen=True)
class DataSetState:
    """A data set, and what has happened to its files.

    Attributes:
        path: the file that lists it.
        extracted: when that was written.
        current: whether ``tune`` uses it.
        data: the data set; None if its listing is damaged.
        stale: sentences with the next command.
    """

    path: Path
    extracted: datetime
    current: bool
    data: DataSet | None
    stale: list[str]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        known = self.data
        return {
            "title": None if known is None else known.title,
            "listing": self.path.name,
            "extracted": self.extracted.isoformat(timespec="seconds"),
            "current": self.current,
            "images": None if known is None else len(known),
            "classes": None if known is None else list(known.class_names),
            "splits": None if known is None else counts_by_split(known),
            "model": None if known is None else known.model,
            "feature_space": None if known is None else known.space_id,
            "out_of_date": self.stale,
        }


@dataclass(frozen=True)
class SpaceState:
    """The features of one model.

    Attributes:
        id: of the feature space.
        model: the name of the model; empty if the description is damaged.
        images: number of distinct images.
        size: bytes on disk.
        damage: why it cannot be read; empty if it can.
        options: those by which files became its pixels, where these are not the usual ones.
    """

    id: str
    model: str
    images: int
    size: int
    damage: str = ""
    options: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "feature_space": self.id,
            "model": self.model or None,
            "options": self.options or None,
            "images": self.images,
            "bytes": self.size,
            "damage": self.damage or None,
        }


@dataclass(frozen=True)
class Status:
    """Where a workspace stands.

    Attributes:
        folder: of the workspace.
        data_sets: the last extracted first.
        spaces: features by model.
        detectors: the last saved first.
        score_uses: what ``score`` would use now, in words; empty if there is nothing.
        tune_uses: what ``tune`` would use now, in words; empty if there is nothing.
        stale: sentences about what is out of date or damaged, each with the next command.
    """

    folder: Path
    data_sets: list[DataSetState]
    spaces: list[SpaceState]
    detectors: list[SavedDetector]
    score_uses: str
    tune_uses: str
    stale: list[str]

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it."""
        return not (self.data_sets or self.spaces or self.detectors or self.stale)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "workspace": str(self.folder),
            "data_sets": [one.to_dict() for one in self.data_sets],
            "features": [one.to_dict() for one in self.spaces],
            "detectors": [one.to_dict() for one in self.detectors],
            "score_uses": self.score_uses or None,
            "tune_uses": self.tune_uses or None,
            "out_of_date": self.stale,
        }


def status(workspace: Workspace, on: OnEvent = silent) -> Status:
    """Where a workspace stands. Every file of the extracted folders is looked at, and none is opened.

    Args:
        workspace: which need not exist.
        on: receives progress.

    Raises:
        StoreError: the state of the workspace is damaged. Other damage is part of the result.
    """
    data_sets = _data_sets(workspace, on)
    spaces = _spaces(workspace)
    detectors = list_detectors(workspace)
    stale = lost_detector(workspace)
    for one in detectors:
        stale += _stale_detector(workspace, one)
    for data_set in data_sets:
        stale += data_set.stale
    stale += [
        f"the features of {space.model or space.id} are damaged ({space.damage}): {_CHECK}"
        for space in spaces
        if space.damage
    ]
    current = next((one.data for one in data_sets if one.current and one.data is not None), None)
    return Status(
        folder=workspace.folder,
        data_sets=data_sets,
        spaces=spaces,
        detectors=detectors,
        score_uses=_score_uses(detectors, current),
        tune_uses="" if current is None else f"{_counted(current)}, encoded by {current.model}",
        stale=stale,
    )


def score_uses(workspace: Workspace) -> str:
    """What ``score`` would use now, in words; empty if there is nothing. Raises StoreError."""
    return _score_uses(list_detectors(workspace), workspace.dataset())


def _score_uses(detectors: list[SavedDetector], data: DataSet | None) -> str:
    current = next((one.name for one in detectors if one.current), None)
    if current is not None:
        return f"the detector {current}"
    return "" if data is None else f"zero-shot prompts for the classes of {_counted(data)}"


def _counted(data: DataSet) -> str:
    classes = f"{len(data.class_names)} class{'' if len(data.class_names) == 1 else 'es'}"
    images = f"{len(data):,} images" + (f": {splits_in_words(data)}" if data.split_names else "")
    return f"the data set {short_title(data)} ({classes}, {images})"


def _data_sets(workspace: Workspace, on: OnEvent) -> list[DataSetState]:
    current = workspace.state().get("dataset")
    found = []
    for path in workspace.listings():
        extracted = datetime.fromtimestamp(path.lstat().st_mtime).astimezone()
        data, stale = None, []
        try:
            data = workspace.load_listing(path)
            stale = _changes_in_words(data, workspace, on)
        except StoreError as error:
            stale = [f"the data set {path.name} is damaged ({error}): run deltaoe store verify --repair"]
        found.append(DataSetState(path, extracted, path.name == current, data, stale))
    return sorted(found, key=lambda one: one.extracted, reverse=True)


def _changes_in_words(data: DataSet, workspace: Workspace, on: OnEvent) -> list[str]:
    title = short_title(data)
    try:
        workspace.features_of(data)
        found = changes(data, workspace, thorough=True, on=on)
    except (MismatchError, StoreError) as error:
        return [f"{error}: {error.hint or _CHECK}"]
    if found is None:
        return []
    if found.problem:
        return [
            f"files of {title} cannot be compared: {found.problem}; what was extracted of it stays usable"
        ]
    return changes_in_words(found, data, workspace)


def _spaces(workspace: Workspace) -> list[SpaceState]:
    found = []
    for folder in sorted((workspace.folder / "features").glob("*")):
        size = sum(path.lstat().st_size for path in folder.glob("shard-*.h5"))
        model, images, damage, options = "", 0, "", ""
        try:
            space = workspace.known_space(folder.name)
            if space is None:
                continue
            model, options = space.model, space.options
            images = len(workspace.store(space))
        except StoreError as error:
            damage = str(error)
        found.append(SpaceState(folder.name, model, images, size, damage, options))
    return found


def _stale_detector(workspace: Workspace, one: SavedDetector) -> list[str]:
    """What of a detector is out of date: that its file is damaged; of the current one also its classes."""
    if one.detector is None:
        return [f"the detector {one.name} is {one.damage}: run deltaoe detectors rm {one.name}"]
    if not one.current:
        return []  # an earlier detector is kept as it is, and tuning would not change it
    try:
        data = data_of(workspace, one.name, one.detector)
    except StoreError:
        return []  # the data set says so itself
    if data is not None:
        return classes_unlike(one.name, one.detector.class_names, data)
    return []
