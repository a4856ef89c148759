"""The report of a score result as plain data: rows in ascending order of score, thumbnails, and a manifest."""

from __future__ import annotations

import dataclasses
import os
import platform
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deltaoe.images.decode import ImageError, thumbnail
from deltaoe.images.locations import read_location
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.report.model import Report, ReportRow
from deltaoe.runtime import usable_cpus
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.detector_fields import PART_WORDS
from deltaoe.scoring.score import ScoreResult
from deltaoe.scoring.score_table import ScoreTable

MAX_ROWS = 100_000  # about 30 MB of text; docs/how-to/report.md says what browsers make of it
MAX_THUMBNAILS = 2000
# Number of thumbnails up to which they have this many pixels on the longer side; together 6 to 12 MB of text at most.
_EDGES = ((300, 320), (1000, 192))
_SMALLEST_EDGE = 128


def build_report(
    result: ScoreResult,
    *,
    title: str,
    full_table: str,
    now: datetime,
    on: OnEvent = silent,
    groups: Mapping[int, tuple[int, str]] | None = None,
    thumbnails: Path | None = None,
) -> Report:
    """The report of a score result, with rows for the ``MAX_ROWS`` images of lowest score, in ascending order.

    Up to ``MAX_THUMBNAILS`` have a thumbnail: all, or half of them those of lowest score and half those that are
    closest to their threshold.

    Args:
        result: from :func:`deltaoe.scoring.score.score`.
        title: the report's heading.
        full_table: the path of the CSV file that holds all rows; the report names it.
        now: the time of the run, with its zone.
        on: called with the progress of making thumbnails.
        groups: index into the table → number and name of the group, for images in one.
        thumbnails: folder in which the files of imported images are looked for; None makes no thumbnails of them.
    """
    table = result.table
    order = np.argsort(table.scores, kind="stable")[:MAX_ROWS]
    chosen = _pictured(table, order)
    files = {i: result.whole_urls.get(result.files[i], result.files[i]) for i in chosen}
    if result.claimed:
        files = {} if thumbnails is None else _files_below(thumbnails, files)
    pictures = _thumbnails(files, chosen, on)
    rows = _rows(table, order, pictures)
    if groups:
        found = [groups.get(i, (None, "")) for i in order.tolist()]
        rows = [
            dataclasses.replace(row, group=number, group_name=name)
            for row, (number, name) in zip(rows, found, strict=True)
        ]
    counts = table.counts
    return Report(
        title=title,
        score_name=result.detector.score_name.words,
        alpha=table.alpha,
        threshold=table.threshold,
        counts={
            "known": counts["known"],
            "unknown": counts["unknown"],
            "undecided": counts["undecided"],
            "failed": counts["failed"],
        },
        scores=table.scores,
        calibration=result.detector.calibration,
        rows=rows,
        failed=table.failed[:MAX_ROWS],
        manifest=_manifest(result, now),
        notes=tuple(result.notes),
        rows_left_out=len(table.paths) - len(rows),
        full_table=full_table,
        fdr=result.rule.fdr,
        per_class=result.rule.per_class,
        score_unit=result.detector.score_name.unit,
    )


def _rows(
    table: ScoreTable, order: npt.NDArray[np.int64], pictures: Mapping[int, bytes | None]
) -> list[ReportRow]:
    """A row for each image in the order given; ``pictures`` is number of an image → thumbnail."""
    columns = table.columns()
    words = [PART_WORDS[part] for part in table.parts]
    rows = []
    for i in order.tolist():
        reason = columns["unknown_by"][i] if "unknown_by" in columns else ""
        looks, cosine = ("", None)
        if "looks_like" in columns:
            looks, cosine = columns["looks_like"][i] or "", columns["looks_like_cosine"][i]
        top = zip(table.labels[i].tolist(), table.cosines[i].tolist(), strict=True)
        parts = [] if table.part_p_values is None else table.part_p_values[i].tolist()
        rows.append(
            ReportRow(
                path=columns["path"][i],
                verdict=columns["verdict"][i],
                label=columns["class"][i],
                score=columns["score"][i],
                p_value=columns["p_value"][i],
                margin=columns["margin"][i],
                top=[(table.class_names[label], value) for label, value in top],
                thumbnail=pictures.get(i),
                parts=list(zip(words, parts, strict=True)) if parts else (),
                reason=reason,
                looks_like=looks,
                looks_like_cosine=cosine,
            )
        )
    return rows


