"""What of a workspace is out of date for scoring, in sentences that name the next command."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from deltaoe.errors import StoreError
from deltaoe.extraction.changes import added_since_extract
from deltaoe.progress import OnEvent, silent
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import ScoreOptions
from deltaoe.scoring.saved_detectors import data_of, detector_path
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_store import Digests
from deltaoe.store.sentences import short_title
from deltaoe.store.split_use import without_evaluated
from deltaoe.store.workspace import Workspace

_LISTED = 5


def data_behind(workspace: Workspace, options: ScoreOptions, saved: Detector | None) -> DataSet | None:
    """The data set that what is scored with was made from, as it is now; None if there is none, or it is not known.

    Args:
        workspace: has the detectors and data sets.
        options: what is scored with.
        saved: the saved detector that these options mean; None if they mean zero-shot prompts.

    Raises:
        StoreError: the state of the workspace is damaged.
    """
    if saved is None:
        given = options.labels is not None or options.text_features is not None
        return None if given else workspace.dataset(options.data)
    chosen = detector_path(workspace, options.detector) if options.detector else workspace.current_detector()
    if chosen is None or chosen != workspace.detector_file(chosen.stem):
        return None
    return _readable(workspace, chosen.stem, saved)


def staleness(
    workspace: Workspace,
    options: ScoreOptions,
    saved: Detector | None,
    data: DataSet | None,
    on: OnEvent = silent,
) -> list[str]:
    """Sentences about what scoring uses and is out of date: the detector, its classes, the files of its data set.

    Cheap: of the files, only their folders are looked at unless something was added or removed.

    Args:
        workspace, options, saved: as for :func:`data_behind`.
        data: what that returns.
        on: receives progress, if files must be compared.

    Raises:
        StoreError: the state of the workspace is damaged.
    """
    if saved is None:
        stale = [] if options.prompt_flags else lost_detector(workspace)
    else:
        name = detector_path(workspace, options.detector).stem if options.detector else _current(workspace)
        stale = classes_unlike(name, saved.class_names, data) if data is not None else []
    return stale + (added_since_extract(data, workspace, on) if data is not None else [])


def used_before(data: DataSet | None, detector: Detector, digests: Digests) -> list[str]:
    """A sentence if some of the scored images are in the data set that the detector was made from.

    The detector has learned from such an image or was calibrated with it, so its p-value promises nothing.

    Args:
        data: what :func:`data_behind` returns.
        detector: that the images are scored with.
        digests: (N, 32) uint8, of the scored images.
    """
    if data is None or data.space_id != detector.space.id or not len(detector.calibration):
        return []
    splits = [name for name in detector.settings.get("splits", ()) if name in data.split_names]
    data = without_evaluated(data, splits)
    # Classes that were added later are none of the detector's.
    known = np.isin(data.class_names, detector.class_names)
    counted = (data.class_of >= 0) & known[data.class_of]
    own = {key for key, counts in zip(data.keys(), counted.tolist(), strict=True) if counts}
    raw = digests.tobytes()
    count = sum(raw[i : i + 32] in own for i in range(0, len(raw), 32))
    if not count:
        return []
    made = f"in the data set {short_title(data)}, from which the detector was made"
    if count == 1:
        which = "This image is" if len(digests) == 1 else f"1 of these {len(digests):,} images is"
        return [f"{which} {made}: it looks more familiar than a new image would."]
    which = (
        "All of these images are"
        if count == len(digests)
        else f"{count:,} of these {len(digests):,} images are"
    )
    return [f"{which} {made}: they look more familiar than new images would."]


def _current(workspace: Workspace) -> str:
    """Name of the current detector, which there is."""
    path = workspace.current_detector()
    return path.stem if path is not None else ""


def lost_detector(workspace: Workspace) -> list[str]:
    """A sentence if the file of the current detector is gone."""
    name = workspace.lost_detector()
    if name is None:
        return []
    others = workspace.detector_names()
    how = f"run deltaoe detectors use NAME ({_listed(others)}), or" if others else "run"
    folder = os.path.relpath(workspace.detector_file(name).parent)
    return [
        f"the detector {name} is no longer in {folder}, zero-shot prompts are used instead: {how} deltaoe tune"
    ]


def classes_unlike(name: str, class_names: Sequence[str], data: DataSet) -> list[str]:
    """A sentence if the data set that a detector was tuned on has other classes now.

    Args:
        name: of the detector.
        class_names: its classes.
        data: the data set, as it is now.
    """
    known, there = set(class_names), set(data.class_names)
    new, gone = sorted(there - known), sorted(known - there)
    title = short_title(data)
    parts = []
    if new:
        parts.append(f"does not know {_classes(new)} that {title} has now")
    if gone:
        parts.append(f"has {_classes(gone)} that {title} has no more")
    if not parts:
        return []
    return [f"the detector {name} {', and '.join(parts)}: run deltaoe tune"]


def _readable(workspace: Workspace, name: str, detector: Detector) -> DataSet | None:
    """The data set that a detector was tuned on; None also if its listing is damaged, which scoring does not need."""
    try:
        return data_of(workspace, name, detector)
    except StoreError:
        return None


def _classes(names: Sequence[str]) -> str:
    return f"the class {names[0]}" if len(names) == 1 else f"{len(names)} classes ({_listed(names)})"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (" …" if len(names) > _LISTED else "")
