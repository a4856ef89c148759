"""The images of a report as JSON for the page's script: columns, with repeated texts and p-values said once."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable
from typing import Any, TypeVar

import numpy as np

from deltaoe.report.alpha_stops import alpha_stops
from deltaoe.report.charts.histogram import Histogram
from deltaoe.report.formats import folder_length, p_value
from deltaoe.report.model import Report
from deltaoe.report.sentences import group_words, percent
from deltaoe.scoring.words import REASONS, less_familiar, more_familiar

Value = TypeVar("Value", bound=Hashable)

VERDICTS = ("known", "unknown", "undecided")


def page_data(report: Report, chart: Histogram | None, places: int) -> str:
    """JSON in ASCII that can stand in a ``script`` element, because it has none of ``<``, ``>`` and ``&``.

    Args:
        report: what the page shows.
        chart: the histogram drawn of it, for the places of thresholds.
        places: decimals of scores.
    """
    text = json.dumps(_content(report, chart, places), separators=(",", ":"), allow_nan=False)
    # Only texts can have these characters, and in them the escapes mean the same.
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _content(report: Report, chart: Histogram | None, places: int) -> dict[str, Any]:
    rows, calibration = report.rows, int(np.size(report.calibration))
    cuts = [folder_length(row.path) for row in rows]
    names: dict[str, int] = {}
    folders: dict[str, int] = {}
    levels: dict[float, int] = {}
    groups = {row.group: group_words(row.group, row.group_name) for row in rows if row.group is not None}

    def level(p: float | None) -> int | None:
        return None if p is None or math.isnan(p) else _place(levels, p)

    columns = {
        "folder": [_place(folders, row.path[:cut]) for row, cut in zip(rows, cuts, strict=True)],
        "name": [row.path[cut:] for row, cut in zip(rows, cuts, strict=True)],
        "verdict": [VERDICTS.index(row.verdict) for row in rows],
        "label": [_place(names, row.label) for row in rows],
        "score": [_number(row.score) for row in rows],
        "p": [level(row.p_value) for row in rows],
        "top": [[x for name, cos in row.top for x in (_place(names, name), round(cos, 4))] for row in rows],
        # The script knows it from the threshold, where all images have the same.
        "margin": [_number(row.margin) for row in rows] if report.threshold is None else None,
        "parts": [[level(p) for _, p in row.parts] for row in rows] if report.fused else None,
        "reason": [row.reason for row in rows] if report.fused else None,
        "looks": [_place(names, row.looks_like) for row in rows] if report.named else None,
        "cosine": [_rounded(row.looks_like_cosine) for row in rows] if report.named else None,
        "group": [row.group for row in rows] if report.grouped else None,
    }
    return {
        "alpha": report.alpha,
        "threshold": report.threshold,
        "scoreName": report.score_name,
        "calibration": calibration,
        "perClass": report.per_class,
        "places": places,
        "leftOut": report.rows_left_out,
        "counts": report.counts,
        "stops": [
            {
                "alpha": stop.alpha,
                "text": percent(stop.alpha),
                "threshold": stop.threshold,
                "place": stop.place,
            }
            for stop in alpha_stops(report, chart)
        ],
        "parts": next(([name for name, _ in row.parts] for row in rows if row.parts), []),
        "reasons": REASONS,
        "names": list(names),
        "folders": list(folders),
        "levels": [
            # The script adds of which class, where each has its own calibration images.
            [
                p,
                p_value(p),
                more_familiar(p, "your images"),
                less_familiar(p, 0 if report.per_class else calibration, "your images"),
            ]
            for p in levels
        ],
        "groups": sorted(groups.items()),
        "rows": columns,
        "failed": report.failed,
    }


def _place(places: dict[Value, int], value: Value) -> int:
    """The place of a value among those met so far."""
    return places.setdefault(value, len(places))


def _number(value: float | None) -> float | str | None:
    """Nine digits; a value that JSON has no number for as the text that JavaScript makes the number of."""
    if value is None or math.isfinite(value):
        return value if value is None else float(f"{value:.9g}")
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _rounded(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else round(value, 4)