def _pictured(table: ScoreTable, order: npt.NDArray[np.int64]) -> list[int]:
    """The images that get a thumbnail, of those in ``order``, lowest score first."""
    if len(order) <= MAX_THUMBNAILS:
        return [int(i) for i in order]
    lowest, rest = np.split(order, [MAX_THUMBNAILS // 2])
    thresholds = np.array([table.threshold_of(int(i)) for i in rest])
    if not np.isfinite(thresholds).any():
        return [int(i) for i in order[:MAX_THUMBNAILS]]
    distances = np.abs(table.scores[rest] - thresholds)  # NaN and ∞ come last
    closest = rest[np.argsort(distances, kind="stable")[: MAX_THUMBNAILS - len(lowest)]]
    return [*lowest.tolist(), *closest.tolist()]


def _files_below(folder: Path, claimed: Mapping[int, str]) -> dict[int, str]:
    """The files of claimed paths, relative to a folder or absolute, that lie in the folder, links followed."""
    root = os.path.realpath(folder)
    found = {i: os.path.realpath(os.path.join(root, path)) for i, path in claimed.items() if "\0" not in path}
    return {i: file for i, file in found.items() if file.startswith(os.path.join(root, ""))}


def _thumbnails(files: Mapping[int, str], chosen: Sequence[int], on: OnEvent) -> dict[int, bytes | None]:
    """A small WebP file of each chosen image, by its number; None where it cannot be made."""
    if not files:
        return {}
    edge = next((edge for most, edge in _EDGES if len(chosen) <= most), _SMALLEST_EDGE)

    def draw(number: int) -> bytes | None:
        """The thumbnail of one file."""
        file = files.get(number, "")
        if not file:
            return None
        try:
            return thumbnail(read_location(file), edge)
        except ImageError:  # scored from the cache, and since then removed or changed: its row has no picture
            return None

    pictures: dict[int, bytes | None] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        with ThreadPoolExecutor(usable_cpus()) as pool:
            for number, picture in zip(chosen, pool.map(draw, chosen), strict=True):
                pictures[number] = picture
                on(Event("Drawing thumbnails", len(pictures), len(chosen)))
    return pictures


def _manifest(result: ScoreResult, now: datetime) -> list[tuple[str, list[tuple[str, str]]]]:
    """Run, verdict, detector and model as sections (heading, entries); an entry is (name, text)."""
    table, detector = result.table, result.detector
    return [
        (
            "Run",
            [
                ("deltaoe", version("deltaoe")),
                ("time", now.isoformat(timespec="seconds")),
                ("images scored", f"{len(table.paths)} ({result.reused} from the cache)"),
                ("files failed", str(len(table.failed))),
                ("python, torch", f"{platform.python_version()}, {version('torch')}"),
            ],
        ),
        (
            "Verdict",
            [
                ("score", detector.score_title),
                *((f"weight of {PART_WORDS[part]}", weight) for part, weight in _weights(detector)),
                ("threshold", _threshold(table)),
                ("alpha", f"{table.alpha:g}")
                if result.rule.fdr is None
                else ("false discovery rate", f"{result.rule.fdr:g}"),
                ("compared with", "its own class" if result.rule.per_class else "all calibration images"),
                ("calibration images", str(len(detector.calibration))),
            ],
        ),
        (
            "Detector",
            [
                ("origin", result.origin),
                ("evidence", detector.evidence),
                ("classes", str(len(detector.class_names))),
                *_image_evidence(detector),
                *((str(name), str(value)) for name, value in sorted(detector.settings.items())),
                *(
                    (f"seen: {name}", str(value))
                    for name, value in sorted(detector.facts.items())
                    if not isinstance(value, dict)  # 0.1.0 stored the settings that tuning had chosen from
                ),
            ],
        ),
        (
            "Model",
            [
                ("name", result.model),
                ("feature space", detector.space.id),
                *(
                    (name, str(value))
                    for name, value in detector.space.to_dict().items()
                    if name not in {"model"}
                ),
            ],
        ),
    ]


def _weights(detector: Detector) -> list[tuple[str, str]]:
    """Name and weight of each part of a fused score, as text."""
    if not detector.fused:
        return []
    return [(name, f"{weight:.6g}") for name, weight in detector.weight_of_parts.items()]


def _image_evidence(detector: Detector) -> list[tuple[str, str]]:
    """How many classes have images to compare with, and how much these count for the class."""
    if not len(detector.means):
        return []
    return [
        ("classes with image evidence", str(len(detector.means))),
        ("weight of images in the classification", f"{detector.image_weight:g}"),
    ]


def _threshold(table: ScoreTable) -> str:
    """The threshold in words, or why there is not one for all images."""
    if table.threshold is not None:
        return f"{table.threshold:.6g}"
    if table.thresholds is None or np.isnan(table.thresholds).all():
        return "none"
    return "one per class" if np.isfinite(table.thresholds).any() else "none, no image is called unknown"
