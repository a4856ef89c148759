"""What ``discover`` found, as a table of images, ``discovered.csv``, and as JSON values."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deltaoe.discovery.discover import Discovery
from deltaoe.images.csv_cells import path_cell, text_cell
from deltaoe.images.location_text import is_url, tidied
from deltaoe.store.atomic import replacing

COLUMNS = (
    *("path", "group", "class", "rank", "closeness", "duplicate_of"),
    *("looks_like", "looks_like_cosine", "score", "p_value"),
)
CSV_START = ",".join(COLUMNS[:6])
_PATHS = ("path", "duplicate_of")
_DECIMALS = 6  # of cosines


def records(found: Discovery, folder: Path | None = None) -> Iterator[dict[str, Any]]:
    """The images as dictionaries of JSON values, by group and rank, single images last.

    ``class`` is the group's name; None for single images and for those that repeat others, which are no class.

    Args:
        found: the groups.
        folder: relative paths lead from there; None for the current folder.
    """
    table = found.scored.table
    order = sorted(
        range(len(found.rows)), key=lambda i: (not found.group_of[i], found.group_of[i], found.rank[i], i)
    )
    for i in order:
        row, number, original = int(found.rows[i]), int(found.group_of[i]), int(found.duplicate_of[i])
        cosine = None if table.looks_like_cosines is None else float(table.looks_like_cosines[row])
        yield {
            "path": _path(found, row, folder),
            "group": number or None,
            "class": found.groups[number - 1].name if number and original < 0 else None,
            "rank": int(found.rank[i]) or None,
            "closeness": round(float(found.closeness[i]), _DECIMALS) if number else None,
            "duplicate_of": None if original < 0 else _path(found, original, folder),
            "looks_like": (table.looks_like[row] or None) if table.looks_like is not None else None,
            "looks_like_cosine": None if cosine is None or cosine != cosine else round(cosine, _DECIMALS),
            "score": float(table.scores[row]),
            "p_value": None if table.p_values is None else float(table.p_values[row]),
        }


def _path(found: Discovery, row: int, folder: Path | None) -> str:
    path = tidied(found.scored.files[row])
    if folder is None or is_url(path) or os.path.isabs(path) or os.path.abspath(folder) == os.getcwd():
        return path
    return os.path.relpath(path, folder)


def summaries(found: Discovery) -> list[dict[str, Any]]:
    """The groups as dictionaries of JSON values."""
    return [
        {
            "group": group.number,
            "name": group.name,
            "looks_like": group.looks_like or None,
            "looks_like_cosine": None if group.cosine is None else round(group.cosine, _DECIMALS),
            "images": group.size,
            "duplicates": group.duplicates,
            "mean_p_value": group.p_value,
            "prototypes": [_path(found, row, None) for row in group.prototypes],
        }
        for group in found.groups
    ]


def json_value(found: Discovery) -> dict[str, Any]:
    """What ``--json`` prints: the run, counts, groups and images, JSON values."""
    return {
        **found.scored.head(),
        "notes": found.notes,
        "counts": found.scored.table.counts,
        "groups": summaries(found),
        "images": list(records(found)),
    }


def write_csv(found: Discovery, path: Path) -> None:
    """Write :func:`records` as CSV, atomically; its paths lead from the file's folder.

    It is a list of images with classes, which ``deltaoe extract`` reads. Names and paths are written by
    :mod:`deltaoe.images.csv_cells`, so that no spreadsheet takes them for a formula.

    Raises:
        StoreError: the file cannot be written.
    """
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        out = csv.writer(file)
        out.writerow(COLUMNS)
        for record in records(found, path.parent):
            out.writerow([_cell(name, record[name]) for name in COLUMNS])


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return path_cell(value) if name in _PATHS else text_cell(value)
    return f"{value:.9g}" if isinstance(value, float) else str(value)
