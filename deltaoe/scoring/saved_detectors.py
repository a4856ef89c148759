"""The detectors that a workspace keeps: their names, which file a name means, and using, renaming, deleting them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from deltaoe.errors import ConfigError, DataError, StoreError, os_reason
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.detector_names import check_detector_name, is_detector_path
from deltaoe.store.dataset import DataSet
from deltaoe.store.workspace import Workspace


def detector_path(workspace: Workspace, wanted: str | os.PathLike[str]) -> Path:
    """The file of a detector that a user names.

    A word with a separator or ending in ``.safetensors`` is a path, and so is every :class:`~pathlib.Path`. Any other
    word is the name of a detector of the workspace, or the beginning of one name only. A path need not exist.

    Raises:
        DataError: there is no detector of this name here, or several names begin so; the hint lists what there is.
    """
    if not isinstance(wanted, str) or is_detector_path(wanted):
        return Path(wanted)
    return workspace.detector_file(detector_name(workspace, wanted))


def detector_name(workspace: Workspace, wanted: str) -> str:
    """The name of a detector of the workspace, from its name, the beginning of it, or its path.

    Raises:
        DataError: there is none, or several names begin so.
    """
    names = workspace.detector_names()
    if is_detector_path(wanted):
        name = Path(wanted).stem
        if os.path.abspath(wanted) != str(workspace.detector_file(name)):
            raise DataError(
                f"{wanted} is no detector of {workspace.folder}",
                hint="the workspace's are: deltaoe detectors",
            )
        wanted = name
    if wanted in names:
        return wanted
    begun = [name for name in names if wanted and name.startswith(wanted)]
    if len(begun) == 1:
        return begun[0]
    if begun:
        raise DataError(
            f"{len(begun)} detectors begin with {wanted}", hint=f"name one of them: {', '.join(begun)}"
        )
    path = f"; ./{wanted} is the file of that name" if wanted and os.path.isfile(wanted) else ""
    known = f"the detectors here are: {', '.join(names)}" if names else "there are none yet: deltaoe tune"
    raise DataError(f"there is no detector {wanted} in {workspace.folder}", hint=known + path)


def data_of(workspace: Workspace, name: str, detector: Detector) -> DataSet | None:
    """The data set that a detector of the workspace was tuned on, as it is now; None if that is not known any more.

    If the workspace has no note of it, it is the one data set in the detector's feature space that has all its shots.

    Raises:
        StoreError: a data set cannot be read.
    """
    if workspace.is_noted(name):
        return workspace.tuned_on(name)
    shots = {shot.tobytes() for shot in detector.shots}
    found = [
        data
        for data in (workspace.datasets() if shots else ())
        if data.labelled and data.space_id == detector.space.id and shots <= set(data.keys())
    ]
    return found[0] if len(found) == 1 else None


def use_detector(workspace: Workspace, wanted: str) -> str:
    """Make a detector the one that ``score`` uses.

    Returns:
        Its whole name.

    Raises:
        DataError: as for :func:`detector_name`; or its file is damaged, so that ``score`` could not use it.
        StoreError: the workspace cannot be written.
    """
    name = detector_name(workspace, wanted)
    Detector.load(workspace.detector_file(name))
    workspace.remember(detector=name)
    return name


def rename_detector(workspace: Workspace, wanted: str, new: str) -> str:
    """Give a detector another name; if ``score`` uses it, it stays in use.

    Returns:
        Its whole old name.

    Raises:
        ConfigError: the new name cannot be one, or is taken.
        DataError: as for :func:`detector_name`.
        StoreError: the workspace cannot be written.
    """
    old = detector_name(workspace, wanted)
    check_detector_name(new)
    path, target = workspace.detector_file(old), workspace.detector_file(new)
    if new == old:
        return old
    if target.exists() and not target.samefile(path):
        raise name_taken(new)
    try:
        path.rename(target)
    except OSError as cause:
        raise StoreError(f"cannot rename {path}: {os_reason(cause)}", hint="check permissions") from cause

    def renamed(state: dict[str, object]) -> dict[str, object]:
        tuned_on = state.get("tuned_on", {})
        assert isinstance(tuned_on, dict)  # noqa: S101 - for the type checker: the workspace has looked
        moved = {new if name == old else name: data for name, data in tuned_on.items()}
        current = {"detector": new} if state.get("detector") == old else {}
        return {**state, **current, **({"tuned_on": moved} if moved else {})}

    workspace.change_state(renamed)
    return old


def remove_detectors(workspace: Workspace, wanted: Sequence[str]) -> list[str]:
    """Delete detectors of the workspace. If one is the current one, there is none afterwards.

    Returns:
        Their whole names.

    Raises:
        DataError: as for :func:`detector_name`; nothing is deleted then.
        StoreError: a file cannot be deleted.
    """
    names = list(dict.fromkeys(detector_name(workspace, one) for one in wanted))
    for name in names:
        path = workspace.detector_file(name)
        try:
            path.unlink()
        except OSError as cause:
            raise StoreError(f"cannot delete {path}: {os_reason(cause)}", hint="check permissions") from cause

        def without(state: dict[str, object], gone: str = name) -> dict[str, object]:
            tuned_on = state.get("tuned_on", {})
            assert isinstance(tuned_on, dict)  # noqa: S101 - for the type checker: the workspace has looked
            kept = {one: data for one, data in tuned_on.items() if one != gone}
            state = {**state, **({"tuned_on": kept} if tuned_on else {})}
            if state.get("detector") == gone:
                del state["detector"]
            return state

        workspace.change_state(without)
    return names


def name_taken(name: str) -> ConfigError:
    """The error of a new name that another detector has."""
    return ConfigError(
        f"there is another detector named {name}",
        hint=f"choose another name, or delete that one: deltaoe detectors rm {name}",
    )
