"""Accuracy and OOD detection on the demo's unknown folder, whose pictures are known to the demo."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deltaoe.demo.world import NEW_STYLE, STYLES, pictures
from deltaoe.errors import DataError
from deltaoe.functional.metrics import auroc

# What each number is, in the words of the table.
ACCURACY = {f"accuracy, {style}": ("same-styles", style) for style in STYLES} | {
    f"accuracy, {NEW_STYLE} (new style)": ("new-style", NEW_STYLE)
}
DETECTION = {
    "AUROC against other objects (near)": ("same-styles", "other-objects"),
    "AUROC against patterns (far)": ("same-styles", "patterns"),
    f"AUROC of {NEW_STYLE} against other objects": ("new-style", "other-objects"),
    f"AUROC of {NEW_STYLE} against patterns": ("new-style", "patterns"),
}
FALSE_ALARMS = "called unknown: your styles (false alarms)"
CALLED_UNKNOWN = {
    FALSE_ALARMS: "same-styles",
    f"called unknown: {NEW_STYLE} (false alarms)": "new-style",
    "called unknown: other objects": "other-objects",
    "called unknown: patterns": "patterns",
}


@dataclass(frozen=True)
class Outcome:
    """The results of one detector.

    Attributes:
        numbers: accuracies, AUROCs and shares called unknown, each 0 … 1, by the names above.
        counts: number of pictures in each group.
    """

    numbers: Mapping[str, float]
    counts: Mapping[str, int]


def summarise(scores_csv: Path) -> Outcome:
    """Compare the scores and verdicts of ``deltaoe score ./unknown`` with what the pictures show.

    Rows of pictures that are not the demo's, or that failed, are left out.

    Raises:
        DataError: the file cannot be read, or one of the demo's groups is missing from it.
    """
    truth = {picture.path: picture for picture in pictures()}
    try:
        with scores_csv.open(encoding="utf-8", newline="") as file:
            rows = [
                row for row in csv.DictReader(file) if row["path"] in truth and row["verdict"] != "failed"
            ]
        shown = [truth[row["path"]] for row in rows]
        scores = np.array([float(row["score"]) for row in rows])
    except (OSError, UnicodeDecodeError, KeyError, ValueError) as cause:
        raise DataError(f"cannot read {scores_csv}", hint="run deltaoe demo again") from cause
    right = np.array([row["class"] == picture.kind for row, picture in zip(rows, shown, strict=True)])
    unknown = np.array([row["verdict"] == "unknown" for row in rows])
    group = np.array([picture.group for picture in shown])
    style = np.array([picture.style for picture in shown])
    counts = {name: int(np.sum(group == name)) for name in CALLED_UNKNOWN.values()}
    if not all(counts.values()):
        raise DataError(
            "the unknown folder lacks pictures of the demo: "
            + ", ".join(name for name, count in counts.items() if not count),
            hint="run deltaoe demo without --keep to draw them again",
        )
    numbers = {
        name: float(np.mean(right[(group == where) & (style == which)]))
        for name, (where, which) in ACCURACY.items()
    }
    numbers |= {
        name: auroc(scores[group == inside], scores[group == outside])
        for name, (inside, outside) in DETECTION.items()
    }
    numbers |= {name: float(np.mean(unknown[group == where])) for name, where in CALLED_UNKNOWN.items()}
    return Outcome(numbers, counts)
