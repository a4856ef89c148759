"""Two detectors side by side: what differs between them, and between their verdicts on images."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from deltaoe.progress import OnEvent, silent
from deltaoe.project.detector_list import validation
from deltaoe.project.settings import as_options, changed_settings
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.options import NONE, ScoreOptions
from deltaoe.scoring.score import ScoreResult, score
from deltaoe.store.workspace import Workspace

NOTHING = "–"


@dataclass(frozen=True)
class Comparison:
    """What differs between two detectors.

    Attributes:
        equal: whether their files have the same content.
        added: classes that the second has and the first has not, sorted.
        removed: classes that the first has and the second has not, sorted.
        rows: what differs otherwise: a name, and the value of each in words.
    """

    equal: bool
    added: list[str]
    removed: list[str]
    rows: list[tuple[str, str, str]]


@dataclass(frozen=True)
class ImageChange:
    """An image on which two detectors do not agree.

    Attributes:
        path: its path.
        verdicts: the verdict of each.
        classes: the predicted class of each.
        p_values: the p-value of each; None without calibration images.
    """

    path: str
    verdicts: tuple[str, str]
    classes: tuple[str, str]
    p_values: tuple[float | None, float | None]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "path": self.path,
            "verdicts": list(self.verdicts),
            "classes": list(self.classes),
            "p_values": list(self.p_values),
        }


@dataclass(frozen=True)
class Agreement:
    """Verdicts of two detectors on the same images.

    Attributes:
        images: number of images that both have scored.
        verdicts: number of images whose verdict differs.
        classes: number of images whose predicted class differs.
        changes: these images, in their order.
        notes: sentences for the user.
    """

    images: int
    verdicts: int
    classes: int
    changes: list[ImageChange]
    notes: list[str]


def compare(one: Detector, other: Detector) -> Comparison:
    """What differs between two detectors. Calibration scores of different detectors cannot be compared themselves."""
    classes, others = set(one.class_names), set(other.class_names)
    rows = _different(_facts(one), _facts(other))
    return Comparison(
        equal=one.to_bytes() == other.to_bytes(),
        added=sorted(others - classes),
        removed=sorted(classes - others),
        rows=rows,
    )


def _facts(detector: Detector) -> dict[str, str]:
    """What is compared, in words by name."""
    options = changed_settings(detector)
    measured = validation(detector)
    names = {
        "accuracy": "validation accuracy",
        "near": "AUROC held-out classes",
        "far": "AUROC shuffled features",
    }
    weights = detector.weight_of_parts
    return {
        "classes": str(len(detector.class_names)),
        "model": detector.space.model,
        "feature space": detector.space.id,
        **{f"--{name}": _option(name, value) for name, value in options.items()},
        **{words: f"{measured[name]:.4g}" for name, words in names.items() if name in measured},
        "images learned from": str(len(detector.shots)),
        "calibration images": str(len(detector.calibration)),
        "background labels": str(len(detector.background)),
        "evidence": detector.evidence,
        **{f"weight of {name}": f"{weight:.4g}" for name, weight in weights.items()},
        "weight of class means": f"{detector.image_weight:.4g}",
        "τ": f"{detector.temperature:g}",
        "c": str(detector.top_c),
        "interrupted": "yes" if detector.facts.get("interrupted") is True else "no",
    }


def _option(name: str, value: object) -> str:
    return as_options({name: value}).replace(f"--{name} ", "").replace(f"--{name}", "yes")


def _different(one: dict[str, str], other: dict[str, str]) -> list[tuple[str, str, str]]:
    """Entries that are not equal, in order; the default of an option is named as that."""
    names = list(dict.fromkeys([*one, *other]))
    missing = {name: "default" if name.startswith("--") else NOTHING for name in names}
    both = [(name, one.get(name, missing[name]), other.get(name, missing[name])) for name in names]
    return [row for row in both if row[1] != row[2]]


def compare_verdicts(
    inputs: Sequence[str | os.PathLike[str]],
    workspace: Workspace,
    detectors: tuple[Path, Path],
    options: ScoreOptions | None = None,
    on: OnEvent = silent,
    stdin: BinaryIO | None = None,
) -> Agreement:
    """Score the same images with two detectors, and count where they differ.

    Args:
        inputs: what :func:`deltaoe.scoring.score.score` takes.
        workspace: has the features; new ones are stored there.
        detectors: two files.
        options: the rule, and where models compute; ``detector`` and ``vocabulary`` have no effect.
        on: receives progress.
        stdin: the stream that ``-`` reads.

    Raises:
        DeltaoeError: as for :func:`deltaoe.scoring.score.score`.
    """
    options = options or ScoreOptions()
    text = stdin.read() if stdin is not None and "-" in inputs else b""
    options = replace(options, vocabulary=NONE)  # names for unknown images are not compared
    first, second = (
        score(inputs, workspace, replace(options, detector=path), on, io.BytesIO(text)) for path in detectors
    )
    place = {path: row for row, path in enumerate(second.table.paths)}
    pairs = [(row, place[path]) for row, path in enumerate(first.table.paths) if path in place]
    found = [_change(first, second, *pair) for pair in pairs]
    changes = [one for one in found if one is not None]
    return Agreement(
        images=len(pairs),
        verdicts=sum(one.verdicts[0] != one.verdicts[1] for one in changes),
        classes=sum(one.classes[0] != one.classes[1] for one in changes),
        changes=changes,
        notes=list(dict.fromkeys([*first.notes, *second.notes])),
    )


def _change(first: ScoreResult, second: ScoreResult, row: int, other: int) -> ImageChange | None:
    """How two results differ on an image, by its row in each; None if they do not."""
    a, b = first.table, second.table
    verdicts = a.verdict(row), b.verdict(other)
    classes = a.class_names[a.labels[row, 0]], b.class_names[b.labels[other, 0]]
    if verdicts[0] == verdicts[1] and classes[0] == classes[1]:
        return None
    p_values = (
        None if a.p_values is None else float(a.p_values[row]),
        None if b.p_values is None else float(b.p_values[other]),
    )
    return ImageChange(a.paths[row], verdicts, classes, p_values)
