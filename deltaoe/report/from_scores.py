"""From a score result to a report's plain data: thumbnails, manifest, and the order people read in."""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from deltaoe.images.decode import ImageError, read_bytes, thumbnail
from deltaoe.progress import Event, OnEvent, silent
from deltaoe.report.model import Report, ReportRow
from deltaoe.runtime import usable_cpus
from deltaoe.scoring.score import ScoreResult
from deltaoe.scoring.score_table import ScoreTable

MAX_ROWS = 1000  # about 2 MB of thumbnails; browsers stall on tens of megabytes

_SELECTION = "selection"


def build_report(
    result: ScoreResult, *, title: str, full_table: str, now: datetime, on: OnEvent = silent
) -> Report:
    """The report of a score result; rows come least familiar first, and at most ``MAX_ROWS`` of them.

    Args:
        result: from :func:`deltaoe.scoring.score.score`.
        title: heading.
        full_table: path of the CSV that holds all rows.
        now: time of the run, with zone.
        on: progress.
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
        )
        for i, picture in zip(order, pictures, strict=True)
    ]
    counts = table.counts
    return Report(
        title=title,
        score_name="ΔEnergy",
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
    )


def _thumbnails(files: Sequence[str], on: OnEvent) -> list[bytes | None]:
    def draw(file: str) -> bytes | None:
        if not os.path.isfile(file):  # an imported list may name a device, which would be read for ever
            return None
        try:
            return thumbnail(read_bytes(Path(file)))
        except ImageError:  # scored from the cache, gone or changed since: the row stays, without a picture
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
                ("classes", str(len(detector.class_names))),
                *((str(name), str(value)) for name, value in sorted(detector.settings.items())),
                *(
                    (f"seen: {name}", str(value))
                    for name, value in sorted(detector.facts.items())
                    if name != _SELECTION
                ),
            ],
        ),
        *_selection(detector.facts.get(_SELECTION)),
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


def _selection(facts: Any) -> list[tuple[str, list[tuple[str, str]]]]:
    """What tuning chose from, as a section; none where nothing was chosen, or where the file says something else."""
    if not isinstance(facts, dict):
        return []
    rows = [(name.replace("_", "-"), facts.get(name)) for name in ("chosen", "default", "zero_shot")]
    best = facts.get("best")
    if isinstance(best, list):
        rows += [(f"{place}. of {facts.get('settings')}", row) for place, row in enumerate(best, start=1)]
    shown = [(name, _setting(row)) for name, row in rows if isinstance(row, dict)]
    return [(f"Chosen on {facts.get('folds')} folds of in-distribution images", shown)] if shown else []


def _setting(row: dict[str, Any]) -> str:
    signs = {"ebm_weight": "λ", "stop": "stop", "blend": "α", "temperature": "τ", "top_c": "c"}
    at = ", ".join(f"{sign} = {row.get(name)}" for name, sign in signs.items())
    seen = ", ".join(
        f"{name.replace('_', ' ')} {row[name]}"
        for name in ("accuracy", "shifted_accuracy", "near", "shifted_near", "far", "shifted_far")
        if row.get(name) is not None
    )
    return f"{at}: {seen}; gain {row.get('gain')} ± {row.get('error')}"


def _threshold(table: ScoreTable) -> str:
    if table.threshold is not None:
        return f"{table.threshold:.6g}"
    if table.thresholds is None or np.isnan(table.thresholds).all():
        return "none"
    return "one per class" if np.isfinite(table.thresholds).any() else "none, no image is called unknown"
