"""Which saved detectors are evaluated where none is named, and why the others are not, in words."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from deltaoe.scoring.detector import Detector
from deltaoe.scoring.staleness import lost_detector
from deltaoe.store.dataset import DataSet
from deltaoe.store.feature_space import FeatureSpace
from deltaoe.store.workspace import Workspace

_NAMED = 3  # classes or detectors in a sentence


def usable_detectors(
    saved: Mapping[str, Detector], data: DataSet, space: FeatureSpace, workspace: Workspace
) -> tuple[dict[str, Detector], list[str]]:
    """Those of the workspace's own detectors that have these classes, in this feature space.

    Args:
        saved: name → detector; the last one tuned, if there is one.
        data: the in-distribution images.
        space: their feature space.
        workspace: has the detectors.

    Returns:
        The detectors to evaluate, and a sentence for each reason why something tuned here is not among them.
    """
    usable, notes = {}, lost_detector(workspace)
    for name, detector in saved.items():
        missing = sorted(set(data.class_names) - set(detector.class_names))
        if detector.space.id != space.id:
            notes.append(
                f"the tuned detector {name} is not evaluated: it is of another model "
                f"({'; '.join([*_models(space, detector), *space.differences(detector.space)])}); "
                f"evaluate with --model {detector.space.model}, or tune with {space.model}"
            )
        elif missing:
            notes.append(_lacks_classes(name, detector, missing, len(data.class_names)))
        else:
            usable[name] = detector
    others = [name for name in workspace.detector_names() if name not in saved]
    if others:
        verb = "is" if len(others) == 1 else "are"
        notes.append(
            f"{_listed(others)} {verb} not evaluated: only the last tuned detector is, unless --detector NAME is given"
        )
    return usable, notes


def classes_without_images(detectors: Mapping[str, Detector], data: DataSet) -> list[str]:
    """A sentence for each detector that can choose among more classes than the data has images of."""
    notes = []
    for name, detector in detectors.items():
        more = sorted(set(detector.class_names) - set(data.class_names))
        if more:
            notes.append(
                f"{name} chooses among {len(detector.class_names)} classes, {len(more)} of which have no images in "
                f"{data.title} ({_listed(more)})"
            )
    return notes


def _models(space: FeatureSpace, detector: Detector) -> list[str]:
    names = (space.model, detector.space.model)
    return [f"model {' / '.join(names)}"] if len(set(names)) == 2 else []


def _lacks_classes(name: str, detector: Detector, missing: Sequence[str], count: int) -> str:
    near = {one: like for one in missing if (like := _like(one, detector.class_names)) is not None}
    words = [
        f"{one} (it has {near[one]})" if one in near else one
        for one in sorted(missing, key=lambda one: one not in near)
    ]
    said = (
        f"the tuned detector {name} is not evaluated: {len(missing)} of the {count} classes are not among its "
        f"{len(detector.class_names)}: {_listed(words)}"
    )
    if len(near) == len(missing):
        return f"{said}; write these classes as the detector does (in the list, or by extract --classes FILE)"
    return f"{said}; name images of its classes, or tune on data with these classes"


def _like(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that is the same name in another spelling, else one that is nearly the same; None if none is.

    Example:
        >>> _like("hot_dog", ["hot dog", "cat"]), _like("elefant", ["elephant", "cat"]), _like("cow", ["cat"])
        ('hot dog', 'elephant', None)
    """
    by_letters = {_letters(one): one for one in candidates}
    close = difflib.get_close_matches(_letters(name), by_letters, n=1, cutoff=0.75)
    return by_letters[close[0]] if close else None


def _letters(name: str) -> str:
    """The letters and digits of a name, in one case and one normal form; the name itself if it has none."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold()) or name


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
