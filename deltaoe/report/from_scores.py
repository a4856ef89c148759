"""The report of a score result as plain data: rows in ascending order of score, thumbnails, and a manifest."""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from deltaoe.images.decode import ImageError, read_bytes, thumbnail
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.report.model import Report, ReportRow
from deltaoe.report.sentences import reason_sentence
from deltaoe.runtime import usable_cpus
from deltaoe.scoring.detector import Detector
from deltaoe.scoring.detector_fields import PART_WORDS
from deltaoe.scoring.score import ScoreResult
from deltaoe.scoring.score_table import ScoreTable

MAX_ROWS = 1000  # about 2 MB of thumbnails; browsers stall on tens of megabytes


def build_report(
    result: ScoreResult, *, title: str, full_table: str, now: datetime, on: OnEvent = silent
) -> Report:
    """The report of a score result, with rows for the ``MAX_ROWS`` images of lowest score, in ascending order.

    Args:
        result: from :func:`deltaoe.scoring.score.score`.
        title: the report's heading.
        full_table: the path of the CSV file that holds all rows; the report names it.
        now: the time of the run, with its zone.
        on: called with the progress of making thumbnails.
    """
    table = result.table
    order = np.argsort(table.scores, kind="stable")[:MAX_ROWS]
    pictures = _thumbnails([result.files[i] for i in order], on)
    rows = [
        ReportRow(
            path=table.paths[i],
            verdict=table.verdict(i),
            label=table.class_names[table.labels[i, 0]],
            score=float(table.scores[i]),
            p_value=None if table.p_values is None else float(table.p_values[i]),
            margin=table.margin(i),
            top=[
                (table.class_names[label], float(cosine))
                for label, cosine in zip(table.labels[i], table.cosines[i], strict=True)
            ],
            thumbnail=picture,
            parts=_part_p_values(table, i),
            reason=reason_sentence(table.reason(i)),
        )
        for i, picture in zip(order, pictures, strict=True)
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
        failed=table.failed,
        manifest=_manifest(result, now),
        notes=tuple(result.notes),
        rows_left_out=len(table.paths) - len(rows),
        full_table=full_table,
        fdr=result.rule.fdr,
        per_class=result.rule.per_class,
        score_unit=result.detector.score_name.unit,
    )


def _part_p_values(table: ScoreTable, row: int) -> list[tuple[str, float]]:
    """Words and p-value of each part of one image's score; empty for a score of one part."""
    if table.part_p_values is None:
        return []
    return [
        (PART_WORDS[part], float(p)) for part, p in zip(table.parts, table.part_p_values[row], strict=True)
    ]


def _thumbnails(files: Sequence[str], on: OnEvent) -> list[bytes | None]:
    """A small WebP file for each image file; None where it cannot be made."""

    def draw(file: str) -> bytes | None:
        """The thumbnail of one file."""
        if not os.path.isfile(file):  # an imported list may name a device, which never ends
            return None
        try:
            return thumbnail(read_bytes(Path(file)))
        except ImageError:  # scored from the cache, and since then removed or changed: its row has no picture
            return None

    pictures: list[bytes | None] = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        with ThreadPoolExecutor(usable_cpus()) as pool:
            for picture in pool.map(draw, files):
                pictures.append(picture)
                on(Event("Drawing thumbnails", len(pictures), len(files)))
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
